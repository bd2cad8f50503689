"""Meshes with normals as files that keep every digit, far from the origin and of any size."""

# By hand: trimesh writes .ply in single precision, whose steps are half a unit at 5e6, and .obj with eight decimals, which
# leaves nothing of a shape of 1e-9.

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh

VERTEX = np.dtype([("place", "<f8", 3), ("normal", "<f4", 3)])
FACE = np.dtype([("size", "u1"), ("corners", "<i4", 3)])
HEADER = """ply
format binary_little_endian 1.0
element vertex {vertices}
property double x
property double y
property double z
property float nx
property float ny
property float nz
element face {faces}
property list uchar int vertex_indices
end_header
"""


class Placed(NamedTuple):
    """A mesh about a centre: steps (vertices, 3) from it, faces (faces, 3), unit normals (vertices, 3)."""

    centre: Sequence[float]
    steps: np.ndarray
    faces: np.ndarray
    normals: np.ndarray

    @property
    def vertices(self) -> np.ndarray:
        """Places (vertices, 3) of the vertices."""
        return self.steps + np.array(self.centre)


def write_ply(path: Path, mesh: Placed) -> None:
    """Write a binary .ply file in double precision."""
    vertices = np.zeros(len(mesh.steps), VERTEX)
    vertices["place"] = mesh.vertices
    vertices["normal"] = mesh.normals
    faces = np.zeros(len(mesh.faces), FACE)
    faces["size"] = 3
    faces["corners"] = mesh.faces
    header = HEADER.format(vertices=len(vertices), faces=len(faces))
    path.write_bytes(header.encode() + vertices.tobytes() + faces.tobytes())


def write_obj(path: Path, mesh: Placed) -> None:
    """Write an .obj file with all the digits of double precision."""
    with path.open("w") as file:
        np.savetxt(file, mesh.vertices, "v %.16g %.16g %.16g")
        np.savetxt(file, mesh.normals, "vn %.7g %.7g %.7g")
        np.savetxt(file, (mesh.faces + 1).repeat(2, 1), "f %d//%d %d//%d %d//%d")


def write_glb(path: Path, mesh: Placed) -> None:
    """Write a .glb file, whose vertices are single precision by definition, about a node at the centre, which is not."""
    about = trimesh.Trimesh(mesh.steps, mesh.faces, vertex_normals=mesh.normals, process=False)
    scene = trimesh.Scene()
    scene.add_geometry(about, transform=trimesh.transformations.translation_matrix(mesh.centre))
    scene.export(path)


WRITERS: dict[str, Callable[[Path, Placed], None]] = {"ply": write_ply, "obj": write_obj, "glb": write_glb}
