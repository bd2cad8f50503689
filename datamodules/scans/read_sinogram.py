"""Measured sinograms: what a file and a list of angles say, as (bins, views) in the order of the angles."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from datamodules.common.files import refuse_infinite, require
from datamodules.scans.angles import TURN, UNITS, WHOLE, known_angles, to_radians
from datamodules.scans.laboratories import translated
from datamodules.scans.read_arrays import ANY, field, load_arrays, pick
from datamodules.scans.scanner import even_angles
from inr.errors import InputError

SINOGRAMS = ("sinogram", "projections")  # names of arrays
ORDERS = ("bins_views", "views_bins")
SAME = 1e-9  # difference of angles that are the same [rad]
GEOMETRY = ("bin_width", "centre", "source", "detector")  # of a scan, beside a sinogram in a file of several arrays
UNEVEN = 0.05  # share of their mean by which sums of projections may differ: noise, and a slice that is cut off a little
TIMES = 3  # the sums along one axis differ more than those along the other, before the file is called transposed


@dataclass(frozen=True)
class Sinogram:
    """Line integrals of a slice, sorted by angle.

    Shapes: values (bins, views), float32; angles and order (views,).
    Units:  angles [rad], ascending, within a turn where they came from several; order: the position of each view in the
            file; geometry: the numbers of `GEOMETRY` that lie beside it in the file.
    """

    values: np.ndarray
    angles: tuple[float, ...]
    order: np.ndarray
    geometry: Mapping[str, float]

    def mirrored(self, clockwise: bool, flip: bool) -> "Sinogram":
        """Take angles the other way round if they grow `clockwise`, and bins with `flip`."""
        values = self.values
        angles = self.angles
        order = self.order
        if clockwise:
            # Angles change their sign, so that the last view has the smallest one and comes first.
            values = values[:, ::-1]
            angles = tuple(-angle for angle in reversed(angles))
            order = order[::-1]
        return Sinogram(np.ascontiguousarray(values[::-1] if flip else values), angles, order, self.geometry)

    def without(self, views: np.ndarray) -> "Sinogram":
        """Leave out some views by their place among the others."""
        rest = np.setdiff1d(np.arange(len(self.order)), views)
        angles = tuple(self.angles[view] for view in rest)
        return replace(self, values=np.ascontiguousarray(self.values[:, rest]), angles=angles, order=self.order[rest])


def check_numbers(array: np.ndarray, path: Path) -> np.ndarray:
    """Return numbers with two axes, in float32.

    Raises: InputError if they are not real, or have other axes.
    """
    if array.dtype.kind not in "buif":
        raise InputError(f"A sinogram must hold real numbers, {path} has {array.dtype}; save integers or floats.")
    flat = array if array.ndim == 2 else array.squeeze()  # (bins, 1) is one view
    if flat.ndim != 2 or not flat.size:
        raise InputError(f"A sinogram must have two axes, bins and views, {path} has the shape {array.shape}; save one slice.")
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
        return flat.astype(np.float32)


def check_views(values: np.ndarray, path: Path) -> np.ndarray:
    """Return numbers (bins, views), zero in views that have none, which are the same in every bin and count for nothing.

    Raises: InputError if others are not finite, or all are the same.
    """
    values = np.where(np.isfinite(values).any(0), values, np.float32(0))
    refuse_infinite(values)
    if values.min() == values.max():
        raise InputError(f"A sinogram must show something, {path} has the same value everywhere; choose another.")
    return values


def check_sums(values: np.ndarray) -> None:
    """Raise InputError if rows rather than columns look like projections, which have equal sums."""
    # A projection by parallel beams holds the whole mass of the slice at every angle, so that sums over the bins agree.
    with np.errstate(divide="ignore", invalid="ignore"):  # sums whose mean is zero differ infinitely
        columns, rows = (sums.std() / abs(sums.mean()) for sums in (values.sum(axis, dtype=float) for axis in (0, 1)))
    if columns > UNEVEN and rows < columns / TIMES:
        found = f"those of the columns differ by {columns:.0%}, of the rows by {rows:.0%}"
        rule = f"Projections by parallel beams have about equal sums, {found}, so they look transposed"
        raise InputError(f"{rule}; add data.order=views_bins, or =bins_views if it is so.")


def choose_order(values: np.ndarray, views: int | None, order: str | None, fan: bool) -> str:
    """Return the order of rows and columns: as given, else as fits the number of angles, which is None if there are none.

    Raises: InputError if it does not fit, or if it is a guess and does not look so.
    """
    rows, columns = values.shape
    fitting = [name for name, size in zip(ORDERS, (columns, rows), strict=True) if views in (None, size)]
    if not fitting or order not in (None, *fitting):
        rule = f"Each view has one angle, got {views} angles for {rows} rows and {columns} columns"
        if fitting:
            raise InputError(f"{rule} in the order {order}, which looks transposed; add data.order={fitting[0]}.")
        raise InputError(f"{rule}; correct data.angles, or leave it out if the views are even.")
    if order is None and len(fitting) == 2 and not fan:
        check_sums(values)
    return order or fitting[0]


def sort_views(values: np.ndarray, angles: np.ndarray, geometry: Mapping[str, float]) -> Sinogram:
    """Sort values (bins, views) by their angles [rad]; those of several turns lie within one where no two coincide.

    Raises: InputError if two angles are the same.
    """
    within = angles % WHOLE
    if np.ptp(angles) > TURN and np.diff(np.sort(within)).min() > SAME:
        angles = within
    order = angles.argsort(kind="stable")
    ascending = angles[order]
    close = np.flatnonzero(np.diff(ascending) <= SAME)
    if len(close):
        one = order[close[0]]
        other = order[close[0] + 1]
        rule = f"Views must differ in angle, two views have the angle {math.degrees(angles[one]):g} degrees"
        raise InputError(f"{rule}, {one} and {other} in the file; leave one out, or average them.")
    return Sinogram(np.ascontiguousarray(values[:, order]), tuple(ascending.tolist()), order, geometry)


def read_sinogram(
    path: Path,
    angles: str | Sequence[float] | None = None,
    angle_unit: str = "auto",
    order: str | None = None,
    arc: float | None = None,
    fan: bool | None = None,
) -> Sinogram:
    """Read the sinogram in an .npy, .npz, .mat, TIFF, NIfTI, NRRD or MetaImage file, its views sorted by angle.

    An .npz or .mat file holds one array, or several of which one is named sinogram or projections, and perhaps the numbers
    of `GEOMETRY`; fields of structs count by their own names, and so do those of `laboratories`. Axes of length 1 are dropped.

    angles: a list, or a file (.npy, .npz, .mat, or .txt and .csv with a number per line); None: the array named angles or
        theta beside the sinogram, else the views share `arc` evenly, its end excluded.
    angle_unit: degrees, radians, auto: as their steps say.
    order: bins_views (rows are bins of the detector, columns are views), views_bins; None: the one that the number of angles
        fits; if both do, bins_views, unless the sums of the rows are those of projections by parallel beams.
    arc: of views without angles [degrees]; None: half a turn, of a fan a whole one.
    fan: whether the projections are by a fan; None: if the file holds the distance of its source.

    Raises: InputError for broken files, values that are infinite or all the same, fewer than 3 bins, and angles of another
            number, which look like another unit, or of which two are the same.
    """
    require("data.angle_unit", angle_unit in UNITS, f"must be one of {', '.join(UNITS)}", angle_unit)
    require("data.order", order in (None, *ORDERS), f"must be null or one of {', '.join(ORDERS)}", order)
    found = translated(load_arrays("data.path", str(path), ANY))
    lengths = {name for name, array in found.items() if field(name) in GEOMETRY and array.size == 1}
    geometry = {field(name): float(found[name].item()) for name in lengths}
    arrays = {name: array for name, array in found.items() if name not in lengths}
    fan = "source" in geometry if fan is None else fan
    values = check_numbers(pick(arrays, SINOGRAMS, path), path)
    known = known_angles(angles, arrays, path)
    count = None if known is None else len(known)
    if count is None and angle_unit != "auto":
        rule = "data.angle_unit is of given angles"
        raise InputError(f"{rule}, there are none, got {angle_unit}; add data.angles, or leave it out.")
    if count is not None and arc is not None:
        raise InputError(f"data.arc spreads views without angles, {count} angles are given, got {arc}; leave it out.")
    if choose_order(values, count, order, fan) == "views_bins":
        values = values.T
    values = check_views(values, path)
    bins, views = values.shape
    if bins < 3:
        raise InputError(f"A sinogram needs at least 3 bins, {path} has {bins} in {views} views; see data.order.")
    even = even_angles(views, (360.0 if fan else 180.0) if arc is None else arc, 0.0)
    return sort_views(values, np.array(even) if known is None else to_radians(known, angle_unit), geometry)
