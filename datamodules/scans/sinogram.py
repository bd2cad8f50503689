"""Your own projections: a sinogram in a file, from which a slice is reconstructed that nobody has seen."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.common.batch import Batch, Part, Units
from datamodules.common.draws import Draw, Given
from datamodules.common.files import existing_file
from datamodules.scans.read_sinogram import find_centre, read_sinogram
from datamodules.scans.read_slice import MU_WATER
from datamodules.scans.scan_data import CTData
from datamodules.scans.scanner import REACH, Scanner, samples_for
from datamodules.scans.scans import Compared, Scans
from inr.errors import InputError
from inr.measurements.radon import REGIONS

BEAMS = ("parallel", "fan")
VALIDATED = 4096  # rays
SHOWN = (0.01, 0.998)  # quantiles of the back-projection that a picture shows as black and white, unless the user says
FAR = 0.25  # bins from the middle of the detector beyond which a centre that was found is worth a word
log = logging.getLogger(__name__)


class RayLook(NamedTuple):
    """Some of the rays that a validation looks at."""

    rays: Tensor


class SinogramData(CTData):
    """A sinogram to reconstruct: npy, npz or tiff, line integrals (not counts of photons), and the angles of its views.

    `angles`, `angle_unit`, `order` and `arc` are those of `read_sinogram`. Angles grow as scikit-image's do: at 90 degrees the
    first bin sees the lowest row; `clockwise` if they grow the other way, `flip` if the bins run the other way. `centre` is
    then the bin that sees the axis of rotation; null: found from the centre of mass of the projections of a parallel beam,
    else the middle. Bins are `bin_width` apart, on a fan's flat detector, whose distances from the axis are `detector` and,
    on the other side, `source`. What an .npz file says of these four holds where they are null. The slice has `size` pixels
    a side, null: as many as bins, so that pixel k lies under bin k at angle 0. Training sees each `every`-th view, and those
    in between are scored. `largest` is the attenuation that the network fits as 1, null: the largest integral over half the
    slice's width; with `water`, the attenuation of water, results are in Hounsfield units. `region`, `samples` and `jitter`
    are as of `SimulatedCT`; `window` are the numbers shown as black and as white.

    Units:  bin_width, source and detector in one length; values and water per that length.
    Raises: InputError for what `read_sinogram` refuses, and options outside their range.
    """

    def __init__(
        self,
        path: str | None = None,
        angles: str | Sequence[float] | None = None,
        angle_unit: str | None = None,
        order: str | None = None,
        arc: float | None = None,
        clockwise: bool = False,
        flip: bool = False,
        beam: str | None = None,
        bin_width: float | None = None,
        centre: float | None = None,
        source: float | None = None,
        detector: float | None = None,
        size: int | None = None,
        every: int = 1,
        largest: float | None = None,
        water: float | None = None,
        window: Sequence[float] | None = None,
        region: str = "circle",
        samples: int | None = None,
        jitter: bool = False,
        **ct: Any,
    ) -> None:
        super().__init__(**ct)
        rules = {
            "path": (path is not None, "must name the file of a sinogram, .npy, .npz or .tiff", "null"),
            "beam": (beam in (None, *BEAMS), f"must be one of {', '.join(BEAMS)}, or null: what the file says", beam),
            "size": (size is None or size >= 2, "must be at least 2, or null for the number of bins", size),
            "every": (every >= 1, "must be at least 1", every),
            "largest": (largest is None or largest > 0, "must be positive, or null", largest),
            "water": (water is None or water > 0, f"must be positive, or null; {MU_WATER} per mm at 70 keV", water),
            "region": (region in REGIONS, f"must be one of {', '.join(REGIONS)}", region),
            "samples": (samples is None or samples >= 2, "must be at least 2, or null for one per bin", samples),
            "window": (window is None or (len(window) == 2 and window[0] < window[1]), "must be [low, high]", window),
        }
        self.check(rules)
        self.path = existing_file("data.path", path or "")
        read = read_sinogram(self.path, angles, angle_unit, order, arc, None if beam is None else beam == "fan")
        fan = "source" in read.geometry if beam is None else beam == "fan"
        asked = {"bin_width": bin_width, "centre": centre, "source": source, "detector": detector}
        known = {"bin_width": 1.0} | dict(read.geometry) | {name: value for name, value in asked.items() if value is not None}
        self.check(
            {
                name: ((name in known) == fan, "goes with beam=fan, which needs it", known.get(name))
                for name in ("source", "detector")
            }
            | {"bin_width": (known["bin_width"] > 0, "must be positive", known["bin_width"])}
        )
        values, turned = read.values, np.asarray(read.angles)
        if clockwise:
            values, turned = values[:, ::-1], -turned[::-1]
        self.values = np.ascontiguousarray(values[::-1] if flip else values)
        self.angles = tuple(float(angle) for angle in turned)
        self.measured = np.arange(0, len(self.angles), every)
        if len(self.measured) < 2:
            raise InputError(f"A reconstruction needs two views or more, every={every} leaves {len(self.measured)}; take more.")
        self.bin_width, self.centre, self.side = known["bin_width"], known.get("centre"), size or len(values)
        self.source, self.detector = known.get("source"), known.get("detector", 0.0)
        self.asked, self.water, self.given = window, water, largest
        self.region, self.samples, self.jitter = region, samples, jitter

    @staticmethod
    def check(rules: Mapping[str, tuple[bool, str, Any]]) -> None:
        """Raise InputError for an option that does not obey its rule."""
        for option, (holds, rule, given) in rules.items():
            if not holds:
                raise InputError(f"data.{option} {rule}, got {'null' if given is None else given}.")

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the slice."""
        return self.side, self.side

    @cached_property
    def axis(self) -> float:
        """The bin that sees the axis of rotation."""
        middle, bins = (len(self.values) - 1) / 2, len(self.values)
        if self.centre is not None:
            if not 0 <= self.centre <= bins - 1:
                raise InputError(f"data.centre must be a bin of the detector, 0 .. {bins - 1}, got {self.centre}.")
            return self.centre
        found = None if self.source is not None else find_centre(self.values, self.angles)
        if found is None:
            return middle
        if abs(found - middle) > FAR:
            log.warning("The projections turn about bin %.2f of %d; data.centre=%g means the middle.", found, bins, middle)
        return found

    @cached_property
    def scanner(self) -> Scanner:
        """The geometry of the measured views."""
        bins, side = len(self.values), self.side
        magnified = 1.0 if self.source is None else self.source / (self.source + self.detector)
        pixel = bins * self.bin_width * magnified / side
        half_width = (side - 1) / 2 * pixel
        source = None if self.source is None else self.source / half_width
        if source is not None and not source > REACH["square"]:
            corner = REACH["square"] * half_width
            raise InputError(f"data.source must be outside the slice, above {corner:g}, got {self.source:g}.")
        width = self.bin_width / half_width
        middle = 2 * ((self.axis + 0.5) * side / bins - 0.5) / (side - 1) - 1
        return Scanner(
            angles=tuple(self.angles[view] for view in self.measured),
            bins=bins,
            width=width,
            centre=self.axis,
            half_width=half_width,
            samples=self.samples or samples_for(width * magnified, self.region),
            region=self.region,
            pivot=(middle, middle),
            source=source,
            detector=self.detector / half_width,
            jitter=self.jitter,
        )

    @cached_property
    def largest(self) -> float:
        """The attenuation per length that the network fits as 1."""
        return self.given or float(abs(self.values).max()) / self.scanner.half_width

    @cached_property
    def units(self) -> Units:
        """Attenuation per length, or Hounsfield units; nobody knows the slice, so the peak is what pictures show."""
        if self.water is not None:
            return Units(1000 * self.largest / self.water, -1000.0, 2000.0, "HU")
        return Units(self.largest, 0.0, self.largest, "attenuation per length")

    @cached_property
    def window(self) -> tuple[float, float]:
        """What a picture shows as black and as white: as asked, else nearly all of the filtered back-projection."""
        if self.asked is not None:
            return self.asked[0], self.asked[1]
        back = self.restore(self.evaluated.back_projected(self.shape, "hann")[0])[self.disc]
        low, high = np.quantile(back.numpy(), SHOWN).tolist()
        return low, max(high, low + 1e-12)

    def scan(self, positions: Sequence[int]) -> Scans:
        """The views that are measured, and those in between."""
        fitted = torch.from_numpy(self.values)[None] / (self.largest * self.scanner.half_width)
        rest = np.setdiff1d(np.arange(len(self.angles)), self.measured)
        between = fitted[..., rest] if len(rest) else None
        others = tuple(self.angles[view] for view in rest)
        return Scans(self.scanner, [self.path.stem], fitted[..., self.measured], between=between, others=others)

    @cached_property
    def validation(self) -> Compared:
        """What a validation compares: some rays of the views in between, or of the measured ones where there are none."""
        return list(self.evaluated.compared(VALIDATED).values())[-1]

    def val_dataloader(self) -> Given:
        """The rays that a validation compares, some at a time."""
        rays = torch.arange(self.validation.coordinates.shape[1])
        return Given(RayLook(some) for some in rays.split(max(1, self.chunk // self.scanner.samples)))

    def evaluation_batch(self, drawn: Draw | RayLook, device: torch.device) -> Batch:
        """Pixels of the slice, or rays of a validation."""
        if isinstance(drawn, Draw):
            return super().evaluation_batch(drawn, device)
        part = Part(self.validation.coordinates[:, drawn.rays].to(device), {}, context=self.validation.context)
        return self.evaluated.batch(torch.zeros(1, dtype=torch.long), {"data": part}, self.seen)

    def validated(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor, None]]:
        """What a validation saw of rays (samples, 1), and what was measured, scaled so that their peak is that of slices."""
        truth = self.validation.truth.reshape(-1, 1)
        scale = self.units.peak / self.units.scale / truth.abs().max()
        yield values * scale, truth * scale, None
