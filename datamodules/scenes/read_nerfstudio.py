"""Captures in the layout of nerfstudio: transforms.json with cameras that may differ from photograph to photograph."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.common.files import existing_folder
from datamodules.scenes.camera_paths import meeting_point, orbit
from datamodules.scenes.capture import (
    Capture,
    PhotographFiles,
    backdrop,
    check_options,
    check_positive,
    every,
    into_scene,
    pinhole,
    scale_of,
    similarity,
)
from datamodules.scenes.read_blender import angle_of, focal_of, name_of, number, photograph_of, poses_of, read_transforms
from inr.errors import InputError

MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE")
DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
UNDISTORTED = 1e-9
NEAR, FAR = 0.05, 2.5  # depths of a scene whose cameras are at most 1 from its middle
CORNER = 3**0.5
UNDISTORT = "undistort the photographs first (colmap image_undistorter)"


def check_camera(camera: dict[str, Any], name: str) -> None:
    """Refuse a camera that is no pinhole.

    Raises: InputError naming its model or its distortion.
    """
    model = camera.get("camera_model", "PINHOLE")
    if camera.get("is_fisheye") or model not in MODELS:
        found = "is_fisheye" if model in MODELS else f"camera_model {model}"
        raise InputError(f"Cameras must be pinholes ({', '.join(MODELS)}), {name} has {found}; {UNDISTORT}.")
    for key in DISTORTION:
        amount = camera.get(key, 0.0)
        if not isinstance(amount, int | float) or not abs(amount) < UNDISTORTED:
            raise InputError(f"Cameras must be free of distortion, {name} has {key}={amount}; {UNDISTORT}.")


def check_size(camera: dict[str, Any], size: tuple[int, int], name: str) -> None:
    """Refuse a camera of another size than that of the photographs."""
    rows, columns = camera.get("h", size[0]), camera.get("w", size[1])
    if (rows, columns) != size:
        rule = "Photographs must be as large as h and w of their cameras"
        raise InputError(f"{rule}, {name} is {size[0]} x {size[1]} for {rows} x {columns}; correct them, and the intrinsics.")


def focal_lengths(camera: dict[str, Any], size: tuple[int, int], file: Path) -> tuple[float, float]:
    """Focal lengths for rows and columns: fl_y and fl_x, the angles that are seen, or the one where the other is not given."""
    across = angle_of(camera, "camera_angle_x", file) if "camera_angle_x" in camera and "fl_x" not in camera else None
    column = focal_of(across, size[1]) if across is not None else number(camera, "fl_x", file)
    if "fl_y" in camera:
        return number(camera, "fl_y", file), column
    down = angle_of(camera, "camera_angle_y", file) if "camera_angle_y" in camera else None
    return column if down is None else focal_of(down, size[0]), column


def centre_of(camera: dict[str, Any], size: tuple[int, int], file: Path) -> tuple[float, float]:
    """Where the optical axis meets a photograph, in pixels from its upper left corner: cy and cx, or the middle."""
    row = number(camera, "cy", file) if "cy" in camera else size[0] / 2
    return row, number(camera, "cx", file) if "cx" in camera else size[1] / 2


def listed(transforms: dict[str, Any], key: str, places: dict[str, int], file: Path) -> tuple[int, ...] | None:
    """The views that a list of the file names; None if it is not there or empty."""
    named = transforms.get(key) or None
    if named is None:
        return None
    strange = [path for path in named if path not in places]
    if strange:
        raise InputError(f"{key} must name frames by their file_path, {file} has no frame {strange[0]}; correct it.")
    return tuple(sorted(places[path] for path in named))


def split_of(transforms: dict[str, Any], paths: Sequence[str], hold_every: int, file: Path) -> tuple[tuple[int, ...], ...]:
    """Views to train on and to test: as the file lists them, those in no list being in the one that is not there."""
    places = {path: place for place, path in enumerate(paths)}
    train = listed(transforms, "train_filenames", places, file)
    test = listed(transforms, "test_filenames", places, file) or listed(transforms, "val_filenames", places, file)
    if train is None and test is None:
        return every(len(paths), hold_every)
    rest = tuple(view for view in range(len(paths)) if view not in (train or test or ()))
    return rest if train is None else train, rest if test is None else test


def depths(near: float | None, far: float | None, poses: np.ndarray, world: np.ndarray, box: bool) -> tuple[float, float]:
    """Depths in units of the scene, from those of the user in the world; by default all of the box, or far enough."""
    beyond = float(np.linalg.norm(poses[:, :, 3], axis=-1).max()) + CORNER if box else FAR
    scale = scale_of(world)
    return NEAR if near is None else near / scale, beyond if far is None else far / scale


def film(poses: np.ndarray, frames: int) -> np.ndarray:
    """Poses around the point where cameras look, as high and as far from it as they are on average.

    Shapes: poses (views, 3, 4) -> (frames, 3, 4)
    """
    centre = meeting_point(poses)
    away = poses[:, :, 3] - centre
    return orbit(frames, float(np.hypot(away[:, 0], away[:, 1]).mean()), float(away[:, 2].mean()), centre)


def read_nerfstudio(
    root: str | Path,
    downscale: int = 1,
    hold_every: int = 8,
    bound: float | None = None,
    near: float | None = None,
    far: float | None = None,
    pixel_centre: float = 0.5,
    background: str | Sequence[float] = "black",
) -> Capture:
    """A capture in the layout of nerfstudio, of pinhole cameras whose world has z up.

    Photographs are laid over `background` and reduced by `downscale`. Views train and test as the file lists them, else every
    `hold_every`-th by name tests. With `bound` the scene is the cube around the world's origin of this half side, scaled to
    [-1, 1]^3, and rays are sampled there only; without, its middle is where the cameras look, and the furthest camera is 1
    from there. `pixel_centre` is where in its pixel a ray passes.

    Units:  bound, near and far in units of the file; near and far are null for 0.05 and 2.5 of the scene, or all of the cube.
    Raises: InputError if the file or a photograph is missing or cannot be read, for singular poses, cameras with distortion,
            or photographs of different sizes.
    Source: docs.nerf.studio, Data conventions.
    """
    check_options(downscale, pixel_centre)
    check_positive(bound=bound, near=near, far=far)
    folder, colour = existing_folder("root", str(root)), backdrop(background)
    file = folder / "transforms.json"
    transforms = read_transforms(file)
    frames = sorted(transforms["frames"], key=lambda frame: frame["file_path"])
    world_poses = poses_of(frames, file)
    photographs = PhotographFiles(tuple(photograph_of(folder, frame) for frame in frames), colour, downscale)
    sides = photographs.stored_size()
    views = [transforms | frame for frame in frames]
    for view in views:
        check_camera(view, name_of(view))
        check_size(view, sides, name_of(view))
    world = similarity(bound or 1.0) if bound else middle_of(world_poses)
    poses = into_scene(world_poses, world)
    train, test = split_of(transforms, [frame["file_path"] for frame in frames], hold_every, file)
    focal = np.array([focal_lengths(view, sides, file) for view in views])
    centre = np.array([centre_of(view, sides, file) for view in views])
    nearest, furthest = depths(near, far, poses, world, bound is not None)
    return Capture(
        names=tuple(name_of(frame) for frame in frames),
        size=photographs.size(),
        read=photographs,
        poses=poses,
        intrinsics=pinhole(focal, centre, pixel_centre, downscale),
        train=train,
        test=test,
        near=nearest,
        far=furthest,
        ndc=None,
        box=bound is not None,
        background=colour,
        path=partial(film, poses),
        world=world,
    )


def middle_of(poses: np.ndarray) -> np.ndarray:
    """What leads from a scene whose middle is where the cameras look, the furthest of them being 1 from it, to the world.

    Shapes: (views, 3, 4) -> (4, 4)
    """
    centre = meeting_point(poses)
    furthest = np.linalg.norm(poses[:, :, 3] - centre, axis=-1).max()
    return similarity(float(furthest), np.column_stack([np.eye(3), centre]))
