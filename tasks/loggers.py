"""The curve of a run as a csv file, which every run has, whatever other loggers it uses."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

FILE = "metrics.csv"


class Curve(Logger):
    """`metrics.csv`: a row per logged step, a column per figure; a resumed run begins with the earlier rows.

    `earlier` is the folder of the run that is resumed, `steps` how many of its steps count.
    """

    def __init__(self, folder: str, earlier: str | None = None, steps: int = 0) -> None:
        super().__init__()
        self.path = Path(folder) / FILE
        self.rows: dict[int, dict[str, Any]] = {}
        self.columns, self.last = ["step"], -1
        before = Path(earlier) / FILE if earlier else None
        if before is not None and before.is_file():
            with before.open(newline="") as file:
                kept = [row for row in csv.DictReader(file) if int(row["step"]) < steps]
            self.rows = {int(row["step"]): {name: value for name, value in row.items() if value} for row in kept}
        self.unsaved = set(self.rows)

    @property
    def name(self) -> str:
        """No name: the file's place says whose it is."""
        return ""

    @property
    def version(self) -> str:
        """No versions: a run folder holds one run."""
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> dict[int, dict[str, Any]]:
        """The rows by step."""
        return self.rows

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Options are saved by Hydra and in the checkpoint."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add figures to the row of a step; those of the final test belong into `metrics.json`."""
        figures = {name: value for name, value in metrics.items() if not name.startswith(("test/", "epoch"))}
        if figures:
            row = self.rows.setdefault(step or 0, {"step": step or 0})
            row.update(figures)
            self.unsaved.add(step or 0)

    @rank_zero_only
    def save(self) -> None:
        """Append new rows; where an earlier row or the columns have changed, write the whole file beside its place first."""
        if not self.unsaved:
            return
        columns = [
            "step",
            *sorted({name for step in self.unsaved for name in self.rows[step]} - {"step"} | set(self.columns[1:])),
        ]
        grows = columns == self.columns and min(self.unsaved) > self.last
        place = self.path if grows else self.path.with_suffix(".csv.part")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with place.open("a" if grows else "w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            if not grows:
                writer.writeheader()
            writer.writerows(self.rows[step] for step in sorted(self.unsaved if grows else self.rows))
        if not grows:
            place.replace(self.path)
        self.columns, self.last = columns, max(self.last, *self.unsaved)
        self.unsaved.clear()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()
