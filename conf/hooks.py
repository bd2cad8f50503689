"""What surrounds the jobs of a command: a new folder for each, and the table of a sweep."""

import csv
import json
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from inr.errors import InputError


def unused(path: str) -> str:
    """A folder that did not exist, created: the path itself, or with the first free suffix."""
    for count in range(1, 10000):
        candidate = Path(path if count == 1 else f"{path}_{count}")
        try:
            candidate.mkdir(parents=True)
        except FileExistsError:
            continue
        return str(candidate)
    raise InputError(f"No free folder beside {path}; set hydra.run.dir.")


OmegaConf.register_new_resolver("unused", unused, use_cache=True, replace=True)


class Summary(Callback):
    """At the end of a sweep, one table of all its runs: on the screen and as summary.csv."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Keep what the job reached."""
        hydra = job_return.hydra_cfg
        file = Path(hydra.hydra.runtime.output_dir) / "metrics.json" if hydra is not None else Path()
        metrics = json.loads(file.read_text()) if file.is_file() else {}
        row = dict(override.split("=", 1) for override in job_return.overrides or [])
        self.rows.append(row | {name: metric["value"] for name, metric in metrics.items() if "/" not in name})

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print and save the table."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        table = Table(*columns)
        for row in self.rows:
            cells = (row.get(name) for name in columns)
            table.add_row(*(f"{cell:.4g}" if isinstance(cell, float) else "" if cell is None else str(cell) for cell in cells))
        Console(width=max(Console().width, 120)).print(table)
        folder = Path(config.hydra.sweep.dir)
        with (folder / "summary.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)
