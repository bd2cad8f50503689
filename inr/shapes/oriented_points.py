"""What oriented points say of the space around them: distances from the surface that they lie on."""

from collections.abc import Sequence

import igl
import numpy as np
from scipy.spatial import cKDTree

from inr.shapes.meshes import DOUBT, TOUCHING, Distances, Samples, mixed, shares

NEIGHBOURS = 8  # that a point shares the surface around it with
REACH = 3.0  # how many spacings away the surface is no longer taken for the plane of its nearest point


class OrientedPoints:
    """Points (points, 3) of a closed surface with unit normals (points, 3) to the outside.

    Source: signs, Barill et al., Fast Winding Numbers for Soups and Clouds (2018), section 3; distances near the points,
            Hoppe et al., Surface Reconstruction from Unorganized Points (1992), section 3.2.
    """

    def __init__(self, points: np.ndarray, normals: np.ndarray) -> None:
        self.points, self.normals = np.ascontiguousarray(points, np.float64), np.ascontiguousarray(normals, np.float64)
        self.tree = cKDTree(self.points)
        reach = self.tree.query(self.points, min(NEIGHBOURS, len(points) - 1) + 1)[0]
        self.areas = np.pi * reach[:, -1] ** 2 / (reach.shape[1] - 1)  # of the disc that so many points share
        self.spacing = float(np.median(np.sqrt(self.areas)))

    def winding(self, at: np.ndarray) -> np.ndarray:
        """How often the surface goes around each point (points,), each given point standing for a disc of it."""
        return igl.fast_winding_number(self.points, self.normals, self.areas, np.ascontiguousarray(at, np.float64))

    def signed_distance(self, at: np.ndarray) -> Distances:
        """Distances at points (points, 3), positive outside, and their gradients.

        Within three spacings those from the plane of the nearest point; farther those from that point, negative where the
        winding number is above one half, and not certain where it is about that, away from the points: over holes.
        """
        if not len(at):
            return Distances(np.zeros(0), np.zeros((0, 3)), np.zeros(0, bool))
        apart, which = self.tree.query(at)
        away, normals = at - self.points[which], self.normals[which]
        around = self.winding(at)
        near = apart < REACH * self.spacing
        value = np.where(near, (away * normals).sum(-1), apart * np.where(around > 0.5, -1.0, 1.0))
        far = np.where(near | (apart < TOUCHING), 1.0, value)
        gradient = np.where(near[:, None], normals, away / far[:, None])
        return Distances(value, gradient, near | (abs(around - 0.5) > DOUBT))

    def samples(self, count: int, seed: int, surface: float, near: float, sigmas: Sequence[float]) -> Samples:
        """Samples as of `sample_shape`: given points, in random order and anew where there are too few, and around them."""
        random = np.random.default_rng(seed)
        touching, close = shares(count, surface, near)
        which = np.resize(random.permutation(len(self.points)), touching + close)
        normals, certain = self.normals[which[:touching]], np.ones(touching, bool)
        return mixed(self.points[which], normals, certain, count, sigmas, self.signed_distance, random)
