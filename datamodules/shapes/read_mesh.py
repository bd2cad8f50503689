"""A solid from a file of triangles: welded, wound outward, and scaled into the cube [-1, 1]^3."""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from datamodules.shapes.frame import Frame, frame_of
from datamodules.shapes.read_triangles import read_triangles
from datamodules.shapes.union import share_inside, united
from inr.errors import InputError
from inr.shapes.meshes import Mesh, winding

NEAR = 1e-5  # of the longest side, within which vertices may be one: rounding in the sixth digit, and far below any sample
NEEDLE = 1e-12  # height over base of a face without area
LEFT = 0.1  # of the walls, at most, after a union that was worth it: slivers where surfaces nearly touch
SHEET = 1e-9  # volume over that of the box of what has no inside


class Solid(NamedTuple):
    """A shape with an inside."""

    mesh: Mesh  # in the cube
    frame: Frame  # the cube's place in the file
    closed: bool  # whether the surface has no hole
    bodies: int  # number of its pieces, which are not connected by edges


class Surface(NamedTuple):
    """A surface wound outward, perhaps without an inside."""

    mesh: Mesh  # in the cube
    frame: Frame  # the cube's place in the file
    bodies: np.ndarray  # (faces,) number of the piece that each face belongs to
    gaps: int  # number of open edges


class Edges(NamedTuple):
    """The sides of faces, those of one edge next to each other.

    Shapes: face (sides,) that a side belongs to; forward (sides,) whether it runs from the lower to the higher vertex;
            first (edges,) side of each edge, sides (edges,) it has.
    """

    face: np.ndarray
    forward: np.ndarray
    first: np.ndarray
    sides: np.ndarray


def snapped(mesh: Mesh, reach: float) -> np.ndarray:
    """Return the vertices (vertices, 3) with those nearer than `reach` to each other, in chains, at the place of the first."""
    pairs = cKDTree(mesh.vertices).query_pairs(reach, output_type="ndarray")
    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(len(mesh.vertices),) * 2)
    _, first, group = np.unique(connected_components(links, directed=False)[1], return_index=True, return_inverse=True)
    return mesh.vertices[first[group]]


def weld_tight(mesh: Mesh, path: Path) -> Mesh:
    """Weld equal vertices and, with a warning, nearly equal ones if that closes open edges: triangles that share no corner."""
    exact = weld(mesh)
    gaps = open_edges(exact.faces)
    if not gaps:
        return exact
    used, numbers = np.unique(exact.faces, return_inverse=True)
    compact = Mesh(exact.vertices[used], numbers.reshape(-1, 3))
    tight = weld(Mesh(snapped(compact, NEAR * float(np.ptp(compact.vertices, 0).max())), compact.faces))
    left = open_edges(tight.faces)
    if not len(tight.faces) or left >= gaps:
        return exact
    found = f"{path}: vertices nearer to each other than {NEAR:g} of the longest side have been merged"
    warnings.warn(f"{found}, which closes {gaps - left} of {gaps} open edges.", stacklevel=4)
    return tight


def weld(mesh: Mesh) -> Mesh:
    """Merge equal vertices, and take each face once: none with fewer than three vertices, nor both sides of a wall.

    Where bodies touch, two equal faces look at each other and cancel; if all do, every face was drawn from both sides.
    """
    # STL and files with normals or colours give each face vertices of its own: only merged do faces have edges in common,
    # on which orientation and closedness rest. Only equal vertices are merged; a tolerance could also close thin walls.
    _, first, group = np.unique(mesh.vertices, axis=0, return_index=True, return_inverse=True)
    faces = first[group.reshape(-1)][mesh.faces]
    faces = faces[(faces != np.roll(faces, 1, 1)).all(1)]
    if not len(faces):
        return Mesh(mesh.vertices, faces)
    # With the lowest vertex in front, the order of the other two tells the sides of a triangle apart.
    turned = np.take_along_axis(faces, (faces.argmin(1)[:, None] + np.arange(3)) % 3, 1)
    side = np.where(turned[:, 1] < turned[:, 2], 1, -1)
    _, first, group = np.unique(np.sort(faces, 1), axis=0, return_index=True, return_inverse=True)
    balance = np.bincount(group.reshape(-1), side)  # per triangle: faces on one side less those on the other
    if not balance.any():
        return Mesh(mesh.vertices, faces[np.sort(first)])
    wins = np.sign(balance)[group.reshape(-1)] == side
    _, first = np.unique(group.reshape(-1)[wins], return_index=True)
    return Mesh(mesh.vertices, faces[wins][np.sort(first)])


def edges_of(faces: np.ndarray) -> Edges:
    """Find the edges of faces (faces, 3)."""
    start = faces.reshape(-1)
    stop = np.roll(faces, -1, 1).reshape(-1)
    code = np.minimum(start, stop) * (faces.max() + 1) + np.maximum(start, stop)  # one number per edge, either way round
    order = code.argsort(kind="stable")
    _, first, sides = np.unique(code[order], return_index=True, return_counts=True)
    return Edges(order // 3, (start < stop)[order], first, sides)


def orient(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the faces (faces,) to turn so that neighbours agree, and the body (faces,) of each.

    Neighbours share an edge with no third face; they agree if they pass it in opposite directions. The first face of a body
    stays. A one-sided surface, such as a Moebius strip, stays as it is: trimesh and libigl would turn half of it.
    """
    # Double cover: node f is face f as it stands, node size + f the same face turned. An edge of faces that agree connects
    # like copies, one of faces that do not connects unlike ones. A body falls into two components, one for each way round,
    # unless it is one-sided: then there is only one. Components are numbered by their lowest node, so that of the first face
    # as it stands comes before the other; a face is turned if its turned copy is in that one.
    size = len(faces)
    edges = edges_of(faces)
    pair = edges.first[edges.sides == 2]
    one = edges.face[pair]
    other = edges.face[pair + 1]
    cross = (edges.forward[pair] == edges.forward[pair + 1]) * size
    rows = np.concatenate([one, one + size])
    columns = np.concatenate([other + cross, (other + size + cross) % (2 * size)])
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(2 * size, 2 * size))
    upright, turned = connected_components(graph, directed=False)[1].reshape(2, size)
    return turned < upright, np.unique(np.minimum(upright, turned), return_inverse=True)[1]


def open_edges(faces: np.ndarray) -> int:
    """Count the edges that are not passed equally often both ways: without any, winding numbers are whole."""
    if not len(faces):
        return 0
    edges = edges_of(faces)
    return int(np.count_nonzero(np.add.reduceat(np.where(edges.forward, 1, -1), edges.first)))


def volumes(corners: np.ndarray, bodies: np.ndarray) -> np.ndarray:
    """Return the signed volume of each body, its holes closed by cones to the middle of its faces.

    Shapes: corners (faces, 3, 3), bodies (faces,) -> (bodies,)
    """
    # The tetrahedron of a face (a, b, c) and a point m has the signed volume det(a - m, b - m, c - m) / 6. Over a closed
    # surface their sum is its volume, whatever m; where there is a hole, the cone over its rim to m is what is missing.
    weights = 3 * np.bincount(bodies).clip(1)
    middles = np.stack([np.bincount(bodies, corners[..., axis].sum(1)) / weights for axis in range(3)], -1)
    return np.bincount(bodies, np.linalg.det(corners - middles[bodies][:, None])) / 6


def inside_out(corners: np.ndarray, bodies: np.ndarray, doubtful: np.ndarray) -> np.ndarray:
    """Return the bodies (bodies,) to turn: doubtful ones and free ones of negative volume, all others if theirs is in sum.

    A body of negative volume within another is a cavity, and stays.

    Shapes: corners (faces, 3, 3), bodies (faces,), doubtful (bodies,) whose faces disagreed in the file
    """
    volume = volumes(corners, bodies)
    # A body whose faces disagree cannot say that it is a cavity: it is taken for solid.
    wrong = doubtful & (volume < -SHEET)
    # The others agree with each other, cavities included: if the whole is inside out, all of them are.
    if np.where(wrong, -volume, volume).sum() < -SHEET:
        wrong |= ~doubtful
    for body in np.flatnonzero(np.where(wrong, -volume, volume) < -SHEET):
        others = bodies != body
        rest = np.where(wrong[bodies[others], None, None], corners[others, ::-1], corners[others]).reshape(-1, 3)
        apart = Mesh(rest, np.arange(len(rest)).reshape(-1, 3))
        # A cavity lies within another body, which winds about its points; outside there is nothing to hollow out.
        wrong[body] ^= bool(winding(apart, corners[~others][:1, 0])[0] < 0.5) if len(rest) else True
    return wrong


def mend(mesh: Mesh, unit: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Wind the faces of a welded mesh outward, with a warning if any had to be turned; return them, and the body of each.

    Shapes: unit (vertices, 3) in the cube -> faces (faces, 3), bodies (faces,)
    """
    turned, bodies = orient(mesh.faces)
    faces = np.where(turned[:, None], mesh.faces[:, ::-1], mesh.faces)
    # Pieces without a volume of their own, down to single triangles, may enclose one together.
    flat = abs(volumes(unit[faces], bodies)) < SHEET
    bodies = np.unique(np.where(flat[bodies], flat.argmax(), bodies), return_inverse=True)[1]
    doubtful = np.bincount(bodies, turned) > 0
    wrong = inside_out(unit[faces], bodies, doubtful)
    faces = np.where(wrong[bodies][:, None], faces[:, ::-1], faces)
    count = int(np.count_nonzero(turned ^ wrong[bodies]))
    if count:
        how = "wound against their neighbours" if doubtful.any() else "inside out"
        warnings.warn(f"{path}: {count} of {len(faces)} faces were {how} and have been turned round.", stacklevel=4)
    return faces, bodies


def has_area(mesh: Mesh) -> np.ndarray:
    """Return the faces (faces,) that are more than a line: those of some height over their longest side."""
    sides = np.diff(mesh.vertices[mesh.faces][:, [0, 1, 2, 0]], axis=1)
    # |a x b| = base * height, so that over base^2 it is height / base, whatever the size of the face.
    return np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=-1) > NEEDLE * np.square(sides).sum(-1).max(-1)


def read_surface(path: Path, fill: float, align: bool = False) -> Surface:
    """Read the surface in a mesh file, wound outward, the longest side of its box 2 * fill.

    Raises: InputError if there is none.
    """
    mesh = weld_tight(read_triangles(path), path)
    solid = has_area(mesh)
    if not solid.any():
        raise InputError(f"A mesh needs faces with an area, all those of {path} are points or lines; choose another.")
    used = np.unique(mesh.faces[solid])
    frame = frame_of(mesh.vertices[used], fill, align)
    vertices = frame.to_unit(mesh.vertices)
    faces, bodies = mend(mesh, vertices, path)
    gaps = min(open_edges(faces), open_edges(faces[solid]))  # a face without area may close a gap, or be waste
    return Surface(Mesh(vertices[used], np.searchsorted(used, faces[solid])), frame, bodies[solid], gaps)


def without_walls(mesh: Mesh, bodies: np.ndarray, path: Path) -> tuple[Mesh, np.ndarray]:
    """Unite bodies that overlap or lie within each other; return the mesh, and the body of each face. Both ways with a warning.

    Where they are not closed the walls stay: distances inside are then those to the nearest wall.
    """
    # A distance from outside is that from the union anyway: the nearest point of several bodies is on none within another.
    share = share_inside(mesh, bodies)
    if not share:
        return mesh, bodies
    count = len(np.unique(bodies))
    whole = united(mesh, bodies, volumes(mesh.vertices[mesh.faces], bodies)) if count > 1 else None
    if whole is not None:
        whole = weld(whole)
        whole = Mesh(whole.vertices, whole.faces[has_area(whole)])
        parts = orient(whole.faces)[1]
        if share_inside(whole, parts) < share * LEFT:
            found = f"{path}: {count} bodies overlap or lie within each other"
            warnings.warn(f"{found}; the walls inside, {100 * share:.2g} % of the surface, are left out.", stacklevel=3)
            return whole, parts
    found = f"{path}: {100 * share:.2g} % of the surface lies inside the body, and distances inside are to these walls, too"
    warnings.warn(f"{found}; unite what overlaps (in Blender: Remesh, or a boolean union) and close its holes.", stacklevel=3)
    return mesh, bodies


def read_mesh(path: Path, fill: float = 0.9, align: bool = False) -> Solid:
    """Read the solid in a mesh file, the longest side of its box 2 * fill, with `align` along its principal axes.

    Equal vertices are welded; faces without area and vertices without face are dropped; faces that look the wrong way are
    turned round, and walls within a body left out, with a warning. A surface with holes is taken, with a warning; a sheet
    without an inside is not.

    Raises: InputError if the file holds no such solid.
    """
    mesh, frame, bodies, gaps = read_surface(path, fill, align)
    share = float(abs(volumes(mesh.vertices[mesh.faces], bodies)).sum()) / (2 * fill) ** 3
    if share < SHEET:
        rule = f"A shape needs an inside, the surface of {path} encloses {share:.1g} of its box"
        raise InputError(f"{rule}: it is flat or folded up; give it a thickness, or fit its points with data=pointcloud.")
    if gaps:
        # The sign comes from the generalised winding number, the solid angle of the surface over 4 pi. It is harmonic away
        # from the surface, so over a hole it falls from 1 to 0 smoothly, and its level one half spans the hole.
        found = f"{path} is not closed, {gaps} edges are open: the sign of the distance comes from winding numbers"
        warnings.warn(f"{found}, which close the holes smoothly.", stacklevel=2)
    mesh, bodies = without_walls(mesh, bodies, path)
    return Solid(mesh, frame, not gaps, len(np.unique(bodies)))
