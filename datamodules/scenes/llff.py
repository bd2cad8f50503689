"""Captures in the layout of LLFF: poses_bounds.npy, and photographs in images or images_<downscale>."""

import logging
import os
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from datamodules.common.files import existing_folder, listing
from datamodules.common.pictures import read_array
from datamodules.scenes.camera_paths import PARALLEL, average_pose, facing, meeting_point, orbit, spiral
from datamodules.scenes.capture import Capture, hold_out_every, into_scene, require_lengths, scale_of, similarity
from datamodules.scenes.lenses import pinhole
from datamodules.scenes.photograph_files import PhotographFiles, photographs_in
from datamodules.scenes.poses import looking, rotations
from datamodules.scenes.scene_data import OneScene
from inr.errors import InputError

log = logging.getLogger(__name__)
LAYOUT = "a folder with poses_bounds.npy and the photographs in images or images_8"
WIDTH = 17  # numbers of a view: a pose and a camera, 3 x 5, row by row, then the nearest and the furthest depth
CROPPED = 0.01  # share of a side by which photographs may be off the proportions of their camera
BEFORE = 0.9  # margin before the nearest depth, as published
BEYOND = 0.75  # place of a camera path's target in disparity, from near 0 to far 1, as published


def read_table(folder: Path) -> np.ndarray:
    """Read the rows of poses_bounds.npy, checked but for their rotations.

    Shapes: (views, 17)
    """
    file = folder / "poses_bounds.npy"
    if not file.is_file():
        raise InputError(f"A capture in the LLFF layout is {LAYOUT}, {folder} has no poses_bounds.npy but {listing(folder)}.")
    table = read_array(file)
    if table.ndim != 2 or table.shape[1] != WIDTH or table.dtype.kind not in "iuf":
        rule = f"poses_bounds.npy must be numbers (views, {WIDTH}): 3 x 5 of pose and camera, near, far"
        raise InputError(f"{rule}; {file} is {table.dtype} {table.shape}; make it anew.")
    table = table.astype(np.float64)
    finite = np.isfinite(table).all(1)
    if not finite.all():
        raise InputError(f"poses_bounds.npy must be finite, row {finite.argmin()} of {file} is not; make it anew.")
    near, far = table[:, -2:].T
    # Columns 4, 9 and 14 are the last of the 3 x 5 numbers: height, width and focal length.
    ordered = (near > 0) & (near < far) & (table[:, [4, 9, 14]] > 0).all(1)
    if not ordered.all():
        rule = "Rows of poses_bounds.npy have a positive height, width and focal, and 0 < near < far"
        raise InputError(f"{rule}, row {ordered.argmin()} of {file} has not; make it anew.")
    return table


def reduced_folders(folder: Path) -> dict[int, Path]:
    """Return the folders of reduced photographs by their factors, from the largest photographs on."""
    found = {int(match[1]): entry for entry in folder.iterdir() if (match := re.fullmatch(r"images_(\d+)", entry.name))}
    return {factor: found[factor] for factor in sorted(found) if found[factor].is_dir()}


def image_folder(folder: Path, downscale: int | None, views: int) -> Path:
    """Return the folder of photographs reduced by a factor, made if it is not there but the whole ones are.

    Raises: InputError if there are no photographs to be had, or if what is made cannot be written.
    """
    whole = folder / "images"
    reduced = reduced_folders(folder)
    if downscale is None and not whole.is_dir() and reduced:
        return next(iter(reduced.values()))
    if downscale in (None, 1) and whole.is_dir():
        return whole
    if downscale in reduced:
        return reduced[downscale]
    if downscale is None or not whole.is_dir():
        wanted = "images" if downscale in (None, 1) else f"images or images_{downscale}"
        there = ", ".join(entry.name for entry in reduced.values()) or "none such"
        raise InputError(f"A capture in the LLFF layout is {LAYOUT}, {folder} has no {wanted}; of folders it has {there}.")
    check_count(posed(whole, folder), views)
    return make_reduced(whole, folder / f"images_{downscale}", downscale)


def make_reduced(whole: Path, target: Path, factor: int) -> Path:
    """Write all photographs of a folder reduced by a factor to another, which appears when it is complete.

    Raises: InputError if one cannot be read, or if the folder cannot be written.
    """
    photographs = PhotographFiles(photographs_in(whole), factor=factor)
    photographs.one_size()
    # The folder is written aside and renamed when it is whole: neither an interrupted run nor one at the same time leaves
    # half of it for others to read.
    try:
        with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as aside:
            draft = Path(aside) / target.name
            draft.mkdir()
            for view, file in enumerate(photographs.files):
                Image.fromarray(photographs(view)).save(draft / f"{file.stem}.png")
            os.replace(draft, target)
    except OSError as error:
        if not target.is_dir():  # else another run was faster
            rule = f"Reduced photographs are kept in {target}, which cannot be written"
            raise InputError(f"{rule}: {error.strerror}; copy the capture to a folder of yours.") from error
    return target


def posed(photographs: Path, folder: Path) -> tuple[Path, ...]:
    """Return the photographs of a folder that have a pose: those in view_imgs.txt, if it is there, else all of them.

    Raises: InputError if one of them is missing.
    """
    files = photographs_in(photographs)
    chosen = folder / "view_imgs.txt"
    if not chosen.is_file():
        return files
    # The scripts that list the photographs whose cameras were found sort rows by name; reduced ones may end otherwise.
    listed = chosen.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    wanted = sorted({Path(line.strip().replace("\\", "/")).stem for line in listed if line.strip()})
    found = {file.stem: file for file in files}
    missing = [stem for stem in wanted if stem not in found]
    if missing:
        rule = f"Photographs that {chosen} lists must be there"
        raise InputError(f"{rule}, {missing[0]} is not in {photographs}; add it, or remove view_imgs.txt.")
    return tuple(found[stem] for stem in wanted)


def check_count(files: tuple[Path, ...], poses: int) -> None:
    """Refuse photographs that are not one for each pose."""
    if len(files) != poses:
        rule = "poses_bounds.npy must have a row for each photograph"
        raise InputError(f"{rule}, it has {poses} for {len(files)} in {files[0].parent}; remove what has no counterpart.")
    if poses < 3:
        raise InputError(f"A capture needs at least 3 photographs, 2 to train on and 1 to test, got {poses}; add some.")


def check_proportions(table: np.ndarray, size: tuple[int, int], files: tuple[Path, ...]) -> None:
    """Refuse photographs that cannot be those of the cameras, being turned or cropped, but for what reducing cuts off."""
    heights = table[:, 4]
    widths = table[:, 9]
    # Reducing loses less than a row and less than a column, a column being worth height / width rows.
    off = np.abs(size[0] - size[1] * heights / widths) > np.maximum(1, heights / widths) + CROPPED * size[0]
    if off.any():
        row = int(off.argmax())
        rule = "Photographs must have the proportions of their cameras"
        found = f"{files[row]} has {size[0]} x {size[1]} pixels for {heights[row]:g} x {widths[row]:g}"
        raise InputError(f"{rule}, {found} in poses_bounds.npy; turn or resize all of them.")


def cameras(table: np.ndarray, size: tuple[int, int], pixel_centre: float) -> tuple[np.ndarray, np.ndarray]:
    """Return poses in the world and intrinsics, for photographs of a size.

    Shapes: table (views, 17) -> (views, 3, 4) and (views, 4)
    """
    # The file's columns are down, right, backwards, position and (height, width, focal length); ours begin right, up.
    columns = table[:, :15].reshape(-1, 3, 5).transpose(2, 1, 0)  # (5, 3, views)
    poses = np.stack([columns[1], -columns[0], columns[2], columns[3]], 0).transpose(2, 1, 0)
    focal = np.broadcast_to((columns[4, 2] * size[1] / columns[4, 1])[:, None], (len(table), 2))
    return poses, pinhole(focal, np.full((len(table), 2), size) / 2, pixel_centre)


def surround(poses: np.ndarray) -> np.ndarray:
    """Return the frame of cameras around a scene: its middle is where they look, up is where they are, a unit their distance.

    Shapes: (views, 3, 4) -> (4, 4)
    """
    centre = meeting_point(poses)
    away = poses[:, :, 3] - centre
    distance = np.sqrt(np.square(away).sum(-1).mean())
    # Photographs are taken from above, so that cameras stand on the upper side of what they look at. Of cameras all around
    # the mean direction is none; their own up is one.
    up = away.mean(0)
    if np.linalg.norm(up) < PARALLEL * distance:
        up = poses[:, :, 1].mean(0)
    return similarity(distance, facing(centre, up, np.array([0.0, 1.0, 0.0])))


def world_of(poses: np.ndarray, unit: float, recentre: bool, spherify: bool) -> np.ndarray:
    """Return the way (4, 4) from the scene to the world, of which a unit of the scene is `unit` before it is spherified."""
    # The unit comes first, as the middle of the scene is found in its own units; the last factor acts on points first.
    world = similarity(unit)
    if spherify:
        return world @ surround(into_scene(poses, world))
    return world @ similarity(1.0, average_pose(into_scene(poses, world))) if recentre else world


def camera_path(poses: np.ndarray, near: float, far: float, spherify: bool, frames: int) -> np.ndarray:
    """Return poses of a closed path: around the scene, or before it as wide as the cameras stood.

    Cameras that look around have none: theirs are returned.
    Shapes: poses (views, 3, 4) -> (frames, 3, 4)
    """
    if spherify:
        return orbit(frames, float(np.hypot(*poses[:, :2, 3].T).mean()), float(poses[:, 2, 3].mean()))
    if looking(poses) == "outward":
        return poses[np.arange(frames) * len(poses) // frames]
    middle = average_pose(poses)
    aside = np.abs(into_scene(poses, similarity(1.0, middle))[:, :, 3])
    # The ellipse reaches as far as nine in ten cameras stood, so that one far camera does not lead it out of the scene.
    # A point moves across the picture in proportion to its disparity, 1 / depth: even in disparity is even to the eye.
    depth = 1 / ((1 - BEYOND) / near + BEYOND / far)
    return spiral(frames, middle, np.percentile(aside, 90, axis=0), depth)


@dataclass(kw_only=True, eq=False)
class LLFF(OneScene):
    """A forward-facing or inward-facing capture in the layout of LLFF.

    downscale: photographs are those of images_<downscale>, made once from images if they are not there; None: those of
        images, or the largest there are.
    ndc: rays go through normalised device coordinates, as is right for cameras that look the same way; None: if they do.
    spherify: for cameras around what they look at: the scene is put there, z up, the root mean square distance of cameras 1,
        without ndc; None: if they look there from angles beyond 45 degrees.

    Raises: InputError for a folder of another layout, an array of another shape or with singular poses, photographs that are
            unreadable, of different sizes, fewer than 3, or not one for each pose.
    Source: Mildenhall et al., Local Light Field Fusion (2019); NeRF (2020), appendix C and the published code.
    """

    root: str  # the folder
    downscale: int | None = None
    hold_every: int = 8  # every so many-th view tests
    ndc: bool | None = None
    spherify: bool | None = None
    recentre: bool = True  # put the scene around the average pose
    bound_factor: float | None = 0.75  # the nearest depth becomes 1 / this [scene units]; None: as in the file

    def __post_init__(self) -> None:
        super().__post_init__()
        require_lengths(self.downscale, bound_factor=self.bound_factor)
        self.folder = existing_folder("data.root", self.root)

    def frame(self, poses: np.ndarray) -> tuple[bool, bool, bool]:
        """Return if rays go through device coordinates, if the scene is spherified, and if it is recentred.

        Raises: InputError for device coordinates of cameras that look different ways.
        """
        ways = looking(poses)
        if self.ndc and not self.spherify and ways != "forward":
            rule = "Normalised device coordinates are for cameras that look the same way, within 45 degrees"
            raise InputError(f"{rule}, those of {self.folder} look {ways}; set data.ndc=null, or data.spherify=true.")
        spherify = ways == "inward" and self.ndc is None if self.spherify is None else self.spherify
        through = ways == "forward" if self.ndc is None else self.ndc
        if self.ndc is None and self.spherify is None and ways != "forward":
            done = "the scene is put where they look (data.spherify=true)" if spherify else "it stays where it is"
            log.warning("Cameras of %s look %s: no normalised device coordinates, %s.", self.folder, ways, done)
        # Cameras that look around have no average pose.
        return through and not spherify, spherify, self.recentre and ways != "outward"

    def capture(self) -> Capture:
        """Read poses_bounds.npy, and the headers of the photographs."""
        table = read_table(self.folder)
        files = posed(image_folder(self.folder, self.downscale, len(table)), self.folder)
        check_count(files, len(table))
        photographs = PhotographFiles(files)
        names = tuple(file.stem for file in files)
        size = photographs.one_size()
        check_proportions(table, size, files)
        world_poses, intrinsics = cameras(table, size, self.pixel_centre)
        world_poses = rotations(names, world_poses)
        through, spherify, recentre = self.frame(world_poses)
        nearest = table[:, -2].min()
        unit = 1.0 if self.bound_factor is None else nearest * self.bound_factor
        world = world_of(world_poses, unit, recentre, spherify)
        poses = into_scene(world_poses, world)
        near = float(nearest / scale_of(world))
        far = float(table[:, -1].max() / scale_of(world))
        # Normalised device coordinates send (x, y, z) to (-s_x x / z, -s_y y / z, 1 + 2 / z): the visible half space from
        # depth 1 on becomes [-1, 1]^3, and steps even along a ray there are even in disparity here. The slopes s = 2 focal /
        # side send the picture's edges to 1. The nearest depth must not be below 1: bound_factor keeps it a third above.
        slopes = (float(2 * intrinsics[0, 0] / size[0]), float(2 * intrinsics[0, 1] / size[1]))
        train, test = hold_out_every(len(names), self.hold_every)
        return Capture(
            names=names,
            size=size,
            read=photographs,
            poses=poses,
            intrinsics=intrinsics,
            train=train,
            test=test,
            near=0.0 if through else BEFORE * near,
            far=1.0 if through else far,
            ndc=slopes if through else None,
            path=partial(camera_path, poses, near, far, spherify),
            world=world,
        )
