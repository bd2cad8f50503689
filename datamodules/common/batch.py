"""Batches as tasks read them, and the numbers that relate them to files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor

from inr.field import Signals
from inr.randomness import StepRandomness

Made = TypeVar("Made")
Context = Mapping[str, Tensor | StepRandomness]


@dataclass
class Part:
    """A named part of a batch: where a sensor looked, and what it saw there.

    Shapes: coordinates (1|signals, points, axes); targets by quantity: value (signals, points, channels), jacobian
            (signals, points, channels, axes); weights by quantity (signals, points), one where missing; direction
            (1|signals, points, axes), the one along which random directions are compared, which a training step draws.
    """

    coordinates: Tensor
    targets: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    context: Context = field(default_factory=dict)  # what binds the part's measurement: poses, views, random numbers
    direction: Tensor | None = None

    def with_randomness(self, rows: StepRandomness) -> "Part":
        """Return the part with the random numbers of a step in its context."""
        return replace(self, context={**self.context, "randomness": rows})

    def of(self, rows: Tensor) -> "Part":
        """Return the part of some of its signals (signals,)."""

        def few(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: rows_of(tensor, rows) for name, tensor in tensors.items()}

        bound = {name: rows_of(one, rows) if isinstance(one, Tensor) else one for name, one in self.context.items()}
        direction = None if self.direction is None else rows_of(self.direction, rows)
        return Part(rows_of(self.coordinates, rows), few(self.targets), few(self.weights), bound, direction)


def rows_of(tensor: Tensor, rows: Tensor) -> Tensor:
    """Return some rows of what is of the shape (1|signals, ...)."""
    return tensor if len(tensor) == 1 else tensor.index_select(0, rows)


@dataclass
class Batch:
    """The signals of a step, and the parts by name."""

    signals: Signals
    parts: dict[str, Part]

    def with_randomness(self, rows: StepRandomness) -> "Batch":
        """Return the batch with the random numbers of a step, for parts of as many points; this one may be used again."""
        return Batch(self.signals, {name: part.with_randomness(rows) for name, part in self.parts.items()})

    def of(self, rows: Tensor) -> "Batch":
        """Return the batch of some of its signals (signals,), by their place in it; encoders see nothing of them."""
        return Batch(Signals(self.signals.index[rows]), {name: part.of(rows) for name, part in self.parts.items()})


@dataclass
class Scored:
    """The truth that a reconstruction is compared with.

    Shapes: truth (*shape, channels) in the file's numbers; masks by figure (*shape), the samples that a PSNR looks at, None:
            all; observed (*shape, channels) the network's view of it in the file's numbers, None if that is the truth.
    """

    name: str
    truth: Tensor
    masks: dict[str, Tensor | None]
    observed: Tensor | None = None


@dataclass(frozen=True)
class Units:
    """The relation of a file's numbers to those that a network fits: file = scale * fitted + offset."""

    scale: float
    offset: float
    peak: float  # the largest signal as PSNR takes it, in file units: the range of an image, the loudest sample of a sound
    unit: str
    number: str = "float32"  # the type that exports are rounded to
    worlds: Sequence[Sequence[Sequence[float]]] | None = None  # (signals, 4, 4) from a scene to file coordinates

    def normalise(self, samples: Tensor) -> Tensor:
        """Take numbers of the file to those that the network fits."""
        return (samples.float() - self.offset) / self.scale

    def restore(self, values: Tensor) -> Tensor:
        """Take fitted numbers back to those of the file."""
        return values * self.scale + self.offset


class DeviceCache(Generic[Made]):
    """One value that was made on a device; another device makes it anew, so that memory holds one copy."""

    def __init__(self) -> None:
        self.made: tuple[torch.device, Made] | None = None

    def on(self, device: torch.device, make: Callable[[], Made]) -> Made:
        """Return the value, made once per device."""
        if self.made is None or self.made[0] != device:
            self.made = device, make()
        return self.made[1]
