"""What a training step receives."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from inr.field import Signals


@dataclass
class Part:
    """A named part of a batch: where a sensor looked, and what it saw.

    Shapes: coordinates (1|signals, points, axes); targets by quantity: value (signals, points, channels), jacobian
            (signals, points, channels, axes); weights by quantity (signals, points), one where missing.
    """

    coordinates: Tensor
    targets: dict[str, Tensor]
    weights: dict[str, Tensor] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)


@dataclass
class Batch:
    """The signals shown in a step, and the parts by name."""

    signals: Signals
    parts: dict[str, Part]


@dataclass
class Scored:
    """What a reconstruction is compared with.

    Shapes: truth (*shape, channels) in the file's numbers; masks by figure (*shape), the samples that a PSNR looks at, None:
            all; observed (*shape, channels) what the network saw of it in the file's numbers, None if the truth.
    """

    name: str
    truth: Tensor
    masks: dict[str, Tensor | None]
    observed: Tensor | None = None


@dataclass(frozen=True)
class Units:
    """How numbers in the file relate to the numbers a network fits: file = scale * fitted + offset.

    `peak` is what PSNR takes as the largest signal, in file units: the range of an image, the loudest sample of a sound.
    `number` is the type that exports are rounded to.
    """

    scale: float
    offset: float
    peak: float
    unit: str
    number: str = "float32"
