"""Photographs of a scene and their cameras, and the steps that the readers of all layouts share."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from datamodules.common.files import files_below, require
from datamodules.common.pictures import DAMAGE, colour_of, flatten_alpha
from inr.errors import InputError

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
ORTHONORMAL = 1e-3  # largest entry of R^T R - 1 of a rotation, which files round to four digits


@dataclass(frozen=True)
class Capture:
    """Photographs of a scene, and the cameras that took them.

    poses: lead from cameras to the scene: right, up, backwards (a camera looks along minus its third axis), position.
    intrinsics: focal lengths and the point on the optical axis, where coordinate k is the centre of pixel k [pixels].
    train, test: views; some may be in neither.
    near, far: depths between which rays are sampled, along the optical axis [scene units; with ndc 0 and 1].
    ndc: 2 focal_row / rows and 2 focal_column / columns where rays are to go through normalised device coordinates, whose
        near plane is at depth 1; None: they are not.

    Shapes: read (rows, columns, 3); poses (views, 3, 4); intrinsics (views, 4) = (focal_row, focal_column, centre_row,
            centre_column); path (frames, 3, 4); world (4, 4), a similarity.
    Raises: InputError if names repeat, if fewer than 2 views train or none tests, if a view does both, or if near is not
            before far.
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

    def __post_init__(self) -> None:
        count = len(self.names)
        if self.poses.shape != (count, 3, 4) or self.intrinsics.shape != (count, 4):
            shapes = f"poses {self.poses.shape} and intrinsics {self.intrinsics.shape}"
            raise ValueError(f"Poses are (views, 3, 4) and intrinsics (views, 4), got {shapes} of {count} views.")
        name, uses = Counter(self.names).most_common(1)[0] if count else ("", 0)
        if uses > 1:
            raise InputError(f"Names of views must be unique, {name} is there {uses} times; rename or remove the others.")
        check_split(self.names, self.train, self.test)
        if not 0 <= self.near < self.far < float("inf"):
            raise InputError(f"Depths must be 0 <= near < far, got near={self.near:g} and far={self.far:g}; correct them.")


@dataclass(frozen=True)
class PhotographFiles:
    """Files by their views: a call reads one as bytes, without transparency, reduced by a whole factor.

    Shapes: view -> (rows, columns, 3)
    Raises: InputError if a file cannot be read.
    """

    files: tuple[Path, ...]
    background: tuple[float, ...] = (0.0, 0.0, 0.0)
    factor: int = 1

    def __call__(self, view: int) -> np.ndarray:
        """Read the photograph of a view."""
        # Pixels stay as they are stored: a tag that asks to turn a photograph is not followed, as the programs that find
        # cameras do not follow it either.
        file = self.files[view]
        try:
            with Image.open(file) as image:
                if image.mode[0] in "IF":  # numbers that are no bytes would be cut at 255
                    raise InputError(f"A photograph must have 8 bits per channel, {file} is of mode {image.mode}; convert it.")
                array = np.array(image.convert("RGBA" if image.has_transparency_data else "RGB"))
        except DAMAGE as error:
            raise unreadable(file, error) from error
        return shrink(flatten_alpha(array, self.background), self.factor)

    def stored_size(self) -> tuple[int, int]:
        """Return rows and columns of all files, which only have their headers read.

        Raises: InputError if one cannot be read, if they differ, or if the factor leaves nothing of them.
        """
        # Many photographs take long to decode, their headers a moment: a wrong one is refused before training.
        sizes = [stored_size(file) for file in self.files]
        rows, columns = sizes[0]
        for file, size in zip(self.files, sizes, strict=True):
            if size != sizes[0]:
                found = f"{self.files[0]} has {rows} x {columns} and {file.name} has {size[0]} x {size[1]}"
                raise InputError(f"Photographs must be of one size, {found} pixels; resize or remove them.")
        rule = f"must leave pixels of {rows} x {columns}"
        require("downscale", self.factor <= min(rows, columns), rule, self.factor, "choose a smaller one")
        return rows, columns

    def size(self) -> tuple[int, int]:
        """Return rows and columns of what is read."""
        rows, columns = self.stored_size()
        return rows // self.factor, columns // self.factor


def unreadable(file: Path, error: Exception) -> InputError:
    """Make the error about a file that is no photograph."""
    if isinstance(error, InputError):
        return error
    if isinstance(error, FileNotFoundError):
        return InputError(f"Photographs must be there, {file} is missing; add it, or leave its view out.")
    reason = " ".join(str(error).split()).rstrip(".")
    return InputError(f"A photograph must be a whole picture (png, jpeg, ...), {file} is not: {reason}; copy it anew.")


def stored_size(file: Path) -> tuple[int, int]:
    """Read rows and columns from the header of a file."""
    try:
        with Image.open(file) as image:
            return image.height, image.width
    except DAMAGE as error:
        raise unreadable(file, error) from error


def photographs_in(folder: Path) -> tuple[Path, ...]:
    """Return the photographs of a folder, sorted by name.

    Raises: InputError if there are none.
    """
    rule = "A folder of photographs must hold some"
    return tuple(files_below(folder, ENDINGS, rule, subfolders=False, remedy="add them").values())


def backdrop(background: str | Sequence[float]) -> tuple[float, float, float]:
    """Return a colour, given its name or its three parts, 0..1."""
    red, green, blue = map(float, colour_of(background))
    return red, green, blue


def shrink(image: np.ndarray, factor: int) -> np.ndarray:
    """Take the means of squares of pixels; rows and columns that fill no square are cut off.

    Shapes: (rows, columns, 3) -> (rows // factor, columns // factor, 3), bytes.
    """
    if factor == 1:
        return image
    # `reduce` takes the mean of each square alone; resampling filters would mix neighbours into it.
    rows, columns = (side // factor * factor for side in image.shape[:2])
    return np.array(Image.fromarray(image).reduce(factor, (0, 0, columns, rows)))


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


def check_poses(names: Sequence[str], poses: np.ndarray) -> None:
    """Refuse poses (views, 3, 4) whose first three columns are no rotation, and cameras that all stand at one point.

    Raises: InputError naming the first such view.
    """
    # R is a rotation where R^T R = 1 and det R > 0. Broken numbers become zeros, and huge ones are clipped, so that neither
    # warns in a product; both stay far from a rotation.
    whole = np.where(np.isfinite(poses).all((1, 2), keepdims=True), poses, 0.0)
    turns = whole[:, :, :3].clip(-2, 2)
    skew = np.abs(turns.swapaxes(1, 2) @ turns - np.eye(3)).max((1, 2))
    singular = (skew > ORTHONORMAL) | (np.linalg.det(turns) <= 0)
    if singular.any():
        name = names[int(singular.argmax())]
        raise InputError(f"A pose must be a rotation and a position, {name} has a singular pose; remove that view.")
    if len(poses) > 1 and not np.ptp(poses[:, :, 3], axis=0).any():
        raise InputError(f"Cameras must stand apart, all {len(poses)} stand at one point; a scene has no depth from there.")


def require_lengths(downscale: int | None, **lengths: float | None) -> None:
    """Raise InputError for a downscale that is no whole factor, and the first length that is given and not positive."""
    whole = downscale is None or (isinstance(downscale, int) and downscale >= 1)
    require("downscale", whole, "must be a whole factor, at least 1", downscale, "1 keeps photographs as they are")
    for name, value in lengths.items():
        require(name, value is None or 0 < value < float("inf"), "must be a positive number", value, "correct it")


def pinhole(focal: np.ndarray, centre: np.ndarray, pixel_centre: float, factor: float = 1.0) -> np.ndarray:
    """Return intrinsics of photographs reduced by a factor, from those of the whole ones, whose left and upper edges are 0.

    Shapes: focal and centre (views, 2) for rows and columns -> (views, 4)
    """
    # A pinhole sees the point (x, y, -1) of its own axes at column focal x + centre. Pixel k of a reduced photograph reaches
    # from k to k + 1, and its ray passes at k + pixel_centre: in indices of pixels the optical axis is that much further left.
    return np.concatenate([focal / factor, centre / factor - pixel_centre], -1)


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
