"""Distances from the surface that oriented points lie on, as far as the points tell them."""

from collections.abc import Sequence

import igl
import numpy as np
from scipy.spatial import cKDTree

from inr.shapes.meshes import DOUBT, TOUCHING, Distances, DistanceSamples, sample_distances, split_counts

NEIGHBOURS = 8  # that a point shares the surface around it with
REACH = 3.0  # spacings from the nearest point, beyond which its plane no longer stands for the surface


class OrientedPoints:
    """Points (points, 3) of a closed surface with unit normals (points, 3) to the outside.

    Source: signs, Barill et al., Fast Winding Numbers for Soups and Clouds (2018), section 3; distances near the points,
            Hoppe et al., Surface Reconstruction from Unorganized Points (1992), section 3.2.
    """

    def __init__(self, points: np.ndarray, normals: np.ndarray) -> None:
        self.points = np.ascontiguousarray(points, np.float64)
        self.normals = np.ascontiguousarray(normals, np.float64)
        self.tree = cKDTree(self.points)
        # The k-th neighbour at the distance r: k points share a disc of pi r^2. igl's own estimate of the areas is built on
        # CGAL, which its wheels lack.
        reach = self.tree.query(self.points, min(NEIGHBOURS, len(points) - 1) + 1)[0]
        self.areas = np.pi * reach[:, -1] ** 2 / (reach.shape[1] - 1)
        self.spacing = float(np.median(np.sqrt(self.areas)))

    def winding(self, at: np.ndarray) -> np.ndarray:
        """Return the winding number of the surface about each point (points,), each given point standing for a disc of it."""
        return igl.fast_winding_number(self.points, self.normals, self.areas, np.ascontiguousarray(at, np.float64))

    def signed_distance(self, at: np.ndarray) -> Distances:
        """Return distances at points (points, 3), positive outside, and their gradients.

        Within three spacings those from the plane of the nearest point; farther those from that point, negative where the
        winding number is above one half, and not certain where it is about that, away from the points: over holes.
        """
        if not len(at):
            return Distances(np.zeros(0), np.zeros((0, 3)), np.zeros(0, bool))
        apart, nearest = self.tree.query(at)
        away, normals = at - self.points[nearest], self.normals[nearest]
        around = self.winding(at)
        near = apart < REACH * self.spacing
        value = np.where(near, (away * normals).sum(-1), apart * np.where(around > 0.5, -1.0, 1.0))
        far = np.where(near | (apart < TOUCHING), 1.0, value)  # the divisor, signed so that gradients point outward
        gradient = np.where(near[:, None], normals, away / far[:, None])
        return Distances(value, gradient, near | (abs(around - 0.5) > DOUBT))

    def samples(self, count: int, seed: int, surface: float, near: float, sigmas: Sequence[float]) -> DistanceSamples:
        """Sample distances as `sample_shape` does: at given points, in random order and anew if they are few, and around."""
        random = np.random.default_rng(seed)
        touching, close = split_counts(count, surface, near)
        chosen = np.resize(random.permutation(len(self.points)), touching + close)
        normals, certain = self.normals[chosen[:touching]], np.ones(touching, bool)
        return sample_distances(self.points[chosen], normals, certain, count, sigmas, self.signed_distance, random)
