"""Scans of known slices: the projections that a scanner would have seen of them, with its noise."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from datamodules.common.batch import Units
from datamodules.common.files import require
from datamodules.common.signal_data import Split
from datamodules.scans.attenuation import Slice
from datamodules.scans.scan_data import ScanData
from datamodules.scans.scanner import REACH, Scanner, even_angles, samples_per_line
from datamodules.scans.scans import Scans
from inr.derivatives import observe_at
from inr.errors import InputError
from inr.field import Field
from inr.measurements.radon import REGIONS
from inr.networks.sampled import bilinear_field
from inr.randomness import generator, key

FULL = {"parallel": 180.0, "fan": 360.0}  # arc of each kind of beam in which every line is seen [degrees]
EMPTY = 1e-3  # of the largest value, which a slice may have outside its circle and still count as empty there
SAMPLES = 2  # of a simulated line for each of the network's, whose error must not be in the data, too
SOURCE = 3.0  # distance from the axis where the user does not say [half-widths]
DETECTOR = 1.5  # distance from the axis where the user does not say [half-widths]
POINTS = 2**22  # of the slices that are looked up at a time, which bounds the memory
PIXELS = 2**26  # of the slices that are scanned at a time, which bounds the memory


@dataclass(kw_only=True, eq=False)
class SimulatedScan(ScanData):
    """Slices whose projections are simulated: bilinear between the centres of pixels, integrated along the lines.

    Data that are made of the very pixels, by the very lines, that a reconstruction looks for make every method too good. So
    pixels are smaller where they are scanned than where they are looked for, whose values are means of theirs, and bins are
    as wide as they lie apart: they see the mean of several rays.
    Subclasses define `template` (a slice as it is looked for, for size and units), `scanned` (the values of some of them, in
    the finer pixels), `finer_pixels` and `labels`.

    finer: pixels where slices are scanned for each where they are looked for, along either axis; None: as many as the file
        has, from 2 to 4; 1: the very same, as published.
    rays: per bin, spread over its width; 1: one through its middle, as if bins had no width, as published.
    arc: that views share evenly, its end excluded [degrees]; None: half a turn of parallel beams, a whole one of a fan.
    region: that lines are followed through, as of `inr.measurements.radon`; None: the circle if slices are empty outside of
        it, else the square.
    source, detector: distances of a fan's source and detector from the axis [length of the pixels].
    attenuation: of the densest line of a slice without physical units, which photons are weakened by exp(-attenuation) on.
    """

    finer: int | None = None
    rays: int = 4
    views: int | None = None  # number of projections; None: as many as move the rim by a bin each
    arc: float | None = None
    first: float = 0.0  # angle of the first [degrees]
    beam: str = "parallel"  # parallel, or fan with a flat detector
    bins: int | None = None  # of the detector, which reaches across the region; None: as many as the slice has pixels
    region: str | None = None
    source: float | None = None
    detector: float | None = None
    samples: int | None = None  # of the network on a line; None: one per bin
    jitter: bool = False  # draw them anew in every step
    photons: float | None = None  # per ray without slice, which make Poisson noise; None: no such noise
    attenuation: float = 4.0
    noise: float = 0.0  # standard deviation of gaussian noise, as a share of the largest integral

    def __post_init__(self) -> None:
        super().__post_init__()
        fan = self.beam == "fan"
        rules = {
            "finer": (self.finer is None or self.finer >= 1, "must be at least 1, or null for what the file has"),
            "rays": (self.rays >= 1, "must be at least 1"),
            "views": (self.views is None or self.views >= 1, "must be at least 1, or null for one per bin at the rim"),
            "beam": (self.beam in FULL, f"must be one of {', '.join(FULL)}"),
            "bins": (self.bins is None or self.bins >= 3, "must be at least 3, or null for as many as the slice has pixels"),
            "region": (self.region in (None, *REGIONS), f"must be null or one of {', '.join(REGIONS)}"),
            "samples": (self.samples is None or self.samples >= 2, "must be at least 2, or null for one per bin"),
            "photons": (self.photons is None or self.photons > 0, "must be positive, or null for no such noise"),
            "attenuation": (self.attenuation > 0, "must be positive"),
            "noise": (0 <= self.noise < math.inf, "must not be negative"),
            "source": (self.source is None or fan, "is for beam=fan; leave it out"),
            "detector": (self.detector is None or fan, "is for beam=fan; leave it out"),
        }
        for option, (holds, rule) in rules.items():
            require(f"data.{option}", holds, rule, getattr(self, option))

    @property
    @abstractmethod
    def template(self) -> Slice:
        """A slice that all others are like, in size and units."""

    @property
    @abstractmethod
    def finer_pixels(self) -> int:
        """Pixels of a scanned slice for each that is looked for, along either axis."""

    @abstractmethod
    def scanned(self, positions: Sequence[int]) -> Tensor:
        """Return the values (signals, finer rows, finer columns) of the slices at these positions."""

    @property
    @abstractmethod
    def labels(self) -> Sequence[str]:
        """Names of all slices."""

    @property
    def slice_shape(self) -> tuple[int, int]:
        """Rows and columns of a slice."""
        rows, columns = self.template.values.shape
        return rows, columns

    @cached_property
    def unit_attenuation(self) -> float:
        """The value that the network fits as 1: the range of the numbers, or the largest value where air is missing."""
        return max(self.template.peak / self.template.scale, float(abs(self.template.values).max()))

    @cached_property
    def units(self) -> Units:
        """The relation of the slice's numbers to fitted ones."""
        one = self.template
        return Units(one.scale * self.unit_attenuation, one.offset, one.peak, one.unit)

    @property
    def display_window(self) -> tuple[float, float]:
        """The window of the file, or the one asked for."""
        return self.template.window

    @property
    def degrees(self) -> float:
        """The arc that the views share [degrees]."""
        return FULL[self.beam] if self.arc is None else self.arc

    @cached_property
    def scanner(self) -> Scanner:
        """The geometry of the scan: the axis in the middle of slice and detector, which reaches just across the region."""
        half_width = (max(self.slice_shape) - 1) / 2 * self.template.pixel
        region = self.region or ("square" if self.fills_corners else "circle")
        bins = self.bins or math.ceil(REACH[region] * max(self.slice_shape))
        source, detector = fan_distances(self.source, self.detector, half_width) if self.beam == "fan" else (None, 0.0)
        reach = REACH[region]
        if source is not None:
            # The outermost ray touches the circle of radius `reach`, so at the source it is asin(reach / source) from the
            # middle one, and meets the detector at source + detector times the tangent of that.
            reach = math.tan(math.asin(reach / source)) * (source + detector)
        bin_width = 2 * reach / (bins - 1)
        at_axis = bin_width * (1.0 if source is None else source / (source + detector))
        # The Nyquist rule for views: the rim, at radius 1, moves by the angle between them, which must not exceed a bin.
        views = math.ceil(math.radians(self.degrees) / at_axis) if self.views is None else self.views
        angles = even_angles(views, self.degrees, self.first)
        samples = self.samples or samples_per_line(at_axis, region)
        middle = (bins - 1) / 2
        return Scanner(
            angles=angles,
            bins=bins,
            bin_width=bin_width,
            centre=middle,
            half_width=half_width,
            samples=samples,
            region=region,
            source=source,
            detector=detector,
            jitter=self.jitter,
            width=float(self.rays > 1),
        )

    @property
    def fills_corners(self) -> bool:
        """True if the slice has something outside the circle."""
        rows, columns = ((torch.arange(size) - (size - 1) / 2) * 2 / (max(self.slice_shape) - 1) for size in self.slice_shape)
        outside = rows[:, None].square() + columns.square() >= 1
        return bool((torch.from_numpy(self.template.values).abs()[outside] > EMPTY * self.unit_attenuation).any())

    def observe(self, split: Split) -> Scans:
        """Simulate the scans of a split."""
        return self.scan(self.positions[split])

    def scan(self, positions: Sequence[int]) -> Scans:
        """Simulate the scans of some slices; in between lie as many views that are not measured."""
        scanner = self.scanner
        names = [self.labels[place] for place in positions]
        middles = tuple(angle + scanner.view_step / 2 for angle in scanner.angles[:-1]) if scanner.views > 1 else ()
        between = replace(scanner, angles=middles) if middles else None
        few = max(1, PIXELS // (self.finer_pixels**2 * math.prod(self.slice_shape)))
        starts = range(0, len(positions), few)
        parts = [self.simulate(positions[start : start + few], between) for start in starts]
        slices, exact, unseen = (torch.cat(one) for one in zip(*parts, strict=True))
        measured = torch.stack([self.add_noise(one, name) for one, name in zip(exact, names, strict=True)])
        known = {"slices": slices, "exact": exact, "weights": self.precision(exact, measured)}
        known["between"] = unseen if middles else None
        return Scans(scanner, self.slice_shape, names, measured, **known, between_angles=middles, filter=self.filter)

    def simulate(self, positions: Sequence[int], between: Scanner | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return some slices as they are looked for, their sinograms without noise, and those of the views in between."""
        fine = self.scanned(positions) / self.unit_attenuation
        seen, unseen = (
            torch.empty(len(fine), 0) if one is None else project(fine, one, self.finer_pixels, self.rays)
            for one in (self.scanner, between)
        )
        return coarser(fine, self.finer_pixels), seen, unseen

    def physical(self, sinogram: Tensor) -> float:
        """Return the factor from the numbers of an exact sinogram to attenuation."""
        length = self.unit_attenuation * self.scanner.half_width
        return length if self.template.length == "mm" else self.attenuation / max(float(sinogram.max()), 1e-12)

    def precision(self, exact: Tensor, measured: Tensor) -> Tensor | None:
        """Return the share of photons that came through, which is the inverse variance of a ray up to a factor."""
        if self.photons is None:
            return None
        return torch.stack([(-self.physical(one) * seen).exp() for one, seen in zip(exact, measured, strict=True)])

    def add_noise(self, sinogram: Tensor, name: str) -> Tensor:
        """Return a sinogram (bins, views) with noise that is drawn from the seed and the name of the slice alone."""
        seed = key(self.seed, name)
        measured = sinogram
        if self.photons is not None:
            # Lambert and Beer: of I0 photons I0 exp(-attenuation) arrive, as a Poisson count, whose logarithm is measured. A
            # ray that none came through would measure infinity, so that at least one counts.
            physical = self.physical(sinogram)
            expected = self.photons * torch.exp(-physical * sinogram.double())
            counted = torch.poisson(expected, generator=generator(seed, 0, "photons")).clamp_min(1.0)
            measured = (torch.log(self.photons / counted) / physical).float()
        if self.noise:
            normal = torch.randn(sinogram.shape, generator=generator(seed, 0, "noise"))
            measured = measured + self.noise * sinogram.abs().max() * normal
        return measured


def fan_distances(source: float | None, detector: float | None, half_width: float) -> tuple[float, float]:
    """Return the distances of a fan's source and detector from the axis [half-widths].

    Raises: InputError for a source inside the slice, or a detector before the axis.
    """
    source = SOURCE if source is None else source / half_width
    detector = DETECTOR if detector is None else detector / half_width
    corner = REACH["square"]
    if not (source > corner and detector >= 0):
        rule = f"The source must be outside the slice, farther than {corner * half_width:g} from the axis, and"
        raise InputError(f"{rule} data.detector not negative, got {source * half_width:g} and {detector * half_width:g}.")
    return source, detector


def coarser(slices: Tensor, finer: int) -> Tensor:
    """Return the means (signals, rows, columns) of slices over squares of finer x finer pixels."""
    return slices if finer == 1 else torch.nn.functional.avg_pool2d(slices[:, None], finer)[:, 0]


@torch.no_grad()
def project(slices: Tensor, scanner: Scanner, finer: int = 1, rays: int = 1) -> Tensor:
    """Project slices, bilinear between the centres of pixels, to sinograms (signals, bins, views), each bin the mean of rays.

    Shapes: slices (signals, finer x rows, finer x columns), of which finer x finer are a pixel.
    """
    # The outermost pixels of a slice have their centres at -1 and 1; those of the finer one lie half a pixel less half of
    # a finer one beyond them, and its own field wants them at -1 and 1.
    size = max(slices.shape[1:]) / finer
    samples = max(SAMPLES, math.ceil(REACH[scanner.region] * finer * size / scanner.samples))
    beam = scanner.beam(samples, rays)
    raster = bilinear_field(slices)
    field = Field(lambda points: raster(points * ((size - 1) / (size - 1 / finer))))
    places = torch.cartesian_prod(torch.arange(float(scanner.bins)), torch.arange(float(scanner.views)))[None]
    few = max(1, POINTS // (samples * rays * scanner.samples * len(slices)))
    seen = [observe_at(beam, field, some, {"value"})["value"] for some in places.split(few, 1)]
    return torch.cat(seen, 1)[..., 0].reshape(len(slices), scanner.bins, scanner.views)
