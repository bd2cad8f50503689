import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose
from tiny.solids import ball, box, joined, moved

from datamodules.shapes.read_mesh import read_mesh, volumes
from datamodules.shapes.union import share_inside
from inr.shapes.meshes import Mesh, sample_shape, signed_distance


def inverted(mesh):
    return Mesh(mesh.vertices, mesh.faces[:, ::-1])


def read(folder, *bodies):
    mesh = joined(*bodies)
    path = folder / "mesh.ply"
    vertices = "".join("{} {} {}\n".format(*row) for row in mesh.vertices.tolist())
    faces = "".join("3 {} {} {}\n".format(*row) for row in mesh.faces.tolist())
    header = (
        f"ply\nformat ascii 1.0\nelement vertex {len(mesh.vertices)}\nproperty double x\nproperty double y\nproperty double z\n"
    )
    path.write_text(
        f"{header}element face {len(mesh.faces)}\nproperty list uchar int vertex_indices\nend_header\n{vertices}{faces}"
    )
    return read_mesh(path)


def distance(solid, *points):
    return signed_distance(solid.mesh, solid.frame.to_unit(np.array(points, float))).value * solid.frame.scale


def volume_of(solid):
    corners = solid.mesh.vertices[solid.mesh.faces] * solid.frame.scale
    return float(volumes(corners, np.zeros(len(corners), int))[0])


BAR = Mesh(box().vertices * [6, 1, 1], box().faces)  # 6 long
CROSS = Mesh(box().vertices * [1, 6, 1], box().faces)
OVERLAP = (box(2), moved(box(2), 1, 0, 0))


@pytest.mark.parametrize(
    ("bodies", "volume", "known", "parts"),
    [
        (OVERLAP, 12, {(0.5, 0, 0): -1, (0, 0, 0): -1, (1, 0, 0): -1, (-0.5, 0, 0): -0.5, (3, 0, 0): 1}, 1),
        ((BAR, CROSS), 11, {(0, 0, 0): -0.5, (2, 0, 0): -0.5, (0, 2, 0): -0.5, (2, 2, 0): 1.5}, 1),  # no corner inside
        ((box(2), box(1)), 8, {(0, 0, 0): -1, (0.5, 0, 0): -0.5}, 1),  # nested
        ((box(2), moved(box(2), 2, 1, 0)), 16, {(1, 0.5, 0): -0.5, (1, -0.5, 0): 0}, 1),  # beside each other
        ((box(4), inverted(box(3)), box(2), box(1)), 64 - 27 + 8, {(0, 0, 0): -1, (1.25, 0, 0): 0.25, (1.75, 0, 0): -0.25}, 3),
        ((*OVERLAP, moved(ball(1.0, 2), 9, 0, 0)), 12 + trimesh.creation.icosphere(2).volume, {(0.5, 0, 0): -1}, 2),
    ],
    ids=["overlap", "cross", "nested", "touching in part", "a core within a cavity", "one apart"],
)
def test_distances_are_those_of_the_union(bodies, volume, known, parts, tmp_path):
    with pytest.warns(
        UserWarning, match="bodies overlap or lie within each other; the walls inside, .* % of the surface, are left out"
    ):
        solid = read(tmp_path, *bodies)
    assert_allclose(distance(solid, *known), list(known.values()), atol=1e-9)
    assert volume_of(solid) == pytest.approx(volume, rel=1e-9)
    assert (solid.closed, solid.bodies) == (True, parts)
    assert sample_shape(solid.mesh, 2000, 0, surface=1, near=0).certain.float().mean() > 0.98  # no wall has samples


@pytest.mark.parametrize(
    "bodies",
    [(ball(1.0, 2), moved(ball(1.0, 2), 3, 0, 0)), (box(4), inverted(box(3))), (box(4), inverted(box(3)), box(2))],
    ids=["apart", "cavity", "core"],
)
def test_bodies_without_inner_walls_stay_as_they_are(bodies, tmp_path):
    solid, mesh = read(tmp_path, *bodies), joined(*bodies)
    assert_allclose(solid.frame.to_file(solid.mesh.vertices), mesh.vertices, atol=1e-12)
    assert solid.mesh.faces.tolist() == mesh.faces.tolist()
    assert share_inside(solid.mesh, np.repeat(np.arange(len(bodies)), [len(body.faces) for body in bodies])) == 0


def test_walls_within_an_open_surface_are_warned_of_with_a_figure(tmp_path):
    opened = Mesh(box(2).vertices, box(2).faces[:-1])
    with pytest.warns(UserWarning, match="lies inside the body|edges are open") as caught:
        read(tmp_path, opened, moved(box(2), 1, 0, 0))
    (figure,) = [str(one.message) for one in caught if "lies inside the body" in str(one.message)]
    assert 10 < float(figure.partition("ply: ")[2].partition(" %")[0]) < 40
    assert "unite what overlaps" in figure
    assert any("3 edges are open" in str(one.message) for one in caught)


def test_one_body_that_runs_through_itself_is_warned_of(tmp_path):
    # A tube around a curve that crosses itself.
    along = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    curve = np.stack([np.sin(along), np.sin(2 * along) / 2, 0 * along], -1)
    tangent = np.stack([np.cos(along), np.cos(2 * along), 0 * along], -1)
    side = np.cross(tangent / np.linalg.norm(tangent, axis=1, keepdims=True), [0, 0, 1])
    around = np.arange(12) * 2 * np.pi / 12
    rings = curve[:, None] + 0.2 * (np.cos(around)[:, None] * side[:, None] + np.sin(around)[:, None] * [0, 0, 1])
    here = np.arange(720).reshape(60, 12)
    ahead, above = np.roll(here, -1, 0), np.roll(here, -1, 1)
    both = np.roll(ahead, -1, 1)
    faces = np.concatenate([np.stack([here, ahead, both], -1), np.stack([here, both, above], -1)]).reshape(-1, 3)
    volume = np.linalg.det(rings.reshape(-1, 3)[faces]).sum()
    with pytest.warns(
        UserWarning, match=r"[0-9.]+ % of the surface lies inside the body, and distances inside are to these walls"
    ):
        read(tmp_path, Mesh(rings.reshape(-1, 3), faces if volume > 0 else faces[:, ::-1]))
