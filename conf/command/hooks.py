"""Before and after the jobs of a command: a new folder for each, and the table of a sweep."""

import csv
import json
import multiprocessing
import os
import secrets
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.table import Table

from conf.command.cli import one_line
from inr.errors import InputError

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

RUN_FILES = (
    "metrics.json",
    "metrics.csv",
    "checkpoints",
    "multirun.yaml",
    "summary.csv",
)  # any of them: the folder holds a run
OPTIMUM = "optimization_results.yaml"  # that Optuna's sweeper writes


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


def identity(earlier: str | None) -> str:
    """Return the name under which Weights & Biases knows a run: that of the run that is resumed, or a new one."""
    return earlier or secrets.token_hex(4)


# Cached, since Hydra resolves an option more than once and every time has to find the same folder, or name.
OmegaConf.register_new_resolver("unused", unused, use_cache=True, replace=True)
OmegaConf.register_new_resolver("identity", identity, use_cache=True, replace=True)


def chosen(figures: Mapping[str, float], objective: str) -> float:
    """Return the figure of the test that a search optimises. Raises: InputError if there is none of this name."""
    if f"test/{objective}" not in figures:
        names = ", ".join(name.removeprefix("test/") for name in figures)
        raise InputError(f"objective must be a figure of the test, {names}; got {objective}.")
    return figures[f"test/{objective}"]


def finish(loggers: "list[Logger]") -> None:
    """End the runs that loggers of Weights & Biases hold open, so that the next job of a sweep starts its own."""
    from lightning.pytorch.loggers import WandbLogger

    for logger in loggers:
        if isinstance(logger, WandbLogger):  # Lightning's own `finalize` leaves them open
            logger.experiment.finish()


class NewFolder(Callback):
    """Refuse a folder that holds another run, before anything is written into it, however its name was put together."""

    def on_run_start(self, config: DictConfig, **kwargs: object) -> None:
        """Check the folder of a single run."""
        self.check(config, "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **kwargs: object) -> None:
        """Check the folder of a sweep."""
        self.check(config, "hydra.sweep.dir")

    @staticmethod
    def check(config: DictConfig, option: str) -> None:
        """End the program with one line if the folder is used."""
        if os.environ.get("LOCAL_RANK", "0") != "0":  # of trainer=ddp, whose first process has begun the folder
            return
        with one_line():  # Hydra makes a warning of any other error here
            HydraConfig.instance().set_config(config)  # which names of folders may refer to
            try:
                folder = str(OmegaConf.select(config, option))
            except OmegaConfBaseException as error:  # a current directory that is read-only, for one
                raise InputError(f"A run needs a folder, {str(error).splitlines()[0]}; choose one: {option}=DIR.") from None
            used = [name for name in RUN_FILES if (Path(folder) / name).exists()]
            if used:
                raise InputError(f"{option} must not hold another run, {folder} has {', '.join(used)}; choose another folder.")


class Summary(Callback):
    """One table of all runs of a sweep, at its end: on the screen and as summary.csv.

    Signals go on to the processes of jobs that run side by side, which end as a single run does; then the sweep ends.
    """

    def __init__(self) -> None:
        self.received = 0  # number of the signal
        self.earlier: dict[signal.Signals, Any] = {}  # handlers by signal

    def on_multirun_start(self, config: DictConfig, **kwargs: object) -> None:
        """Pass signals on, if there are processes to pass them to."""
        if config.hydra.launcher.get("n_jobs", 1) != 1:  # joblib; jobs of this process handle signals themselves
            from tasks.interruption import DEFAULTS, ENDING

            for one in ENDING:
                if signal.getsignal(one) in DEFAULTS:
                    self.earlier[one] = signal.signal(one, self.pass_on)

    def pass_on(self, number: int, frame: FrameType | None) -> None:
        """Send a signal to the processes of all jobs."""
        self.received = number
        for process in multiprocessing.active_children():
            if process.pid:
                os.kill(process.pid, number)

    @staticmethod
    def row(run: Path) -> dict[str, object]:
        """Return the options that a run was given and its figures, from its folder."""
        overrides = [str(override) for override in OmegaConf.load(run / ".hydra" / "overrides.yaml")]
        file = run / "metrics.json"
        metrics = json.loads(file.read_text()) if file.is_file() else {}
        row: dict[str, object] = {name: value for name, _, value in (override.partition("=") for override in overrides)}
        # names with a slash are figures of baselines and of single signals: too many for a table
        return row | {name: metric["value"] for name, metric in metrics.items() if "/" not in name}

    def on_multirun_end(self, config: DictConfig, **kwargs: object) -> None:
        """Save the table, print the columns in which the runs differ; exit with code 1 if a run failed and has no figures."""
        for one, handler in self.earlier.items():
            signal.signal(one, handler)
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
        if (folder / OPTIMUM).is_file():
            best = OmegaConf.to_container(OmegaConf.load(folder / OPTIMUM))
            assert isinstance(best, dict)
            words = " ".join(f"{name}={value}" for name, value in best["best_params"].items())
            Console(soft_wrap=True).print(f"best {config.objective} {best['best_value']:.4g}: {words} | {folder / OPTIMUM}")
        with (folder / "summary.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        if self.received:
            sys.exit(128 + self.received)
        if not all((run / "metrics.json").is_file() for run in runs):
            sys.exit(1)
