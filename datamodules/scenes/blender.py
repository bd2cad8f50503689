"""Captures in the layout of the synthetic scenes of NeRF: transforms_<split>.json, and photographs with transparency."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from datamodules.common.files import existing_folder, require
from datamodules.scenes.camera_paths import orbit
from datamodules.scenes.capture import Capture, PhotographFiles, backdrop, into_scene, pinhole, require_lengths, similarity
from datamodules.scenes.scene_data import OneScene
from datamodules.scenes.transforms import Frame, angle_of, focal_of, poses_of, read_transforms

ELEVATION = np.pi / 6  # of the camera path above the horizon [rad], as published


def read_split(folder: Path, split: str, step: int = 1) -> tuple[Sequence[Frame], np.ndarray, float]:
    """Read every step-th frame of a split, their poses in the world, and the angle that its cameras see from left to right."""
    file = folder / f"transforms_{split}.json"
    settings, frames = read_transforms(file)
    return frames[::step], poses_of(frames[::step], file), angle_of(settings, "camera_angle_x", file)


def camera_path(distance: float, frames: int) -> np.ndarray:
    """Return poses (frames, 3, 4) on a circle around the origin at a distance from it."""
    return orbit(frames, distance * np.cos(ELEVATION), distance * np.sin(ELEVATION))


@dataclass(kw_only=True, eq=False)
class Blender(OneScene):
    """A capture in the layout of the synthetic scenes of NeRF.

    background: under transparency, and of rays that hit nothing: white, black, grey or three numbers in 0..1.
    near, far: depths between which rays are sampled [units of the file].
    bound: half side of the cube around the world's origin in which the scene lies [units of the file], which is scaled to
        [-1, 1]^3; None: the scene is left as it is, as published.

    Raises: InputError if a file is missing or cannot be read, lacks something or has singular poses, or if photographs have
            different sizes.
    Source: Mildenhall et al., NeRF (2020).
    """

    root: str  # the folder
    downscale: int = 1  # photographs are reduced to means over squares of so many pixels
    background: str | Sequence[float] = "white"
    near: float = 2.0
    far: float = 6.0
    bound: float | None = 1.5
    train_split: str = "train"  # views that train
    test_split: str = "test"  # views that test
    skip: int = 1  # every so many-th of them

    def __post_init__(self) -> None:
        super().__post_init__()
        require_lengths(self.downscale, near=self.near, far=self.far, bound=self.bound)
        whole = isinstance(self.skip, int) and self.skip >= 1
        require("skip", whole, "must be a whole number of views, at least 1", self.skip, "1 tests all")
        self.folder = existing_folder("data.root", self.root)
        self.backdrop = backdrop(self.background)

    def capture(self) -> Capture:
        """Read the two splits and the headers of their photographs."""
        train, train_poses, train_angle = read_split(self.folder, self.train_split)
        test, test_poses, test_angle = read_split(self.folder, self.test_split, self.skip)
        frames = [*train, *test]
        files = tuple(frame.photograph(self.folder) for frame in frames)
        photographs = PhotographFiles(files, self.backdrop, self.downscale)
        sides = photographs.stored_size()
        unit = self.bound or 1.0
        world = similarity(unit)
        poses = into_scene(np.concatenate([train_poses, test_poses]), world)
        # One lens per split, and square pixels: the file gives the angle across, which makes both focal lengths.
        focal = np.repeat([focal_of(angle, sides[1]) for angle in (train_angle, test_angle)], [len(train), len(test)])
        centre = np.full((len(frames), 2), sides) / 2
        distance = float(np.linalg.norm(poses[:, :, 3], axis=-1).mean())
        return Capture(
            names=tuple(frame.name for frame in frames),
            size=photographs.size(),
            read=photographs,
            poses=poses,
            intrinsics=pinhole(np.stack([focal, focal], -1), centre, self.pixel_centre, self.downscale),
            train=tuple(range(len(train))),
            test=tuple(range(len(train), len(frames))),
            near=self.near / unit,
            far=self.far / unit,
            box=self.bound is not None,
            background=self.backdrop,
            path=partial(camera_path, distance),
            world=world,
        )
