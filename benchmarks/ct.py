"""Measure reconstructions from projections: every model, with and without derivatives, and what a dictionary knows.

    python benchmarks/ct.py models SLICE [--views 100 20] [--models ...] [--supervision val val_der] [--steps 1000] [OPTION ...]
    python benchmarks/ct.py rows SLICE [--size 128] [--finer 4] [--views 100 60 20] [--photons 1e4]
    python benchmarks/ct.py phantoms RUN [--views 8 20 127] [--count 32] [--scratch 4] [--steps 500] [OPTION ...]

`models` fits one slice. `rows` are the classical ones: of projections that are made of a raster `finer` times as fine as the
result, a bin being the mean over its width, since projections of the pixels that are looked for make every method too good;
without noise and with photons. `phantoms` encodes held-out phantoms in the dictionary of RUN (experiment=nid/ct) by every
solver, and fits a sine network from scratch to the same sinograms, for the first few of them. Every run is a command of its
own; further options go to all of them. Seconds are those of training, of finding all codes together, or a core's for a row.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from runs import Metrics, answer, header, references, row, run, say

from datamodules.scans.read_slice import read_slice
from datamodules.scans.scanner import Scanner, even_angles, samples_per_line
from datamodules.scans.simulated import project
from inr.metrics.figures import psnr

COLUMNS = ["psnr", "psnr_disc", "seconds"]  # of classical rows
RAYS = 4  # over the width of a bin
SLICE = ["task=ct", "data=slice", "data.size=128", "trainer.val_check_interval=100000"]
PHANTOMS = ["task=ct", "data=phantoms", "data.count=672", "data.tuning=64", "supervision=val"]  # as experiment=nid/ct has them
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


def projections(options: argparse.Namespace, size: int, views: int) -> tuple[Scanner, torch.Tensor, torch.Tensor]:
    """A scanner of a slice of so many pixels; its sinogram, made of a finer raster; and the pixels as means of that."""
    values = read_slice(Path(options.slice), None, options.finer * size, None).values
    fine = torch.from_numpy(values / abs(values).max())[None]
    # in half-widths of the slice, from the middle of its first pixel to that of its last
    pixel = 2 / (size - 1)
    edge = pixel * (size / 2 - 0.5 / options.finer)  # middle of the outermost of the finer pixels
    even = even_angles(views, 180.0, 0.0)
    width = 2 / (size - 1)
    samples = samples_per_line(width, "circle")
    scanner = Scanner(even, size, width, (size - 1) / 2, 1.0, samples)
    raster = pixel / options.finer * (torch.arange(options.finer * size) - (options.finer * size - 1) / 2)
    fine = fine * (raster[:, None].square() + raster.square() < 1)
    rays = replace(scanner, bins=RAYS * size, bin_width=width / RAYS / edge, centre=(RAYS * size - 1) / 2, region="square")
    rays = replace(rays, samples=options.finer * size)
    sinogram = edge * project(fine, rays).reshape(1, size, RAYS, views).mean(2)
    pixels = fine.reshape(1, size, options.finer, size, options.finer).mean((2, 4))
    return scanner, sinogram, pixels


def counted(sinogram: torch.Tensor, photons: float, attenuation: float = 4.0) -> tuple[torch.Tensor, torch.Tensor]:
    """The sinogram as photons tell it, the densest ray being weakened by exp(-attenuation); and the share that came through."""
    unit = attenuation / float(sinogram.max())
    expected = photons * torch.exp(-unit * sinogram.double())
    share = torch.poisson(expected, generator=torch.Generator().manual_seed(0)).clamp_min(1.0) / photons
    return (-share.log() / unit).float(), share.float()


def classical(options: argparse.Namespace, rest: Sequence[str]) -> None:
    """Classical rows on one slice, without inverse crime."""
    shape = (options.size, options.size)
    for views in options.views:
        scanner, exact, truth = projections(options, options.size, views)
        for photons in (None, *options.photons):
            known = "no noise" if photons is None else f"{photons:.0e} photons"
            say(header(f"{views} views, {known}", COLUMNS))
            seen, weights = (exact, None) if photons is None else counted(exact, photons)
            ways: dict[str, Callable[[], torch.Tensor]] = {
                "fbp": partial(scanner.back_project, seen, shape, "ramp"),
                "fbp hann": partial(scanner.back_project, seen, shape, "hann"),
                "sart": partial(scanner.iterate, seen, shape),
                "tv": partial(scanner.few_edges, seen, shape, weights),
            }
            for name, way in ways.items():
                begin = time.process_time()
                found = way()
                seconds = time.process_time() - begin
                whole, disc = (psnr(found, truth, float(truth.max()), mask) for mask in (None, scanner.disc(shape)[None]))
                say(row(name, {"psnr": whole, "psnr_disc": disc, "seconds": seconds}, COLUMNS))


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
    known.add_argument("--finer", type=int, default=4)
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
