"""Points of a surface with their normals, from a table, a scanner's file, or the vertices of a mesh."""

import warnings
from pathlib import Path

import numpy as np
import trimesh

from datamodules.common.pictures import read_array
from datamodules.shapes.frame import frame_of
from datamodules.shapes.read_mesh import ENDINGS, load_geometries, read_surface
from datamodules.shapes.shape import CloudShape
from inr.errors import InputError
from inr.shapes.meshes import Mesh

TEXTS = (".xyz", ".txt", ".pts")
COLUMNS = "x y z nx ny nz"
FEWEST = 10  # points: an estimate of spacing and areas takes eight neighbours of each
REMEDY = "estimate them with Open3D or MeshLab and save them"


def read_text(path: Path) -> np.ndarray:
    """Read the table in a text: blanks or commas between numbers, comments after #, perhaps the number of points on top.

    Raises: InputError for what is no number, and lines of different lengths.
    """
    try:
        # "-sig" drops the byte order mark that some programs put in front.
        lines = path.read_text(encoding="utf-8-sig").replace(",", " ").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"A cloud in {', '.join(TEXTS)} must be text, {path} is not; give it its own ending.") from error
    rows = [(number, words) for number, line in enumerate(lines, 1) if (words := line.partition("#")[0].split())]
    if len(rows) > 1 and rows[0][1] == [str(len(rows) - 1)]:  # as scanners write .pts
        del rows[0]
    table = []
    for number, words in rows:
        try:
            table.append([float(word) for word in words])
        except ValueError as error:
            raise InputError(f"A cloud must be numbers, {path} has in line {number}: {' '.join(words)[:60]}.") from error
        if len(words) != len(table[0]):
            rule = f"All lines of a cloud must be as long as the first, {len(table[0])} numbers"
            raise InputError(f"{rule}, {path} has {len(words)} in line {number}; it may be cut short.")
    return np.array(table)


def ply_table(path: Path) -> np.ndarray | None:
    """Read the points (points, 6) of a .ply file with normals of their own; None if it has faces instead.

    Raises: InputError if the file is broken or has neither.
    """
    geometry = next(iter(load_geometries(path)), None)
    # Of clouds trimesh passes on points and colours alone; the columns as they stand in the file are in its metadata.
    columns = getattr(geometry, "metadata", {}).get("_ply_raw", {}).get("vertex", {}).get("data")
    names = getattr(getattr(columns, "dtype", None), "names", None) or list(columns or ())
    if columns is not None and all(name in names for name in COLUMNS.split()):
        return np.stack([np.asarray(columns[name], np.float64).reshape(-1) for name in COLUMNS.split()], -1)
    if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces):
        return None
    raise InputError(f"A cloud needs normals, the properties nx ny nz, {path} has {', '.join(names) or 'nothing'}; {REMEDY}.")


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


def read_cloud(path: Path, fill: float = 0.9) -> CloudShape:
    """Read the points of a file with their normals, the longest side of their box 2 * fill.

    A table, as text or .npy, or a .ply file has normals of its own; of a mesh only the vertices are taken, with the normals
    of the faces around them, weighted by area. Points whose normal is 0 are left out, with a warning.

    Raises: InputError if the file holds no such table, or fewer than 10 points or normals.
    """
    ending = path.suffix.lower()
    if ending not in (*TEXTS, ".npy", *ENDINGS):
        raise InputError(f"data.path of a cloud must end in {', '.join((*TEXTS, '.npy', *ENDINGS))}, got {path}; convert it.")
    table = ply_table(path) if ending == ".ply" else None
    if table is None and ending in ENDINGS:
        mesh, frame, _, _ = read_surface(path, fill)
        return CloudShape(path.stem, frame, *with_normals(mesh.vertices, vertex_normals(mesh), path))
    if table is None:
        table = read_text(path) if ending in TEXTS else read_array(path)
    table = check_table(table, path)
    points, normals = with_normals(table[:, :3], table[:, 3:], path)
    frame = frame_of(points, fill)
    return CloudShape(path.stem, frame, frame.to_unit(points), frame.turn(normals))
