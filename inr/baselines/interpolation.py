"""Classical reconstructions of a grid from some of its samples: what a network has to beat."""

# scipy's RegularGridInterpolator has one method for all axes, and none that is given derivatives; here one axis follows the
# other, by scipy's curves, and positions beyond the outer knots take the value there.

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.interpolate import CubicHermiteSpline, LinearNDInterpolator, NearestNDInterpolator, interp1d, make_interp_spline
from torch import Tensor

Interpolation = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]  # (knots, samples, positions, axis) -> values
FLAT = 1e-9  # of points in a plane, the smallest singular value is rounding


def nearest(knots: np.ndarray, samples: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    """Take the nearest sample."""
    return interp1d(knots, samples, kind="nearest", axis=axis)(positions)


def linear(knots: np.ndarray, samples: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    """Draw straight lines between samples."""
    return interp1d(knots, samples, kind="linear", axis=axis)(positions)


def cubic(knots: np.ndarray, samples: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    """Convolve with cubics: slopes from differences of second order, one-sided at the ends (Keys 1981, a = -1/2)."""
    slopes = np.gradient(samples, knots, axis=axis, edge_order=2 if len(knots) > 2 else 1)
    return CubicHermiteSpline(knots, samples, slopes, axis=axis)(positions)


def spline(knots: np.ndarray, samples: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    """Join samples by the cubic spline with not-a-knot ends."""
    return make_interp_spline(knots, samples, k=min(3, len(knots) - 1), axis=axis)(positions)


def knots_and_positions(shape: Sequence[int], factor: int, offset: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the indices of coarse and of all samples along each axis, the latter clipped to the outer knots."""
    knots = [np.arange(offset, size, factor) for size in shape]
    return [(knot, np.arange(size).clip(knot[0], knot[-1])) for knot, size in zip(knots, shape, strict=True)]


def interpolate(samples: np.ndarray, shape: Sequence[int], factor: int, offset: int, along: Interpolation) -> np.ndarray:
    """Interpolate every sample of the full grid from the coarse ones, one axis after the other.

    Shapes: samples (*coarse, channels) -> (*shape, channels).
    """
    for axis, (knots, positions) in enumerate(knots_and_positions(shape, factor, offset)):
        samples = along(knots, samples, positions, axis)
    return samples


def hermite(samples: np.ndarray, jacobian: np.ndarray, shape: Sequence[int], factor: int, offset: int) -> np.ndarray:
    """Interpolate every sample of the full grid from the coarse values and derivatives (cubic, in two axes bicubic).

    Shapes: samples (*coarse, channels), jacobian (*coarse, channels, axes) per step of the full grid -> (*shape, channels).
    """
    slopes = list(np.moveaxis(jacobian, -1, 0))
    for axis, (knots, positions) in enumerate(knots_and_positions(shape, factor, offset)):
        samples = CubicHermiteSpline(knots, samples, slopes[axis], axis=axis)(positions)
        # Slopes of later axes are needed at the new samples too. How they change along this axis, the mixed derivative of
        # bicubic interpolation, is not given: `cubic` takes it from central differences.
        for later in range(axis + 1, len(shape)):
            slopes[later] = cubic(knots, slopes[later], positions, axis)
    return samples


def scattered(points: Tensor, values: Tensor, positions: Tensor) -> Tensor:
    """Interpolate linearly in the tetrahedra between scattered points (Delaunay); outside them, take the nearest value.

    Shapes: points (points, axes), values (points,), positions (positions, axes) -> (positions,). Too few points for a
            tetrahedron, or points in a plane, give the nearest value everywhere.
    """
    known, places = points.double().numpy(), positions.double().numpy()
    nearest_value = NearestNDInterpolator(known, values.double().numpy())(places)
    if np.linalg.matrix_rank(known - known[0], tol=FLAT) < known.shape[1]:
        return torch.from_numpy(nearest_value).float()
    inside = LinearNDInterpolator(known, values.double().numpy())(places)
    return torch.from_numpy(np.where(np.isnan(inside), nearest_value, inside)).float()
