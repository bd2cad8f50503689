"""Lenses that bend rays: radial and tangential distortion, fisheyes, and their inverse with an exact derivative.

Coordinates here are those of a picture at focal length 1: to the right and down from the optical axis.
"""

# kornia's undistort_points iterates a fixed point five times, which is not exact far from the axis, nor is its derivative.

import torch
from jaxtyping import Float
from torch import Tensor

NUMBERS = 7  # of a lens: k1, k2, k3, k4, p1, p2, and 1 for a fisheye, else 0
MIDDLE = 1e-12  # square of an angle to the axis [rad^2] below which a ray counts as the axis
ITERATIONS = 8  # of Newton's method, each of which doubles the number of right digits


def distort(points: Float[Tensor, "*batch 2"], lens: Float[Tensor, "*#batch 7"]) -> tuple[Tensor, Tensor]:
    """Return the coordinates at which a lens shows points, and the entries (xx, xy, yy) of the symmetric derivative.

    Source: OpenCV, Camera Calibration and 3D Reconstruction, as in COLMAP's OPENCV and OPENCV_FISHEYE.
    """
    x, y = points.unbind(-1)
    k1, k2, k3, k4, p1, p2, _ = lens.unbind(-1)
    square = x * x + y * y
    # Radially by R(s) = 1 + k1 s + k2 s^2 + k3 s^3 + k4 s^4 of s = x^2 + y^2, whose derivative by x is 2 x R'(s).
    radial = 1 + square * (k1 + square * (k2 + square * (k3 + square * k4)))
    slope = k1 + square * (2 * k2 + square * (3 * k3 + square * 4 * k4))
    shown_x = x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x)
    shown_y = y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y
    xx = radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x
    xy = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y
    yy = radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x
    return torch.stack([shown_x, shown_y], -1), torch.stack([xx, xy, yy], -1)


def newton(points: Tensor, shown: Tensor, lens: Tensor) -> Tensor:
    """Return points nearer to those that a lens shows at some coordinates."""
    found, derivative = distort(points, lens)
    (dx, dy), (xx, xy, yy) = (found - shown).unbind(-1), derivative.unbind(-1)
    determinant = xx * yy - xy * xy
    return points - torch.stack([yy * dx - xy * dy, xx * dy - xy * dx], -1) / determinant[..., None]


def undistort(shown: Float[Tensor, "*batch 2"], lens: Float[Tensor, "*#batch 7"]) -> Float[Tensor, "*batch 2"]:
    """Return the points that a lens shows at some coordinates, by Newton's method."""
    still = shown.detach()
    points = still
    for _ in range(ITERATIONS):
        points = newton(points, still, lens.detach())
    # By the implicit function theorem D(p) = q gives dp = D'^-1 dq: the derivative of one more step, p itself being constant.
    return newton(points.detach(), shown, lens)


def look_through(lens: Float[Tensor, "*#batch 7"], shown: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3"]:
    """Return directions (right, up, backwards) of the rays that a lens shows at some coordinates.

    Directions have length 1 along the optical axis; those of a fisheye, which may see aside, have length 1.
    """
    points = undistort(shown, lens)
    right, down = points.unbind(-1)
    straight = torch.stack([right, -down, -torch.ones_like(right)], -1)
    # A fisheye shows a ray as far from the middle as its angle to the axis is large, which the coefficients bend.
    square = (right * right + down * down).clamp(min=MIDDLE)  # its root has no slope at 0
    angle = square.sqrt()
    aside = torch.sinc(angle / torch.pi)
    bent = torch.stack([right * aside, -down * aside, -angle.cos()], -1)
    return torch.where(lens[..., -1:] > 0, bent, straight)
