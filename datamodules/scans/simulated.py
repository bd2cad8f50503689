"""Scans of known slices: what a scanner would have seen of them, with its noise."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from datamodules.common.batch import Units
from datamodules.scans.read_slice import Slice
from datamodules.scans.scan_data import CTData
from datamodules.scans.scanner import REACH, Scanner, samples_for, spread
from datamodules.scans.scans import Scans
from inr.derivatives import observe_at
from inr.errors import InputError
from inr.measurements.radon import REGIONS
from inr.networks.sampled import bilinear_field
from inr.randomness import generator, key

BEAMS, FULL = ("parallel", "fan"), {"parallel": 180.0, "fan": 360.0}
EMPTY = 1e-3  # of the largest value, which a slice may have outside its circle and still count as empty there
FINER = 2  # samples of a simulated line for each of the network's
SOURCE, DETECTOR = 3.0, 1.5  # half-widths, where the user does not say
RAYS = 2**22  # points of the slices that are looked up at a time


class SimulatedCT(CTData):
    """Slices whose projections are simulated: bilinear between the centres of pixels, integrated along the lines.

    Subclasses give `sample` (a slice, for size and units), `slices` (the values of some of them) and `label`.

    Options: `views` projections share `arc` evenly, from `first` on, its end excluded; null: half a turn of a `parallel`
    `beam`, a whole one of a `fan`; views null: as many as move the rim by a bin each. `bins` of the detector reach across the
    slice; null: as many as the slice has pixels. `region` is what the lines are followed through, as of
    `inr.measurements.radon`; null: the circle if slices are empty outside of it, else the square. `source` and `detector` are
    the distances of a fan's source and detector from the axis. `samples` of the network on a line, null: one per bin; `jitter`
    draws them anew in every step. `photons` per ray without slice make Poisson noise, for which a slice without physical units
    is scaled so that its densest line attenuates by exp(-`attenuation`); `noise` is the standard deviation of gaussian noise
    as a share of the largest integral.

    Units:  arc and first in degrees; source and detector in the length of the slice's pixels.
    Raises: InputError for options outside their range.
    """

    def __init__(
        self,
        views: int | None = None,
        arc: float | None = None,
        first: float = 0.0,
        beam: str = "parallel",
        bins: int | None = None,
        region: str | None = None,
        source: float | None = None,
        detector: float | None = None,
        samples: int | None = None,
        jitter: bool = False,
        photons: float | None = None,
        attenuation: float = 4.0,
        noise: float = 0.0,
        **ct: Any,
    ) -> None:
        super().__init__(**ct)
        rules = {
            "views": (views is None or views >= 1, "must be at least 1, or null for one per bin at the rim", views),
            "beam": (beam in BEAMS, f"must be one of {', '.join(BEAMS)}", beam),
            "bins": (bins is None or bins >= 3, "must be at least 3, or null for as many as the slice has pixels", bins),
            "region": (region in (None, *REGIONS), f"must be null or one of {', '.join(REGIONS)}", region),
            "samples": (samples is None or samples >= 2, "must be at least 2, or null for one per bin", samples),
            "photons": (photons is None or photons > 0, "must be positive, or null for no such noise", photons),
            "attenuation": (attenuation > 0, "must be positive", attenuation),
            "noise": (0 <= noise < math.inf, "must not be negative", noise),
            "source": (source is None or beam == "fan", "is for beam=fan; leave it out", source),
            "detector": (detector is None or beam == "fan", "is for beam=fan; leave it out", detector),
        }
        for option, (holds, rule, given) in rules.items():
            if not holds:
                raise InputError(f"data.{option} {rule}, got {given}.")
        self.views, self.arc, self.first = views, FULL[beam] if arc is None else arc, first
        self.bins, self.region, self.samples, self.jitter = bins, region, samples, jitter
        self.source, self.detector, self.fan = source, detector, beam == "fan"
        self.photons, self.attenuation, self.noise = photons, attenuation, noise

    @cached_property
    def sample(self) -> Slice:
        """A slice that all others are like, in size and units."""
        raise NotImplementedError(f"{type(self).__name__} must have a slice: define sample.")

    def slices(self, positions: Sequence[int]) -> Tensor:
        """Values (signals, rows, columns) of the slices at these positions."""
        raise NotImplementedError(f"{type(self).__name__} must have slices: define slices(positions).")

    def label(self, position: int) -> str:
        """The name of a slice."""
        raise NotImplementedError(f"{type(self).__name__} must name its slices: define label(position).")

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the slice."""
        rows, columns = self.sample.values.shape
        return rows, columns

    @cached_property
    def largest(self) -> float:
        """The value that the network fits as 1: the range of the numbers, or the largest value where air is missing."""
        return max(self.sample.peak / self.sample.scale, float(abs(self.sample.values).max()))

    @cached_property
    def units(self) -> Units:
        """The numbers of the slice."""
        one = self.sample
        return Units(one.scale * self.largest, one.offset, one.peak, one.unit)

    @cached_property
    def window(self) -> tuple[float, float]:
        """The window of the file, or the one asked for."""
        return self.sample.window

    @cached_property
    def scanner(self) -> Scanner:
        """The geometry of the scan: the axis in the middle of slice and detector, which reaches just across the region."""
        half_width = (max(self.shape) - 1) / 2 * self.sample.pixel
        region = self.region or ("square" if self.spills else "circle")
        bins = self.bins or math.ceil(REACH[region] * max(self.shape))
        source, detector, reach = None, 0.0, REACH[region]
        if self.fan:
            source = SOURCE if self.source is None else self.source / half_width
            detector = DETECTOR if self.detector is None else self.detector / half_width
            corner = REACH["square"]
            if not (source > corner and detector >= 0):
                raise InputError(
                    f"The source must be outside the slice, farther than {corner * half_width:g} from the axis, and"
                    f" data.detector not negative, got {source * half_width:g} and {detector * half_width:g}."
                )
            reach = math.tan(math.asin(reach / source)) * (source + detector)
        width = 2 * reach / (bins - 1)
        at_axis = width * (1.0 if source is None else source / (source + detector))
        samples = self.samples or samples_for(at_axis, region)
        views = math.ceil(math.radians(self.arc) / at_axis) if self.views is None else self.views
        angles = spread(views, self.arc, self.first)
        middle, centre = (0.0, 0.0), (bins - 1) / 2
        return Scanner(angles, bins, width, centre, half_width, samples, region, middle, source, detector, self.jitter)

    @property
    def spills(self) -> bool:
        """Whether the slice has something outside the circle."""
        rows, columns = ((torch.arange(size) - (size - 1) / 2) * 2 / (max(self.shape) - 1) for size in self.shape)
        outside = rows[:, None].square() + columns.square() >= 1
        return bool((torch.from_numpy(self.sample.values).abs()[outside] > EMPTY * self.largest).any())

    def scan(self, positions: Sequence[int]) -> Scans:
        """Simulate the scans of some slices; in between lie as many views that are not measured."""
        names, scanner, slices = [self.label(place) for place in positions], self.scanner, self.slices(positions) / self.largest
        others = tuple(angle + scanner.step / 2 for angle in scanner.angles[:-1]) if scanner.views > 1 else ()
        exact = project(slices, scanner)
        between = project(slices, replace(scanner, angles=others)) if others else None
        measured = torch.stack([self.disturbed(one, name) for one, name in zip(exact, names, strict=True)])
        return Scans(scanner, names, measured, slices, exact, between, others)

    def disturbed(self, sinogram: Tensor, name: str) -> Tensor:
        """What noise makes of a sinogram (bins, views); drawn from the seed and the name of the slice alone."""
        seed, seen = key(self.seed, name), sinogram
        if self.photons is not None:
            length = self.largest * self.scanner.half_width  # from fitted numbers to attenuation
            physical = length if self.sample.length == "mm" else self.attenuation / max(float(sinogram.max()), 1e-12)
            expected = self.photons * torch.exp(-physical * sinogram.double())
            counted = torch.poisson(expected, generator=generator(seed, 0, "photons")).clamp_min(1.0)
            seen = (torch.log(self.photons / counted) / physical).float()
        if self.noise:
            drawn = torch.randn(sinogram.shape, generator=generator(seed, 0, "noise"))
            seen = seen + self.noise * sinogram.abs().max() * drawn
        return seen


@torch.no_grad()
def project(slices: Tensor, scanner: Scanner) -> Tensor:
    """Sinograms (signals, bins, views) of slices (signals, rows, columns), bilinear between the centres of their pixels."""
    beam, field = scanner.beam(FINER), bilinear_field(slices)
    places = torch.cartesian_prod(torch.arange(float(scanner.bins)), torch.arange(float(scanner.views)))[None]
    few = max(1, RAYS // (FINER * scanner.samples * len(slices)))
    parts = [observe_at(beam, field, some, {"value"})["value"] for some in places.split(few, 1)]
    return torch.cat(parts, 1)[..., 0].reshape(len(slices), scanner.bins, scanner.views)
