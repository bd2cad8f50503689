"""How well two shapes agree: overlap of their insides, distance of their surfaces, angle of their normals."""

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


class Agreement(NamedTuple):
    """Figures of two surfaces, in the unit of their points; all nan if there is none of one."""

    chamfer: float
    f_score: float
    normal_consistency: float


def cloud_of(mesh: Mesh, count: int, seed: int) -> Cloud:
    """Points spread evenly over a surface; none if it has no triangles."""
    if not len(mesh.faces):
        return Cloud(np.zeros((0, 3)), np.zeros((0, 3)))
    return Cloud(*sample_surface(mesh, count, np.random.default_rng(seed)))


def nearest(points: np.ndarray, other: Mesh | Cloud) -> tuple[np.ndarray, np.ndarray]:
    """Distances (points,) of points to triangles, or to the nearest of other points, and the normals (points, 3) there."""
    if isinstance(other, Cloud):
        distance, which = cKDTree(other.points).query(points)
        return distance, other.normals[which]
    square, face, _ = igl.point_mesh_squared_distance(np.ascontiguousarray(points), other.vertices, other.faces)
    corner, first, second = other.vertices[other.faces[face]].swapaxes(0, 1)
    normals = np.cross(first - corner, second - corner)
    return np.sqrt(square), normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-30)


def agreement(one: Mesh, other: Mesh | Cloud, threshold: float, count: int = 30000, seed: int = 0) -> Agreement:
    """How near `count` points of either surface are to the other one.

    `chamfer` is the mean of both mean distances, `f_score` the harmonic mean of both shares nearer than the threshold,
    `normal_consistency` the mean cosine of the normals there, -1 for a surface inside out. Distances to triangles are exact,
    so that equal surfaces have a chamfer of 0 whatever the count; those to a cloud are to its nearest point.
    """
    shown, true = cloud_of(one, count, seed), other if isinstance(other, Cloud) else cloud_of(other, count, seed + 1)
    if not len(shown.points) or not len(true.points):
        return Agreement(math.nan, math.nan, math.nan)
    there, back = nearest(shown.points, other), nearest(true.points, one)
    chamfer = (there[0].mean() + back[0].mean()) / 2
    precision, recall = ((distance < threshold).mean() for distance, _ in (there, back))
    cosines = [(cloud.normals * normals).sum(-1).mean() for cloud, (_, normals) in ((shown, there), (true, back))]
    score = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return Agreement(float(chamfer), float(score), float(np.mean(cosines)))


def iou(one: Bool[Tensor, "*shape"], other: Bool[Tensor, "*shape"], mask: Bool[Tensor, "*shape"] | None = None) -> float:
    """Intersection over union of the points that are inside, among those of the mask; nan if none is."""
    if mask is not None:
        one, other = one[mask], other[mask]
    union = (one | other).sum().item()
    return (one & other).sum().item() / union if union else math.nan
