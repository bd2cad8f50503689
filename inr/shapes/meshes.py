"""A surface of triangles as a source of distances: their gradients, and samples on the surface and around it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import igl
import numpy as np
import torch
from torch import Tensor

TOUCHING = 1e-6  # nearer than this the direction from the closest point is rounding
DOUBT = 0.25  # winding numbers of a closed surface are whole; half-way between them one cannot tell inside from outside
STEP = 1e-3  # to either side of the surface, to see on which side the inside is


class Mesh(NamedTuple):
    """Triangles, counter-clockwise seen from outside: vertices (vertices, 3) float64, faces (faces, 3) int64."""

    vertices: np.ndarray
    faces: np.ndarray


class Distances(NamedTuple):
    """Signed distances (points,), positive outside, their gradients (points, 3), and whether these are certain (points,)."""

    value: np.ndarray
    gradient: np.ndarray
    certain: np.ndarray


class DistanceSamples(NamedTuple):
    """Samples of a distance in float32: points (count, 3), distance (count,), gradient (count, 3), certain (count,) bool."""

    points: Tensor
    distance: Tensor
    gradient: Tensor
    certain: Tensor


def winding(mesh: Mesh, points: np.ndarray) -> np.ndarray:
    """Return the winding number of the surface about each point (points,): 1 inside, 0 outside, in between at holes.

    Source: Barill et al., Fast Winding Numbers for Soups and Clouds (2018).
    """
    return igl.fast_winding_number(mesh.vertices, mesh.faces, points) if len(points) else np.zeros(0)


def signed_distance(mesh: Mesh, points: np.ndarray) -> Distances:
    """Return distances from points (points, 3) to the nearest triangle, negative where the winding number is above one half.

    The gradient is (point - closest) / distance. It is not certain, and zero, nearer than 1e-6 to the surface; and it is not
    certain where the winding number is as near to one half as it only is about the holes of an open surface, since the sign
    jumps there. Where bodies overlap, the nearest triangle may be an inner one.
    """
    # igl.signed_distance does not give the winding numbers of its signs, which tell where one is in doubt.
    points = np.ascontiguousarray(points, np.float64)
    if not len(points):
        return Distances(np.zeros(0), np.zeros((0, 3)), np.zeros(0, bool))
    square, _, closest = igl.point_mesh_squared_distance(points, mesh.vertices, mesh.faces)
    around = winding(mesh, points)
    value = np.sqrt(square) * np.where(around > 0.5, -1.0, 1.0)
    apart = abs(value) > TOUCHING
    # |point - closest| = |value|, and inside both point - closest and value change their sign: unit vectors outward.
    gradient = np.where(apart[:, None], points - closest, 0.0) / np.where(apart, value, 1.0)[:, None]
    return Distances(value, gradient, apart & (abs(around - 0.5) > DOUBT))


def sample_surface(mesh: Mesh, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return points (count, 3) distributed evenly over the area of the surface, and the unit normals of their faces."""
    # trimesh.sample and igl.random_points_on_mesh take other random numbers in another order: a seed would give other points.
    origin, first, second = mesh.vertices[mesh.faces].swapaxes(0, 1)
    first, second = first - origin, second - origin
    normals = np.cross(first, second)
    area = np.linalg.norm(normals, axis=1)  # twice the area, of all alike
    heap = area.cumsum()
    face = heap.searchsorted(random.random(count) * heap[-1], side="right")  # a face without area takes no share
    along, across = random.random((2, count, 1))
    beyond = along + across > 1  # the other half of the parallelogram, folded back onto the triangle
    along, across = np.where(beyond, 1 - along, along), np.where(beyond, 1 - across, across)
    return origin[face] + along * first[face] + across * second[face], normals[face] / area[face, None]


def outward(mesh: Mesh, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn normals (points, 3) at points on the surface to the outside; also return whether there is one (points,).

    Both sides of an inner wall are inside, both of a lone sheet are outside: there the normal is zero.
    """
    # trimesh's and igl's repair orients whole bodies; of overlapping ones, the same triangle may be a wall or not.
    ahead, behind = (winding(mesh, points + side * STEP * normals) > 0.5 for side in (1, -1))
    divides = ahead != behind
    return np.where(divides, np.where(ahead, -1.0, 1.0), 0.0)[:, None] * normals, divides


def sample_distances(
    points: np.ndarray,
    normals: np.ndarray,
    certain: np.ndarray,
    count: int,
    sigmas: Sequence[float],
    distances: Callable[[np.ndarray], Distances],
    random: np.random.Generator,
) -> DistanceSamples:
    """Sample distances on a surface, near it and anywhere in the cube [-1, 1]^3, `count` in all, in random order.

    Of points on the surface the first, as many as there are normals, are samples of distance 0 with the normals as
    gradients. The others are left by gaussian steps, equally many of each sigma; steps out of the cube end at its side, so
    that none is lost where a shape touches it.
    Shapes: points (points, 3), normals (on, 3), certain (on,).
    """
    touching, close = len(normals), len(points) - len(normals)
    sigma = np.resize(sigmas, close)[:, None]
    around = (points[touching:] + sigma * random.standard_normal((close, 3))).clip(-1, 1)
    anywhere = random.uniform(-1, 1, (count - len(points), 3))
    apart = distances(np.concatenate([around, anywhere]))
    order = random.permutation(count)  # so that any first part of the samples is the same mix
    on = (np.zeros(touching), normals, certain)
    columns = [[points[:touching], around, anywhere], *zip(on, apart, strict=True)]
    places, distance, gradient, known = (torch.from_numpy(np.concatenate(column)[order]) for column in columns)
    return DistanceSamples(places.float(), distance.float(), gradient.float(), known)


def split_counts(count: int, surface: float, near: float) -> tuple[int, int]:
    """Return the numbers of samples on the surface and near it, of so many in all."""
    touching = round(surface * count)
    return touching, min(round(near * count), count - touching)


def sample_shape(
    mesh: Mesh, count: int, seed: int, surface: float = 0.2, near: float = 0.6, sigmas: Sequence[float] = (0.005, 0.05)
) -> DistanceSamples:
    """Sample distances in the cube [-1, 1]^3: a share on the surface, a share near it, the rest anywhere.

    The same seed gives the same samples.
    """
    random = np.random.default_rng(seed)
    touching, close = split_counts(count, surface, near)
    points, normals = sample_surface(mesh, touching + close, random)
    turned, divides = outward(mesh, points[:touching], normals[:touching])
    return sample_distances(points, turned, divides, count, sigmas, partial(signed_distance, mesh), random)
