"""Measured sinograms: what a file and a list of angles say, as (bins, views) in the order of the angles."""

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from datamodules.common.files import existing_file, one_line, refuse_infinite, require
from datamodules.common.pictures import ARRAYS, DAMAGE, TIFFS
from datamodules.scans.scanner import even_angles
from inr.errors import InputError

TEXTS = (".txt", ".csv")
SINOGRAMS = ("sinogram", "projections")  # names of arrays
ANGLES = ("angles", "theta")  # names of arrays
UNITS = ("degrees", "radians")
ORDERS = ("bins_views", "views_bins")
FEW = 8  # views, which may well lie within a few degrees, and whose centres of mass are too few for a fit
TURN = 1.01 * 2 * math.pi  # a whole turn [rad], with both ends and some play
SAME = 1e-9  # difference of angles that are the same [rad]
GEOMETRY = ("bin_width", "centre", "source", "detector")  # of a scan, beside a sinogram in an .npz file
UNEVEN = 0.05  # share of their mean by which sums of projections may differ: noise, and a slice that is cut off a little
TIMES = 3  # the sums along one axis differ more than those along the other, before the file is called transposed
ENOUGH = math.radians(120)  # [rad] of views, below which a shift of the axis looks much like one of the slice
SETTLED = 0.25  # root mean square distance of centres of mass from their wave [bins], beyond which air is not empty
EQUAL = 0.1  # share of their mean by which masses may differ, before some projections do not see all of the slice


@dataclass(frozen=True)
class Sinogram:
    """Line integrals of a slice, sorted by angle.

    Shapes: values (bins, views), float32; angles and order (views,).
    Units:  angles [rad], ascending; order: the position of each view in the file; geometry: the numbers of `GEOMETRY` that
            lie beside it in the file.
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


def load(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays in an .npy, .npz, TIFF or text file by name; only those of an .npz file have one."""
    ending = path.suffix.lower()
    if ending in TIFFS:
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it finds wrong is raised, too
        return {"": tifffile.imread(path)}
    if ending in TEXTS:
        return {"": np.loadtxt(path, delimiter="," if ending == ".csv" else None, ndmin=1, encoding="utf-8-sig")}
    with path.open("rb") as file:
        loaded = np.load(file, allow_pickle=False)
        return {"": loaded} if isinstance(loaded, np.ndarray) else {name: np.asarray(loaded[name]) for name in loaded}


def load_arrays(option: str, path: str, endings: Sequence[str]) -> dict[str, np.ndarray]:
    """Read the arrays in the file that an option names.

    Raises: InputError if there is no such file, or it is broken or of another kind.
    """
    file = existing_file(option, path)
    if file.suffix.lower() not in endings:
        raise InputError(f"{option} must be a file that ends in {', '.join(endings)}, got {path}; convert it.")
    try:
        with warnings.catch_warnings(action="ignore"):  # of damage, which is raised or leaves nothing
            return load(file)
    except DAMAGE as error:
        rule = f"{option} must be a whole file of plain numbers"
        raise InputError(f"{rule}, {path} is not: {one_line(error)}; save it anew.") from error


def pick(arrays: Mapping[str, np.ndarray], names: Sequence[str], path: object) -> np.ndarray:
    """Return the only array, or the only one with a name of these."""
    known = [name for name in names if name in arrays] if len(arrays) != 1 else list(arrays)
    if len(known) != 1:
        rule = f"One of several arrays in a file must be named {' or '.join(names)}"
        raise InputError(f"{rule}, {path} has {', '.join(arrays) or 'none'}; rename it, or save the one as .npy.")
    return arrays[known[0]]


def check_values(array: np.ndarray, path: Path) -> np.ndarray:
    """Return numbers with two axes, in float32.

    Raises: InputError if they are not real, finite and different, or have other axes.
    """
    if array.dtype.kind not in "buif":
        raise InputError(f"A sinogram must hold real numbers, {path} has {array.dtype}; save integers or floats.")
    flat = array if array.ndim == 2 else array.squeeze()  # (bins, 1) is one view
    if flat.ndim != 2 or not flat.size:
        raise InputError(f"A sinogram must have two axes, bins and views, {path} has the shape {array.shape}; save one slice.")
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
        values = flat.astype(np.float32)
    refuse_infinite(values)
    if values.min() == values.max():
        raise InputError(f"A sinogram must show something, {path} has the same value everywhere; choose another.")
    return values


def known_angles(angles: str | Sequence[float] | None, arrays: Mapping[str, np.ndarray], path: Path) -> np.ndarray | None:
    """Return the angles from a list, a file, or beside the sinogram, as (views,); None if there are none.

    Raises: InputError if they are not finite numbers on one axis.
    """
    if angles is None and not any(name in arrays for name in ANGLES):
        return None
    if angles is None:
        found = pick(arrays, ANGLES, path)
    elif isinstance(angles, str):
        found = pick(load_arrays("data.angles", angles, (*ARRAYS, *TEXTS)), ANGLES, angles)
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


def to_radians(angles: np.ndarray, unit: str | None) -> np.ndarray:
    """Convert angles of a known unit, or of degrees, unless they cover less than seems likely.

    Raises: InputError if they look like those of the other unit.
    """
    span = np.ptp(angles)
    views = len(angles)
    # A whole turn is 6.28 radians: many views within as many degrees, or views over more radians, are rarely meant.
    if unit is None and views > FEW and 0 < span <= TURN:
        rule = f"Angles are in degrees unless data.angle_unit says more, got a span of {span:.3g} degrees in {views} views"
        raise InputError(f"{rule}, which look like radians; add data.angle_unit=radians, or =degrees if it is so.")
    if unit == "radians" and span > TURN:
        rule = f"Views are within one turn, got a span of {span:.4g} radians in {views} views"
        raise InputError(f"{rule}, which look like degrees; add data.angle_unit=degrees.")
    return angles if unit == "radians" else np.deg2rad(angles)


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
    """Sort values (bins, views) by their angles [rad].

    Raises: InputError if two angles are the same.
    """
    order = angles.argsort(kind="stable")
    ascending = angles[order]
    close = np.flatnonzero(np.diff(ascending) <= SAME)
    if len(close):
        one, other = order[close[0]], order[close[0] + 1]
        rule = f"Views must differ in angle, two views have the angle {math.degrees(angles[one]):g} degrees"
        raise InputError(f"{rule}, {one} and {other} in the file; leave one out, or average them.")
    return Sinogram(np.ascontiguousarray(values[:, order]), tuple(ascending.tolist()), order, geometry)


def read_sinogram(
    path: Path,
    angles: str | Sequence[float] | None = None,
    angle_unit: str | None = None,
    order: str | None = None,
    arc: float | None = None,
    fan: bool | None = None,
) -> Sinogram:
    """Read the sinogram in an .npy, .npz or TIFF file, its views sorted by angle.

    An .npz file holds one array, or several of which one is named sinogram or projections, and perhaps the numbers of
    `GEOMETRY`. Axes of length 1 are dropped.

    angles: a list, or a file (.npy, .npz, or .txt and .csv with a number per line); None: the array named angles or theta
        beside the sinogram, else the views share `arc` evenly, its end excluded.
    angle_unit: degrees, radians; None: degrees if that is likely.
    order: bins_views (rows are bins of the detector, columns are views), views_bins; None: the one that the number of angles
        fits; if both do, bins_views, unless the sums of the rows are those of projections by parallel beams.
    arc: of views without angles [degrees]; None: half a turn, of a fan a whole one.
    fan: whether the projections are by a fan; None: if the file holds the distance of its source.

    Raises: InputError for broken files, values that are infinite or all the same, fewer than 3 bins, and angles of another
            number, which look like another unit, or of which two are the same.
    """
    for option, given, choices in (("angle_unit", angle_unit, UNITS), ("order", order, ORDERS)):
        require(f"data.{option}", given in (None, *choices), f"must be null or one of {', '.join(choices)}", given)
    arrays = load_arrays("data.path", str(path), (*ARRAYS, *TIFFS))
    geometry = {name: float(arrays.pop(name)) for name in GEOMETRY if name in arrays and arrays[name].size == 1}
    fan = "source" in geometry if fan is None else fan
    values = check_values(pick(arrays, SINOGRAMS, path), path)
    known = known_angles(angles, arrays, path)
    count = None if known is None else len(known)
    if count is None and angle_unit is not None:
        rule = "data.angle_unit is of given angles"
        raise InputError(f"{rule}, there are none, got {angle_unit}; add data.angles, or leave it out.")
    if count is not None and arc is not None:
        raise InputError(f"data.arc spreads views without angles, {count} angles are given, got {arc}; leave it out.")
    if choose_order(values, count, order, fan) == "views_bins":
        values = values.T
    bins, views = values.shape
    if bins < 3:
        raise InputError(f"A sinogram needs at least 3 bins, {path} has {bins} in {views} views; see data.order.")
    even = even_angles(views, (360.0 if fan else 180.0) if arc is None else arc, 0.0)
    return sort_views(values, np.array(even) if known is None else to_radians(known, angle_unit), geometry)


def find_centre(values: np.ndarray, angles: Sequence[float]) -> float | None:
    """Find the bin that sees the axis of rotation, from the centres of mass of projections by parallel beams.

    This holds where every projection sees all of the slice and air is zero. None if they do not move as they should, within a
    quarter of a bin, if the masses are not about equal, or if there are fewer than 8 views or they span less than 120 degrees.

    Shapes: values (bins, views), angles (views,).
    Units:  angles [rad].
    """
    values = np.asarray(values, float)
    places = np.asarray(angles, float)
    masses = values.sum(0)
    if len(places) < FEW or np.ptp(places) < ENOUGH - SAME:
        return None
    if masses.min() * masses.max() <= 0 or masses.std() >= EQUAL * abs(masses.mean()):
        return None
    # Projecting keeps the centre of mass: if (x, y) is that of the slice, y pointing down, a projection has its own at bin
    # centre + x cos(angle) - y sin(angle). Three unknowns, linear in all of them, one equation per view.
    seen = np.arange(len(values)) @ values / masses
    waves = np.stack([np.ones_like(places), np.cos(places), -np.sin(places)], -1)
    solution, _, rank, _ = np.linalg.lstsq(waves, seen)
    residual = np.sqrt(np.square(seen - waves @ solution).mean())
    return float(solution[0]) if rank == 3 and residual < SETTLED else None
