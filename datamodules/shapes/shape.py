"""Shapes: what is known of them, as samples to fit, and as distances and points of the surface to score by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from datamodules.shapes.frame import Frame
from inr.errors import InputError
from inr.randomness import key
from inr.shapes.meshes import DistanceSamples, Mesh, sample_shape, signed_distance
from inr.shapes.oriented_points import OrientedPoints
from inr.shapes.surface_metrics import Cloud, cloud_of
from inr.supervision.differences import jacobian_at


class Sampling(NamedTuple):
    """Where samples lie: a share on the surface, a share near it, by gaussian steps of the sigmas, the rest in space.

    Units:  sigmas in normalised lengths, of which the cube has two.
    """

    surface: float
    near: float
    sigmas: Sequence[float]

    def check(self) -> None:
        """Raise InputError for shares that there are not, and for steps that are not positive."""
        if min(self.surface, self.near) < 0 or self.surface + self.near > 1:
            raise InputError(
                "data.surface and data.near are shares of the samples, not negative and at most 1 together, got"
                f" {self.surface:g} and {self.near:g}; the rest lies anywhere in the cube."
            )
        if not self.sigmas or min(self.sigmas) <= 0:
            raise InputError(f"data.sigmas must be positive lengths, got {list(self.sigmas)}.")


def lattice(resolution: int) -> Tensor:
    """The points (resolution^3, 3) of the cube's lattice, from side to side, the last axis fastest."""
    steps = torch.linspace(-1, 1, resolution)
    return torch.cartesian_prod(steps, steps, steps)


class Shape:
    """One shape in the cube [-1, 1]^3, a `frame` away from the file's coordinates.

    Units:  normalised lengths; distances are positive outside.
    """

    name: str
    frame: Frame
    solid = True  # whether inside and outside are known everywhere

    def most(self, count: int) -> int:
        """How many of so many samples there can be."""
        return count

    def samples(self, count: int, seed: int, sampling: Sampling) -> DistanceSamples:
        """Samples to fit."""
        raise NotImplementedError(f"{type(self).__name__} must define samples(count, seed, sampling).")

    def distances(self, points: Tensor) -> Tensor:
        """Distances (points,) at points (points, 3), where they are known."""
        raise NotImplementedError(f"{type(self).__name__} must define distances(points).")

    @property
    def surface(self) -> Mesh | Cloud:
        """The surface, as triangles where these are known."""
        raise NotImplementedError(f"{type(self).__name__} must define surface.")

    def cloud(self, count: int, seed: int) -> Cloud:
        """Points spread over the surface, with their normals."""
        surface = self.surface
        if isinstance(surface, Mesh):
            return cloud_of(surface, count, seed)
        chosen = np.random.default_rng(seed).permutation(len(surface.points))[:count]
        return Cloud(surface.points[chosen], surface.normals[chosen])

    def probes(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Points (points, 3) that a validation looks at, and distances there."""
        drawn = torch.rand(count, 3, generator=torch.Generator().manual_seed(key(seed, "probes"))) * 2 - 1
        return drawn, self.distances(drawn)


@dataclass
class MeshShape(Shape):
    """A surface of triangles; distances by closest points and winding numbers."""

    name: str
    frame: Frame
    mesh: Mesh

    def samples(self, count: int, seed: int, sampling: Sampling) -> DistanceSamples:
        """Samples on the surface, near it and in space."""
        return sample_shape(self.mesh, count, seed, *sampling)

    def distances(self, points: Tensor) -> Tensor:
        """Exact distances."""
        return torch.from_numpy(signed_distance(self.mesh, points.double().numpy()).value).float()

    @property
    def surface(self) -> Mesh:
        """The triangles."""
        return self.mesh


@dataclass
class CloudShape(Shape):
    """Oriented points on a surface, and nothing else; what they say of the space around them is an estimate."""

    name: str
    frame: Frame
    points: np.ndarray
    normals: np.ndarray
    solid = False

    @property
    def surface(self) -> Cloud:
        """The points."""
        return Cloud(self.points, self.normals)

    def samples(self, count: int, seed: int, sampling: Sampling) -> DistanceSamples:
        """The points with their normals, and estimates around them."""
        return OrientedPoints(self.points, self.normals).samples(count, seed, *sampling)

    def probes(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Some of the points, whose distance is zero."""
        points = torch.from_numpy(self.cloud(count, seed).points).float()
        return points, torch.zeros(len(points))


@dataclass
class VolumeShape(Shape):
    """Distances on a regular grid, trilinear in between; `mesh` is where they are zero.

    Shapes: values (columns, rows, layers), along x, y and z; voxel 0 and the last one of the longest axis lie at -1 and 1.
    """

    name: str
    frame: Frame
    values: Tensor
    mesh: Mesh

    @property
    def step(self) -> float:
        """The distance of neighbouring voxels."""
        return 2 / (max(self.values.shape) - 1)

    @property
    def middle(self) -> Tensor:
        """The index of the centre of the grid."""
        return (torch.tensor(self.values.shape) - 1) / 2

    def most(self, count: int) -> int:
        """No more than there are voxels."""
        return min(count, self.values.numel())

    def samples(self, count: int, seed: int, sampling: Sampling) -> DistanceSamples:
        """Voxels in random order, gradients by differences of their neighbours."""
        chosen = torch.randperm(self.values.numel(), generator=torch.Generator().manual_seed(seed))[:count]
        places = torch.stack(torch.unravel_index(chosen, self.values.shape), -1)
        gradient = jacobian_at(self.values[..., None], places)[:, 0] / self.step
        known = torch.ones(len(chosen), dtype=torch.bool)
        return DistanceSamples((places - self.middle) * self.step, self.values[tuple(places.T)], gradient, known)

    def distances(self, points: Tensor) -> Tensor:
        """Trilinear between voxels, those of the border go on outside."""
        places = (points / self.step + self.middle).double().numpy()
        return torch.from_numpy(map_coordinates(self.values.numpy(), places.T, order=1, mode="nearest")).float()

    @property
    def surface(self) -> Mesh:
        """Where the distances are zero."""
        return self.mesh
