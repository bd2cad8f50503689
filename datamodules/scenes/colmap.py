"""Captures in the layout of COLMAP: photographs in images, and the model of their cameras in sparse/0."""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from datamodules.common.files import listing, require
from datamodules.scenes.camera_paths import PARALLEL, facing, meeting_point
from datamodules.scenes.capture import Capture, hold_out_every, into_scene, scale_of, similarity
from datamodules.scenes.capture_folder import CaptureFolder
from datamodules.scenes.lenses import check_lens, intrinsics_of
from datamodules.scenes.nerfstudio import FAR, NEAR, camera_path, warn_of_guess
from datamodules.scenes.photograph_files import PhotographFiles, find_photograph
from datamodules.scenes.poses import before, check_depths, depths_of, rotations
from datamodules.scenes.read_colmap import Model, read_model
from inr.errors import InputError

log = logging.getLogger(__name__)
PLACES = ("sparse/0", "sparse", "colmap/sparse/0", "colmap/sparse")  # of the model in a folder
FOLDERS = ("images", "input")  # of photographs
BEFORE = 0.8  # margin before the nearest points, as there may be smooth surfaces without any
BEYOND = 1.25  # margin behind the furthest ones
OUTLYING = 0.01  # quantile of depths, from either end, beyond which points count as mistakes
FEWEST = 8  # points that say where a scene is


def model_in(folder: Path) -> Path | None:
    """Return the folder of the model in a capture; None if it has none."""
    places = (folder / place for place in PLACES)
    return next((place for place in places if any((place / f"cameras{end}").is_file() for end in (".bin", ".txt"))), None)


def frame_of(poses: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the frame around what cameras look at, z up as they are upright, in which the furthest of them is 1 away.

    Shapes: poses (views, 3, 4), points (points, 3) -> (4, 4)
    """
    # Axes of cameras that look the same way hardly meet, but points lie where the scene is.
    meets = before(poses) > 0.5 or len(points) < FEWEST
    centre = meeting_point(poses) if meets else np.median(points, axis=0)
    up = poses[:, :, 1].mean(0)
    if np.linalg.norm(up) < PARALLEL:
        up = poses[:, :, 2].mean(0)
    furthest = np.linalg.norm(poses[:, :, 3] - centre, axis=-1).max()
    return similarity(float(furthest), facing(centre, up, np.array([0.0, 1.0, 0.0])))


def depths_in(poses: np.ndarray, points: np.ndarray) -> tuple[float, float] | None:
    """Return depths between which the points before the cameras lie, with a margin; None of too few points."""
    if len(points) < FEWEST:
        return None
    depths = np.concatenate([depths_of(pose[None].repeat(len(points), 0), points) for pose in poses])
    depths = depths[depths > 0]
    if len(depths) < FEWEST:
        return None
    near, far = np.quantile(depths, [OUTLYING, 1 - OUTLYING])
    return float(BEFORE * near), float(BEYOND * far)


@dataclass(kw_only=True, eq=False)
class Colmap(CaptureFolder):
    """A capture in the layout of COLMAP, or of Gaussian splatting: `images`, and `sparse/0` with cameras, images and points3D.

    The scene is put where cameras look, z up, the furthest of them 1 from there. Pictures in `masks`, named like
    photographs, hide their dark pixels.

    model: folder of cameras, images and points3D; None: sparse/0, sparse, or the same in colmap.
    images: folder of the photographs, which may be reduced ones; None: images, or input.
    near, far: depths between which rays are sampled [units of the model]; None: those of the points.
    bound: half side of the cube around where cameras look, in which rays are sampled [units of the model]; None: no cube.

    Raises: InputError if a file is missing or broken, for unknown cameras, or if rays miss the scene.
    Source: colmap.github.io, Output Format.
    """

    model: str | None = None
    images: str | None = None

    def read(self) -> Model:
        """Read the model."""
        place = model_in(self.folder) if self.model is None else self.folder / self.model
        if place is None or not place.is_dir():
            rule = f"A capture in the layout of COLMAP has a model in one of {', '.join(PLACES)}"
            raise InputError(f"{rule}, {self.folder} holds {listing(self.folder)}; name its folder by data.model.")
        others = sorted(entry.name for entry in place.parent.iterdir() if (entry / "images.bin").is_file() and entry != place)
        if self.model is None and others:
            found = f"{place} is read, beside it are {', '.join(others)}"
            warnings.warn(f"COLMAP left a model for each part of the photographs: {found}; data.model chooses.", stacklevel=4)
        return read_model(place)

    def photographs(self, names: Sequence[str]) -> PhotographFiles:
        """Find photographs and masks by the names of the model."""
        places = FOLDERS if self.images is None else (self.images,)
        folder = next((self.folder / place for place in places if (self.folder / place).is_dir()), None)
        require("data.images", folder is not None, "must be the folder of photographs", self.images, f"{self.folder} has none")
        assert folder is not None
        found = [find_photograph(folder, name) for name in names]
        files = tuple(file for file in found if file is not None)
        if len(files) < len(names):
            missing = names[found.index(None)]
            raise InputError(f"Photographs of all views must be there, {folder / missing} is missing; add it.")
        shades = self.folder / "masks"
        masks = [find_photograph(shades, f"{name}.png") or find_photograph(shades, name) for name in names]
        if any(masks):
            count = len(masks) - masks.count(None)
            log.warning("Masks in %s hide pixels of %d of %d photographs.", shades, count, len(masks))
        return PhotographFiles(files, self.backdrop, self.downscale, tuple(masks) if any(masks) else ())

    def capture(self) -> Capture:
        """Read the model, and the headers of the photographs."""
        model = self.read()
        files = [image.name for image in model.images]
        photographs = self.photographs(files)
        lenses = [model.lens(image, size) for image, size in zip(model.images, photographs.stored, strict=True)]
        for name, lens, size in zip(files, lenses, photographs.stored, strict=True):
            check_lens(name, lens, size)
        names = tuple(str(Path(name).with_suffix("")) for name in files)
        world_poses = rotations(names, model.poses)
        frame = frame_of(world_poses, model.points)
        world = frame if self.bound is None else frame @ similarity(self.bound / scale_of(frame))
        poses = into_scene(world_poses, world)
        near, far = self.depths(world_poses, model.points, scale_of(frame))
        check_depths(world_poses, near, far)
        train, test = hold_out_every(len(names), self.hold_every)
        return Capture(
            names=names,
            size=photographs.frame,
            read=photographs,
            poses=poses,
            intrinsics=intrinsics_of(lenses, self.pixel_centre, self.downscale),
            train=train,
            test=test,
            near=near / scale_of(world),
            far=far / scale_of(world),
            box=self.bound is not None,
            background=self.backdrop,
            path=partial(camera_path, poses),
            world=world,
            sizes=photographs.sizes,
            shown=photographs.shown if photographs.hides else None,
        )

    def depths(self, poses: np.ndarray, points: np.ndarray, reach: float) -> tuple[float, float]:
        """Return near and far in units of the model: those given, those of the points, or in proportion to the reach."""
        found = depths_in(poses, points)
        if found is None and (self.near is None or self.far is None):
            warn_of_guess(poses, self.folder)
        near, far = (NEAR * reach, FAR * reach) if found is None else found
        return near if self.near is None else self.near, far if self.far is None else self.far
