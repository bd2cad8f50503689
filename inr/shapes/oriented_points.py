"""Distances from the surface that oriented points lie on, as far as the points tell them."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from inr.shapes.meshes import DOUBT, TOUCHING, Distances, DistanceSamples, Mesh, sample_distances, split_counts, winding

NEIGHBOURS = 8  # that a point shares the surface around it with
DIGITS = 7  # after the point, by which places differ
CANCELLED = 1e-6  # length of a sum of unit normals that look both ways
ASIDE = 0.05  # spacings to either side of a point, where its own disc winds by one half and minus one half
LIKE = 0.5  # cosine above which neighbours lie on a smooth part of the surface
TANGENT = 0.5  # sine of the angle to the surface, below which the way to a neighbour lies in it
REACH = 3.0  # spacings from the nearest point, beyond which its plane no longer stands for the surface


def merged(points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return points (points, 3) of which no two are equal, and unit normals: of equal ones their mean, if there is one."""
    _, first, group = np.unique(points.round(DIGITS), axis=0, return_index=True, return_inverse=True)
    if len(first) == len(points):
        return points, normals
    sums = np.zeros((len(first), 3))
    np.add.at(sums, group.reshape(-1), normals)
    lengths = np.linalg.norm(sums, axis=1)
    order = np.argsort(first)[lengths[np.argsort(first)] > CANCELLED]  # in the order given
    return points[first[order]], sums[order] / lengths[order, None]


class OrientedPoints:
    """Points (points, 3) of a closed surface with unit normals (points, 3) to the outside; equal points are one.

    Source: signs, Barill et al., Fast Winding Numbers for Soups and Clouds (2018), section 3; distances near the points,
            Hoppe et al., Surface Reconstruction from Unorganized Points (1992), section 3.2.
    """

    def __init__(self, points: np.ndarray, normals: np.ndarray) -> None:
        places, directions = merged(points, normals)
        self.points = np.ascontiguousarray(places, np.float64)
        self.normals = np.ascontiguousarray(directions, np.float64)
        self.tree = cKDTree(self.points)
        # The k-th neighbour at the distance r: k points share a disc of pi r^2. igl's own estimate of the areas is built on
        # CGAL, which its wheels lack.
        reach = self.tree.query(self.points, min(NEIGHBOURS, len(self.points) - 1) + 1)[0]
        self.areas = np.pi * reach[:, -1] ** 2 / (reach.shape[1] - 1)
        self.spacing = float(np.median(np.sqrt(self.areas)))

    def winding(self, at: np.ndarray) -> np.ndarray:
        """Return the winding number of the surface about each point (points,), each given point standing for a piece of it."""
        return winding(self.pieces, np.ascontiguousarray(at, np.float64))

    @cached_property
    def pieces(self) -> Mesh:
        """A triangle at each point, across its normal and as large as its share of the surface."""
        # igl's winding numbers of points take 1.4 GiB for 100,000 of them, and those of equal points never end. Of triangles,
        # which give the same but next to a point, they take 30 MiB and an eighth of the time.
        least = np.eye(3)[abs(self.normals).argmin(1)]  # an axis that is far from the normal
        along = np.cross(self.normals, least)
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        across = np.cross(self.normals, along)
        # An equilateral triangle whose corners are r away from its middle has the area 3 sqrt(3) / 4 r^2.
        reach = np.sqrt(self.areas * 4 / 27**0.5)[:, None]
        turns = np.arange(3) * 2 * np.pi / 3
        corners = [self.points + reach * (np.cos(turn) * along + np.sin(turn) * across) for turn in turns]
        return Mesh(np.stack(corners, 1).reshape(-1, 3), np.arange(3 * len(self.points)).reshape(-1, 3))

    def thinned(self, most: int) -> "OrientedPoints":
        """Return no more than so many of the points, at random."""
        some = np.random.default_rng(0).permutation(len(self.points))[:most]
        return OrientedPoints(self.points[some], self.normals[some])

    def enclosure(self) -> float:
        """Return how far the points enclose a body: 1 if they do, -1 if their normals point inward, about 0 on open sheets."""
        # On a closed surface winding numbers jump from 0 to 1: their mean over both sides is one half, at every point.
        step = ASIDE * np.sqrt(self.areas[:, None]) * self.normals
        return 2 * float(self.winding(np.concatenate([self.points + step, self.points - step])).mean())

    def against_neighbours(self) -> np.ndarray:
        """Return the points (points,) whose normals point the other way than most on the same smooth part of the surface."""
        # Node i is point i as it is, node count + i the same point with its normal turned: see `read_mesh.orient`.
        count = len(self.points)
        one = np.arange(count).repeat(min(NEIGHBOURS, count - 1))
        other = self.tree.query(self.points, min(NEIGHBOURS, count - 1) + 1)[1][:, 1:].reshape(-1)
        way = self.points[other] - self.points[one]
        bound = TANGENT * np.linalg.norm(way, axis=1)
        flat = [abs((way * self.normals[end]).sum(1)) < bound for end in (one, other)]
        cosine = (self.normals[one] * self.normals[other]).sum(1)
        linked = flat[0] & flat[1] & (abs(cosine) > LIKE)
        one = one[linked]
        cross = other[linked] + (cosine[linked] < 0) * count
        rows = np.concatenate([one, one + count])
        columns = np.concatenate([cross, (cross + count) % (2 * count)])
        graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(2 * count, 2 * count))
        upright, turned = connected_components(graph, directed=False)[1].reshape(2, count)
        part = np.unique(np.minimum(upright, turned), return_inverse=True)[1]
        against = turned < upright
        most = np.bincount(part, against) > np.bincount(part) / 2  # parts in which the first point is the odd one
        return against ^ most[part]

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
