import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose, assert_array_equal

from datamodules.shapes.read_cloud import read_cloud, vertex_normals
from datamodules.shapes.shape import Sampling
from datamodules.shapes.torus import torus, torus_family
from inr.errors import InputError
from inr.shapes.oriented_points import OrientedPoints

DATA = Path(os.environ.get("INR_DATA", "nowhere"))
HEADER = "ply\nformat {}\nelement vertex {}\n" + "".join(
    f"property double {name}\n" for name in ("x", "y", "z", "nx", "ny", "nz")
)


def sphere(points=40):
    """A table of points of a ball around (1, 2, 3) with normals of all lengths."""
    random = np.random.default_rng(0)
    normals = random.normal(size=(points, 3))
    normals[:6] = np.concatenate([np.eye(3), -np.eye(3)])
    return np.concatenate([[1, 2, 3] + 4 * normals / np.linalg.norm(normals, axis=1, keepdims=True), normals], 1)


def save(path, table):
    """A cloud of the kind that the name says."""
    kind, lines = path.stem, [" ".join(map(repr, row)) for row in table.tolist()]
    if path.suffix == ".npy":
        np.save(path, table)
    elif path.suffix == ".ply":
        start = HEADER.format("ascii 1.0" if kind == "ascii" else "binary_little_endian 1.0", len(table)) + "end_header\n"
        path.write_bytes(start.encode() + ("\n".join(lines).encode() if kind == "ascii" else table.astype("<f8").tobytes()))
    elif kind == "commas":
        path.write_text("\n".join(["# x, y, z, nx, ny, nz", "", *(line.replace(" ", ", ") + "  # a point" for line in lines)]))
    else:
        path.write_text("\n".join([str(len(lines)), *lines] if kind == "counted" else lines))
    return path


@pytest.mark.parametrize("name", ["a.xyz", "commas.txt", "counted.pts", "a.npy", "ascii.ply", "binary.ply"])
def test_every_format_holds_the_same_cloud(name, tmp_path):
    cloud = read_cloud(save(tmp_path / name, sphere()))
    assert_allclose(cloud.points, 0.9 * cloud.normals, atol=1e-15)
    assert_allclose(cloud.frame.to_file(cloud.points), sphere()[:, :3], rtol=1e-15)
    assert_allclose(np.linalg.norm(cloud.normals, axis=1), 1)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
@pytest.mark.parametrize("length", [1e-200, 1e200])
def test_size_of_points_and_normals_does_not_matter(scale, length, tmp_path):
    cloud = read_cloud(save(tmp_path / "a.npy", sphere() * np.repeat([scale, length], 3)), fill=0.5)
    assert_allclose(cloud.points, 0.5 * cloud.normals, atol=1e-12)


@pytest.mark.parametrize("ending", [".obj", ".ply", ".stl", ".off", ".glb"])
def test_of_a_mesh_the_vertices_are_taken_with_normals_weighted_by_area(ending, tmp_path):
    box = trimesh.creation.box((1, 2, 4)).subdivide()
    box.export(tmp_path / f"box{ending}")
    cloud = read_cloud(tmp_path / f"box{ending}")
    assert len(cloud.points) == len(box.vertices) == 26
    sides = np.sign(cloud.points) * (abs(cloud.points) > 1e-6)
    middle = abs(sides).sum(1) == 1  # of a side: all around look the same way
    assert middle.sum() == 6
    assert_allclose(cloud.normals[middle], sides[middle], atol=1e-6)


def test_area_weighted_normals_are_the_slopes_of_the_volume():
    mesh, step = torus(12, 6), 1e-3
    slopes = np.zeros_like(mesh.vertices)
    for place in np.ndindex(slopes.shape):
        for sign in (1, -1):
            moved = mesh.vertices.copy()
            moved[place] += sign * step
            slopes[place] += sign * np.linalg.det(moved[mesh.faces]).sum() / 6 / (2 * step)
    assert_allclose(vertex_normals(mesh) / 6, slopes, atol=1e-9)  # exact: volume is linear in each


def test_normals_of_a_mesh_are_outward_however_it_is_wound(tmp_path):
    ball = trimesh.creation.icosphere(3)
    ball.export(tmp_path / "ball.off")
    ball.invert()
    ball.export(tmp_path / "inverted.off")
    cloud = read_cloud(tmp_path / "ball.off")
    assert_allclose(cloud.normals, cloud.points / 0.9, atol=0.02)
    with pytest.warns(UserWarning, match="inside out"):
        assert_allclose(read_cloud(tmp_path / "inverted.off").normals, cloud.normals, atol=1e-12)


def test_points_without_a_normal_are_left_out(tmp_path):
    table = sphere()
    table[20:23, 3:] = 0
    with pytest.warns(UserWarning, match="3 of 40 points have a normal of 0"):
        cloud = read_cloud(save(tmp_path / "a.xyz", table))
    assert_allclose(cloud.points, read_cloud(save(tmp_path / "b.xyz", np.delete(table, [20, 21, 22], 0))).points)


NAMES = ["X", "Y", "Z", "Nx", "Ny", "Nz"]
FULL = ["x", "y", "z", "red", "green", "blue", "normal_x", "normal_y", "normal_z", "curvature"]


def rows(table, separator=" ", decimal="."):
    return [separator.join(map(repr, row)).replace(".", decimal) for row in table.tolist()]


def wide(table):
    """With three colours in between and a curvature behind."""
    return np.concatenate([table[:, :3], np.full((len(table), 3), 99.0), table[:, 3:], np.full((len(table), 1), 0.5)], 1)


def lzf(data):
    """Packed by repeating the eight bytes before where they come again, and as they are elsewhere."""
    packed, place = b"", 0
    while place < len(data):
        run = 8
        while place >= 8 and run < 264 and data[place : place + run] == (data[place - 8 : place] * 33)[:run]:
            run += 8
        if run > 8:
            length = run - 8 - 2
            packed += bytes([(7 << 5), length - 7, 7]) if length >= 7 else bytes([length << 5, 7])
            place += run - 8
        else:
            packed += bytes([len(data[place : place + 8]) - 1]) + data[place : place + 8]
            place += 8
    return packed


def pcd(path, table, form, names=FULL, kind="F", size=8, more=""):
    """A file of the Point Cloud Library."""
    header = f"# .PCD v0.7\nVERSION 0.7\nFIELDS {' '.join(names)}\nSIZE {' '.join([str(size)] * len(names))}\n"
    header += f"TYPE {' '.join([kind] * len(names))}\nCOUNT {' '.join(['1'] * len(names))}\nWIDTH {len(table)}\nHEIGHT 1\n"
    header += f"VIEWPOINT 0 0 0 1 0 0 0\n{more}DATA {form}\n"
    body = "\n".join(rows(table)).encode() if form == "ascii" else table.astype(f"<f{size}").tobytes()
    if form == "binary_compressed":
        plain = table.T.astype(f"<f{size}").tobytes()
        packed = lzf(plain)
        body = struct.pack("<II", len(packed), len(plain)) + packed
    path.write_bytes(header.encode() + body)


WRITERS = {
    "cloudcompare.txt": lambda path, t: path.write_text("\n".join(["//" + " ".join(NAMES), str(len(t)), *rows(t)])),
    "counted.asc": lambda path, t: path.write_text("\n".join([str(len(t)), "//" + " ".join(NAMES), *rows(t)])),
    "bare.xyzn": lambda path, t: path.write_text("\n".join(rows(t))),
    "named.csv": lambda path, t: path.write_text("\n".join([",".join(FULL), *rows(wide(t), ",")])),
    "quoted.csv": lambda path, t: path.write_text("\n".join([",".join(f'"{name}"' for name in FULL), *rows(wide(t), ",")])),
    "commas.csv": lambda path, t: path.write_text("\n".join([";".join(FULL), *rows(wide(t), ";", ",")])),
    "marked.csv": lambda path, t: path.write_text("\ufeff" + "\n".join([",".join(NAMES), *rows(t, ",")]), encoding="utf-8"),
    "hash.txt": lambda path, t: path.write_text("\n".join(["# made by a scanner", "# " + " ".join(FULL), *rows(wide(t))])),
    "one.npz": lambda path, t: np.savez(path, t),
    "two.npz": lambda path, t: np.savez(path, points=t[:, :3], normals=t[:, 3:], loc=np.zeros(3), scale=2.0),
    "ascii.pcd": lambda path, t: pcd(path, wide(t), "ascii"),
    "binary.pcd": lambda path, t: pcd(path, wide(t), "binary", more=f"POINTS {len(t)}\n"),
    "packed.pcd": lambda path, t: pcd(path, wide(t), "binary_compressed"),
    "padded.pcd": lambda path, t: pcd(path, wide(t), "binary", [*FULL[:3], "_", "_", "rgb", *FULL[6:]]),
    "cloud.obj": lambda path, t: path.write_text(
        "".join("vn {} {} {}\nv {} {} {} 0.5 0.5 0.5\n".format(*row[3:], *row[:3]) for row in t.tolist())
    ),
    "float.ply": lambda path, t: trimesh.PointCloud(t[:, :3]).export(path) and ply_with_more(path, t),
}


def ply_with_more(path, table):
    """Columns in another order, with colours, in big endian."""
    names = ["nx", "ny", "nz", "red", "x", "y", "z"]
    lines = "".join(f"property {'uchar' if name == 'red' else 'double'} {name}\n" for name in names)
    kinds = [(name, "u1" if name == "red" else ">f8") for name in names]
    data = np.zeros(len(table), kinds)
    for name, column in zip(["x", "y", "z", "nx", "ny", "nz"], table.T, strict=True):
        data[name] = column
    path.write_bytes(
        f"ply\nformat binary_big_endian 1.0\nelement vertex {len(table)}\n{lines}end_header\n".encode() + data.tobytes()
    )


@pytest.mark.parametrize("name", WRITERS)
def test_columns_go_by_their_names(name, tmp_path):
    WRITERS[name](tmp_path / name, sphere())
    cloud = read_cloud(tmp_path / name)
    assert_allclose(cloud.points, 0.9 * cloud.normals, atol=1e-9)
    assert_allclose(cloud.frame.to_file(cloud.points), sphere()[:, :3], rtol=1e-9)


def test_a_point_that_occurs_twice_is_one(tmp_path):
    table = sphere(400)
    once = read_cloud(save(tmp_path / "a.npy", table))
    table = np.concatenate([table, table[:1], table[3:9] + 1e-12])
    twice = read_cloud(save(tmp_path / "b.npy", table))
    assert len(twice.points) == len(once.points) == 400
    seen = [cloud.samples(500, 0, Sampling(0.0, 0.5, [0.1])) for cloud in (once, twice)]
    assert_allclose(seen[1].distance, seen[1].points.norm(dim=-1) - 0.9, atol=0.15)
    at = seen[0].points.double().numpy()
    pair = [OrientedPoints(cloud.points, cloud.normals).signed_distance(at).value for cloud in (once, twice)]
    assert_allclose(*pair, atol=1e-9)


def balls(count=1500):
    """Evenly spread points of a ball, normals outward."""
    place = np.arange(count) + 0.5
    height, turn = 1 - 2 * place / count, place * np.pi * (1 + 5**0.5)
    normals = np.stack([np.sqrt(1 - height**2) * np.cos(turn), np.sqrt(1 - height**2) * np.sin(turn), height], -1)
    return np.concatenate([normals + 5, normals], 1)


def shell(count=1500):
    """A ball with a cavity, whose normals point into it."""
    outer, inner = balls(count), balls(count)
    return np.concatenate([outer, inner * np.repeat([0.5, -1], 3) + np.repeat([2.5, 0], 3)])


@pytest.mark.parametrize("table", [balls(), shell(), np.concatenate([balls(), balls() + np.repeat([4, 0], 3)])])
def test_normals_that_point_inward_are_turned(table, tmp_path):
    outward = read_cloud(save(tmp_path / "a.npy", table))
    with pytest.warns(UserWarning, match=r"in\.npy: the normals point inward, and have been turned round") as caught:
        inward = read_cloud(save(tmp_path / "in.npy", table * np.repeat([1, -1], 3)))
    assert len(caught) == 1
    assert_allclose(inward.normals, outward.normals)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.3])
def test_normals_of_both_directions_are_warned_of_with_a_figure(share, sign, tmp_path):
    table = balls()
    table[:, 3:] *= sign
    wrong = np.random.default_rng(0).permutation(len(table))[: int(share * len(table))]
    table[wrong, 3:] *= -1
    with pytest.warns(UserWarning, match="point against|point inward") as caught:
        cloud = read_cloud(save(tmp_path / "a.npy", table))
    texts = [str(one.message) for one in caught]
    assert f"{len(wrong)} of 1500 normals ({100 * share:.1f}%) point against those around them" in texts[0]
    assert len(texts) == (1 if sign > 0 else 2)
    assert ((cloud.points * cloud.normals).sum(1) > 0).mean() == pytest.approx(1 - share, abs=1e-3)


def test_a_half_that_looks_inward_and_an_open_surface_are_warned_of(tmp_path):
    table = balls()
    half = table[:, 0] > 5
    with pytest.warns(UserWarning, match=r"the points enclose a body by \d+% alone: the surface is open, thinner"):
        read_cloud(save(tmp_path / "open.npy", table[table[:, 0] > 5.3]))
    table[half, 3:] *= -1
    with pytest.warns(UserWarning, match="point against|point inward") as caught:
        read_cloud(save(tmp_path / "half.npy", table))
    assert re.search(r"7\d\d of 1500 normals \((49|50)\.\d%\) point against those around them", str(caught[0].message))


@pytest.mark.parametrize("thickness", [0.1, 0.04])
def test_thin_bodies_are_not_taken_for_mixed_ones(thickness, tmp_path):
    plate = trimesh.creation.box((1, 1, thickness))
    points, faces = trimesh.sample.sample_surface(plate, 6000, seed=0)
    table = np.concatenate([points, plate.face_normals[faces]], 1)
    read_cloud(save(tmp_path / "a.npy", table))


def test_one_side_of_a_box_that_looks_inward_is_warned_of(tmp_path):
    cube = trimesh.creation.box((1, 1, 1))
    points, faces = trimesh.sample.sample_surface(cube, 6000, seed=0)
    normals = np.where(cube.face_normals[faces][:, :1] > 0.5, -1, 1) * cube.face_normals[faces]
    with pytest.warns(UserWarning, match=r"enclose a body by 6\d% alone"):
        read_cloud(save(tmp_path / "a.npy", np.concatenate([points, normals], 1)))


def line(text):
    return f"{text}\n" * 12


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.las", line("1 2 3 4 5 6"), r"must end in \.xyz, .*\.txt, .*\.pcd, .*\.gltf, got .*a\.las; convert it"),
        ("a.xyz", line("1 2 3"), "needs normals, x y z nx ny nz per line, .* has 3 columns; estimate them with"),
        ("a.xyz", line("1 2 3 4 5 6 7"), "six columns of numbers, .* has 7 of float64; keep these six"),
        ("a.xyz", line("1 2 3 0 0 1") + "1 2 3 0 0", "as long as the first, 6 numbers, .* has 5 in line 13"),
        ("a.xyz", "# top\n" + line("1 2 3 0 0 1") + "1 2 3 0 0 up", "must be numbers, .* has in line 14: 1 2 3 0 0 up"),
        ("a.xyz", line("1 2 nan 0 0 1"), "must be finite, .* has 12 of 12 points"),
        ("a.xyz", line("1 2 3 255 0 31"), "looks like colours"),
        ("a.xyz", "1 2 3 0 0 1\n", "needs 10 points or more, .* has 1"),
        ("a.xyz", "", "needs 10 points or more, .* has 0"),
        ("a.xyz", line("1 2 3 0 0 1"), r"must have an extent, finite and not 0, got 0.0 around \[1.0, 2.0, 3.0\]"),
        (
            "a.xyz",
            "".join(f"{i} 0 {i % 3} 0 0 1\n{i} 0 {i % 3} 0 0 -1\n" for i in range(20)),
            "needs 10 places .* has 0: .*cancel",
        ),
        ("a.xyz", line("1 2 3 0 0 0"), "needs 10 normals that are not 0, .* has 0"),
        ("a.xyz", b"\xff\xfe\x00\x80", "must be text"),
        ("a.npy", b"nothing", "must be plain numbers saved by numpy"),
        ("a.npy", np.zeros((20, 2, 3)), r"table \(points, 6\), .* has the shape \(20, 2, 3\)"),
        ("a.npy", np.zeros(20), r"table \(points, 6\), .* has the shape \(20,\)"),
        ("a.npy", np.zeros((20, 6), complex), "six columns of numbers, .* has 6 of complex128"),
        ("a.ply", b"nothing", "must be a whole file"),
        ("a.csv", "x,y,z,r,g,b\n" + line("1,2,3,4,5,6"), "the properties nx ny nz, .* has x, y, z, r, g, b; estimate them"),
        ("a.csv", "x,y,z,nx,ny,nz\n" + line("1,2,3,4,5,6,7"), "a name for each column, .* 6 names and 7 columns"),
        ("a.npz", {"points": np.zeros((20, 3)), "normals": np.zeros((9, 3))}, r"\(points, 3\) both, .* \(20, 3\) and \(9, 3\)"),
        (
            "a.npz",
            {"points": np.zeros((20, 3)), "occupancies": np.zeros(20)},
            "must hold one array, .* has points, occupancies",
        ),
        ("a.npz", {"pos": np.zeros((20, 4)), "neg": np.zeros((20, 4))}, "distances pos and neg of DeepSDF; use data=distances"),
        ("a.pcd", "FIELDS x y z\n", "must be a whole file .* its header has no line DATA"),
        ("a.pcd", "FIELDS x y z\nDATA binary_compressed\n", r"must be a whole file .*: KeyError, "),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\n", "needs faces"),
    ],
)
def test_what_is_no_cloud_is_refused_in_one_line(name, content, words, tmp_path):
    if isinstance(content, dict):
        np.savez(tmp_path / name, **content)
    elif isinstance(content, np.ndarray):
        np.save(tmp_path / name, content)
    else:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=rf"\A.*(?:{words}).*\Z"):
        read_cloud(tmp_path / name)


def test_a_cloud_without_normals_is_refused_by_the_names_it_has(tmp_path):
    trimesh.PointCloud(sphere()[:, :3]).export(tmp_path / "a.ply")
    with pytest.raises(InputError, match=r"the properties nx ny nz, .* has x, y, z.*; estimate them"):
        read_cloud(tmp_path / "a.ply")


@pytest.mark.parametrize("name", ["a.npy", "a.pcd", "a.ply"])
def test_points_that_single_precision_has_rounded_are_warned_of(name, tmp_path):
    table = sphere(400) + np.repeat([4.5e6, 0], 3)
    if name == "a.npy":
        np.save(tmp_path / name, table.astype(np.float32))
    elif name == "a.pcd":
        pcd(tmp_path / name, wide(table), "binary", size=4)
    else:
        header = HEADER.replace("double", "float").format("binary_little_endian 1.0", len(table))
        (tmp_path / name).write_bytes(f"{header}end_header\n".encode() + table.astype("<f4").tobytes())
    with pytest.warns(
        UserWarning, match=r"single precision around 4.5e\+06 has steps of 0.5, for a shape of size 8|enclose"
    ) as caught:
        read_cloud(tmp_path / name)
    assert sum("single precision" in str(one.message) for one in caught) == 1


def test_clouds_of_pcd_that_cannot_be_read_are_named(tmp_path):
    pcd(tmp_path / "a.pcd", wide(sphere()), "zipped")
    with pytest.raises(
        InputError, match=r"must be a whole file .*a\.pcd is not: ValueError, its data are zipped, not one of ascii"
    ):
        read_cloud(tmp_path / "a.pcd")
    pcd(tmp_path / "d.pcd", wide(sphere()), "binary_compressed")
    (tmp_path / "d.pcd").write_bytes((tmp_path / "d.pcd").read_bytes()[:-9])
    with pytest.raises(InputError, match=r"must be a whole file .*d\.pcd is not: ValueError, it has \d+ bytes of 3200"):
        read_cloud(tmp_path / "d.pcd")
    pcd(tmp_path / "b.pcd", sphere(), "binary", [*"xyzrgb"])
    with pytest.raises(InputError, match=r"the properties nx ny nz, .* has x, y, z, r, g, b; estimate them"):
        read_cloud(tmp_path / "b.pcd")
    pcd(tmp_path / "c.pcd", wide(sphere()), "binary", more="POINTS 41\n")
    with pytest.raises(InputError, match=r"must be a whole file .*c\.pcd is not: ValueError"):
        read_cloud(tmp_path / "c.pcd")


@pytest.mark.parametrize("make", [torus, lambda **sizes: torus_family(3, **sizes), lambda **sizes: torus_family(3, 1, **sizes)])
def test_a_torus_is_closed_outward_and_has_a_hole(make):
    mesh = make()
    checked = trimesh.Trimesh(*mesh, process=False)
    assert checked.is_watertight
    assert checked.is_winding_consistent
    assert checked.euler_number == 0
    assert abs(mesh.vertices).max() == pytest.approx(0.9)
    assert_allclose(mesh.vertices.max(0), -mesh.vertices.min(0), atol=1e-12)
    coarse = trimesh.Trimesh(*make(around=64, across=32), process=False).volume
    assert checked.volume > coarse > 0.95 * checked.volume  # smooth: the finer, the closer to a volume
    assert checked.face_adjacency_angles.max() < 0.5


def test_no_mirror_leaves_the_torus_as_it_is():
    mesh = torus(48, 24)
    for signs in np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1]), -1).reshape(-1, 3)[:-1]:
        away = np.linalg.norm(mesh.vertices[:, None] * signs - mesh.vertices, axis=-1).min(1)
        assert away.max() > 0.03, signs


def test_rings_of_a_family_differ_and_come_again():
    assert_array_equal(torus_family(2, 5).vertices, torus_family(2, 5).vertices)
    rings = [torus_family(variant, seed, 16, 8).vertices for variant in range(3) for seed in range(2)]
    assert all(abs(one - other).max() > 0.05 for i, one in enumerate(rings) for other in rings[:i])
    for variant in (-1, 0.5):
        with pytest.raises(InputError, match=f"whole number, at least 0, got {variant}"):
            torus_family(variant)
    with pytest.raises(InputError, match="3 vertices or more around and across, got 2 and 64"):
        torus(2)


@pytest.mark.skipif(not DATA.is_dir(), reason="needs INR_DATA")
def test_a_real_mesh_with_holes_is_a_cloud_without_a_warning():
    cloud = read_cloud(DATA / "meshes" / "stanford-bunny-open.obj")
    assert len(cloud.points) == 34834
    assert_allclose(np.linalg.norm(cloud.normals, axis=1), 1)
