"""A solid from a file of triangles: welded, wound outward, and scaled into the cube [-1, 1]^3."""

import logging
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from datamodules.common.files import existing_file, one_line
from datamodules.shapes.frame import Frame, frame_of
from inr.errors import InputError
from inr.shapes.meshes import Mesh, winding

ENDINGS = (".obj", ".ply", ".stl", ".off", ".glb", ".gltf")
NEEDLE = 1e-12  # height over base of a face without area
SHEET = 1e-9  # volume over that of the box of what has no inside


class Solid(NamedTuple):
    """A shape with an inside: its mesh in the cube, where that lies in the file, whether it is closed, its separate parts."""

    mesh: Mesh
    frame: Frame
    closed: bool
    bodies: int


class Surface(NamedTuple):
    """A mesh in the cube, where that lies in the file, the body (faces,) of each face, and how many edges are open."""

    mesh: Mesh
    frame: Frame
    bodies: np.ndarray
    gaps: int


class Edges(NamedTuple):
    """The sides of faces, those of one edge side by side.

    Shapes: face (sides,) that a side belongs to; forward (sides,) whether it runs from the lower to the higher vertex;
            first (edges,) side of each edge, sides (edges,) it has.
    """

    face: np.ndarray
    forward: np.ndarray
    first: np.ndarray
    sides: np.ndarray


def load_parts(path: Path) -> list[trimesh.Trimesh | trimesh.PointCloud]:
    """The meshes and clouds of a mesh file, each at its place.

    Raises: InputError for another ending, and a file that is broken.
    """
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"data.path of a mesh must end in {', '.join(ENDINGS)}, got {path}; convert it.")
    logging.getLogger("trimesh").setLevel(logging.CRITICAL)  # what it finds wrong with the surface is found here, too
    try:
        parts = trimesh.load_scene(path, process=False).dump()
    except Exception as error:  # its readers check little: they raise what they stumble over
        reason = f"{path} is not: {type(error).__name__}, {one_line(error)}"
        raise InputError(f"A mesh must be a whole file of the kind its ending says, {reason}; save it anew.") from error
    return [part for part in parts if isinstance(part, trimesh.Trimesh | trimesh.PointCloud)]


def read_triangles(path: Path) -> Mesh:
    """All triangles of a mesh file as they stand there, the pieces of a scene side by side.

    Raises: InputError for a file that is broken, without faces, or with vertices that are not finite.
    """
    parts = load_parts(path)
    meshes = [part for part in parts if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    points = sum(len(part.vertices) for part in parts)
    if not points:
        raise InputError(f"A mesh needs vertices, {path} has none: it is empty, cut short, or of another kind; save it anew.")
    if not meshes:
        rule = f"A mesh needs faces, {path} has {points} vertices and no face"
        raise InputError(f"{rule}; a cloud of points with normals is read with data=pointcloud.")
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)], dtype=np.int64)
    vertices = np.concatenate([np.asarray(mesh.vertices, np.float64) for mesh in meshes])
    faces = np.concatenate([np.asarray(mesh.faces, np.int64) + start for mesh, start in zip(meshes, starts, strict=False)])
    broken = int((~np.isfinite(vertices)).any(1).sum())
    if broken:
        raise InputError(f"Vertices must be finite, {path} has {broken} of {len(vertices)} that are not; repair the mesh.")
    if faces.min() < 0 or faces.max() >= len(vertices):
        rule = f"Faces must name vertices 0..{len(vertices) - 1}"
        raise InputError(f"{rule}, {path} has {faces.min()}..{faces.max()}; repair the mesh.")
    return Mesh(vertices, faces)


def weld(mesh: Mesh) -> Mesh:
    """Equal vertices as one, and each face once: none with fewer than three vertices, nor both sides of a wall.

    Where bodies touch, two equal faces look at each other and cancel; if all do, every face was drawn from both sides.
    """
    _, first, which = np.unique(mesh.vertices, axis=0, return_index=True, return_inverse=True)
    faces = first[which.reshape(-1)][mesh.faces]
    faces = faces[(faces != np.roll(faces, 1, 1)).all(1)]
    if not len(faces):
        return Mesh(mesh.vertices, faces)
    turned = np.take_along_axis(faces, (faces.argmin(1)[:, None] + np.arange(3)) % 3, 1)  # the lowest vertex leads
    side = np.where(turned[:, 1] < turned[:, 2], 1, -1)
    _, first, which = np.unique(np.sort(faces, 1), axis=0, return_index=True, return_inverse=True)
    facing = np.bincount(which.reshape(-1), side)
    if not facing.any():
        return Mesh(mesh.vertices, faces[np.sort(first)])
    winner = np.sign(facing)[which.reshape(-1)] == side
    _, first = np.unique(which.reshape(-1)[winner], return_index=True)
    return Mesh(mesh.vertices, faces[winner][np.sort(first)])


def edges_of(faces: np.ndarray) -> Edges:
    """The edges of faces (faces, 3)."""
    start, stop = faces.reshape(-1), np.roll(faces, -1, 1).reshape(-1)
    code = np.minimum(start, stop) * (faces.max() + 1) + np.maximum(start, stop)
    order = code.argsort(kind="stable")
    _, first, sides = np.unique(code[order], return_index=True, return_counts=True)
    return Edges(order // 3, (start < stop)[order], first, sides)


def orient(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which faces to turn so that neighbours agree, and the body (faces,) of each; the first face of a body stays.

    Neighbours share an edge with no third face. Every face has two copies, as it stands and turned; an edge connects those
    that agree. A body falls into two, one for each way round, unless it is one-sided: then nothing is turned.
    """
    size, edges = len(faces), edges_of(faces)
    pair = edges.first[edges.sides == 2]
    one, other = edges.face[pair], edges.face[pair + 1]
    cross = (edges.forward[pair] == edges.forward[pair + 1]) * size
    rows, columns = np.concatenate([one, one + size]), np.concatenate([other + cross, (other + size + cross) % (2 * size)])
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(2 * size, 2 * size))
    upright, turned = connected_components(graph, directed=False)[1].reshape(2, size)
    return turned < upright, np.unique(np.minimum(upright, turned), return_inverse=True)[1]


def open_edges(faces: np.ndarray) -> int:
    """How many edges are not passed equally often both ways: without any, winding numbers are whole."""
    edges = edges_of(faces)
    return int(np.count_nonzero(np.add.reduceat(np.where(edges.forward, 1, -1), edges.first)))


def volumes(corners: np.ndarray, bodies: np.ndarray) -> np.ndarray:
    """The signed volume of each body, its holes closed by cones to the middle of its faces.

    Shapes: corners (faces, 3, 3), bodies (faces,) -> (bodies,)
    """
    weights = 3 * np.bincount(bodies).clip(1)
    middles = np.stack([np.bincount(bodies, corners[..., axis].sum(1)) / weights for axis in range(3)], -1)
    return np.bincount(bodies, np.linalg.det(corners - middles[bodies][:, None])) / 6


def inside_out(corners: np.ndarray, bodies: np.ndarray, doubtful: np.ndarray) -> np.ndarray:
    """Which bodies (bodies,) to turn: doubtful ones and free ones of negative volume, all others if theirs is in sum.

    A body of negative volume within another is a cavity, and stays.

    Shapes: corners (faces, 3, 3), bodies (faces,), doubtful (bodies,)
    """
    volume = volumes(corners, bodies)
    wrong = doubtful & (volume < -SHEET)
    if np.where(wrong, -volume, volume).sum() < -SHEET:
        wrong |= ~doubtful
    for body in np.flatnonzero(np.where(wrong, -volume, volume) < -SHEET):
        others = bodies != body
        rest = np.where(wrong[bodies[others], None, None], corners[others, ::-1], corners[others]).reshape(-1, 3)
        apart = Mesh(rest, np.arange(len(rest)).reshape(-1, 3))
        wrong[body] ^= bool(winding(apart, corners[~others][:1, 0])[0] < 0.5) if len(rest) else True
    return wrong


def mend(mesh: Mesh, unit: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The faces of a welded mesh wound outward, and the body of each, with a warning if any had to be turned.

    Shapes: unit (vertices, 3) in the cube -> faces (faces, 3), bodies (faces,)
    """
    turned, bodies = orient(mesh.faces)
    doubtful = np.bincount(bodies, turned) > 0
    faces = np.where(turned[:, None], mesh.faces[:, ::-1], mesh.faces)
    wrong = inside_out(unit[faces], bodies, doubtful)
    faces = np.where(wrong[bodies][:, None], faces[:, ::-1], faces)
    count = int(np.count_nonzero(turned ^ wrong[bodies]))
    if count:
        how = "wound against their neighbours" if doubtful.any() else "inside out"
        warnings.warn(f"{path}: {count} of {len(faces)} faces were {how} and have been turned round.", stacklevel=4)
    return faces, bodies


def has_area(mesh: Mesh) -> np.ndarray:
    """Which faces (faces,) are more than a line."""
    sides = np.diff(mesh.vertices[mesh.faces][:, [0, 1, 2, 0]], axis=1)
    return np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=-1) > NEEDLE * np.square(sides).sum(-1).max(-1)


def read_surface(path: Path, fill: float, align: bool = False) -> Surface:
    """The surface in a mesh file, wound outward, the longest side of its box 2 * fill.

    Raises: InputError if there is none.
    """
    mesh = weld(read_triangles(path))
    solid = has_area(mesh)
    if not solid.any():
        raise InputError(f"A mesh needs faces with an area, all those of {path} are points or lines; choose another.")
    used = np.unique(mesh.faces[solid])
    frame = frame_of(mesh.vertices[used], fill, align)
    vertices = frame.to_unit(mesh.vertices)
    faces, bodies = mend(mesh, vertices, path)
    gaps = min(open_edges(faces), open_edges(faces[solid]))  # what has no area may close a gap, or be waste
    return Surface(Mesh(vertices[used], np.searchsorted(used, faces[solid])), frame, bodies[solid], gaps)


def read_mesh(path: str | Path, fill: float = 0.9, align: bool = False) -> Solid:
    """The solid in a mesh file, the longest side of its box 2 * fill, with `align` along its principal axes.

    Equal vertices are welded; faces without area and what no face uses are dropped; faces that look the wrong way are turned
    round with a warning. A surface with holes is taken, with a warning; a sheet without an inside is not.

    Raises: InputError if there is no such file, or it holds no such solid.
    """
    file = existing_file("data.path", str(path))
    mesh, frame, bodies, gaps = read_surface(file, fill, align)
    share = float(abs(volumes(mesh.vertices[mesh.faces], bodies)).sum()) / (2 * fill) ** 3
    if share < SHEET:
        raise InputError(
            f"A shape needs an inside, the surface of {path} encloses {share:.1g} of its box: it is flat or folded up;"
            " give it a thickness, or fit its points with data=pointcloud."
        )
    if gaps:
        warnings.warn(
            f"{path} is not closed, {gaps} edges are open: the sign of the distance comes from winding numbers, which close"
            " the holes smoothly.",
            stacklevel=2,
        )
    return Solid(mesh, frame, not gaps, len(np.unique(bodies)))
