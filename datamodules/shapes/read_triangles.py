"""The triangles of a mesh file of any kind, as they stand there."""

import logging
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
    return mesh
