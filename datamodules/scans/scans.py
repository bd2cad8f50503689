"""Signals as a scanner saw them, and the batches of rays and pixels that they become."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from datamodules.common.batch import Batch, Part
from datamodules.scans.scanner import Scanner
from inr.field import Signals
from inr.supervision.differences import jacobian_at


class Compared(NamedTuple):
    """Rays on a coarse grid of bins and views.

    Shapes: coordinates (1, bins x views, 2), truth (signals, bins, views) in fitted numbers.
    """

    coordinates: Tensor
    truth: Tensor
    context: dict[str, Tensor]
    meaning: str

    @classmethod
    def of(cls, sinograms: Tensor, most: int, context: dict[str, Tensor], meaning: str) -> "Compared":
        """Every so many bins and views of sinograms."""
        stride = math.ceil(math.sqrt(sinograms[0].numel() / most))
        bins, views = (torch.arange(0, size, stride) for size in sinograms.shape[1:])
        every = f"every {stride}th bin and view of the " if stride > 1 else ""
        truth = sinograms[:, ::stride, ::stride]
        return cls(torch.cartesian_prod(bins, views).float()[None], truth, context, every + meaning)


@dataclass
class Scans:
    """Some signals as they were scanned, in fitted numbers: field values, and field values x half-width.

    Shapes: sinograms (signals, bins, views) as measured; slices (signals, rows, columns), None if nobody knows them; exact
            (signals, bins, views) the sinograms without noise, None if nobody knows them; between (signals, bins, others) the
            same at `others`, angles [rad] that were not measured, None if there are none.
    """

    scanner: Scanner
    names: Sequence[str]
    sinograms: Tensor
    slices: Tensor | None = None
    exact: Tensor | None = None
    between: Tensor | None = None
    others: tuple[float, ...] = ()
    kept: dict[Any, Tensor] = field(default_factory=dict)  # what was made of them, by kind and device

    def __len__(self) -> int:
        """How many signals there are."""
        return len(self.names)

    def on(self, device: torch.device) -> Float[Tensor, "bins more signals"]:
        """The sinograms on a device, with one more view on either side."""
        if device not in self.kept:
            self.kept[device] = self.scanner.surrounded(self.sinograms).movedim(0, -1).contiguous().to(device)
        return self.kept[device]

    def back_projected(self, shape: Sequence[int], window: str) -> Float[Tensor, "signals rows columns 1"]:
        """Filtered back-projections."""
        if window not in self.kept:
            self.kept[window] = self.scanner.back_project(self.sinograms, shape, window).float()[..., None]
        return self.kept[window]

    def compared(self, most: int) -> dict[str, "Compared"]:
        """What projections of a reconstruction are compared with: at most so many rays of the measured views, and of others."""
        known, exact = ("", self.sinograms) if self.exact is None else ("noise-free ", self.exact)
        sets = {"views": Compared.of(exact, most, {}, f"{known}measured views")}
        if self.between is not None:
            angles = {"angles": torch.tensor(self.others, dtype=torch.float64)}
            sets["between"] = Compared.of(self.between, most, angles, f"{known}views that were not measured")
        return sets

    def ray_part(self, signals: Tensor, rays: Tensor, quantities: Collection[str], filter: str, **context: Any) -> Part:
        """The part of a batch that looks along some rays, given by flat index, with targets of the quantities."""
        places = torch.stack([rays // self.scanner.views, rays % self.scanner.views], -1)
        beyond = torch.tensor([0, 1], device=rays.device)  # the view before the first
        targets = self.targets(self.on(rays.device), signals, places + beyond, quantities, filter)
        return Part(places.float()[None], targets, context=context)

    def slice_part(
        self, signals: Tensor, pixels: Tensor, shape: Sequence[int], quantities: Collection[str] = (), filter: str = "central"
    ) -> Part:
        """The part of a batch that looks at some pixels of the slices, given by flat index, with targets of the quantities."""
        places = torch.stack([pixels // shape[1], pixels % shape[1]], -1)
        if not quantities or self.slices is None:
            return Part(places.float()[None], {})
        if ("slices", pixels.device) not in self.kept:
            self.kept["slices", pixels.device] = self.slices.movedim(0, -1).contiguous().to(pixels.device)
        targets = self.targets(self.kept["slices", pixels.device], signals, places, quantities, filter)
        return Part(places.float()[None], targets)

    def targets(
        self, grid: Tensor, signals: Tensor, places: Tensor, quantities: Collection[str], filter: str
    ) -> dict[str, Tensor]:
        """Targets by quantity at some places (points, 2) of a grid (rows, columns, all signals), of these signals."""
        chosen, targets = signals.to(grid.device), {}
        if "value" in quantities:
            targets["value"] = grid[tuple(places.T)].T[chosen][..., None]
        if "jacobian" in quantities:
            targets["jacobian"] = jacobian_at(grid, places, filter).movedim(1, 0)[chosen][:, :, None]
        return targets

    def batch(self, signals: Tensor, parts: dict[str, Part], seen: Sequence[int] | None = None) -> Batch:
        """A batch of these signals; with `seen`, the shape of a slice, encoders get to see the back-projections."""
        device = next(iter(parts.values())).coordinates.device
        observations = None if seen is None else self.back_projected(seen, "hann")[signals.cpu()].to(device)
        return Batch(Signals(signals.to(device), observations), parts)
