"""Shapes of every kind: samples to fit, distances and a surface to score by."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from datamodules.common.files import require
from datamodules.shapes.frame import Frame
from inr.randomness import key
from inr.shapes.meshes import DistanceSamples, Mesh, sample_shape, signed_distance
from inr.shapes.oriented_points import OrientedPoints
from inr.shapes.scattered_distances import slopes
from inr.shapes.surface_metrics import Cloud, cloud_of
from inr.supervision.differences import jacobian_at

ON_SURFACE = 30000  # points at most that stand for the surface of scattered distances


class Sampling(NamedTuple):
    """Shares of the samples on the surface and near it, by gaussian steps of the sigmas; the rest lies anywhere in the cube.

    Units:  sigmas in normalised lengths, of which the cube has two a side.
    """

    surface: float  # these fix the zero level and its normals
    near: float  # these fix the slope across it
    sigmas: Sequence[float]  # small steps resolve thin shapes, large ones lead over to the space around

    def check(self) -> None:
        """Raise InputError for shares that there are not, and for steps that are not positive."""
        holds = min(self.surface, self.near) >= 0 and self.surface + self.near <= 1
        rule = "are shares of the samples, not negative and at most 1 together"
        given = f"{self.surface:g} and {self.near:g}"
        require("data.surface and data.near", holds, rule, given, "the rest lies anywhere in the cube")
        positive = len(self.sigmas) > 0 and min(self.sigmas) > 0
        require("data.sigmas", positive, "must be positive lengths", list(self.sigmas))


def lattice(resolution: int) -> Tensor:
    """Return the points (resolution^3, 3) of the cube's lattice, from side to side, the last axis fastest."""
    steps = torch.linspace(-1, 1, resolution)
    return torch.cartesian_prod(steps, steps, steps)


@dataclass(eq=False)
class Shape(ABC):
    """One shape in the cube [-1, 1]^3, a `frame` away from the file's coordinates.

    Units:  normalised lengths; distances are positive outside.
    """

    name: str
    frame: Frame

    solid: ClassVar[bool] = True  # whether inside and outside are known everywhere

    @property
    @abstractmethod
    def surface(self) -> Mesh | Cloud:
        """The surface, as triangles where these are known."""

    @abstractmethod
    def samples(self, count: int, seed: int, sampling: Sampling) -> DistanceSamples:
        """Draw samples to fit."""

    def available(self, count: int) -> int:
        """Return the number of samples that there are if so many are asked for."""
        return count

    def distances(self, points: Tensor) -> Tensor:
        """Return distances (points,) at points (points, 3); solid shapes define it."""
        # not abstract: where nothing but samples is known there are none, and nobody asks
        raise NotImplementedError(f"{type(self).__name__} must define distances(points).")

    def cloud(self, count: int, seed: int) -> Cloud:
        """Draw points evenly over the surface, with their normals; of a cloud some of its points."""
        surface = self.surface
        if isinstance(surface, Mesh):
            return cloud_of(surface, count, seed)
        chosen = np.random.default_rng(seed).permutation(len(surface.points))[:count]
        return Cloud(surface.points[chosen], surface.normals[chosen])

    def validation_samples(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draw the points (points, 3) that a validation looks at, and the distances (points,) there."""
        # Without the name in the seed: all shapes are looked at in the same places, so that their figures can be compared.
        drawn = torch.rand(count, 3, generator=torch.Generator().manual_seed(key(seed, "probes"))) * 2 - 1
        return drawn, self.distances(drawn)


@dataclass(eq=False)
class MeshShape(Shape):
    """A surface of triangles; distances by closest points and winding numbers."""

    mesh: Mesh

    @property
    def surface(self) -> Mesh:
        """The triangles."""
        return self.mesh

    def samples(self, count: int, seed: int, sampling: Sampling) -> DistanceSamples:
        """Draw samples on the surface, near it and in space."""
        return sample_shape(self.mesh, count, seed, *sampling)

    def distances(self, points: Tensor) -> Tensor:
        """Return exact distances."""
        # In float64, for the differences of nearly equal coordinates that closest points are made of.
        return torch.from_numpy(signed_distance(self.mesh, points.double().numpy()).value).float()


@dataclass(eq=False)
class CloudShape(Shape):
    """Oriented points on a surface, and nothing else: distances around them are estimates, and nothing to score by."""

    points: np.ndarray
    normals: np.ndarray

    solid: ClassVar[bool] = False

    @property
    def surface(self) -> Cloud:
        """The points."""
        return Cloud(self.points, self.normals)

    def samples(self, count: int, seed: int, sampling: Sampling) -> DistanceSamples:
        """Draw points with their normals, and estimates around them."""
        return OrientedPoints(self.points, self.normals).samples(count, seed, *sampling)

    def validation_samples(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draw some of the points, whose distance is zero: the only ones that are known."""
        points = torch.from_numpy(self.cloud(count, seed).points).float()
        return points, torch.zeros(len(points))


@dataclass(eq=False)
class SampleShape(Shape):
    """Distances at scattered points, and nothing else: their directions are estimates, and between them nothing is known.

    Shapes: points (samples, 3), values (samples,)
    """

    points: np.ndarray
    values: np.ndarray

    solid: ClassVar[bool] = False

    def available(self, count: int) -> int:
        """Return no more than there are samples."""
        return min(count, len(self.points))

    def samples(self, count: int, seed: int, sampling: Sampling) -> DistanceSamples:
        """Draw samples in random order, with directions of the distance from those around."""
        chosen = np.random.default_rng(seed).permutation(len(self.points))[:count]
        gradient, certain = slopes(self.points, self.values, chosen)
        points, values, directions = (torch.from_numpy(all_of).float() for all_of in (self.points, self.values, gradient))
        return DistanceSamples(points[chosen], values[chosen], directions, torch.from_numpy(certain))

    @cached_property
    def surface(self) -> Cloud:
        """Points next to the samples nearest to the surface, on it."""
        nearest = abs(self.values).argsort()[: min(ON_SURFACE, len(self.values) // 10)]
        gradient, certain = slopes(self.points, self.values, nearest)
        near = nearest[certain]
        normals = gradient[certain]
        return Cloud(self.points[near] - self.values[near, None] * normals, normals)

    def validation_samples(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draw some of the samples: only there the distance is known."""
        chosen = np.random.default_rng(seed).permutation(len(self.points))[:count]
        return torch.from_numpy(self.points[chosen]).float(), torch.from_numpy(self.values[chosen]).float()


@dataclass(eq=False)
class VolumeShape(MeshShape):
    """Distances on a regular grid, trilinear in between; `mesh` is their zero level.

    Shapes: values (columns, rows, layers), along x, y and z; voxel 0 and the last one of the longest axis lie at -1 and 1.
    """

    values: Tensor

    @property
    def step(self) -> float:
        """Distance of neighbouring voxels."""
        return 2 / (max(self.values.shape) - 1)

    @property
    def middle(self) -> Tensor:
        """Index of the centre of the grid, between voxels where a side is even."""
        return (torch.tensor(self.values.shape) - 1) / 2

    def available(self, count: int) -> int:
        """Return no more than there are voxels."""
        return min(count, self.values.numel())

    def samples(self, count: int, seed: int, sampling: Sampling) -> DistanceSamples:
        """Draw voxels in random order, with gradients by differences of their neighbours."""
        chosen = torch.randperm(self.values.numel(), generator=torch.Generator().manual_seed(seed))[:count]
        indices = torch.stack(torch.unravel_index(chosen, self.values.shape), -1)
        gradient = jacobian_at(self.values[..., None], indices)[:, 0] / self.step  # per voxel -> per length
        certain = torch.ones(len(chosen), dtype=torch.bool)
        return DistanceSamples((indices - self.middle) * self.step, self.values[tuple(indices.T)], gradient, certain)

    def distances(self, points: Tensor) -> Tensor:
        """Interpolate between voxels, trilinear; the outermost ones go on beyond the grid."""
        indices = (points / self.step + self.middle).double().numpy()
        return torch.from_numpy(map_coordinates(self.values.numpy(), indices.T, order=1, mode="nearest")).float()
