"""Captures in the layout of the synthetic scenes of NeRF: transforms_<split>.json, and photographs with transparency."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from datamodules.common.files import existing_folder, listing
from datamodules.scenes.camera_paths import orbit
from datamodules.scenes.capture import (
    ENDINGS,
    Capture,
    PhotographFiles,
    backdrop,
    check_options,
    check_poses,
    check_positive,
    into_scene,
    pinhole,
    similarity,
)
from inr.errors import InputError

ELEVATION = np.pi / 6  # of the film


def read_transforms(file: Path) -> dict[str, Any]:
    """What a json file of cameras says, its frames being there and naming photographs and poses.

    Raises: InputError if it is missing, cannot be read, or lacks something.
    """
    if not file.is_file():
        rule = "Cameras and photographs are listed in a file of transforms"
        raise InputError(f"{rule}, {file} is not there; {file.parent} holds {listing(file.parent)}.")
    try:
        transforms = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"A file of transforms must be json, {file} is not: {error}; write it anew.") from error
    frames = transforms.get("frames") if isinstance(transforms, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(f"A file of transforms must list its photographs as frames, {file} has none; write it anew.")
    for place, frame in enumerate(frames):
        for key in ("file_path", "transform_matrix"):
            if key not in frame:
                raise InputError(
                    f"Frames must have file_path and transform_matrix, frame {place} of {file} has no {key}; add it."
                )
        if not isinstance(frame["file_path"], str):
            raise InputError(f"file_path must be text, frame {place} of {file} has {frame['file_path']}; correct it.")
    return transforms


def number(values: dict[str, Any], key: str, file: Path) -> float:
    """A positive number in a file of transforms.

    Raises: InputError if it is missing or no such number.
    """
    if key not in values:
        raise InputError(f"A file of transforms must give {key}, {file} does not; add it.")
    value = values[key]
    if not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise InputError(f"{key} must be a positive number, {file} has {value}; correct it.")
    return float(value)


def angle_of(values: dict[str, Any], key: str, file: Path) -> float:
    """The angle [radians] that a camera sees from side to side."""
    angle = number(values, key, file)
    if angle >= np.pi:
        raise InputError(f"{key} must be in radians, below pi, {file} has {angle:g}; correct it.")
    return angle


def focal_of(angle: float, pixels: int) -> float:
    """The focal length [pixels] of a camera that sees an angle [radians] over as many pixels."""
    return float(0.5 * pixels / np.tan(0.5 * angle))


def name_of(frame: dict[str, Any]) -> str:
    """The name of a view: its path without an ending."""
    path = PurePosixPath(frame["file_path"])
    return str(path.with_suffix("") if path.suffix.lower() in ENDINGS else path)


def photograph_of(folder: Path, frame: dict[str, Any]) -> Path:
    """The photograph of a frame, whose ending may be left out.

    Raises: InputError if it is not there.
    """
    path = folder / frame["file_path"]
    for ending in ("", *ENDINGS):
        if (file := path.with_name(path.name + ending)).is_file():
            return file
    raise InputError(f"Photographs of all frames must be there, {path} is missing, nor is there a .png; add it.")


def poses_of(frames: Sequence[dict[str, Any]], file: Path) -> np.ndarray:
    """The poses of frames, checked.

    Shapes: (frames, 3, 4)
    """
    poses = np.empty((len(frames), 3, 4))
    for place, frame in enumerate(frames):
        try:
            matrix = np.array(frame["transform_matrix"], np.float64)
        except (TypeError, ValueError):
            matrix = np.empty(0)
        if matrix.shape not in ((4, 4), (3, 4)):
            rule = "transform_matrix must be 4 x 4 numbers"
            raise InputError(f"{rule}, that of {name_of(frame)} in {file} is not; correct it.")
        poses[place] = matrix[:3]
    check_poses([name_of(frame) for frame in frames], poses)
    return poses


def read_split(folder: Path, split: str, step: int) -> tuple[list[dict[str, Any]], np.ndarray, float]:
    """Every step-th frame of a split, their poses in the world, and the angle that its cameras see from left to right."""
    file = folder / f"transforms_{split}.json"
    transforms = read_transforms(file)
    frames = transforms["frames"][::step]
    return frames, poses_of(frames, file), angle_of(transforms, "camera_angle_x", file)


def film(distance: float, frames: int) -> np.ndarray:
    """Poses (frames, 3, 4) on a circle around the origin at a distance from it."""
    return orbit(frames, distance * np.cos(ELEVATION), distance * np.sin(ELEVATION))


def read_blender(
    root: str | Path,
    downscale: int = 1,
    background: str | Sequence[float] = "white",
    near: float = 2.0,
    far: float = 6.0,
    bound: float | None = 1.5,
    pixel_centre: float = 0.5,
    train_split: str = "train",
    test_split: str = "test",
    skip: int = 1,
) -> Capture:
    """A capture in the layout of the synthetic scenes of NeRF.

    Photographs are laid over `background` and reduced by `downscale`. Views of `train_split` train, every `skip`-th of
    `test_split` tests. The scene lies in the cube around the world's origin whose half side is `bound`, and is scaled to
    [-1, 1]^3; null: it is left as it is, as published. `pixel_centre` is where in its pixel a ray passes, 0 in published code.

    Units:  near, far and bound in units of the file.
    Raises: InputError if a file is missing or cannot be read, lacks something or has singular poses, or if photographs have
            different sizes.
    Source: Mildenhall et al., NeRF (2020).
    """
    check_options(downscale, pixel_centre)
    check_positive(near=near, far=far, bound=bound)
    if not isinstance(skip, int) or skip < 1:
        raise InputError(f"skip must be a whole number of views, at least 1, got {skip}; 1 tests all.")
    folder, colour = existing_folder("root", str(root)), backdrop(background)
    train, train_poses, train_angle = read_split(folder, train_split, 1)
    test, test_poses, test_angle = read_split(folder, test_split, skip)
    frames = train + test
    photographs = PhotographFiles(tuple(photograph_of(folder, frame) for frame in frames), colour, downscale)
    sides, world = photographs.stored_size(), similarity(bound or 1.0)
    poses = into_scene(np.concatenate([train_poses, test_poses]), world)
    focal = np.repeat([focal_of(angle, sides[1]) for angle in (train_angle, test_angle)], [len(train), len(test)])
    centre = np.full((len(frames), 2), sides) / 2
    distance = float(np.linalg.norm(poses[:, :, 3], axis=-1).mean())
    return Capture(
        names=tuple(name_of(frame) for frame in frames),
        size=photographs.size(),
        read=photographs,
        poses=poses,
        intrinsics=pinhole(np.stack([focal, focal], -1), centre, pixel_centre, downscale),
        train=tuple(range(len(train))),
        test=tuple(range(len(train), len(frames))),
        near=near / (bound or 1.0),
        far=far / (bound or 1.0),
        ndc=None,
        box=bound is not None,
        background=colour,
        path=partial(film, distance),
        world=world,
    )
