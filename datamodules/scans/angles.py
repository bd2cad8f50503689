"""The angles of a sinogram's views: from a list or a file, in degrees or radians."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from datamodules.common.pictures import ARRAYS
from datamodules.scans.read_arrays import MATLAB, TEXTS, field, load_arrays, pick
from inr.errors import InputError

ANGLES = ("angles", "theta")  # names of arrays
UNITS = ("auto", "degrees", "radians")
FEW = 8  # views, which may well lie within a few degrees
WHOLE = 2 * math.pi  # a turn [rad]
TURN = 1.01 * WHOLE  # a turn with both ends and some play [rad]
LIKE = 0.05  # of a step, by which regular steps may differ, as rounded ones do
PLAY = 0.005  # of a step, by which regular views may miss the end of a half turn
ROUND = 1e-5  # degrees from a hundredth, up to which a step is a round number
# Steps of golden-angle scans as shares of a half turn, either way: 180 / 1.618 degrees = 111.25, or 360 / 2.618 = 137.51.
GOLDEN = ((3 - math.sqrt(5)) / 2, math.sqrt(5) - 2)
GOLD = 5e-5  # half turns by which a golden step may be rounded
log = logging.getLogger(__name__)


def known_angles(angles: str | Sequence[float] | None, arrays: Mapping[str, np.ndarray], path: Path) -> np.ndarray | None:
    """Return the angles from a list, a file, or beside the sinogram, as (views,); None if there are none.

    Raises: InputError if they are not finite numbers on one axis.
    """
    if angles is None and not any(field(name) in ANGLES for name in arrays):
        return None
    if angles is None:
        found = pick(arrays, ANGLES, path)
    elif isinstance(angles, str):
        found = pick(load_arrays("data.angles", angles, (*ARRAYS, *TEXTS, *MATLAB)), ANGLES, angles)
    else:
        try:
            found = np.array([float(angle) for angle in angles])
        except (TypeError, ValueError) as error:
            raise InputError(f"data.angles must be a file or a list of numbers, got {angles}: {error}.") from error
    line = np.atleast_1d(found.squeeze())
    if line.ndim != 1 or line.dtype.kind not in "uif" or not np.isfinite(line).all():
        rule = "Angles must be finite numbers on one axis"
        raise InputError(f"{rule}, got {line.dtype} of shape {line.shape}: {line.ravel()[:4].tolist()}.")
    return line.astype(float)


def regular_step(angles: np.ndarray, half_turn: float) -> float | None:
    """Return the step of views that are evenly apart, as they stand or sorted, half turns aside; None: they are not."""
    for line in (angles, np.sort(angles)):
        steps = np.diff(line) % half_turn
        # Steps backward are almost half turns, of which the rest counts.
        if len(steps) and np.ptp(steps) <= LIKE * min(steps.mean(), half_turn - steps.mean()):
            return float(steps.mean())
    return None


def plausible(angles: np.ndarray, half_turn: float) -> bool:
    """Tell whether views have regular steps that a scanner would make: they share half turns, or are golden.

    half_turn: in the unit that is asked about, 180 or pi.
    """
    step = regular_step(angles, half_turn)
    if step is None:
        return False
    share = min(step, half_turn - step) / half_turn  # the other way round it is as regular
    # With or without the end of the arc.
    covered = [count * share for count in (len(angles), len(angles) - 1)]
    closes = any(round(arc) >= 1 and abs(arc - round(arc)) <= PLAY * share for arc in covered)
    return closes or any(abs(share - golden) <= GOLD for golden in GOLDEN)


def is_round(angles: np.ndarray) -> bool:
    """Tell whether views have regular steps of whole hundredths of a degree."""
    step = regular_step(angles, 180)
    return step is not None and abs(100 * step - round(100 * step)) <= 100 * ROUND


def find_unit(angles: np.ndarray) -> str:
    """Return degrees or radians, as the steps from view to view say.

    Raises: InputError for many views within 6.3 that are not regular in radians.
    """
    span = float(np.ptp(angles))
    short = len(angles) > FEW and 0 < span <= TURN
    radians = plausible(angles, math.pi)
    if radians and (short or not (plausible(angles, 180) or is_round(angles))):
        log.warning("Angles are taken as radians, in which their steps are regular; data.angle_unit=degrees otherwise.")
        return "radians"
    # A whole turn is 6.28 radians: many views within as many degrees are rarely meant.
    if short:
        rule = (
            f"Angles are in degrees unless data.angle_unit says more, got a span of {span:.3g} degrees in {len(angles)} views"
        )
        raise InputError(f"{rule}, which look like radians; add data.angle_unit=radians, or =degrees if it is so.")
    return "degrees"


def to_radians(angles: np.ndarray, unit: str) -> np.ndarray:
    """Convert angles of a known unit, or of the one that their steps say.

    Raises: InputError if they look like those of the other unit.
    """
    span = np.ptp(angles)
    if unit == "radians" and span > TURN and not plausible(angles, math.pi):
        rule = f"Views are within one turn unless their steps are regular, got a span of {span:.4g} radians"
        raise InputError(f"{rule} in {len(angles)} views, which look like degrees; add data.angle_unit=degrees.")
    return angles if (find_unit(angles) if unit == "auto" else unit) == "radians" else np.deg2rad(angles)
