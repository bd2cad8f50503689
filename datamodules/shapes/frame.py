"""Frames: size, place and pose of a shape in its file relative to the cube [-1, 1]^3."""

from dataclasses import dataclass

import numpy as np

from datamodules.common.files import require
from inr.errors import InputError

UPRIGHT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
SKEWED = 1e-6  # skewness of points along an axis, below which its sign is rounding
LEAST_VARIANCE = 1e-30  # divides: points in a plane have none across it


@dataclass(frozen=True)
class Frame:
    """A similarity between the cube and a file: point of the file = centre + scale * rotation^T @ point of the cube.

    centre, scale: of the cube in the file, in the file's unit of length; the scale is half a side.
    """

    centre: tuple[float, ...]
    scale: float
    rotation: tuple[tuple[float, ...], ...] = UPRIGHT  # its rows are the axes of the cube, as seen in the file

    def describe(self) -> dict[str, object]:
        """Return the frame as options of `inr.measurements.pointwise.Points`."""
        rotation = None if self.rotation == UPRIGHT else [list(row) for row in self.rotation]
        return {"centre": list(self.centre), "scale": self.scale, "rotation": rotation}

    def turn(self, vectors: np.ndarray) -> np.ndarray:
        """Take vectors (vectors, 3) of the file, such as normals, to the cube; their lengths stay."""
        return vectors if self.rotation == UPRIGHT else vectors @ np.array(self.rotation).T

    def turn_back(self, vectors: np.ndarray) -> np.ndarray:
        """Take vectors (vectors, 3) of the cube to the file; their lengths stay."""
        return vectors if self.rotation == UPRIGHT else vectors @ np.array(self.rotation)

    def to_unit(self, points: np.ndarray) -> np.ndarray:
        """Take points (points, 3) of the file to the cube."""
        return self.turn((points - np.array(self.centre)) / self.scale)

    def to_file(self, points: np.ndarray) -> np.ndarray:
        """Take points (points, 3) of the cube to the file."""
        return self.scale * self.turn_back(points) + np.array(self.centre)


def principal_axes(points: np.ndarray) -> np.ndarray:
    """Return the rotation whose rows are the directions of largest, middle and least variance.

    Shapes: points (points, 3), centred and about 1 in size -> (3, 3)
    """
    axes = np.linalg.eigh(points.T @ points)[1].T[::-1]  # eigh sorts upwards
    # Eigenvectors have no sign of their own. Skewness has, and follows the shape however it is turned: its far tail goes to
    # the positive side. Where it vanishes, by symmetry, the largest component is made positive: any definite sign will do.
    along = points @ axes.T
    skewness = (along**3).mean(0) / (along**2).mean(0).clip(LEAST_VARIANCE) ** 1.5
    largest = np.take_along_axis(axes, abs(axes).argmax(1, keepdims=True), 1)[:, 0]
    axes = axes * np.where(np.where(abs(skewness) > SKEWED, skewness, largest) < 0, -1.0, 1.0)[:, None]
    axes[2] = np.cross(axes[0], axes[1])  # a rotation, never a mirror
    return axes


def frame_of(points: np.ndarray, fill: float = 0.9, align: bool = False) -> Frame:
    """Return the frame that centres the bounding box of points (points, 3) and makes its longest side 2 * fill.

    With `align` they are first turned to their principal axes, the direction of largest variance along x.

    Raises: InputError if fill is not in (0, 1], or all points are one.
    """
    require("data.fill, the part of the cube that a shape takes,", 0 < fill <= 1, "must be above 0 and at most 1", fill)
    points = np.asarray(points, np.float64)
    low = points.min(0)
    high = points.max(0)
    with np.errstate(over="ignore"):  # refused as infinite
        middle = low / 2 + high / 2  # halves first: their sum may overflow
        size = float((high - low).max())
    if not 0 < size < np.inf:
        raise InputError(f"A shape must have an extent, finite and not 0, got {size} around {middle.tolist()}; choose another.")
    rotation = np.eye(3)
    if align:
        near = (points - middle) / size  # so that no power of a very large or small number overflows
        rotation = principal_axes(near - near.mean(0))
        turned = near @ rotation.T
        low = turned.min(0)
        high = turned.max(0)
        middle = middle + size * (low / 2 + high / 2) @ rotation
        size = size * float((high - low).max())
    return Frame(tuple(middle.tolist()), size / (2 * fill), tuple(map(tuple, rotation.tolist())))
