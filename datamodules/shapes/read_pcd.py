"""Points of the Point Cloud Library's .pcd files: text, binary, or compressed as CloudCompare writes them."""

# By hand: of Python's libraries for it one needs a compiler, the other brings a viewer along.

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.common.files import one_line
from datamodules.shapes.read_table import choose_columns
from inr.errors import InputError

TYPES = {"F": "f", "I": "i", "U": "u"}  # as numpy calls them
LITERAL = 32  # codes below it are followed by one byte more than they say, the others repeat what was there
LONGEST = 7  # a length of three bits that goes on in the next byte
FORMATS = ("ascii", "binary", "binary_compressed")


class Header(NamedTuple):
    """Columns of a file: names, kinds and counts of numbers (columns,), and the number of points."""

    names: list[str]
    kinds: list[str]
    counts: list[int]
    points: int
    form: str


def read_header(data: bytes) -> tuple[Header, int]:
    """Return the header, and its number of bytes. Raises: ValueError or KeyError if it is none."""
    entries: dict[str, list[str]] = {}
    start = 0
    while "DATA" not in entries:
        end = data.find(b"\n", start)
        if end < 0:
            raise ValueError("its header has no line DATA")
        key, *words = data[start:end].decode("latin-1").partition("#")[0].split() or [""]
        entries[key.upper()] = words
        start = end + 1
    names = entries["FIELDS"]
    form = entries["DATA"][0].lower()
    if form not in FORMATS:
        raise ValueError(f"its data are {form}, not one of {', '.join(FORMATS)}")
    kinds = [f"<{TYPES[kind]}{size}" for kind, size in zip(entries["TYPE"], entries["SIZE"], strict=True)]
    counts = list(map(int, entries.get("COUNT", ["1"] * len(names))))
    sizes = entries["POINTS"] if "POINTS" in entries else [entries[axis][0] for axis in ("WIDTH", "HEIGHT")]
    return Header(names, kinds, counts, int(np.prod(list(map(int, sizes)))), form), start


def unpack(data: bytes, size: int) -> bytes:
    """Return the bytes that are packed as LZF, `size` in all. Raises: ValueError or IndexError if they are not."""
    found = bytearray()
    place = 0
    while place < len(data):
        code = data[place]
        place += 1
        if code < LITERAL:
            found += data[place : place + code + 1]
            place += code + 1
            continue
        length = code >> 5
        if length == LONGEST:
            length += data[place]
            place += 1
        back = ((code & 31) << 8) + data[place] + 1
        place += 1
        if back > len(found):
            raise ValueError("it repeats what is not there")
        again = found[-back:]  # which runs into itself where it is shorter than what is asked for
        found += (again * ((length + 2) // back + 1))[: length + 2]
    if len(found) != size:
        raise ValueError(f"it has {len(found)} bytes of {size}")
    return bytes(found)


def read_columns(data: bytes) -> dict[str, np.ndarray]:
    """Return the columns of one number by name, the first of those that are called alike, such as the filler `_`."""
    header, start = read_header(data)
    names, kinds, counts, points, form = header
    if form == "ascii":
        kinds = ["<f8"] * len(names)
        data = np.array(data[start:].split(), np.float64).tobytes()
        start = 0
    if form == "binary_compressed":  # one column after the other
        packed, whole = struct.unpack_from("<II", data, start)
        data = unpack(data[start + 8 : start + 8 + packed], whole)
        sizes = [points * count * np.dtype(kind).itemsize for kind, count in zip(kinds, counts, strict=True)]
        starts = np.cumsum([0, *sizes])
        columns = [np.frombuffer(data, *row) for row in zip(kinds, points * np.array(counts), starts[:-1], strict=True)]
    else:
        fields = [(str(place), kind, (count,)) for place, (kind, count) in enumerate(zip(kinds, counts, strict=True))]
        rows = np.frombuffer(data, np.dtype(fields), points, start)
        columns = [rows[str(place)][:, 0] for place in range(len(names))]
    pairs = list(zip(names, columns, counts, strict=True))
    return {name: column for name, column, count in reversed(pairs) if count == 1}


def read_pcd(path: Path) -> np.ndarray:
    """Read the points (points, 6) of a .pcd file.

    Raises: InputError if it is cut short, or has no normals.
    """
    try:
        columns = read_columns(path.read_bytes())
    except (KeyError, IndexError, ValueError, struct.error) as error:
        rule = f"A cloud must be a whole file of the kind its ending says, {path} is not"
        raise InputError(f"{rule}: {type(error).__name__}, {one_line(error)}; save it anew.") from error
    return choose_columns(list(columns)[::-1], columns, path)
