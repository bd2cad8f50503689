"""The files and the table that a run leaves after its test."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

import lightning as L
from imageio.v3 import imwrite
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import inr.saved.runs
from datamodules.common.files import require
from inr.errors import InputError
from inr.metrics.figures import Metric
from inr.saved.runs import FIELDS
from tasks.callbacks import FitTimer
from tasks.evaluation import EvaluatedTask
from tasks.trainer import Trainer

COSTS = ("steps", "seconds", "parameters", "parameters_per_value")  # figures below the table, as they are no measure of quality
NARROWEST = 100  # columns of the table where no terminal says its width


class Results(Callback):
    """Write the table, `metrics.json`, `pictures/` and `export/` after the test, and send the pictures to the loggers.

    scale: samples of an export per sample of the data, along each axis
    only: the one thing to export; None: all that the task has to offer
    """

    def __init__(
        self, folder: str, scale: float = 1.0, pictures: bool = True, export: bool = True, only: str | None = None
    ) -> None:
        require("export.scale", 0 < scale <= 64, "is how much finer than the data to export, above 0 and at most 64", scale)
        self.folder, self.scale = Path(folder), scale
        self.pictures, self.export = pictures, export
        self.only = only

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what the task cannot export."""
        assert isinstance(pl_module, EvaluatedTask)
        choices = [*pl_module.exporters(), FIELDS]
        if self.only is not None and self.only not in choices:
            raise InputError(f"export must be one of all, {', '.join(choices)} for this task, got export={self.only}.")

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write everything, from one process."""
        assert isinstance(pl_module, EvaluatedTask)
        assert isinstance(trainer, Trainer)
        if not trainer.is_global_zero:  # several would write the same files
            return
        metrics = pl_module.metrics | costs(trainer, pl_module)
        self.write_metrics(metrics)
        self.write_signals(pl_module)
        if self.pictures:
            self.write_pictures(trainer, pl_module)
        if self.export:
            self.write_exports(pl_module)
        print_table(metrics, self.folder, pl_module.notes)

    def write_metrics(self, metrics: dict[str, Metric]) -> None:
        """Write `metrics.json`: one flat object, name -> value, unit, definition; what is not a finite number is null."""
        finite = {name: one.value if math.isfinite(one.value) else None for name, one in metrics.items()}  # JSON has no NaN
        table = {name: metric._asdict() | {"value": finite[name]} for name, metric in metrics.items()}
        (self.folder / "metrics.json").write_text(json.dumps(table, indent=2) + "\n")

    @staticmethod
    def described(task: EvaluatedTask) -> list[dict[str, object]]:
        """Return the name of each signal that trains, what the regime found of it, and its figures where it was scored."""
        scored = dict(zip(task.data.names, task.table, strict=False))  # of scenes and images in patches there are others
        return [
            {"name": name}
            | {title: column[place] for title, column in task.regime.columns.items()}
            | {title: figure.value for title, figure in scored.get(name, {}).items()}
            for place, name in enumerate(task.data.trained.names)
        ]

    def write_signals(self, task: EvaluatedTask) -> None:
        """Write `signals.csv`: a row for each signal, where the regime found something of each."""
        rows = self.described(task) if task.regime.columns else []
        if len(rows) < 2:
            return
        with (self.folder / "signals.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
            table.writeheader()
            table.writerows(rows)

    def write_pictures(self, trainer: L.Trainer, task: EvaluatedTask) -> None:
        """Write `pictures/*.png`, and the same to every logger that takes images."""
        folder = self.folder / "pictures"
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in (task.draw() | {name: draw() for name, draw in task.regime.drawings.items()}).items():
            imwrite(folder / f"{name}.png", picture, plugin="pillow")
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.log_image(f"pictures/{name}", [picture])
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_image(f"pictures/{name}", picture, trainer.global_step, dataformats="HWC")

    def write_exports(self, task: EvaluatedTask) -> None:
        """Write `export/`: what the task offers, and the network with all that a call of it needs."""
        folder = self.folder / "export"
        folder.mkdir(parents=True, exist_ok=True)
        for name, export in task.exporters().items():
            if self.only in (None, name):
                export(folder, self.scale)
        checkpoint: dict[str, object] = {"state_dict": task.state_dict()}
        task.on_save_checkpoint(checkpoint)
        if self.only == FIELDS:
            inr.saved.runs.save(folder, checkpoint, FIELDS, self.described(task))
        else:
            inr.saved.runs.save(folder, checkpoint)


def costs(trainer: Trainer, task: EvaluatedTask) -> dict[str, Metric]:
    """Count steps, seconds, parameters; where a signal is a lattice of numbers, also parameters for each of them."""
    seconds = sum(callback.time_elapsed() for callback in trainer.callbacks if isinstance(callback, FitTimer))
    parameters = sum(parameter.numel() for parameter in task.network.parameters())
    values = len(task.data.trained) * task.data.lattice_size * task.data.header().channels
    text = "parameters / numbers that the fitted signals consist of: above 1 more a lookup table than a compression"
    share = {"parameters_per_value": Metric(parameters / values, "1", text)} if task.data.is_lattice else {}
    return {
        "steps": Metric(max(trainer.global_step, task.steps), "1", "optimiser steps"),
        "seconds": Metric(round(seconds, 3), "s", "wall-clock time of training, validations included"),
        "parameters": Metric(parameters, "1", "numbers in the network that were fitted"),
        **share,
    }


def print_table(metrics: dict[str, Metric], folder: Path, notes: Sequence[str]) -> None:
    """Print the network's row (figures `name`) and the reference rows (`row/name`), then what the columns mean."""
    console = Console(width=max(Console().width, NARROWEST))
    network = {name: metric for name, metric in metrics.items() if "/" not in name}
    columns = [name for name in network if name not in COSTS]
    table = Table("", *(escape(f"{name} [{network[name].unit}]".removesuffix(" [1]")) for name in columns))
    table.add_row("network", *(rounded(network[name].value) for name in columns), style="bold")
    for row in dict.fromkeys(name.split("/")[0] for name in metrics if "/" in name):
        found = [metrics.get(f"{row}/{name}") for name in columns]
        table.add_row(row, *("" if metric is None else rounded(metric.value) for metric in found))
    console.print(table)
    for name in columns:
        console.print(f"{name}: {network[name].definition}", style="dim", markup=False, highlight=False, soft_wrap=True)
    for note in notes:
        console.print(note, style="dim", markup=False, highlight=False, soft_wrap=True)
    counts = {name: network[name].value for name in COSTS if name in network}
    spent = ", ".join(f"{name} {f'{count:.10g}' if count == int(count) else rounded(count)}" for name, count in counts.items())
    console.print(f"{spent} | {folder}", highlight=False)


def rounded(value: float) -> str:
    """Write a figure with three decimals, a small one with two digits."""
    return f"{value:.2g}" if 0 < abs(value) < 0.05 else f"{value:.3f}"
