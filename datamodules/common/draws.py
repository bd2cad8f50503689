"""Draws: the few numbers that a loader yields, from which a batch is made on the device."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from inr.distributed import rank, ranks
from inr.randomness import StepRandomness, draw_indices, key

Purpose = Literal["train", "validate", "test"]


class Draw(NamedTuple):
    """The samples of some signals that a batch looks at, and what for.

    Shapes: signals (signals,), among those that training shows, or else among the evaluated ones; samples (points,) or
            (signals, points) by flat index, None: all that fall to this process.
    """

    signals: Tensor
    samples: Tensor | None
    purpose: Purpose = "test"
    step: int = 0  # of the training, from which random numbers follow

    @property
    def trains(self) -> bool:
        """True for a batch of a training step."""
        return self.purpose == "train"


class Stream:
    """An endless iterable over draws that asks for its start when it is opened, so that a resumed run goes on."""

    def __init__(self, draws: Callable[[], Iterator[Draw]]) -> None:
        self.draws = draws

    def __iter__(self) -> Iterator[Draw]:
        return self.draws()


class Pass:
    """A finite iterable over draws that are known beforehand; Lightning would take a plain list for several loaders."""

    def __init__(self, draws: Iterable[Draw]) -> None:
        self.draws = list(draws)

    def __len__(self) -> int:
        return len(self.draws)

    def __iter__(self) -> Iterator[Draw]:
        return iter(self.draws)


def whole_pass(signals: int, size: int, chunk: int, purpose: Purpose = "test") -> Pass:
    """Make the draws that look at each of `size` samples of each signal once, in order, about `chunk` samples at a time."""
    groups = torch.arange(signals).split(max(1, chunk // size))
    samples = [None] if size <= chunk else torch.arange(size).split(chunk)
    return Pass(Draw(group, some, purpose) for group in groups for some in samples)


def own_share(size: int) -> Tensor:
    """Return the slice of so many samples that falls to this process (samples,)."""
    return torch.arange(size * rank() // ranks(), size * (rank() + 1) // ranks())


def random_rows(seed: int, step: int, points: int) -> StepRandomness:
    """Return the random numbers of a step's points that fall to this process."""
    return StepRandomness(seed, step, points * rank() // ranks(), points * (rank() + 1) // ranks(), points)


@dataclass(frozen=True)
class Schedule:
    """The signals and samples of each training step, a pure function of the step."""

    items: int  # images, slices, shapes or scenes, of which a step shows whole ones
    pieces: int  # signals that each is cut into
    size: int  # samples of a signal
    batch_signals: int | None  # of a step; None: all
    points: int | None  # of a step; None: all
    seed: int

    def signals(self, step: int) -> Tensor:
        """Return the signals that a step shows: all pieces of some items."""
        few = self.items if self.batch_signals is None else max(1, self.batch_signals // self.pieces)
        shown = draw_indices(step, few, self.items, key(self.seed, "signals")) if few < self.items else torch.arange(self.items)
        return (shown[:, None] * self.pieces + torch.arange(self.pieces)).flatten()

    def samples(self, step: int) -> Tensor | None:
        """Return the samples that a step shows, this process's slice of them; None: all."""
        points = math.inf if self.points is None else self.points
        return None if points >= self.size else draw_indices(step, int(points), self.size, self.seed, rank(), ranks())

    def draws(self, step: int, prefetch: Callable[[Tensor], None]) -> Iterator[Draw]:
        """Yield the draws from a step on; signals are announced one step before they are shown."""
        signals = self.signals(step)
        prefetch(signals)
        while True:
            following = self.signals(step + 1)
            prefetch(following)
            yield Draw(signals, self.samples(step), "train", step)
            step += 1
            signals = following
