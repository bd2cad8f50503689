"""The contract between data and task: what every kind of data defines, and all that is written once for them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Generic, Literal, TypeVar

import lightning as L
import torch
from torch import Tensor

from datamodules.common.batch import Batch, Scored, Units
from datamodules.common.draws import Draw, Pass, Purpose, Stream, own_share, whole_pass
from inr.errors import InputError

Split = Literal["train", "tuning", "held_out"]
TUNED = 64  # signals that solvers tune on at most: more hardly change the weight that is chosen
ONE_SIGNAL: Mapping[Split, Sequence[int]] = {"train": [0], "tuning": [], "held_out": []}


@dataclass(frozen=True)
class Header:
    """Numbers known from headers of files alone, from which the rest of the configuration follows.

    training_shape: samples along each axis that training sees, which limits an encoding's octaves; None: the shape.
    whole_views: of a scan, each of which a step sees whole; None: it does not.
    smoothed: part and quantity of a batch whose slopes `penalty=tv` looks at; None: the jacobian of the result.
    sensor: further entries of the configuration, read by the task's measurements: camera, scanner or cube.
    """

    shape: Sequence[int]  # samples along each axis of what is reconstructed and scored
    channels: int  # numbers that the network gives at a point
    signals: int = 1  # that training shows; a codebook has a code for each
    axes: int | None = None  # coordinates of a point of the field; None: as many as the shape has
    training_shape: Sequence[int] | None = None
    input_scale: float = 1.0  # stretch of [-1, 1] by which models reach the frequencies of this kind of signal
    result: str = "data"  # the part of a batch that holds what is reconstructed; `data` unless the sensor sees something else
    whole_views: int | None = None
    smoothed: tuple[str, str] | None = None
    sensor: Mapping[str, object] = field(default_factory=dict)

    def describe(self) -> dict[str, object]:
        """Return the header as plain entries of the group `data` of the configuration."""
        return {
            "in_features": self.axes or len(self.shape),
            "out_features": self.channels,
            "shape": list(self.shape),
            "training_shape": list(self.training_shape or self.shape),
            "signals": self.signals,
            "input_scale": self.input_scale,
            "result": self.result,
            "whole_views": self.whole_views,
            "smoothed": dict(zip(("part", "quantity"), self.smoothed or (self.result, "jacobian"), strict=True)),
            **self.sensor,
        }


@dataclass(frozen=True)
class Wanted:
    """A task's wishes: quantities (value, jacobian) by part of a batch, and whole observations for an encoder.

    every_signal: a training step shows all signals, whatever `batch_signals`.
    """

    quantities: Mapping[str, frozenset[str]] = field(default_factory=lambda: {"data": frozenset({"value", "jacobian"})})
    observations: bool = False
    every_signal: bool = False

    def of(self, part: str) -> frozenset[str]:
        """Return the quantities of a part."""
        return self.quantities.get(part, frozenset())

    def of_step(self, batch_signals: int | None) -> int | None:
        """Return the number of signals that a training step shows; None: all."""
        return None if self.every_signal else batch_signals


class Observed(ABC):
    """Signals as their sensor saw them."""

    names: Sequence[str]  # of the signals

    def __len__(self) -> int:
        """Count the signals."""
        return len(self.names)

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of samples of each signal."""

    @abstractmethod
    def batches(self, signals: Tensor, chunks: Iterable[Tensor], wanted: Wanted, device: torch.device) -> Iterator[Batch]:
        """Yield a batch on the device for each chunk of samples (samples,) of these signals (signals,)."""

    def cost(self, signals: int) -> int:
        """Points of the field per sample of so many signals, which bounds how large a chunk may be."""
        return max(1, signals)

    def whole_pass(
        self, index: Tensor, chunk: int, wanted: Wanted, device: torch.device, shared: bool = True
    ) -> Iterator[Batch]:
        """Yield batches of all samples of some signals (signals,), by default those of this process's share."""
        samples = own_share(self.size) if shared else torch.arange(self.size)
        return self.batches(index.cpu(), samples.split(max(1, chunk // self.cost(len(index)))), wanted, device)

    @property
    def truth(self) -> "Observed":
        """The same signals as they are, where that is known: themselves unless they were altered or seen indirectly."""
        return self


Kind = TypeVar("Kind", bound=Observed)


@dataclass(kw_only=True, eq=False)
class SignalData(L.LightningDataModule, ABC, Generic[Kind]):
    """Signals to fit, as tensors on the device; loaders yield draws, which become batches where the tensors lie.

    A kind of data defines the abstract methods below, and `baselines`; data of a known kind usually two, header and reading.
    All else is written once here, for tasks to use. Options are fields: subclasses are `@dataclass(kw_only=True, eq=False)`.
    """

    chunk: int = 65536  # points of the field that are evaluated at a time
    seed: int = 0  # of every random choice
    collects: ClassVar[bool] = True  # whether signals may be many, for the regimes dictionary and fit
    encodable: ClassVar[str] = "grids"  # what an encoder gets to see of a signal: grids, points, nothing
    is_lattice: ClassVar[bool] = False  # whether a signal is the samples that are reconstructed of it, and nothing else
    shared_points: ClassVar[bool] = True  # whether the signals of a batch are observed at the same coordinates

    def __post_init__(self) -> None:
        super().__init__()
        self.wanted = Wanted()

    @abstractmethod
    def header(self) -> Header:
        """Return shape, channels and the like; headers of files are read, samples are not."""

    @property
    @abstractmethod
    def units(self) -> Units:
        """The relation of the file's numbers to fitted ones."""

    @abstractmethod
    def observe(self, split: Split) -> Kind:
        """Return the signals of a split as the sensor saw them."""

    @abstractmethod
    def training_batch(self, draw: Draw, device: torch.device) -> Batch:
        """Make the batch of a training step, with targets of what the task wants of each part."""

    @abstractmethod
    def evaluation_batch(self, draw: Draw, device: torch.device) -> Batch:
        """Make a batch of one part, of what is to be reconstructed; its targets are not read."""

    @abstractmethod
    def truth(self, item: int) -> Scored:
        """Return the truth of an evaluated item (an image, a slice, a view, a shape)."""

    @abstractmethod
    def validated(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield what a validation saw (samples, channels), the truth in fitted numbers, and the samples that count (None: all).

        Shapes: values (samples, channels), all that the draws of `val_dataloader` gave, in their order.
        """

    def baselines(self) -> dict[str, Callable[[], Tensor]]:
        """Return what classical methods make of the same observations, by name: (items, *shape, channels) in fitted numbers."""
        return {}

    def definitions(self) -> dict[str, str]:
        """Return in words the samples that each figure of `truth`'s masks looks at."""
        return {"psnr": "of all samples"}

    @property
    def complete(self) -> bool:
        """True if every sample of a signal trains: nothing is to be guessed in between, and differences tell nothing new."""
        return False

    @property
    def positions(self) -> Mapping[Split, Sequence[int]]:
        """Positions of the signals of each split."""
        return ONE_SIGNAL

    @property
    def shown_split(self) -> Split:
        """The split whose signals training shows."""
        return "train"

    @property
    def most_items(self) -> dict[Purpose, int | None]:
        """Bounds on the first evaluated items that a validation and the test look at; None: all."""
        return {"validate": None, "test": None}

    @property
    def holds_out(self) -> bool:
        """True if signals are evaluated that training does not see."""
        return bool(self.positions["held_out"])

    @property
    def trains_on_evaluated(self) -> bool:
        """True if training sees observations of the very signals that are evaluated."""
        return self.shown_split == "held_out" or not self.holds_out

    @cached_property
    def trained(self) -> Kind:
        """The signals that training shows."""
        return self.observe(self.shown_split)

    @cached_property
    def evaluated(self) -> Kind:
        """The signals that results are scored on."""
        return self.trained if self.trains_on_evaluated else self.observe("held_out")

    @cached_property
    def tuned(self) -> Kind:
        """Training signals that are not shown, on which solvers choose their weights."""
        return self.observe("tuning")

    @property
    def names(self) -> Sequence[str]:
        """Names of the evaluated items."""
        return self.evaluated.names

    @property
    def pieces(self) -> int:
        """Number of signals that an item is cut into."""
        return 1

    def merge(self, values: Tensor) -> Tensor:
        """Put consecutive signals (signals, *shape, channels) together to items (items, *whole, channels)."""
        return values

    def signals_of(self, purpose: Purpose) -> int:
        """Count the signals that a validation or the test looks at."""
        return len(self.names[: self.most_items[purpose]]) * self.pieces

    @property
    def encoded_as(self) -> str:
        """Form in which an encoder sees a signal, in words."""
        return "as it is"

    def describe(self) -> dict[str, object]:
        """Return the header as entries of the configuration."""
        return dict(self.header().describe())

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Samples along each axis of what is reconstructed."""
        return tuple(self.header().shape)

    @property
    def lattice_size(self) -> int:
        """Number of samples of what is reconstructed of a signal."""
        return math.prod(self.shape)

    def normalise(self, samples: Tensor) -> Tensor:
        """Take numbers of the file to those that the network fits."""
        return self.units.normalise(samples)

    def restore(self, values: Tensor) -> Tensor:
        """Take fitted numbers back to those of the file."""
        return self.units.restore(values)

    def serve(self, wanted: Wanted) -> None:
        """Take the task's wishes, before the first batch is made."""
        self.wanted = wanted

    def setup(self, stage: str | None = None) -> None:
        """Know the signals; most are read when they are first asked for."""
        _ = self.trained

    def transfer_batch_to_device(self, batch: Draw, device: torch.device, dataloader_idx: int) -> Batch:
        """Turn a draw into a batch on the device."""
        return self.training_batch(batch, device) if batch.trains else self.evaluation_batch(batch, device)

    def train_dataloader(self) -> Stream:
        """Return the endless draws from the trainer's global step on."""
        batches = self.trainer.accumulate_grad_batches if self.trainer else 0  # of a step of the optimiser
        return Stream(lambda: self.training_draws(batches * self.trainer.global_step if self.trainer else 0))

    @abstractmethod
    def training_draws(self, step: int) -> Iterator[Draw]:
        """Yield a draw per step from a step on: the same signals in every process, this process's slice of the samples."""

    def val_dataloader(self) -> Pass:
        """Return the draws of all samples of the items that a validation looks at."""
        return whole_pass(self.signals_of("validate"), self.lattice_size, self.chunk, "validate")

    def test_dataloader(self) -> Pass:
        """Return the draws of all samples of the items that the test looks at."""
        return whole_pass(self.signals_of("test"), self.lattice_size, self.chunk)

    def observation_batches(self, index: Tensor, device: torch.device) -> Iterator[Batch]:
        """Yield this process's share of all that was observed of some evaluated signals (signals,)."""
        return self.evaluated.whole_pass(index, self.chunk, self.wanted, device)

    @property
    def tuning_signals(self) -> int:
        """Number of signals that solvers tune on."""
        return min(len(self.positions["tuning"]) * self.pieces, TUNED)

    def tuning_batches(self, index: Tensor, device: torch.device, altered: bool = True) -> Iterator[Batch]:
        """Yield the same of some signals to tune on, spread evenly over them: as they are observed, or as they are."""
        signals = self.tuned if altered else self.tuned.truth
        return signals.whole_pass(index * len(self.tuned) // self.tuning_signals, self.chunk, self.wanted, device)

    def training_batches(self, device: torch.device) -> Iterator[Batch]:
        """Yield all of the first signals that training shows, as they are."""
        index = torch.arange(min(len(self.trained), TUNED * self.pieces))
        return self.trained.truth.whole_pass(index, self.chunk, self.wanted, device, shared=False)

    def constant_batches(self, device: torch.device) -> Iterator[Batch]:
        """Yield the observations that constants are estimated from, signal by signal; none of signals that training hides."""
        for index in torch.arange(len(self.evaluated)).split(1) if self.trains_on_evaluated else ():
            yield from self.evaluated.whole_pass(index, self.chunk, self.wanted, device, shared=False)


def refuse_small(shape: Sequence[int], rule: str, remedy: str) -> None:
    """Raise InputError for an axis with fewer than two samples, along which there is no derivative."""
    if min(shape) < 2:
        raise InputError(f"{rule}, got {list(shape)}; {remedy}.")
