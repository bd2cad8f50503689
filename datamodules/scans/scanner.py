"""Where the source, the detector and the slice of a scan are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr.baselines.tomography import filtered_back_projection, sart, to_parallel
from inr.errors import InputError
from inr.measurements.radon import FanBeam, LineIntegrals, ParallelBeam

FEWEST, MOST = 16, 1024  # samples of a line, unless the user says otherwise
EVEN = 0.99  # how much of the widest step from view to view every step is, if views are even
REACH = {"circle": 1.0, "strip": 1.0, "square": math.sqrt(2)}  # how far from the axis lines of a region can be


@dataclass(frozen=True)
class Scanner:
    """The geometry of a scan, as of `inr.measurements.radon`, in half-widths of the slice.

    Units:  angles [rad], ascending; width and pixel [half-widths]; centre [bins]; pivot (row, column) in the slice's [-1, 1];
            source and detector [half-widths], a source of None for parallel beams; half_width in the user's length.
    """

    angles: tuple[float, ...]
    bins: int
    width: float
    centre: float
    half_width: float
    samples: int
    region: str = "circle"
    pivot: tuple[float, float] = (0.0, 0.0)
    source: float | None = None
    detector: float = 0.0
    jitter: bool = False

    def describe(self) -> dict[str, Any]:
        """The measurement as plain options."""
        kind = ParallelBeam if self.source is None else FanBeam
        fan = {} if self.source is None else {"source": self.source, "detector": self.detector}
        return {
            "_target_": f"{kind.__module__}.{kind.__name__}",
            "bin_width": self.width,
            "samples": self.samples,
            "centre": self.centre,
            "angles": list(self.angles),
            "pivot": list(self.pivot),
            "region": self.region,
            "jitter": self.jitter,
        } | fan

    def beam(self, finer: int = 1) -> LineIntegrals:
        """The measurement, with so many times as many samples on a line."""
        options = self.describe()
        del options["_target_"]
        return (ParallelBeam if self.source is None else FanBeam)(**options | {"samples": finer * self.samples})

    @property
    def views(self) -> int:
        """How many projections there are."""
        return len(self.angles)

    @property
    def turn(self) -> float:
        """After which angle the projections are known again: half a turn of parallel beams, a whole one of fans."""
        return math.pi if self.source is None else 2 * math.pi

    @property
    def step(self) -> float:
        """The widest step from one view to the next [rad], the one from the last to the first aside."""
        return float(np.diff(self.angles).max()) if self.views > 1 else math.inf

    @property
    def arc(self) -> float:
        """How far the rim of the slice moves from view to view [bins at the axis]."""
        magnified = 1.0 if self.source is None else self.source / (self.source + self.detector)
        return self.step / (self.width * magnified)

    @property
    def dense(self) -> bool:
        """Whether differences from view to view are derivatives: the rim moves at most a bin, and always as much."""
        return self.arc <= 1 and float(np.diff(self.angles).min()) > EVEN * self.step

    @property
    def closes(self) -> int:
        """After how many half turns the views begin anew, to a tenth of a step; 0: they do not."""
        if self.views < 2:
            return 0
        covered = (self.angles[-1] - self.angles[0] + self.step) / math.pi
        turns = round(covered)
        whole = turns >= 1 and abs(covered - turns) * math.pi < 0.1 * self.step
        return turns if whole and (self.source is None or turns % 2 == 0) else 0

    def surrounded(self, sinograms: Float[Tensor, "signals bins views"]) -> Float[Tensor, "signals bins more"]:
        """Sinograms with one more view before the first and after the last, so that differences by the view have both sides.

        Where the views close, these are the last and the first, the detector flipped about the axis after an odd number of
        half turns; else what makes a central difference equal the one-sided one of second order.
        """
        first, last = sinograms[..., :1], sinograms[..., -1:]
        if self.closes:
            before, after = (self.flipped(last), self.flipped(first)) if self.closes % 2 else (last, first)
        elif self.views > 2:
            before, after = (
                3 * (one[..., :1] - one[..., 1:2]) + one[..., 2:3] for one in (sinograms, sinograms[..., -3:].flip(-1))
            )
        else:
            before, after = first, last
        return torch.cat([before, sinograms, after], -1)

    def flipped(self, view: Float[Tensor, "signals bins 1"]) -> Float[Tensor, "signals bins 1"]:
        """A parallel projection seen from the other side, cubic between bins; zero where the detector does not reach."""
        places = 2 * self.centre - torch.arange(self.bins, dtype=torch.float64)
        low = places.floor().long()
        t = (places - low).to(view)[:, None]
        cubic = (
            -t * (t - 1) * (t - 2) / 6,
            (t + 1) * (t - 1) * (t - 2) / 2,
            -(t + 1) * t * (t - 2) / 2,
            (t + 1) * t * (t - 1) / 6,
        )
        padded = torch.nn.functional.pad(view, (0, 0, 2, 2))
        reads = ((low + step + 2).clamp(0, self.bins + 3) for step in (-1, 0, 1, 2))
        return torch.stack([weight * padded[:, read] for weight, read in zip(cubic, reads, strict=True)]).sum(0)

    def grid(self, shape: Sequence[int]) -> dict[str, Any]:
        """The pixels of a slice, as reconstructions take them."""
        side = max(shape) - 1
        middle = [(size - 1) / 2 + side / 2 * offset for size, offset in zip(shape, self.pivot, strict=True)]
        return {"shape": tuple(shape), "pivot": tuple(middle), "pixel": 2 / side}

    def disc(self, shape: Sequence[int]) -> Bool[Tensor, "rows columns"]:
        """The pixels of a slice inside the circle of radius 1 around the axis."""
        side = max(shape) - 1
        axes = [torch.linspace(1 - size, size - 1, size, dtype=torch.float64) / side for size in shape]
        rows, columns = torch.meshgrid(*(axis - at for axis, at in zip(axes, self.pivot, strict=True)), indexing="ij")
        return rows.square() + columns.square() < 1

    def seen(self, slices: Float[Tensor, "signals rows columns"]) -> Float[Tensor, "signals rows columns"]:
        """Slices that are zero where no line of the region goes."""
        return slices * self.disc(slices.shape[1:]) if self.region == "circle" else slices

    def back_project(self, sinograms: Float[Tensor, "signals bins views"], shape: Sequence[int], window: str) -> Tensor:
        """Slices (signals, rows, columns) by filtered back-projection."""
        angles = torch.tensor(self.angles, dtype=torch.float64)
        detector: dict[str, Any] = {"bin_width": self.width, "centre": self.centre, "detector": self.detector}
        grid = self.grid(shape)
        return self.seen(filtered_back_projection(sinograms, angles, **grid, **detector, window=window, source=self.source))

    def iterate(self, sinograms: Float[Tensor, "signals bins views"], shape: Sequence[int]) -> Tensor:
        """Slices (signals, rows, columns) by SART; fans must close, and are sorted into parallel beams before."""
        angles, slices = torch.tensor(self.angles, dtype=torch.float64), []
        for sinogram in sinograms:
            parallel = sinogram, angles, self.width, self.centre
            if self.source is not None:
                parallel = to_parallel(*parallel, self.source, self.detector)
            values, turned, width, centre = parallel
            slices.append(sart(values, turned, **self.grid(shape), bin_width=width, centre=centre))
        return self.seen(torch.stack(slices))


def spread(views: int, arc: float, first: float) -> tuple[float, ...]:
    """Angles [rad] of views that share an arc evenly, its end excluded.

    Units:  arc and first in degrees.
    Raises: InputError for fewer than one view, or an arc outside (0, 360].
    """
    if views < 1:
        raise InputError(f"data.views must be at least 1, got {views}.")
    if not 0 < arc <= 360:
        raise InputError(f"data.arc must be above 0 and at most 360 degrees, got {arc}.")
    return tuple(math.radians(first + arc * view / views) for view in range(views))


def samples_for(width: float, region: str) -> int:
    """Samples of a line, one per bin along the longest."""
    return min(max(math.ceil(2 * REACH[region] / width), FEWEST), MOST)
