import json
import struct

import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose, assert_array_equal
from tiny.solids import ball, box

from datamodules.shapes.read_mesh import read_mesh, volumes
from datamodules.shapes.read_triangles import read_triangles
from inr.errors import InputError
from inr.shapes.meshes import signed_distance

CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
SIDES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])  # outward
# A prism over a C: eight corners below, eight above.
SLOT = [(3, 1), (1, 1), (1, 2), (3, 2), (3, 3), (0, 3), (0, 0), (3, 0)]
PRISM = np.array([[x, y, z] for z in (0, 1) for x, y in SLOT])
WALLS = [[i, (i + 1) % 8, 8 + (i + 1) % 8, 8 + i] for i in range(8)]
PRISM_SIDES = [list(range(8))[::-1], list(range(8, 16)), *WALLS]


def volume_of(solid):
    corners = solid.mesh.vertices[solid.mesh.faces] * solid.frame.scale
    return float(volumes(corners, np.zeros(len(corners), int))[0])


def area_of(mesh):
    one, two, three = mesh.vertices[mesh.faces].swapaxes(0, 1)
    return np.linalg.norm(np.cross(two - one, three - one), axis=1).sum() / 2


def distance(solid, *points):
    return signed_distance(solid.mesh, solid.frame.to_unit(np.array(points, float))).value * solid.frame.scale


# .obj


def numbered(corners, way, before):
    """The words of a face, counted from the start, from the end or both in turn, with what may stand behind."""
    back = {"start": [False], "end": [True], "mixed": [True, False]}[way]
    numbers = [corner - before if back[place % len(back)] else corner + 1 for place, corner in enumerate(corners)]
    return numbers


@pytest.mark.parametrize("form", ["{0}", "{0}/{0}", "{0}//{0}", "{0}/{0}/{0}"])
@pytest.mark.parametrize("way", ["start", "end", "mixed"])
def test_faces_of_an_obj_count_from_the_start_or_back_from_where_they_stand(way, form, tmp_path):
    lines = []
    for body in range(3):
        lines.append(f"o box{body}")
        lines += [f"v {x + 4 * body} {y} {z}\nvt 0 0\nvn 0 0 1" for x, y, z in CORNERS]
        for side in SIDES + 8 * body:
            lines.append("f " + " ".join(form.format(number) for number in numbered(side, way, 8 * (body + 1))))
    (tmp_path / "a.obj").write_text("\n".join(lines))
    solid = read_mesh(tmp_path / "a.obj")
    assert (len(solid.mesh.faces), solid.bodies, solid.closed) == (36, 3, True)
    assert volume_of(solid) == pytest.approx(24)
    assert_allclose(distance(solid, [0, 0, 0], [4, 0, 0], [8, 0, 0]), -1)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace(" ", "\t"),
        lambda text: text.replace("v ", "  v  "),
        lambda text: text.replace("f 1 2", "f 1 \\\n2"),
        lambda text: "# größe\nmtllib none.mtl\nusemtl a\ns off\n" + text + "l 1 2\np 1\nf 1 2 # an edge\n",
        lambda text: "\ufeff" + text,
        lambda text: "".join(f"{line} 0.5 0.5 1\n" if line.startswith("v") else f"{line}\n" for line in text.splitlines()),
    ],
    ids=["dos", "mac", "tabs", "indented", "continued", "waste", "mark", "colours"],
)
def test_an_obj_is_read_however_it_is_written(change, tmp_path):
    text = "".join(f"v {x} {y} {z}\n" for x, y, z in CORNERS) + "".join("f {} {} {} {}\n".format(*side) for side in SIDES + 1)
    (tmp_path / "a.obj").write_bytes(change(text).encode())
    assert_array_equal(read_triangles(tmp_path / "a.obj").faces[:2], [[0, 1, 3], [0, 3, 2]])
    assert volume_of(read_mesh(tmp_path / "a.obj")) == pytest.approx(8)


# Polygons of every format


def obj(path, vertices, faces):
    rows = ["v {} {} {}".format(*row) for row in vertices.tolist()]
    path.write_text("\n".join([*rows, *("f " + " ".join(str(corner + 1) for corner in face) for face in faces)]))


def off(path, vertices, faces, header="OFF\n"):
    rows = [
        f"{header}{len(vertices)} {len(faces)} 0",
        "# a comment",
        *("{} {} {} 9 9 9".format(*row) for row in vertices.tolist()),
    ]
    path.write_text("\n".join([*rows, *(" ".join(map(str, [len(face), *face, 0.5, 0.5, 0.5])) for face in faces)]))


def ply(path, vertices, faces, form="ascii", behind="", name="vertex_indices"):
    """Vertices with a colour behind, faces with a number before and behind their corners."""
    order = ">" if "big" in form else "<"
    header = f"ply\nformat {form} 1.0\ncomment x\nelement vertex {len(vertices)}\nproperty double x\nproperty double y\n"
    header += f"property double z\nproperty uchar red\nelement face {len(faces)}\nproperty float area\n"
    header += f"property list uchar int {name}\nproperty uchar flags\nend_header\n"
    if form == "ascii":
        rows = ["{} {} {} 7".format(*row) for row in vertices.tolist()]
        rows += [" ".join(map(str, [0.5, len(face), *face, 3])) for face in faces]
        body = "\n".join([*rows, behind]).encode()
    else:
        body = b"".join(struct.pack(order + "3dB", *row, 7) for row in vertices.tolist())
        body += b"".join(struct.pack(f"{order}fB{len(face)}iB", 0.5, len(face), *face, 3) for face in faces) + behind.encode()
    path.write_bytes(header.encode() + body)


WRITERS = {
    "a.obj": obj,
    "a.off": off,
    "c.off": lambda *args: off(*args, header="COFF\n"),
    "n.off": lambda *args: off(*args, header="NOFF "),
    "one.off": lambda *args: off(*args, header="OFF"),
    "ascii.ply": ply,
    "little.ply": lambda *args: ply(*args, form="binary_little_endian"),
    "big.ply": lambda *args: ply(*args, form="binary_big_endian", name="vertex_index"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_concave_polygons_are_cut_inside_of_themselves(name, tmp_path):
    WRITERS[name](tmp_path / name, PRISM, PRISM_SIDES)
    solid = read_mesh(tmp_path / name)
    assert (len(solid.mesh.faces), solid.closed) == (28, True)
    assert volume_of(solid) == pytest.approx(7)
    assert area_of(solid.mesh) * solid.frame.scale**2 == pytest.approx(30)
    assert_allclose(distance(solid, [2, 1.5, 0.5]), 0.5, atol=1e-9)  # in the middle of the slot


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("sides", [4, 5, 6])
def test_prisms_of_any_number_of_sides(sides, name, tmp_path):
    circle = np.arange(sides) * 2 * np.pi / sides
    below = np.stack([np.cos(circle), np.sin(circle), 0 * circle], -1)
    walls = [[i, (i + 1) % sides, sides + (i + 1) % sides, sides + i] for i in range(sides)]
    faces = [list(range(sides))[::-1], list(range(sides, 2 * sides)), *walls]
    WRITERS[name](tmp_path / name, np.concatenate([below, below + np.eye(3)[2]]), faces)
    solid = read_mesh(tmp_path / name)
    assert solid.closed
    assert volume_of(solid) == pytest.approx(sides / 2 * np.sin(2 * np.pi / sides))


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_bytes_behind_the_last_element_of_a_ply_are_left_out_with_a_note(form, tmp_path):
    ply(tmp_path / "a.ply", CORNERS, SIDES.tolist(), form, "\n1 2 3")
    with pytest.warns(UserWarning, match=r"a\.ply: (3 numbers|6 bytes) behind the last element are left out"):
        assert volume_of(read_mesh(tmp_path / "a.ply")) == pytest.approx(8)
    data = (tmp_path / "a.ply").read_bytes()
    (tmp_path / "a.ply").write_bytes(data[:-40])
    with pytest.raises(InputError, match=r"\AA mesh must be a whole file .*a\.ply is not: .*; save it anew\.\Z"):
        read_mesh(tmp_path / "a.ply")


def test_strips_of_triangles_are_read(tmp_path):
    strips = "13 0 1 2 3 6 7 4 5 0 1 -1 0 4 2 6 -1 1 3 5 7"
    strips = f"{len(strips.split()) - 1} " + " ".join(strips.split()[1:])
    header = "ply\nformat ascii 1.0\nelement vertex 8\nproperty float x\nproperty float y\nproperty float z\n"
    header += "element tristrips 1\nproperty list int int vertex_indices\nend_header\n"
    (tmp_path / "a.ply").write_text(header + "".join("{} {} {}\n".format(*row) for row in CORNERS.tolist()) + strips)
    with pytest.warns(UserWarning, match="turned round"):
        solid = read_mesh(tmp_path / "a.ply")
    assert (len(solid.mesh.faces), solid.closed, volume_of(solid)) == (12, True, pytest.approx(8))


# .stl


def stl(path, change):
    solid = ball(1.0, 2)
    data = trimesh.Trimesh(solid.vertices, solid.faces).export(file_type="stl")
    path.write_bytes(change(data))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data + bytes(17), "17 bytes behind its 320 triangles are left out"),
        (lambda data: data + bytes(50), "50 bytes behind its 320 triangles are left out"),
        (lambda data: data[:80] + bytes(4) + data[84:], "does not count the triangles, 320 up to the end are read"),
        (lambda data: data[:80] + b"\xff" * 4 + data[84:], "does not count the triangles, 320 up to the end are read"),
        (lambda data: b"solid made by" + data[13:] + b"\0", "1 bytes behind its 320 triangles"),
    ],
    ids=["trailing", "a whole facet", "count 0", "count unknown", "solid"],
)
def test_an_stl_is_as_long_as_it_says(change, words, tmp_path):
    stl(tmp_path / "a.stl", change)
    with pytest.warns(UserWarning, match=words):
        solid = read_mesh(tmp_path / "a.stl")
    assert (len(solid.mesh.faces), solid.closed) == (320, True)


def test_an_stl_cut_short_is_refused_and_text_is_read(tmp_path):
    stl(tmp_path / "a.stl", lambda data: data[:-60])
    with pytest.raises(InputError, match="of 320 triangles that it announces it has 318; save it anew"):
        read_mesh(tmp_path / "a.stl")
    text = trimesh.Trimesh(*box(2.0), process=False).export(file_type="stl_ascii")
    (tmp_path / "a.stl").write_text(text + "\ntrailing words")
    assert volume_of(read_mesh(tmp_path / "a.stl")) == pytest.approx(8)


# .glb


def glb(path, vertices, component=5126, normalised=False, node=None, change=lambda tree: None, behind=b""):
    """A box of 36 corners in the numbers of a glTF component type."""
    kind = {5120: "i1", 5121: "u1", 5122: "i2", 5123: "u2", 5126: "f4"}[component]
    width = -(-3 * np.dtype(kind).itemsize // 4) * 4  # rows begin at multiples of four bytes
    rows = np.zeros((8, width), np.uint8)
    rows[:, : 3 * np.dtype(kind).itemsize] = np.asarray(vertices, kind).view(np.uint8).reshape(8, -1)
    faces = SIDES[:, [0, 1, 2, 0, 2, 3]].astype("<u4").tobytes()
    data = rows.tobytes() + faces
    accessors = [
        {"bufferView": 0, "componentType": component, "normalized": normalised, "count": 8, "type": "VEC3"},
        {"bufferView": 1, "componentType": 5125, "count": 36, "type": "SCALAR"},
    ]
    tree = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, **(node or {})}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": accessors,
        "bufferViews": [
            {"buffer": 0, "byteLength": 8 * width, "byteStride": width},
            {"buffer": 0, "byteOffset": 8 * width, "byteLength": len(faces)},
        ],
        "buffers": [{"byteLength": len(data)}],
    }
    change(tree)
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks + behind)


QUANTISED = {"extensionsUsed": ["KHR_mesh_quantization"], "extensionsRequired": ["KHR_mesh_quantization"]}
PLACE = {"scale": [2.0, 2.0, 2.0], "translation": [5e6, 4.0, 3.0]}


@pytest.mark.parametrize(
    ("vertices", "component", "normalised", "side"),
    [
        (CORNERS, 5126, False, 4),
        (CORNERS * 1000, 5122, False, 4000),
        ((CORNERS + 1) * 100, 5121, False, 400),
        (CORNERS * 32767, 5122, True, 4),
        ((CORNERS + 1) // 2 * 65535, 5123, True, 2),
        (CORNERS * 127, 5120, True, 4),
        ((CORNERS + 1) // 2 * 255, 5121, True, 2),
    ],
)
def test_quantised_vertices_are_read_at_their_place(vertices, component, normalised, side, tmp_path):
    glb(tmp_path / "a.glb", vertices, component, normalised, PLACE, lambda tree: tree.update(QUANTISED))
    solid = read_mesh(tmp_path / "a.glb")
    places = solid.frame.to_file(solid.mesh.vertices)
    assert_allclose(np.ptp(places, 0), side, rtol=1e-6)
    middle = np.mean([np.max(vertices, 0), np.min(vertices, 0)], 0) / (np.abs(vertices).max() if normalised else 1)
    assert_allclose(solid.frame.centre, 2 * middle + [5e6, 4, 3], rtol=1e-12)


def test_what_stands_behind_a_glb_or_an_off_is_left_out_with_a_note(tmp_path):
    glb(tmp_path / "a.glb", CORNERS, behind=bytes(9))
    off(tmp_path / "a.off", CORNERS, SIDES.tolist())
    (tmp_path / "a.off").write_text((tmp_path / "a.off").read_text() + "\n3 0 1 2\n")
    for name, words in (("a.glb", "9 bytes behind its [0-9]+ are"), ("a.off", "1 lines behind its 6 faces are")):
        with pytest.warns(UserWarning, match=f"{words} left out"):
            assert volume_of(read_mesh(tmp_path / name)) == pytest.approx(8)
    (tmp_path / "a.glb").write_bytes((tmp_path / "a.glb").read_bytes()[:-30])
    with pytest.raises(InputError, match=r"must be a whole file .*a\.glb is not: of \d+ bytes that it announces it has \d+;"):
        read_mesh(tmp_path / "a.glb")


def test_the_scale_of_quantised_vertices_is_not_that_of_other_bodies(tmp_path):
    def change(tree):
        tree["nodes"] += [{"mesh": 1, "translation": [300, 0, 0]}]
        tree["nodes"][0]["children"] = [1]
        tree["accessors"].append(tree["accessors"][0] | {"normalized": False})
        tree["meshes"].append({"primitives": [{"attributes": {"POSITION": 2}, "indices": 1}]})

    glb(tmp_path / "a.glb", CORNERS * 127, 5120, True, {}, change)
    solid = read_mesh(tmp_path / "a.glb")
    assert_allclose(np.ptp(solid.frame.to_file(solid.mesh.vertices), 0), [428, 254, 254])


def draco(tree):
    tree["extensionsUsed"] = ["KHR_draco_mesh_compression"]
    tree["extensionsRequired"] = tree["extensionsUsed"]


def optional_draco(tree):
    tree["extensionsUsed"] = ["KHR_draco_mesh_compression"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (draco, r"is compressed with Draco \(KHR_draco_mesh_compression\); open it in Blender"),
        (lambda tree: (optional_draco(tree), tree["accessors"][0].pop("bufferView")), "is compressed with Draco"),
        (lambda tree: tree.update(extensionsRequired=["EXT_meshopt_compression"]), "is compressed with meshopt"),
        (lambda tree: tree.update(extensionsUsed=["EXT_mesh_gpu_instancing"]), "repeats its bodies by instancing"),
        (lambda tree: tree["accessors"][0].update(sparse={"count": 1}), "has sparse vertices or none"),
        (lambda tree: tree["meshes"][0]["primitives"][0].update(mode=6), "has fans of them"),
    ],
    ids=["draco", "draco, not required", "meshopt", "instances", "sparse", "fans"],
)
@pytest.mark.parametrize("ending", ["glb", "gltf"])
def test_packed_geometry_is_named_with_the_way_out(ending, change, words, tmp_path):
    glb(tmp_path / "a.glb", CORNERS, change=change)
    if ending == "gltf":
        data = (tmp_path / "a.glb").read_bytes()
        (tmp_path / "a.gltf").write_bytes(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])
    with pytest.raises(InputError, match=rf"\AA mesh must be plain triangles, .*{words}.*\Z"):
        read_mesh(tmp_path / f"a.{ending}")


def test_draco_that_need_not_be_read_is_not(tmp_path):
    glb(tmp_path / "a.glb", CORNERS, change=optional_draco)
    assert volume_of(read_mesh(tmp_path / "a.glb")) == pytest.approx(8)


# Triangles that share no corner, and single precision


@pytest.mark.parametrize(
    ("ending", "noise"),
    [("obj", 1e-9), ("obj", 1e-7), ("stl", 1e-7), ("ply", 1e-7), ("obj", 2e-6), ("stl", 2e-6), ("ply", 2e-6)],
)
def test_triangles_that_nearly_meet_are_welded_with_a_note(ending, noise, tmp_path):
    solid = ball(1.0, 2)
    corners = solid.vertices[solid.faces].reshape(-1, 3)
    corners = corners + noise * np.random.default_rng(0).uniform(-1, 1, corners.shape)
    trimesh.Trimesh(corners, np.arange(len(corners)).reshape(-1, 3), process=False).export(
        tmp_path / f"a.{ending}", **DIGITS[ending]
    )
    with pytest.warns(UserWarning, match=r"vertices nearer to each other than 1e-05 .* closes 960 of 960 open edges"):
        read = read_mesh(tmp_path / f"a.{ending}")
    assert (len(read.mesh.faces), len(read.mesh.vertices), read.closed, read.bodies) == (320, 162, True, 1)
    assert volume_of(read) == pytest.approx(trimesh.Trimesh(*solid).volume, rel=1e-4)


DIGITS = {"obj": {"digits": 12}, "stl": {}, "ply": {}}


@pytest.mark.parametrize("way", [1, -1])
def test_gaps_that_are_wider_stay_open_and_triangles_apart_enclose_a_body(way, tmp_path):
    solid = ball(1.0, 2)
    corners = 0.999 * solid.vertices[solid.faces] + 0.001 * solid.vertices[solid.faces].mean(1, keepdims=True)
    faces = np.arange(960).reshape(-1, 3)[:, ::way]
    trimesh.Trimesh(corners.reshape(-1, 3), faces, process=False).export(tmp_path / "a.ply")
    with pytest.warns(UserWarning, match="not closed, 960 edges are open|320 of 320 faces were inside out") as caught:
        read = read_mesh(tmp_path / "a.ply")
    assert len(caught) == (1 if way > 0 else 2)
    assert_allclose(distance(read, [0, 0, 0], [1.5, 0, 0]), [-0.98, 0.52], atol=0.02)


@pytest.mark.parametrize("ending", ["ply", "stl", "glb"])
def test_shapes_that_single_precision_has_rounded_are_warned_of(ending, tmp_path):
    solid = ball(1.0, 3)
    trimesh.Trimesh(solid.vertices + np.array([5e5, 4.5e6, 100]), solid.faces, process=False).export(tmp_path / f"a.{ending}")
    with pytest.warns(UserWarning, match=r"single precision around 4.5e\+06 has steps of 0.5, for a shape of size 2;"):
        read_triangles(tmp_path / f"a.{ending}")
    trimesh.Trimesh(solid.vertices + np.array([50, 45, 10]), solid.faces, process=False).export(tmp_path / f"b.{ending}")
    assert len(read_triangles(tmp_path / f"b.{ending}").faces) == 1280


def test_double_precision_far_away_is_whole(tmp_path):
    ply(tmp_path / "a.ply", CORNERS + np.array([5e5, 4.5e6, 0]), SIDES.tolist(), "binary_little_endian")
    assert_allclose(read_mesh(tmp_path / "a.ply").frame.centre, [5e5, 4.5e6, 0])
