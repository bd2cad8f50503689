"""Everything that a file of transforms may hold is used, in the layouts of Blender and of nerfstudio alike, or refused."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from tiny.captures import forward, generated, read, world_poses, write_blender, write_nerfstudio

from datamodules.scenes.capture import scale_of

ORIGINAL = generated(size=12, views=9, hold_every=3)
BENT = {"k1": -0.15, "k2": 0.03, "k3": 0.001, "k4": 0.002, "p1": 0.002, "p2": -0.001}
FILES = {"blender": ("transforms_train.json", "transforms_test.json"), "nerfstudio": ("transforms.json",)}


def write(layout, folder, capture=ORIGINAL):
    return {"blender": write_blender, "nerfstudio": write_nerfstudio}[layout](folder, capture)


def change(layout, folder, alter):
    """Alter the content of all files of transforms in a folder."""
    for name in FILES[layout]:
        content = json.loads((folder / name).read_text())
        alter(content)
        (folder / name).write_text(json.dumps(content))


def both(test):
    return pytest.mark.parametrize("layout", FILES)(test)


def frames(alter):
    def all_of(content):
        for frame in content["frames"]:
            alter(frame)

    return all_of


def bare(content):
    """Leave nothing of the lens."""
    for thing in (content, *content["frames"]):
        for key in ("fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y", "camera_model", "k1", "w", "h"):
            thing.pop(key, None)


def captured(layout, folder, alter, **options):
    write(layout, folder)
    change(layout, folder, alter)
    return read(layout, folder, **options)


LENS = {"fl_x": 20.0, "fl_y": 21.0, "cx": 5.0, "cy": 7.0, "w": 12, "h": 12}
EXPECTED = [21.0, 20.0, 6.5, 4.5]


@both
@pytest.mark.parametrize("of_frames", [False, True], ids=["of the file", "of each frame"])
def test_lengths_and_centres_are_those_of_the_file_or_the_frame(layout, of_frames, tmp_path):
    def alter(content):
        bare(content)
        for thing in content["frames"] if of_frames else [content]:
            thing |= LENS

    capture = captured(layout, tmp_path, alter)
    assert_allclose(capture.intrinsics, np.tile(EXPECTED, (9, 1)))
    reduced = read(layout, tmp_path, downscale=2)
    assert_allclose(reduced.intrinsics, np.tile([10.5, 10.0, 3.0, 2.0], (9, 1)))


@both
@pytest.mark.parametrize(
    ("lens", "expected"),
    [
        ({"camera_angle_x": 0.6}, [6 / np.tan(0.3)] * 2),
        ({"camera_angle_x": 0.6, "camera_angle_y": 0.5}, [6 / np.tan(0.25), 6 / np.tan(0.3)]),
        ({"camera_angle_y": 0.5}, [6 / np.tan(0.25)] * 2),
        ({"fl_y": 19.0}, [19.0, 19.0]),
        ({"fl_x": 6 / np.tan(0.3), "camera_angle_x": 0.6}, [6 / np.tan(0.3)] * 2),
    ],
)
def test_focal_lengths_come_from_lengths_or_angles(layout, lens, expected, tmp_path):
    def alter(content):
        bare(content)
        content |= lens

    assert_allclose(captured(layout, tmp_path, alter).intrinsics[:, :2], np.tile(expected, (9, 1)))


@both
def test_a_frame_speaks_above_the_file_whichever_way_it_gives_its_length(layout, tmp_path):
    def alter(content):
        bare(content)
        content |= {"fl_x": 99.0, "fl_y": 99.0}
        content["frames"][0] |= {"camera_angle_x": 0.6}

    intrinsics = captured(layout, tmp_path, alter).intrinsics
    assert_allclose(intrinsics[0, :2], 6 / np.tan(0.3))
    assert_allclose(intrinsics[1, :2], 99.0)


@both
@pytest.mark.parametrize("model", ["OPENCV", "OPENCV_FISHEYE", "is_fisheye"])
def test_distortion_reaches_the_rays(layout, model, tmp_path):
    fisheye = model != "OPENCV"
    bent = {key: value for key, value in BENT.items() if key[0] == "k" or not fisheye}

    def alter(content):
        bare(content)
        content |= LENS | bent | ({model: True} if model == "is_fisheye" else {"camera_model": model})

    capture = captured(layout, tmp_path, alter, downscale=2)
    numbers = [bent.get(key, 0.0) for key in BENT]
    assert_allclose(capture.intrinsics, np.tile([10.5, 10.0, 3.0, 2.0, *numbers, float(fisheye)], (9, 1)))


@both
def test_one_bent_lens_leaves_the_others_straight(layout, tmp_path):
    capture = captured(layout, tmp_path, lambda content: content["frames"][0].update(k1=0.1))
    assert capture.intrinsics[0, 4] == 0.1
    assert not capture.intrinsics[1, 4:].any()


def test_both_layouts_say_the_same_of_the_same_cameras(tmp_path):
    lens = LENS | BENT
    found = []
    for layout in FILES:

        def alter(content):
            bare(content)
            content.update(lens)

        capture = captured(layout, tmp_path / layout, alter)
        order = np.argsort([name[-2:] for name in capture.names])
        poses, _ = world_poses(capture)
        found.append((poses[order], capture.intrinsics[order]))
    assert_allclose(found[0][0], found[1][0], atol=1e-12)
    assert_array_equal(found[0][1], found[1][1])


@both
def test_settings_that_are_not_known_are_named(layout, tmp_path):
    def alter(content):
        content["aabb_scale"] = 16  # of another program, known to be harmless
        content["frames"][0] |= {"exposure": 2.0, "time": 0.1}

    write(layout, tmp_path)
    change(layout, tmp_path, alter)
    with pytest.warns(UserWarning, match="the settings exposure, time are not known and not used"):
        read(layout, tmp_path)


# poses


def rounded(digits):
    return frames(lambda frame: frame.update(transform_matrix=np.round(frame["transform_matrix"], digits).tolist()))


def scaled(factor):
    def alter(frame):
        matrix = np.array(frame["transform_matrix"])
        matrix[:3, :3] *= factor
        frame["transform_matrix"] = matrix.tolist()

    return frames(alter)


@both
@pytest.mark.parametrize(("alter", "off"), [(rounded(3), 1e-3), (rounded(2), 1e-2), (scaled(0.5), 1e-9), (scaled(30.0), 1e-9)])
def test_poses_with_few_digits_or_a_scale_are_made_orthonormal_with_a_warning(layout, alter, off, tmp_path):
    write(layout, tmp_path)
    change(layout, tmp_path, alter)
    with pytest.warns(UserWarning, match=r"Axes of a pose have length 1 and right angles; those of \d of 9 views, such as "):
        capture = read(layout, tmp_path)
    turns = capture.poses[:, :, :3]
    assert_allclose(turns.swapaxes(1, 2) @ turns, np.broadcast_to(np.eye(3), turns.shape), atol=2e-3 if off > 1e-6 else 1e-9)
    found, _ = world_poses(capture)
    expected, _ = world_poses(ORIGINAL)
    order = [int(name[-2:]) for name in capture.names]
    assert_allclose(found, expected[order], atol=2 * off)


@both
def test_poses_with_five_digits_are_left_as_they_are(layout, tmp_path):
    captured(layout, tmp_path, rounded(5))


# near, far and bound


@pytest.mark.parametrize("scale", [5.0, 1.5, 0.8, 0.1])
@pytest.mark.parametrize("bound", ["auto", None])
def test_depths_of_a_scene_of_another_scale_come_from_its_cameras(scale, bound, tmp_path):
    world = np.diag([scale, scale, scale, 1.0])
    write_blender(tmp_path, replace(ORIGINAL, world=world))
    with pytest.warns(UserWarning, match=r"from the origin, not about 4: data.near=\S+ data.far=\S+ data.bound=\S+ are taken"):
        capture = read("blender", tmp_path, bound=bound)
    assert capture.box == (bound == "auto")
    assert type(capture.near) is type(capture.far) is float  # as configurations take them
    unit = scale_of(capture.world)
    distance = np.linalg.norm(ORIGINAL.poses[:, :, 3] - [0, 0, -0.3], axis=-1).mean()
    assert unit == pytest.approx(1.5 * scale * distance / 4.03 if capture.box else 1, rel=1e-6)
    near, far = (depth * unit / scale for depth in (capture.near, capture.far))
    assert (near, far) == (pytest.approx(2 * distance / 4.03), pytest.approx(6 * distance / 4.03))
    corners = 0.95 * np.stack(np.meshgrid(*[[-1, 1]] * 3), -1).reshape(-1, 3) * scale * [1, 1, 0.6]
    inside = (corners - capture.world[:3, 3]) / unit
    assert not capture.box or np.abs(inside).max() < 1


def test_a_scene_beside_the_origin_has_its_cube_where_cameras_look(tmp_path):
    world = np.eye(4)
    world[:3, 3] = [40.0, 0.0, 3.0]
    write_blender(tmp_path, replace(ORIGINAL, world=world))
    with pytest.warns(UserWarning, match=r"are taken around \(40, \S+, 2.7\), where they look"):
        capture = read("blender", tmp_path)
    assert_allclose(capture.world[:3, 3], [40, 0, 2.7], atol=1e-6)


def test_published_numbers_stay_where_they_fit(tmp_path):
    write_blender(tmp_path, ORIGINAL)
    capture = read("blender", tmp_path)
    assert (capture.near, capture.far, scale_of(capture.world)) == (2 / 1.5, 6 / 1.5, pytest.approx(1.5))


def test_cameras_that_do_not_say_how_far_the_scene_is_are_warned_of(tmp_path):
    parallel = np.tile(np.eye(3, 4), (9, 1, 1))
    parallel[:, 0, 3] = np.arange(9)
    write_nerfstudio(tmp_path / "parallel", replace(ORIGINAL, poses=parallel, box=False))
    around = ORIGINAL.poses * np.array([-1, 1, -1, 1])  # the same places, looking away
    write_nerfstudio(tmp_path / "away", replace(ORIGINAL, poses=around, box=False))
    for name in ("parallel", "away"):
        with pytest.warns(
            UserWarning, match="do not look at one point, so that near=0.05 and far=2.5 times their reach is a g"
        ):
            read("nerfstudio", tmp_path / name)
        read("nerfstudio", tmp_path / name, near=1.0, far=9.0)
    read("nerfstudio", write_nerfstudio(tmp_path / "forward", forward(ORIGINAL)))


# paths


PATHS = {
    "backslashes": lambda path: path.replace("/", "\\"),
    "a dot": lambda path: f"./{path}",
    "a dot and backslashes": lambda path: f".\\{path}".replace("/", "\\"),
    "no ending": lambda path: path.removesuffix(".png"),
    "another ending": lambda path: path.removesuffix(".png") + ".jpg",
    "another case": lambda path: path.removesuffix(".png") + ".PNG",
}


@both
@pytest.mark.parametrize("kind", PATHS)
def test_paths_are_found_however_they_are_written(kind, layout, tmp_path):
    plain = captured(layout, tmp_path, lambda content: None)

    def alter(content):
        for frame in content["frames"]:
            frame["file_path"] = PATHS[kind](frame["file_path"])
        for key in ("train_filenames", "test_filenames"):
            if key in content:
                content[key] = [PATHS[kind](path) for path in content[key]]

    change(layout, tmp_path, alter)
    capture = read(layout, tmp_path)
    assert (capture.names, capture.train, capture.test) == (plain.names, plain.train, plain.test)
    assert all(np.array_equal(capture.read(view), plain.read(view)) for view in range(9))


@both
@pytest.mark.parametrize("prefix", ["/home/somebody/scene/", "C:\\scenes\\one\\", "../elsewhere/"])
def test_paths_of_another_machine_are_taken_for_those_of_the_folder_with_a_warning(prefix, layout, tmp_path):
    write(layout, tmp_path)

    def alter(content):
        for frame in content["frames"]:
            frame["file_path"] = prefix + frame["file_path"].removeprefix("./")
        for key in ("train_filenames", "test_filenames"):
            content.pop(key, None)

    change(layout, tmp_path, alter)
    with pytest.warns(UserWarning, match=r"is not there, \w+/view_0\d.png is taken"):
        capture = read(layout, tmp_path)
    assert sorted(name[-2:] for name in capture.names) == [f"{view:02d}" for view in range(9)]


# sizes and masks


def crop(folder, capture, portrait):
    """Cut photographs to 8 x 12 or 12 x 8 from their upper left corner, as their cameras say."""
    for file in folder.rglob("*.png"):
        rows, columns = (12, 8) if portrait(int(file.stem[-2:])) else (8, 12)
        Image.fromarray(capture.read(int(file.stem[-2:]))[:rows, :columns]).save(file)


@both
@pytest.mark.parametrize("downscale", [1, 2])
def test_photographs_of_different_sizes_keep_their_cameras(layout, downscale, tmp_path):
    write(layout, tmp_path)
    crop(tmp_path, ORIGINAL, lambda view: view % 2 == 1)

    def own(frame):
        rows, columns = (12, 8) if int(re.sub(r"\D", "", frame["file_path"])) % 2 else (8, 12)
        frame |= {"w": columns, "h": rows, "fl_x": 20.0, "fl_y": 20.0, "cx": 6.0, "cy": 6.0}

    change(layout, tmp_path, bare)
    change(layout, tmp_path, frames(own))
    capture = read(layout, tmp_path, downscale=downscale)
    assert capture.size == (12 // downscale, 12 // downscale)
    assert set(capture.sizes) == {(12 // downscale, 8 // downscale), (8 // downscale, 12 // downscale)}
    assert_allclose(capture.intrinsics, np.tile([20, 20, 6, 6], (9, 1)) / downscale - [0, 0, 0.5, 0.5])
    for view, name in enumerate(capture.names):
        rows, columns = capture.size_of(view)
        assert (rows > columns) == (int(name[-2:]) % 2 == 1)
        shown = capture.shown(view)
        assert shown[:rows, :columns].all()
        assert shown.sum() == rows * columns
        if downscale == 1:
            assert_array_equal(capture.read(view)[:rows, :columns], ORIGINAL.read(int(name[-2:]))[:rows, :columns])
        assert not capture.read(view)[~shown].any()


MASKS = {
    "bytes": lambda shown: Image.fromarray(np.where(shown, 255, 0).astype(np.uint8)),
    "ones": lambda shown: Image.fromarray(shown.astype(np.uint8)),
    "bits": lambda shown: Image.fromarray(shown),
    "colours": lambda shown: Image.fromarray(np.where(shown[..., None], 255, [3, 2, 4]).astype(np.uint8)),
    "transparency": lambda shown: Image.fromarray(np.where(shown[..., None], 255, [255, 255, 255, 0]).astype(np.uint8)),
    "a palette": lambda shown: Image.fromarray((255 * shown).astype(np.uint8)).convert("P"),
    "deep": lambda shown: Image.fromarray(np.where(shown, 65535, 0).astype(np.uint16)),
}


@both
@pytest.mark.parametrize("kind", MASKS)
def test_masks_hide_their_dark_pixels(kind, layout, tmp_path):
    write(layout, tmp_path)
    random = np.random.default_rng(0).random((9, 12, 12)) < 0.7
    (tmp_path / "masks").mkdir()
    for view, shown in enumerate(random):
        MASKS[kind](shown).save(tmp_path / "masks" / f"{view:02d}.png")

    def masked(frame):
        view = int(re.sub(r"\D", "", frame["file_path"]))
        if view:
            frame["mask_path"] = f".\\masks\\{view:02d}.png"

    change(layout, tmp_path, frames(masked))
    for capture in (read(layout, tmp_path), read(layout, tmp_path, downscale=2)):
        for view, name in enumerate(capture.names):
            expected = random[int(name[-2:])] if int(name[-2:]) else np.ones((12, 12), bool)
            factor = 12 // capture.size[0]
            squares = expected.reshape(capture.size[0], factor, capture.size[1], factor)
            assert_array_equal(capture.shown(view), squares.all((1, 3)))
