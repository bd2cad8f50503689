"""Before and after the jobs of a command: a new folder for each, and the table of a sweep."""

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from inr.errors import InputError

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


def unused(path: str) -> str:
    """Create a folder that did not exist, and return its path: the one given, or with the first free suffix."""
    for count in range(1, 10000):
        candidate = Path(path if count == 1 else f"{path}_{count}")
        try:  # to create is to claim: of two runs that start in the same second one fails here and takes the next suffix
            candidate.mkdir(parents=True)
        except FileExistsError:
            continue
        return str(candidate)
    raise InputError(f"No free folder beside {path}; set hydra.run.dir.")


# Cached, since Hydra resolves the option more than once and every time has to find the same folder.
OmegaConf.register_new_resolver("unused", unused, use_cache=True, replace=True)


def finish(loggers: "list[Logger]") -> None:
    """End the runs that loggers of Weights & Biases hold open, so that the next job of a sweep starts its own."""
    from lightning.pytorch.loggers import WandbLogger

    for logger in loggers:
        if isinstance(logger, WandbLogger):  # Lightning's own `finalize` leaves them open
            logger.experiment.finish()


class Summary(Callback):
    """One table of all runs of a sweep, at its end: on the screen and as summary.csv."""

    @staticmethod
    def row(run: Path) -> dict[str, object]:
        """Return the options that a run was given and its figures, from its folder."""
        overrides = [str(override) for override in OmegaConf.load(run / ".hydra" / "overrides.yaml")]
        file = run / "metrics.json"
        metrics = json.loads(file.read_text()) if file.is_file() else {}
        row: dict[str, object] = {name: value for name, value in (override.split("=", 1) for override in overrides)}
        # names with a slash are figures of baselines and of single signals: too many for a table
        return row | {name: metric["value"] for name, metric in metrics.items() if "/" not in name}

    def on_multirun_end(self, config: DictConfig, **kwargs: object) -> None:
        """Save the table, print the columns in which the runs differ; exit with code 1 if a run failed and has no figures."""
        folder = Path(config.hydra.sweep.dir)
        found = (file.parent.parent for file in folder.rglob(".hydra/overrides.yaml"))
        runs = sorted(found, key=lambda run: (len(run.name), run.name))  # 2 before 10
        rows = [self.row(run) for run in runs]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        telling = [name for name in columns if len({str(row.get(name)) for row in rows}) > 1] or columns
        table = Table(*telling)
        for row in rows:
            cells = (row.get(name) for name in telling)
            table.add_row(*(f"{cell:.4g}" if isinstance(cell, float) else "" if cell is None else str(cell) for cell in cells))
        Console(width=max(Console().width, 120)).print(table)  # a pipe has 80 columns, too few for a row
        with (folder / "summary.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        if not all((run / "metrics.json").is_file() for run in runs):
            sys.exit(1)
