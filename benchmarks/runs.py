"""The part that benchmarks share which start runs of the command line: the runs, and tables in markdown of their figures."""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
QUIET = ["callbacks.progress.refresh_rate=0", "callbacks.results.pictures=false", "callbacks.results.export=false"]
Metrics = dict[str, float]


def run(options: Sequence[str], program: Path = TRAIN) -> Metrics:
    """The figures of a run of these options, in a process of its own; `program` may be that of another checkout."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(program), *options, *QUIET, f"hydra.run.dir={folder}/run"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=program.parent)
        if ended.returncode:
            sys.exit(f"{' '.join(options)}: {ended.stderr.strip().splitlines()[-1]}")
        table = json.loads(Path(folder, "run", "metrics.json").read_text())
    return {name: metric["value"] for name, metric in table.items()}


def row(name: str, metrics: Metrics, columns: Iterable[str], prefix: str = "") -> str:
    """A row of a table in markdown; a dash where a figure is missing."""
    found = [metrics.get(prefix + column) for column in columns]
    cells = ["-" if value is None else f"{value:.4f}" if abs(value) < 1 else f"{value:.2f}" for value in found]
    return f"| {name} | {' | '.join(cells)} |"


def header(title: str, columns: Sequence[str]) -> str:
    """The first two lines of a table."""
    return f"\n{title}\n\n| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}"


def say(line: str) -> None:
    """Print at once, since runs take minutes."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def references(metrics: Metrics, columns: Sequence[str]) -> None:
    """The rows of what is not a network."""
    for name in dict.fromkeys(name.split("/")[0] for name in metrics if "/" in name):
        say(row(name, metrics, columns, f"{name}/"))


def answer(parser: argparse.ArgumentParser, words: Sequence[str] | None) -> None:
    """Call the question that the words ask; those with "=" are options of the runs, None: the words of the command."""
    given = sys.argv[1:] if words is None else list(words)
    rest = [word for word in given if "=" in word]
    options = parser.parse_args([word for word in given if "=" not in word])
    options.answer(options, rest)
