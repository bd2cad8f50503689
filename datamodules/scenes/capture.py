"""Photographs of a scene and their cameras, and the steps that the readers of all layouts share."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from datamodules.common.files import require
from datamodules.common.pictures import colour_of
from inr.errors import InputError
from inr.measurements.lenses import NUMBERS
from inr.measurements.rays import box_interval, camera_rays

LOOKS = 5  # rays along each side of a photograph that are followed to see if they meet the scene


@dataclass(frozen=True)
class Capture:
    """Photographs of a scene, and the cameras that took them.

    poses: lead from cameras to the scene: right, up, backwards (a camera looks along minus its third axis), position.
    intrinsics: focal lengths and the point on the optical axis, where coordinate k is the centre of pixel k [pixels].
    train, test: views; some may be in neither.
    near, far: depths between which rays are sampled, along the optical axis [scene units; with ndc 0 and 1].
    sizes: rows and columns of each photograph, in the upper left corner of what is read; None: all of it.
    shown: gives the pixels of a view that train and are scored; None: all of them.
    ndc: 2 focal_row / rows and 2 focal_column / columns where rays are to go through normalised device coordinates, whose
        near plane is at depth 1; None: they are not.

    Shapes: read (rows, columns, 3); shown (rows, columns); poses (views, 3, 4); intrinsics (views, 4) = (focal_row,
            focal_column, centre_row, centre_column), or (views, 11) with the numbers of a lens as `camera_rays` takes them;
            path (frames, 3, 4); world (4, 4), a similarity.
    Raises: InputError if names repeat, if fewer than 2 views train or none tests, if a view does both, if near is not
            before far, or if the rays of most cameras miss the cube.
    """

    names: tuple[str, ...]  # of the views, unique, in the order of the format
    size: tuple[int, int]  # rows and columns of every photograph as `read` gives it
    read: Callable[[int], np.ndarray]  # gives the photograph of a view in bytes
    poses: np.ndarray
    intrinsics: np.ndarray
    train: tuple[int, ...]
    test: tuple[int, ...]
    near: float
    far: float
    path: Callable[[int], np.ndarray]  # gives the poses of a closed camera path of as many frames as wanted
    world: np.ndarray  # leads from the scene to the coordinates of the file
    ndc: tuple[float, float] | None = None
    box: bool = False  # the scene lies in the cube [-1, 1]^3, so that rays are sampled there only
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of a ray that hits nothing, 0..1
    sizes: tuple[tuple[int, int], ...] | None = None
    shown: Callable[[int], np.ndarray] | None = None

    def __post_init__(self) -> None:
        count = len(self.names)
        if self.poses.shape != (count, 3, 4) or self.intrinsics.shape not in ((count, 4), (count, 4 + NUMBERS)):
            shapes = f"poses {self.poses.shape} and intrinsics {self.intrinsics.shape}"
            raise ValueError(f"Poses are (views, 3, 4) and intrinsics (views, 4 or 11), got {shapes} of {count} views.")
        name, uses = Counter(self.names).most_common(1)[0] if count else ("", 0)
        if uses > 1:
            raise InputError(f"Names of views must be unique, {name} is there {uses} times; rename or remove the others.")
        check_split(self.names, self.train, self.test)
        if not 0 <= self.near < self.far < float("inf"):
            raise InputError(f"Depths must be 0 <= near < far, got near={self.near:g} and far={self.far:g}; correct them.")
        missed = [] if not self.box else [view for view in self.train if not self.meets(view)]
        if 2 * len(missed) > len(self.train):
            rule = "Rays must meet the cube of the scene (data.bound) between near and far"
            found = f"{len(missed)} of {len(self.train)} training views see nothing of it, such as {self.names[missed[0]]}"
            raise InputError(f"{rule}, {found}; correct data.bound, data.near and data.far.")

    def size_of(self, view: int) -> tuple[int, int]:
        """Return rows and columns of the photograph of a view."""
        return self.size if self.sizes is None else self.sizes[view]

    def meets(self, view: int) -> bool:
        """Tell if some rays of a view meet the cube [-1, 1]^3 between near and far."""
        sides = [torch.linspace(0, side - 1, LOOKS, dtype=torch.float64) for side in self.size_of(view)]
        pose, intrinsics = (torch.from_numpy(array[view])[None] for array in (self.poses, self.intrinsics))
        enters, leaves = box_interval(*camera_rays(torch.cartesian_prod(*sides), pose, intrinsics), self.near, self.far)
        return bool((leaves > enters).any())


def backdrop(background: str | Sequence[float]) -> tuple[float, float, float]:
    """Return a colour, given its name or its three parts, 0..1."""
    red, green, blue = map(float, colour_of(background))
    return red, green, blue


def hold_out_every(count: int, step: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return views to train on and to test: every step-th tests, from the first on.

    Raises: InputError for a step that leaves nothing to train on.
    """
    rule = "must be a whole number of views, at least 2"
    require("hold_every", isinstance(step, int) and step >= 2, rule, step, "8 is usual")
    test = tuple(range(0, count, step))
    return tuple(view for view in range(count) if view % step), test


def check_split(names: Sequence[str], train: Sequence[int], test: Sequence[int]) -> None:
    """Refuse a split that leaves too little to train on or nothing to test, or that shows what it tests."""
    both = sorted(set(train) & set(test))
    if both:
        raise InputError(f"A view trains or tests, {names[both[0]]} does both; take it from one of the lists.")
    if len(train) < 2 or len(test) < 1:
        found = f"got {len(train)} and {len(test)} of {len(names)} photographs"
        raise InputError(f"A capture needs at least 2 views to train on and 1 to test, {found}; add some, or split otherwise.")


def require_lengths(downscale: int | None, **lengths: float | None) -> None:
    """Raise InputError for a downscale that is no whole factor, and the first length that is given and not positive."""
    whole = downscale is None or (isinstance(downscale, int) and downscale >= 1)
    require("downscale", whole, "must be a whole factor, at least 1", downscale, "1 keeps photographs as they are")
    for name, value in lengths.items():
        require(name, value is None or 0 < value < float("inf"), "must be a positive number", value, "correct it")


def rays(pose: np.ndarray, intrinsics: np.ndarray, coordinates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return origins and directions of the rays of a view; a direction has length 1 along the optical axis.

    Shapes: pose (3, 4), intrinsics (4,), coordinates (..., 2) = (row, column) -> (3,) and (..., 3)
    """
    # `inr.measurements.rays.camera_rays` is the same for tensors: a generated scene is rendered in float64, before training.
    down, right = np.moveaxis((coordinates - intrinsics[2:]) / intrinsics[:2], -1, 0)
    return pose[:, 3], np.stack([right, -down, -np.ones_like(down)], -1) @ pose[:, :3].T


def similarity(scale: float = 1.0, frame: np.ndarray | None = None) -> np.ndarray:
    """Return the matrix (4, 4) that enlarges by a scale and then goes by a pose (3, 4)."""
    # Nothing but a similarity takes scenes to worlds: lines stay lines, and one number turns depths into those of the file.
    pose = np.eye(3, 4) if frame is None else frame
    return np.vstack([np.column_stack([scale * pose[:, :3], pose[:, 3]]), [0.0, 0.0, 0.0, 1.0]])


def scale_of(world: np.ndarray) -> float:
    """Return the length of a unit of the scene in the world."""
    return float(np.cbrt(np.linalg.det(world[:3, :3])))  # det (scale R) = scale^3 of a rotation R


def into_scene(poses: np.ndarray, world: np.ndarray) -> np.ndarray:
    """Take poses (views, 3, 4) of the world to the scene from which `world` leads there."""
    # world: x -> scale R x + t, so positions p go back by R^T (p - t) / scale, and the axes of cameras by R^T alone.
    turn = world[:3, :3] / scale_of(world)
    positions = (poses[:, :, 3] - world[:3, 3]) @ turn / scale_of(world)
    return np.concatenate([turn.T @ poses[:, :, :3], positions[:, :, None]], -1)
