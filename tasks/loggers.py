"""The curve of a run as a csv file, which every run has, whatever other loggers it uses, and which they get from it."""

import csv
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

FILE = "metrics.csv"


class Curve(Logger):
    """`metrics.csv`: a row per logged step, a column per figure; a resumed run begins with the earlier rows.

    Lightning's CSVLogger makes a folder of its own for each start and cannot go on with earlier rows.
    earlier: folder of the run that is resumed
    steps: steps of that run that count, as its checkpoint may be older than its last row
    """

    def __init__(self, folder: str, earlier: str | None = None, steps: int = 0) -> None:
        super().__init__()
        self.path = Path(folder) / FILE
        self.rows: dict[int, dict[str, str | float]] = {}
        self.columns, self.last = ["step"], -1  # of the file as it is
        before = Path(earlier) / FILE if earlier else None
        if before is not None and before.is_file():
            with before.open(newline="") as file:
                counted = [row for row in csv.DictReader(file) if int(row["step"]) < steps]
            self.rows = {int(row["step"]): {name: value for name, value in row.items() if value} for row in counted}
        self.unsaved = set(self.rows)

    @property
    def name(self) -> str:
        """Nothing: the file's place says whose it is."""
        return ""

    @property
    def version(self) -> str:
        """Nothing: a run folder holds one run."""
        return ""

    @property
    @rank_zero_experiment
    def experiment(self) -> dict[int, dict[str, str | float]]:
        """The rows by step."""
        return self.rows

    def log_hyperparams(self, params: object, *args: object, **kwargs: object) -> None:
        """Do nothing: options are saved by Hydra and in the checkpoint."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add figures to the row of a step; those of the final test belong into `metrics.json`."""
        figures = {name: value for name, value in metrics.items() if not name.startswith(("test/", "epoch"))}
        if figures:
            self.rows.setdefault(step or 0, {"step": step or 0}).update(figures)
            self.unsaved.add(step or 0)

    @rank_zero_only
    def save(self) -> None:
        """Append new rows; where an earlier row or the columns have changed, write the whole file beside its place first."""
        if not self.unsaved:
            return
        names = {name for step in self.unsaved for name in self.rows[step]} | set(self.columns)
        columns = ["step", *sorted(names - {"step"})]
        grows = columns == self.columns and min(self.unsaved) > self.last  # a long run must not rewrite its file at each save
        place = self.path if grows else self.path.with_suffix(".csv.part")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with place.open("a" if grows else "w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            if not grows:
                writer.writeheader()
            writer.writerows(self.rows[step] for step in sorted(self.unsaved if grows else self.rows))
        if not grows:
            place.replace(self.path)  # in one step: a killed run leaves a whole file
        self.columns, self.last = columns, max(self.last, *self.unsaved)
        self.unsaved.clear()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()


def replay(loggers: Sequence[Logger]) -> None:
    """Give the earlier rows of a resumed run to loggers that begin anew, so that their curves are whole."""
    rows = next((logger.rows for logger in loggers if isinstance(logger, Curve)), {})
    for logger in loggers:
        if isinstance(logger, Curve) or (isinstance(logger, WandbLogger) and logger.experiment.resumed):  # the server has them
            continue
        for step, row in rows.items():
            for _, figures in groupby(sorted(row.keys() - {"step"}), key=lambda name: name.split("/")[0]):  # train, then val
                logger.log_metrics({name: float(row[name]) for name in figures} | {"epoch": 0}, step)
