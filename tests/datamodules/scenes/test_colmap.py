"""Models of COLMAP: cameras, poses, points and photographs as they are in the files."""

import struct
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from tiny.captures import forward, generated, read, world_poses, write_colmap

from datamodules.scenes.layouts import read_scene
from inr.errors import InputError

TILTED = np.array([[0.0, -2.0, 0.0, 5.0], [2.0, 0.0, 0.0, -3.0], [0.0, 0.0, 2.0, 0.5], [0.0, 0.0, 0.0, 1.0]])
ORIGINAL = replace(generated(size=12, views=9, hold_every=3), world=TILTED)


def write(folder, binary=True, capture=ORIGINAL):
    return write_colmap(folder, capture, binary)


def model(folder):
    return folder / "sparse" / "0"


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "text"])
@pytest.mark.parametrize("place", ["sparse/0", "sparse", "colmap/sparse/0"])
def test_poses_and_lenses_are_those_of_the_model(place, binary, tmp_path):
    write(tmp_path, binary)
    if place != "sparse/0":
        model(tmp_path).rename(tmp_path / "aside")
        (tmp_path / "sparse").rmdir()
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "aside").rename(tmp_path / place)
    capture = read_scene(tmp_path)
    assert capture.names == ORIGINAL.names
    for found, expected in zip(world_poses(capture), world_poses(ORIGINAL), strict=True):
        assert np.shape(found) == np.shape(expected)
    assert_allclose(world_poses(capture)[0], world_poses(ORIGINAL)[0], atol=1e-9)
    assert_allclose(capture.intrinsics, ORIGINAL.intrinsics, atol=1e-12)
    assert (capture.test, capture.ndc) == ((0, 8), None)
    assert np.linalg.norm(capture.poses[:, :, 3], axis=-1).max() == pytest.approx(1)
    assert capture.path(5)[:, 2, 1].min() > 0  # up is where it is for the cameras


def test_text_without_lines_for_points_that_are_seen_is_read(tmp_path):
    write(tmp_path, binary=False)
    file = model(tmp_path) / "images.txt"
    first = file.read_text()
    file.write_text("\n".join(line for line in first.splitlines() if line.strip() and "-1 " not in line))
    assert_allclose(read("colmap", tmp_path).poses, read("colmap", write(tmp_path / "again", binary=False)).poses)


PARAMETERS = {
    "SIMPLE_PINHOLE": ([20.0, 5.0, 7.0], [20.0, 20.0, 6.5, 4.5]),
    "PINHOLE": ([20.0, 21.0, 5.0, 7.0], [21.0, 20.0, 6.5, 4.5]),
    "SIMPLE_RADIAL": ([20.0, 5.0, 7.0, 0.1], [20.0, 20.0, 6.5, 4.5, 0.1, 0, 0, 0, 0, 0, 0]),
    "RADIAL": ([20.0, 5.0, 7.0, 0.1, 0.02], [20.0, 20.0, 6.5, 4.5, 0.1, 0.02, 0, 0, 0, 0, 0]),
    "OPENCV": ([20.0, 21.0, 5.0, 7.0, 0.1, 0.02, 0.01, -0.01], [21.0, 20.0, 6.5, 4.5, 0.1, 0.02, 0, 0, 0.01, -0.01, 0]),
    "OPENCV_FISHEYE": (
        [20.0, 21.0, 5.0, 7.0, 0.1, 0.02, 0.01, -0.01],
        [21.0, 20.0, 6.5, 4.5, 0.1, 0.02, 0.01, -0.01, 0, 0, 1],
    ),
    "FULL_OPENCV": (
        [20.0, 21.0, 5.0, 7.0, 0.1, 0.02, 0.01, -0.01, 0.003, 0, 0, 0],
        [21.0, 20.0, 6.5, 4.5, 0.1, 0.02, 0.003, 0, 0.01, -0.01, 0],
    ),
    "SIMPLE_RADIAL_FISHEYE": ([20.0, 5.0, 7.0, 0.1], [20.0, 20.0, 6.5, 4.5, 0.1, 0, 0, 0, 0, 0, 1]),
    "RADIAL_FISHEYE": ([20.0, 5.0, 7.0, 0.1, 0.02], [20.0, 20.0, 6.5, 4.5, 0.1, 0.02, 0, 0, 0, 0, 1]),
}
NUMBERS = {name: number for number, name in enumerate(PARAMETERS) if number < 7} | {
    "SIMPLE_RADIAL_FISHEYE": 8,
    "RADIAL_FISHEYE": 9,
}


def cameras(folder, name, numbers, binary):
    """Give all nine photographs a camera of a model."""
    if binary:
        packed = [struct.pack(f"<iiQQ{len(numbers)}d", 1 + view, NUMBERS[name], 12, 12, *numbers) for view in range(9)]
        (model(folder) / "cameras.bin").write_bytes(struct.pack("<Q", 9) + b"".join(packed))
    else:
        lines = [f"{1 + view} {name} 12 12 {' '.join(map(str, numbers))}" for view in range(9)]
        (model(folder) / "cameras.txt").write_text("\n".join(lines))


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "text"])
@pytest.mark.parametrize("name", PARAMETERS)
def test_models_of_cameras(name, binary, tmp_path):
    write(tmp_path, binary)
    numbers, expected = PARAMETERS[name]
    cameras(tmp_path, name, numbers, binary)
    assert_allclose(read("colmap", tmp_path).intrinsics, np.tile(expected, (9, 1)))


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("FOV", [20, 21, 5, 7, 0.9]),
        ("THIN_PRISM_FISHEYE", [20, 21, 5, 7, 0, 0, 0.1, 0, 0, 0, 0, 0]),
        ("FULL_OPENCV", [20, 21, 5, 7, 0, 0, 0, 0, 0, 0.1, 0, 0]),
    ],
)
def test_lenses_that_no_ray_follows_are_refused(name, numbers, tmp_path):
    write(tmp_path, binary=False)
    cameras(tmp_path, name, numbers, binary=False)
    with pytest.raises(InputError, match=rf"view_00.png is of the model {name}; undistort the photographs first"):
        read("colmap", tmp_path)


def test_points_say_where_rays_begin_and_end(tmp_path):
    capture = read("colmap", write(tmp_path))
    unit = np.cbrt(np.linalg.det(capture.world[:3, :3])) / 2  # of the generated scene
    assert type(capture.near) is type(capture.far) is float
    assert 1.2 < capture.near * unit < 2.1  # points fill 0.8 of a cube that cameras are 3.2 away from
    assert 4.3 < capture.far * unit < 6
    straight = read("colmap", write(tmp_path / "forward", capture=forward(ORIGINAL)))
    assert np.linalg.norm(straight.world[:3, 3] - TILTED[:3, 3]) < 1
    cube = read("colmap", tmp_path, bound=2.5)
    assert (cube.box, np.cbrt(np.linalg.det(cube.world[:3, :3]))) == (True, pytest.approx(2.5))
    given = read("colmap", tmp_path, near=1.0, far=20.0)
    assert (given.near * 2 * unit, given.far * 2 * unit) == (pytest.approx(1), pytest.approx(20))
    (model(tmp_path) / "points3D.bin").unlink()
    alone = read("colmap", tmp_path)
    assert (alone.near, alone.far) == (pytest.approx(0.05), pytest.approx(2.5))


def test_reduced_photographs_have_reduced_lenses(tmp_path):
    write(tmp_path)
    (tmp_path / "images_2").mkdir()
    for view, name in enumerate(ORIGINAL.names):
        Image.fromarray(ORIGINAL.read(view)[::2, ::2]).save(tmp_path / "images_2" / f"{name}.jpg")
    whole, reduced = (read("colmap", tmp_path, images=folder) for folder in (None, "images_2"))
    assert reduced.size == (6, 6)
    assert_allclose(reduced.intrinsics[:, :2], whole.intrinsics[:, :2] / 2)
    assert_allclose(reduced.intrinsics[:, 2:], (whole.intrinsics[:, 2:] + 0.5) / 2 - 0.5)


def test_masks_are_named_like_their_photographs(tmp_path):
    write(tmp_path)
    assert read("colmap", tmp_path).shown is None
    shown = np.random.default_rng(0).random((2, 12, 12)) < 0.5
    (tmp_path / "masks").mkdir()
    for mask, name in zip(shown, ("view_03.png.png", "view_04.png"), strict=True):
        Image.fromarray((255 * mask).astype(np.uint8)).save(tmp_path / "masks" / name)
    capture = read("colmap", tmp_path)
    for view in range(9):
        assert_array_equal(capture.shown(view), shown[view - 3] if view in (3, 4) else np.ones((12, 12), bool))


def test_of_several_models_the_first_is_read_with_a_warning(tmp_path):
    write(tmp_path)
    other = tmp_path / "sparse" / "1"
    other.mkdir()
    for file in model(tmp_path).iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    with pytest.warns(UserWarning, match="beside it are 1; data.model chooses"):
        read("colmap", tmp_path)
    read("colmap", tmp_path, model="sparse/1")


def cut(name):
    return lambda folder: (model(folder) / name).write_bytes((model(folder) / name).read_bytes()[:-30])


def number(value):
    return lambda folder: (model(folder) / "cameras.bin").write_bytes(struct.pack("<QiiQQ", 1, 1, value, 12, 12))


SPOILT = {
    "no model": (lambda folder: model(folder).rename(folder / "0"), "a model in one of sparse/0, sparse, colmap/sparse/0"),
    "no images": (lambda folder: (model(folder) / "images.bin").unlink(), "ROOT/sparse/0 has no images.bin; export it anew"),
    **{
        name: (cut(name), f"must be whole, ROOT/sparse/0/{name} is not: ")
        for name in ("cameras.bin", "images.bin", "points3D.bin")
    },
    "unknown camera": (number(77), "THIN_PRISM_FISHEYE, ROOT/sparse/0 has number 77; undistort"),
    "no photographs": (lambda folder: (folder / "images").rename(folder / "photos"), "data.images must be the folder of photo"),
    "a missing photograph": (lambda folder: (folder / "images/view_03.png").unlink(), "ROOT/images/view_03.png is missing"),
    "a turned photograph": (
        lambda folder: Image.new("RGB", (20, 12)).save(folder / "images/view_03.png"),
        "view_03.png has 12 x 20 pixels for 12 x 12; turn or resize it",
    ),
}


@pytest.mark.parametrize("case", SPOILT)
def test_broken_models_are_refused_in_one_line(case, tmp_path):
    spoil, words = SPOILT[case]
    spoil(write(tmp_path))
    with pytest.raises(InputError) as caught:
        read("colmap", tmp_path)
    message = str(caught.value).replace(str(tmp_path), "ROOT")
    assert words in message
    assert "\n" not in message
    assert message.endswith(".")
