"""What surrounds the jobs of a command: a new folder for each, and the table of a sweep."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

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

    @staticmethod
    def row(run: Path) -> dict[str, Any]:
        """What a run was asked and what it reached, from its folder."""
        overrides: Any = OmegaConf.load(run / ".hydra" / "overrides.yaml")
        file = run / "metrics.json"
        metrics = json.loads(file.read_text()) if file.is_file() else {}
        row = dict(override.split("=", 1) for override in overrides)
        return row | {name: metric["value"] for name, metric in metrics.items() if "/" not in name}

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Save the table, print the columns in which the runs differ; exit with code 1 if a run failed and has no figures."""
        folder = Path(config.hydra.sweep.dir)
        runs = [file.parent.parent for file in folder.rglob(".hydra/overrides.yaml")]
        runs.sort(key=lambda run: (len(run.name), run.name))  # 2 before 10
        rows = [self.row(run) for run in runs]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        telling = [name for name in columns if len({str(row.get(name)) for row in rows}) > 1] or columns
        table = Table(*telling)
        for row in rows:
            cells = (row.get(name) for name in telling)
            table.add_row(*(f"{cell:.4g}" if isinstance(cell, float) else "" if cell is None else str(cell) for cell in cells))
        Console(width=max(Console().width, 120)).print(table)
        with (folder / "summary.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        if not all((run / "metrics.json").is_file() for run in runs):
            sys.exit(1)
