"""The geometry of a scan: source, detector and slice around the axis of rotation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from datamodules.common.files import require
from inr.baselines.tomography import fewest_edges, filtered_back_projection, sart, to_parallel
from inr.measurements.radon import REACH, FanBeam, LineIntegrals, ParallelBeam
from inr.measurements.whole_slices import WholeSlices

FEWEST = 16  # samples of a line, however wide the bins: a midpoint rule with fewer misses whole organs
MOST = 1024  # samples of a line, however narrow the bins: the memory of a training step grows with them
EVEN = 0.99  # share of the widest step from view to view that every step has, if views are even
PLAY = 0.1  # of a step, by which views that close may miss their beginning


@dataclass(frozen=True)
class Scanner:
    """The geometry of a scan, as of `inr.measurements.radon`, in half-widths of the slice."""

    angles: tuple[float, ...]  # of the views [rad], ascending
    bins: int  # of the detector
    bin_width: float  # on the detector [half-widths]
    centre: float  # bin that sees the axis of rotation
    half_width: float  # of the slice [length of its pixels]
    samples: int  # of the network on a line
    region: str = "circle"  # that lines are followed through
    pivot: tuple[float, float] = (0.0, 0.0)  # (row, column) of the axis in the slice's [-1, 1]
    source: float | None = None  # distance of a fan's source from the axis [half-widths]; None: parallel beams
    detector: float = 0.0  # distance of a fan's detector from the axis, on the other side [half-widths]
    jitter: bool = False  # whether the samples are drawn anew in every step
    width: float = 0.0  # of a bin, over which it sees the mean [bins]; 0: a line through its middle

    def describe(self) -> dict[str, Any]:
        """Return the measurement as plain options, as Hydra instantiates it."""
        kind = self.measurement
        fan = {} if self.source is None else {"source": self.source, "detector": self.detector}
        return {
            "_target_": f"{kind.__module__}.{kind.__name__}",
            "bin_width": self.bin_width,
            "samples": self.samples,
            "centre": self.centre,
            "angles": list(self.angles),
            "pivot": list(self.pivot),
            "region": self.region,
            "jitter": self.jitter,
            "width": self.width,
        } | fan

    def describe_whole(self, shape: Sequence[int], oversample: int) -> dict[str, Any]:
        """Return the measurement that sees whole slices (rows, columns) at once, in the same form."""
        return {
            "_target_": f"{WholeSlices.__module__}.{WholeSlices.__name__}",
            "beam": self.describe(),
            "bins": self.bins,
            "views": self.views,
            "shape": list(shape),
            "oversample": oversample,
        }

    @property
    def measurement(self) -> type[LineIntegrals]:
        """The kind of beam."""
        return ParallelBeam if self.source is None else FanBeam

    def beam(self, finer: int = 1, rays: int = 1) -> LineIntegrals:
        """Return the measurement, with so many times as many samples on a line, and so many rays to a bin."""
        options = {name: value for name, value in self.describe().items() if name != "_target_"}
        return self.measurement(**options | {"samples": finer * self.samples, "rays": rays})

    @property
    def views(self) -> int:
        """Number of projections."""
        return len(self.angles)

    @property
    def view_step(self) -> float:
        """The widest step from one view to the next [rad], the one from the last to the first aside."""
        return float(np.diff(self.angles).max()) if self.views > 1 else math.inf

    @property
    def rim_step(self) -> float:
        """The path of the slice's rim from view to view [bins at the axis]."""
        return self.view_step / self.beam().bin_at_axis

    @property
    def dense(self) -> bool:
        """True where differences from view to view are derivatives: the rim moves at most a bin, and always as much."""
        # The Nyquist rule for views: the rim, at radius 1, moves by the step between views; farther than a bin, and what
        # passes there between two views shows in neither of them.
        return self.rim_step <= 1 and float(np.diff(self.angles).min()) > EVEN * self.view_step

    @property
    def half_turns(self) -> int:
        """Number of half turns after which the views begin anew, to a tenth of a step; 0: they do not."""
        if self.views < 2:
            return 0
        step = float(np.median(np.diff(self.angles)))  # not the widest, which may be a view that is missing
        covered = (self.angles[-1] - self.angles[0] + step) / math.pi
        turns = round(covered)
        whole = turns >= 1 and abs(covered - turns) * math.pi < PLAY * step
        # A fan sees no view from the other side, so that only whole turns bring it back to its beginning.
        return turns if whole and (self.source is None or turns % 2 == 0) else 0

    def surrounded(self, sinograms: Float[Tensor, "signals bins views"]) -> Float[Tensor, "signals bins more"]:
        """Add one view before the first and one after the last, so that differences by the view have both sides.

        Where the views close, these are the last and the first, the detector flipped about the axis after an odd number of
        half turns; else views that make a central difference equal the one-sided one of second order.
        """
        first = sinograms[..., :1]
        last = sinograms[..., -1:]
        if self.half_turns:
            before, after = (self.flipped(last), self.flipped(first)) if self.half_turns % 2 else (last, first)
        elif self.views > 2:
            # (v[1] - v[-1]) / 2 = (-3 v[0] + 4 v[1] - v[2]) / 2 asks for v[-1] = 3 v[0] - 3 v[1] + v[2].
            before, after = (
                3 * (one[..., :1] - one[..., 1:2]) + one[..., 2:3] for one in (sinograms, sinograms[..., -3:].flip(-1))
            )
        else:
            before, after = first, last
        return torch.cat([before, sinograms, after], -1)

    def flipped(self, view: Float[Tensor, "signals bins 1"]) -> Float[Tensor, "signals bins 1"]:
        """Turn a parallel projection to the other side, cubic between bins; zero where the detector does not reach."""
        # The line at offset s and angle a + pi is the one at -s and a, walked the other way. Bins are at s = width * (bin -
        # centre), so bin j reads at 2 * centre - j, which lies between bins unless the centre is a whole or a half one.
        places = 2 * self.centre - torch.arange(self.bins, dtype=torch.float64)
        low = places.floor().long()
        t = (places - low).to(view)[:, None]
        # Lagrange's cubic through bins -1, 0, 1, 2: the weight of bin k is the product of (t - m) / (k - m) over the other m.
        # Its error is of fourth order; grid_sample's bicubic kernel is only of second, as are the derivatives made of this.
        cubic = (
            -t * (t - 1) * (t - 2) / 6,
            (t + 1) * (t - 1) * (t - 2) / 2,
            -(t + 1) * t * (t - 2) / 2,
            (t + 1) * t * (t - 1) / 6,
        )
        padded = torch.nn.functional.pad(view, (0, 0, 2, 2))  # two bins of zeros on either side; farther reads end in them
        reads = ((low + step + 2).clamp(0, self.bins + 3) for step in (-1, 0, 1, 2))
        return torch.stack([weight * padded[:, read] for weight, read in zip(cubic, reads, strict=True)]).sum(0)

    def pixel_grid(self, shape: Sequence[int]) -> tuple[list[float], float]:
        """Return the pixel (row, column) of a slice that the axis passes, and the side of a pixel [half-widths]."""
        side = max(shape) - 1  # pixels from -1 to 1, along the longest axis
        return [(size - 1) / 2 + side / 2 * offset for size, offset in zip(shape, self.pivot, strict=True)], 2 / side

    def disc(self, shape: Sequence[int]) -> Bool[Tensor, "rows columns"]:
        """Return the mask of a slice's pixels inside the circle of radius 1 around the axis."""
        side = max(shape) - 1
        axes = [torch.linspace(1 - size, size - 1, size, dtype=torch.float64) / side for size in shape]
        rows, columns = torch.meshgrid(*(axis - at for axis, at in zip(axes, self.pivot, strict=True)), indexing="ij")
        return rows.square() + columns.square() < 1

    def zero_outside(self, slices: Float[Tensor, "signals rows columns"]) -> Float[Tensor, "signals rows columns"]:
        """Set slices to zero where no line of the region goes."""
        return slices * self.disc(slices.shape[1:]) if self.region == "circle" else slices

    def back_project(self, sinograms: Float[Tensor, "signals bins views"], shape: Sequence[int], window: str) -> Tensor:
        """Reconstruct slices (signals, rows, columns) by filtered back-projection."""
        angles = torch.tensor(self.angles, dtype=torch.float64)
        pivot, pixel = self.pixel_grid(shape)
        slices = filtered_back_projection(
            sinograms,
            angles,
            shape=shape,
            pivot=pivot,
            pixel=pixel,
            bin_width=self.bin_width,
            centre=self.centre,
            window=window,
            source=self.source,
            detector=self.detector,
        )
        return self.zero_outside(slices)

    def iterate(self, sinograms: Float[Tensor, "signals bins views"], shape: Sequence[int]) -> Tensor:
        """Reconstruct slices (signals, rows, columns) by SART; fans must close, and are sorted into parallel beams before."""
        angles = torch.tensor(self.angles, dtype=torch.float64)
        pivot, pixel = self.pixel_grid(shape)
        slices = []
        for sinogram in sinograms:
            # scikit-image knows SART of parallel beams alone, but a fan over a whole turn holds every parallel line.
            parallel = sinogram, angles, self.bin_width, self.centre
            if self.source is not None:
                parallel = to_parallel(*parallel, self.source, self.detector)
            values, turned, width, centre = parallel
            slices.append(sart(values, turned, tuple(shape), pivot=pivot, pixel=pixel, bin_width=width, centre=centre))
        return self.zero_outside(torch.stack(slices))

    def few_edges(
        self, sinograms: Float[Tensor, "signals bins views"], shape: Sequence[int], weights: Tensor | None = None
    ) -> Tensor:
        """Reconstruct slices (signals, rows, columns) with total variation; weights are those of the rays."""
        return self.zero_outside(fewest_edges(sinograms, self.beam(), shape, weights))


def even_angles(views: int, arc: float, first: float) -> tuple[float, ...]:
    """Return the angles [rad] of views that share an arc evenly, its end excluded.

    Units:  arc and first in degrees.
    Raises: InputError for fewer than one view, or an arc outside (0, 360].
    """
    require("data.views", views >= 1, "must be at least 1", views)
    require("data.arc", 0 < arc <= 360, "must be above 0 and at most 360 degrees", arc)
    # The end of the arc is left out: at half a turn it shows the first view again, flipped, and at a whole one the same.
    return tuple(math.radians(first + arc * view / views) for view in range(views))


def samples_per_line(bin_width: float, region: str) -> int:
    """Return the number of samples of a line, one per bin along the longest; the width is that at the axis."""
    return min(max(math.ceil(2 * REACH[region] / bin_width), FEWEST), MOST)
