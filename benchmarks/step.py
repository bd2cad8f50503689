"""Measure what a training step costs, how much of the machine it uses, and what the Trainer adds.

One optimiser step of a 4x256 sine network, and of a grid, on 16,384 points with 3 channels, all ways in turn, best of
several rounds, so that a change of the machine's speed hits all of them; peak memory is that of a process that takes one
kind of step. The share of the machine is that of the rate at which it multiplies the same points by the network's largest
matrix, in the same precision and the same rounds; counted are the matrix products of a step, forward and backward.

    python benchmarks/step.py [--rounds 5] [--points 16384] [--device cpu] [--skip-memory]
"""

import argparse
import contextlib
import io
import itertools
import logging
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from datamodules.common.signal_data import Wanted
from datamodules.grids.image import ImageData
from inr.derivatives import observe_at, slope_along, value_and_jacobian, value_and_slope
from inr.field import Field, Signals
from inr.measurements.pointwise import Pointwise
from inr.networks.activations import ReLU, Sine
from inr.networks.grids import GridEncoding
from inr.networks.linear import Linear
from inr.networks.mlp import MLP
from inr.randomness import StepRandomness
from inr.supervision.losses import SquaredError
from inr.supervision.terms import Supervision
from tasks.base import Training
from tasks.callbacks import FiniteLoss, Progress
from tasks.image import ImageTask
from tasks.trainer import Trainer

CHANNELS, AXES = 3, 2
COUNTED = 256  # points of the step whose products are counted, which are proportional to them
Predict = Callable[[MLP, Pointwise, Tensor, int], tuple[Tensor, "Derivatives | None"]]


class Derivatives(NamedTuple):
    """Predicted derivatives: the jacobian, or what it is along a random direction at each point (1, points, axes)."""

    predicted: Tensor
    direction: Tensor | None = None

    def loss(self, target: Tensor) -> Tensor:
        """Sum over channels and axes, mean over points, as supervision=val_der has it."""
        if self.direction is None:
            return (self.predicted - target).square().sum((-1, -2)).mean()
        return AXES * (self.predicted - slope_along(target, self.direction)).square().sum((-1, -2)).mean()


def predict_value(network: MLP, measurement: Pointwise, at: Tensor, step: int) -> tuple[Tensor, None]:
    """Values alone."""
    return observe_at(measurement, field_of(network), at, {"value"})["value"], None


def predict_random(network: MLP, measurement: Pointwise, at: Tensor, step: int) -> tuple[Tensor, Derivatives]:
    """Values and derivatives along a random direction at each point, which every step draws anew."""
    points = at.shape[1]
    direction = StepRandomness(0, step, 0, points, points).directions("direction", AXES, at.device)[None]
    value, slope = value_and_slope(measurement, field_of(network), at, direction)
    return value, Derivatives(slope, direction)


def predict_analytic(network: MLP, measurement: Pointwise, at: Tensor, step: int) -> tuple[Tensor, Derivatives]:
    """Values and jacobian through the analytic pushforward."""
    value, jacobian = value_and_jacobian(measurement, field_of(network), at)
    return value, Derivatives(jacobian)


def predict_jvp(network: MLP, measurement: Pointwise, at: Tensor, step: int) -> tuple[Tensor, Derivatives]:
    """Values and jacobian by vmap(jvp), the rule for foreign modules."""
    value, jacobian = value_and_jacobian(measurement, Field(lambda points: network(points)), at)
    return value, Derivatives(jacobian)


def predict_double(network: MLP, measurement: Pointwise, at: Tensor, step: int) -> tuple[Tensor, Derivatives]:
    """Values and jacobian by one backward pass per channel that keeps its graph, as the published code does."""
    at = at.clone().requires_grad_()
    value = field_of(network)(measurement.locate(at).points)
    rows = [torch.autograd.grad(value[..., c].sum(), at, create_graph=True)[0] for c in range(CHANNELS)]
    return value, Derivatives(torch.stack(rows, -2))


def field_of(network: MLP) -> Field:
    """The field of the one signal."""
    return network.field(Signals(torch.zeros(1, dtype=torch.long)))


def sine(side: int) -> MLP:
    """The 4x256 sine network, whatever the image's side."""
    return MLP(AXES, CHANNELS, Sine())


def grid(side: int) -> MLP:
    """The grid of `conf/model/grid.yaml` for an image of so many pixels along each side."""
    encoding = GridEncoding(AXES, (side, side), features=4)
    return MLP(AXES, CHANNELS, ReLU(), hidden_features=64, hidden_layers=1, encoding=encoding)


WAYS: dict[str, tuple[Predict, bool, bool]] = {  # with bf16, compiled
    "double backward": (predict_double, False, False),
    "vmap(jvp)": (predict_jvp, False, False),
    "analytic": (predict_analytic, False, False),
    "analytic, compiled": (predict_analytic, False, True),
    "random direction": (predict_random, False, False),
    "random direction, compiled": (predict_random, False, True),
    "value only": (predict_value, False, False),
    "value only, compiled": (predict_value, False, True),
    "double backward, bf16": (predict_double, True, False),
    "vmap(jvp), bf16": (predict_jvp, True, False),
    "analytic, bf16": (predict_analytic, True, False),
    "analytic, bf16, compiled": (predict_analytic, True, True),
    "random direction, bf16": (predict_random, True, False),
    "random direction, bf16, compiled": (predict_random, True, True),
    "value only, bf16": (predict_value, True, False),
    "value only, bf16, compiled": (predict_value, True, True),
    "grid, double backward": (predict_double, False, False),
    "grid, analytic": (predict_analytic, False, False),
    "grid, random direction": (predict_random, False, False),
    "grid, value only": (predict_value, False, False),
}


def network_of(way: str, points: int) -> MLP:
    """The network of a way to step."""
    return (grid if way.startswith("grid") else sine)(round(points**0.5))


def stepper(way: str, points: int, device: str, eager: bool = False) -> Callable[[], None]:
    """A function that takes one optimiser step in the given way; `eager`: as if it were not compiled."""
    predict, half, compiled = WAYS[way]
    torch.manual_seed(0)
    side = round(points**0.5)
    network, measurement = network_of(way, points).to(device), Pointwise((side, side)).to(device)
    counter = itertools.count()
    if compiled and not eager:
        network.forward = torch.compile(network.forward)  # type: ignore[method-assign]
        network.pushforward = torch.compile(network.pushforward)  # type: ignore[method-assign]
    at = side * torch.rand(1, points, AXES, device=device)
    value_target = torch.rand(1, points, CHANNELS, device=device)
    jacobian_target = torch.rand(1, points, CHANNELS, AXES, device=device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-6)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=half):
            value, derivatives = predict(network, measurement, at, next(counter))
        loss = F.mse_loss(value, value_target)
        if derivatives is not None:
            loss = loss + derivatives.loss(jacobian_target)
        loss.backward()
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()

    return step


def products(way: str, points: int, device: str) -> float:
    """Operations of the matrix products of one step, a product and a sum each."""
    step = stepper(way, COUNTED, device, eager=True)
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() * points / COUNTED


def multiplier(way: str, points: int, device: str) -> tuple[Callable[[], None], float]:
    """A function that multiplies as many points by the largest matrix of a way's network, and its operations."""
    widest = max(
        (one for one in network_of(way, points).modules() if isinstance(one, Linear)), key=lambda one: one.weight.numel()
    )
    kind = torch.bfloat16 if WAYS[way][1] else torch.float32
    features, matrix = torch.rand(points, widest.in_features), widest.weight.detach().T.contiguous()
    features, matrix = features.to(device, kind), matrix.to(device, kind)

    def multiply() -> None:
        features @ matrix
        if device != "cpu":
            torch.cuda.synchronize()

    return multiply, 2.0 * points * matrix.numel()


def best_times(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Seconds of the fastest step of each kind, taken in turn after two to warm up."""
    best = dict.fromkeys(steps, float("inf"))
    for turn in range(rounds + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn >= 2:
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def peak_memory(way: str, points: int, device: str) -> float:
    """MiB that three steps of one kind add to a process (on a GPU: that they allocate at most)."""
    words = [sys.executable, __file__, "--memory-of", way, "--points", str(points), "--device", device]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[-1])


def measure_memory(way: str, points: int, device: str) -> float:
    """The same, in this process."""
    warm = stepper(way, 256, device)
    warm()
    step = stepper(way, points, device)
    before = resident("VmRSS")
    for _ in range(3):
        step()
    return resident("VmHWM") - before if device == "cpu" else torch.cuda.max_memory_allocated() / 2**20


def resident(figure: str) -> float:
    """MiB in memory now (VmRSS) or at most so far (VmHWM), as Linux counts them."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(figure))
    return int(line.split()[1]) / 1024


class Fit(NamedTuple):
    """A fit that the Trainer and a loop written by hand both make: values of the astronaut."""

    network: Callable[[int], MLP]
    factor: int  # every so many pixels along each side are shown,
    points: int | None  # in every step so many of them; None: all
    steps: int


FITS = {
    "4x256, all of 16,384 points": Fit(sine, 4, None, 30),
    "grid, all of 4,096 points": Fit(grid, 8, None, 400),
    "grid, 4,096 of 262,144 points": Fit(grid, 1, 4096, 100),
}
WARM = 10  # steps that are not counted


class Clock(Callback):
    """Seconds per step of a fit, once it is under way."""

    seconds = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, *seen: object) -> None:
        """Start, and after the last step stop."""
        if trainer.global_step == WARM:
            self.seconds = -time.perf_counter()
        elif trainer.global_step == trainer.max_steps:
            self.seconds = (self.seconds + time.perf_counter()) / (trainer.max_steps - WARM)


def by_hand(fit: Fit, data: ImageData) -> float:
    """Seconds per step of a loop that has all it needs at hand, and draws by torch's own generator."""
    network, measurement = fit.network(512 // fit.factor), Pointwise(data.shape)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)
    part = data.trained.batch(data.train_samples, {"value"}).parts["data"]
    at, target = part.coordinates, part.targets["value"]
    start = 0.0
    for step in range(fit.steps):
        if step == WARM:
            start = time.perf_counter()
        if fit.points is not None:
            some = torch.randint(part.coordinates.shape[1], (fit.points,))
            at, target = part.coordinates[:, some], part.targets["value"][:, some]
        optimizer.zero_grad()
        loss = F.mse_loss(network(measurement.locate(at).points), target)
        loss.backward()
        optimizer.step()
    return (time.perf_counter() - start) / (fit.steps - WARM)


def by_trainer(fit: Fit, data: ImageData) -> float:
    """Seconds per step of the Trainer, with the progress bar and the check of the loss."""
    adam = partial(torch.optim.Adam, lr=1e-4, fused=True)
    training = Training(fit.network(512 // fit.factor), Supervision({"value": SquaredError()}), adam)
    clock = Clock()
    trainer = Trainer(
        accelerator="cpu",
        max_steps=fit.steps,
        max_epochs=-1,
        limit_val_batches=0,
        log_every_n_steps=10,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[FiniteLoss(), Progress(refresh_rate=10), clock],
    )
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.fit(ImageTask(training, {"data": Pointwise(data.shape)}, channels=CHANNELS), data)
    return clock.seconds


def compare_trainer(rounds: int) -> None:
    """Print what the Trainer adds to a step of each fit."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    print("\n| fit | by hand [ms] | Trainer [ms] | more |\n|---|---|---|---|")
    for name, fit in FITS.items():
        data = ImageData(factor=fit.factor, points=fit.points)
        data.setup()
        data.serve(Wanted({"data": frozenset({"value"})}))
        hand, trainer = (
            min(times) for times in zip(*((by_hand(fit, data), by_trainer(fit, data)) for _ in range(rounds)), strict=True)
        )
        print(f"| {name} | {1e3 * hand:.2f} | {1e3 * trainer:.2f} | {100 * (trainer / hand - 1):+.0f} % |")


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--points", type=int, default=16384)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--skip-steps", action="store_true", help="measure the Trainer alone")
    parser.add_argument("--memory-of", choices=list(WAYS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.memory_of:
        print(measure_memory(options.memory_of, options.points, options.device))
        return
    if not options.skip_steps:
        compare_steps(options.points, options.device, options.rounds, not options.skip_memory)
    if options.device == "cpu":
        compare_trainer(options.rounds)


def compare_steps(points: int, device: str, rounds: int, with_memory: bool) -> None:
    """Print the table of steps, and the rates at which the machine multiplies."""
    steps = {way: stepper(way, points, device) for way in WAYS}
    plain = {kind_of(way): multiplier(way, points, device) for way in WAYS}
    times = best_times(steps | {kind: multiply for kind, (multiply, _) in plain.items()}, rounds)
    rates = {kind: operations / times[kind] for kind, (_, operations) in plain.items()}
    print(
        "| step | ms | times faster than double backward | times value only, likewise | share of the rate | peak memory [MiB] |"
    )
    print("|---|---|---|---|---|---|")
    for way in WAYS:
        share = products(way, points, device) / times[way] / rates[kind_of(way)]
        ratios = f"{times['double backward'] / times[way]:.2f} | {times[way] / times[value_only(way)]:.2f}"
        memory = f"{peak_memory(way, points, device):.0f}" if with_memory else ""
        print(f"| {way} | {1e3 * times[way]:.0f} | {ratios} | {100 * share:.0f} % | {memory} |")
    found = ", ".join(f"{kind} {rate / 1e9:.0f} GFLOP/s" for kind, rate in rates.items())
    print(f"\nproducts of {points} points with the largest matrix: {found}")


def kind_of(way: str) -> str:
    """The network of a way, and its precision: ways of one kind are held against the same rate."""
    return f"{'grid' if way.startswith('grid') else '4x256'}{', bf16' if WAYS[way][1] else ''}"


def value_only(way: str) -> str:
    """The way to step without derivatives that is otherwise the same."""
    words = way.split(", ")
    return (
        "grid, value only"
        if "grid" in words
        else ", ".join(["value only", *(word for word in words if word in ("bf16", "compiled"))])
    )


if __name__ == "__main__":
    main()
