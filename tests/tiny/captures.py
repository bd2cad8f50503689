"""Captures written in the formats that are read, so that any capture can be had in any of them."""

import json
import struct
from dataclasses import replace

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from datamodules.scenes.blender import Blender
from datamodules.scenes.camera_paths import look_at
from datamodules.scenes.colmap import Colmap
from datamodules.scenes.generated import GeneratedScene
from datamodules.scenes.llff import LLFF
from datamodules.scenes.nerfstudio import Nerfstudio


def generated(size, views, hold_every=6, **options):
    return GeneratedScene(size=size, views=views, hold_every=hold_every, **options).capture()


def forward(capture):
    """The same photographs as if cameras stood side by side, 3.2 away from what they look at."""
    count = len(capture.names)
    places = np.column_stack([np.linspace(-0.5, 0.5, count), 0.3 * np.sin(np.arange(count)), np.full(count, 3.2)])
    return replace(capture, poses=look_at(places, [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]))


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


def colmap_model(capture):
    """Cameras, photographs and sparse points of a capture, as COLMAP numbers them."""
    poses, _ = world_poses(capture)
    turns = poses[:, :3, :3].swapaxes(1, 2) * np.array([1, -1, -1])[:, None]
    rotations = Rotation.from_matrix(turns).as_quat(scalar_first=True)
    translations = -np.einsum("nij,nj->ni", turns, poses[:, :3, 3])
    cameras = [(1 + view, [f[1], f[0], f[3] + 0.5, f[2] + 0.5]) for view, f in enumerate(capture.intrinsics.tolist())]
    images = [(1 + view, *map(np.ndarray.tolist, pose)) for view, pose in enumerate(zip(rotations, translations, strict=True))]
    points = np.random.default_rng(0).uniform(-0.8, 0.8, (40, 3)) @ capture.world[:3, :3].T + capture.world[:3, 3]
    return cameras, images, points


def write_colmap(folder, capture, binary=True):
    """Photographs in images, and a model in sparse/0, each photograph with a camera of its own."""
    write_pictures(folder / "images", capture, range(len(capture.names)))
    model = folder / "sparse" / "0"
    model.mkdir(parents=True, exist_ok=True)
    (rows, columns), (cameras, images, points) = capture.size, colmap_model(capture)
    names = [f"{name}.png" for name in capture.names]
    if binary:
        packed = [struct.pack("<iiQQ4d", number, 1, columns, rows, *numbers) for number, numbers in cameras]
        (model / "cameras.bin").write_bytes(struct.pack("<Q", len(packed)) + b"".join(packed))
        seen = struct.pack("<Q", 2) + struct.pack("<ddq", 1.0, 2.0, -1) * 2
        packed = [
            struct.pack("<I7dI", number, *turn, *place, number) + names[number - 1].encode() + b"\0" + seen
            for number, turn, place in images
        ]
        (model / "images.bin").write_bytes(struct.pack("<Q", len(packed)) + b"".join(packed))
        packed = [struct.pack("<Q3d3BdQII", 7, *point, 1, 2, 3, 0.5, 1, 1, 0) for point in points]
        (model / "points3D.bin").write_bytes(struct.pack("<Q", len(packed)) + b"".join(packed))
        return folder
    lines = [f"{number} PINHOLE {columns} {rows} {' '.join(map(repr, numbers))}" for number, numbers in cameras]
    (model / "cameras.txt").write_text("\n".join(["# cameras", *lines]))
    lines = [
        f"{number} {' '.join(map(repr, [*turn, *place]))} {number} {names[number - 1]}\n{'1.0 2.0 -1 ' * (number % 3)}"
        for number, turn, place in images
    ]
    (model / "images.txt").write_text("\n".join(["# images", *lines]))
    (model / "points3D.txt").write_text("\n".join(f"7 {x!r} {y!r} {z!r} 1 2 3 0.5 1 0" for x, y, z in points.tolist()))
    return folder


LAYOUTS = {
    "llff": (write_llff, LLFF),
    "blender": (write_blender, Blender),
    "nerfstudio": (write_nerfstudio, Nerfstudio),
    "colmap": (write_colmap, Colmap),
}


def read(layout, folder, **options):
    return LAYOUTS[layout][1](root=str(folder), **options).capture()
