"""Measure the neural dictionary: the cost of experts, and folding against the naive form. `faces.py` times its use.

    python benchmarks/dictionary.py [--rounds 5] [--only experts|naive] [--skip-memory] [--device cpu]

All kinds of steps are taken in turn, best of several rounds; peak memory is that of a process that takes one kind of step.
"""

import argparse
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from step import best_times, resident
from torch import Tensor

from inr.derivatives import observe_at
from inr.dictionary.coders import Codebook
from inr.dictionary.network import NeuralDictionary
from inr.field import Field, Signals
from inr.measurements.pointwise import Pointwise
from inr.networks.activations import ReLU
from inr.networks.fourier import FourierFeatures
from inr.networks.mlp import MLP

CHANNELS, SHAPE, FREQUENCIES = 3, (64, 64), 256
Form = Callable[[NeuralDictionary, Tensor], Tensor]


@dataclass
class Size:
    """Size of the problem of a step, and the device that solves it."""

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
        """Coordinates at which all signals are observed, the same at every call."""
        torch.manual_seed(1)
        return (SHAPE[0] - 1) * torch.rand(1, self.points, len(SHAPE), device=self.device)

    def targets(self) -> dict[str, Tensor]:
        """Targets of the signals at these coordinates, the same at every call."""
        torch.manual_seed(2)
        value = torch.rand(self.signals, self.points, CHANNELS, device=self.device)
        return {"value": value, "jacobian": torch.rand(*value.shape, len(SHAPE), device=self.device)}


def synchronise(device: str) -> None:
    """Wait until a GPU is done."""
    if device != "cpu":
        torch.cuda.synchronize()


def everyone(network: NeuralDictionary) -> Signals:
    """All signals of a codebook."""
    return Signals(torch.arange(len(network.coder.codes), device=network.experts.device))


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
    """The sum over a message per active gate: the outputs (1|signals, experts, ...) of its expert, times the gate."""
    gates, bias = network.coder(everyone(network)).split([len(network.experts), CHANNELS], -1)
    if network.active_gates < len(network.experts):
        chosen = gates.abs().topk(network.active_gates).indices
        first = len(network.experts) * torch.arange(len(gates), device=gates.device)[:, None] if len(outputs) > 1 else 0
        outputs = outputs.flatten(0, 1).index_select(0, (chosen + first).flatten()).unflatten(0, chosen.shape)
        gates = gates.gather(-1, chosen)
    total = (gates[..., None] * outputs).sum(1)  # (signals, channels points)
    return total.unflatten(-1, (CHANNELS, -1)).mT + bias[:, None]


def naive(network: NeuralDictionary, points: Tensor) -> Tensor:
    """The published way: every signal evaluates the trunk and all experts at its own copy of the points."""
    return messages(network, every_expert(network, points.expand(len(network.coder.codes), -1, -1)))


def shared(network: NeuralDictionary, points: Tensor) -> Tensor:
    """Trunk and all experts once at the shared points, then a message per active gate."""
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


def parse(words: list[str]) -> argparse.Namespace:
    """The options of a run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", choices=["experts", "naive"], help="print this part alone")
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    steps = parser.add_argument_group("steps and evaluations")
    steps.add_argument("--signals", type=int, default=64)
    steps.add_argument("--points", type=int, default=1024)
    steps.add_argument("--hidden", type=int, default=256)
    steps.add_argument("--experts", type=int, nargs="+", default=[64, 256, 1024, 4096])
    steps.add_argument("--naive-experts", type=int, default=1024, help="experts where the naive form is compared")
    steps.add_argument("--top-k", type=int, default=128, help="gates kept there")
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


if __name__ == "__main__":
    main(sys.argv[1:])
