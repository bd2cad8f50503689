"""What is wrong with a capture is said in one line."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tiny.captures import LAYOUTS, generated, read, write_llff

from inr.errors import InputError

ORIGINAL = generated(size=10, views=9, hold_every=3)


def read_all(layout, folder, options):
    capture = read(layout, folder, **options)
    views = range(len(capture.names))
    return list(map(capture.read, views)), capture.shown and list(map(capture.shown, views))


def check(layout, folder, options, words):
    with pytest.raises(InputError) as caught:
        read_all(layout, folder, options)
    message = str(caught.value)
    assert words in message.replace(str(folder), "ROOT")
    assert "\n" not in message
    assert message.endswith(".")


def table(change):
    def spoil(folder):
        rows = np.load(folder / "poses_bounds.npy")
        np.save(folder / "poses_bounds.npy", change(rows))

    return spoil


def entry(place, value):
    def change(rows):
        rows[place] = value
        return rows

    return table(change)


def few(count):
    def spoil(folder):
        table(lambda rows: rows[:count])(folder)
        for file in sorted((folder / "images").iterdir())[count:]:
            file.unlink()

    return spoil


def garbage(path, content=b"\x89PNG no picture"):
    return lambda folder: (folder / path).write_bytes(content)


def cut(path):
    return lambda folder: (folder / path).write_bytes((folder / path).read_bytes()[:-60])


def picture(path, shape, dtype=np.uint8, kind="PNG"):
    return lambda folder: Image.fromarray(np.zeros(shape, dtype)).save(folder / path, kind)


def listed(*names):
    return lambda folder: (folder / "view_imgs.txt").write_text("\n".join(names))


def gone(path):
    return lambda folder: (folder / path).unlink()


def renamed(path, other):
    return lambda folder: (folder / path).rename(folder / other)


def transforms(change, name="transforms.json"):
    def spoil(folder):
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return spoil


def setting(**values):
    return transforms(lambda content: content.update(values))


def frame(place, **values):
    return lambda content: content["frames"][place].update(values)


def lacking(key, place=None):
    return lambda content: (content if place is None else content["frames"][place]).pop(key)


def alike(content):
    for one in content["frames"]:
        one["transform_matrix"] = np.eye(4).tolist()


def flipped(content):
    content["frames"][2]["transform_matrix"][0][0] *= -1


def transposed(content):
    content["frames"][2]["transform_matrix"] = np.transpose(content["frames"][2]["transform_matrix"]).tolist()


def both(*changes):
    def spoil(thing):
        for change in changes:
            change(thing)

    return spoil


def nothing(folder):
    pass


SINGULAR = np.zeros((4, 4)).tolist()
PICTURE = "images/view_04.png"
LLFF = [
    (gone("poses_bounds.npy"), {}, "is a folder with poses_bounds.npy and the photographs in images or images_8, ROOT has no"),
    (garbage("poses_bounds.npy"), {}, "saved by numpy"),
    (table(lambda rows: rows[:, :15]), {}, "(views, 17): 3 x 5 of pose and camera, near, far; ROOT/poses_bounds.npy"),
    (table(lambda rows: rows.astype(str)), {}, "numbers (views, 17)"),
    (entry((4, 2), np.nan), {}, "must be finite, row 4 of"),
    *((entry((4, at), 0), {}, "positive height, width and focal, and 0 < near < far, row 4") for at in (14, 15)),
    (entry((4, 9), 20), {}, "ROOT/images/view_04.png has 10 x 10 pixels for 10 x 20 in poses_bounds.npy; turn or resize"),
    (entry((slice(4, 6), slice(0, 15, 5)), 0), {}, "view_04 has a singular pose"),
    (entry((slice(None), slice(3, 15, 5)), 1), {}, "Cameras must stand apart, all 9 stand at one point"),
    *((table(lambda rows: rows[:7]), {"downscale": by}, "each photograph, it has 7 for 9 in ROOT/images") for by in (None, 2)),
    (few(2), {}, "at least 3 photographs, 2 to train on and 1 to test, got 2"),
    (few(3), {"hold_every": 2}, "at least 2 views to train on and 1 to test, got 1 and 2 of 3"),
    (renamed("images", "images_2"), {"downscale": 1}, "ROOT has no images; of folders it has images_2"),
    (renamed("images", "images_2"), {"downscale": 4}, "ROOT has no images or images_4; of folders it has images_2"),
    (renamed("images", "photos"), {}, "ROOT has no images; of folders it has none such"),
    (garbage(PICTURE), {}, f"A photograph must be a whole picture (png, jpeg, ...), ROOT/{PICTURE} is not: cannot identify"),
    *((cut(PICTURE), {"downscale": by}, f"ROOT/{PICTURE} is not: ") for by in (None, 2)),
    (picture(PICTURE, (12, 10, 3)), {}, "of one size, ROOT/images/view_00.png has 10 x 10 and view_04.png has 12 x 10 pixels"),
    (
        picture(PICTURE, (10, 10), np.int32, "TIFF"),
        {},
        f"grey or colour of 8 or 16 bits, ROOT/{PICTURE} has 1 channels of int32",
    ),
    *((nothing, {"downscale": by}, f"downscale must be a whole factor, at least 1, got {by}") for by in (0, 2.5)),
    (nothing, {"downscale": 11}, "downscale must leave pixels of 10 x 10, got 11"),
    *((nothing, {"hold_every": by}, f"hold_every must be a whole number of views, at least 2, got {by}") for by in (0, 1)),
    (both(listed("view_09.png"), few(8)), {}, "Photographs that ROOT/view_imgs.txt lists must be there, view_09 is not in"),
    (nothing, {"bound_factor": 0}, "bound_factor must be a positive number, got 0"),
    (nothing, {"pixel_centre": 2}, "pixel_centre must be where in its pixel a ray passes, in 0..1, got 2"),
]
TRAIN = "transforms_train.json"
UNLISTED = transforms(lacking("frames"), TRAIN)
BLENDER = [
    (gone(TRAIN), {}, "ROOT/transforms_train.json is not there; ROOT holds transforms_test.json"),
    (nothing, {"test_split": "val"}, "ROOT/transforms_val.json is not there"),
    (garbage(TRAIN, b"{"), {}, "must be json, ROOT/transforms_train.json is not: Expecting property name"),
    (garbage(TRAIN, b"\xff\xff"), {}, "must be json, ROOT/transforms_train.json is not: "),
    *((spoil, {}, f"list its photographs as frames, ROOT/{TRAIN} has none") for spoil in (garbage(TRAIN, b"[]"), UNLISTED)),
    (transforms(lacking("camera_angle_x"), TRAIN), {}, "must give fl_x or camera_angle_x, ROOT/transforms_train.json does not"),
    *((transforms(lacking(k, 1), TRAIN), {}, f"frame 1 of ROOT/{TRAIN} has no {k}") for k in ("file_path", "transform_matrix")),
    (transforms(frame(1, file_path=3), TRAIN), {}, "file_path must be text, frame 1"),
    (transforms(frame(1, file_path="train/r_7"), TRAIN), {}, "ROOT/train/r_7 is missing"),
    (transforms(frame(1, transform_matrix=[[1]]), TRAIN), {}, "4 x 4 numbers, that of train/view_02 in"),
    (transforms(frame(1, transform_matrix=SINGULAR), TRAIN), {}, "train/view_02 has a singular pose"),
    (transforms(flipped, TRAIN), {}, "train/view_04 has a singular pose"),
    (transforms(lambda content: content.update(camera_angle_x=40), TRAIN), {}, "in radians, below pi"),
    (transforms(lambda content: content.update(camera_angle_x="wide"), TRAIN), {}, "must be a finite number"),
    (gone("train/view_02.png"), {}, "ROOT/train/view_02 is missing"),
    (picture("test/view_03.png", (4, 4, 3)), {"downscale": 5}, "downscale must leave pixels of 4 x 4, got 5"),
    (
        transforms(frame(1, fl_x=4.0, camera_angle_x=0.7), TRAIN),
        {},
        "must say the same of 10 pixels, for train/view_02 they say",
    ),
    (transforms(lambda content: content.update(skew=0.1), TRAIN), {}, "has skew=0.1, too; undistort"),
    (nothing, {"near": 0.1, "far": 0.5, "bound": 1.5}, "3.48 before them, got 0.1 to 0.5; correct data.near and data.far"),
    (nothing, {"near": 0.1, "far": 0.5, "bound": None}, "3.48 before them, got 0.1 to 0.5; correct data.near and data.far"),
    (nothing, {"bound": "cube"}, "bound must be a number, auto or null, got cube"),
    (nothing, {"train_split": "test"}, "Names of views must be unique, test/view_00 is there 2 times"),
    (nothing, {"background": "pink"}, "background must be one of white, black, grey"),
    (nothing, {"bound": 0}, "bound must be a positive number, got 0"),
    (nothing, {"near": 6}, "0 <= near < far"),
    (nothing, {"skip": 0}, "skip must be a whole number of views, at least 1, got 0"),
]
STUDIO = [
    (gone("transforms.json"), {}, "ROOT/transforms.json is not there; ROOT holds no files"),
    (
        setting(camera_model="EQUIRECTANGULAR"),
        {},
        "OPENCV_FISHEYE, SIMPLE_RADIAL_FISHEYE, RADIAL_FISHEYE, images/view_00 has EQUI",
    ),
    (setting(is_fisheye=True, p1=0.1), {}, "Distortion is that of k1, k2, k3, k4, images/view_00 has p1=0.1, too; undistort"),
    (setting(k5=0.1), {}, "that of k1, k2, k3, k4, p1, p2, images/view_00 has k5=0.1, too; undistort"),
    (setting(rolling_shutter=[0, 0, 0, 1]), {}, "has rolling_shutter=[0, 0, 0, 1], too"),
    (setting(k1="much"), {}, "k1 must be a finite number"),
    (
        setting(k1=-9.0),
        {},
        "must show one ray at each pixel, that of images/view_00 does not near its edges (k1 .. k4, p1, p2 = -9,",
    ),
    (setting(w=20), {}, "images/view_00 is 10 x 10 for 10 x 20; correct them"),
    (
        both(picture(PICTURE, (12, 10, 3)), transforms(frame(4, h=10, w=12))),
        {},
        "view_04 is 12 x 10 for 10 x 12; turn it upright",
    ),
    (transforms(both(lacking("fl_x", 3), lacking("fl_y", 3))), {}, "must give fl_x"),
    (transforms(frame(3, fl_x=-3.0)), {}, "fl_x must be a positive number"),
    (transforms(transposed), {}, "must be 0, 0, 0, 1, positions stand in the last column, that of images/view_02 in"),
    (transforms(frame(3, mask_path="masks/3.png")), {}, "that of images/view_03, masks/3.png, is not in ROOT; add it"),
    (both(transforms(frame(3, mask_path="m.png")), picture("m.png", (9, 10))), {}, "ROOT/m.png has 9 x 10 pixels for 10 x 10"),
    (both(transforms(frame(3, mask_path="m.png")), picture("m.png", (10, 10))), {}, "ROOT/m.png is black; remove its view"),
    (transforms(frame(3, transform_matrix=SINGULAR)), {}, "images/view_03 has a singular pose"),
    (transforms(alike), {}, "Cameras must stand apart, all 9 stand at one point"),
    (setting(test_filenames=["images/view_77.png"]), {}, "test_filenames must name frames by their file_path"),
    (setting(test_filenames=["images/view_01.png"]), {}, "A view trains or tests, images/view_01 does both"),
    (gone(PICTURE), {}, f"ROOT/{PICTURE} is missing"),
    (picture(PICTURE, (12, 10, 3)), {}, "images/view_04 is 12 x 10 for 10 x 10; correct them"),
    (nothing, {"near": 9.0, "far": 30.0}, "3.48 before them, got 9 to 30; correct data.near and data.far"),
    (nothing, {"bound": 0.2, "far": 1.0}, "6 of 6 training views see nothing of it"),
    (nothing, {"near": 9.0, "far": 3.0}, "0 <= near < far"),
    (nothing, {"bound": -1.0}, "bound must be a positive number, got -1.0"),
]


WRONG = {"llff": LLFF, "blender": BLENDER, "nerfstudio": STUDIO}


@pytest.mark.parametrize(("layout", "case"), [(layout, case) for layout, cases in WRONG.items() for case in cases])
def test_wrong_captures_are_refused_in_one_line(layout, case, tmp_path):
    spoil, options, words = case
    write, _ = LAYOUTS[layout]
    spoil(write(tmp_path, ORIGINAL))
    check(layout, tmp_path, options, words)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_that_is_not_there(layout, tmp_path):
    check(layout, tmp_path / "none", {}, "data.root must be an existing folder, got ROOT; name one")


@pytest.mark.parametrize("options", [{"size": 1}, {"views": 2}, {"variant": -1}, {"size": 9.5}])
def test_generated_captures_that_are_none(options):
    with pytest.raises(InputError, match="of the generated capture must be a whole number, at least"):
        generated(**{"size": 10, "views": 9} | options)


def test_cameras_that_look_all_ways_have_no_average(tmp_path):
    turns = 2 * np.pi * np.arange(9) / 9
    back, up = np.stack([np.cos(turns), np.sin(turns), 0 * turns], -1), np.tile([0.0, 0.0, 1.0], (9, 1))
    write_llff(tmp_path, replace(ORIGINAL, poses=np.stack([np.cross(up, back), up, back, 4 * back], -1)))
    check("llff", tmp_path, {"spherify": False}, "these look all ways; set spherify=true")
    check("llff", tmp_path, {"ndc": True}, "those of ROOT look inward; set data.ndc=null, or data.spherify=true")
    around = read("llff", tmp_path, hold_every=3)
    np.testing.assert_allclose(around.poses[:, 2, 3], 0, atol=1e-9)
    np.testing.assert_allclose(around.poses[:, 2, 1], 1)  # upright
