"""Poses of cameras: their average, the point they look at, and closed paths for films.

A pose (3, 4) leads from a camera to the scene: its columns are right, up, backwards and the position.
"""

import numpy as np
from numpy.typing import ArrayLike

from inr.errors import InputError

TURNS = 2  # rounds of a spiral while it goes forwards and backwards once
PARALLEL = 1e-6  # sine of an angle below which two directions count as one


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors (..., 3) to length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def look_at(positions: ArrayLike, target: ArrayLike, up: ArrayLike = (0.0, 0.0, 1.0)) -> np.ndarray:
    """Return poses of cameras that look at a target, upright as far as that goes.

    Shapes: positions (frames, 3); target and up (3,) or (frames, 3) -> (frames, 3, 4)
    """
    places = np.asarray(positions, np.float64)
    return facing(places, places - np.asarray(target, np.float64), np.asarray(up, np.float64))


def facing(positions: np.ndarray, backwards: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Return poses at positions, with their backs in a direction of any length."""
    # The axes are right-handed, right x up = backwards, so right = up x backwards, and up made square to both.
    back = unit_vectors(backwards)
    right = np.cross(unit_vectors(up), back)
    upright = np.linalg.norm(right, axis=-1, keepdims=True) > PARALLEL
    # A camera that looks along `up` is upright in no direction: the axis that it is least along gives it some right.
    aside = np.cross(np.eye(3)[np.abs(back).argmin(-1)], back)
    right = unit_vectors(np.where(upright, right, aside))
    return np.stack([right, np.cross(back, right), back, positions], -1)


def orbit(frames: int, radius: float, height: float, target: ArrayLike = (0.0, 0.0, 0.0)) -> np.ndarray:
    """Return poses on a level circle above a target, which they look at; z is up.

    Shapes: target (3,) -> (frames, 3, 4)
    """
    angles = 2 * np.pi * np.arange(frames) / frames
    circle = np.stack([radius * np.cos(angles), radius * np.sin(angles), np.full(frames, height)], -1)
    return look_at(circle + np.asarray(target), target)


def spiral(frames: int, middle: np.ndarray, radii: ArrayLike, depth: float, turns: int = TURNS) -> np.ndarray:
    """Return poses on ellipses in the image plane of a middle pose, all looking at the point at a depth before it.

    Shapes: middle (3, 4), radii (3,) to the right, up and backwards -> (frames, 3, 4)
    Source: Mildenhall et al., Local Light Field Fusion (2019), the rendered paths.
    """
    # One slow wave forwards and backwards while the cameras go round `turns` times: a whole number closes the path.
    angles = 2 * np.pi * turns * np.arange(frames) / frames
    steps = np.stack([np.cos(angles), -np.sin(angles), -np.sin(angles / turns)], -1) * np.asarray(radii)
    turn = middle[:, :3]
    place = middle[:, 3]
    return look_at(place + steps @ turn.T, place - depth * turn[:, 2], turn[:, 1])


def average_pose(poses: np.ndarray) -> np.ndarray:
    """Return the mean position, the mean direction, and the mean up as far as it is across that.

    Shapes: (views, 3, 4) -> (3, 4)
    Raises: InputError if the cameras look in all directions, so that there is no mean.
    Source: Mildenhall et al., NeRF (2020), the published code for forward facing captures.
    """
    # The mean of rotations is none; the mean of their backs is a direction, and a rotation is built around it anew.
    mean = poses.mean(0)
    if np.linalg.norm(mean[:, 2]) < PARALLEL:
        raise InputError("An average pose is that of cameras that look the same way, these look all ways; set spherify=true.")
    return facing(mean[:, 3], mean[:, 2], mean[:, 1])


def meeting_point(poses: np.ndarray) -> np.ndarray:
    """Return the point nearest to all optical axes, by the sum of squares; of parallel ones, that nearest to the cameras.

    Shapes: (views, 3, 4) -> (3,)
    """
    axes = poses[:, :, 2]
    positions = poses[:, :, 3]
    # The squared distance of x from the axis a through p is |P (x - p)|^2 with the projection P = 1 - a a^T across the axis.
    # The gradient of their sum vanishes where (sum P) x = sum P p. Parallel axes leave a line of such x: least squares from
    # the middle of the cameras takes the one nearest to it.
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]  # (views, 3, 3)
    middle = positions.mean(0)
    pulls = (across @ (positions - middle)[:, :, None]).sum(0)[:, 0]
    return middle + np.linalg.lstsq(across.sum(0), pulls, rcond=PARALLEL)[0]
