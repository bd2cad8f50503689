import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose, assert_array_equal

from datamodules.shapes.frame import Frame, frame_of
from datamodules.shapes.read_mesh import read_mesh, volumes
from datamodules.shapes.read_triangles import ENDINGS
from inr.errors import InputError
from inr.shapes.meshes import winding

DATA = Path(os.environ.get("INR_DATA", "nowhere"))
CORNERS = np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 2.0) for z in (0.0, 3.0)])
SIDES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])  # outward
TRIANGLES = SIDES[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)
TURNED = TRIANGLES[:, ::-1]


def wavefront(path, vertices, faces):
    """An .obj file of any faces."""
    lines = ["v " + " ".join(map(repr, row)) for row in np.asarray(vertices, float).tolist()]
    path.write_text("\n".join([*lines, *("f " + " ".join(str(i + 1) for i in face) for face in faces)]) + "\n")
    return path


def export(path, mesh):
    """A file of the kind that the ending says, with what lies beside it."""
    if path.suffix == ".gltf":
        for name, content in trimesh.Scene(mesh).export(file_type="gltf").items():
            (path if name == "model.gltf" else path.parent / name).write_bytes(content)
    else:
        mesh.export(path)
    return path


def volume(solid):
    corners = solid.mesh.vertices[solid.mesh.faces]
    return float(volumes(corners, np.zeros(len(corners), int))[0])


def two(first, second):
    """The faces and vertices of two boxes beside or within each other."""
    (corners, faces), (others, more) = first, second
    return np.concatenate([corners, others]), np.concatenate([faces, np.asarray(more) + len(corners)])


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_holds_the_same_solid(ending, tmp_path):
    ball = trimesh.creation.icosphere(2)
    ball.vertices = ball.vertices * [3.0, 2.0, 1.0] + [5.0, 6.0, 7.0]
    solid = read_mesh(export(tmp_path / f"ball{ending}", ball))
    exact = (ball.vertices - [5, 6, 7]) * 0.3
    assert (solid.closed, solid.bodies, solid.mesh.faces.shape) == (True, 1, ball.faces.shape)
    assert_allclose(solid.mesh.vertices[solid.mesh.faces], exact[ball.faces], atol=1e-6)
    assert volume(solid) == pytest.approx(ball.volume * 0.3**3, rel=1e-5)
    assert_allclose(solid.frame.to_file(solid.mesh.vertices).max(0), ball.vertices.max(0), rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("place", [0.0, 7.0])
def test_size_and_place_in_the_file_do_not_matter(scale, place, tmp_path):
    solid = read_mesh(wavefront(tmp_path / "box.obj", scale * (CORNERS + place), SIDES), fill=0.6)
    assert_allclose(solid.mesh.vertices, (CORNERS - [0.5, 1, 1.5]) * 0.4, atol=1e-12)
    assert volume(solid) == pytest.approx(6 * 0.4**3)
    assert_allclose(solid.frame.to_file(solid.mesh.vertices), scale * (CORNERS + place), rtol=1e-12, atol=1e-12 * scale)


def test_pieces_of_a_scene_stand_at_their_places(tmp_path):
    scene, box = trimesh.Scene(), trimesh.Trimesh(CORNERS, TRIANGLES, process=False)
    for place in (trimesh.transformations.translation_matrix([4, 0, 0]), np.diag([1.0, 1.0, -1.0, 1.0])):
        scene.add_geometry(box, transform=place)
    scene.export(tmp_path / "scene.glb")
    solid = read_mesh(tmp_path / "scene.glb")
    assert (solid.closed, solid.bodies) == (True, 2)
    assert volume(solid) == pytest.approx(12 * 0.3**3)
    assert_allclose(np.ptp(solid.frame.to_file(solid.mesh.vertices), 0), [5, 2, 6], rtol=1e-6)


def test_what_says_the_same_twice_or_nothing_is_dropped(tmp_path):
    apart = CORNERS[TRIANGLES].reshape(-1, 3)  # every face with vertices of its own
    faces = np.arange(len(apart)).reshape(-1, 3)
    waste = [faces[0], np.roll(faces[3], 1), [0, 0, 1], [36, 37, 38]]  # twice, twice, an edge, a line
    vertices = np.concatenate([apart, [[0, 0, 0.5], [0, 0, 1], [0, 0, 2.5], [9, 9, 9]]])
    solid = read_mesh(wavefront(tmp_path / "box.obj", vertices, [*faces, *waste]))
    clean = read_mesh(wavefront(tmp_path / "clean.obj", CORNERS, TRIANGLES))
    assert (solid.closed, solid.bodies, len(solid.mesh.vertices)) == (True, 1, 8)
    assert_array_equal(solid.mesh.vertices[solid.mesh.faces], clean.mesh.vertices[clean.mesh.faces])


def test_a_face_without_area_may_close_a_gap(tmp_path):
    middle = [[0.5, 0, 0]]  # on the edge 0-4, where only one neighbour has a vertex
    faces = [face for face in TRIANGLES.tolist() if not {0, 4} <= set(face)]
    first, second = (face for face in TRIANGLES.tolist() if {0, 4} <= set(face))
    halves = [[8 if i == end else i for i in first] for end in (0, 4)]
    needle = [[8, 0, 4] if (second.index(4) - second.index(0)) % 3 == 2 else [8, 4, 0]]
    path = wavefront(tmp_path / "box.obj", np.concatenate([CORNERS, middle]), [*faces, *halves, second, *needle])
    solid = read_mesh(path)
    assert solid.closed
    assert len(solid.mesh.faces) == 13
    assert volume(solid) == pytest.approx(6 * 0.6**3)


@pytest.mark.parametrize(
    ("vertices", "faces", "words", "boxes", "bodies"),
    [
        (CORNERS, TURNED, "12 of 12 faces were inside out", 1, 1),
        (CORNERS, [*TRIANGLES[:7], *TURNED[7:8], *TRIANGLES[8:]], "1 of 12 faces were wound against", 1, 1),
        (CORNERS, [*TURNED[:1], *TRIANGLES[1:]], "1 of 12 faces were wound against", 1, 1),
        (*two((CORNERS, TRIANGLES), (CORNERS + 5, TURNED)), "12 of 24 faces were inside out", 2, 2),
        (*two((CORNERS, TURNED), (CORNERS / 2 + 0.2, TRIANGLES)), "24 of 24 faces were inside out", 7 / 8, 2),
        (*two((CORNERS, TRIANGLES), (CORNERS + 5, [*TURNED[:3], *TRIANGLES[3:]])), "3 of 24 faces", 2, 2),
    ],
    ids=["inverted", "one flipped", "the first flipped", "one inverted", "a cavity inverted", "some flipped"],
)
def test_faces_are_turned_outward(vertices, faces, words, boxes, bodies, tmp_path):
    with pytest.warns(UserWarning, match=words) as caught:
        solid = read_mesh(wavefront(tmp_path / "mesh.obj", vertices, faces))
    assert len(caught) == 1
    assert (solid.closed, solid.bodies) == (True, bodies)
    assert volume(solid) == pytest.approx(boxes * 6 / solid.frame.scale**3)


def test_a_cavity_stays_and_touching_bodies_become_one(tmp_path):
    cavity = read_mesh(wavefront(tmp_path / "a.obj", *two((CORNERS, TRIANGLES), (CORNERS / 2 + 0.2, TURNED))))
    assert volume(cavity) == pytest.approx(6 * 7 / 8 / cavity.frame.scale**3)
    inside = cavity.frame.to_unit(np.array([[0.1, 0.1, 0.1], [0.5, 0.5, 0.5], [2.0, 0.5, 0.5]]))
    assert_allclose(winding(cavity.mesh, inside), [1, 0, 0], atol=1e-3)
    wall = read_mesh(wavefront(tmp_path / "b.obj", *two((CORNERS, TRIANGLES), (CORNERS * [-1, 1, 1], TURNED))))
    assert (wall.closed, len(wall.mesh.faces)) == (True, 20)
    assert volume(wall) == pytest.approx(12 / wall.frame.scale**3)
    vertices, faces = two((CORNERS, TRIANGLES), (CORNERS + np.array([1, 2, 0]), TRIANGLES))
    edge = read_mesh(wavefront(tmp_path / "c.obj", vertices, faces[np.arange(24).reshape(2, 12).T.flat]))  # in turns
    assert (edge.closed, edge.bodies, len(edge.mesh.vertices)) == (True, 2, 14)


def test_a_solid_drawn_from_both_sides_is_drawn_from_outside(tmp_path):
    solid = read_mesh(wavefront(tmp_path / "mesh.obj", CORNERS, [*TRIANGLES, *TURNED]))
    assert (solid.closed, len(solid.mesh.faces), volume(solid)) == (True, 12, pytest.approx(6 * 0.6**3))


def test_a_hole_is_reported_and_closed_by_winding(tmp_path):
    with pytest.warns(UserWarning, match=r"not closed, 4 edges are open: .* winding numbers") as caught:
        solid = read_mesh(wavefront(tmp_path / "mesh.obj", CORNERS, SIDES[:5]))
    assert (len(caught), solid.closed, len(solid.mesh.faces)) == (1, False, 10)
    corners = solid.mesh.vertices[solid.mesh.faces]
    assert 0.5 < winding(solid.mesh, np.zeros((1, 3)))[0] < 1
    assert_allclose(volumes(corners + 5, np.zeros(10, int)), volumes(corners, np.zeros(10, int)))


def test_pose_does_not_matter_when_aligned(tmp_path):
    random = np.random.default_rng(0)
    points = random.gamma(1.0, size=(200, 3)) * [3, 2, 1] + 10
    rotation = trimesh.transformations.random_rotation_matrix(random.random(3))[:3, :3]
    one, other = frame_of(points, align=True), frame_of(1e9 * points @ rotation.T, align=True)
    assert_allclose(one.to_unit(points), other.to_unit(1e9 * points @ rotation.T), atol=1e-9)
    for mirror in ([1, 1, 1], [-1, 1, 1]):
        assert np.linalg.det(frame_of(points * mirror, align=True).rotation) == pytest.approx(1)
    assert (np.diff(one.to_unit(points).var(0)) < 0).all()
    assert_allclose(abs(one.to_unit(points)).max(), 0.9)
    box = wavefront(tmp_path / "box.obj", CORNERS @ rotation.T, SIDES)
    assert_allclose(abs(read_mesh(box, align=True).mesh.vertices), np.tile([0.9, 0.6, 0.3], (8, 1)))


def test_a_frame_leads_there_and_back():
    frame = frame_of(np.random.default_rng(0).normal(size=(50, 3)) * [1, 5, 2], align=True)
    points = np.random.default_rng(1).normal(size=(9, 3))
    assert_allclose(frame.to_unit(frame.to_file(points)), points, atol=1e-12)
    assert_allclose(frame.turn(frame.turn_back(points)), points, atol=1e-12)
    assert_allclose(frame.scale * frame.turn_back(points), frame.to_file(points) - frame.centre, atol=1e-12)
    assert Frame((1.0, 2.0, 3.0), 2.0).to_file(np.ones((1, 3))).tolist() == [[3, 4, 5]]


OBJ = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 2 3 4\nf 1 4 3\n"
PLY = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\nelement face 1\n"
PLY += "property list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 -2\n"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("mesh.dae", OBJ, r"must end in \.obj, \.ply, \.stl, \.off, \.glb, \.gltf, got .*mesh\.dae; convert it"),
        ("mesh.obj", "", "needs vertices, .* has none: it is empty, cut short"),
        ("mesh.stl", "nothing", "must be a whole file .* has 7 bytes, and a header alone takes 84"),
        ("mesh.ply", "nothing", "must be a whole file of the kind its ending says, .*: it does not begin with ply"),
        *((f"mesh.{ending}", "nothing", "must be a whole file") for ending in ("off", "glb", "gltf")),
        ("mesh.obj", OBJ.replace("f 2 3 4", "f 2 3 9"), r"must name vertices 1\.\.4, or -1, .* has another in line 7"),
        ("mesh.ply", PLY, r"must name vertices 0\.\.2, .* has -2\.\.1"),
        ("mesh.obj", OBJ[:32], "needs faces, .* has 4 vertices and no face; .* data=pointcloud"),
        *(("mesh.obj", OBJ.replace("v 1 0", f"v {bad} 0"), "must be finite, .* has 1 of 4") for bad in ("nan", "inf")),
        ("mesh.obj", OBJ.replace("v 1 0", "v inf 0") + "f 1 2 3 4\n", "must be finite, .* has 1 of 4"),
        *(("mesh.obj", f"v 0 0 0\nv {a} {a} {a}\nv {2 * a} {2 * a} {2 * a}\nf 1 2 3\n", "faces with an area") for a in (1, 0)),
        ("mesh.obj", OBJ[:32] + "f 1 2 3\n", "needs an inside, .* encloses 0 of its box"),
    ],
)
def test_what_is_no_solid_is_refused_in_one_line(name, text, words, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=rf"\A.*(?:{words}).*\Z"):
        read_mesh(tmp_path / name)


@pytest.mark.parametrize("fill", [0.0, -1.0, 1.1, float("nan")])
def test_wrong_options_are_refused(fill, tmp_path):
    with pytest.raises(InputError, match="above 0 and at most 1, got"):
        read_mesh(wavefront(tmp_path / "box.obj", CORNERS, SIDES), fill)


@pytest.mark.skipif(not DATA.is_dir(), reason="needs INR_DATA")
def test_real_meshes_are_read():
    with warnings.catch_warnings(action="error"):
        paths = [DATA / "meshes" / f"{name}.obj" for name in ("bunny", "armadillo", "spot", "cat-low-resolution")]
        solids = [read_mesh(path) for path in paths + sorted((DATA / "shapes" / "chair").glob("*.off"))]
    assert len(solids) == 20
    assert all(solid.closed and solid.bodies == 1 and volume(solid) > 0 for solid in solids)
    assert len(solids[0].mesh.vertices) == 3301
    with pytest.warns(UserWarning, match="223 edges are open"):
        opened = read_mesh(DATA / "meshes" / "stanford-bunny-open.obj")
    assert volume(opened) > 1
