"""Measure what fitting many small images at once is worth: one run, a bare loop over them, and a run for each.

    python benchmarks/many.py [FOLDER] [--count 256] [--side 32] [--steps 300] [--hidden 32] [--layers 3] [--lr 2e-3]
        [--supervisions val val_der] [--jobs 3] [OPTION ...]

FOLDER holds at least `count` pictures; without it they are generated. The bare loop is torch and the project's network, sensor
and Adam: no Lightning, files or figures. A sweep starts a run for each image, of which `jobs` are made, whose
mean counts for all. Further options go to the runs.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from PIL import Image
from runs import answer, header, run, say
from torch import Tensor

from datamodules.grids.images import ImageCollection
from inr.derivatives import value_and_jacobian
from inr.field import Signals
from inr.measurements.pointwise import Pointwise
from inr.metrics.figures import luma, psnr
from inr.networks.activations import Sine
from inr.networks.mlp import MLP
from inr.optimisers.adam import Adam
from inr.optimisers.parameters import Parameters
from inr.optimisers.schedules import Cosine
from inr.supervision.differences import jacobian_at

WAVES = 6  # of a generated picture
ONE = Signals(torch.tensor([0]))


def picture(side: int, place: int) -> np.ndarray:
    """A picture (side, side, 3) of random waves with a disc."""
    random = np.random.default_rng(place)
    at = np.moveaxis(np.mgrid[:side, :side] / side, 0, -1)
    turns, phases = random.normal(0, 6, (WAVES, 3, 2)), random.uniform(0, 2 * np.pi, (WAVES, 3))
    light = np.sin(np.einsum("rcd,wkd->rcwk", at, turns) + phases).sum(2) / 3
    centre, radius = random.uniform(0.2, 0.8, 2), random.uniform(0.05, 0.3)
    light[((at - centre) ** 2).sum(-1) < radius**2] += random.normal(0, 0.8, 3)
    return (255 * np.clip(0.5 + 0.4 * light, 0, 1)).astype(np.uint8)


def bare_loop(images: Tensor, options: argparse.Namespace, derivatives: bool) -> tuple[float, float]:
    """Seconds of fitting images (images, rows, columns, 3) in [-1, 1] one after the other, and their mean PSNR."""
    shape = tuple(images.shape[1:3])
    sensor, schedule = Pointwise(shape), Cosine(options.steps)
    indices = torch.cartesian_prod(*(torch.arange(size) for size in shape))
    at = indices.float()[None]
    seen = []
    begin = time.perf_counter()
    for image in images:
        torch.manual_seed(0)
        network = MLP(2, 3, Sine(30.0), hidden_features=options.hidden, hidden_layers=options.layers)
        optimizer = Adam(Parameters(network), lr=options.lr)
        value = image.reshape(1, -1, 3)
        slopes = jacobian_at(image, indices)[None] if derivatives else None
        for step in range(options.steps):
            for group in optimizer.param_groups:
                group["lr"] = options.lr * schedule(step)
            field = network.field(ONE)
            if slopes is None:
                loss = (sensor(field, at) - value).square().mean()
            else:
                found, jacobian = value_and_jacobian(sensor, field, at)
                loss = (found - value).square().mean() + (jacobian - slopes).square().sum((-1, -2)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            seen.append(sensor(network.field(ONE), at)[0].reshape(image.shape))
    seconds = time.perf_counter() - begin
    shown, true = (luma(((torch.stack(list(some)) + 1) / 2).clamp(0, 1)) for some in (seen, images))
    return seconds, fmean(psnr(*pair) for pair in zip(shown, true, strict=True))


def many(options: argparse.Namespace, rest: Sequence[str]) -> None:
    """All three ways, in turn."""
    with tempfile.TemporaryDirectory() as made:
        for place in range(options.count if options.folder is None else 0):
            Image.fromarray(picture(options.side, place)).save(Path(made) / f"{place:04d}.png")
        compare(options.folder or made, options, rest)


def compare(folder: str, options: argparse.Namespace, rest: Sequence[str]) -> None:
    """Print a table for each supervision."""
    data = ImageCollection(root=folder, size=options.side, shown="all", choose=f"0:{options.count}", test_signals=None)
    images = data.normalise(data.trained.observations(torch.arange(len(data.trained)), torch.device("cpu")).values)
    network = ["model.activation.omega=30"]  # as Sine() has it
    network += [
        f"model.hidden_features={options.hidden}",
        f"model.hidden_layers={options.layers}",
        f"optimizer.lr={options.lr}",
    ]
    words = [
        "task=image",
        "data=images",
        f"data.root={folder}",
        f"data.size={options.side}",
        "data.points=null",
        *network,
        *rest,
    ]
    words += [f"trainer.max_steps={options.steps}", "data.test_signals=null", "trainer=cpu"]
    for supervision in options.supervisions:
        asked = [*words, f"supervision={supervision}"]
        begin = time.perf_counter()
        once = run([*asked, f"regime.signals=0:{options.count}"])
        whole = time.perf_counter() - begin
        loop, found = bare_loop(images, options, supervision == "val_der")
        begin = time.perf_counter()
        jobs = [run([*asked, f"regime.signals=[{place}]"]) for place in range(options.jobs)]
        sweep = (time.perf_counter() - begin) / max(options.jobs, 1) * options.count
        say(header(f"{options.count} images, {supervision}, {options.steps} steps", ["seconds", "times the run", "psnr"]))
        say(f"| one run | {whole:.1f} | 1.00 | {once['psnr']:.2f} |")
        say(f"| one run, training alone | {once['seconds']:.1f} | {once['seconds'] / whole:.2f} | {once['psnr']:.2f} |")
        say(f"| bare loop | {loop:.1f} | {loop / whole:.2f} | {found:.2f} |")
        few = fmean(job["psnr"] for job in jobs) if jobs else math.nan
        say(f"| a run each, from {options.jobs} | {sweep:.0f} | {sweep / whole:.1f} | {few:.2f} (of {options.jobs}) |")


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--supervisions", nargs="+", default=["val", "val_der"], choices=["val", "val_der"])
    parser.add_argument("--jobs", type=int, default=3)
    parser.set_defaults(answer=many)
    answer(parser, words)


if __name__ == "__main__":
    main()
