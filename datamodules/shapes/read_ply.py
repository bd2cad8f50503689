"""Stanford's .ply: elements of named columns and lists, as text or binary."""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from trimesh.util import triangle_strips_to_faces

from datamodules.common.files import one_line
from datamodules.shapes.polygons import Polygons, check_corners, damaged, is_single, warn_of_rounding

# By hand: trimesh refuses binary files of triangles and larger polygons, cuts concave ones into fans, keeps of a cloud its
# places alone, and leaves strips out.

KINDS = {
    "char": "i1",
    "uchar": "u1",
    "short": "i2",
    "ushort": "u2",
    "int": "i4",
    "uint": "u4",
    "float": "f4",
    "double": "f8",
    "int8": "i1",
    "uint8": "u1",
    "int16": "i2",
    "uint16": "u2",
    "int32": "i4",
    "uint32": "u4",
    "int64": "i8",
    "uint64": "u8",
    "float32": "f4",
    "float64": "f8",
}
FORMATS = {"ascii": "<", "binary_little_endian": "<", "binary_big_endian": ">"}
INDICES = ("vertex_indices", "vertex_index")


class Property(NamedTuple):
    """A column of numbers; with a kind of its length a list in each row."""

    name: str
    kind: str
    length: str | None


class Element(NamedTuple):
    """A table."""

    name: str
    rows: int
    properties: list[Property]


class Lists(NamedTuple):
    """Lists of numbers, one after the other: values (numbers,), sizes (rows,)."""

    values: np.ndarray
    sizes: np.ndarray


Columns = dict[str, np.ndarray | Lists]


def read_header(data: bytes) -> tuple[list[Element], bool, int]:
    """Return the elements that a header announces, whether they are text, and the number of bytes up to their start.

    Raises: ValueError if it is none.
    """
    if not data.startswith(b"ply"):
        raise ValueError("it does not begin with ply")
    end = data.find(b"end_header")
    start = data.find(b"\n", end) + 1
    if end < 0 or not start:
        raise ValueError("its header has no end")
    lines = [line.split() for line in data[:end].decode("latin-1").replace("\r", "\n").split("\n")]
    form = next((line[1] for line in lines if line[:1] == ["format"] and len(line) > 1), "none")
    if form not in FORMATS:
        raise ValueError(f"its format is {form}, not one of {', '.join(FORMATS)}")
    elements: list[Element] = []
    for key, *words in filter(None, lines):
        if key == "element":
            elements.append(Element(words[0], int(words[1]), []))
        elif key == "property":
            elements[-1].properties.append(property_of(words, form))
    return elements, form == "ascii", start


def property_of(words: list[str], form: str) -> Property:
    """Return the property that a line of the header describes; numbers as text are read as float64, lengths included."""
    unknown = sorted({*words[:-1]} - {*KINDS, "list"})
    if unknown:
        raise ValueError(f"its header has the type {unknown[0]}")
    kinds = ["<f8" if form == "ascii" else FORMATS[form] + KINDS[word] for word in words[:-1] if word != "list"]
    return Property(words[-1], kinds[-1], kinds[0] if words[0] == "list" else None)


def length_at(data: bytes, place: int, kind: str) -> int:
    """Return the length of a list, a number of a kind at a place. Raises: ValueError beyond the end, and if it is negative."""
    size = int(np.frombuffer(data, kind, 1, place)[0])
    if size < 0:
        raise ValueError(f"it has a list of {size} numbers")
    return size


def equal_rows(element: Element, data: bytes, start: int) -> np.ndarray | None:
    """Return the rows of an element from `start` on as a structured array; None if lists differ in length."""
    fields: list[tuple[str, str] | tuple[str, str, tuple[int]]] = []
    place = start
    for name, kind, length in element.properties:
        if length is None:
            fields.append((name, kind))
            place += np.dtype(kind).itemsize
        else:
            size = length_at(data, place, length)  # of the first row
            fields += [(f"{name} size", length), (name, kind, (size,))]
            place += np.dtype(length).itemsize + size * np.dtype(kind).itemsize
    if len(data) - start < element.rows * (place - start):
        return None  # lists that are shorter, or cut short
    rows = np.frombuffer(data, np.dtype(fields), element.rows, start)
    sizes = [rows[f"{name} size"] for name, _, length in element.properties if length is not None]
    return rows if all((column == column[0]).all() for column in sizes) else None


def rows_one_by_one(element: Element, data: bytes, start: int) -> tuple[Columns, int]:
    """Return the columns of an element whose lists differ in length, and the end of its last row."""
    place = start
    found: dict[str, list[np.ndarray]] = {entry.name: [] for entry in element.properties}
    for _ in range(element.rows):
        for name, kind, length in element.properties:
            size = 1
            if length is not None:
                size = length_at(data, place, length)
                place += np.dtype(length).itemsize
            found[name].append(np.frombuffer(data, kind, size, place))
            place += size * np.dtype(kind).itemsize
    lists = {name: Lists(np.concatenate(rows), np.array([len(row) for row in rows])) for name, rows in found.items()}
    return {entry.name: lists[entry.name] if entry.length else lists[entry.name].values for entry in element.properties}, place


def read_element(element: Element, data: bytes, start: int) -> tuple[Columns, int]:
    """Return the columns of an element from `start` on, and the end of its last row."""
    if not element.rows:
        return {}, start
    rows = equal_rows(element, data, start)
    if rows is None:
        return rows_one_by_one(element, data, start)
    columns: Columns = {}
    for name, _, length in element.properties:
        values = rows[name]
        columns[name] = values if length is None else Lists(values.reshape(-1), np.full(len(values), values.shape[1]))
    return columns, start + rows.nbytes


def read_ply(path: Path) -> dict[str, Columns]:
    """Return the columns of each element of a .ply file, with a warning about bytes behind the last.

    Raises: InputError if it is cut short or of another kind.
    """
    data = path.read_bytes()
    try:
        elements, is_text, start = read_header(data)
        if is_text:
            data = np.array(data[start:].split(), np.float64).tobytes()
            start = 0
        found: dict[str, Columns] = {}
        for element in elements:
            found[element.name], start = read_element(element, data, start)
    except (ValueError, IndexError) as error:
        raise damaged(path, one_line(error)) from error
    if start < len(data):
        unit = f"{(len(data) - start) // 8} numbers" if is_text else f"{len(data) - start} bytes"
        warnings.warn(f"{path}: {unit} behind the last element are left out.", stacklevel=2)
    return found


def points_of(columns: dict[str, Columns], path: Path) -> np.ndarray:
    """Return the places (vertices, 3) of the vertices, none if there are none.

    Raises: InputError for vertices without x, y and z.
    """
    vertex = columns.get("vertex", {})
    if not vertex:
        return np.zeros((0, 3))
    if any(not isinstance(vertex.get(axis), np.ndarray) for axis in "xyz"):
        raise damaged(path, f"its vertices have {', '.join(vertex)} and not x, y and z")
    places = np.stack([np.asarray(vertex[axis]) for axis in "xyz"], -1)
    if is_single(places):
        warn_of_rounding(places, path)
    return places.astype(np.float64)


def polygons_of(columns: dict[str, Columns], path: Path) -> Polygons:
    """Return the vertices and faces of a .ply file, strips of triangles as their triangles.

    Raises: InputError for corners that are no vertices.
    """
    points = points_of(columns, path)
    faces = next((found for name in INDICES if isinstance(found := columns.get("face", {}).get(name), Lists)), None)
    strips = columns.get("tristrips", {}).get("vertex_indices")
    if faces is None and isinstance(strips, Lists):
        # -1 ends a strip, and the next begins.
        ends = (strips.values < 0).nonzero()[0]
        parts = [part[part >= 0] for part in np.split(strips.values.astype(np.int64), ends)]
        triangles = triangle_strips_to_faces([part for part in parts if len(part) > 2])
        faces = Lists(triangles.reshape(-1), np.full(len(triangles), 3))
    faces = faces or Lists(np.zeros(0), np.zeros(0, np.int64))
    polygons = Polygons(points, faces.values.astype(np.int64), faces.sizes)
    check_corners(polygons, path)
    return polygons
