"""The one training step of every task, model, supervision and regime."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from datamodules.common.batch import Batch, Part
from datamodules.common.signal_data import SignalData, Wanted
from inr.derivatives import observe_at
from inr.errors import InputError
from inr.field import Field, Network
from inr.measurements.measurement import Measurement, Sensors
from inr.metrics.figures import Metric
from inr.optimisers.parameters import Parameters
from inr.optimisers.schedules import CONSTANT
from inr.randomness import StepRandomness
from inr.supervision.constant import UnknownConstant
from inr.supervision.terms import Supervision
from tasks.compiling import Work, pays

Data = TypeVar("Data", bound=SignalData)
Compile = bool | Literal["auto"]


class Training(NamedTuple):
    """The network, what it is compared with, and how it is trained: the same for every task."""

    network: Network
    supervision: Supervision
    optimizer: Callable[[Parameters], torch.optim.Optimizer]
    schedule: Callable[[int, float], float] = CONSTANT  # factor of the learning rate at a step, after so many seconds
    compile: Compile = False  # the network's functions, by `torch.compile`; auto: where a training is long enough to gain by it


Objective = tuple[dict[str, Tensor], Tensor]  # terms and penalties by name, and the number whose gradients are followed


@dataclass
class RegimeResult:
    """The result of a regime as its task evaluates it: handed over once, filled while the regime is at work."""

    network: Network | None = None  # whose fields are scored, with codes of signals not trained on; None: the trained one
    encodes: bool = False  # an encoder reads whole observations, which batches then carry
    figures: dict[str, Metric] = field(default_factory=dict)  # beside those of the task
    drawings: dict[str, Callable[[], np.ndarray]] = field(default_factory=dict)  # by name, made when they are called
    snapshots: dict[str, Tensor] = field(default_factory=dict)  # earlier reconstructions (items, *shape, channels)
    row: str | None = None  # the reference row that the result itself is, which is not made once more
    columns: dict[str, Sequence[float]] = field(default_factory=dict)  # further figures of each signal, by name
    objective: Callable[[Batch], Objective] | None = None  # in place of the task's own, from all signals that are shown


class RegimeCallback(Callback):
    """A regime at work: it finds what is free by other means than training steps, and hands its task a `RegimeResult`."""

    def __init__(self) -> None:
        self.result = RegimeResult()

    def state_dict(self) -> dict[str, Any]:
        """Return the figures of the result, so that an evaluation of the checkpoint has them too."""
        return {name: tuple(figure) for name, figure in self.result.figures.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the figures over."""
        self.result.figures = {name: Metric(*figure) for name, figure in state_dict.items()}


class INRTask(L.LightningModule, Generic[Data]):
    """Fit a network to what sensors observed; `tasks.evaluation` scores the result.

    channels, signals: of the constants that derivatives alone leave open.
    Raises: InputError for a network and a measurement of which only one knows directions of view, and an unknown `compile`.
    """

    reads: ClassVar[type] = SignalData  # the kind of data that the task can evaluate
    config: dict[str, Any]  # options as plain containers: resolved,
    given: dict[str, Any]  # and as given

    def __init__(self, training: Training, measurements: Sensors, channels: int = 1, signals: int = 1) -> None:
        super().__init__()
        network = training.network
        for measurement in measurements.values():
            if measurement.directions != network.directions:
                given = f"{network.directions} and {measurement.directions}".lower()
                rule = "Directions of view in the model and in the data (data.directions) go together"
                raise InputError(f"{rule}, got {given}; use both, or neither.")
        self.network = network
        self.measurements = nn.ModuleDict(dict(measurements))
        self.supervision = training.supervision
        self.make_optimizer = training.optimizer
        self.schedule = training.schedule
        self.constant = UnknownConstant(signals, channels)
        self.regime = RegimeResult()
        self.config, self.given = {}, {}
        self.steps = 0  # that a loaded checkpoint had been trained for
        self.seconds = 0.0  # that this training has taken, where a clock limits it; `tasks.callbacks.FitTimer` counts them,
        self.limit: float | None = None  # and says how many there may be; None: no clock
        self.compiles = training.compile
        if self.compiles not in (True, False, "auto"):
            raise InputError(f"compile must be true, false or auto, got compile={self.compiles}.")
        if self.compiles is True:
            network.compile_functions()  # never this module: `self.log` cannot be compiled

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; the name of the hook at work, which Lightning sets 46 times a step, without a look for modules."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    @property
    def data(self) -> Data:
        """The datamodule at work. Raises: InputError for data of another kind than the task evaluates."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, self.reads):
            wanted = f"{type(self).__name__} evaluates data of the kind {self.reads.__name__}"
            raise InputError(f"{wanted}, got {type(data).__name__}; choose another data=, or the task that belongs to it.")
        return data  # type: ignore[return-value]

    def setup(self, stage: str) -> None:
        """Tell the data what the supervision reads of each part, so that nothing else is computed."""
        quantities = {part: self.supervision.quantities(part) for part in self.measurements}
        self.data.serve(Wanted(quantities, self.regime.encodes, self.regime.objective is not None))
        if self.compiles == "auto" and stage == "fit" and self.trainer.max_steps and self.compiling_pays():
            self.network.compile_functions()

    def compiling_pays(self) -> bool:
        """Return True if the training is long enough to gain by compiling: by the points of its first step and its length."""
        batch = self.data.training_batch(next(self.data.training_draws(0)), torch.device("cpu"))  # where this module still is
        points = 0
        for name, part in batch.parts.items():
            read = self.supervision.predicted(name)
            axes = self.supervision.axes(name) if "jacobian" in read else []
            tangents = part.coordinates.shape[-1] if axes is None else len(axes)
            located = self.within(name, part).locate(part.coordinates).points
            points += located[..., 0].numel() * (1 + tangents + ("slope" in read))
        work = Work(points, self.trainer.max_steps, self.limit, half="16" in str(self.trainer.precision))
        return pays(work, self.network, self.trainer.strategy.root_device)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Terms and penalties of the batch, and their sum."""
        losses, loss = (self.regime.objective or self.objective)(batch)
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            # not in every step: a call of `log` costs a tenth of a small one
            self.log_dict({f"train/{name}": value for name, value in losses.items()}, sync_dist=True)
            self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        return {name: value.detach() for name, value in losses.items()} | {"loss": loss}

    def objective(self, batch: Batch) -> Objective:
        """Return the terms and penalties of a batch, and their sum."""
        losses = self.losses(batch, self.network.field(batch.signals))
        return losses, torch.stack(list(losses.values())).sum()

    def losses(self, batch: Batch, field: Field) -> dict[str, Tensor]:
        """Return the terms and penalties of the fields of a batch: observations of each part, compared with the data."""
        parts = {name: self.directed(name, part) for name, part in batch.parts.items()}
        predictions = {name: self.predict(name, part, field) for name, part in parts.items()}
        return self.supervision(predictions, parts) | field.penalties

    def directed(self, name: str, part: Part) -> Part:
        """Give a part the random directions of the step, if the supervision compares along such.

        Raises: InputError for data of a kind of one's own whose batches have no random numbers.
        """
        if "slope" not in self.supervision.predicted(name):
            return part
        randomness = part.context.get("randomness")
        if not isinstance(randomness, StepRandomness):
            rule = "supervision.directions=random needs data whose training batches have random numbers"
            raise InputError(f"{rule}, got none in the part {name}; return batch.with_randomness(random_rows(...)).")
        return replace(part, direction=self.supervision.direction(name, part.coordinates, randomness))

    def predict(self, name: str, part: Part, field: Field) -> dict[str, Tensor]:
        """Observe what the supervision reads of a part."""
        quantities, axes = self.supervision.predicted(name), self.supervision.axes(name)
        return observe_at(self.within(name, part), field, part.coordinates, quantities, axes, part.direction)

    @property
    def sensors(self) -> dict[str, Measurement]:
        """The measurements by part."""
        return cast(dict[str, Measurement], dict(self.measurements))

    def within(self, name: str, part: Part) -> Measurement:
        """Bind the measurement of a part to the part's context."""
        return self.sensors[name].within(**part.context)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Make the optimiser, and its learning rates functions of the step, and of the seconds where a clock ends the run."""
        optimizer = self.make_optimizer(Parameters(self.network))
        self.options = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
        scheduler = LambdaLR(optimizer, lambda step: self.schedule(step, self.seconds))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        """After a resume: this run's options go above those that the optimiser's saved state brought back."""
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, LambdaLR)
        scheduler.base_lrs = [options["lr"] for options in self.options]
        for group, options in zip(scheduler.optimizer.param_groups, self.options, strict=True):
            group.update(options, initial_lr=options["lr"])
            group["lr"] = options["lr"] * self.schedule(self.global_step, self.seconds)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make a checkpoint enough by itself: options, units and names of the signals, as plain containers."""
        checkpoint |= {"config": self.config, "options": self.given, "units": asdict(self.data.units)}
        checkpoint["signals"] = list(self.data.trained.names) if self.data.collects else []

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember how far the training went; the state of another optimiser means nothing to this one, which starts anew."""
        self.steps = checkpoint["global_step"]
        had, has = (config.get("optimizer", {}).get("_target_") for config in (checkpoint["config"], self.config))
        if had != has:
            checkpoint["optimizer_states"] = []
            warnings.warn(f"The run that is resumed had {had}; {has} starts from its weights alone.", stacklevel=2)
