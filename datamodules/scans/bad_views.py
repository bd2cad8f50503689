"""Views that show nothing of the slice: detectors that slept, beams that failed."""

import math

import numpy as np
from scipy.ndimage import median_filter

DEAD = 1e-3  # share of an ordinary view's range, below which a view is constant
FEW = 16  # views, too few to tell an odd one
AROUND = 9  # views next to each other whose median is the ordinary one
MANY = 0.2  # share of the views that cannot all be odd
SIGMAS = 8.0  # robust standard deviations beyond which a view is odd
MASS = 0.1  # share of an ordinary view's sum, by which an odd one differs at least
ROUGH = 2.0  # times an ordinary view's ups and downs, that an odd one has at least


def constant_views(values: np.ndarray) -> np.ndarray:
    """Return the positions of the views of values (bins, views) that are the same in every bin, noise aside."""
    ranges = np.ptp(values, 0)
    ordinary = np.median(ranges[ranges > 0]) if ranges.any() else 0.0
    return np.flatnonzero(ranges <= DEAD * ordinary)


def excess(numbers: np.ndarray, closed: bool) -> np.ndarray:
    """Return the difference of each view's number from the ordinary one, where it is beyond the noise, else 0."""
    # Neighbours, since a slice that is cut off in some views changes the number slowly; half of them may be odd, too.
    away = numbers - median_filter(numbers, AROUND, mode="wrap" if closed else "mirror")
    # 1.4826 times the median of absolute differences is the standard deviation of normal ones, whatever a few others are.
    return np.where(np.abs(away) > SIGMAS * 1.4826 * np.median(np.abs(away)), away, 0.0)


def odd_views(values: np.ndarray, angles: tuple[float, ...]) -> np.ndarray:
    """Return the positions of the views of values (bins, views) that are unlike their neighbours, few as they are.

    The sum of a projection hardly changes from view to view, as every parallel one holds the mass of the slice; nor does
    the number of its ups and downs: the path from bin to bin over the range.
    """
    views = len(angles)
    if views < FEW:
        return np.zeros(0, int)
    # Views that close are next to each other, after half a turn mirrored, which changes neither number.
    covered = (angles[-1] - angles[0] + float(np.median(np.diff(angles)))) / math.pi
    closed = round(covered) >= 1 and abs(covered - round(covered)) < 1 / views
    sums = values.sum(0, dtype=float)
    ranges = np.ptp(values, 0)
    paths = np.abs(np.diff(values, axis=0)).sum(0) / np.maximum(ranges, np.finfo(np.float32).tiny)
    heavy = np.abs(excess(sums, closed)) > MASS * np.median(np.abs(sums))
    rough = excess(paths, closed) > (ROUGH - 1) * np.median(paths)
    odd = np.flatnonzero(heavy | rough)
    return odd if len(odd) <= MANY * views else odd[:0]
