"""Your own projections: a sinogram in a file, from which a slice is reconstructed that nobody has seen."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from datamodules.common.batch import Batch, Part, Units
from datamodules.common.draws import Draw, Pass
from datamodules.common.files import existing_file, require
from datamodules.common.signal_data import Split
from datamodules.scans.read_sinogram import Sinogram, find_centre, read_sinogram
from datamodules.scans.read_slice import MU_WATER
from datamodules.scans.scan_data import ScanData
from datamodules.scans.scanner import REACH, Scanner, samples_per_line
from datamodules.scans.scans import RayGrid, Scans
from inr.errors import InputError
from inr.measurements.radon import REGIONS

BEAMS = ("parallel", "fan")
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


@dataclass(kw_only=True, eq=False)
class SinogramData(ScanData):
    """A sinogram to reconstruct: npy, npz or tiff, line integrals (not counts of photons), and the angles of its views.

    angles, angle_unit, order, arc: as of `read_sinogram`.
    clockwise: angles grow the other way than scikit-image's, where at 90 degrees the first bin sees the lowest row.
    centre: bin that sees the axis of rotation; None: as the file says, else found from the centre of mass of the projections
        of parallel beams, else the middle.
    source, detector: distances of a fan's source and detector from the axis, on either side [length]; None: as the file says.
    largest: attenuation that the network fits as 1 [1 / length]; None: the largest integral over half the slice's width.
    water: attenuation of water [1 / length], which makes results Hounsfield units; None: they are attenuation.
    region, samples, jitter: as of `SimulatedScan`.

    Raises: InputError for what `read_sinogram` refuses, and options outside their range.
    """

    path: str | None = None  # the file
    angles: str | Sequence[float] | None = None
    angle_unit: str | None = None
    order: str | None = None
    arc: float | None = None
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
        rules = {
            "path": (self.path is not None, "must name the file of a sinogram, .npy, .npz or .tiff"),
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
        self.geometry = self.lengths(read)
        self.sinogram = read.mirrored(self.clockwise, self.flip)  # the way that scikit-image turns and counts
        self.measured = np.arange(0, len(self.sinogram.angles), self.every)
        if len(self.measured) < 2:
            left = f"every={self.every} leaves {len(self.measured)}"
            raise InputError(f"A reconstruction needs two views or more, {left}; take more.")

    def lengths(self, read: Sinogram) -> Geometry:
        """Return the geometry: what the user gives, else what the file says.

        Raises: InputError for a fan without source or detector, parallel beams with one, and bins without width.
        """
        names = ("bin_width", "centre", "source", "detector")
        asked = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        known: dict[str, float] = {"bin_width": 1.0, **read.geometry, **asked}
        fan = "source" in read.geometry if self.beam is None else self.beam == "fan"
        for name in ("source", "detector"):
            require(f"data.{name}", (name in known) == fan, "goes with beam=fan, which needs it", known.get(name))
        require("data.bin_width", known["bin_width"] > 0, "must be positive", known["bin_width"])
        return Geometry(known["bin_width"], known.get("centre"), known.get("source"), known.get("detector", 0.0))

    @property
    def slice_shape(self) -> tuple[int, int]:
        """Rows and columns of the slice."""
        side = self.size or len(self.sinogram.values)
        return side, side

    @cached_property
    def axis_bin(self) -> float:
        """The bin that sees the axis of rotation.

        Raises: InputError for one that is given beyond the detector.
        """
        bins = len(self.sinogram.values)
        middle = (bins - 1) / 2
        if (given := self.geometry.centre) is not None:
            require("data.centre", 0 <= given <= bins - 1, f"must be a bin of the detector, 0 .. {bins - 1}", given)
            return given
        found = None if self.geometry.source is not None else find_centre(self.sinogram.values, self.sinogram.angles)
        if found is None:
            return middle
        if abs(found - middle) > FAR:
            log.warning("The projections turn about bin %.2f of %d; data.centre=%g means the middle.", found, bins, middle)
        return found

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
