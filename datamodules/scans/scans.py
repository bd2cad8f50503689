"""Signals as a scanner saw them, and the batches of rays and pixels that they become."""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from datamodules.common.batch import Batch, Context, DeviceCache, Part
from datamodules.common.signal_data import Observed, Wanted
from datamodules.scans.scanner import Scanner
from inr.field import Signals
from inr.supervision.differences import jacobian_at


class RayGrid(NamedTuple):
    """Rays through every so many bins and views, along which projections are compared.

    Shapes: coordinates (1, bins x views, 2) = (bin, view); truth (signals, bins, views) in fitted numbers.
    """

    coordinates: Tensor
    truth: Tensor
    context: Context  # what binds their measurement: other angles than those of the scanner
    definition: str  # these rays in words


def ray_grid(sinograms: Tensor, most: int, context: Context, definition: str) -> RayGrid:
    """Take at most so many rays of each of the sinograms, every so many bins and views."""
    stride = math.ceil(math.sqrt(sinograms[0].numel() / most))  # of both axes, hence the root
    bins, views = (torch.arange(0, size, stride) for size in sinograms.shape[1:])
    every = f"every {stride}th bin and view of the " if stride > 1 else ""
    coordinates = torch.cartesian_prod(bins, views).float()[None]
    return RayGrid(coordinates, sinograms[:, ::stride, ::stride], context, every + definition)


def targets_at(
    grid: Float[Tensor, "rows columns signals"], signals: Tensor, places: Tensor, quantities: Collection[str], filter: str
) -> dict[str, Tensor]:
    """Read targets by quantity at some places (points, 2) of a grid of all signals, of these signals (signals,)."""
    chosen = signals.to(grid.device)
    targets = {}
    if "value" in quantities:
        targets["value"] = grid[tuple(places.T)].T[chosen][..., None]
    if "jacobian" in quantities:
        targets["jacobian"] = jacobian_at(grid, places, filter).movedim(1, 0)[chosen][:, :, None]
    return targets


@dataclass(eq=False)
class Scans(Observed):
    """Some signals as they were scanned, in fitted numbers; samples are rays, view by view of the first bin, and so on.

    Shapes: sinograms (signals, bins, views) as measured; slices (signals, rows, columns), None if nobody knows them; exact
            (signals, bins, views) the sinograms without noise, None if nobody knows them; between (signals, bins, views
            between) the same at `between_angles`, None if there are none.
    Units:  slices [field value], the others [field value x half-width].
    """

    scanner: Scanner
    shape: tuple[int, ...]  # rows and columns of a slice
    names: Sequence[str]
    sinograms: Tensor
    slices: Tensor | None = None
    exact: Tensor | None = None
    between: Tensor | None = None
    between_angles: tuple[float, ...] = ()  # angles of views that were not measured [rad]
    filter: str = "central"  # of the derivative targets
    weights: Tensor | None = None  # (signals, bins, views), inverse variances of the sinograms up to a factor; None: all alike

    def __post_init__(self) -> None:
        self.cache = DeviceCache[Tensor]()
        self.looked: tuple[Tensor, Tensor, Tensor] | None = None  # rays, and their places
        self.back_projections: dict[str, Tensor] = {}  # of all signals, by window

    @property
    def size(self) -> int:
        """Number of rays of a scan."""
        return self.scanner.bins * self.scanner.views

    def cost(self, signals: int) -> int:
        """Points of the field on a ray; those of several signals are evaluated together and do not count."""
        return self.scanner.samples

    @cached_property
    def truth(self) -> "Slices":
        """The slices themselves."""
        return Slices(self)

    def surrounded_on(self, device: torch.device) -> Float[Tensor, "bins more signals"]:
        """Return the sinograms on a device, with one more view on either side."""
        # Signals come last: they are the channels of `jacobian_at`, which reads all of them with one index per cell.
        return self.cache.on(device, lambda: self.scanner.surrounded(self.sinograms).movedim(0, -1).contiguous().to(device))

    def back_projected(self, window: str) -> Float[Tensor, "signals rows columns 1"]:
        """Return filtered back-projections, made once for each window of the filter."""
        if window not in self.back_projections:
            made = self.scanner.back_project(self.sinograms, self.shape, window)
            self.back_projections[window] = made.float()[..., None]
        return self.back_projections[window]

    def compared_rays(self, most: int) -> dict[str, RayGrid]:
        """Return at most so many rays of the measured views, and of those between them, to compare projections along."""
        known, exact = ("", self.sinograms) if self.exact is None else ("noise-free ", self.exact)
        grids = {"views": ray_grid(exact, most, {}, f"{known}measured views")}
        if self.between is not None:
            angles = {"angles": torch.tensor(self.between_angles, dtype=torch.float64)}
            grids["between"] = ray_grid(self.between, most, angles, f"{known}views that were not measured")
        return grids

    def part(self, signals: Tensor, rays: Tensor, quantities: Collection[str], context: Context) -> Part:
        """Make the part of a batch that looks along some rays (rays,), on their device, with targets of the quantities."""
        places, coordinates = self.places(rays)
        beyond = torch.tensor([0, 1], device=rays.device)  # the view before the first
        targets = targets_at(self.surrounded_on(rays.device), signals, places + beyond, quantities, self.filter)
        weights = {} if self.weights is None else {"value": self.weights[signals.cpu()][:, *places.cpu().T].to(rays.device)}
        return Part(coordinates, targets, weights, context)

    def places(self, rays: Tensor) -> tuple[Tensor, Tensor]:
        """Return bins and views (rays, 2) of rays, and their coordinates (1, rays, 2); of the same tensor the same ones."""
        # sensors know tensors again that they have seen, and need not compare numbers in every step
        if self.looked is None or self.looked[0] is not rays:
            places = torch.stack([rays // self.scanner.views, rays % self.scanner.views], -1)
            self.looked = rays, places, places.float()[None]
        return self.looked[1:]

    def batch(self, signals: Tensor, parts: dict[str, Part], encodes: bool = False) -> Batch:
        """Make the batch of these signals on the device of its parts; for an encoder with back-projections."""
        device = next(iter(parts.values())).coordinates.device
        # Hann's window, since the plain ramp amplifies the noise of the finest details, which no code should hold.
        observations = self.back_projected("hann")[signals.cpu()].to(device) if encodes else None
        return Batch(Signals(signals.to(device), observations), parts)

    def batches(self, signals: Tensor, chunks: Iterable[Tensor], wanted: Wanted, device: torch.device) -> Iterator[Batch]:
        """Yield a batch of rays on the device for each chunk of them."""
        for rays in chunks:
            part = self.part(signals, rays.to(device), wanted.of("data") | {"value"}, {})
            yield self.batch(signals, {"data": part}, wanted.observations)


class Slices(Observed):
    """The slices behind some scans; samples are pixels, row by row, in the part `result` of a batch.

    Without targets where nobody knows them.
    """

    def __init__(self, scans: Scans) -> None:
        self.scans = scans
        self.names = scans.names
        self.shape = scans.shape
        self.cache = DeviceCache[Tensor]()

    @property
    def size(self) -> int:
        """Number of pixels of a slice."""
        return math.prod(self.shape)

    def part(self, signals: Tensor, pixels: Tensor, quantities: Collection[str]) -> Part:
        """Make the part of a batch that looks at some pixels (pixels,), on their device, with targets of the quantities."""
        places = torch.stack([pixels // self.shape[1], pixels % self.shape[1]], -1)
        slices = self.scans.slices
        if not quantities or slices is None:
            return Part(places.float()[None])
        grid = self.cache.on(pixels.device, lambda: slices.movedim(0, -1).contiguous().to(pixels.device))
        return Part(places.float()[None], targets_at(grid, signals, places, quantities, self.scans.filter))

    def batches(self, signals: Tensor, chunks: Iterable[Tensor], wanted: Wanted, device: torch.device) -> Iterator[Batch]:
        """Yield a batch of pixels on the device for each chunk of them, with their values."""
        for pixels in chunks:
            part = self.part(signals, pixels.to(device), {"value"})
            yield self.scans.batch(signals, {"result": part}, wanted.observations)
