"""Measure what a training step costs, and what the Trainer adds.

One optimiser step of a 4x256 sine network, and of a grid, on 16,384 points with 3 channels, all ways in turn, best of
several rounds, so that a change of the machine's speed hits all of them; peak memory is that of a process that takes one
kind of step.

    python benchmarks/step.py [--rounds 5] [--points 16384] [--device cpu] [--skip-memory]
"""

import argparse
import contextlib
import io
import logging
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from inr.derivatives import observe_at, value_and_jacobian
from inr.field import Field, Signals
from inr.measurements.pointwise import Pointwise
from inr.networks.activations import ReLU, Sine
from inr.networks.grids import GridEncoding
from inr.networks.mlp import MLP

CHANNELS, AXES = 3, 2
Predict = Callable[[MLP, Pointwise, Tensor], tuple[Tensor, Tensor | None]]


def predict_value(network: MLP, measurement: Pointwise, at: Tensor) -> tuple[Tensor, None]:
    """Values alone."""
    return observe_at(measurement, field_of(network), at, {"value"})["value"], None


def predict_analytic(network: MLP, measurement: Pointwise, at: Tensor) -> tuple[Tensor, Tensor]:
    """Values and jacobian through the analytic pushforward."""
    return value_and_jacobian(measurement, field_of(network), at)


def predict_jvp(network: MLP, measurement: Pointwise, at: Tensor) -> tuple[Tensor, Tensor]:
    """Values and jacobian by vmap(jvp), the rule for foreign modules."""
    return value_and_jacobian(measurement, Field(lambda points: network(points)), at)


def predict_double(network: MLP, measurement: Pointwise, at: Tensor) -> tuple[Tensor, Tensor]:
    """Values and jacobian by one backward pass per channel that keeps its graph, as the published code does."""
    at = at.clone().requires_grad_()
    value = field_of(network)(measurement.locate(at).points)
    rows = [torch.autograd.grad(value[..., c].sum(), at, create_graph=True)[0] for c in range(CHANNELS)]
    return value, torch.stack(rows, -2)


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
    "value only": (predict_value, False, False),
    "value only, compiled": (predict_value, False, True),
    "double backward, bf16": (predict_double, True, False),
    "vmap(jvp), bf16": (predict_jvp, True, False),
    "analytic, bf16": (predict_analytic, True, False),
    "analytic, bf16, compiled": (predict_analytic, True, True),
    "value only, bf16": (predict_value, True, False),
    "value only, bf16, compiled": (predict_value, True, True),
    "grid, double backward": (predict_double, False, False),
    "grid, analytic": (predict_analytic, False, False),
    "grid, value only": (predict_value, False, False),
}


def stepper(way: str, points: int, device: str) -> Callable[[], None]:
    """A function that takes one optimiser step in the given way."""
    predict, half, compiled = WAYS[way]
    torch.manual_seed(0)
    side = round(points**0.5)
    make = grid if way.startswith("grid") else sine
    network, measurement = make(side).to(device), Pointwise((side, side)).to(device)
    if compiled:
        network.forward = torch.compile(network.forward)  # type: ignore[method-assign]
        network.pushforward = torch.compile(network.pushforward)  # type: ignore[method-assign]
    at = side * torch.rand(1, points, AXES, device=device)
    value_target = torch.rand(1, points, CHANNELS, device=device)
    jacobian_target = torch.rand(1, points, CHANNELS, AXES, device=device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-6)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=half):
            value, jacobian = predict(network, measurement, at)
        loss = F.mse_loss(value, value_target)
        if jacobian is not None:
            loss = loss + (jacobian - jacobian_target).square().sum((-1, -2)).mean()
        loss.backward()
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()

    return step


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


def trainer_overhead(steps: int, rounds: int) -> tuple[float, float]:
    """Seconds per step of a hand-written loop and of the Trainer with its callbacks, value only, the same 16,384 points."""
    import lightning as L

    from datamodules.common.signal_data import Wanted
    from datamodules.grids.image import ImageData
    from inr.supervision.losses import SquaredError
    from inr.supervision.terms import Supervision
    from tasks.base import Training
    from tasks.callbacks import FiniteLoss, FitTimer, Progress
    from tasks.image import ImageTask

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    data = ImageData(factor=4)
    data.setup()
    supervision = Supervision({"value": SquaredError()})
    data.serve(Wanted({"data": frozenset({"value"})}))
    batch = data.trained.batch(data.train_samples, {"value"})
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        network, measurement = MLP(AXES, CHANNELS, Sine()), Pointwise(data.shape)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
        start = time.perf_counter()
        for _ in range(steps):
            optimizer.zero_grad()
            part = batch.parts["data"]
            loss = F.mse_loss(network(measurement.locate(part.coordinates).points), part.targets["value"])
            loss.backward()
            optimizer.step()
        best[0] = min(best[0], (time.perf_counter() - start) / steps)
        timer = FitTimer()
        fresh = MLP(AXES, CHANNELS, Sine())
        training = Training(fresh, supervision, partial(torch.optim.Adam, lr=1e-4))
        task = ImageTask(training, {"data": Pointwise(data.shape)}, channels=3)
        trainer = L.Trainer(
            accelerator="cpu",
            max_steps=steps,
            max_epochs=-1,
            limit_val_batches=0,
            log_every_n_steps=10,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            callbacks=[FiniteLoss(), Progress(refresh_rate=10), timer],
        )
        with contextlib.redirect_stdout(io.StringIO()):
            trainer.fit(task, data)
        best[1] = min(best[1], timer.time_elapsed() / steps)
    return best[0], best[1]


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--points", type=int, default=16384)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--memory-of", choices=list(WAYS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.memory_of:
        print(measure_memory(options.memory_of, options.points, options.device))
        return
    times = best_times({way: stepper(way, options.points, options.device) for way in WAYS}, options.rounds)
    base, value = times["double backward"], times["value only"]
    print("| step | ms | times faster than double backward | times value only | peak memory [MiB] |\n|---|---|---|---|---|")
    for way, seconds in times.items():
        memory = "" if options.skip_memory else f"{peak_memory(way, options.points, options.device):.0f}"
        print(f"| {way} | {1e3 * seconds:.0f} | {base / seconds:.2f} | {seconds / value:.2f} | {memory} |")
    if options.device == "cpu":
        loop, trainer = trainer_overhead(30, 3)
        change = 100 * (trainer / loop - 1)
        print(f"\nhand-written loop {1e3 * loop:.1f} ms, Trainer {1e3 * trainer:.1f} ms per step: {change:+.1f} %")


if __name__ == "__main__":
    main()
