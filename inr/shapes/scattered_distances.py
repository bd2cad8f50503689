"""Directions of distances that are known at scattered points alone."""

import numpy as np
from scipy.spatial import cKDTree

NEIGHBOURS = 16  # samples around one, for the three numbers of its slope
STEEP = 0.2  # how far the length of a slope may be from 1, that of a distance
EVEN = 1e-9  # added to a system of neighbours in a plane, relative to its size


def slopes(points: np.ndarray, values: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return unit slopes (chosen, 3) of distances at some points, by least squares over samples around, and their certainty.

    They are certain (chosen,) where they are about 1 long before: not where a distance has a kink between the samples.
    Shapes: points (samples, 3), values (samples,), chosen (chosen,) numbers of samples
    """
    around = cKDTree(points).query(points[chosen], min(NEIGHBOURS, len(points) - 1) + 1)[1][:, 1:]
    away = points[around] - points[chosen, None]  # (chosen, neighbours, 3)
    rise = values[around] - values[chosen, None]
    # The slope g minimises sum (away . g - rise)^2, so that (sum away away^T) g = sum away rise.
    system = away.swapaxes(1, 2) @ away
    size = np.trace(system, axis1=1, axis2=2)[:, None, None]
    gradient = np.linalg.solve(
        system + (EVEN * size + np.finfo(float).tiny) * np.eye(3), (away * rise[..., None]).sum(1)[..., None]
    )[..., 0]
    length = np.linalg.norm(gradient, axis=1)
    certain = abs(length - 1) < STEEP
    return gradient / np.where(certain, length, 1.0)[:, None], certain
