"""Captures in the layout of LLFF: poses_bounds.npy, and photographs in images or images_<downscale>."""

import os
import re
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from datamodules.common.files import existing_folder, listing
from datamodules.common.pictures import read_array
from datamodules.scenes.camera_paths import PARALLEL, average_pose, facing, meeting_point, orbit, spiral
from datamodules.scenes.capture import (
    Capture,
    PhotographFiles,
    check_options,
    check_poses,
    check_positive,
    every,
    into_scene,
    photographs_in,
    pinhole,
    scale_of,
    similarity,
)
from inr.errors import InputError

LAYOUT = "a folder with poses_bounds.npy and the photographs in images or images_8"
WIDTH, CROPPED = 17, 0.01
BEFORE, BEYOND = 0.9, 0.75  # a margin before the nearest depth; how far a film looks, from near 0 to far 1


def read_table(folder: Path) -> np.ndarray:
    """The rows of poses_bounds.npy, checked but for their rotations.

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
    finite, (near, far) = np.isfinite(table).all(1), table[:, -2:].T
    if not finite.all():
        raise InputError(f"poses_bounds.npy must be finite, row {finite.argmin()} of {file} is not; make it anew.")
    ordered = (near > 0) & (near < far) & (table[:, [4, 9, 14]] > 0).all(1)
    if not ordered.all():
        rule = "Rows of poses_bounds.npy have a positive height, width and focal, and 0 < near < far"
        raise InputError(f"{rule}, row {ordered.argmin()} of {file} has not; make it anew.")
    return table


def reduced_folders(folder: Path) -> dict[int, Path]:
    """The folders of reduced photographs by their factors, from the largest photographs on."""
    found = {int(match[1]): entry for entry in folder.iterdir() if (match := re.fullmatch(r"images_(\d+)", entry.name))}
    return {factor: found[factor] for factor in sorted(found) if found[factor].is_dir()}


def image_folder(folder: Path, downscale: int | None, views: int) -> Path:
    """The folder of photographs reduced by a factor, made if it is not there but the whole ones are.

    Raises: InputError if there are no photographs to be had, or if what is made cannot be written.
    """
    whole, reduced = folder / "images", reduced_folders(folder)
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
    check_count(photographs_in(whole), views)
    return make_reduced(whole, folder / f"images_{downscale}", downscale)


def make_reduced(whole: Path, target: Path, factor: int) -> Path:
    """Write all photographs of a folder reduced by a factor to another, which appears when it is complete.

    Raises: InputError if one cannot be read, or if the folder cannot be written.
    """
    photographs = PhotographFiles(photographs_in(whole), factor=factor)
    photographs.size()
    try:
        with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as aside:
            draft = Path(aside) / target.name
            draft.mkdir()
            for view, file in enumerate(photographs.files):
                Image.fromarray(photographs(view)).save(draft / f"{file.stem}.png")
            os.replace(draft, target)
    except OSError as error:
        if not target.is_dir():  # else another run was faster
            rule = f"Reduced photographs are kept in {target}"
            raise InputError(
                f"{rule}, which cannot be written: {error.strerror}; copy the capture to a folder of yours."
            ) from error
    return target


def check_count(files: tuple[Path, ...], poses: int) -> None:
    """Refuse photographs that are not one for each pose."""
    if len(files) != poses:
        rule = "poses_bounds.npy must have a row for each photograph"
        raise InputError(f"{rule}, it has {poses} for {len(files)} in {files[0].parent}; remove what has no counterpart.")
    if poses < 3:
        raise InputError(f"A capture needs at least 3 photographs, 2 to train on and 1 to test, got {poses}; add some.")


def check_proportions(table: np.ndarray, size: tuple[int, int], files: tuple[Path, ...]) -> None:
    """Refuse photographs that cannot be those of the cameras, being turned or cropped, but for what reducing cuts off."""
    heights, widths = table[:, 4], table[:, 9]
    off = np.abs(size[0] - size[1] * heights / widths) > np.maximum(1, heights / widths) + CROPPED * size[0]
    if off.any():
        row = int(off.argmax())
        rule = "Photographs must have the proportions of their cameras"
        found = f"{files[row]} has {size[0]} x {size[1]} pixels for {heights[row]:g} x {widths[row]:g}"
        raise InputError(f"{rule}, {found} in poses_bounds.npy; turn or resize all of them.")


def cameras(table: np.ndarray, size: tuple[int, int], pixel_centre: float) -> tuple[np.ndarray, np.ndarray]:
    """Poses in the world and intrinsics, for photographs of a size.

    Shapes: table (views, 17) -> (views, 3, 4) and (views, 4)
    """
    down, right, back, position, (_, widths, focal) = table[:, :15].reshape(-1, 3, 5).transpose(2, 1, 0)
    poses = np.stack([right, -down, back, position], 0).transpose(2, 1, 0)
    focal = np.broadcast_to((focal * size[1] / widths)[:, None], (len(table), 2))
    return poses, pinhole(focal, np.full((len(table), 2), size) / 2, pixel_centre)


def surround(poses: np.ndarray) -> np.ndarray:
    """The frame of cameras around a scene: its middle is where they look, up is where they are, a unit is their distance.

    Shapes: (views, 3, 4) -> (4, 4)
    """
    centre = meeting_point(poses)
    away = poses[:, :, 3] - centre
    distance = np.sqrt(np.square(away).sum(-1).mean())
    up = away.mean(0)
    if np.linalg.norm(up) < PARALLEL * distance:  # they are all around
        up = poses[:, :, 1].mean(0)
    return similarity(distance, facing(centre, up, np.array([0.0, 1.0, 0.0])))


def world_of(poses: np.ndarray, unit: float, recentre: bool, spherify: bool) -> np.ndarray:
    """What leads from the scene to the world (4, 4), a unit of the scene before anything else being `unit` of the world."""
    world = similarity(unit)
    if spherify:
        return world @ surround(into_scene(poses, world))
    return world @ similarity(1.0, average_pose(into_scene(poses, world))) if recentre else world


def film(poses: np.ndarray, near: float, far: float, spherify: bool, frames: int) -> np.ndarray:
    """Poses of a closed path: around the scene, or before it as wide as the cameras stood.

    Shapes: poses (views, 3, 4) -> (frames, 3, 4)
    """
    if spherify:
        return orbit(frames, float(np.hypot(*poses[:, :2, 3].T).mean()), float(poses[:, 2, 3].mean()))
    middle = average_pose(poses)
    aside = np.abs(into_scene(poses, similarity(1.0, middle))[:, :, 3])
    depth = 1 / ((1 - BEYOND) / near + BEYOND / far)
    return spiral(frames, middle, np.percentile(aside, 90, axis=0), depth)


def read_llff(
    root: str | Path,
    downscale: int | None = None,
    hold_every: int = 8,
    ndc: bool = True,
    spherify: bool = False,
    recentre: bool = True,
    bound_factor: float | None = 0.75,
    pixel_centre: float = 0.5,
) -> Capture:
    """A capture in the layout of LLFF.

    Photographs are those of images_<downscale>, made once from images if they are not there; null: those of images, or the
    largest there are. Every `hold_every`-th view tests. The scene is scaled so that the nearest depth is 1 / `bound_factor`
    (null: as in the file), and put around the average pose if `recentre`. With `ndc` its rays go through normalised device
    coordinates, as is right for cameras that look the same way. `spherify` is for cameras around what they look at: the scene
    is put there, z up, the root mean square distance of cameras 1, without ndc. `pixel_centre` is where in its pixel a ray
    passes, 0 in published code.

    Units:  near and far in units of the scene; with ndc 0 and 1.
    Raises: InputError for a folder of another layout, an array of another shape or with singular poses, photographs that are
            unreadable, of different sizes, fewer than 3, or not one for each pose.
    Source: Mildenhall et al., Local Light Field Fusion (2019); NeRF (2020), appendix C and the published code.
    """
    check_options(downscale, pixel_centre)
    check_positive(bound_factor=bound_factor)
    folder = existing_folder("root", str(root))
    table = read_table(folder)
    files = photographs_in(image_folder(folder, downscale, len(table)))
    check_count(files, len(table))
    photographs, names = PhotographFiles(files), tuple(file.stem for file in files)
    size = photographs.size()
    check_proportions(table, size, files)
    poses, intrinsics = cameras(table, size, pixel_centre)
    check_poses(names, poses)
    nearest, furthest = table[:, -2].min(), table[:, -1].max()
    world = world_of(poses, 1.0 if bound_factor is None else nearest * bound_factor, recentre, spherify)
    poses, through = into_scene(poses, world), ndc and not spherify
    near, far = float(nearest / scale_of(world)), float(furthest / scale_of(world))
    split = every(len(names), hold_every)
    focal_row, focal_column = intrinsics[0, :2]
    return Capture(
        names=names,
        size=size,
        read=photographs,
        poses=poses,
        intrinsics=intrinsics,
        train=split[0],
        test=split[1],
        near=0.0 if through else BEFORE * near,
        far=1.0 if through else far,
        ndc=(float(2 * focal_row / size[0]), float(2 * focal_column / size[1])) if through else None,
        box=False,
        background=(0.0, 0.0, 0.0),
        path=partial(film, poses, near, far, spherify),
        world=world,
    )
