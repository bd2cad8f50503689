"""Where the signals of a collection come from, and how they are kept: in memory if they fit, else on disk."""

import math
from collections.abc import Callable, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from datamodules.common.batch import Scored, Units
from datamodules.grids.corruptions import Corrupted, Damage
from datamodules.grids.patches import Patches

THREADS = 8


@dataclass(frozen=True)
class Source:
    """What is known of a collection before anything but its first signal is read.

    `names` are sorted and unique; `read` gives a signal (*shape, channels) by its position among them, in the `number` type
    of the file, and is called by several threads; `units` may have to read all of them; `held_out` are the names that the
    layout of the files itself holds out, None if it does not say.
    """

    names: Sequence[str]
    shape: tuple[int, ...]
    channels: int
    read: Callable[[int], np.ndarray]
    units: Callable[[], Units]
    held_out: Set[str] | None = None
    number: str = "uint8"


@dataclass(frozen=True)
class Rows:
    """Some signals as they were observed.

    Shapes: values (signals, *shape, channels) in file units; missing (signals, *shape), None if no sample is.
    """

    values: Tensor
    missing: Tensor | None

    def to(self, device: torch.device) -> "Rows":
        """The same signals on a device."""
        missing = None if self.missing is None else self.missing.to(device, non_blocking=True)
        return Rows(self.values.to(device, non_blocking=True), missing)

    def __getitem__(self, index: Tensor) -> "Rows":
        """Some of them; all of them without a copy."""
        if len(index) == len(self.values) and torch.equal(index, torch.arange(len(index))):
            return self
        index = index.to(self.values.device)
        return Rows(self.values.index_select(0, index), None if self.missing is None else self.missing.index_select(0, index))


class Stack:
    """Images of a collection as a list of signals: all patches of the first, then those of the second.

    `damage` corrupts them when they are read. Up to `limit` bytes they are decoded once and kept, on the device too; beyond
    that they are read again whenever they are asked for, by several threads, and ahead of time where `prefetch` says so.
    """

    def __init__(
        self, source: Source, positions: Sequence[int], patches: Patches, damage: Damage | None = None, limit: float = 0
    ) -> None:
        self.source, self.positions, self.patches, self.damage = source, list(positions), patches, damage
        number = np.dtype("float32" if damage else source.number).itemsize * source.channels + bool(damage)
        self.fits = len(self.positions) * math.prod(source.shape) * number <= limit
        self.pending: dict[int, Future[Rows]] = {}
        self.on_device: tuple[torch.device, Rows] | None = None

    @property
    def images(self) -> list[str]:
        """Names of the images."""
        return [self.source.names[position] for position in self.positions]

    @property
    def names(self) -> list[str]:
        """Names of the signals."""
        return [name for image in self.images for name in self.patches.names(image)]

    def __len__(self) -> int:
        """How many signals there are."""
        return len(self.positions) * self.patches.count

    def original(self, image: int) -> Tensor:
        """An image (*whole, channels) as it lies in the file."""
        return torch.from_numpy(self.source.read(self.positions[image]))

    def damaged(self, values: Tensor, image: int) -> Corrupted:
        """What was observed of an image (*whole, channels), in file units, uncut."""
        if self.damage is not None:
            return self.damage(values, self.source.names[self.positions[image]])
        nothing = torch.zeros(self.patches.whole, dtype=torch.bool)
        return Corrupted(values, nothing, nothing)

    def scored(self, image: int) -> Scored:
        """What the reconstruction of an image is compared with: everywhere, and in and outside the altered region."""
        truth = self.original(image)
        seen = self.damaged(truth, image)
        masks: dict[str, Tensor | None] = {"psnr": None}
        if seen.region.any() and not seen.region.all():
            masks |= {"psnr_altered": seen.region, "psnr_intact": ~seen.region}
        observed = seen.values.float() if self.damage else None
        return Scored(self.source.names[self.positions[image]], truth, masks, observed)

    def cut(self, image: int) -> Rows:
        """The patches of an image as they were observed."""
        seen = self.damaged(self.original(image), image)
        missing = self.patches.cut(seen.missing[..., None])[..., 0] if seen.missing.any() else None
        return Rows(self.patches.cut(seen.values), missing)

    @cached_property
    def pool(self) -> ThreadPoolExecutor:
        """The threads that decode."""
        return ThreadPoolExecutor(THREADS, "decode")

    @cached_property
    def kept(self) -> Rows:
        """All signals, decoded."""
        return self.gather(range(len(self.positions)))

    def gather(self, images: Sequence[int]) -> Rows:
        """All signals of some images."""
        self.pending |= {image: self.pool.submit(self.cut, image) for image in images if image not in self.pending}
        count, values, missing = self.patches.count, torch.empty(0), None
        for place, image in enumerate(images):
            rows, here = self.pending.pop(image).result(), slice(place * count, (place + 1) * count)
            if place == 0:
                values = rows.values.new_empty(len(images) * count, *rows.values.shape[1:])
            values[here] = rows.values
            if rows.missing is not None:
                missing = torch.zeros(values.shape[:-1], dtype=torch.bool) if missing is None else missing
                missing[here] = rows.missing
        return Rows(values, missing)

    def spread(self, most: int) -> Rows:
        """At most so many signals, those of images that are spread evenly."""
        images = min(max(most // self.patches.count, 1), len(self.positions))
        rows = self.gather((torch.arange(images) * len(self.positions) // images).tolist())
        return rows[torch.arange(min(most, len(rows.values)))]

    def prefetch(self, index: Tensor) -> None:
        """Begin to read the signals that are asked for next."""
        for image in () if self.fits else (index // self.patches.count).unique().tolist():
            if image not in self.pending:
                self.pending[image] = self.pool.submit(self.cut, image)

    def rows(self, index: Tensor, device: torch.device) -> Rows:
        """The signals of this index (signals,), on the device."""
        if not self.fits:
            images, place = (index // self.patches.count).unique(return_inverse=True)
            return self.gather(images.tolist())[place * self.patches.count + index % self.patches.count].to(device)
        if self.on_device is None or self.on_device[0] != device:
            self.on_device = device, self.kept.to(device)
        return self.on_device[1][index]
