import os
from pathlib import Path

import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose, assert_array_equal

from datamodules.shapes.read_cloud import read_cloud, vertex_normals
from datamodules.shapes.torus import torus, torus_family
from inr.errors import InputError

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
        ("a.xyz", line("1 2 3 0 0 0"), "needs 10 normals that are not 0, .* has 0"),
        ("a.xyz", b"\xff\xfe\x00\x80", "must be text"),
        ("a.npy", b"nothing", "must be plain numbers saved by numpy"),
        ("a.npy", np.zeros((20, 2, 3)), r"table \(points, 6\), .* has the shape \(20, 2, 3\)"),
        ("a.npy", np.zeros(20), r"table \(points, 6\), .* has the shape \(20,\)"),
        ("a.npy", np.zeros((20, 6), complex), "six columns of numbers, .* has 6 of complex128"),
        ("a.ply", b"nothing", "must be a whole file"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\n", "needs faces"),
    ],
)
def test_what_is_no_cloud_is_refused_in_one_line(name, content, words, tmp_path):
    if isinstance(content, np.ndarray):
        np.save(tmp_path / name, content)
    else:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=rf"\A.*(?:{words}).*\Z"):
        read_cloud(tmp_path / name)


def test_a_cloud_without_normals_is_refused_by_the_names_it_has(tmp_path):
    trimesh.PointCloud(sphere()[:, :3]).export(tmp_path / "a.ply")
    with pytest.raises(InputError, match=r"the properties nx ny nz, .* has x, y, z.*; estimate them"):
        read_cloud(tmp_path / "a.ply")


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
