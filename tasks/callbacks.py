"""What happens around the steps: checkpoints, checks, progress, and the files that a run leaves."""

import io
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, Checkpoint, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor

import inr.saved.runs
from inr.errors import InputError
from inr.metrics.figures import Metric
from tasks.evaluation import EvaluatedTask

LAST, BEST = "last.ckpt", "best.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its place and move it there, so that a full disk or a kill leaves the earlier one whole."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Save, or raise InputError and leave what was there."""
        target = Path(path)
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        unfinished = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, target)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise InputError(f"A checkpoint must find room at {target}: {error}; an earlier one there is unharmed.") from error


class Checkpoints(Checkpoint):
    """`last.ckpt` every `every` steps and at the end, `best.ckpt` whenever a validation improves on `monitor`."""

    def __init__(self, folder: str, every: int = 100, monitor: str = "val/psnr", mode: str = "max") -> None:
        super().__init__()
        if every < 1:
            raise InputError(f"callbacks.checkpoints.every counts steps and must be at least 1, got {every}.")
        self.folder, self.every, self.monitor, self.sign = Path(folder), every, monitor, 1 if mode == "max" else -1
        self.best, self.saved = -math.inf, -1

    def save(self, trainer: L.Trainer, name: str) -> None:
        """Save the state after this step under the name."""
        trainer.save_checkpoint(self.folder / name)

    def save_last(self, trainer: L.Trainer) -> None:
        """Save the last state, once a step."""
        if self.saved != trainer.global_step:
            self.save(trainer, LAST)
        self.saved = trainer.global_step

    def is_due(self, trainer: L.Trainer) -> bool:
        """Whether the last state is to be saved after this step."""
        return trainer.global_step % self.every == 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save the last state every so many steps; where a validation follows, after it, so that a resume has its figures."""
        interval = trainer.val_check_batch
        validates = trainer.enable_validation and interval is not None and (batch_idx + 1) % interval == 0
        if self.is_due(trainer) and not validates:
            self.save_last(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the best state, and the last one if it is due."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        figure = trainer.callback_metrics.get(self.monitor)
        if figure is not None and self.sign * float(figure) > self.best:
            self.best = self.sign * float(figure)
            self.save(trainer, BEST)
        if self.is_due(trainer):
            self.save_last(trainer)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the final state, also of a fit that took no step."""
        self.save_last(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The best figure so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best figure so far."""
        self.best = state_dict["best"]


class FiniteLoss(Callback):
    """Stop as soon as a term of the loss is NaN or infinite, before anything is saved.

    On a GPU the check of a step waits until the next one is under way, so that it does not stall.
    """

    def __init__(self) -> None:
        self.pending: tuple[int, dict[str, Tensor]] | None = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the step before, or on the CPU this one."""
        if pl_module.device.type != "cpu":
            self.check()
        self.pending = trainer.global_step, outputs
        if pl_module.device.type == "cpu":
            self.check()

    def check(self) -> None:
        """Raise InputError if the pending step has a term that is not finite."""
        if self.pending is None:
            return
        step, terms = self.pending
        self.pending = None
        values = {name: value.item() for name, value in terms.items()}
        broken = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value) and name != "loss"]
        if broken or not math.isfinite(values["loss"]):
            raise InputError(
                f"Every term of the loss must stay finite; {', '.join(broken) or 'their sum is not'} at step {step}. Lower"
                " optimizer.lr, or go on from the last checkpoint."
            )

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Never save a state that came out of a broken loss."""
        self.check()


class Progress(TQDMProgressBar):
    """A bar over the steps of the whole training, with loss, PSNR and steps per second."""

    @property
    def total_train_batches(self) -> int | float:
        """All steps, since the data have no end."""
        return self.trainer.max_steps if self.trainer.max_steps > 0 else math.inf


class Stopwatch(Callback):
    """Seconds of training, validations included, summed over resumed runs."""

    def __init__(self) -> None:
        self.earlier = 0.0
        self.begin: float | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start."""
        self.begin = time.perf_counter()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop."""
        self.earlier, self.begin = self.seconds, None

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self.earlier + (0.0 if self.begin is None else time.perf_counter() - self.begin)

    def state_dict(self) -> dict[str, Any]:
        """Seconds so far."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.earlier = state_dict["seconds"]


class Results(Callback):
    """After the test: table, `metrics.json`, `pictures/`, `export/`, and the same pictures to the loggers.

    `only` names the one thing to export; None: all that the task has to offer.
    """

    def __init__(
        self, folder: str, scale: float = 1.0, pictures: bool = True, export: bool = True, only: str | None = None
    ) -> None:
        if not 0 < scale <= 64:
            raise InputError(f"export.scale is how much finer than the data to export, above 0 and at most 64, got {scale}.")
        self.folder, self.scale, self.pictures, self.export, self.only = Path(folder), scale, pictures, export, only

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what the task cannot export."""
        assert isinstance(pl_module, EvaluatedTask)
        choices = pl_module.exporters()
        if self.only is not None and self.only not in choices:
            raise InputError(f"export must be one of all, {', '.join(choices)} for this task, got export={self.only}.")

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write everything, from one process."""
        assert isinstance(pl_module, EvaluatedTask)
        if not trainer.is_global_zero:
            return
        metrics = pl_module.metrics | self.costs(trainer, pl_module)
        self.write_metrics(metrics)
        if self.pictures:
            self.write_pictures(trainer, pl_module)
        if self.export:
            folder = self.folder / "export"
            folder.mkdir(parents=True, exist_ok=True)
            for name, export in pl_module.exporters().items():
                if self.only in (None, name):
                    export(folder, self.scale)
            inr.saved.runs.save(folder, self.checkpoint(pl_module))
        self.print_table(metrics)

    @staticmethod
    def checkpoint(task: EvaluatedTask) -> dict[str, Any]:
        """What an exported field carries, in the form of a checkpoint."""
        checkpoint: dict[str, Any] = {"state_dict": task.state_dict()}
        task.on_save_checkpoint(checkpoint)
        return checkpoint

    @staticmethod
    def costs(trainer: L.Trainer, task: EvaluatedTask) -> dict[str, Metric]:
        """Steps, seconds, parameters."""
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        seconds = sum(callback.seconds for callback in callbacks if isinstance(callback, Stopwatch))
        parameters = sum(parameter.numel() for parameter in task.network.parameters())
        return {
            "steps": Metric(max(trainer.global_step, task.steps), "1", "optimiser steps"),
            "seconds": Metric(round(seconds, 3), "s", "wall-clock time of training, validations included"),
            "parameters": Metric(parameters, "1", "numbers in the network that were fitted"),
        }

    def write_metrics(self, metrics: dict[str, Metric]) -> None:
        """`metrics.json`: one flat object, name -> value, unit, definition; what is not a finite number is null."""
        table = {
            name: metric._asdict() | {"value": metric.value if math.isfinite(metric.value) else None}
            for name, metric in metrics.items()
        }
        (self.folder / "metrics.json").write_text(json.dumps(table, indent=2) + "\n")

    def write_pictures(self, trainer: L.Trainer, task: EvaluatedTask) -> None:
        """`pictures/*.png`, and the same to every logger that takes images."""
        folder = self.folder / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in (task.draw() | {name: draw() for name, draw in task.regime.drawings.items()}).items():
            Image.fromarray(picture).save(folder / f"{name}.png")
            self.log_picture(trainer, name, picture)

    @staticmethod
    def log_picture(trainer: L.Trainer, name: str, picture: np.ndarray) -> None:
        """Send a picture to the loggers."""
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(f"pictures/{name}", [picture])
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(f"pictures/{name}", picture, trainer.global_step, dataformats="HWC")

    def print_table(self, metrics: dict[str, Metric]) -> None:
        """The network's row and the reference rows, then what the columns mean."""
        console = Console(width=max(Console().width, 100))
        own = {name: metric for name, metric in metrics.items() if "/" not in name}
        costs = [name for name in ("steps", "seconds", "parameters") if name in own]
        columns = [name for name in own if name not in costs]
        table = Table("", *(escape(f"{name} [{own[name].unit}]".removesuffix(" [1]")) for name in columns))
        rows = dict.fromkeys(name.split("/")[0] for name in metrics if "/" in name)
        table.add_row("network", *(shown(own[name].value) for name in columns), style="bold")
        for row in rows:
            found = [metrics.get(f"{row}/{name}") for name in columns]
            table.add_row(row, *("" if metric is None else shown(metric.value) for metric in found))
        console.print(table)
        for name in columns:
            console.print(f"{name}: {own[name].definition}", style="dim", markup=False, highlight=False, soft_wrap=True)
        console.print(", ".join(f"{name} {own[name].value:g}" for name in costs) + f" | {self.folder}", highlight=False)


def shown(value: float) -> str:
    """A figure with three decimals, a small one with two digits."""
    return f"{value:.2g}" if 0 < abs(value) < 0.05 else f"{value:.3f}"
