"""Solids whose distances are known."""

import numpy as np
import trimesh

from inr.shapes.meshes import Mesh


def mesh_of(solid: trimesh.Trimesh) -> Mesh:
    """The triangles of a solid."""
    return Mesh(np.array(solid.vertices, np.float64), np.array(solid.faces, np.int64))


def ball(radius: float = 0.6, subdivisions: int = 4) -> Mesh:
    """A ball about the origin."""
    return mesh_of(trimesh.creation.icosphere(subdivisions, radius))


def box(side: float = 1.0) -> Mesh:
    """A cube about the origin."""
    return mesh_of(trimesh.creation.box((side,) * 3))


def joined(*meshes: Mesh) -> Mesh:
    """Several meshes as one, whatever they overlap."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def moved(mesh: Mesh, *step: float) -> Mesh:
    """A mesh somewhere else."""
    return Mesh(mesh.vertices + np.array(step), mesh.faces)
