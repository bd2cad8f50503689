"""Lenses of cameras: intrinsics as rays read them, from focal lengths, centres and coefficients of distortion."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from inr.errors import InputError
from inr.measurements.lenses import distort, undistort

UNDISTORTED = 1e-9  # coefficients below move no pixel
STRAIGHT = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
CLOSE = 1e-3  # [pixels] by which a ray may miss its pixel
EDGE = 9  # places along each edge of a photograph that are looked at
UNDISTORT = "undistort the photographs first (colmap image_undistorter)"


@dataclass(frozen=True)
class Lens:
    """The lens of a photograph, whose left and upper edges are 0.

    Units:  focal and centre (row, column) in pixels; distortion k1, k2, k3, k4, p1, p2, and 1 for a fisheye, else 0.
    """

    focal: tuple[float, float]
    centre: tuple[float, float]
    distortion: tuple[float, ...] = STRAIGHT

    @property
    def bends(self) -> bool:
        """True if rays of the lens are not those of a pinhole."""
        return max(map(abs, self.distortion)) >= UNDISTORTED


def intrinsics_of(lenses: Sequence[Lens], pixel_centre: float, factor: float = 1.0) -> np.ndarray:
    """Return intrinsics of photographs that are reduced by a factor; with a distortion if any of them has one.

    Shapes: (views, 4), or (views, 11)
    """
    focal = np.array([lens.focal for lens in lenses])
    centre = np.array([lens.centre for lens in lenses])
    # Coefficients are those of a picture at focal length 1, which reducing leaves as it is.
    bent = [np.array([lens.distortion for lens in lenses])] if any(lens.bends for lens in lenses) else []
    return np.concatenate([pinhole(focal, centre, pixel_centre, factor), *bent], -1)


def pinhole(focal: np.ndarray, centre: np.ndarray, pixel_centre: float, factor: float = 1.0) -> np.ndarray:
    """Return intrinsics of photographs reduced by a factor, from those of the whole ones, whose left and upper edges are 0.

    Shapes: focal and centre (views, 2) for rows and columns -> (views, 4)
    """
    # A pinhole sees the point (x, y, -1) of its own axes at column focal x + centre. Pixel k of a reduced photograph reaches
    # from k to k + 1, and its ray passes at k + pixel_centre: in indices of pixels the optical axis is that much further left.
    return np.concatenate([focal / factor, centre / factor - pixel_centre], -1)


def check_lens(name: str, lens: Lens, size: tuple[int, int]) -> None:
    """Refuse a lens whose coefficients fold the photograph: near an edge, several rays or none would arrive at a pixel.

    Raises: InputError naming the photograph.
    """
    if not lens.bends:
        return
    # From the centre to the edge, the determinant of the derivative must not change its sign, nor the ray miss the pixel.
    places = np.stack(np.meshgrid(*[np.linspace(0, side, EDGE) for side in size], indexing="ij"), -1)
    shown = torch.from_numpy(((places - lens.centre) / lens.focal)[..., ::-1].copy())  # (row, column) to right and down
    numbers = torch.tensor(lens.distortion, dtype=torch.float64)
    points = undistort(shown, numbers)
    found, _ = distort(points, numbers)
    shares = torch.linspace(0, 1, EDGE, dtype=torch.float64)[:, None, None, None]
    _, slopes = distort(shares * points, numbers)
    xx, xy, yy = slopes.unbind(-1)
    whole = bool(((found - shown).abs() * max(lens.focal) < CLOSE).all() and (xx * yy > xy * xy).all())
    # Behind the camera nothing is seen, even by a fisheye.
    if not whole or (lens.distortion[-1] and float(points.norm(dim=-1).max()) > np.pi):
        coefficients = ", ".join(f"{value:g}" for value in lens.distortion[:-1])
        rule = "A lens must show one ray at each pixel"
        raise InputError(f"{rule}, that of {name} does not near its edges (k1 .. k4, p1, p2 = {coefficients}); {UNDISTORT}.")
