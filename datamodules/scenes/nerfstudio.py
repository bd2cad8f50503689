"""Captures in the layout of nerfstudio: transforms.json with cameras that may differ from photograph to photograph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from datamodules.common.files import existing_folder
from datamodules.scenes.camera_paths import meeting_point, orbit
from datamodules.scenes.capture import (
    Capture,
    PhotographFiles,
    backdrop,
    hold_out_every,
    into_scene,
    pinhole,
    require_lengths,
    scale_of,
    similarity,
)
from datamodules.scenes.scene_data import OneScene
from datamodules.scenes.transforms import Frame, Settings, angle_of, focal_of, number, poses_of, read_transforms
from inr.errors import InputError

MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE")  # pinholes where no coefficient distorts them
DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
UNDISTORTED = 1e-9  # coefficients below move no pixel
NEAR = 0.05  # depth [scene units] where rays begin; cameras are at most 1 from the middle of their scene
FAR = 2.5  # depth [scene units] where they end: beyond the middle by more than the cameras are before it
CORNER = 3**0.5  # half diagonal of the cube [-1, 1]^3
UNDISTORT = "undistort the photographs first (colmap image_undistorter)"


def check_camera(frame: Frame, size: tuple[int, int]) -> None:
    """Refuse a camera that is no pinhole, or of another size than that of the photographs.

    Raises: InputError naming its model, its distortion or its size.
    """
    settings = frame.settings
    model = settings.get("camera_model", "PINHOLE")
    if settings.get("is_fisheye") or model not in MODELS:
        found = "is_fisheye" if model in MODELS else f"camera_model {model}"
        raise InputError(f"Cameras must be pinholes ({', '.join(MODELS)}), {frame.name} has {found}; {UNDISTORT}.")
    for key in DISTORTION:
        amount = settings.get(key, 0.0)
        if not isinstance(amount, int | float) or not abs(amount) < UNDISTORTED:
            raise InputError(f"Cameras must be free of distortion, {frame.name} has {key}={amount}; {UNDISTORT}.")
    stated = settings.get("h", size[0]), settings.get("w", size[1])
    if stated != size:
        rule = "Photographs must be as large as h and w of their cameras"
        found = f"{frame.name} is {size[0]} x {size[1]} for {stated[0]} x {stated[1]}"
        raise InputError(f"{rule}, {found}; correct them, and the intrinsics.")


def focal_lengths(settings: Settings, size: tuple[int, int], file: Path) -> tuple[float, float]:
    """Return focal lengths for rows and columns: fl_y and fl_x, by the angles that are seen, or by the other one."""
    # Pixels are square unless the file says otherwise, so that the lens across does for both directions.
    across = angle_of(settings, "camera_angle_x", file) if "camera_angle_x" in settings and "fl_x" not in settings else None
    column = focal_of(across, size[1]) if across is not None else number(settings, "fl_x", file)
    if "fl_y" in settings:
        return number(settings, "fl_y", file), column
    down = angle_of(settings, "camera_angle_y", file) if "camera_angle_y" in settings else None
    return column if down is None else focal_of(down, size[0]), column


def centre_of(settings: Settings, size: tuple[int, int], file: Path) -> tuple[float, float]:
    """Return the pixels from the upper left corner to the optical axis: cy and cx, or the middle."""
    row = number(settings, "cy", file) if "cy" in settings else size[0] / 2
    return row, number(settings, "cx", file) if "cx" in settings else size[1] / 2


def listed(settings: Settings, key: str, places: Mapping[str, int], file: Path) -> tuple[int, ...] | None:
    """Return the views that a list of the file names; None if it is not there or empty."""
    paths = settings.get(key)
    if not paths:
        return None
    views = []
    for path in paths if isinstance(paths, list) else [paths]:
        if not isinstance(path, str) or path not in places:
            raise InputError(f"{key} must name frames by their file_path, {file} has no frame {path}; correct it.")
        views.append(places[path])
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


@dataclass(kw_only=True, eq=False)
class Nerfstudio(OneScene):
    """A capture in the layout of nerfstudio, of pinhole cameras whose world has z up.

    bound: half side of the cube around the world's origin that holds the scene [units of the file], which is scaled to
        [-1, 1]^3, and rays are sampled there only; None: the scene's middle is where the cameras look, and the furthest
        camera is 1 from there.
    near, far: depths between which rays are sampled [units of the file]; None: 0.05 and 2.5 of the scene, or all of the cube.
    background: under transparency, and of rays that hit nothing: white, black, grey or three numbers in 0..1.

    Raises: InputError if the file or a photograph is missing or cannot be read, for singular poses, cameras with distortion,
            or photographs of different sizes.
    Source: docs.nerf.studio, Data conventions.
    """

    root: str  # the folder
    downscale: int = 1  # photographs are reduced to means over squares of so many pixels
    hold_every: int = 8  # every so many-th view by name tests, where the file lists none
    bound: float | None = None
    near: float | None = None
    far: float | None = None
    background: str | Sequence[float] = "black"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_lengths(self.downscale, bound=self.bound, near=self.near, far=self.far)
        self.folder = existing_folder("data.root", self.root)
        self.backdrop = backdrop(self.background)

    def capture(self) -> Capture:
        """Read cameras, and the headers of the photographs."""
        file = self.folder / "transforms.json"
        settings, frames = read_transforms(file)
        frames = sorted(frames, key=lambda frame: frame.path)
        world_poses = poses_of(frames, file)
        files = tuple(frame.photograph(self.folder) for frame in frames)
        photographs = PhotographFiles(files, self.backdrop, self.downscale)
        sides = photographs.stored_size()
        for frame in frames:
            check_camera(frame, sides)
        world = similarity(self.bound) if self.bound else around_middle(world_poses)
        poses = into_scene(world_poses, world)
        train, test = split_of(settings, [frame.path for frame in frames], self.hold_every, file)
        focal = np.array([focal_lengths(frame.settings, sides, file) for frame in frames])
        centre = np.array([centre_of(frame.settings, sides, file) for frame in frames])
        near, far = self.depths(poses, world)
        return Capture(
            names=tuple(frame.name for frame in frames),
            size=photographs.size(),
            read=photographs,
            poses=poses,
            intrinsics=pinhole(focal, centre, self.pixel_centre, self.downscale),
            train=train,
            test=test,
            near=near,
            far=far,
            box=self.bound is not None,
            background=self.backdrop,
            path=partial(camera_path, poses),
            world=world,
        )

    def depths(self, poses: np.ndarray, world: np.ndarray) -> tuple[float, float]:
        """Return near and far in units of the scene; by default all of the cube, or far enough."""
        # The cube ends at most half its diagonal beyond the origin, from which the furthest camera is the most away.
        reach = float(np.linalg.norm(poses[:, :, 3], axis=-1).max()) + CORNER if self.bound is not None else FAR
        scale = scale_of(world)
        return NEAR if self.near is None else self.near / scale, reach if self.far is None else self.far / scale
