"""Geomview's .off: counts, vertices, and faces of any number of corners, as text."""

import re
import warnings
from pathlib import Path

import numpy as np

from datamodules.common.files import one_line
from datamodules.shapes.polygons import Polygons, check_corners, damaged
from inr.errors import InputError

# By hand: trimesh cuts polygons into fans, and reads no file of triangles and pentagons.

# Texture, colours and normals may stand behind the coordinates; of ModelNet's files some have the counts right behind the word.
HEADER = re.compile(r"(?:ST)?C?N?(4?n?)(?:OFF|off)\s*(BINARY)?")


def read_off(path: Path) -> Polygons:
    """Read an .off file; colours, normals and texture are left out.

    Raises: InputError if it is cut short, binary, or of another dimension than 3.
    """
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    lines = [line for line in (line.partition("#")[0].strip() for line in text.split("\n")) if line]
    header = HEADER.match(lines[0]) if lines else None
    if header is None:
        raise damaged(path, "it does not begin with OFF")
    if any(header.groups()):
        raise InputError(
            f"An .off file must be text in three dimensions, {path} is {header[0].strip()}; save it as text or ply."
        )
    lines[0] = lines[0][header.end() :]
    rows = [line.split() for line in lines if line]
    try:
        vertices, faces = map(int, rows[0][:2])
        if len(rows) < 1 + vertices + faces:
            raise ValueError(f"it has {len(rows) - 1} lines for {vertices} vertices and {faces} faces")
        points = np.array([row[:3] for row in rows[1 : 1 + vertices]], np.float64).reshape(vertices, 3)
        sizes = np.array([int(row[0]) for row in rows[1 + vertices : 1 + vertices + faces]], np.int64)
        loops = [row[1 : 1 + size] for row, size in zip(rows[1 + vertices :], sizes, strict=False)]
        corners = np.array([int(word) for loop in loops for word in loop], np.int64)
        if len(corners) != sizes.sum():
            raise ValueError("it has faces with fewer corners than they say")
    except (ValueError, IndexError) as error:
        raise damaged(path, one_line(error)) from error
    if len(rows) > 1 + vertices + faces:
        extra = len(rows) - 1 - vertices - faces
        warnings.warn(f"{path}: {extra} lines behind its {faces} faces are left out.", stacklevel=4)
    polygons = Polygons(points, corners, sizes)
    check_corners(polygons, path)
    return polygons
