"""Measure reconstructions from projections: every model, with and without derivatives, and what a dictionary knows.

    python benchmarks/ct.py models SLICE [--views 100 20] [--models ...] [--supervision val val_der] [--steps 1000] [OPTION ...]
    python benchmarks/ct.py rows SLICE [--size 128] [--views 100 60 20] [--photons 1e4]
    python benchmarks/ct.py phantoms RUN [--views 8 20 127] [--count 32] [--scratch 4] [--steps 500] [OPTION ...]

`models` fits one slice. `rows` are the classical ones, without noise and with photons. `phantoms` encodes held-out phantoms
in the dictionary of RUN (experiment=nid/ct) by every solver, and fits a sine network from scratch to the same sinograms, for
the first few of them. Every run is a command of its own, those of classical rows aside; further options go to all of them.
Seconds are those of training, of finding all codes together, or of a row.
"""

import argparse
import itertools
import time
from collections.abc import Sequence

from runs import Metrics, answer, header, references, row, run, say

from datamodules.scans.slices import SliceScan
from inr.metrics.figures import psnr

SLICE = ["task=ct", "data=slice", "data.size=128", "trainer.val_check_interval=100000"]
PHANTOMS = [
    "task=ct",
    "data=phantoms",
    "data.finer=1",
    "data.rays=1",
    "data.count=672",
    "data.tuning=64",
    "supervision=val",
]  # as experiment=nid/ct has them
RATE, FASTER = ["optimizer.lr=5e-4"], ["optimizer.lr=1e-3"]
OWN = {  # options of models that do not take RATE
    "relu": FASTER,
    "fourier": [*FASTER, "model.encoding.scale=16"],
    "wire": FASTER,
}
SOLVERS = {
    "ridge": ["solver=ridge"],
    "topk 128": ["solver=topk"],
    "topk 256": ["solver=topk", "solver.k=256"],
}


def models(options: argparse.Namespace, rest: Sequence[str]) -> None:
    """Every model and supervision on one slice."""
    columns = ["psnr", "psnr_disc", "ssim", "psnr_between", "seconds"]
    for views in options.views:
        say(header(f"{views} views, {options.steps} steps", columns))
        metrics: Metrics = {}
        for model in options.models:
            for supervision in options.supervision:
                words = [f"model={model}", f"supervision={supervision}", *OWN.get(model, RATE)]
                words = [*words, f"data.path={options.slice}", f"data.views={views}", f"trainer.max_steps={options.steps}"]
                metrics = run([*SLICE, *words, *rest])
                say(row(f"{model}, {supervision}", metrics, columns))
        references(metrics, columns)


def classical(options: argparse.Namespace, rest: Sequence[str]) -> None:
    """Classical rows on one slice."""
    columns = ["psnr", "psnr_disc", "seconds"]
    for views, photons in itertools.product(options.views, (None, *options.photons)):
        data = SliceScan(path=options.slice, size=options.size, views=views, photons=photons)
        data.setup()
        known = "no noise" if photons is None else f"{photons:.0e} photons"
        say(header(f"{views} views, {known}", columns))
        scored = data.truth(0)
        truth = data.normalise(scored.truth)
        peak = data.units.peak / data.units.scale
        for name, way in data.baselines().items():
            begin = time.perf_counter()
            found = way()[0]
            metrics = {"seconds": time.perf_counter() - begin}
            metrics |= {figure: psnr(found, truth, peak, mask) for figure, mask in scored.masks.items()}
            say(row(name, metrics, columns))


def phantoms(options: argparse.Namespace, rest: Sequence[str]) -> None:
    """Held-out phantoms from few views, in a dictionary and from scratch."""
    columns = ["psnr", "psnr_disc", "ssim", "psnr_between", "encode_seconds", "seconds"]
    held_out = [*PHANTOMS, f"data.held_out={options.count}"]
    for views in options.views:
        say(header(f"{views} views, mean of {options.count} held-out phantoms", columns))
        metrics: Metrics = {}
        for name, words in SOLVERS.items():
            fit = [*held_out, "regime=fit", f"dictionary={options.dictionary}", f"data.views={views}", *words]
            metrics = run([*fit, *rest])
            say(row(name, metrics, columns))
        references(metrics, columns)
        for place in range(options.scratch):
            alone = ["regime=single", f"regime.signals=[{place}]", "model=sine", *RATE]
            every = ["data.points=512", f"trainer.max_steps={options.steps}"]
            found = run([*held_out, *alone, *every, f"data.views={views}", *rest])
            say(row(f"sine from scratch, phantom {place}", found, columns))
            one = ["regime=fit", f"dictionary={options.dictionary}", f"regime.signals=[{place}]", f"data.views={views}"]
            refined = ["fit.refine=all", "optimizer.lr=3e-5", f"trainer.max_steps={options.steps}", *every[:1]]
            say(row(f"ridge, phantom {place}", run([*held_out, *one, *rest]), columns))
            say(row(f"ridge, then all weights, phantom {place}", run([*held_out, *one, *refined, *rest]), columns))


def main(words: Sequence[str] | None = None) -> None:
    """Parse the command line and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    questions = parser.add_subparsers(required=True)
    one = questions.add_parser("models")
    one.add_argument("slice")
    one.add_argument("--views", type=int, nargs="+", default=[100, 20])
    one.add_argument("--models", nargs="+", default=["sine", "relu", "fourier", "gauss", "wire", "finer"])
    one.add_argument("--supervision", nargs="+", default=["val", "val_der"])
    one.add_argument("--steps", type=int, default=1000)
    one.set_defaults(answer=models)
    known = questions.add_parser("rows")
    known.add_argument("slice")
    known.add_argument("--size", type=int, default=128)
    known.add_argument("--views", type=int, nargs="+", default=[100, 60, 20])
    known.add_argument("--photons", type=float, nargs="*", default=[1e4])
    known.set_defaults(answer=classical)
    many = questions.add_parser("phantoms")
    many.add_argument("dictionary")
    many.add_argument("--views", type=int, nargs="+", default=[8, 20, 127])
    many.add_argument("--count", type=int, default=32)
    many.add_argument("--scratch", type=int, default=4)
    many.add_argument("--steps", type=int, default=500)
    many.set_defaults(answer=phantoms)
    answer(parser, words)


if __name__ == "__main__":
    main()
