"""Scenes of .glb and .gltf files, as far as their triangles can be read."""

import io
import json
import struct
import warnings
from pathlib import Path

import numpy as np
import trimesh

from datamodules.shapes.polygons import damaged, warn_of_rounding
from inr.errors import InputError
from inr.saved.runs import Plain
from inr.shapes.meshes import Mesh

PREFIX = struct.Struct("<4sIIII")  # glTF, version, bytes of all; bytes of the JSON, its kind
# What trimesh reads past without a word: its vertices would be zeros, or some of its bodies lost.
PACKED = {
    "KHR_draco_mesh_compression": "is compressed with Draco",
    "EXT_meshopt_compression": "is compressed with meshopt",
    "KHR_meshopt_compression": "is compressed with meshopt",
    "EXT_mesh_gpu_instancing": "repeats its bodies by instancing",
}
REMEDY = "open it in Blender and export it as glTF without compression, or as ply"
FAN = 6  # mode of a primitive that trimesh leaves out
# Largest values of the whole numbers that stand for 1, by glTF's code.
ONES = {5120: 127, 5121: 255, 5122: 32767, 5123: 65535}


def positions(tree: Plain, mesh: Plain) -> list[Plain]:
    """Return the accessors of the vertices of a mesh."""
    places = [primitive["attributes"].get("POSITION") for primitive in mesh["primitives"]]
    return [tree["accessors"][place] for place in places if place is not None]


def refuse_packed(tree: Plain, path: Path) -> None:
    """Raise InputError for a scene whose triangles are packed in a way that is not read."""
    meshes = tree.get("meshes", [])
    empty = any("bufferView" not in accessor for mesh in meshes for accessor in positions(tree, mesh))
    # Of what is used and not required there is a plain copy, too, unless the vertices lack one.
    names = {*tree.get("extensionsRequired", [])} | ({*tree.get("extensionsUsed", [])} if empty else set())
    names |= {*tree.get("extensionsUsed", [])} & {"EXT_mesh_gpu_instancing"}
    for name, rule in PACKED.items():
        if name in names:
            raise InputError(f"A mesh must be plain triangles, {path} {rule} ({name}); {REMEDY}.")
    if empty or any("sparse" in accessor for mesh in meshes for accessor in positions(tree, mesh)):
        raise InputError(f"A mesh must be plain triangles, {path} has sparse vertices or none; {REMEDY}.")
    if any(primitive.get("mode") == FAN for mesh in meshes for primitive in mesh["primitives"]):
        raise InputError(f"A mesh must be plain triangles, {path} has fans of them; {REMEDY}.")


def scale_normalised(tree: Plain) -> None:
    """Scale meshes whose vertices are whole numbers that stand for fractions (KHR_mesh_quantization), by nodes of their own."""
    # trimesh takes the whole numbers as they are. A node of its own, since a scale would pass on to a node's children.
    for node in list(tree.get("nodes", [])):
        accessors = positions(tree, tree["meshes"][node["mesh"]]) if "mesh" in node else []
        kinds = {accessor["componentType"] for accessor in accessors if accessor.get("normalized")}
        if kinds:
            tree["nodes"].append({"mesh": node.pop("mesh"), "scale": [1 / ONES[kinds.pop()]] * 3})
            node.setdefault("children", []).append(len(tree["nodes"]) - 1)


def plain_scene(data: bytes, path: Path) -> bytes:
    """Return the bytes of a .glb or .gltf file with all its vertices in the unit of their node.

    Raises: InputError if it is cut short, and for geometry that is compressed or sparse.
    """
    if data[:4] != b"glTF":
        return plain_tree(json.loads(data), path)
    magic, version, whole, size, kind = PREFIX.unpack_from(data)
    if len(data) < whole:
        raise damaged(path, f"of {whole} bytes that it announces it has {len(data)}")
    if len(data) > whole:
        warnings.warn(f"{path}: {len(data) - whole} bytes behind its {whole} are left out.", stacklevel=5)
    text = plain_tree(json.loads(data[PREFIX.size : PREFIX.size + size]), path)
    text += b" " * (-len(text) % 4)
    rest = data[PREFIX.size + size : whole]
    return PREFIX.pack(magic, version, PREFIX.size + len(text) + len(rest), len(text), kind) + text + rest


def plain_tree(tree: Plain, path: Path) -> bytes:
    """Return the JSON of a scene with all its vertices in the unit of their node."""
    refuse_packed(tree, path)
    scale_normalised(tree)
    return json.dumps(tree).encode()


def read_gltf(path: Path) -> Mesh:
    """Read the triangles of a scene, each body at its place.

    Raises: InputError as `plain_scene` does.
    """
    data = plain_scene(path.read_bytes(), path)
    kind = "glb" if data[:4] == b"glTF" else "gltf"
    resolver = trimesh.resolvers.FilePathResolver(str(path))
    scene = trimesh.load_scene(io.BytesIO(data), file_type=kind, resolver=resolver, process=False)
    for body in scene.geometry.values():
        warn_of_rounding(np.asarray(body.vertices), path)  # before they are placed, in double precision
    vertices = [np.zeros((0, 3))]
    faces = [np.zeros((0, 3), np.int64)]
    for body in scene.dump():
        if isinstance(body, trimesh.Trimesh):
            faces.append(np.asarray(body.faces, np.int64) + sum(map(len, vertices)))
        if isinstance(body, trimesh.Trimesh | trimesh.PointCloud):
            vertices.append(np.asarray(body.vertices, np.float64))
    return Mesh(np.concatenate(vertices), np.concatenate(faces))
