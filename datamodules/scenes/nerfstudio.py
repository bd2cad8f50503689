"""Captures in the layout of nerfstudio: transforms.json with cameras that may differ from photograph to photograph."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from datamodules.scenes.camera_paths import meeting_point, orbit
from datamodules.scenes.capture import (
    Capture,
    hold_out_every,
    into_scene,
    scale_of,
    similarity,
)
from datamodules.scenes.capture_folder import CaptureFolder
from datamodules.scenes.lenses import intrinsics_of
from datamodules.scenes.poses import before, check_depths, looking
from datamodules.scenes.transforms import Settings, read_transforms, shots_of, slashed
from inr.errors import InputError

NEAR = 0.05  # depth [scene units] where rays begin; cameras are at most 1 from the middle of their scene
FAR = 2.5  # depth [scene units] where they end: beyond the middle by more than the cameras are before it
CORNER = 3**0.5  # half diagonal of the cube [-1, 1]^3


def listed(settings: Settings, key: str, places: Mapping[str, int], file: Path) -> tuple[int, ...] | None:
    """Return the views that a list of the file names; None if it is not there or empty."""
    paths = settings.get(key)
    if not paths:
        return None
    views = []
    for path in paths if isinstance(paths, list) else [paths]:
        if not isinstance(path, str) or slashed(path) not in places:
            raise InputError(f"{key} must name frames by their file_path, {file} has no frame {path}; correct it.")
        views.append(places[slashed(path)])
    return tuple(sorted(views))


def split_of(settings: Settings, paths: Sequence[str], hold_every: int, file: Path) -> tuple[tuple[int, ...], ...]:
    """Return views to train on and to test: as the file lists them, those in no list being in the one that is not there."""
    # A file may list one half alone; a view outside of it is in the other one. Validation views stand in for test views
    # that are not listed.
    places = {path: place for place, path in enumerate(paths)}
    train = listed(settings, "train_filenames", places, file)
    test = listed(settings, "test_filenames", places, file) or listed(settings, "val_filenames", places, file)
    if train is None and test is None:
        return hold_out_every(len(paths), hold_every)
    rest = tuple(view for view in range(len(paths)) if view not in (train or test or ()))
    return rest if train is None else train, rest if test is None else test


def camera_path(poses: np.ndarray, frames: int) -> np.ndarray:
    """Return poses around the point where cameras look, as high and as far from it as they are on average.

    Shapes: poses (views, 3, 4) -> (frames, 3, 4)
    """
    centre = meeting_point(poses)
    away = poses[:, :, 3] - centre
    return orbit(frames, float(np.hypot(away[:, 0], away[:, 1]).mean()), float(away[:, 2].mean()), centre)


def around_middle(poses: np.ndarray) -> np.ndarray:
    """Return the way to the world from a scene in whose middle cameras look, the furthest of them being 1 from it.

    Shapes: (views, 3, 4) -> (4, 4)
    """
    # The file's unit means nothing where cameras were found from photographs; their own distance is a unit that does.
    centre = meeting_point(poses)
    furthest = np.linalg.norm(poses[:, :, 3] - centre, axis=-1).max()
    return similarity(float(furthest), np.column_stack([np.eye(3), centre]))


def warn_of_guess(poses: np.ndarray, folder: Path) -> None:
    """Warn where cameras do not say how far away the scene is: they look around, or their axes hardly meet."""
    if looking(poses) != "inward" and before(poses) < 1:
        rule = f"Cameras of {folder} do not look at one point"
        remedy = "set data.near and data.far [units of the file] if pictures stay empty"
        warnings.warn(f"{rule}, so that near={NEAR} and far={FAR} times their reach is a guess; {remedy}.", stacklevel=4)


@dataclass(kw_only=True, eq=False)
class Nerfstudio(CaptureFolder):
    """A capture in the layout of nerfstudio, whose world has z up.

    bound: half side of the cube around the world's origin that holds the scene [units of the file], which is scaled to
        [-1, 1]^3, and rays are sampled there only; None: the scene's middle is where the cameras look, and the furthest
        camera is 1 from there.
    near, far: depths between which rays are sampled [units of the file]; None: 0.05 and 2.5 of the scene, or all of the cube.

    Raises: InputError if the file or a photograph is missing or cannot be read, for singular poses, unknown cameras, or
            if rays miss the scene. Cameras that do not look at one point give a warning unless near and far are given.
    Source: docs.nerf.studio, Data conventions.
    """

    def capture(self) -> Capture:
        """Read cameras, and the headers of the photographs."""
        file = self.folder / "transforms.json"
        settings, frames = read_transforms(file)
        frames = sorted(frames, key=lambda frame: frame.path)
        shots = shots_of(frames, self.folder, self.backdrop, self.downscale)
        world = similarity(self.bound) if self.bound else around_middle(shots.poses)
        poses = into_scene(shots.poses, world)
        train, test = split_of(settings, [frame.path for frame in frames], self.hold_every, file)
        near, far = self.depths(poses, world)
        if self.bound is None:
            check_depths(shots.poses, near * scale_of(world), far * scale_of(world))
            if self.near is None or self.far is None:
                warn_of_guess(poses, self.folder)
        photographs = shots.photographs
        return Capture(
            names=shots.names,
            size=photographs.frame,
            read=photographs,
            poses=poses,
            intrinsics=intrinsics_of(shots.lenses, self.pixel_centre, self.downscale),
            train=train,
            test=test,
            near=near,
            far=far,
            box=self.bound is not None,
            background=self.backdrop,
            path=partial(camera_path, poses),
            world=world,
            sizes=photographs.sizes,
            shown=photographs.shown if photographs.hides else None,
        )

    def depths(self, poses: np.ndarray, world: np.ndarray) -> tuple[float, float]:
        """Return near and far in units of the scene; by default all of the cube, or far enough."""
        # The cube ends at most half its diagonal beyond the origin, from which the furthest camera is the most away.
        reach = float(np.linalg.norm(poses[:, :, 3], axis=-1).max()) + CORNER if self.bound is not None else FAR
        scale = scale_of(world)
        return NEAR if self.near is None else self.near / scale, reach if self.far is None else self.far / scale
