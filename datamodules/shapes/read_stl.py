"""Triangles of an .stl file, binary or text, and nothing behind the last one."""

import io
import warnings
from pathlib import Path

import numpy as np
import trimesh

from datamodules.shapes.polygons import damaged, warn_of_rounding
from inr.shapes.meshes import Mesh

HEADER = 84  # bytes: 80 of any content, 4 that count the triangles
FACET = 50  # bytes of a triangle: its normal and three corners in float32, two bytes of anything
TEXT = 4096  # bytes in which a text has its first facet


def whole_facets(data: bytes, path: Path) -> bytes:
    """Return a binary file without what stands behind its triangles, with a warning; its count says how many these are.

    Raises: InputError if it is cut short.
    """
    there = (len(data) - HEADER) // FACET
    count = int(np.frombuffer(data, "<u4", 1, HEADER - 4)[0])
    if count in (0, 2**32 - 1) and there > 0 and (len(data) - HEADER) % FACET == 0:
        # Programs that write to a stream cannot go back and fill in the count.
        warnings.warn(f"{path}: its header does not count the triangles, {there} up to the end are read.", stacklevel=4)
        return data[: HEADER - 4] + np.array(there, "<u4").tobytes() + data[HEADER:]
    if there < count:
        raise damaged(path, f"of {count} triangles that it announces it has {max(there, 0)}")
    end = HEADER + FACET * count
    if end < len(data):
        warnings.warn(f"{path}: {len(data) - end} bytes behind its {count} triangles are left out.", stacklevel=4)
    return data[:end]


def read_stl(path: Path) -> Mesh:
    """Read the triangles of an .stl file, each with vertices of its own.

    Raises: InputError if it is cut short, or neither text nor binary.
    """
    data = path.read_bytes()
    # Some binary files begin with "solid" as well: only a text goes on with a facet.
    is_text = data.lstrip()[:5].lower() == b"solid" and b"facet" in data[:TEXT].lower()
    if not is_text and len(data) < HEADER:
        raise damaged(path, f"it has {len(data)} bytes, and a header alone takes {HEADER}")
    whole = data if is_text else whole_facets(data, path)
    meshes = trimesh.load_scene(io.BytesIO(whole), file_type="stl", process=False).dump()
    triangles = [np.asarray(mesh.triangles, np.float64) for mesh in meshes if isinstance(mesh, trimesh.Trimesh)]
    vertices = np.concatenate([*triangles, np.zeros((0, 3, 3))]).reshape(-1, 3)
    if not is_text:
        warn_of_rounding(vertices, path)
    return Mesh(vertices, np.arange(len(vertices)).reshape(-1, 3))
