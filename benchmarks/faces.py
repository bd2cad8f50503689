"""Measure what a dictionary is good for: held-out faces encoded, refined, and fitted from scratch, PSNR against seconds.

    python benchmarks/faces.py olivettifaces.mat [--dictionary RUN] [--count 5] [--steps 1500] [--until 45] [--plot FILE]

Seconds are those of training and solving alone.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import mean, median
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from dictionary import everyone, synchronise
from torch import Tensor, nn

from datamodules.common.signal_data import Wanted
from datamodules.grids.images import Olivetti
from inr.dictionary.network import NeuralDictionary
from inr.dictionary.normal_equations import Problem
from inr.dictionary.solvers import Ridge
from inr.errors import InputError
from inr.measurements.pointwise import Pointwise
from inr.networks.activations import ReLU, Sine
from inr.networks.mlp import MLP
from inr.networks.positional import PositionalEncoding
from inr.saved.runs import build, read_checkpoint
from inr.supervision.losses import SquaredError
from inr.supervision.terms import Supervision

HELD_OUT = 50
SINE, TOGETHER, ALONE = "sine 4x256 from scratch", f"ridge, all {HELD_OUT} together", "ridge, one at a time"
WAITS, GOALS = (1, 2, 5, 10, 30), (27.0, 40.0)  # [s], [dB]


class Moment(NamedTuple):
    """Quality of a fit after some seconds of training, or of solving."""

    seconds: float
    decibels: float


class Face(NamedTuple):
    """The observations that a network is fitted to, and the truth that it is scored on."""

    points: Tensor
    target: Tensor


def decibels_of(error: Tensor) -> Tensor:
    """PSNR of mean square errors of numbers in [-1, 1], peak 2."""
    return -10 * (error.detach().clamp_min(1e-12) / 4).log10()


@dataclass
class Rule:
    """End of a fit: a number of steps, or a quality."""

    steps: int
    until: float
    device: str

    def fit(
        self, predict: Callable[[], Tensor], weights: Iterable[nn.Parameter], lr: float, face: Face, start: float
    ) -> list[Moment]:
        """The curve of a full-batch fit by Adam: before every step and after the last; `start` seconds have passed before.

        The loss of a step is the error that the steps before it have left, so that no further evaluation is needed.
        """
        optimizer = torch.optim.Adam(weights, lr=lr)
        curve, seconds = [], start
        for _ in range(self.steps + 1):
            synchronise(self.device)
            begin = time.perf_counter()
            optimizer.zero_grad()
            loss = F.mse_loss(predict(), face.target)
            loss.backward()
            optimizer.step()
            synchronise(self.device)
            elapsed = time.perf_counter() - begin
            curve.append(Moment(seconds, decibels_of(loss).item()))
            if curve[-1].decibels >= self.until:
                break
            seconds += elapsed
        return curve


class Faces:
    """The held-out Olivetti faces, the last 50, and a dictionary that was learned without them."""

    def __init__(self, path: str, run: str | None, device: str) -> None:
        checkpoint = {} if run is None else read_checkpoint(run)
        tuning = checkpoint["config"]["data"]["tuning"] if run else 0
        self.data = Olivetti(path=path, shown="held_out", held_out=HELD_OUT, tuning=tuning, chunk=2**20)
        self.data.serve(Wanted({"data": frozenset({"value"})}))
        self.device = torch.device(device)
        self.data.setup()
        self.measurements = {"data": Pointwise(self.data.shape).to(device)}
        self.supervision = Supervision({"value": SquaredError()})
        if run is not None:
            self.read(checkpoint, run)

    def read(self, checkpoint: dict[str, Any], run: str) -> None:
        """Take a dictionary from a checkpoint, and choose the ridge weight on the faces that it was tuned on."""
        options, self.state = checkpoint["config"]["data"], checkpoint["state_dict"]
        if "network.coder.codes" not in self.state:
            raise InputError(f"--dictionary must be a run of regime=dictionary with a codebook, {run} is not.")
        if (options.get("held_out"), options.get("shuffle")) != (HELD_OUT, False) or "Olivetti" not in options["_target_"]:
            raise InputError(f"The dictionary must be learned by data=olivetti data.held_out={HELD_OUT}, {run} was not.")
        self.model = checkpoint["config"]["model"]
        self.centre = self.state["network.coder.codes"].mean(0, keepdim=True).to(self.device)
        self.network = self.dictionary(None)
        signals = torch.arange(self.data.tuning_signals)
        tuning = self.problem(next(iter(self.data.tuning_batches(signals, self.device))))
        self.ridge = Ridge().choose([(tuning, tuning, self.centre)])

    def dictionary(self, residuals: str | None) -> NeuralDictionary:
        """The dictionary for one signal, which may have residual weights; these and its code are free."""
        sizes = {"experts": self.model["experts"], "channels": self.model["out_features"]}
        codebook = {"_target_": "inr.dictionary.coders.Codebook", "signals": 1, **sizes}
        network = build({**self.model, "coder": codebook, "residuals": residuals, "top_k": None}).to(self.device).eval()
        saved = {name.removeprefix("network."): value for name, value in self.state.items()}
        kept = {name: value for name, value in saved.items() if name == "experts" or name.startswith("trunk.")}
        network.load_state_dict(network.state_dict() | kept)
        network.freeze()
        return network

    def batch(self, signals: list[int]) -> Any:
        """All samples of some held-out faces."""
        (batch,) = self.data.observation_batches(torch.tensor(signals), self.device)
        return batch

    def face(self, signal: int) -> Face:
        """One held-out face."""
        part = self.batch([signal]).parts["data"]
        return Face(self.measurements["data"].locate(part.coordinates).points, part.targets["value"])

    def problem(self, batch: Any) -> Problem:
        """The equations of the faces in a batch."""
        return Problem(self.network, self.measurements, self.supervision, lambda: [batch])

    def encode(self, signals: list[int]) -> tuple[Tensor, float]:
        """Codes of some faces by ridge, and seconds: trunk, normal equations, factorisation, solution."""
        batch = self.batch(signals)
        synchronise(self.device.type)
        begin = time.perf_counter()
        codes = Ridge()(self.problem(batch), self.centre, self.ridge)
        synchronise(self.device.type)
        return codes, time.perf_counter() - begin

    @torch.no_grad()
    def decibels(self, signals: list[int], codes: Tensor) -> list[float]:
        """The PSNR of every face with its code."""
        part = self.batch(signals).parts["data"]
        values = self.network.field_of(codes)(self.measurements["data"].locate(part.coordinates).points)
        return decibels_of((values - part.targets["value"]).square().mean((1, 2))).tolist()


def sine(shape: tuple[int, ...]) -> tuple[MLP, float]:
    """A sine network and its rate."""
    return MLP(len(shape), 1, Sine(30.0)), 1e-4


def positional(shape: tuple[int, ...]) -> tuple[MLP, float]:
    """A relu network on octaves and its rate."""
    return MLP(len(shape), 1, ReLU(normal=True), PositionalEncoding(len(shape), training_shape=shape)), 1e-3


def scratch(faces: Faces, make: Callable[[tuple[int, ...]], tuple[MLP, float]], signal: int, rule: Rule) -> list[Moment]:
    """The curve of a face fitted from scratch."""
    torch.manual_seed(signal)
    network, lr = make(faces.data.shape)
    network, face = network.to(faces.device), faces.face(signal)
    return rule.fit(lambda: network(face.points), network.parameters(), lr, face, 0.0)


def refined(faces: Faces, residuals: str, lr: float, signal: int, rule: Rule) -> list[Moment]:
    """The curve of a face encoded alone and then refined, the seconds of its encoding included."""
    network, face = faces.dictionary(residuals), faces.face(signal)
    codes, seconds = faces.encode([signal])
    network.coder.codes.data.copy_(codes)
    free = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return rule.fit(lambda: network.field(everyone(network))(face.points), free, lr, face, seconds)


def encoded(faces: Faces, signals: list[int], repeats: int) -> tuple[list[list[Moment]], str]:
    """A curve of one moment for every face, encoded together; seconds are the median of repetitions, shared out evenly."""
    runs = [faces.encode(signals) for _ in range(repeats + 1)][1:]  # the first warms up
    seconds = [seconds for _, seconds in runs]
    text = f"{len(signals)} together: best {1e3 * min(seconds):.1f} ms, median {1e3 * median(seconds):.1f} ms"
    levels = faces.decibels(signals, runs[0][0])
    return [[Moment(median(seconds) / len(signals), level)] for level in levels], text


def reached(curve: list[Moment], level: float) -> float | None:
    """Seconds until a PSNR is reached, or None."""
    return next((moment.seconds for moment in curve if moment.decibels >= level), None)


def time_to(curves: list[list[Moment]], level: float) -> tuple[float, str]:
    """Mean seconds to a PSNR of the faces that reach it, and the same as text with how many do."""
    found = [seconds for curve in curves if (seconds := reached(curve, level)) is not None]
    few = "" if len(found) == len(curves) else f" ({len(found)} of {len(curves)})"
    return (mean(found), f"{mean(found):.3g}{few}") if found else (float("nan"), "-")


def level_after(curves: list[list[Moment]], seconds: float) -> str:
    """Mean PSNR after some seconds; a star where fits had ended before."""
    seen = [[moment.decibels for moment in curve if moment.seconds <= seconds] for curve in curves]
    star = "*" if any(curve[-1].seconds < seconds for curve in curves) else ""
    return f"{mean(levels[-1] for levels in seen):.2f}{star}" if all(seen) else "-"


def faces_curves(faces: Faces, count: int, rule: Rule, rates: list[float] | None) -> dict[str, list[list[Moment]]]:
    """The curves of each method by name; `rates` are those of refining head and all, None: no dictionary."""
    chosen = torch.linspace(0, HELD_OUT, count + 1).long().tolist()[:-1]
    methods: dict[str, Callable[[int, Rule], list[Moment]]] = {
        SINE: lambda signal, rule: scratch(faces, sine, signal, rule),
        "positional relu 4x256 from scratch": lambda signal, rule: scratch(faces, positional, signal, rule),
    }
    curves: dict[str, list[list[Moment]]] = {}
    if rates is not None:
        methods["ridge, then refine=head"] = lambda signal, rule: refined(faces, "head", rates[0], signal, rule)
        methods["ridge, then refine=all"] = lambda signal, rule: refined(faces, "all", rates[1], signal, rule)
        curves[TOGETHER], together = encoded(faces, list(range(HELD_OUT)), 5)
        curves[ALONE] = [encoded(faces, [signal], 5)[0][0] for signal in chosen]
        print(f"\nEncoding {together}; ridge {faces.ridge:g}; seconds per face below are the median / {HELD_OUT}.")
    for name, method in methods.items():
        method(chosen[0], Rule(2, rule.until, rule.device))  # warms up
        curves[name] = [method(signal, rule) for signal in chosen]
    return curves


def faces_table(curves: dict[str, list[list[Moment]]]) -> None:
    """Print PSNR against seconds."""
    first, last = GOALS
    columns = ["method", "faces", f"s to {first:g} dB", "times faster than sine", *(f"dB after {wait} s" for wait in WAITS)]
    columns += ["best dB", f"s to {last:g} dB"]
    print("\nMeans over faces of 64 x 64; (n of m): of those n that get there; *: some fits had ended before.\n")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name, found in curves.items():
        seconds, text = time_to(found, first)
        best = mean(max(moment.decibels for moment in curve) for curve in found)
        cells = [
            text,
            f"{time_to(curves[SINE], first)[0] / seconds:.3g}".replace("nan", "-"),
            *(level_after(found, wait) for wait in WAITS),
        ]
        print(f"| {name} | {len(found)} | {' | '.join(cells)} | {best:.2f} | {time_to(found, last)[1]} |")


def print_matches(curves: dict[str, list[list[Moment]]]) -> None:
    """Print how long a sine from scratch takes to what the closed form makes of the same face."""
    levels = [curve[0].decibels for curve in curves[ALONE]]
    times = [reached(curve, level) for curve, level in zip(curves[SINE], levels, strict=True)]
    found = mean([seconds for seconds in times if seconds is not None] or [float("nan")])
    alone, together = (mean(curve[0].seconds for curve in curves[name]) for name in (ALONE, TOGETHER))
    waits = ", ".join("-" if seconds is None else f"{seconds:.2f}" for seconds in times)
    print(f"\nRidge leaves these faces at {', '.join(f'{level:.2f}' for level in levels)} dB; sine from scratch gets there")
    print(f"after {waits} s: on average {found / together:.0f} times a face's share of encoding {HELD_OUT} together,")
    print(f"{found / alone:.1f} times encoding it alone.")


def draw(curves: dict[str, list[list[Moment]]], file: str) -> None:
    """Save PSNR against seconds, a line per face, a dot where there is but one moment."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for number, (name, found) in enumerate(curves.items()):
        for place, curve in enumerate(found):
            late = [moment for moment in curve if moment.seconds > 0]
            style = {"marker": ".", "linestyle": ""} if len(curve) == 1 else {"linewidth": 1}
            label = name if place == 0 else None
            axes.plot(*zip(*late, strict=True), color=f"C{number}", label=label, **style)
    axes.set(xscale="log", xlabel="seconds per face", ylabel="PSNR [dB]")
    axes.legend()
    figure.savefig(file, dpi=150)
    plt.close(figure)


def parse(words: list[str]) -> argparse.Namespace:
    """The options of a run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faces", metavar="FILE", help="olivettifaces.mat, or the folder of s1, s2, ...")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dictionary", metavar="RUN", help="a run of regime=dictionary data=olivetti data.held_out=50")
    parser.add_argument("--count", type=int, default=5, help="faces that are fitted one by one, spread over the held-out ones")
    parser.add_argument("--steps", type=int, default=1500, help="of a fit, at most")
    parser.add_argument("--until", type=float, default=45.0, help="PSNR [dB] at which a fit ends before")
    parser.add_argument("--refine-lr", type=float, nargs=2, default=[1e-3, 1e-4], metavar=("HEAD", "ALL"))
    parser.add_argument("--plot", metavar="FILE", help="save PSNR against seconds")
    return parser.parse_args(words)


def main(words: list[str]) -> None:
    """Fit held-out faces in all ways, and print what came out."""
    options = parse(words)
    warnings.simplefilter("ignore")
    faces = Faces(options.faces, options.dictionary, options.device)
    rule = Rule(options.steps, options.until, options.device)
    curves = faces_curves(faces, options.count, rule, options.refine_lr if options.dictionary else None)
    faces_table(curves)
    if options.dictionary:
        print_matches(curves)
    if options.plot:
        draw(curves, options.plot)


if __name__ == "__main__":
    main(sys.argv[1:])
