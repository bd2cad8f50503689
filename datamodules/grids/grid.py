"""One signal on a regular grid: which samples train, their targets, and batches of them."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from datamodules.common.batch import Batch, DeviceCache, Part, Scored, Units
from datamodules.common.draws import Draw, Pass, own_share, random_rows
from datamodules.common.files import refuse_infinite, require, require_counts
from datamodules.common.sampled import Sampled
from datamodules.common.signal_data import Observed, Split, Wanted
from datamodules.grids.baselines import inpainted, interpolated
from datamodules.grids.corruptions import Damage
from datamodules.grids.grid_signals import GridSignals
from datamodules.grids.slopes import relative_slope
from datamodules.grids.targets import Targets
from inr.distributed import rank, ranks
from inr.errors import InputError
from inr.field import Signals
from inr.randomness import draw_indices, key, permute
from inr.supervision.differences import footprint, jacobian_at

TRAIN_SAMPLES = ("grid", "stencil", "all", "random")
FIRST = torch.zeros(1, dtype=torch.long)  # the index of the one signal


class GridSignal(Observed):
    """One signal (*shape, channels) in the file's own number type; targets are computed for the asked samples alone.

    Shapes: original and samples, as they were observed, (*shape, channels); region (*shape) of those that the damage altered,
            missing (*shape) of those that are not there, None if there are none.
    """

    names: Sequence[str] = ("signal",)

    def __init__(self, samples: Tensor, units: Units, filter: str, border: str, damage: Damage | None = None) -> None:
        self.original = self.samples = samples
        self.region: Tensor | None = None
        self.missing: Tensor | None = None
        if damage is not None:
            seen = damage(samples, self.names[0])
            self.samples, self.region = seen.values, seen.region
            self.missing = seen.missing if seen.missing.any() else None
        self.units = units
        self.filter = filter
        self.border = border
        self.cache = DeviceCache[Tensor]()

    @property
    def size(self) -> int:
        """Number of samples of the grid."""
        return self.samples.shape[:-1].numel()

    def jacobian(self, indices: Tensor, samples: Tensor | None = None) -> Tensor:
        """Return derivatives (points, channels, axes) of fitted numbers by the sample index, at indices (points, axes)."""
        grid = self.samples if samples is None else samples
        return jacobian_at(grid, indices, self.filter, self.border) / self.units.scale

    def batch(self, flat: Tensor, quantities: Iterable[str]) -> Batch:
        """Make the batch of some samples by flat index, with targets of the quantities, on the device of the indices."""
        grid = self.cache.on(flat.device, lambda: self.samples.to(flat.device))
        indices = torch.stack(torch.unravel_index(flat, grid.shape[:-1]), -1)
        targets = {}
        if "value" in quantities:
            targets["value"] = self.units.normalise(grid[tuple(indices.T)])[None]
        if "jacobian" in quantities:
            targets["jacobian"] = self.jacobian(indices, grid)[None]
        weights = {} if self.missing is None else self.weights(indices, targets)
        return Batch(Signals(flat.new_zeros(1)), {"data": Part(indices.float()[None], targets, weights)})

    def weights(self, indices: Tensor, quantities: Iterable[str]) -> dict[str, Tensor]:
        """Return weights (1, points) by quantity: 0 where a target is made of missing samples, else 1."""
        assert self.missing is not None
        rule = Targets(tuple(self.missing.shape), self.units, self.filter, self.border)
        return rule.weights(~self.missing.to(indices.device)[None], indices, quantities)

    def batches(self, signals: Tensor, chunks: Iterable[Tensor], wanted: Wanted, device: torch.device) -> Iterator[Batch]:
        """Yield a batch on the device for each chunk of samples."""
        return (self.batch(some.to(device), wanted.of("data") | {"value"}) for some in chunks)


@dataclass(kw_only=True, eq=False)
class ShownSamples(GridSignals[GridSignal]):
    """The choice of the samples of one signal on a grid that are shown to the network.

    train_pixels: `grid` trains on every factor-th; `stencil` on all that their filters read; `random` on as many; `all`.
    """

    factor: int | None = None  # train on every factor-th sample along each axis; None: what the kind of data suggests
    offset: int = 0  # the first of them [samples]
    train_pixels: str = "grid"
    limit: int | None = None  # keep at most so many of them, drawn at random
    points: int | None = None  # size of a batch over all processes; None: all training samples at once
    validation_points: int | None = 65536  # samples that a validation looks at; None: all. The final test always looks at all

    collects: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        highest = self.stride - 1
        require("data.factor", self.stride >= 1, "must be at least 1", self.stride)
        require("data.offset", 0 <= self.offset <= highest, f"must be between 0 and factor - 1 = {highest}", self.offset)
        ends = {"limit": ", or null for no limit", "points": ", or null for all samples", "validation_points": "", "chunk": ""}
        for option, end in ends.items():
            require_counts(self, option, end=end)
        known = self.train_pixels in TRAIN_SAMPLES
        require("data.train_pixels", known, f"must be one of {', '.join(TRAIN_SAMPLES)}", self.train_pixels)
        self.all_at_once = DeviceCache[Batch]()

    @abstractmethod
    def read(self) -> tuple[Tensor, Units]:
        """Read the samples (*shape, channels) in file units, and say what the units are."""

    def default_factor(self) -> int:
        """Return the factor to use if the user does not say."""
        return 1

    @property
    def stride(self) -> int:
        """Distance of the training grid's samples along each axis [samples]."""
        return self.default_factor() if self.factor is None else self.factor

    def describe(self) -> dict[str, object]:
        """Return the header as entries of the configuration; the training grid limits an encoding's octaves."""
        header = self.header()
        coarse = [-(-(size - self.offset) // self.stride) for size in header.shape]
        if min(coarse) < 2:
            rule = f"Every axis needs at least two training samples, but factor={self.stride} with offset={self.offset} leaves"
            raise InputError(f"{rule} {coarse} of {list(header.shape)}; use a smaller data.factor, or larger data.")
        sparse = self.train_pixels in ("grid", "random")
        return replace(header, training_shape=coarse if sparse else header.shape).describe()

    def observe(self, split: Split) -> GridSignal:
        """Read the signal."""
        samples, units = self.read()
        if samples.is_floating_point():
            refuse_infinite(samples.numpy())
        return GridSignal(samples, units, self.filter, self.border, self.damage(units))

    @property
    def units(self) -> Units:
        """The relation of the file's numbers to fitted ones."""
        return self.trained.units

    @cached_property
    def training_grid(self) -> Tensor:
        """Indices by axis (points, axes) of every factor-th sample."""
        axes = [torch.arange(self.offset, size, self.stride) for size in self.shape]
        return torch.cartesian_prod(*axes).reshape(-1, len(self.shape))

    @cached_property
    def train_samples(self) -> Tensor:
        """Flat indices of the training samples; missing ones are none. Raises: InputError if all are missing."""
        samples = self.choose()
        if self.trained.missing is not None:
            samples = samples[~self.trained.missing.flatten()[samples]]
            require("data.corruption", len(samples) > 0, "must leave training samples", "none", "use a smaller data.factor")
        if self.limit is None or self.limit >= len(samples):
            return samples
        some = permute(torch.arange(self.limit), len(samples), key(self.seed, "limit"))
        return samples[some.sort().values]

    @property
    def trains_on_all(self) -> bool:
        """True if every sample trains, so that large grids need no list of those that do."""
        unlimited = self.limit is None or self.limit >= self.lattice_size
        return (self.train_pixels == "all" or self.stride == 1) and unlimited and self.trained.missing is None

    @property
    def train_count(self) -> int:
        """Number of training samples."""
        return self.lattice_size if self.trains_on_all else len(self.train_samples)

    def train_at(self, places: Tensor) -> Tensor:
        """Return the flat indices of the training samples at some places among them."""
        return places if self.trains_on_all else self.train_samples[places]

    def choose(self) -> Tensor:
        """Return the flat indices that `train_pixels` means, in ascending order."""
        if self.train_pixels == "all" or self.stride == 1:
            return torch.arange(self.lattice_size)
        if self.train_pixels == "random":
            count = torch.arange(len(self.training_grid))
            return permute(count, self.lattice_size, key(self.seed, "train_pixels")).sort().values
        mask = self.read_by_stencils() if self.train_pixels == "stencil" else ~self.unseen()
        return mask.flatten().nonzero().flatten()

    def read_by_stencils(self) -> Tensor:
        """Mask of the grid: the samples that values or derivative filters on the training grid read."""
        return footprint(self.shape, self.training_grid, self.filter, self.border)

    def unseen(self) -> Tensor:
        """Mask of the grid: the samples outside the training grid, the same for every arm; all of them at factor 1."""
        mask = torch.ones(self.shape, dtype=torch.bool)
        if self.stride > 1:
            mask[tuple(self.training_grid.T)] = False
        return mask

    def unread(self) -> Tensor:
        """Mask of the grid: the samples that neither values nor filters on the training grid read; all at factor 1."""
        return ~self.read_by_stencils() if self.stride > 1 else torch.ones(self.shape, dtype=torch.bool)


@dataclass(kw_only=True, eq=False)
class GridData(ShownSamples, Sampled):
    """One signal on a grid, of which some samples are shown to the network.

    Subclasses define `header` (shape and channels, without reading samples) and `read` (samples and units).
    """

    @property
    def complete(self) -> bool:
        """True if every sample trains, and is what it should be."""
        return self.trains_on_all and not self.alterations

    def truth(self, item: int) -> Scored:
        """Return the signal; its figures look at the samples outside the training grid, those not even read, those shown.

        Of a corrupted one also at the altered samples, and at the others.
        """
        signal = self.trained
        trained = torch.zeros(self.lattice_size, dtype=torch.bool)
        trained[self.train_samples] = True
        masks = {"psnr": self.unseen(), "psnr_unread": self.unread(), "psnr_train": trained.reshape(self.shape)}
        if signal.region is not None and signal.region.any() and not signal.region.all():
            masks |= {"psnr_altered": signal.region, "psnr_intact": ~signal.region}
        observed = None if signal.region is None else signal.samples
        return Scored(self.names[item], signal.original, dict(masks), observed)

    def definitions(self) -> dict[str, str]:
        """Return in words the samples that each PSNR looks at."""
        if self.stride == 1:
            everywhere = f"of all samples (factor 1), {len(self.train_samples)} of {self.lattice_size} of which were trained on"
            words = {"psnr": everywhere, "psnr_unread": everywhere, "psnr_train": "of the training samples"}
            return words | self.altered_definitions()
        outside = f"of the samples outside the grid of factor {self.stride} and offset {self.offset}"
        both = int(self.unseen().flatten()[self.train_samples].sum())
        note = f" ({both} of {int(self.unseen().sum())} were trained on)" if both else ""
        unread = f"of the samples that neither values nor {self.filter} filters on that grid read"
        words = {"psnr": outside + note, "psnr_unread": unread, "psnr_train": "of the training samples"}
        return words | self.altered_definitions()

    def baselines(self) -> dict[str, Callable[[], Tensor]]:
        """Return reconstructions (1, *shape, channels) by name: interpolations of the training grid if it is whole.

        At factor 1 there are none, but of a corrupted signal what was observed, and inpaintings.
        """
        signal = self.trained
        if self.stride == 1 and signal.region is not None:
            observed = self.normalise(signal.samples)[None]
            rows = {"input": lambda: observed}
            return rows | ({} if signal.missing is None else inpainted(observed, signal.missing[None]))
        if self.stride == 1 or signal.missing is not None:
            return {}
        coarse = [len(range(self.offset, size, self.stride)) for size in self.shape]
        samples = self.normalise(signal.samples[tuple(self.training_grid.T)]).reshape(*coarse, -1).double().numpy()
        slopes = signal.jacobian(self.training_grid).reshape(*samples.shape, len(self.shape)).double().numpy()
        return interpolated(samples, slopes, (self.shape, self.stride, self.offset), self.interpolations)

    def slope(self) -> float:
        """Measure the slope between neighbours of the training grid, at no more than `chunk` of its samples."""
        whole = self.limit is None and self.train_pixels != "random"
        rule = "must be grid, stencil or all without data.limit, so that omega=auto sees neighbours"
        require("data.train_pixels", whole, rule, f"{self.train_pixels} and data.limit={self.limit}")
        grid = (slice(self.offset, None, self.stride),) * len(self.shape)
        steps = [(size - 1) / 2 / self.stride for size in self.shape]
        scale = steps if self.aspect == "stretch" else [max(steps)] * len(steps)
        missing = None if self.trained.missing is None else self.trained.missing[grid]
        return relative_slope(self.trained.samples[grid], missing, scale, (self.filter, self.border), self.chunk)

    def training_draws(self, step: int) -> Iterator[Draw]:
        """Yield the samples of each step, this process's slice of them; None: all training samples."""
        total = self.train_count
        points = total if self.points is None else self.points
        while True:
            places = None if points >= total else draw_indices(step, points, total, self.seed, rank(), ranks())
            yield Draw(FIRST, None if places is None else self.train_at(places), "train", step)
            step += 1

    def training_batch(self, draw: Draw, device: torch.device) -> Batch:
        """Make the batch of some training samples; that of all of them is made once."""
        wanted = self.wanted.of("data") | {"value"}
        total = self.train_count
        rows = random_rows(self.seed, draw.step, min(total, self.points or total))
        if draw.samples is not None:
            return self.trained.batch(draw.samples.to(device, non_blocking=True), wanted).with_randomness(rows)

        def make() -> Batch:
            return self.trained.batch(self.train_at(own_share(total)).to(device), wanted)

        return self.all_at_once.on(device, make).with_randomness(rows)

    def evaluation_batch(self, draw: Draw, device: torch.device) -> Batch:
        """Make the batch of some samples of the grid, without targets."""
        samples = torch.arange(self.lattice_size) if draw.samples is None else draw.samples
        return self.trained.batch(samples.to(device, non_blocking=True), ())

    @cached_property
    def validation_samples(self) -> Tensor:
        """Flat indices of the samples that a validation looks at, the same ones every time."""
        if self.validation_points is None or self.validation_points >= self.lattice_size:
            return torch.arange(self.lattice_size)
        return permute(torch.arange(self.validation_points), self.lattice_size, key(self.seed, "validation")).sort().values

    def val_dataloader(self) -> Pass:
        """Return the draws of the validation samples."""
        return Pass(Draw(FIRST, some, "validate") for some in self.validation_samples.split(self.chunk))

    def validated(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield what a validation saw, the truth in fitted numbers, and which of the samples count."""
        flat = self.validation_samples
        yield values, self.normalise(self.trained.original.flatten(0, -2)[flat]), self.unseen().flatten()[flat]

    def constant_batches(self, device: torch.device) -> Iterator[Batch]:
        """Yield at most `chunk` training samples, spread evenly: enough to estimate a constant from."""
        total = self.train_count
        count = min(self.chunk, total)
        yield self.trained.batch(self.train_at(torch.arange(count) * total // count).to(device), {"value"})
