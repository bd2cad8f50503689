"""Draws of signals and samples, and the batches that they become."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from datamodules.common.batch import Batch, Part, Units
from datamodules.grids.store import Rows
from inr.distributed import rank, ranks
from inr.field import Signals
from inr.randomness import draw_indices, key
from inr.supervision.differences import complete_at, jacobian_at


class Stream:
    """An iterable over batches that knows its start only when it is opened, so that a resumed run goes on."""

    def __init__(self, batches: Callable[[], Iterator[Any]]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return self.batches()


class Chunks:
    """Indices a chunk at a time."""

    def __init__(self, indices: Tensor, chunk: int) -> None:
        self.parts = indices.split(chunk)

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.parts)


class Given:
    """An iterable over draws that are known beforehand; a plain list would mean several loaders."""

    def __init__(self, draws: Iterable[Any]) -> None:
        self.draws = list(draws)

    def __len__(self) -> int:
        return len(self.draws)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.draws)


def own_share(size: int) -> Tensor:
    """The slice of so many samples that falls to this process."""
    return torch.arange(size * rank() // ranks(), size * (rank() + 1) // ranks())


class Draw(NamedTuple):
    """Which signals (signals,) a batch looks at, and at which flat samples (points,), None: at all of them; in which step."""

    signals: Tensor
    samples: Tensor | None
    step: int = 0


@dataclass(frozen=True)
class Schedule:
    """What each training step looks at: `points` samples of `batch_signals` signals, those of whole images; None: all."""

    images: int
    patches: int
    size: int
    batch_signals: int | None
    points: int | None
    seed: int

    def signals(self, step: int) -> Tensor:
        """The signals that a step shows: all patches of some images."""
        few = self.images if self.batch_signals is None else max(1, self.batch_signals // self.patches)
        every = torch.arange(self.images)
        drawn = draw_indices(step, few, self.images, key(self.seed, "signals")) if few < self.images else every
        return (drawn[:, None] * self.patches + torch.arange(self.patches)).flatten()

    def samples(self, step: int) -> Tensor | None:
        """The samples that a step shows, this process's slice of them; None: all."""
        everything = self.points is None or self.points >= self.size
        return None if everything else draw_indices(step, self.points or 0, self.size, self.seed, rank(), ranks())

    def draws(self, step: int, prefetch: Callable[[Tensor], None]) -> Iterator[Draw]:
        """The draws from a step on; signals are announced one step before they are shown."""
        signals = self.signals(step)
        prefetch(signals)
        while True:
            following = self.signals(step + 1)
            prefetch(following)
            yield Draw(signals, self.samples(step), step)
            step, signals = step + 1, following


class Sweep:
    """Draws that together look at every sample of the first `signals` signals, in order, a chunk of samples at a time."""

    def __init__(self, signals: int, size: int, chunk: int) -> None:
        groups = torch.arange(signals).split(max(1, chunk // size))
        samples = [None] if size <= chunk else torch.arange(size).split(chunk)
        self.draws = [Draw(group, some) for group in groups for some in samples]

    def __len__(self) -> int:
        return len(self.draws)

    def __iter__(self) -> Iterator[Draw]:
        return iter(self.draws)


@dataclass(frozen=True)
class Targets:
    """What batches of signals (*shape, channels) compare a network with, in the numbers that it fits."""

    shape: tuple[int, ...]
    units: Units
    filter: str
    border: str

    @property
    def size(self) -> int:
        """Samples of a signal."""
        return math.prod(self.shape)

    def normalise(self, samples: Tensor) -> Tensor:
        """From file units to what the network fits."""
        return (samples.float() - self.units.offset) / self.units.scale

    def batch(self, rows: Rows, signals: Tensor, samples: Tensor, quantities: Collection[str], encodes: bool = False) -> Batch:
        """The batch of these signals (signals,), whose rows are read, at flat samples (points,), on the device of the rows.

        With `encodes` it also holds the whole observations, for an encoder.
        """
        device = rows.values.device
        samples = samples.to(device)
        indices = torch.stack(torch.unravel_index(samples, self.shape), -1)
        targets = {"value": self.normalise(rows.values.flatten(1, -2).index_select(1, samples))}
        if "jacobian" in quantities:
            targets["jacobian"] = self.jacobian(rows.values, indices)
        weights = {} if rows.missing is None else self.weights(~rows.missing, indices, targets)
        observations = self.normalise(rows.values) if encodes else None
        return Batch(Signals(signals.to(device), observations), {"data": Part(indices.float()[None], targets, weights)})

    def jacobian(self, values: Tensor, indices: Tensor) -> Tensor:
        """Derivatives (signals, points, channels, axes) of fitted numbers by the sample index, at indices (points, axes)."""
        channels = [grid.movedim(0, -1) for grid in values.unbind(-1)]  # (*shape, signals) each, without a copy
        jacobians = [jacobian_at(grid, indices, self.filter, self.border) for grid in channels]
        return torch.stack(jacobians, 2).movedim(1, 0) / self.units.scale

    def weights(self, known: Tensor, indices: Tensor, quantities: Collection[str]) -> dict[str, Tensor]:
        """Weights (signals, points) by quantity: 1 where all that its target is made of is known, else 0."""
        grid = known.movedim(0, -1)  # (*shape, signals)
        weights = {"value": grid[tuple(indices.T)].T.float()}
        if "jacobian" in quantities:
            weights["jacobian"] = complete_at(grid, indices, self.filter, self.border).T.float()
        return weights
