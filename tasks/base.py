"""The one training step of every task, model, supervision and regime."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn

from datamodules.batch import Batch, Units
from inr.derivatives import observe_at
from inr.fitted import FittedField
from inr.measurements.measurement import Measurement
from inr.metrics import Metric
from inr.schedules import CONSTANT
from inr.supervision import Supervision


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
    ) -> None:
        super().__init__()
        self.network, self.measurements, self.supervision = network, nn.ModuleDict(dict(measurements)), supervision
        self.make_optimizer, self.schedule = optimizer, schedule
        self.register_buffer("constant", torch.zeros(channels))
        self.config, self.given = {}, {}  # options as plain containers: resolved, and as given
        self.steps, self.observed = 0, list[Tensor]()
        self.metrics: dict[str, Metric] = {}
        if compile:
            network.forward, network.pushforward = torch.compile(network.forward), torch.compile(network.pushforward)  # type: ignore

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
            name: observe_at(self.within(name, part), field, part.coordinates, self.supervision.quantities(name))
            for name, part in batch.parts.items()
        }
        losses = self.supervision(predictions, batch.parts) | field.penalties
        loss = torch.stack(list(losses.values())).sum()
        self.report(losses, loss)
        return {name: value.detach() for name, value in losses.items()} | {"loss": loss}

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
        self.observed.append(self.observe(batch).cpu())

    test_step = validation_step

    def observe(self, batch: Batch) -> Tensor:
        """Values (points, channels) of the one part and signal of an evaluation batch, in float32."""
        ((name, part),) = batch.parts.items()
        field = self.network.field(batch.signals)  # type: ignore[operator]
        return observe_at(self.within(name, part), field, part.coordinates, {"value"})["value"][0].float()

    def estimate_constant(self) -> None:
        """Where derivatives alone are supervised: the constant per channel, from training values only."""
        if self.supervision.fixes_constant():
            return
        batch = self.data.batch_at(self.data.some_training_samples().to(self.device))
        with torch.no_grad():
            self.constant.copy_((batch.parts["data"].targets["value"][0] - self.observe(batch)).mean(0))

    on_validation_start = estimate_constant
    on_test_start = estimate_constant

    def collect(self) -> Tensor:
        """All chunks observed since the last call, with the constant added (points, channels)."""
        values, self.observed = torch.cat(self.observed), []
        values += self.constant.cpu()
        return values

    def on_validation_epoch_end(self) -> None:
        """Log the figures that a validation affords."""
        for name, figure in self.validate(self.collect()).items():
            self.log(f"val/{name}", figure, prog_bar=True)

    def on_test_epoch_end(self) -> None:
        """Score the whole reconstruction; the callbacks write what it gave."""
        self.reconstruction = self.collect()
        self.metrics = self.score(self.reconstruction)
        self.log_dict({f"test/{name}": metric.value for name, metric in self.metrics.items()})

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

    def fitted(self) -> FittedField:
        """The result as a function of sensor coordinates, in file units."""
        units: Units = self.data.units
        measurement: Any = self.measurements["data"]
        axes = len(self.data.shape)
        return FittedField(
            self.network, measurement, axes, units.scale, units.offset, units.unit, self.constant, chunk=self.data.chunk
        )

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
        """A checkpoint alone is enough: it carries the options, the units and the constant, as plain containers."""
        self.estimate_constant()
        checkpoint["state_dict"]["constant"] = self.constant
        checkpoint |= {"config": self.config, "options": self.given, "units": asdict(self.data.units)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember how far the training went."""
        self.steps = checkpoint["global_step"]
