"""Faces of any number of corners, and the triangles that they are cut into."""

import warnings
from pathlib import Path
from typing import NamedTuple

import manifold3d
import numpy as np

from inr.errors import InputError
from inr.shapes.meshes import Mesh

COARSE = 1e-4  # steps of float32 over the size of a shape, above which its surface is rough
FLAT = 1e-9  # sine of a corner that is straight up to rounding


class Polygons(NamedTuple):
    """Faces, the corners of one after those of the other.

    Shapes: vertices (vertices, 3) float64, corners (corners,) numbers of vertices, sizes (faces,) corners of each face.
    """

    vertices: np.ndarray
    corners: np.ndarray
    sizes: np.ndarray


def damaged(path: Path, reason: str) -> InputError:
    """Return the error of a file that cannot be read."""
    return InputError(f"A mesh must be a whole file of the kind its ending says, {path} is not: {reason}; save it anew.")


def check_corners(polygons: Polygons, path: Path) -> None:
    """Raise InputError for faces with corners that are no vertices."""
    corners = polygons.corners
    if len(corners) and (corners.min() < 0 or corners.max() >= len(polygons.vertices)):
        rule = f"Faces must name vertices 0..{len(polygons.vertices) - 1}"
        raise InputError(f"{rule}, {path} has {corners.min()}..{corners.max()}; repair the mesh.")


def is_single(numbers: np.ndarray) -> bool:
    """Tell numbers in single precision, of either order of bytes."""
    return numbers.dtype.kind == "f" and numbers.dtype.itemsize == 4


def warn_of_rounding(vertices: np.ndarray, path: Path) -> None:
    """Warn of single-precision vertices (vertices, 3) so far from the origin that rounding has moved them."""
    if not np.isfinite(vertices).all() or not len(vertices):
        return
    largest = abs(vertices).max().astype(np.float32)
    size = float(np.ptp(vertices.astype(np.float64), 0).max())
    step = float(np.spacing(largest))
    if step > COARSE * size > 0:
        found = f"{path}: single precision around {largest:.3g} has steps of {step:.2g}, for a shape of size {size:.3g}"
        warnings.warn(f"{found}; export it around the origin, or as obj or ply in double precision.", stacklevel=5)


@np.errstate(invalid="ignore", over="ignore")  # what is not finite is refused later, by the name of its file
def concave(loops: np.ndarray) -> np.ndarray:
    """Return the polygons (polygons,) some corner of which turns the other way.

    Shapes: loops (polygons, corners, 3)
    """
    along = np.roll(loops, -1, 1) - loops
    normal = np.cross(loops - loops[:, :1], along).sum(1)  # twice the area of the polygon (Newell)
    turns = np.cross(np.roll(along, 1, 1), along)  # at each corner, as long as the product of its sides
    sides = np.linalg.norm(along, axis=-1)
    bound = FLAT * np.linalg.norm(normal, axis=-1)[:, None] * sides * np.roll(sides, 1, 1)
    return ((turns * normal[:, None]).sum(-1) < -bound).any(1)


def fans(count: int, size: int) -> np.ndarray:
    """Return the corners (count, size - 2, 3) of triangles around the first corner of each of `count` polygons."""
    steps = np.arange(1, size - 1)
    return np.broadcast_to(np.stack([np.zeros_like(steps), steps, steps + 1], -1), (count, size - 2, 3))


def ears(loop: np.ndarray) -> np.ndarray:
    """Cut a polygon (corners, 3), which may be concave and about flat, into triangles (corners - 2, 3) of its corners."""
    normal = np.cross(loop - loop[0], np.roll(loop, -1, 0) - loop).sum(0)
    # Seen along the axis that it faces most; the other two in the order in which it runs counter-clockwise.
    axis = abs(normal).argmax()
    seen = [(axis + 1) % 3, (axis + 2) % 3][:: 1 if normal[axis] > 0 else -1]
    return np.array(manifold3d.triangulate([loop[:, seen]]), np.int64)


def triangulate(polygons: Polygons) -> Mesh:
    """Cut polygons into triangles, in their order: convex ones around their first corner, concave ones ear by ear.

    Faces of one or two corners are left out.
    """
    # trimesh takes fans for all, which lie outside of a concave polygon in part.
    starts = np.cumsum(polygons.sizes) - polygons.sizes
    order = []
    faces = []
    for size in np.unique(polygons.sizes[polygons.sizes > 2]):
        (places,) = (polygons.sizes == size).nonzero()
        corners = polygons.corners[starts[places][:, None] + np.arange(size)]  # (polygons, size)
        cuts = fans(len(corners), size).copy()
        loops = polygons.vertices[corners]
        for place in concave(loops).nonzero()[0] if size > 3 else ():
            cuts[place] = ears(loops[place])
        faces.append(np.take_along_axis(corners, cuts.reshape(len(corners), -1), 1).reshape(-1, 3))
        order.append(places.repeat(size - 2))
    if not faces:
        return Mesh(polygons.vertices, np.zeros((0, 3), np.int64))
    return Mesh(polygons.vertices, np.concatenate(faces)[np.concatenate(order).argsort(kind="stable")].astype(np.int64))
