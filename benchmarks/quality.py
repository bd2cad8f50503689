"""Measure the quality that some seconds of training give in every task, beside what classical methods have at once.

    python benchmarks/quality.py DATA [WORK ...] [--arms grid ...] [--seconds 10 30 60] [--seeds 0 1 2] [--against CHECKOUT]
                                 [--json FILE] [--plots FOLDER] [OPTION ...]

DATA is the folder of real signals. Every fit is a command of its own, and its length in steps is what the seconds were worth in
short fits before, so that schedules end when the time is up; the table has the seconds that training really took, and behind it
the seconds after which an arm was first above each classical row. An arm is a model with its options; `default` is what the
command line chooses, and what is solved instead of trained has one row. Figures are means over the seeds, `spread` the range of
the first one. --against fits each in another checkout too, in turn.
"""

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter
from runs import TRAIN, Metrics, answer, header, references, row, run, say

SHORT = 30  # steps that tell how long a step takes
WARM = 5  # steps before, which a process begins slowly with
SILENT = "trainer.val_check_interval=1000000"


class Work(NamedTuple):
    """A signal, the part of the command line that names it, and the figures that count, the first of which is plotted."""

    options: str
    figures: tuple[str, ...] = ("psnr",)


IMAGE, FACTOR = "task=image data.path={data}/", "data.factor=4 data.filter=sobel"
SOUND = "task=audio data.path={data}/audio/gt_bach.wav data.factor="
MESH = "task=sdf data.path={data}/meshes/"
SHAPE = ("normals", "iou", "chamfer")
CHEST = "task=ct data.path={data}/ct/chest.png data.size=128 data.views="
WORKS = {
    "photograph": Work(f"{IMAGE}kodak/kodim23.png supervision=val data.points=16384", ("psnr", "psnr_all")),
    "butterfly": Work(f"{IMAGE}set5/butterfly.png supervision=val data.points=8192", ("psnr", "psnr_all")),
    "butterfly/4": Work(f"{IMAGE}set5/butterfly.png {FACTOR} data.points=null supervision=val_der", ("psnr", "ssim")),
    "bach": Work(f"{SOUND}1 data.points=16384 supervision=val"),
    "bach/5": Work(f"{SOUND}5"),
    "bunny": Work(f"{MESH}bunny.obj supervision=val", SHAPE),
    "armadillo": Work(f"{MESH}armadillo.obj supervision=val", SHAPE),
    **{f"chest {views}": Work(f"{CHEST}{views} supervision=val") for views in (100, 60, 20)},
    **{f"chest {views} noisy": Work(f"{CHEST}{views} data.photons=1e4 supervision=val") for views in (100, 60, 20)},
    "spheres": Work("task=nerf supervision=val", ("psnr", "ssim")),
    "lego": Work("task=nerf data=blender data.root={data}/blender/lego data.downscale=4 supervision=val", ("psnr", "ssim")),
}
ARMS = {
    "default": "",
    "sine": "model=sine scheduler=cosine",
    "finer": "model=finer scheduler=cosine",
    "relu": "model=relu scheduler=cosine optimizer.lr=1e-3",
    "grid": "model=grid scheduler=cosine",
}


class Fits:
    """Fits of a work by an arm in a checkout, as long as asked for: steps are timed once for each."""

    def __init__(self, work: Work, arm: str, program: Path, options: argparse.Namespace, rest: Sequence[str]) -> None:
        words = [*work.options.format(data=options.data).split(), *ARMS[arm].split(), SILENT, *rest]
        self.fit: Callable[[int, int], Metrics] = lambda steps, seed: run(
            [*words, f"trainer.max_steps={steps}", f"seed={seed}"], program
        )
        self.seeds, self.figure = options.seeds, work.figures[0]

    @cached_property
    def step(self) -> float:
        """Seconds of a step; 0 if there are none, since the problem is solved."""
        first, second = (self.fit(steps, self.seeds[0]) for steps in (WARM, WARM + SHORT))
        return max(second["seconds"] - first["seconds"], 1e-3) / SHORT if second["steps"] else 0.0

    def after(self, seconds: float) -> Metrics:
        """Mean figures after some seconds of training, and the `spread` of the first over the seeds."""
        steps = max(1, round(seconds / self.step)) if self.step else 1
        fits = [self.fit(steps, seed) for seed in self.seeds]
        found = [one[self.figure] for one in fits]
        means = {name: sum(one[name] for one in fits) / len(fits) for name in fits[0] if all(name in one for one in fits)}
        return means | {"spread": max(found) - min(found)}


def tables(options: argparse.Namespace, rest: Sequence[str]) -> None:
    """A table of each work: every arm after every number of seconds, in one or two checkouts, and the classical rows."""
    programs = {"": TRAIN} if options.against is None else {"": TRAIN, " (before)": options.against.resolve() / "train.py"}
    everything: dict[str, dict[str, list[Metrics]]] = {}
    for name in options.works or WORKS:
        work, found = WORKS[name], dict[str, list[Metrics]]()
        columns = [*work.figures, "spread", "seconds", "steps", "parameters", "parameters_per_value"]
        say(header(name, columns))
        fits = {
            arm + suffix: Fits(work, arm, program, options, rest)
            for arm in options.arms
            for suffix, program in programs.items()
        }
        for seconds, (arm, one) in itertools.product(options.seconds, fits.items()):
            earlier = found.setdefault(arm, [])
            if earlier and not one.step:
                continue
            metrics = one.after(seconds)
            earlier.append(metrics)
            say(row(f"{arm}, {seconds:g} s" if one.step else f"{arm}, solved", metrics, columns))
        classical = found[options.arms[0]][-1]
        references(classical, columns)
        say(reached(work.figures[0], found, classical))
        everything[name] = found
        if options.plots is not None:
            plot(name, work.figures[0], found, classical, options.plots)
        if options.json is not None:
            options.json.write_text(json.dumps(everything, indent=1))


def classical_rows(metrics: Metrics, figure: str) -> dict[str, float]:
    """A figure of each row that is not a network."""
    return {name.split("/")[0]: value for name, value in metrics.items() if name.endswith(f"/{figure}")}


def reached(figure: str, found: dict[str, list[Metrics]], classical: Metrics) -> str:
    """Seconds of the shortest fit of each arm that was not below each classical row."""
    lines = []
    for name, goal in classical_rows(classical, figure).items():
        first = {arm: next((one["seconds"] for one in fits if one[figure] >= goal), None) for arm, fits in found.items()}
        seconds = (f"{arm} {'never' if after is None else f'after {after:.1f} s'}" for arm, after in first.items())
        lines.append(f"not below {name} ({goal:.2f}): {', '.join(seconds)}")
    return "\n" + "\n".join(lines)


def plot(name: str, figure: str, found: dict[str, list[Metrics]], last: Metrics, folder: Path) -> None:
    """Draw a figure over the seconds of training and over its steps, classical rows as dashed lines."""
    folder.mkdir(parents=True, exist_ok=True)
    canvas, sides = pyplot.subplots(1, 2, figsize=(8, 3.4), sharey=True)
    for axes, along in zip(sides, ("seconds", "steps"), strict=True):
        for arm, fits in found.items():
            axes.plot([max(one[along], 1) for one in fits], [one[figure] for one in fits], "o-", label=arm)
        for row_name, value in classical_rows(last, figure).items():
            axes.axhline(value, linestyle="--", linewidth=0.8, color="grey")
            axes.annotate(row_name, (1, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7)
        axes.set(xlabel=f"{along} of training", xscale="log")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
    sides[0].set(title=name, ylabel=figure)
    sides[0].legend(fontsize=7)
    canvas.tight_layout()
    canvas.savefig(folder / f"{name.replace('/', '_by_').replace(' ', '_')}.png", dpi=100)
    pyplot.close(canvas)


def main(words: Sequence[str] | None = None) -> None:
    """Parse the command line and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of real signals")
    parser.add_argument("works", nargs="*", metavar="WORK", help=", ".join(WORKS))
    parser.add_argument("--arms", nargs="+", default=["default"], choices=ARMS)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 30.0, 60.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--against", type=Path, help="another checkout, fitted in turn")
    parser.add_argument("--json", type=Path, help="all figures, to this file")
    parser.add_argument("--plots", type=Path, help="a picture of each work, to this folder")
    parser.set_defaults(answer=tables)
    answer(parser, words)


if __name__ == "__main__":
    main()
