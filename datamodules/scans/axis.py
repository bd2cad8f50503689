"""The bin of a detector that sees the axis of rotation, found from the projections themselves."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d, map_coordinates
from scipy.optimize import minimize_scalar

FEW = 8  # views, whose centres of mass are too few for a fit
ENOUGH = math.radians(120)  # [rad] of views, below which a shift of the axis looks much like one of the slice
PLAY = 1e-9  # [rad] by which they may miss that
SETTLED = 0.25  # root mean square distance of centres of mass from their wave [bins], beyond which air is not empty
EQUAL = 0.1  # share of their mean by which masses may differ, before some projections do not see all of the slice
UNSURE = 0.5  # bins that an axis may be off which was not found, whatever the centres of mass say
TURN = 2 * math.pi
SEARCHED = 0.25  # share of the detector that the axis may lie from its middle, where opposite rays are compared
COMPARED = 128  # bins, and views, at most, whose rays are compared
SEEN_TWICE = 0.1  # share of rays at least that have an opposite one
AGREE = 0.1  # share of their variance by which opposite rays may differ


class Wave(NamedTuple):
    """The centres of mass of projections as a wave around the axis, by least squares.

    centre: bin that sees the axis.
    residual: root mean square distance from the wave [bins].
    error: shift of the centre [bins] that so large a residual can stand for, the larger the shorter the arc of the views.
    known: whether the views tell the axis from a shift of the slice.
    """

    centre: float
    residual: float
    error: float
    known: bool


def fit_masses(values: np.ndarray, angles: Sequence[float]) -> Wave:
    """Fit the wave of the centres of mass of projections, which parallel beams that see all of the slice follow exactly."""
    values = np.asarray(values, float)
    places = np.asarray(angles, float)
    # Projecting keeps the centre of mass: if (x, y) is that of the slice, y pointing down, a projection has its own at bin
    # centre + x cos(angle) - y sin(angle). Three unknowns, linear in all of them, one equation per view.
    seen = np.arange(len(values)) @ values / values.sum(0)
    waves = np.stack([np.ones_like(places), np.cos(places), -np.sin(places)], -1)
    solution, _, rank, _ = np.linalg.lstsq(waves, seen)
    residual = float(np.sqrt(np.square(seen - waves @ solution).mean()))
    # The centre is a weighted sum of what is seen, row 0 of the pseudo-inverse; by Cauchy and Schwarz an error in all views
    # moves it by at most the norm of these weights times that of the error, residual x root of the number of views.
    weights = np.linalg.pinv(waves)[0]
    return Wave(float(solution[0]), residual, residual * float(np.linalg.norm(weights)) * math.sqrt(len(places)), rank == 3)


def find_centre(values: np.ndarray, angles: Sequence[float]) -> float | None:
    """Find the bin that sees the axis of rotation, from the centres of mass of projections by parallel beams.

    This holds where every projection sees all of the slice and air is zero. None if they do not move as they should, within a
    quarter of a bin, if the masses are not about equal, or if there are fewer than 8 views or they span less than 120 degrees.

    Shapes: values (bins, views), angles (views,).
    Units:  angles [rad].
    """
    masses = values.sum(0, dtype=float)
    if len(angles) < FEW or np.ptp(angles) < ENOUGH - PLAY:
        return None
    if masses.min() * masses.max() <= 0 or masses.std() >= EQUAL * abs(masses.mean()):
        return None
    wave = fit_masses(values, angles)
    return wave.centre if wave.known and wave.residual < SETTLED else None


def opposite_disagreement(
    centre: float, values: np.ndarray, places: np.ndarray, bins: np.ndarray, views: np.ndarray, per_bin: float
) -> float:
    """Return the mean square difference of rays from those the other way along the same lines, as a share of their variance.

    Infinite if too few lines are seen both ways.

    Shapes: values (bins, views); places (views,) [rad], ascending; bins and views that are compared.
    """
    # A ray that a view at the angle a sees tilted by t is, walked backward, tilted by -t in the view a + 2 t + half a turn.
    tilt = np.arctan(per_bin * (bins - centre))[:, None]
    angle = (places[views] + 2 * tilt + math.pi - places[0]) % TURN + places[0]
    position = np.interp(angle, places, np.arange(len(places)), right=-2.0)  # beyond the last view: nowhere
    there = np.stack([np.broadcast_to(2 * centre - bins[:, None], angle.shape), position])
    back = map_coordinates(values, there, order=1, cval=np.nan)
    seen = np.isfinite(back)
    if seen.mean() < SEEN_TWICE:
        return math.inf
    one = values[np.ix_(bins, views)][seen]
    other = back[seen]
    return float(np.square(one - other).mean() / (one.var() + other.var() + np.finfo(float).tiny))


def find_opposite_centre(values: np.ndarray, angles: Sequence[float], per_bin: float = 0.0) -> float | None:
    """Find the bin that sees the axis of rotation, about which rays agree with those the other way along the same lines.

    A whole turn of a fan sees every line both ways, as does one of parallel beams. None if too few lines are, or they disagree.

    Shapes: values (bins, views), angles (views,), ascending within a turn.
    Units:  angles [rad]; per_bin: distance of bins over that from source to detector, 0 for parallel beams.
    """
    places = np.asarray(angles, float)
    count = len(values)
    stride = math.ceil(count / COMPARED)
    # Blurred by a bin, rays between bins have the noise of those on them; otherwise the mean of two would seem to fit better.
    smooth = gaussian_filter1d(np.asarray(values, float), max(1.0, stride / 2), axis=0)
    if places[-1] - places[0] > TURN - 2 * np.diff(places).max():  # the first view follows the last
        places = np.append(places, places[0] + TURN)
        smooth = np.concatenate([smooth, smooth[:, :1]], 1)
    bins = np.arange(0, count, stride)
    views = np.arange(0, len(angles), math.ceil(len(angles) / COMPARED))
    middle = (count - 1) / 2
    tried = np.arange(middle - SEARCHED * count, middle + SEARCHED * count, max(0.5, stride / 2))
    given = (smooth, places, bins, views, per_bin)
    found = [opposite_disagreement(centre, *given) for centre in tried]
    best = int(np.argmin(found))
    if not 0 < best < len(tried) - 1 or found[best] == math.inf:
        return None
    ends = (tried[best - 1], tried[best + 1])
    refined = minimize_scalar(opposite_disagreement, bounds=ends, args=given, method="bounded")
    return float(refined.x) if refined.fun < AGREE else None


def likely_error(values: np.ndarray, angles: Sequence[float]) -> float:
    """Return roughly how far [bins] the axis may lie from the middle of the detector, as far as the centres of mass tell."""
    middle = (len(values) - 1) / 2
    masses = values.sum(0, dtype=float)
    seen = masses > EQUAL * masses.max()  # a projection without mass has no centre of it
    if not seen.any():
        return middle
    wave = fit_masses(values[:, seen], np.asarray(angles)[seen])
    return min(max(abs(wave.centre - middle) + wave.error, UNSURE), middle) if wave.known else middle
