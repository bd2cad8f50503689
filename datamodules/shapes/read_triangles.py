"""The triangles of a mesh file of any kind, as they stand there."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from datamodules.common.files import one_line
from datamodules.shapes.polygons import damaged, triangulate
from datamodules.shapes.read_gltf import read_gltf
from datamodules.shapes.read_obj import read_obj
from datamodules.shapes.read_off import read_off
from datamodules.shapes.read_ply import polygons_of, read_ply
from datamodules.shapes.read_stl import read_stl
from inr.errors import InputError
from inr.shapes.meshes import Mesh

READERS: dict[str, Callable[[Path], Mesh]] = {
    ".obj": lambda path: triangulate(read_obj(path).polygons),
    ".ply": lambda path: triangulate(polygons_of(read_ply(path), path)),
    ".stl": read_stl,
    ".off": lambda path: triangulate(read_off(path)),
    ".glb": read_gltf,
    ".gltf": read_gltf,
}
ENDINGS = tuple(READERS)
SINGLE = (".ply", ".stl", ".glb", ".gltf")  # formats of numbers in float32
COARSE = 1e-4  # steps of float32 over the size of a shape, above which its surface is rough


def triangles_in(path: Path) -> Mesh:
    """Return the triangles of a mesh file as they stand there.

    Raises: InputError for another ending, and a file that is broken.
    """
    ending = path.suffix.lower()
    if ending not in READERS:
        raise InputError(f"data.path of a mesh must end in {', '.join(ENDINGS)}, got {path}; convert it.")
    logging.getLogger("trimesh").setLevel(logging.CRITICAL)  # its remarks on the surface are made here, too
    try:
        return READERS[ending](path)
    except InputError:
        raise
    except Exception as error:  # trimesh's readers check little: they raise what they stumble over
        raise damaged(path, f"{type(error).__name__}, {one_line(error)}") from error


def read_triangles(path: Path) -> Mesh:
    """Read all triangles of a mesh file, the pieces of a scene side by side.

    Raises: InputError for a file that is broken, without faces, or with vertices that are not finite.
    """
    mesh = triangles_in(path)
    points = len(mesh.vertices)
    if not points:
        raise InputError(f"A mesh needs vertices, {path} has none: it is empty, cut short, or of another kind; save it anew.")
    if not len(mesh.faces):
        rule = f"A mesh needs faces, {path} has {points} vertices and no face"
        raise InputError(f"{rule}; a cloud of points with normals is read with data=pointcloud.")
    broken = int((~np.isfinite(mesh.vertices)).any(1).sum())
    if broken:
        raise InputError(f"Vertices must be finite, {path} has {broken} of {points} that are not; repair the mesh.")
    warn_of_rounding(mesh.vertices, path)
    return mesh


def warn_of_rounding(vertices: np.ndarray, path: Path) -> None:
    """Warn of a shape that lies so far from the origin that its file's single precision has rounded it."""
    largest = float(abs(vertices).max())
    size = float(np.ptp(vertices, 0).max())
    if path.suffix.lower() not in SINGLE or largest > np.finfo(np.float32).max:
        return
    step = float(np.spacing(np.float32(largest)))
    if step > COARSE * size and (vertices == vertices.astype(np.float32)).all():
        found = f"{path}: single precision around {largest:.3g} has steps of {step:.2g}, for a shape of size {size:.3g}"
        warnings.warn(f"{found}; export it around the origin, or as obj or ply in double precision.", stacklevel=4)
