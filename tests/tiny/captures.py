"""Captures written in the formats that are read, so that any capture can be had in any of them."""

import json

import numpy as np
from PIL import Image

from datamodules.scenes.blender import Blender
from datamodules.scenes.generated import GeneratedScene
from datamodules.scenes.llff import LLFF
from datamodules.scenes.nerfstudio import Nerfstudio


def generated(size, views, hold_every=6, **options):
    return GeneratedScene(size=size, views=views, hold_every=hold_every, **options).capture()


def world_poses(capture):
    """Poses (views, 4, 4) in the coordinates of the file."""
    scale = np.cbrt(np.linalg.det(capture.world[:3, :3]))
    poses = np.tile(np.eye(4), (len(capture.names), 1, 1))
    poses[:, :3, :3] = capture.world[:3, :3] / scale @ capture.poses[:, :, :3]
    poses[:, :3, 3] = capture.poses[:, :, 3] @ capture.world[:3, :3].T + capture.world[:3, 3]
    return poses, scale


def write_pictures(folder, capture, views):
    folder.mkdir(parents=True, exist_ok=True)
    for view in views:
        Image.fromarray(capture.read(view)).save(folder / f"{capture.names[view]}.png")


def write_llff(folder, capture):
    """Photographs in images, which must have one focal length and their centres in the middle."""
    write_pictures(folder / "images", capture, range(len(capture.names)))
    poses, scale = world_poses(capture)
    table = np.empty((len(poses), 17))
    right, up, back, position = poses[:, :3].transpose(2, 0, 1)
    camera = np.column_stack([np.tile(capture.size, (len(poses), 1)), capture.intrinsics[:, 0]])
    table[:, :15] = np.stack([-up, right, back, position, camera], -1).reshape(-1, 15)
    table[:, 15:] = scale * capture.near, scale * capture.far
    np.save(folder / "poses_bounds.npy", table)
    return folder


def write_blender(folder, capture):
    """Photographs in train and test, which must have one focal length and their centres in the middle."""
    poses, _ = world_poses(capture)
    for split, views in (("train", capture.train), ("test", capture.test)):
        write_pictures(folder / split, capture, views)
        frames = [{"file_path": f"./{split}/{capture.names[view]}", "transform_matrix": poses[view].tolist()} for view in views]
        angle = 2 * np.arctan(0.5 * capture.size[1] / capture.intrinsics[0, 1])
        (folder / f"transforms_{split}.json").write_text(json.dumps({"camera_angle_x": angle, "frames": frames}))
    return folder


def write_nerfstudio(folder, capture):
    """Photographs in images, each with a camera of its own, and the split."""
    write_pictures(folder / "images", capture, range(len(capture.names)))
    poses, _ = world_poses(capture)
    paths = [f"images/{name}.png" for name in capture.names]
    cameras = [
        dict(zip(("fl_y", "fl_x", "cy", "cx"), map(float, camera + np.array([0, 0, 0.5, 0.5])), strict=True))
        for camera in capture.intrinsics
    ]
    views = zip(paths, poses.tolist(), cameras, strict=True)
    transforms = {
        "camera_model": "OPENCV",
        "k1": 0.0,
        "h": capture.size[0],
        "w": capture.size[1],
        "frames": [{"file_path": path, "transform_matrix": pose} | camera for path, pose, camera in views],
        "train_filenames": [paths[view] for view in capture.train],
        "test_filenames": [paths[view] for view in capture.test],
    }
    (folder / "transforms.json").write_text(json.dumps(transforms))
    return folder


LAYOUTS = {"llff": (write_llff, LLFF), "blender": (write_blender, Blender), "nerfstudio": (write_nerfstudio, Nerfstudio)}


def read(layout, folder, **options):
    return LAYOUTS[layout][1](root=str(folder), **options).capture()
