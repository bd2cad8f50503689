"""Poses of photographs as files give them: checked, made exact, and which way the cameras look.

A pose (3, 4) leads from a camera to the world: its columns are right, up, backwards and the position.
"""

import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np

from datamodules.scenes.camera_paths import meeting_point
from inr.errors import InputError

ORTHONORMAL = 1e-3  # largest entry of R^T R - 1 of a rotation, which files round to four digits
ROUNDED = 0.03  # largest relative difference of the lengths of axes that are put right: two digits
ASIDE = 0.7  # cosine of the angle to the mean direction from which on cameras do not look the same way: 45 degrees
CONVERGING = 1e-3  # mean square of the sine of angles between axes below which they are as good as parallel
Looking = Literal["forward", "inward", "outward"]


def rotations(names: Sequence[str], poses: np.ndarray) -> np.ndarray:
    """Return poses (views, 3, 4) with rotations in their first three columns, with a warning if many digits were missing.

    A scale of the axes is taken off, positions stay as they are.

    Raises: InputError naming the first view whose pose is none, and for cameras that all stand at one point.
    """
    # R is a rotation where R^T R = 1 and det R > 0. Broken numbers become zeros, which no scale makes a rotation of.
    whole = np.where(np.isfinite(poses).all((1, 2), keepdims=True), poses, 0.0)
    left, stretch, right = np.linalg.svd(whole[:, :, :3])
    nearest = left @ right  # in the sum of squares: the orthogonal factor of the polar decomposition
    skew = np.ptp(stretch, axis=1) > ROUNDED * stretch.max(1)
    singular = skew | (stretch.max(1) == 0) | (np.linalg.det(nearest) <= 0)
    if singular.any():
        name = names[int(singular.argmax())]
        rule = "A pose must be a rotation and a position"
        raise InputError(f"{rule}, {name} has a singular pose (or a mirrored or skewed one); remove that view.")
    if len(poses) > 1 and not np.ptp(poses[:, :, 3], axis=0).any():
        raise InputError(f"Cameras must stand apart, all {len(poses)} stand at one point; a scene has no depth from there.")
    rough = 2 * np.abs(stretch - 1).max(1) > ORTHONORMAL  # the square of 1 + e is 1 + 2 e
    if rough.any():
        found = f"those of {rough.sum()} of {len(poses)} views, such as {names[int(rough.argmax())]},"
        warnings.warn(f"Axes of a pose have length 1 and right angles; {found} do not and are made orthonormal.", stacklevel=3)
        poses = np.concatenate([np.where(rough[:, None, None], nearest, poses[:, :, :3]), poses[:, :, 3:]], -1)
    return poses


def looking(poses: np.ndarray) -> Looking:
    """Tell cameras that look the same way from those around what they look at, and from those that look around.

    Shapes: (views, 3, 4)
    """
    backs = poses[:, :, 2]
    mean = backs.mean(0)
    if (backs @ mean).min() > ASIDE * np.linalg.norm(mean):
        return "forward"
    return "inward" if before(poses) > 0.5 else "outward"


def depths_of(poses: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Return the depth of a point in each view, along its optical axis."""
    return ((poses[:, :, 3] - point) * poses[:, :, 2]).sum(-1)


def before(poses: np.ndarray) -> float:
    """Return the share of cameras that have the point where their axes meet before them; 0 of axes that do not meet."""
    axes = poses[:, :, 2]
    # The least eigenvalue of the mean of a a^T is 0 for axes in a plane; the largest is 1 where all are parallel.
    parallel = 1 - np.linalg.eigvalsh(axes.T @ axes / len(axes))[-1] < CONVERGING
    return 0.0 if parallel else float((depths_of(poses, meeting_point(poses)) > 0).mean())


def check_depths(poses: np.ndarray, near: float, far: float) -> None:
    """Refuse depths between which most cameras around a scene do not have the point that all of them look at.

    Units: those of the poses (views, 3, 4).
    """
    if near >= far or looking(poses) != "inward":
        return
    depths = depths_of(poses, meeting_point(poses))
    outside = (depths <= near) | (depths >= far)
    if outside.mean() > 0.5:
        rule = "Rays must reach from near to far through the scene"
        found = f"cameras look at a point {depths.min():.3g} to {depths.max():.3g} before them, got {near:g} to {far:g}"
        raise InputError(f"{rule}, {found}; correct data.near and data.far [units of the file].")
