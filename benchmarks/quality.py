"""Measure the quality that some seconds of training give in every task, beside what classical methods have at once.

    python benchmarks/quality.py DATA [WORK ...] [--arms grid ...] [--seconds 10 30 60] [--seed 0] [--against CHECKOUT]
                                 [--json FILE] [--plots FOLDER] [OPTION ...]

DATA is the folder of real signals. Every fit is a command of its own, and its length in steps is what the seconds were worth in
a short fit before, so that schedules end when the time is up; the table has the seconds that training really took. An arm is a
model with its options; `default` is what the command line chooses. --against fits each in another checkout too, in turn.
"""

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot
from runs import TRAIN, Metrics, answer, header, references, row, run, say

SHORT = 30  # steps that tell how long a step takes
WARM = 5  # steps before, which a process begins slowly with
SILENT = "trainer.val_check_interval=1000000"


class Work(NamedTuple):
    """A signal, the part of the command line that names it, and the figures that count, the first of which is plotted."""

    options: str
    figures: tuple[str, ...] = ("psnr",)


IMAGE, FACTOR = "task=image data.path={data}/", "data.factor=4 data.filter=sobel"
CHEST = "task=ct data.path={data}/ct/chest.png data.size=128 data.views="
WORKS = {
    "photograph": Work(f"{IMAGE}kodak/kodim23.png supervision=val data.points=16384", ("psnr", "psnr_all")),
    "butterfly": Work(f"{IMAGE}set5/butterfly.png supervision=val data.points=8192", ("psnr", "psnr_all")),
    "butterfly/4": Work(f"{IMAGE}set5/butterfly.png {FACTOR} data.points=null supervision=val_der", ("psnr", "ssim")),
    "bach": Work("task=audio data.path={data}/audio/gt_bach.wav data.factor=1 data.points=16384 supervision=val"),
    "bach/5": Work("task=audio data.path={data}/audio/gt_bach.wav data.factor=5 data.points=16384 supervision=val"),
    "bunny": Work("task=sdf data.path={data}/meshes/bunny.obj supervision=val", ("iou", "normals", "chamfer")),
    "chest 100": Work(f"{CHEST}100 supervision=val"),
    "chest 60": Work(f"{CHEST}60 supervision=val"),
    "chest 20": Work(f"{CHEST}20 supervision=val"),
    "chest 100 noisy": Work(f"{CHEST}100 data.photons=1e4 supervision=val"),
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


def fit(work: Work, arm: str, seconds: float, options: argparse.Namespace, rest: Sequence[str], program: Path) -> Metrics:
    """The figures of a work after some seconds of training."""
    words = [*work.options.format(data=options.data).split(), *ARMS[arm].split(), SILENT, f"seed={options.seed}", *rest]
    first, second = (run([*words, f"trainer.max_steps={steps}"], program)["seconds"] for steps in (WARM, WARM + SHORT))
    steps = max(1, round(seconds / (max(second - first, 1e-3) / SHORT)))
    return run([*words, f"trainer.max_steps={steps}"], program)


def tables(options: argparse.Namespace, rest: Sequence[str]) -> None:
    """A table of each work: every arm after every number of seconds, in one or two checkouts, and the classical rows."""
    programs = {"": TRAIN} if options.against is None else {"": TRAIN, " (before)": options.against / "train.py"}
    everything: dict[str, dict[str, list[Metrics]]] = {}
    for name in options.works or WORKS:
        work, found = WORKS[name], dict[str, list[Metrics]]()
        columns = [*work.figures, "seconds", "steps", "parameters"]
        say(header(name, columns))
        for arm, seconds, (suffix, program) in itertools.product(options.arms, options.seconds, programs.items()):
            metrics = fit(work, arm, seconds, options, rest, program)
            found.setdefault(arm + suffix, []).append(metrics)
            say(row(f"{arm}{suffix}, {seconds:g} s", metrics, columns))
        classical = next(iter(found.values()))[-1]
        references(classical, columns)
        everything[name] = found
        if options.plots is not None:
            plot(name, work.figures[0], found, classical, options.plots)
    if options.json is not None:
        options.json.write_text(json.dumps(everything, indent=1))


def plot(name: str, figure: str, found: dict[str, list[Metrics]], last: Metrics, folder: Path) -> None:
    """Draw a figure over the seconds of training, classical rows as dashed lines."""
    folder.mkdir(parents=True, exist_ok=True)
    canvas, axes = pyplot.subplots(figsize=(6, 4))
    for arm, fits in found.items():
        axes.plot([one["seconds"] for one in fits], [one[figure] for one in fits], "o-", label=arm)
    for key, value in last.items():
        if key.endswith(f"/{figure}"):
            axes.axhline(value, linestyle="--", linewidth=0.8, color="grey")
            axes.annotate(key.split("/")[0], (1, value), xycoords=("axes fraction", "data"), fontsize=7)
    axes.set(title=name, xlabel="seconds of training", ylabel=figure, xscale="log")
    axes.legend()
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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--against", type=Path, help="another checkout, fitted in turn")
    parser.add_argument("--json", type=Path, help="all figures, to this file")
    parser.add_argument("--plots", type=Path, help="a picture of each work, to this folder")
    parser.set_defaults(answer=tables)
    answer(parser, words)


if __name__ == "__main__":
    main()
