"""Points of a surface with their normals, from a table, a scanner's file, or the vertices of a mesh."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from datamodules.shapes.frame import frame_of
from datamodules.shapes.polygons import is_single, warn_of_rounding
from datamodules.shapes.read_mesh import read_surface
from datamodules.shapes.read_obj import read_obj
from datamodules.shapes.read_pcd import read_pcd
from datamodules.shapes.read_ply import read_ply
from datamodules.shapes.read_table import COLUMNS, REMEDY, TEXTS, choose_columns, read_array_table, read_text
from datamodules.shapes.read_triangles import ENDINGS
from datamodules.shapes.shape import CloudShape
from inr.errors import InputError
from inr.shapes.meshes import Mesh
from inr.shapes.oriented_points import OrientedPoints, merged

TABLES: dict[str, Callable[[Path], np.ndarray]] = {
    **dict.fromkeys(TEXTS, read_text),
    ".npy": read_array_table,
    ".npz": read_array_table,
    ".pcd": read_pcd,
}
INWARD = 0.5  # enclosure of a body whose normals point inward, with some holes
ENCLOSED = 0.75  # enclosure of a body without large holes
ASKED = 10000  # points from which the enclosure is told first: all of many take long
FEWEST = 10  # points: an estimate of spacing and areas takes eight neighbours of each


def own_normals(path: Path) -> np.ndarray | None:
    """Read the points (points, 6) of a .ply or .obj file with normals of their own; None if it has faces instead.

    Raises: InputError if the file is broken or has neither.
    """
    if path.suffix.lower() == ".obj":
        mesh, normals = read_obj(path)
        is_cloud = not len(mesh.sizes) and len(normals) == len(mesh.vertices)
        return np.concatenate([mesh.vertices, normals], 1) if is_cloud else None
    found = read_ply(path)
    columns = {name: column for name, column in found.get("vertex", {}).items() if isinstance(column, np.ndarray)}
    if (found.get("face") or found.get("tristrips")) and not {"nx", "ny", "nz"} <= columns.keys():
        return None
    return choose_columns(list(columns), columns, path)


def check_table(table: np.ndarray, path: Path) -> np.ndarray:
    """Return a table (points, 6) of finite numbers.

    Raises: InputError if it is anything else, or looks like colours.
    """
    if table.ndim != 2 and table.size:
        raise InputError(f"A cloud must be a table (points, 6), {path} has the shape {table.shape}; reshape it.")
    if len(table) < FEWEST:
        raise InputError(f"A cloud needs {FEWEST} points or more, {path} has {len(table)}; choose another.")
    if table.shape[1] < 6:
        raise InputError(f"A cloud needs normals, {COLUMNS} per line, {path} has {table.shape[1]} columns; {REMEDY}.")
    if table.shape[1] > 6 or table.dtype.kind not in "buif":
        rule = f"A cloud must have six columns of numbers, {COLUMNS}"
        raise InputError(f"{rule}, {path} has {table.shape[1]} of {table.dtype}; keep these six.")
    if is_single(table):
        warn_of_rounding(table[:, :3], path)
    table = table.astype(np.float64)
    broken = int((~np.isfinite(table)).any(1).sum())
    if broken:
        raise InputError(f"A cloud must be finite, {path} has {broken} of {len(table)} points that are not; drop them.")
    last = table[:, 3:]
    if (last >= 0).all() and last.max() > 1 and (last == last.round()).all():  # bytes: normals look both ways
        raise InputError(f"A cloud needs normals, {COLUMNS} per line, {path} has what looks like colours there; {REMEDY}.")
    return table


def vertex_normals(mesh: Mesh) -> np.ndarray:
    """Return the sums (vertices, 3) of the normals of the faces around each vertex, as long as twice their areas.

    By hand: those of trimesh and libigl are unit vectors, and differ in the last digit.
    """
    # A cross product is 2 area * normal. The sum around a vertex is 6 times the derivative of the enclosed volume by the
    # vertex, and so points outward at convex and concave vertices alike.
    corners = mesh.vertices[mesh.faces]
    areas = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = np.zeros_like(mesh.vertices)
    np.add.at(sums, mesh.faces, areas[:, None])
    return sums


def with_normals(points: np.ndarray, normals: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the points that have a normal, and these with length 1, with a warning if any has none.

    Raises: InputError if too few have one.
    """
    largest = abs(normals).max(1, keepdims=True)
    known = largest[:, 0] > 0
    if known.sum() < FEWEST:
        raise InputError(f"A cloud needs {FEWEST} normals that are not 0, {path} has {known.sum()}; {REMEDY}.")
    if not known.all():
        warnings.warn(f"{path}: {(~known).sum()} of {len(points)} points have a normal of 0 and are left out.", stacklevel=3)
    normals = normals[known] / largest[known]  # so that no square underflows
    return points[known], normals / np.linalg.norm(normals, axis=1, keepdims=True)


def enclosure(cloud: OrientedPoints) -> float:
    """Return how far points enclose a body; of many points from some of them, unless these are too few for something thin."""
    some = cloud.thinned(ASKED).enclosure()
    return some if abs(some) > ENCLOSED or len(cloud.points) <= ASKED else cloud.enclosure()


def oriented(points: np.ndarray, normals: np.ndarray, path: Path) -> np.ndarray:
    """Return normals (points, 3) to the outside: all turned, with a warning, if they point inward. Mixed ones are warned of.

    Shapes: points (points, 3) in the cube
    """
    cloud = OrientedPoints(points, normals)
    wrong = cloud.against_neighbours()
    enclosed = enclosure(cloud)
    if wrong.any():
        agreeing = enclosure(OrientedPoints(cloud.points, np.where(wrong[:, None], -cloud.normals, cloud.normals)))
        if abs(agreeing) > abs(enclosed):  # else they are both sides of something thin
            found = f"{path}: {wrong.sum()} of {len(wrong)} normals ({wrong.mean():.1%}) point against those around them"
            warnings.warn(
                f"{found}, and distances there have the wrong sign; orient them with Open3D or MeshLab.", stacklevel=3
            )
            enclosed = agreeing
    if abs(enclosed) < ENCLOSED:
        found = f"{path}: the points enclose a body by {enclosed:.0%} alone: the surface is open, thinner than they are apart"
        warnings.warn(f"{found}, or has normals that point inward in some parts.", stacklevel=3)
    if enclosed > -INWARD:
        return normals
    warnings.warn(f"{path}: the normals point inward, and have been turned round.", stacklevel=3)
    return -normals


def read_cloud(path: Path, fill: float = 0.9) -> CloudShape:
    """Read the points of a file with their normals, the longest side of their box 2 * fill.

    A table, as text, array or .pcd, or a .ply or .obj file has normals of its own; of a mesh only the vertices are taken,
    with the normals of the faces around them, weighted by area. Equal points are one; those whose normal is 0 are left
    out, and normals that point inward are turned, with a warning.

    Raises: InputError if the file holds no such table, or fewer than 10 points or normals.
    """
    ending = path.suffix.lower()
    if ending not in (*TABLES, *ENDINGS):
        raise InputError(f"data.path of a cloud must end in {', '.join((*TABLES, *ENDINGS))}, got {path}; convert it.")
    table = TABLES[ending](path) if ending in TABLES else own_normals(path) if ending in (".ply", ".obj") else None
    if table is None:
        mesh, frame, _, _ = read_surface(path, fill)
        return CloudShape(path.stem, frame, *with_normals(mesh.vertices, vertex_normals(mesh), path))
    table = check_table(table, path)
    points, normals = with_normals(table[:, :3], table[:, 3:], path)
    frame = frame_of(points, fill)
    places, directions = merged(frame.to_unit(points), frame.turn(normals))
    if len(places) < FEWEST:
        rule = f"A cloud needs {FEWEST} places with one normal each, {path} has {len(places)}"
        raise InputError(f"{rule}: its points are equal, and their normals cancel; {REMEDY}.")
    return CloudShape(path.stem, frame, places, oriented(places, directions, path))
