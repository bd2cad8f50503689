"""The one training step of every task, model, supervision and regime."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from datamodules.common.batch import Batch, Units
from inr.derivatives import observe_at
from inr.errors import InputError
from inr.measurements.measurement import Measurement
from inr.metrics.figures import Metric
from inr.optimisers.schedules import CONSTANT
from inr.saved.fitted_field import FittedField
from inr.supervision.terms import Supervision


class INRTask(L.LightningModule):
    """Fit a network to what sensors observed. Subclasses say how a result is scored, drawn and exported.

    `optimizer` is a factory, parameters -> optimiser; `schedule` gives the factor of the learning rate at a step.
    `compile` passes the network's functions (never this module) through `torch.compile`.
    """

    constant: Tensor
    config: dict[str, Any]
    given: dict[str, Any]

    def __init__(
        self,
        network: nn.Module,
        measurements: Mapping[str, Measurement],
        supervision: Supervision,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        schedule: Callable[[int], float] = CONSTANT,
        compile: bool = False,
        channels: int = 1,
        signals: int = 1,
    ) -> None:
        super().__init__()
        for measurement in measurements.values():
            if measurement.directions != getattr(network, "directions", False):
                raise InputError(
                    "model=radiance and data.directions=true (task=nerf) go together, got one without the other; use both."
                )
        self.network, self.measurements, self.supervision = network, nn.ModuleDict(dict(measurements)), supervision
        self.make_optimizer, self.schedule = optimizer, schedule
        self.register_buffer("constant", torch.zeros(signals, channels))
        self.encoded: nn.Module | None = None  # the network with codes of other signals than those trained on
        self.snapshots: dict[str, Tensor] = {}  # earlier reconstructions (images, *shape, channels) by name
        self.extra: dict[str, Metric] = {}  # figures of the regime
        self.drawings: dict[str, Callable[[], np.ndarray]] = {}  # pictures of the regime
        self.config, self.given = {}, {}  # options as plain containers: resolved, and as given
        self.steps, self.observed = 0, list[Tensor]()
        self.owners, self.collected = list[tuple[Tensor, int]](), list[tuple[Tensor, int]]()  # signals and points of each chunk
        self.metrics: dict[str, Metric] = {}
        if compile:
            for part in [network] if hasattr(network, "pushforward") else network.children():
                part.forward, part.pushforward = torch.compile(part.forward), torch.compile(part.pushforward)  # type: ignore

    def setup(self, stage: str) -> None:
        """Tell the data which targets the supervision reads, so that no others are computed."""
        self.data.quantities = self.supervision.quantities("data")

    @property
    def data(self) -> Any:
        """The datamodule at work."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Field, observations of each part, terms and penalties, sum."""
        field = self.network.field(batch.signals)  # type: ignore[operator]
        predictions = {
            name: observe_at(self.within(name, part), field, part.coordinates, *self.supervised(name))
            for name, part in batch.parts.items()
        }
        losses = self.supervision(predictions, batch.parts) | field.penalties
        loss = torch.stack(list(losses.values())).sum()
        self.report(losses, loss)
        return {name: value.detach() for name, value in losses.items()} | {"loss": loss}

    def supervised(self, part: str) -> tuple[frozenset[str], list[int] | None]:
        """The quantities of a part that the supervision reads, and the axes of its jacobian."""
        return self.supervision.quantities(part), self.supervision.axes(part)

    def within(self, name: str, part: Any) -> Measurement:
        """The measurement of a part, bound to the part's context."""
        return self.measurements[name].within(**part.context)  # type: ignore[operator]

    def report(self, losses: Mapping[str, Tensor], loss: Tensor) -> None:
        """Log the terms and their sum every `log_every_n_steps`."""
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self.log_dict({f"train/{name}": value for name, value in losses.items()}, sync_dist=True)
            self.log("train/loss", loss, prog_bar=True, sync_dist=True)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Observe a chunk of what is to be reconstructed; `on_*_epoch_end` scores all of them together."""
        self.keep(batch, self.observe(batch))

    test_step = validation_step

    def keep(self, batch: Batch, values: Tensor) -> None:
        """Remember values (signals, points, channels) of an evaluation batch, their constants added."""
        self.observed.append(self.with_constant(batch, values).cpu().flatten(0, 1))
        self.owners.append((batch.signals.index.cpu(), values.shape[1]))

    def with_constant(self, batch: Batch, values: Tensor) -> Tensor:
        """Values (signals, points, channels) with what is observed of the constants of their signals added."""
        if self.encoded is not None:
            return values
        ((name, part),) = batch.parts.items()
        response = self.within(name, part).of_constant(part.coordinates)
        return values + response * self.constant[batch.signals.index][:, None]

    @property
    def result_part(self) -> str:
        """The part that the result is observed by: `result` where the data see something else."""
        return "result" if "result" in self.measurements else "data"

    def sketch(self) -> tuple[str, list[Tensor]]:
        """The part that small pictures of a field are observed by, and where they look along each axis of its sensor."""
        return self.result_part, [torch.arange(0, size, max(1, size // 256), dtype=torch.float32) for size in self.data.shape]

    @property
    def evaluated(self) -> nn.Module:
        """The network whose fields are scored."""
        return self.network if self.encoded is None else self.encoded

    def observe(self, batch: Batch) -> Tensor:
        """Values (signals, points, channels) of the one part of an evaluation batch, in float32."""
        ((name, part),) = batch.parts.items()
        field = self.evaluated.field(batch.signals)  # type: ignore[operator]
        return observe_at(self.within(name, part), field, part.coordinates, {"value"})["value"].float()

    def estimate_constant(self) -> None:
        """Where derivatives alone are supervised: the constant per signal and channel, from observed values only."""
        if self.supervision.fixes_constant() or self.encoded is not None:
            return
        sums: dict[int, tuple[Tensor, Tensor]] = {}
        with torch.no_grad():
            for batch in self.data.constant_batches(self.device):
                part, signal = batch.parts["data"], int(batch.signals.index[0])
                error = part.targets["value"][0] - self.observe(batch)[0]
                weights = part.weights.get("value", torch.ones_like(error[None, :, 0]))[0, :, None]
                response = self.within("data", part).of_constant(part.coordinates)[0]
                total, mass = sums.get(signal, (error.new_zeros(()), error.new_zeros(())))
                sums[signal] = total + (weights * error).sum(0), mass + (weights * response).sum()
            for signal, (total, mass) in sums.items():
                self.constant[signal] = total / mass

    on_validation_start = estimate_constant
    on_test_start = estimate_constant

    def collect(self) -> Tensor:
        """All chunks observed since the last call (samples, channels)."""
        values, self.collected = torch.cat(self.observed), self.owners
        self.observed, self.owners = [], []
        return values

    def without_constant(self, values: Tensor) -> Tensor:
        """Values (samples, channels) as they were collected, of the field itself, without the constants of their signals."""
        if self.encoded is not None:
            return values
        constants = [self.constant[index].cpu()[:, None].expand(-1, points, -1) for index, points in self.collected]
        return values - torch.cat([constant.flatten(0, 1) for constant in constants])

    def on_validation_epoch_end(self) -> None:
        """Log the figures that a validation affords."""
        for name, figure in self.validate(self.collect()).items():
            self.log(f"val/{name}", figure, prog_bar=True)

    def on_test_epoch_end(self) -> None:
        """Score the whole reconstruction; the callbacks write what it gave."""
        self.reconstruction = self.collect()
        self.metrics = self.score(self.reconstruction) | self.extra
        self.log_dict({f"test/{name}": metric.value for name, metric in self.metrics.items()})

    @torch.no_grad()
    def reconstruct(self) -> Tensor:
        """What the test would see now: all samples of all signals, as pictures are made of (images, *shape, channels)."""
        batches = (self.data.evaluation_batch(draw, self.device) for draw in self.data.test_dataloader())
        values = torch.cat([self.with_constant(batch, self.observe(batch)).cpu().flatten(0, 1) for batch in batches])
        return self.images(values)

    def images(self, values: Tensor) -> Tensor:
        """Reconstructions (images, *shape, channels) from values (samples, channels) of all samples in order."""
        return self.data.merge(values.reshape(-1, *self.data.shape, values.shape[-1]))

    def validate(self, values: Tensor) -> dict[str, float]:
        """Figures of the samples that a validation looks at."""
        raise NotImplementedError(f"{type(self).__name__} must define validate(values).")

    def score(self, values: Tensor) -> dict[str, Metric]:
        """Figures of the whole reconstruction, and of the reference rows as `row/figure`."""
        raise NotImplementedError(f"{type(self).__name__} must define score(values).")

    def draw(self) -> dict[str, np.ndarray]:
        """Pictures of the result by name, uint8 (rows, columns, 3)."""
        raise NotImplementedError(f"{type(self).__name__} must define draw().")

    def export(self, folder: Path, scale: float) -> None:
        """Write the result in the file format of its kind, `scale` times as fine as the data."""
        raise NotImplementedError(f"{type(self).__name__} must define export(folder, scale).")

    def exporters(self) -> dict[str, Callable[[Path, float], None]]:
        """What can be exported, by name; each is called with a folder and a scale."""
        return {"result": self.export}

    def fitted(self, signal: int = 0) -> FittedField:
        """The result for a signal as a function of sensor coordinates, in file units."""
        units: Units = self.data.units
        measurement: Any = self.measurements[self.result_part]
        constant = None if self.encoded is not None else self.constant[signal]
        scale, offset, axes, chunk = units.scale, units.offset, len(self.data.shape), self.data.chunk
        return FittedField(self.evaluated, measurement, axes, scale, offset, units.unit, constant, signal, chunk)  # type: ignore[arg-type]

    def configure_optimizers(self) -> Any:
        """The optimiser, and its learning rate as a function of the step."""
        optimizer = self.make_optimizer(parameter for parameter in self.network.parameters() if parameter.requires_grad)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.schedule(step))
        self.options = dict(optimizer.defaults)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        """After a resume: this run's options go above those that the optimiser's saved state brought back."""
        scheduler: Any = self.lr_schedulers()
        scheduler.base_lrs = [self.options["lr"]] * len(scheduler.base_lrs)
        for group in scheduler.optimizer.param_groups:
            group.update(self.options, initial_lr=self.options["lr"])
            group["lr"] = self.options["lr"] * self.schedule(self.global_step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A checkpoint alone is enough: options, units, constant and the names of the signals, as plain containers."""
        self.estimate_constant()
        checkpoint["state_dict"]["constant"] = self.constant
        checkpoint |= {"config": self.config, "options": self.given, "units": asdict(self.data.units)}
        checkpoint["signals"] = list(getattr(self.data, "train_names", []))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember how far the training went."""
        self.steps = checkpoint["global_step"]
