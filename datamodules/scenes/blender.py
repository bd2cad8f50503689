"""Captures in the layout of the synthetic scenes of NeRF: transforms_<split>.json, and photographs with transparency."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.common.files import existing_folder, require
from datamodules.scenes.camera_paths import meeting_point, orbit
from datamodules.scenes.capture import Capture, backdrop, into_scene, require_lengths, similarity
from datamodules.scenes.lenses import intrinsics_of
from datamodules.scenes.poses import before, check_depths, looking
from datamodules.scenes.scene_data import OneScene
from datamodules.scenes.transforms import Frame, read_transforms, shots_of
from inr.errors import InputError

ELEVATION = np.pi / 6  # of the camera path above the horizon [rad], as published
DISTANCE = 4.03  # of the cameras of published scenes from the origin, for which the numbers below are meant
NEAR = 2.0
FAR = 6.0
BOUND = 1.5
SIZE = 0.3  # radius of what is seen in them, in distances of their cameras


class Place(NamedTuple):
    """The place of a scene: half side and middle of its cube, depths where rays begin and end [units of the file]."""

    near: float
    far: float
    bound: float
    middle: np.ndarray


def read_split(folder: Path, split: str, step: int = 1) -> Sequence[Frame]:
    """Read every step-th frame of a split."""
    _, frames = read_transforms(folder / f"transforms_{split}.json")
    return frames[::step]


def camera_path(distance: float, frames: int) -> np.ndarray:
    """Return poses (frames, 3, 4) on a circle around the origin at a distance from it."""
    return orbit(frames, distance * np.cos(ELEVATION), distance * np.sin(ELEVATION))


def place_of(poses: np.ndarray, folder: Path) -> Place:
    """Return the published place, or one in proportion where cameras stand elsewhere, with a warning.

    Raises: InputError if cameras stand elsewhere and do not look at one point.
    """
    distances = np.linalg.norm(poses[:, :, 3], axis=-1)
    meeting = meeting_point(poses)
    centred = looking(poses) != "inward" or np.linalg.norm(meeting) < BOUND
    if centred and (1 - SIZE) * distances.min() > NEAR and (1 + SIZE) * distances.max() < FAR:
        return Place(NEAR, FAR, BOUND, np.zeros(3))
    away = float(np.linalg.norm(poses[:, :, 3] - meeting, axis=-1).mean())
    found = f"cameras of {folder} are {distances.min():.3g} to {distances.max():.3g} from the origin"
    if before(poses) <= 0.5:
        rule = "Scenes of this layout lie around the origin, between depths 2 and 6"
        raise InputError(f"{rule}, {found} and do not look at one point; set data.near, data.far and data.bound.")
    unit = away / DISTANCE
    place = Place(NEAR * unit, FAR * unit, BOUND * unit, meeting)
    numbers = f"data.near={place.near:.3g} data.far={place.far:.3g} data.bound={place.bound:.3g}"
    middle = ", ".join(f"{value:.3g}" for value in meeting.round(6) + 0.0)
    warnings.warn(f"The {found}, not about 4: {numbers} are taken around ({middle}), where they look.", stacklevel=4)
    return place


@dataclass(kw_only=True, eq=False)
class Blender(OneScene):
    """A capture in the layout of the synthetic scenes of NeRF.

    background: under transparency, and of rays that hit nothing: white, black, grey or three numbers in 0..1.
    near, far: depths between which rays are sampled [units of the file]; None: 2 and 6, as published, or in proportion to
        the distance of the cameras from where they look.
    bound: half side of the cube around the world's origin in which the scene lies [units of the file], which is scaled to
        [-1, 1]^3; auto: 1.5, or in proportion, around where cameras look; None: the scene is left as it is, as published.

    Raises: InputError if a file is missing or cannot be read, lacks something or has singular poses, or if rays miss the
            scene.
    Source: Mildenhall et al., NeRF (2020).
    """

    root: str  # the folder
    downscale: int = 1  # photographs are reduced to means over squares of so many pixels
    background: str | Sequence[float] = "white"
    near: float | None = None
    far: float | None = None
    bound: float | str | None = "auto"
    train_split: str = "train"  # views that train
    test_split: str = "test"  # views that test
    skip: int = 1  # every so many-th of them

    def __post_init__(self) -> None:
        super().__post_init__()
        require("bound", not isinstance(self.bound, str) or self.bound == "auto", "must be a number, auto or null", self.bound)
        given = None if isinstance(self.bound, str) else self.bound
        require_lengths(self.downscale, near=self.near, far=self.far, bound=given)
        whole = isinstance(self.skip, int) and self.skip >= 1
        require("skip", whole, "must be a whole number of views, at least 1", self.skip, "1 tests all")
        self.folder = existing_folder("data.root", self.root)
        self.backdrop = backdrop(self.background)

    def placed(self, poses: np.ndarray) -> Place:
        """Return the place of the scene in the world, as far as it is given, and the rest from the cameras."""
        if self.near is not None and self.far is not None and not isinstance(self.bound, str):
            return Place(self.near, self.far, self.bound or 1.0, np.zeros(3))
        found = place_of(poses, self.folder)
        near = found.near if self.near is None else self.near
        far = found.far if self.far is None else self.far
        if isinstance(self.bound, str):
            return found._replace(near=near, far=far)
        return Place(near, far, self.bound or 1.0, np.zeros(3))

    def capture(self) -> Capture:
        """Read the two splits and the headers of their photographs."""
        train = read_split(self.folder, self.train_split)
        test = read_split(self.folder, self.test_split, self.skip)
        shots = shots_of([*train, *test], self.folder, self.backdrop, self.downscale)
        place = self.placed(shots.poses)
        check_depths(shots.poses, place.near, place.far)
        world = similarity(place.bound, np.column_stack([np.eye(3), place.middle]))
        poses = into_scene(shots.poses, world)
        distance = float(np.linalg.norm(poses[:, :, 3], axis=-1).mean())
        photographs = shots.photographs
        return Capture(
            names=shots.names,
            size=photographs.frame,
            read=photographs,
            poses=poses,
            intrinsics=intrinsics_of(shots.lenses, self.pixel_centre, self.downscale),
            train=tuple(range(len(train))),
            test=tuple(range(len(train), len(shots.names))),
            near=place.near / place.bound,
            far=place.far / place.bound,
            box=self.bound is not None,
            background=self.backdrop,
            path=partial(camera_path, distance),
            world=world,
            sizes=photographs.sizes,
            shown=photographs.shown if photographs.hides else None,
        )
