"""Measure the neural dictionary: the cost of experts, folding against the naive form, encoding against fitting from scratch.

    python benchmarks/dictionary.py [--rounds 5] [--only experts|naive] [--skip-memory] [--device cpu]
    python benchmarks/dictionary.py --faces olivettifaces.mat [--dictionary RUN] [--count 5] [--plot FILE]

All kinds of steps are taken in turn, best of several rounds; peak memory is that of a process that takes one kind of step.
"""

import argparse
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from statistics import mean, median
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from step import best_times, resident
from torch import Tensor, nn

from datamodules.images import Olivetti
from inr.derivatives import observe_at
from inr.dictionary.coders import Codebook
from inr.dictionary.linear import Problem
from inr.dictionary.solvers import Ridge
from inr.errors import InputError
from inr.field import Field, Signals
from inr.losses import SquaredError
from inr.measurements.pointwise import Pointwise
from inr.networks.activations import ReLU, Sine
from inr.networks.fourier import FourierFeatures
from inr.networks.mlp import MLP
from inr.networks.nid_moe import NeuralDictionary
from inr.networks.positional import PositionalEncoding
from inr.runs import build, read_checkpoint
from inr.supervision import Supervision

CHANNELS, SHAPE, FREQUENCIES = 3, (64, 64), 256
HELD_OUT = 50
SINE, TOGETHER, ALONE = "sine 4x256 from scratch", f"ridge, all {HELD_OUT} together", "ridge, one at a time"
WAITS, GOALS = (1, 2, 5, 10, 30), (27.0, 40.0)  # [s], [dB]
Form = Callable[[NeuralDictionary, Tensor], Tensor]


@dataclass
class Size:
    """How large the problem of a step is, and where it is solved."""

    signals: int
    points: int
    hidden: int
    device: str

    def dictionary(self, experts: int, top_k: int | None = None) -> NeuralDictionary:
        """A dictionary, the same at every call."""
        torch.manual_seed(0)
        trunk = MLP(len(SHAPE), None, ReLU(normal=True), FourierFeatures(len(SHAPE), FREQUENCIES), self.hidden)
        codebook = Codebook(self.signals, experts, CHANNELS)
        return NeuralDictionary(trunk, codebook, experts, CHANNELS, top_k).to(self.device)

    def coordinates(self) -> Tensor:
        """Where all signals are observed, the same at every call."""
        torch.manual_seed(1)
        return (SHAPE[0] - 1) * torch.rand(1, self.points, len(SHAPE), device=self.device)

    def targets(self) -> dict[str, Tensor]:
        """What they should be there, the same at every call."""
        torch.manual_seed(2)
        value = torch.rand(self.signals, self.points, CHANNELS, device=self.device)
        return {"value": value, "jacobian": torch.rand(*value.shape, len(SHAPE), device=self.device)}


def synchronise(device: str) -> None:
    """Wait until a GPU is done."""
    if device != "cpu":
        torch.cuda.synchronize()


def everyone(network: NeuralDictionary) -> Signals:
    """All signals of a codebook."""
    return Signals(torch.arange(len(network.coder.codes), device=network.experts.device))  # type: ignore[arg-type]


# one head per signal, and the ways around it


def folded(network: NeuralDictionary, points: Tensor) -> Tensor:
    """The library's way: experts are mixed into one head per signal, then evaluated."""
    return network.field(everyone(network))(points)


def every_expert(network: NeuralDictionary, points: Tensor) -> Tensor:
    """The outputs of every expert at every point: points (1|signals, points, axes) -> (1|signals, experts, channels points)."""
    features = network.trunk(points)
    weights = network.experts.flatten(0, 1).expand(len(points), -1, -1)
    return torch.bmm(weights, features.mT).reshape(len(points), len(network.experts), -1)


def messages(network: NeuralDictionary, outputs: Tensor) -> Tensor:
    """The sum over a message per kept gate: the outputs (1|signals, experts, ...) of its expert, times the gate."""
    gates, bias = network.coder(everyone(network)).split([len(network.experts), CHANNELS], -1)
    if network.kept < len(network.experts):
        chosen = gates.abs().topk(network.kept).indices
        first = len(network.experts) * torch.arange(len(gates), device=gates.device)[:, None] if len(outputs) > 1 else 0
        outputs = outputs.flatten(0, 1).index_select(0, (chosen + first).flatten()).unflatten(0, chosen.shape)
        gates = gates.gather(-1, chosen)
    total = (gates[..., None] * outputs).sum(1)  # (signals, channels points)
    return total.unflatten(-1, (CHANNELS, -1)).mT + bias[:, None]


def naive(network: NeuralDictionary, points: Tensor) -> Tensor:
    """The published way: every signal evaluates the trunk and all experts at its own copy of the points."""
    return messages(network, every_expert(network, points.expand(len(network.coder.codes), -1, -1)))  # type: ignore[arg-type]


def shared(network: NeuralDictionary, points: Tensor) -> Tensor:
    """Trunk and all experts once at the shared points, then a message per kept gate."""
    return messages(network, every_expert(network, points))


def product(network: NeuralDictionary, points: Tensor) -> Tensor:
    """Trunk and all experts once at the shared points, then one matrix product with the gates."""
    codes = network.coder(everyone(network))
    gates, _ = network.gate(codes[:, : len(network.experts)])
    total = gates @ every_expert(network, points)[0]
    return total.unflatten(-1, (CHANNELS, -1)).mT + codes[:, None, len(network.experts) :]


FORMS: dict[str, Form] = {
    "naive: trunk and every expert per signal, messages": naive,
    "shared trunk, every expert at every point, messages": shared,
    "shared trunk, every expert at every point, matrix product": product,
    "folded: one head per signal": folded,
}


def stepper(size: Size, network: NeuralDictionary, quantities: tuple[str, ...], form: Form = folded) -> Callable[[], None]:
    """A function that takes one optimiser step: forward, backward, Adam."""
    measurement, at, targets = Pointwise(SHAPE).to(size.device), size.coordinates(), size.targets()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-6)

    def step() -> None:
        optimizer.zero_grad()
        field = network.field(everyone(network)) if form is folded else Field(partial(form, network))
        seen = observe_at(measurement, field, at, quantities)
        loss = F.mse_loss(seen["value"], targets["value"])
        if "jacobian" in seen:
            loss = loss + (seen["jacobian"] - targets["jacobian"]).square().sum((-1, -2)).mean()
        loss.backward()
        optimizer.step()
        synchronise(size.device)

    return step


def evaluator(size: Size, network: NeuralDictionary, fold: bool) -> Callable[[], None]:
    """A function that evaluates all signals at the points, heads folded each time or once."""
    points = Pointwise(SHAPE).to(size.device).locate(size.coordinates()).points
    with torch.no_grad():
        ready = network.field(everyone(network))

    @torch.no_grad()
    def evaluate() -> None:
        (network.field(everyone(network)) if fold else ready)(points)
        synchronise(size.device)

    return evaluate


def experts_table(size: Size, counts: list[int], rounds: int) -> None:
    """Print what steps and evaluations cost by number of experts, and as multiples of the first."""
    makers: dict[str, Callable[[NeuralDictionary], Callable[[], None]]] = {
        "step, value": lambda network: stepper(size, network, ("value",)),
        "step, value + jacobian": lambda network: stepper(size, network, ("value", "jacobian")),
        "evaluation": lambda network: evaluator(size, network, fold=True),
        "evaluation, heads folded before": lambda network: evaluator(size, network, fold=False),
    }
    kinds = {f"{name}/{count}": make(size.dictionary(count)) for count in counts for name, make in makers.items()}
    best = best_times(kinds, rounds)
    print(f"\n{size.signals} signals x {size.points} shared points, {CHANNELS} channels, trunk fourier + relu 4x{size.hidden};")
    print(f"ms (times the row of {counts[0]}).\n")
    print(f"| experts | {' | '.join(makers)} |\n|---|{'---|' * len(makers)}")
    for count in counts:
        pairs = [(best[f"{name}/{count}"], best[f"{name}/{counts[0]}"]) for name in makers]
        print(f"| {count} | {' | '.join(f'{1e3 * time:.1f} ({time / first:.2f})' for time, first in pairs)} |")


def naive_kinds(size: Size, experts: int, top_k: int) -> dict[str, Callable[[], Callable[[], None]]]:
    """A maker of steps for each form, with top-k and with dense gates."""
    return {
        f"{form} | {gates}": lambda form=form, kept=kept: stepper(size, size.dictionary(experts, kept), ("value",), FORMS[form])  # type: ignore[misc]
        for gates, kept in ((f"top {top_k}", top_k), ("dense", None))
        for form in FORMS
    }


@torch.no_grad()
def largest_difference(size: Size, experts: int, top_k: int) -> float:
    """The largest relative difference between the loss of a form and that of the folded one, at equal weights."""
    points, target = Pointwise(SHAPE).to(size.device).locate(size.coordinates()).points, size.targets()["value"]
    found = []
    for kept in (top_k, None):
        network = size.dictionary(experts, kept)
        losses = {name: F.mse_loss(form(network, points), target).item() for name, form in FORMS.items()}
        *others, reference = losses.values()
        found += [abs(loss / reference - 1) for loss in others]
    return max(found)


def naive_table(size: Size, experts: int, top_k: int, rounds: int, words: list[str] | None) -> None:
    """Print what a step costs in each form; `words`, the options of this run, are for the processes that measure memory."""
    difference = largest_difference(size, experts, top_k)
    assert difference < 1e-4, f"The forms must compute the same loss, they differ by {difference:.1e} of it."
    print(f"\n{size.signals} signals x {size.points} shared points, {experts} experts, {CHANNELS} channels, value only;")
    print(f"losses of all forms agree to {difference:.1e} of the loss.\n")
    kinds = naive_kinds(size, experts, top_k)
    best = best_times({name: make() for name, make in kinds.items()}, rounds)
    memory = {name: peak_memory(name, words) for name in kinds} if words is not None else {}
    print(
        "| step | gates | ms | times the folded step | peak memory [MiB] | times the folded peak |\n|---|---|---|---|---|---|"
    )
    for name, seconds in best.items():
        reference = f"{list(FORMS)[-1]} | {name.split(' | ')[1]}"
        row = f"| {name} | {1e3 * seconds:.0f} | {seconds / best[reference]:.2f} |"
        print(f"{row} {memory[name]:.0f} | {memory[name] / memory[reference]:.2f} |" if memory else f"{row} | |")


def peak_memory(kind: str, words: list[str]) -> float:
    """MiB that three steps of one kind add to a process (on a GPU: that they allocate at most)."""
    command = [sys.executable, __file__, *words, "--memory-of", kind]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def measure_memory(kind: str, size: Size, experts: int, top_k: int) -> float:
    """The same, in this process, after a step at toy size."""
    naive_kinds(Size(2, 16, 16, size.device), 8, 2)[kind.replace(f"top {top_k}", "top 2")]()()
    before = resident("VmRSS")
    step = naive_kinds(size, experts, top_k)[kind]()
    for _ in range(3):
        step()
    return resident("VmHWM") - before if size.device == "cpu" else torch.cuda.max_memory_allocated() / 2**20


# faces that the dictionary has not seen


class Moment(NamedTuple):
    """How good a fit is after some seconds of training, or of solving."""

    seconds: float
    decibels: float


class Face(NamedTuple):
    """What a network is fitted to, and scored on."""

    points: Tensor
    target: Tensor


def decibels_of(error: Tensor) -> Tensor:
    """PSNR of mean square errors of numbers in [-1, 1], peak 2."""
    return -10 * (error.detach().clamp_min(1e-12) / 4).log10()


@dataclass
class Rule:
    """How long a fit goes on."""

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
        self.data = Olivetti(path, shown="held_out", held_out=HELD_OUT, tuning=tuning, chunk=2**20)
        self.data.quantities, self.device = ("value",), torch.device(device)
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
        tuning = self.problem(next(iter(self.data.tuning_batches(self.device))))
        self.ridge = Ridge().choose(tuning, tuning, self.centre)

    def dictionary(self, own: str | None) -> NeuralDictionary:
        """The dictionary for one signal, which may have additions of its own; these and its code are free."""
        sizes = {"experts": self.model["experts"], "channels": self.model["out_features"]}
        codebook = {"_target_": "inr.dictionary.coders.Codebook", "signals": 1, **sizes}
        network = build({**self.model, "coder": codebook, "own": own, "top_k": None}).to(self.device).eval()
        saved = {name.removeprefix("network."): value for name, value in self.state.items()}
        kept = {name: value for name, value in saved.items() if name == "experts" or name.startswith("trunk.")}
        network.load_state_dict(network.state_dict() | kept)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name.startswith(("coder.", "own.")))
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


def refined(faces: Faces, own: str, lr: float, signal: int, rule: Rule) -> list[Moment]:
    """The curve of a face encoded alone and then refined, the seconds of its encoding included."""
    network, face = faces.dictionary(own), faces.face(signal)
    codes, seconds = faces.encode([signal])
    network.coder.codes.data.copy_(codes)  # type: ignore[operator]
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


def measure_faces(options: argparse.Namespace) -> None:
    """Fit held-out faces in all ways, and print what came out."""
    faces = Faces(options.faces, options.dictionary, options.device)
    rule = Rule(options.steps, options.until, options.device)
    curves = faces_curves(faces, options.count, rule, options.refine_lr if options.dictionary else None)
    faces_table(curves)
    if options.dictionary:
        print_matches(curves)
    if options.plot:
        draw(curves, options.plot)


def parse(words: list[str]) -> argparse.Namespace:
    """The options of a run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", choices=["experts", "naive", "faces"], help="print this part alone")
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    steps = parser.add_argument_group("steps and evaluations")
    steps.add_argument("--signals", type=int, default=64)
    steps.add_argument("--points", type=int, default=1024)
    steps.add_argument("--hidden", type=int, default=256)
    steps.add_argument("--experts", type=int, nargs="+", default=[64, 256, 1024, 4096])
    steps.add_argument("--naive-experts", type=int, default=1024, help="experts where the naive form is compared")
    steps.add_argument("--top-k", type=int, default=128, help="gates kept there")
    faces = parser.add_argument_group("faces")
    faces.add_argument("--faces", metavar="FILE", help="olivettifaces.mat, or the folder of s1, s2, ...")
    faces.add_argument("--dictionary", metavar="RUN", help="a run of regime=dictionary data=olivetti data.held_out=50")
    faces.add_argument("--count", type=int, default=5, help="faces that are fitted one by one, spread over the held-out ones")
    faces.add_argument("--steps", type=int, default=1500, help="of a fit, at most")
    faces.add_argument("--until", type=float, default=45.0, help="PSNR [dB] at which a fit ends before")
    faces.add_argument("--refine-lr", type=float, nargs=2, default=[1e-3, 1e-4], metavar=("HEAD", "ALL"))
    faces.add_argument("--plot", metavar="FILE", help="save PSNR against seconds")
    return parser.parse_args(words)


def main(words: list[str]) -> None:
    """Measure and print tables in Markdown."""
    options = parse(words)
    warnings.simplefilter("ignore")
    size = Size(options.signals, options.points, options.hidden, options.device)
    if options.memory_of:
        print(measure_memory(options.memory_of, size, options.naive_experts, options.top_k))
        return
    if options.only in (None, "experts"):
        experts_table(size, options.experts, options.rounds)
    if options.only in (None, "naive"):
        naive_table(size, options.naive_experts, options.top_k, options.rounds, None if options.skip_memory else words)
    if options.faces and options.only in (None, "faces"):
        measure_faces(options)


if __name__ == "__main__":
    main(sys.argv[1:])
