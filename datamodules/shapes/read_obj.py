"""Wavefront's .obj: vertices, their normals, and faces that count vertices from the start or back from where they stand."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.common.files import one_line
from datamodules.shapes.polygons import Polygons, damaged
from inr.errors import InputError

# By hand: trimesh counts back from the end of the file, so that only the last of several bodies is right, and cuts concave
# polygons into fans; igl reads no mixture of triangles and larger polygons.


class Wavefront(NamedTuple):
    """An .obj file: its faces, and its normals (normals, 3), in the order of the file."""

    polygons: Polygons
    normals: np.ndarray


def vertex_number(word: str, before: int) -> int:
    """Return the number from 0 on of the vertex that a corner `v`, `v/vt`, `v//vn` or `v/vt/vn` names; -1: none.

    before: number of vertices that the file has above it.
    """
    number = int(word.partition("/")[0])
    return number - 1 if number > 0 else max(before + number, -1) if number else -1


def read_obj(path: Path) -> Wavefront:
    """Read an .obj file; texture, colour, material and groups are left out.

    Raises: InputError for what is no number, and for faces with corners that are no vertices.
    """
    # A backslash at the end of a line goes on in the next; names may be in any encoding.
    text = path.read_text(encoding="utf-8-sig", errors="replace").replace("\\\n", " ")
    places: list[list[str]] = []
    normals: list[list[str]] = []
    corners: list[int] = []
    sizes: list[int] = []
    lines: list[int] = []
    try:
        for number, line in enumerate(text.split("\n"), 1):
            key, *words = line.partition("#")[0].split() or [""]
            if key == "v":
                places.append(words[:3])
            elif key == "vn":
                normals.append(words[:3])
            elif key == "f":
                corners += [vertex_number(word, len(places)) for word in words]
                sizes.append(len(words))
                lines.append(number)
        polygons = Polygons(table(places), np.array(corners, np.int64), np.array(sizes, np.int64))
        found = Wavefront(polygons, table(normals))
    except ValueError as error:
        raise damaged(path, one_line(error)) from error
    wrong = ((polygons.corners < 0) | (polygons.corners >= len(places))).nonzero()[0]
    if len(wrong):
        row = int(np.cumsum(sizes).searchsorted(wrong[0], side="right"))
        rule = f"Faces must name vertices 1..{len(places)}, or -1, -2, ... back from where they stand"
        raise InputError(f"{rule}, {path} has another in line {lines[row]}; repair the mesh.")
    return found


def table(rows: list[list[str]]) -> np.ndarray:
    """Return numbers (rows, 3)."""
    return np.array(rows, np.float64).reshape(len(rows), 3)
