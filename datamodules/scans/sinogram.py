"""Your own projections: a sinogram in a file, from which a slice is reconstructed that nobody has seen."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from datamodules.common.batch import Batch, Part, Units
from datamodules.common.draws import Draw, Pass
from datamodules.common.files import LISTED, existing_file, require
from datamodules.common.signal_data import Split
from datamodules.scans.attenuation import MU_WATER
from datamodules.scans.axis import find_centre, find_opposite_centre, likely_error
from datamodules.scans.bad_views import constant_views, odd_views
from datamodules.scans.intensities import KINDS, to_integrals
from datamodules.scans.read_sinogram import Sinogram, read_sinogram
from datamodules.scans.scan_data import ScanData
from datamodules.scans.scanner import REACH, Scanner, samples_per_line
from datamodules.scans.scans import RayGrid, Scans
from inr.errors import InputError
from inr.measurements.radon import REGIONS

BEAMS = ("parallel", "fan")
PHOTONS = "data.kind=transmission or =counts"
VALIDATED = 4096  # rays
DARKEST = 0.01  # quantile of the back-projection that a picture shows as black, unless the user says: below is noise of air
BRIGHTEST = 0.998  # the same as white: above are a few pixels of metal, or noise
FAR = 0.25  # bins from the middle of the detector beyond which a centre that was found is worth a word
FIRST = torch.zeros(1, dtype=torch.long)  # the index of the one signal
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Geometry:
    """The lengths of a scan as the user or the file gives them, in one unit."""

    bin_width: float
    centre: float | None  # bin that sees the axis of rotation; None: to be found
    source: float | None  # distance of a fan's source from the axis; None: parallel beams
    detector: float  # distance of a fan's detector from the axis


def choose_geometry(read: Sinogram, asked: Mapping[str, float | None], beam: str | None) -> Geometry:
    """Return the geometry: what the user asked for, else what the file says.

    Raises: InputError for a fan without source or detector, parallel beams with one, and bins without width.
    """
    given = {name: value for name, value in asked.items() if value is not None}
    known: dict[str, float] = {"bin_width": 1.0, **read.geometry, **given}
    fan = "source" in read.geometry if beam is None else beam == "fan"
    for name in ("source", "detector"):
        require(f"data.{name}", (name in known) == fan, "goes with beam=fan, which needs it", known.get(name))
    require("data.bin_width", known["bin_width"] > 0, "must be positive", known["bin_width"])
    return Geometry(known["bin_width"], known.get("centre"), known.get("source"), known.get("detector", 0.0))


def leave_out(read: Sinogram, views: np.ndarray, found: str) -> Sinogram:
    """Leave out views, by their place among the others, and say so with what was found of them.

    Raises: InputError if fewer than two are left.
    """
    if not len(views):
        return read
    rest = len(read.order) - len(views)
    named = ", ".join(str(place) for place in sorted(read.order[views].tolist())[:LISTED])
    more = ", ..." if len(views) > LISTED else ""
    if rest < 2:
        raise InputError(f"A reconstruction needs two views or more, all but {rest} {found}; choose another file.")
    rule = f"{len(views)} of {len(read.order)} views {found} and count for nothing ({named}{more} in the file)"
    warnings.warn(f"{rule}; data.bad_views=[] keeps all.", stacklevel=3)
    return read.without(views)


def warn_of_middle(sinogram: Sinogram, per_bin: float) -> None:
    """Say that the axis is taken in the middle of the detector, how far that may be off, and what may help."""
    bins = len(sinogram.values)
    turned = sinogram.mirrored(True, False)
    # Parallel beams look the same from the other side; a fan whose angles grow the other way does not.
    backward = per_bin and find_opposite_centre(turned.values, turned.angles, per_bin) is not None
    rule = f"The axis of rotation is not found and taken in the middle of the detector, bin {(bins - 1) / 2:g}"
    doubt = f"it may be off by {likely_error(sinogram.values, sinogram.angles):.2g} bins: data.centre=BIN says where it is"
    advice = ", and opposite rays agree if the scan turns the other way, see data.clockwise" if backward else ""
    warnings.warn(f"{rule}; {doubt}{advice}.", stacklevel=3)


def find_axis(sinogram: Sinogram, geometry: Geometry) -> float:
    """Return the bin that sees the axis of rotation: as given, else found, else the middle with a warning.

    Raises: InputError for one that is given beyond the detector.
    """
    bins = len(sinogram.values)
    middle = (bins - 1) / 2
    if (given := geometry.centre) is not None:
        require("data.centre", 0 <= given <= bins - 1, f"must be a bin of the detector, 0 .. {bins - 1}", given)
        return given
    per_bin = 0.0 if geometry.source is None else geometry.bin_width / (geometry.source + geometry.detector)
    found = find_centre(sinogram.values, sinogram.angles) if geometry.source is None else None
    if found is None:
        found = find_opposite_centre(sinogram.values, sinogram.angles, per_bin)
    if found is None:
        warn_of_middle(sinogram, per_bin)
        return middle
    if abs(found - middle) > FAR:
        log.warning("The projections turn about bin %.2f of %d; data.centre=%g means the middle.", found, bins, middle)
    return found


@dataclass(kw_only=True, eq=False)
class SinogramData(ScanData):
    """A sinogram to reconstruct: npy, npz, mat, tiff and others, and the angles of its views.

    A fan's source stands above the slice at angle 0 and turns to its left; the first bin sees the first column, as of
    parallel beams.

    angles, angle_unit, order, arc: as of `read_sinogram`.
    kind, air, background: as of `to_integrals`.
    bad_views: places in the file of views that count for nothing; None: those that show nothing or are unlike the others.
    clockwise: angles grow the other way than scikit-image's, where at 90 degrees the first bin sees the lowest row.
    centre: bin that sees the axis of rotation; None: as the file says, else found from the centre of mass of the projections
        of parallel beams, else from lines that are seen both ways, in a whole turn, else the middle with a warning.
    source, detector: distances of a fan's source and detector from the axis, on either side [length]; None: as the file says.
    largest: attenuation that the network fits as 1 [1 / length]; None: the largest integral over half the slice's width.
    water: attenuation of water [1 / length], which makes results Hounsfield units; None: they are attenuation.
    region, samples, jitter: as of `SimulatedScan`.

    Raises: InputError for what `read_sinogram` refuses, and options outside their range.
    """

    path: str | None = None  # the file
    angles: str | Sequence[float] | None = None
    angle_unit: str = "auto"
    order: str | None = None
    arc: float | None = None
    kind: str | None = None  # integrals, transmission, counts; None: integrals, unless they look like another kind
    air: float | None = None  # counts or transmission of open beams
    background: float | None = None  # of all integrals; None: found where both ends of the detector see it
    bad_views: Sequence[int] | None = None
    clockwise: bool = False
    flip: bool = False  # bins run the other way
    beam: str | None = None  # parallel, or fan with a flat detector; None: as the file says, else parallel
    bin_width: float | None = None  # distance of the bins on the detector [length]; None: as the file says, else 1
    centre: float | None = None
    source: float | None = None
    detector: float | None = None
    size: int | None = None  # rows and columns of the slice; None: as many as bins, so that pixel k lies under bin k at angle 0
    every: int = 1  # train on every so many-th view, score those in between
    largest: float | None = None
    water: float | None = None
    window: Sequence[float] | None = None  # numbers that a picture shows as black and as white; None: nearly all there is
    region: str = "circle"
    samples: int | None = None
    jitter: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        window = self.window
        air = self.air
        rules = {
            "path": (self.path is not None, "must name the file of a sinogram, .npy, .npz, .mat or .tiff"),
            "kind": (self.kind in (None, *KINDS), f"must be null or one of {', '.join(KINDS)}"),
            "air": (air is None or (air > 0 and self.kind in KINDS[1:]), f"must be positive, of {PHOTONS}"),
            "beam": (self.beam in (None, *BEAMS), f"must be one of {', '.join(BEAMS)}, or null: what the file says"),
            "size": (self.size is None or self.size >= 2, "must be at least 2, or null for the number of bins"),
            "every": (self.every >= 1, "must be at least 1"),
            "largest": (self.largest is None or self.largest > 0, "must be positive, or null"),
            "water": (self.water is None or self.water > 0, f"must be positive, or null; {MU_WATER} per mm at 70 keV"),
            "region": (self.region in REGIONS, f"must be one of {', '.join(REGIONS)}"),
            "samples": (self.samples is None or self.samples >= 2, "must be at least 2, or null for one per bin"),
            "window": (window is None or (len(window) == 2 and window[0] < window[1]), "must be [low, high]"),
        }
        for option, (holds, rule) in rules.items():
            require(f"data.{option}", holds, rule, getattr(self, option))
        self.file = existing_file("data.path", self.path or "")
        fan = None if self.beam is None else self.beam == "fan"
        read = read_sinogram(self.file, self.angles, self.angle_unit, self.order, self.arc, fan)
        asked = {"bin_width": self.bin_width, "centre": self.centre, "source": self.source, "detector": self.detector}
        self.geometry = choose_geometry(read, asked, self.beam)
        # Now the way that scikit-image turns and counts.
        self.sinogram = self.integrals(read).mirrored(self.clockwise, self.flip)
        self.measured = np.arange(0, len(self.sinogram.angles), self.every)
        if len(self.measured) < 2:
            left = f"every={self.every} leaves {len(self.measured)}"
            raise InputError(f"A reconstruction needs two views or more, {left}; take more.")

    def integrals(self, read: Sinogram) -> Sinogram:
        """Return line integrals of what was measured, without the views that count for nothing."""
        if self.bad_views is None:
            read = leave_out(read, constant_views(read.values), "are the same in every bin")
        else:
            places = range(len(read.order))
            known = all(view in places for view in self.bad_views)
            require("data.bad_views", known, f"must be places of views in the file, 0 .. {places[-1]}", self.bad_views)
            read = read.without(np.flatnonzero(np.isin(read.order, list(self.bad_views))))
        read = replace(read, values=to_integrals(read.values, self.kind, self.air, self.background))
        odd = odd_views(read.values, read.angles) if self.bad_views is None else np.zeros(0, int)
        return leave_out(read, odd, "are unlike their neighbours")

    @property
    def slice_shape(self) -> tuple[int, int]:
        """Rows and columns of the slice."""
        side = self.size or len(self.sinogram.values)
        return side, side

    @cached_property
    def axis_bin(self) -> float:
        """The bin that sees the axis of rotation."""
        return find_axis(self.sinogram, self.geometry)

    @cached_property
    def scanner(self) -> Scanner:
        """The geometry of the measured views."""
        bins = len(self.sinogram.values)
        side, _ = self.slice_shape
        source = self.geometry.source
        # A fan's detector is a magnified picture of the slice; its bins are narrower at the axis.
        at_axis = 1.0 if source is None else source / (source + self.geometry.detector)
        pixel = bins * self.geometry.bin_width * at_axis / side  # the slice is as wide as the detector, from edge to edge
        half_width = (side - 1) / 2 * pixel
        if source is not None:
            outside = source / half_width > REACH["square"]
            rule = f"must be outside the slice, above {REACH['square'] * half_width:g}"
            require("data.source", outside, rule, f"{source:g}")
        bin_width = self.geometry.bin_width / half_width
        # Bin j lies (j + 1/2) / bins along the detector, pixel p lies (p + 1/2) / side along the slice, and the middles of
        # pixels 0 and side - 1 are at -1 and 1.
        middle = 2 * ((self.axis_bin + 0.5) * side / bins - 0.5) / (side - 1) - 1
        angles = tuple(self.sinogram.angles[view] for view in self.measured)
        samples = self.samples or samples_per_line(bin_width * at_axis, self.region)
        return Scanner(
            angles=angles,
            bins=bins,
            bin_width=bin_width,
            centre=self.axis_bin,
            half_width=half_width,
            samples=samples,
            region=self.region,
            pivot=(middle, middle),
            source=None if source is None else source / half_width,
            detector=self.geometry.detector / half_width,
            jitter=self.jitter,
            width=1.0,
        )

    @cached_property
    def unit_attenuation(self) -> float:
        """The attenuation per length that the network fits as 1."""
        return self.largest or float(abs(self.sinogram.values).max()) / self.scanner.half_width

    @cached_property
    def units(self) -> Units:
        """Attenuation per length, or Hounsfield units; nobody knows the slice, so the peak is a guess at its range."""
        if self.water is not None:
            # HU = 1000 (value / water - 1): air at -1000, water at 0, dense bone at 1000, which is the range of the peak.
            return Units(1000 * self.unit_attenuation / self.water, -1000.0, 2000.0, "HU")
        return Units(self.unit_attenuation, 0.0, self.unit_attenuation, "attenuation per length")

    @cached_property
    def display_window(self) -> tuple[float, float]:
        """Black and white as asked, else so that nearly all of the filtered back-projection lies between them."""
        if self.window is not None:
            return self.window[0], self.window[1]
        back = self.restore(self.evaluated.back_projected("hann")[0])[self.disc]
        low, high = np.quantile(back.numpy(), (DARKEST, BRIGHTEST)).tolist()
        return low, max(high, low + 1e-12)

    def observe(self, split: Split) -> Scans:
        """Return the views that are measured, and those in between."""
        fitted = torch.from_numpy(self.sinogram.values)[None] / (self.unit_attenuation * self.scanner.half_width)
        rest = np.setdiff1d(np.arange(len(self.sinogram.angles)), self.measured)
        angles = tuple(self.sinogram.angles[view] for view in rest)
        between = fitted[..., rest] if len(rest) else None
        measured = fitted[..., self.measured]
        return Scans(
            self.scanner,
            self.slice_shape,
            [self.file.stem],
            measured,
            between=between,
            between_angles=angles,
            filter=self.filter,
        )

    @cached_property
    def validation(self) -> RayGrid:
        """Some rays of the views in between, which a validation compares, or of the measured ones where there are none."""
        return list(self.evaluated.compared_rays(VALIDATED).values())[-1]

    def val_dataloader(self) -> Pass:
        """Return the draws of the rays that a validation compares."""
        rays = torch.arange(self.validation.coordinates.shape[1])
        return Pass(Draw(FIRST, some, "validate") for some in rays.split(max(1, self.chunk // self.scanner.samples)))

    def evaluation_batch(self, draw: Draw, device: torch.device) -> Batch:
        """Make a batch of pixels of the slice, or of rays of a validation."""
        if draw.purpose == "test":
            return super().evaluation_batch(draw, device)
        coordinates = self.validation.coordinates[:, draw.samples].to(device)
        part = Part(coordinates, context=self.validation.context)
        return self.evaluated.batch(draw.signals, {"data": part}, self.wanted.observations)

    def validated(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield what a validation saw of rays (rays, 1), and what was measured, scaled so that their peak is that of slices."""
        truth = self.validation.truth.reshape(-1, 1)
        # A validation takes the PSNR by the peak of slices, to which the largest integral is brought here.
        scale = self.units.peak / self.units.scale / truth.abs().max()
        yield values * scale, truth * scale, None
