"""Measure what an optimiser makes of a whole picture in few steps: every model with Adam and with Muon, at several rates.

    python benchmarks/optimisers.py PICTURE [--models sine finer] [--schedules cosine] [--steps 200] [--points 8192]
        [--adam 5e-4 1e-3 2e-3] [--muon 5e-4 1e-3 2e-3] [--rest 1e-3] [OPTION ...]

All pixels are trained on, by their values alone. `--rest` is the rate of first and last layers and biases beside Muon. Every
run is a command of its own; further options go to all of them. Seconds are those of training.
"""

import argparse
from collections.abc import Sequence
from itertools import product

from runs import answer, header, row, run, say

WHOLE = ["task=image", "data.factor=1", "supervision=val", "trainer.val_check_interval=100000"]


def optimisers(options: argparse.Namespace, rest: Sequence[str]) -> None:
    """Every model and schedule with both optimisers at all their rates."""
    columns = ["psnr", "seconds"]
    length = [f"data.path={options.picture}", f"data.points={options.points}", f"trainer.max_steps={options.steps}"]
    ways = {f"Adam {lr:g}": ["optimizer=adam", f"optimizer.lr={lr}"] for lr in options.adam}
    for lr, ends in product(options.muon, options.rest):
        ways[f"Muon {lr:g}, {ends:g}"] = ["optimizer=muon", f"optimizer.lr={lr}", f"optimizer.rest_lr={ends}"]
    for model, schedule in product(options.models, options.schedules):
        say(header(f"{model}, {schedule}, {options.steps} steps of {options.points} pixels", columns))
        for name, words in ways.items():
            metrics = run([*WHOLE, *length, f"model={model}", f"scheduler={schedule}", *words, *rest])
            say(row(name, metrics, columns))


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture")
    parser.add_argument("--models", nargs="+", default=["sine", "finer"])
    parser.add_argument("--schedules", nargs="+", default=["cosine"])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--points", type=int, default=8192)
    parser.add_argument("--adam", nargs="*", type=float, default=[5e-4, 1e-3, 2e-3])
    parser.add_argument("--muon", nargs="*", type=float, default=[5e-4, 1e-3, 2e-3])
    parser.add_argument("--rest", nargs="+", type=float, default=[1e-3])
    parser.set_defaults(answer=optimisers)
    answer(parser, words)


if __name__ == "__main__":
    main()
