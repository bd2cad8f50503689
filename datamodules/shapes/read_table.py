"""Tables of points from text and arrays: their columns x y z nx ny nz, by name where these have names."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from datamodules.common.named_arrays import only
from datamodules.common.pictures import read_arrays
from datamodules.shapes.polygons import is_single, warn_of_rounding
from inr.errors import InputError

TEXTS = (".xyz", ".xyzn", ".txt", ".pts", ".asc", ".csv")
COLUMNS = "x y z nx ny nz"
REMEDY = "estimate them with Open3D or MeshLab and save them"


def plain_name(name: str) -> str:
    """Return the name of a column as in COLUMNS: Nx, normal_x and NormalX are nx."""
    return re.sub(r"[^a-z]", "", name.lower()).replace("normal", "n")


def choose_columns(names: Sequence[str], columns: Mapping[str, np.ndarray], path: Path) -> np.ndarray:
    """Return the table (points, 6) of the columns with the right names.

    Raises: InputError if there are none.
    """
    known = {plain_name(name): name for name in reversed(names)}  # the first of several that are called alike
    if not all(name in known for name in COLUMNS.split()):
        found = ", ".join(names) or "nothing"
        raise InputError(f"A cloud needs normals, the properties nx ny nz, {path} has {found}; {REMEDY}.")
    table = np.stack([np.asarray(columns[known[name]]).reshape(-1) for name in COLUMNS.split()], -1)
    if is_single(table):
        warn_of_rounding(table[:, :3], path)
    return table.astype(np.float64)


def words_of(line: str) -> list[str]:
    """Return the words of a line without its comment, between blanks, commas or semicolons."""
    line = line.partition("#")[0].replace('"', " ")
    if ";" in line:  # where a comma is the decimal point
        return line.replace(",", ".").replace(";", " ").split()
    return line.replace(",", " ").split()


def header_of(lines: Sequence[str]) -> tuple[list[str], int]:
    """Return the names of the columns, where a line above the numbers has them, and the number of that line from 1 on."""
    for number, line in enumerate(lines, 1):
        names = words_of(re.sub(r"^\s*(//|#)", "", line))
        if {"x", "y", "z"} <= {plain_name(name) for name in names}:
            return names, number
        if names and not line.lstrip().startswith(("//", "#")) and len(names) > 1:
            break  # numbers
    return [], 0


def read_text(path: Path) -> np.ndarray:
    """Read the table in a text, perhaps with names of the columns and the number of points above it, comments after #.

    Raises: InputError for what is no number, lines of different lengths, and names without normals.
    """
    try:
        # "-sig" drops the byte order mark that some programs put in front.
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"A cloud in {', '.join(TEXTS)} must be text, {path} is not; give it its own ending.") from error
    names, header = header_of(lines)
    rows = [(number, words) for number, line in enumerate(lines, 1) if number != header and (words := words_of(line))]
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
    found = np.array(table)
    if not names or not len(found):
        return found
    if len(names) != found.shape[1]:
        rule = f"A cloud needs a name for each column, {path} has {len(names)} names and {found.shape[1]} columns"
        raise InputError(f"{rule}; correct its header, or leave it out.")
    return choose_columns(names, dict(zip(reversed(names), found.T[::-1], strict=True)), path)


def read_array_table(path: Path) -> np.ndarray:
    """Read the table of an .npy file, or the one of an .npz file, which may be in two arrays, `points` and `normals`.

    Raises: InputError for other arrays.
    """
    arrays = read_arrays(path)
    if {"pos", "neg"} <= arrays.keys():
        raise InputError(f"A cloud needs normals, {path} has the distances pos and neg of DeepSDF; use data=distances.")
    if not {"points", "normals"} <= arrays.keys():
        return only(arrays, "An .npz file", path)
    points = arrays["points"]
    normals = arrays["normals"]
    if points.shape[1:] != (3,) or normals.shape != points.shape:
        rule = "A cloud's points and normals must be (points, 3) both"
        raise InputError(f"{rule}, {path} has {points.shape} and {normals.shape}; reshape them.")
    return np.concatenate([points, normals], 1)
