"""Overlapping and nested bodies as one, without the walls inside."""

import manifold3d
import numpy as np

from inr.shapes.meshes import Mesh, sample_surface, winding

PROBED = 2000  # points of a surface, beside one of each body
STEP = 1e-5  # to either side of it [half-widths of the cube]


def share_inside(mesh: Mesh, bodies: np.ndarray) -> float:
    """Return the share of the probed points of a surface that have the inside on both sides, as walls in a body have."""
    points, normals = sample_surface(mesh, PROBED, np.random.default_rng(0))
    # A small body is missed by points over the area: one on its largest face.
    area = np.linalg.norm(np.cross(*np.diff(mesh.vertices[mesh.faces], axis=1).swapaxes(0, 1)), axis=1)
    order = np.lexsort((area, bodies))
    largest = order[np.append(np.diff(bodies[order]) > 0, True)]
    corners = mesh.vertices[mesh.faces[largest]]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    points = np.concatenate([points, corners.mean(1)])
    normals = np.concatenate([normals, across / np.linalg.norm(across, axis=1, keepdims=True)])
    sides = np.concatenate([points + STEP * normals, points - STEP * normals])
    return float((winding(mesh, sides) > 0.5).reshape(2, -1).all(0).mean())


def part_of(mesh: Mesh, chosen: np.ndarray) -> Mesh:
    """Return some of the faces (faces,) with the vertices that they use."""
    used, numbers = np.unique(mesh.faces[chosen], return_inverse=True)
    return Mesh(mesh.vertices[used], numbers.reshape(-1, 3))


def hosts(mesh: Mesh, bodies: np.ndarray, volume: np.ndarray) -> np.ndarray:
    """Return the body (bodies,) that each goes with: cavities, of negative volume, with the smallest body around them."""
    found = np.arange(len(volume))
    solids = (volume > 0).nonzero()[0]
    for cavity in (volume < 0).nonzero()[0]:
        inside = mesh.vertices[mesh.faces[bodies == cavity][:1, 0]]
        around = [body for body in solids if winding(part_of(mesh, bodies == body), inside)[0] > 0.5]
        found[cavity] = min(around, key=lambda body: volume[body], default=cavity)
    return found


def united(mesh: Mesh, bodies: np.ndarray, volume: np.ndarray) -> Mesh | None:
    """Return the outer surface of all bodies together; None if one of them is not closed.

    Shapes: bodies (faces,) that each face belongs to, volume (bodies,) with its sign.
    """
    group = hosts(mesh, bodies, volume)[bodies]
    parts = []
    for name in np.unique(group):
        part = part_of(mesh, group == name)
        parts.append(manifold3d.Manifold(manifold3d.Mesh64(part.vertices, part.faces.astype(np.uint64))))
    whole = manifold3d.Manifold.batch_boolean(parts, manifold3d.OpType.Add)
    if whole.status() != manifold3d.Error.NoError or any(part.status() != manifold3d.Error.NoError for part in parts):
        return None
    found = whole.to_mesh64()
    return Mesh(np.array(found.vert_properties[:, :3], np.float64), np.array(found.tri_verts, np.int64))
