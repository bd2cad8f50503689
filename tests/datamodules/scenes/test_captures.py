import json
import os
import pickle
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from tiny.captures import (
    LAYOUTS,
    forward,
    generated,
    read,
    world_poses,
    write_blender,
    write_colmap,
    write_llff,
    write_nerfstudio,
)

from datamodules.scenes.camera_paths import average_pose, look_at, meeting_point, orbit, spiral
from datamodules.scenes.capture import rays
from datamodules.scenes.generated import trace
from datamodules.scenes.layouts import read_scene
from datamodules.scenes.photograph_files import shrink
from inr.errors import InputError

DATA = Path(os.environ.get("INR_DATA", "nowhere"))
ORIGINAL = generated(size=26, views=9, hold_every=3)
TILTED = np.array([[0.0, -2.0, 0.0, 5.0], [2.0, 0.0, 0.0, -3.0], [0.0, 0.0, 2.0, 0.5], [0.0, 0.0, 0.0, 1.0]])
ELSEWHERE = replace(ORIGINAL, world=TILTED)
ROUND_TRIPS = [
    ("forward", {}),
    ("forward", {"ndc": False}),
    ("llff", {}),
    ("llff", {"spherify": False}),
    ("llff", {"ndc": False, "recentre": False}),
    ("llff", {"ndc": False, "bound_factor": None}),
    ("blender", {}),
    ("blender", {"bound": None}),
    ("nerfstudio", {}),
    ("nerfstudio", {"bound": 4.0, "near": 1.0}),
    ("colmap", {}),
    ("colmap", {"bound": 2.5}),
    ("colmap text", {}),
]
PROPORTION = "ignore:The cameras of .* from the origin, not about 4"  # of the layout of Blender, elsewhere


def world_rays(capture, view, coordinates):
    """Origin and unit directions in the coordinates of the file."""
    poses, _ = world_poses(capture)
    origin, directions = rays(poses[view, :3], capture.intrinsics[view], coordinates)
    return origin, directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def assert_rotations(poses):
    turns = poses[:, :, :3]
    assert_allclose(turns.swapaxes(1, 2) @ turns, np.broadcast_to(np.eye(3), turns.shape), atol=1e-9)
    assert (np.linalg.det(turns) > 0).all()


def read_back(layout, folder, capture=ORIGINAL, **options):
    """Write a capture, its cameras side by side if `forward`, and read it."""
    kind = {"forward": "llff", "colmap text": "colmap"}.get(layout, layout)
    write = partial(write_colmap, binary=False) if layout == "colmap text" else LAYOUTS[kind][0]
    seen = forward(capture) if layout == "forward" else capture
    return read(kind, write(folder, seen), **({"hold_every": 3} if kind in ("llff", "colmap") else {}) | options)


@pytest.mark.filterwarnings(PROPORTION)
@pytest.mark.parametrize("original", [ORIGINAL, ELSEWHERE], ids=["at home", "elsewhere"])
@pytest.mark.parametrize(("kind", "options"), ROUND_TRIPS)
def test_what_is_read_back_has_the_same_pixels_and_rays(kind, options, original, tmp_path):
    capture = read_back(kind, tmp_path, original, **options)
    original = forward(original) if kind == "forward" else original
    order = [[name.rpartition("/")[2] for name in capture.names].index(name) for name in original.names]
    assert capture.size == original.size
    assert [sorted(order[view] for view in views) for views in (original.train, original.test)] == [
        sorted(capture.train),
        sorted(capture.test),
    ]
    coordinates = np.random.default_rng(0).uniform(0, 25, (20, 2))
    for view, place in enumerate(order):
        assert_array_equal(capture.read(place), original.read(view))
        for found, expected in zip(
            world_rays(capture, place, coordinates), world_rays(original, view, coordinates), strict=True
        ):
            assert_allclose(found, expected, atol=1e-5)
    assert_rotations(capture.poses)
    assert_rotations(capture.path(7))
    assert capture.path(7).shape == (7, 3, 4)
    assert pickle.loads(pickle.dumps(capture)).names == capture.names  # workers of a loader can have it


@pytest.mark.parametrize(("kind", "options"), ROUND_TRIPS)
def test_pixels_of_a_reduced_photograph_look_where_those_that_they_average_do(kind, options, tmp_path):
    whole, reduced = (read_back(kind, tmp_path, downscale=factor, **options) for factor in (1, 2))
    assert reduced.size == (13, 13)
    assert_array_equal(reduced.read(4), shrink(whole.read(4), 2))
    middles = np.random.default_rng(0).uniform(0, 12, (20, 2))
    for found, expected in zip(world_rays(reduced, 4, middles), world_rays(whole, 4, 2 * (middles + 0.5) - 0.5), strict=True):
        assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_pixel_centre_moves_the_optical_axis_by_itself(kind, tmp_path):
    middle, corner = (read_back(kind, tmp_path, pixel_centre=share) for share in (0.5, 0))
    assert_allclose(corner.intrinsics - middle.intrinsics, np.tile([0, 0, 0.5, 0.5], (9, 1)), atol=1e-12)
    assert_allclose(middle.intrinsics[:, 2:], 12.5)


def test_units_of_each_scene_are_as_promised(tmp_path):
    straight = read_back("forward", tmp_path / "forward", ELSEWHERE, ndc=False)
    assert straight.near == pytest.approx(0.9 / 0.75)
    assert straight.far / straight.near == pytest.approx(ORIGINAL.far / ORIGINAL.near / 0.9)
    assert_allclose(average_pose(straight.poses), np.eye(3, 4), atol=1e-9)
    through = read_back("forward", tmp_path / "forward", ELSEWHERE)
    assert (through.near, through.far) == (0, 1)
    assert_allclose(through.ndc, 2 * through.intrinsics[0, :2] / 26)
    around = read_back("llff", tmp_path / "llff", ELSEWHERE)
    assert around.ndc is None
    assert np.square(around.poses[:, :, 3]).sum(-1).mean() == pytest.approx(1)
    assert_allclose(meeting_point(around.poses), 0, atol=1e-9)
    assert_allclose(around.poses[:, :2, 3].mean(0), 0, atol=1e-9)  # up is where they are
    assert around.poses[:, 2, 3].mean() > 0
    cube = read_back("blender", tmp_path / "blender", ORIGINAL, bound=3)
    assert (cube.near, cube.far, cube.box) == (pytest.approx(2 / 3), 2, True)
    assert_allclose(cube.world, np.diag([3, 3, 3, 1]))
    world = read_back("blender", tmp_path / "blender", ORIGINAL, bound=None)
    assert (world.near, world.far, world.box) == (2, 6, False)
    studio = read_back("nerfstudio", tmp_path / "studio", ELSEWHERE, near=1.0)
    assert np.linalg.norm(studio.poses[:, :, 3], axis=-1).max() == pytest.approx(1)
    assert_allclose(meeting_point(studio.poses), 0, atol=1e-9)
    assert (studio.near * np.cbrt(np.linalg.det(studio.world[:3, :3])), studio.far) == (pytest.approx(1), 2.5)


def test_transparency_is_laid_over_the_background_before_pixels_are_averaged(tmp_path):
    write_blender(tmp_path, ORIGINAL)
    random = np.random.default_rng(0).integers(0, 256, (26, 26, 4), dtype=np.uint8)
    for file in tmp_path.glob("t*/*.png"):
        Image.fromarray(random[..., : 4 if file.parent.name == "train" else 3]).save(file)
    capture = read("blender", tmp_path, downscale=2, background=[1.0, 0.5, 0.0])
    alpha = random[..., 3:] / 255
    flat = alpha * random[..., :3] + (1 - alpha) * 255 * np.array([1, 0.5, 0])
    assert_allclose(capture.read(0), flat.reshape(13, 2, 13, 2, 3).mean((1, 3)), atol=1.01)
    assert capture.background == (1.0, 0.5, 0.0)


def test_photographs_are_not_turned_as_their_cameras_were_found_without(tmp_path):
    write_llff(tmp_path, ORIGINAL)
    tag = Image.Exif()
    tag[0x0112] = 3  # upside down
    for view, file in enumerate(sorted((tmp_path / "images").iterdir())):
        Image.fromarray(ORIGINAL.read(view)).save(file, exif=tag)
    capture = read("llff", tmp_path, hold_every=3)
    assert_array_equal(capture.read(2), ORIGINAL.read(2))


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 7])
def test_shrinking_takes_the_mean_of_squares(factor):
    image = np.random.default_rng(0).integers(0, 256, (21, 30, 3), dtype=np.uint8)
    rows, columns = 21 // factor, 30 // factor
    squares = image[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, 3)
    assert_allclose(shrink(image, factor), squares.mean((1, 3)), atol=0.6)


def test_device_coordinates_are_for_cameras_that_look_the_same_way(tmp_path, caplog):
    away = replace(ORIGINAL, poses=ORIGINAL.poses * np.array([-1, 1, -1, 1]), box=False)
    angles = np.deg2rad(np.linspace(-50, 50, 9))
    arc = look_at(3.2 * np.stack([np.sin(angles), 0 * angles, np.cos(angles)], -1), np.zeros(3), [0, 1, 0])
    captures = {
        "forward": forward(ORIGINAL),
        "inward": ORIGINAL,
        "inward on an arc": replace(ORIGINAL, poses=arc),
        "outward": away,
    }
    for name, capture in captures.items():
        found = read("llff", write_llff(tmp_path / name, capture), hold_every=3)
        assert (found.ndc is not None) == (name == "forward")
        assert_rotations(found.path(5))
        # where cameras stand around what they look at, it is the middle
        assert (np.abs(meeting_point(found.poses)).max() < 1e-6) == name.startswith("inward")
    assert [record.getMessage().split(" look ")[1].split(":")[0] for record in caplog.records] == [
        "inward",
        "inward",
        "outward",
    ]
    with pytest.raises(InputError, match=r"look outward; set data.ndc=null, or data.spherify=true\.$"):
        read("llff", tmp_path / "outward", ndc=True)


@pytest.mark.parametrize("downscale", [None, 2])
@pytest.mark.parametrize("separator", ["\n", "\r\n"])
def test_photographs_without_a_pose_are_left_out_where_a_list_says_so(separator, downscale, tmp_path):
    plain = read_back("llff", tmp_path / "plain", downscale=downscale)
    write_llff(tmp_path, ORIGINAL)
    Image.fromarray(ORIGINAL.read(0)).save(tmp_path / "images" / "view_03_blurred.png")
    with pytest.raises(InputError, match="must have a row for each photograph, it has 9 for 10"):
        read("llff", tmp_path, downscale=downscale)
    names = [f"{name}.JPG" for name in ORIGINAL.names]
    (tmp_path / "view_imgs.txt").write_text(separator.join([*names[4:], *names[:4], ""]))
    chosen = read("llff", tmp_path, hold_every=3, downscale=downscale)
    assert chosen.names == ORIGINAL.names
    assert all(np.array_equal(chosen.read(view), plain.read(view)) for view in range(9))


def test_reduced_photographs_are_made_once(tmp_path):
    first = read_back("llff", tmp_path, downscale=2)
    files = sorted((tmp_path / "images_2").iterdir())
    times = [file.stat().st_mtime_ns for file in [*files, tmp_path / "images_2"]]
    again = read("llff", tmp_path, downscale=2, hold_every=3)
    assert [file.stat().st_mtime_ns for file in [*files, tmp_path / "images_2"]] == times
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["images", "images_2", "poses_bounds.npy"]
    assert first.names == again.names == ORIGINAL.names
    read("llff", tmp_path, downscale=4, hold_every=3)
    shutil.rmtree(tmp_path / "images")
    assert read("llff", tmp_path, hold_every=3).size == (13, 13)  # the largest there are


def test_reduced_photographs_that_cannot_be_kept_are_one_clear_error(tmp_path, monkeypatch):
    def refuse(*paths):
        raise OSError(30, "Read-only file system")

    write_llff(tmp_path, ORIGINAL)
    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(InputError, match=r"images_2, which cannot be written: Read-only file system; copy"):
        read("llff", tmp_path, downscale=2)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["images", "poses_bounds.npy"]


def test_nerfstudio_reads_shared_cameras_and_fills_in_a_split(tmp_path):
    file = write_nerfstudio(tmp_path, ORIGINAL) / "transforms.json"
    transforms = json.loads(file.read_text())
    tests = transforms.pop("test_filenames")
    file.write_text(json.dumps(transforms))
    assert read("nerfstudio", tmp_path).test == ORIGINAL.test  # those that are not listed
    trains = transforms.pop("train_filenames")
    file.write_text(json.dumps(transforms))
    every = read("nerfstudio", tmp_path, hold_every=4)
    assert (every.test, sorted(every.train + every.test)) == ((0, 4, 8), list(range(9)))
    transforms |= {"val_filenames": tests, "camera_angle_x": 2 * np.deg2rad(18)}
    for frame in transforms["frames"]:
        for key in ("fl_x", "fl_y", "cx", "cy"):
            del frame[key]
    transforms["frames"].reverse()
    file.write_text(json.dumps(transforms))
    capture = read("nerfstudio", tmp_path)
    assert (capture.test, len(capture.train)) == (ORIGINAL.test, len(trains))
    assert_allclose(capture.intrinsics, ORIGINAL.intrinsics)


@pytest.mark.parametrize("variant", range(6))
def test_colours_of_spheres_are_those_traced(variant):
    capture = generated(size=40, views=6, hold_every=3, variant=variant)
    grid = np.stack(np.mgrid[:40, :40], -1).astype(float)
    nudges = np.stack(np.mgrid[-1:2, -1:2], -1).reshape(9, 1, 1, 2) / 3
    for view in range(6):
        origin, directions = rays(capture.poses[view], capture.intrinsics[view], grid)
        colours, depth = trace(origin, directions, variant)
        around, _ = trace(*rays(capture.poses[view], capture.intrinsics[view], grid + nudges), variant)
        inner = np.ptp(around, axis=0).max(-1) < 0.04
        assert 0.4 < inner.mean() < 0.95
        assert_allclose(capture.read(view)[inner] / 255, colours[inner], atol=0.03)
        hit = np.isfinite(depth)
        assert (colours[~hit] == 1).all()
        assert 0.2 < hit.mean() < 0.6
        points = origin + depth[hit][:, None] * directions[hit]
        assert np.abs(points).max() <= 1
        assert capture.near < depth[hit].min() < depth[hit].max() < capture.far
        corners = np.stack(np.meshgrid(*[[-1, 1]] * 3), -1) - capture.poses[view, :, 3]
        along = -corners @ capture.poses[view, :, 2]
        assert capture.near <= along.min() < along.max() <= capture.far


def test_a_point_looks_the_same_from_everywhere():
    seen = 0
    grid = np.stack(np.mgrid[:26, :26], -1).astype(float)
    for one, other in zip(range(9), [*range(1, 9), 0], strict=True):
        origin, directions = rays(ORIGINAL.poses[one], ORIGINAL.intrinsics[one], grid)
        colours, depth = trace(origin, directions)
        hit = np.isfinite(depth)
        points = origin + depth[hit][:, None] * directions[hit]
        place = ORIGINAL.poses[other, :, 3]
        again, share = trace(place, points - place)
        assert (share < 1 + 1e-9).all()  # nothing is seen through
        visible = share > 1 - 1e-9
        assert_allclose(again[visible], colours[hit][visible], atol=1e-6)
        seen += visible.mean()
    assert 4 < seen < 8
    _, below = trace([[0.1, 0.2, -3], [0.1, 2, -3], [-3, 0.3, -0.55]], [[0, 0, 1], [0, 0, 1], [1, 0, 0]])
    assert_allclose(below, [2.42, np.inf, 3 - np.sqrt(0.95**2 - 0.3**2)])


def test_generated_captures_are_deterministic_and_differ():
    first = generated(20, 4, 3).read(1)
    assert_array_equal(generated(20, 4, 3).read(1), first)
    assert (generated(20, 4, 3, variant=1).read(1) != first).any()
    generated(20, 4, 3).read(1)[:] = 0  # a copy
    assert_array_equal(generated(20, 4, 3).read(1), first)
    assert not generated(20, 4, 3, background="black").read(1)[0].any()


def test_paths_are_closed_and_look_at_their_target():
    middle = look_at([[1.0, 2.0, 3.0]], [0.0, 0.0, 0.5])[0]
    circle, wave = orbit(8, 3.0, 1.0, (0.0, 0.0, 0.5)), spiral(8, middle, (0.3, 0.2, 0.1), 2.0)
    for poses, target in ((circle, [0, 0, 0.5]), (wave, middle[:, 3] - 2 * middle[:, 2])):
        assert_rotations(poses)
        towards = target - poses[:, :, 3]
        assert_allclose(-poses[:, :, 2], towards / np.linalg.norm(towards, axis=-1, keepdims=True), atol=1e-12)
        assert_allclose(meeting_point(poses), target, atol=1e-9)
        steps = np.linalg.norm(np.diff(poses[[*range(8), 0], :, 3], axis=0), axis=-1)
        assert steps.max() < 2.5 * steps.mean()
    assert (circle[:, 2, 1] > 0).all()  # upright
    assert_rotations(look_at([[0.0, 0.0, 2.0]], [0.0, 0.0, 0.0]))  # straight down
    assert_allclose(average_pose(np.stack([middle] * 3)), middle, atol=1e-12)
    apart = np.stack([np.eye(3, 4), np.eye(3, 4)])
    apart[1, 0, 3] = 2
    assert_allclose(meeting_point(apart), [1, 0, 0])  # axes that never meet


@pytest.mark.skipif(not DATA.is_dir(), reason="needs INR_DATA")
def test_published_captures_are_read():
    fern = read("llff", DATA / "llff" / "fern", downscale=8)
    assert (len(fern.names), len(fern.train), fern.test, fern.size) == (20, 17, (0, 8, 16), (378, 504))
    assert_allclose(fern.intrinsics, np.tile([407.566, 407.566, 188.5, 251.5], (20, 1)), atol=1e-3)
    assert fern.read(0).shape == (378, 504, 3)
    lego = read("blender", DATA / "blender" / "lego")
    assert (len(lego.train), len(lego.test), lego.size) == (100, 25, (400, 400))
    assert_allclose(lego.intrinsics[:, :2], 555.5555, atol=1e-3)
    assert (lego.read(0)[0] == 255).all()


CASES = DATA / "cases" / "scenes"
# by folder: largest error of a pose, numbers of an intrinsic, pixels hidden
FOLDERS = {
    **dict.fromkeys(("ns_plain", "ns_backslash", "bl_shift", "llff_around"), (1e-6, 4, False)),
    **dict.fromkeys(("colmap_text", "colmap_bin", "gs_layout"), (1e-6, 4, False)),
    "ns_opencv": (1e-6, 11, False),
    **dict.fromkeys(("ns_portrait", "ns_mask"), (1e-6, 4, True)),
    "ns_rounded3": (1e-3, 4, False),
}


@pytest.mark.skipif(not CASES.is_dir(), reason="needs INR_DATA")
@pytest.mark.filterwarnings("ignore:Axes of a pose")
@pytest.mark.parametrize("folder", FOLDERS)
def test_one_scene_in_many_layouts_has_the_same_cameras(folder):
    capture = read_scene(CASES / folder)
    off, numbers, hidden = FOLDERS[folder]
    poses, _ = world_poses(capture)
    order = [int(name[-2:]) for name in capture.names]
    assert_allclose(poses[:, :3], np.load(CASES / "poses.npy")[order], atol=off)
    assert capture.intrinsics.shape == (17, numbers)
    assert_allclose(capture.intrinsics[:, :2], 73.8644048922061)
    assert (capture.shown is not None) == hidden
