"""Figures that compare two shapes: overlap of their insides, distance of their surfaces, angle of their normals."""

# pytorch3d's Chamfer distance is between points alone, so that equal surfaces are apart; here triangles are met exactly.

import math
from typing import NamedTuple

import igl
import numpy as np
from jaxtyping import Bool
from scipy.spatial import cKDTree
from torch import Tensor

from inr.shapes.meshes import Mesh, sample_surface


class Cloud(NamedTuple):
    """Points (points, 3) of a surface and their unit normals (points, 3)."""

    points: np.ndarray
    normals: np.ndarray


class SurfaceComparison(NamedTuple):
    """Figures of two surfaces, in the unit of their points; all nan if there is none of one.

    chamfer: mean of both mean distances.
    f_score: harmonic mean of both shares that are nearer than the threshold.
    normal_consistency: mean cosine of the normals at nearest points, -1 for a surface inside out.
    """

    chamfer: float
    f_score: float
    normal_consistency: float


def cloud_of(mesh: Mesh, count: int, seed: int) -> Cloud:
    """Return points distributed evenly over a surface; none if it has no triangles."""
    if not len(mesh.faces):
        return Cloud(np.zeros((0, 3)), np.zeros((0, 3)))
    return Cloud(*sample_surface(mesh, count, np.random.default_rng(seed)))


def sampled_surface(surface: Mesh | Cloud, count: int, seed: int) -> Cloud:
    """Return the points of a surface that is known by them alone, or some of its triangles."""
    return surface if isinstance(surface, Cloud) else cloud_of(surface, count, seed)


def mean_angle(gradients: np.ndarray, normals: np.ndarray) -> float:
    """Return the mean angle [degrees] between vectors (points, 3) of any length and unit ones; nan without points."""
    if not len(normals):
        return math.nan
    along = (gradients * normals).sum(-1)
    across = np.linalg.norm(np.cross(gradients, normals), axis=-1)  # of small angles the cosine knows next to nothing
    return float(np.degrees(np.arctan2(across, along)).mean())


def nearest(points: np.ndarray, other: Mesh | Cloud) -> tuple[np.ndarray, np.ndarray]:
    """Return distances (points,) of points to triangles, or to the nearest of other points, and the normals (points, 3)."""
    if isinstance(other, Cloud):
        distance, place = cKDTree(other.points).query(points)
        return distance, other.normals[place]
    square, face, _ = igl.point_mesh_squared_distance(np.ascontiguousarray(points), other.vertices, other.faces)
    normals = igl.per_face_normals(other.vertices, other.faces, np.zeros(3))  # zero of a triangle without area
    return np.sqrt(square), normals[face]


def compare_surfaces(one: Mesh, other: Mesh | Cloud, threshold: float, count: int = 30000, seed: int = 0) -> SurfaceComparison:
    """Compare `count` points of either surface with the other one.

    Distances to triangles are exact, so that equal surfaces have a chamfer of 0 whatever the count; those to a cloud are to
    its nearest point.
    """
    found = cloud_of(one, count, seed)
    true = sampled_surface(other, count, seed + 1)
    if not len(found.points) or not len(true.points):
        return SurfaceComparison(math.nan, math.nan, math.nan)
    there, back = nearest(found.points, other), nearest(true.points, one)
    chamfer = (there[0].mean() + back[0].mean()) / 2
    precision, recall = ((distance < threshold).mean() for distance, _ in (there, back))
    cosines = [(cloud.normals * normals).sum(-1).mean() for cloud, (_, normals) in ((found, there), (true, back))]
    score = 2 * precision * recall / (precision + recall) if precision + recall else 0.0  # the limit of none near
    return SurfaceComparison(float(chamfer), float(score), float(np.mean(cosines)))


def iou(one: Bool[Tensor, "*shape"], other: Bool[Tensor, "*shape"], mask: Bool[Tensor, "*shape"] | None = None) -> float:
    """Return intersection over union of the points that are inside, among those of the mask; nan if none is."""
    # torchmetrics' Jaccard index gives 0, not nan, where both are empty.
    if mask is not None:
        one, other = one[mask], other[mask]
    union = (one | other).sum().item()
    return (one & other).sum().item() / union if union else math.nan
