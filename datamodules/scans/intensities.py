"""What a detector measured as line integrals: from integrals with a background, transmission, or counts of photons."""

import math
import warnings

import numpy as np

from datamodules.common.files import require
from inr.errors import InputError

KINDS = ("integrals", "transmission", "counts")
RIM = 0.03  # share of the bins at either end of the detector, which see air unless the slice is wider
FEWEST = 2  # bins of a rim
BRIGHT = 0.8  # share of the way from the lowest to the highest mean of a bin, above which the rim is bright
OPEN = 1.5  # transmission of open beams, above which numbers are counts: they may be noisy, and normalised a little off
FAINT = 0.01  # share of the largest integral that a background has at least
FLAT = 0.01  # share of the contrast above a background by which its mean may differ from bin to bin
STEADY = 0.1  # share of a background by which it may vary from view to view
SIGMAS = 4.0  # standard deviations that are still noise


def rims(values: np.ndarray) -> np.ndarray:
    """Return the outer bins of both ends of the detector, (2 x rim, views)."""
    count = max(FEWEST, round(RIM * len(values)))
    return np.concatenate([values[:count], values[-count:]])


def bright_rim(values: np.ndarray) -> bool:
    """Tell whether rays at the rim of the detector have the largest numbers, on the mean over the views."""
    profile = values.mean(1, dtype=float)
    low = profile.min()
    return bool(rims(profile[:, None]).mean() - low > BRIGHT * (profile.max() - low))


def check_integrals(values: np.ndarray) -> None:
    """Raise InputError if numbers look like photons that arrive rather than like line integrals."""
    if not bright_rim(values):
        return
    low = float(values.min())
    high = float(values.max())
    rule = "Line integrals are zero in air, at the rim of the detector, and larger where there is something"
    if low < 0 and abs(low) > abs(high):
        found = "are largest there and negative elsewhere, as log(counts / open beam) is without its minus sign"
        raise InputError(f"{rule}; these {found}: save them with the other sign, or add data.kind=integrals if they are right.")
    kind = "transmission" if high <= OPEN else "counts data.air=OPEN_BEAM"
    raise InputError(
        f"{rule}; these are largest there, {low:.3g}..{high:.3g}: add data.kind={kind}, or =integrals if they are right."
    )


def attenuated(values: np.ndarray, kind: str, air: float | None) -> np.ndarray:
    """Return -log(values / air), the line integrals behind transmission or counts.

    air: counts of a ray that meets nothing, 1 of transmission; None: of counts the median at the rim of the detector.
    """
    seen = float(np.median(rims(values)))
    rule = f"needs rays of open beam at the rim of the detector, or data.air=NUMBER, data.kind={kind}"
    require("data.kind", seen > 0 or air is not None, rule, f"{seen:g} there", "data.kind=integrals if these are integrals")
    if air is None:
        air = 1.0 if kind == "transmission" else seen
        if kind == "counts":
            found = f"Open beams are taken to have {air:g} counts, as the rim of the detector"
            warnings.warn(f"{found}; data.air=COUNTS says otherwise.", stacklevel=3)
    arrived = values > 0
    require("data.kind", bool(arrived.any()), "needs numbers above 0 where rays arrive", f"{kind} of {values.max():g} at most")
    if not arrived.all():
        # A ray that nothing came through would be infinite; it is at least as long as the longest that is known.
        least = float(values[arrived].min())
        found = f"{(~arrived).sum()} of {values.size} rays have no {kind} above 0"
        warnings.warn(f"{found} and count as the weakest, {least:g}.", stacklevel=3)
        values = np.where(arrived, values, least)
    return (-np.log(values.astype(float) / air)).astype(np.float32)


def deviation(values: np.ndarray) -> float:
    """Return the standard deviation that normal numbers around zero would have, whatever a few others are."""
    return 1.4826 * float(np.median(np.abs(values)))


def find_background(values: np.ndarray) -> float:
    """Return the constant below all line integrals that both ends of the detector see in every view; 0 if there is none."""
    values = values.astype(float)
    outer = rims(values)
    bins, views = outer.shape
    profile = np.median(outer, 1)  # not the mean: a few views may be bad
    level = float(np.median(outer))
    # A slice that is wider than the detector falls at the rim by at least the mean slope, its contrast over half the bins,
    # which is three times what is flat. The median over the views has noise that is smaller by the root of their number.
    limit = FLAT * float(np.median(np.abs(values - level).max(0)))
    noise = deviation(outer - profile[:, None])
    unsure = SIGMAS * noise / math.sqrt(views)
    flat = unsure <= limit and float(np.ptp(profile)) <= limit + unsure
    steady = deviation(outer.mean(0) - level) <= STEADY * abs(level) + 1.5 * noise / math.sqrt(bins)
    return level if flat and steady and abs(level) >= FAINT * float(np.median(np.abs(values).max(0))) else 0.0


def to_integrals(values: np.ndarray, kind: str | None, air: float | None, background: float | None) -> np.ndarray:
    """Return line integrals (bins, views) without background.

    kind: integrals, transmission, counts; None: integrals, refused if they look like another kind.
    air: as of `attenuated`.
    background: subtracted from every integral; None: as both ends of the detector see it in all views.

    Raises: InputError for numbers that look like another kind.
    """
    if kind is None:
        check_integrals(values)
    integrals = values if kind in (None, "integrals") else attenuated(values, kind, air)
    if background is None and (background := find_background(integrals)):
        share = background / np.abs(integrals).max()
        found = f"A background of {background:.4g} lies below all projections, {share:.1%} of the largest"
        warnings.warn(f"{found}, and is subtracted; data.background=0 keeps it.", stacklevel=2)
    return integrals - np.float32(background) if background else integrals
