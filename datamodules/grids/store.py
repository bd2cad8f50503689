"""Signals of a collection on their way from files: kept in memory if they fit, else read as they are needed."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from datamodules.common.batch import Batch, DeviceCache, Scored, Units
from datamodules.common.signal_data import Observed, Wanted
from datamodules.grids.corruptions import Corrupted, Damage
from datamodules.grids.patches import Patches
from datamodules.grids.targets import Observations, Targets

THREADS = 8  # that decode side by side: more wait for the disk


@dataclass(frozen=True)
class Source:
    """A collection's files as far as they are known before anything but the first is read.

    read: gives a signal (*shape, channels) by its position among them, in the `number` type; several threads call it.
    """

    names: Sequence[str]  # sorted and unique
    shape: tuple[int, ...]
    channels: int
    read: Callable[[int], np.ndarray]
    units: Callable[[], Units]  # may have to read all of them
    held_out: Set[str] | None = None  # names that the layout of the files itself holds out; None: it does not say
    number: str = "uint8"


@dataclass(eq=False)
class Stack(Observed):
    """Images of a collection as a list of signals: all patches of the first, then those of the second.

    `damage` corrupts them when they are read. Up to `limit` bytes they are decoded once and stay in memory, on the device
    too; beyond that they are read again whenever they are asked for, by several threads, and ahead of time where `prefetch`
    says so.
    """

    source: Source
    positions: Sequence[int]
    patches: Patches
    targets: Targets
    damage: Damage | None = None
    limit: float = 0

    def __post_init__(self) -> None:
        kind = "float32" if self.damage else self.source.number
        number = np.dtype(kind).itemsize * self.source.channels + bool(self.damage)
        self.fits = len(self.positions) * math.prod(self.source.shape) * number <= self.limit
        self.pending: dict[int, Future[Observations]] = {}
        self.cache = DeviceCache[Observations]()

    @property
    def images(self) -> list[str]:
        """Names of the images."""
        return [self.source.names[position] for position in self.positions]

    @cached_property
    def names(self) -> list[str]:  # type: ignore[override]
        """Names of the signals."""
        return [name for image in self.images for name in self.patches.names(image)]

    def __len__(self) -> int:
        """Count the signals."""
        return len(self.positions) * self.patches.count

    @property
    def size(self) -> int:
        """Number of samples of a signal."""
        return math.prod(self.patches.shape)

    @cached_property
    def truth(self) -> "Stack":
        """The same signals without damage."""
        return Stack(self.source, self.positions, self.patches, self.targets, limit=self.limit) if self.damage else self

    def original(self, image: int) -> Tensor:
        """Read an image (*whole, channels) as it lies in the file."""
        return torch.from_numpy(self.source.read(self.positions[image]))

    def damaged(self, values: Tensor, image: int) -> Corrupted:
        """Return what was observed of an image (*whole, channels), in file units, uncut."""
        if self.damage is not None:
            return self.damage(values, self.source.names[self.positions[image]])
        nothing = torch.zeros(self.patches.whole, dtype=torch.bool)
        return Corrupted(values, nothing, nothing)

    def scored(self, image: int) -> Scored:
        """Return the truth of an image; its figures look everywhere, and in and outside the altered region."""
        truth = self.original(image)
        seen = self.damaged(truth, image)
        masks: dict[str, Tensor | None] = {"psnr": None}
        if seen.region.any() and not seen.region.all():
            masks |= {"psnr_altered": seen.region, "psnr_intact": ~seen.region}
        observed = seen.values.float() if self.damage else None
        return Scored(self.source.names[self.positions[image]], truth, masks, observed)

    def cut(self, image: int) -> Observations:
        """Read the patches of an image as they were observed."""
        seen = self.damaged(self.original(image), image)
        missing = self.patches.cut(seen.missing[..., None])[..., 0] if seen.missing.any() else None
        return Observations(self.patches.cut(seen.values), missing)

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """The threads that decode."""
        return ThreadPoolExecutor(THREADS, "decode")

    def gather(self, images: Sequence[int]) -> Observations:
        """Read all signals of some images."""
        self.pending |= {image: self.pool.submit(self.cut, image) for image in images if image not in self.pending}
        count = self.patches.count
        values = torch.empty(0)
        missing = None
        for place, image in enumerate(images):
            seen = self.pending.pop(image).result()
            here = slice(place * count, (place + 1) * count)
            if place == 0:
                values = seen.values.new_empty(len(images) * count, *seen.values.shape[1:])
            values[here] = seen.values
            if seen.missing is not None:
                missing = torch.zeros(values.shape[:-1], dtype=torch.bool) if missing is None else missing
                missing[here] = seen.missing
        return Observations(values, missing)

    def sample(self, most: int) -> Observations:
        """Read at most so many signals, those of images spread evenly over the collection."""
        images = min(max(most // self.patches.count, 1), len(self.positions))
        seen = self.gather((torch.arange(images) * len(self.positions) // images).tolist())
        return seen[torch.arange(min(most, len(seen.values)))]

    def prefetch(self, index: Tensor) -> None:
        """Begin to read the signals that are asked for next."""
        for image in () if self.fits else (index // self.patches.count).unique().tolist():
            if image not in self.pending:
                self.pending[image] = self.pool.submit(self.cut, image)

    def observations(self, index: Tensor, device: torch.device) -> Observations:
        """Return the signals of this index (signals,), on the device."""
        if not self.fits:
            images, place = (index // self.patches.count).unique(return_inverse=True)
            return self.gather(images.tolist())[place * self.patches.count + index % self.patches.count].to(device)
        return self.cache.on(device, lambda: self.gather(range(len(self.positions))).to(device))[index]

    def batches(self, signals: Tensor, chunks: Iterable[Tensor], wanted: Wanted, device: torch.device) -> Iterator[Batch]:
        """Yield a batch for each chunk of samples; the signals are read once for all of them."""
        seen = self.observations(signals, device)
        for some in chunks:
            yield self.targets.batch(seen, signals, some, wanted.of("data"), wanted.observations)
