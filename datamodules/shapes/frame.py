"""Where a shape of any size, place and pose lies in the cube [-1, 1]^3, and the way back to its file."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from inr.errors import InputError

UPRIGHT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Frame:
    """A point of a file is centre + scale * rotation^T times the point of the cube; the rows of `rotation` are its axes."""

    centre: tuple[float, ...]
    scale: float
    rotation: tuple[tuple[float, ...], ...] = UPRIGHT

    def describe(self) -> dict[str, Any]:
        """The frame as options of `inr.measurements.pointwise.Points`."""
        rotation = None if self.rotation == UPRIGHT else [list(row) for row in self.rotation]
        return {"centre": list(self.centre), "scale": self.scale, "rotation": rotation}

    def turn(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors (vectors, 3) of the file, such as normals, as seen in the cube; their lengths stay."""
        return vectors if self.rotation == UPRIGHT else vectors @ np.array(self.rotation).T

    def turn_back(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors (vectors, 3) of the cube as seen in the file; their lengths stay."""
        return vectors if self.rotation == UPRIGHT else vectors @ np.array(self.rotation)

    def to_unit(self, points: np.ndarray) -> np.ndarray:
        """Points (points, 3) of the file in the cube."""
        return self.turn((points - np.array(self.centre)) / self.scale)

    def to_file(self, points: np.ndarray) -> np.ndarray:
        """Points (points, 3) of the cube in the file."""
        return self.scale * self.turn_back(points) + np.array(self.centre)


def principal_axes(points: np.ndarray) -> np.ndarray:
    """A rotation whose rows are the directions of largest, middle and least spread; the far tail is on the positive side.

    Shapes: points (points, 3), centred and about 1 in size.
    """
    axes = np.linalg.eigh(points.T @ points)[1].T[::-1]
    along = points @ axes.T
    tail = (along**3).mean(0) / (along**2).mean(0).clip(1e-30) ** 1.5
    largest = np.take_along_axis(axes, abs(axes).argmax(1, keepdims=True), 1)[:, 0]
    axes = axes * np.where(np.where(abs(tail) > 1e-6, tail, largest) < 0, -1.0, 1.0)[:, None]  # no tail: any definite sign
    axes[2] = np.cross(axes[0], axes[1])
    return axes


def frame_of(points: np.ndarray, fill: float = 0.9, align: bool = False) -> Frame:
    """The frame that centres the bounding box of points (points, 3) and makes its longest side 2 * fill.

    With `align` they are first turned to their principal axes, the largest spread along x.

    Raises: InputError if fill is not in (0, 1], or all points are one.
    """
    if not 0 < fill <= 1:
        raise InputError(f"data.fill, the part of the cube that a shape takes, must be above 0 and at most 1, got {fill}.")
    points = np.asarray(points, np.float64)
    low, high = points.min(0), points.max(0)
    with np.errstate(over="ignore"):  # refused as infinite
        middle, size = low / 2 + high / 2, float((high - low).max())
    if not 0 < size < np.inf:
        raise InputError(f"A shape must have an extent, finite and not 0, got {size} around {middle.tolist()}; choose another.")
    rotation = np.eye(3)
    if align:
        near = (points - middle) / size  # so that no power of a very large or small number overflows
        rotation = principal_axes(near - near.mean(0))
        turned = near @ rotation.T
        low, high = turned.min(0), turned.max(0)
        middle, size = middle + size * (low / 2 + high / 2) @ rotation, size * float((high - low).max())
    return Frame(tuple(middle.tolist()), size / (2 * fill), tuple(map(tuple, rotation.tolist())))
