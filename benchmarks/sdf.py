"""Measure shapes: which way derivatives of a distance go, models on a mesh at equal time, and what a dictionary knows.

    python benchmarks/sdf.py derivatives [--points 8192] [--rounds 7] [--device cpu] [--compile]
    python benchmarks/sdf.py meshes FILE ... [--models sine] [--steps 2000] [OPTION ...]
    python benchmarks/sdf.py shapes RUN [--observed 500 5000] [--scratch 4] [--steps 1000] [OPTION ...]

`derivatives` times steps of a 4x256 sine network on points of space, all ways in turn. `meshes` fits values for so many
steps, then values and derivatives for as many as take the same time. `shapes` encodes the held-out shapes of the run of a
dictionary and fits a sine network from scratch to the same samples, for the first few of them. Every fit is a command of its
own; words with "=" go to all of them.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from runs import Metrics, answer, header, references, row, run, say
from torch import Tensor

from inr.derivatives import observe_at
from inr.field import Field, Signals
from inr.measurements.pointwise import Points
from inr.networks.activations import Sine
from inr.networks.mlp import MLP

COLUMNS = ["iou", "iou_shell", "chamfer", "f_score", "normals", "mae", "eikonal", "psnr", "steps", "seconds"]
CODED = ["iou", "iou_shell", "chamfer", "f_score", "normals", "psnr", "encode_seconds", "seconds"]
TRIED = 40  # steps that a step is timed by
Predict = Callable[[MLP, Tensor], tuple[Tensor, Tensor | None]]


def field_of(network: MLP) -> Field:
    """The field of the one signal."""
    return network.field(Signals(torch.zeros(1, dtype=torch.long)))


def by_default(network: MLP, points: Tensor) -> tuple[Tensor, Tensor]:
    """As the framework does: the gradient returns through the layers, written out."""
    seen = observe_at(Points(), field_of(network), points, {"value", "jacobian"})
    return seen["value"], seen["jacobian"]


def forward(network: MLP, points: Tensor) -> tuple[Tensor, Tensor]:
    """Three tangents go through the layers, written out."""
    tangents = torch.eye(3, device=points.device, dtype=points.dtype).reshape(3, 1, 1, 3)
    value, slopes = network.layers.pushforward(points, tangents)
    return value, slopes.movedim(0, -1)


def automatic(network: MLP, points: Tensor) -> tuple[Tensor, Tensor]:
    """Autograd's backward pass, which keeps its graph: double backward, as published code does it."""
    points = points.clone().requires_grad_()
    value = network(points)
    (gradient,) = torch.autograd.grad(value.sum(), points, create_graph=True)
    return value, gradient[..., None, :]


def value_only(network: MLP, points: Tensor) -> tuple[Tensor, None]:
    """No derivatives."""
    return network(points), None


WAYS: dict[str, tuple[Predict, bool]] = {
    "value only": (value_only, True),
    "backward, written out (default)": (by_default, True),
    "forward, written out": (forward, True),
    "double backward of autograd": (automatic, False),
}


def stepper(predict: Predict, points: int, device: str, half: bool, compiled: bool) -> Callable[[], None]:
    """A function that takes one optimiser step."""
    torch.manual_seed(0)
    network = MLP(3, 1, Sine()).to(device)
    if compiled:
        network.forward = torch.compile(network.forward)  # type: ignore[method-assign]
        network.pushforward = torch.compile(network.pushforward)  # type: ignore[method-assign]
        network.layers.pushforward = torch.compile(network.layers.pushforward)  # type: ignore[method-assign]
    at, target = 2 * torch.rand(1, points, 3, device=device) - 1, torch.rand(1, points, 1, 3, device=device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-6)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=half):
            value, jacobian = predict(network, at)
        loss = value.square().mean()
        if jacobian is not None:
            loss = loss + (jacobian - target).square().sum((-1, -2)).mean()
        loss.backward()
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()

    return step


def agree() -> None:
    """Stop unless all ways give the same gradient, and the same of a loss on it, in float64."""
    torch.manual_seed(0)
    network, points, found = MLP(3, 1, Sine()).double(), torch.rand(1, 50, 3, dtype=torch.float64), []
    for predict in (by_default, forward, automatic):
        network.zero_grad()
        jacobian = predict(network, points)[1]
        assert jacobian is not None
        (jacobian - 0.1).square().mean().backward()
        weights = [parameter.grad for parameter in network.parameters()]
        found.append([jacobian.detach(), *(torch.zeros(()) if grad is None else grad for grad in weights)])
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def derivatives(options: argparse.Namespace, rest: Sequence[str]) -> None:
    """The table of steps."""
    agree()
    kinds = [(name, half, False) for half in (False, True) for name in WAYS]
    kinds += [(name, half, True) for half in (False, True) for name in WAYS if options.compile and WAYS[name][1]]
    steps = {kind: stepper(WAYS[kind[0]][0], options.points, options.device, kind[1], kind[2]) for kind in kinds}
    best = dict.fromkeys(steps, float("inf"))
    for turn in range(options.rounds + 2):
        for kind, step in steps.items():
            start = time.perf_counter()
            step()
            if turn >= 2:
                best[kind] = min(best[kind], time.perf_counter() - start)
    say(header(f"{options.points} points, {options.device}", ["ms per step", "times a step of values alone"]))
    for (name, half, compiled), seconds in best.items():
        title = f"{name}{', bf16' if half else ''}{', compiled' if compiled else ''}"
        say(f"| {title} | {1e3 * seconds:.0f} | {seconds / best['value only', half, compiled]:.2f} |")


def meshes(options: argparse.Namespace, rest: Sequence[str]) -> None:
    """Every model on every mesh, by values, then by values and derivatives in the same time."""
    for file in options.files:
        say(header(Path(file).name, COLUMNS))
        metrics: Metrics = {}
        for model in options.models:
            words = ["task=sdf", f"data.path={file}", f"model={model}", *rest]
            metrics = run([*words, "supervision=val", f"trainer.max_steps={options.steps}"])
            say(row(f"{model}, val", metrics, COLUMNS))
            quick = [f"trainer.max_steps={TRIED}", "data.pool=20000", "data.resolution=8"]
            tried = run([*words, *quick, "supervision=val_der"])
            steps = max(1, round(metrics["seconds"] / tried["seconds"] * TRIED))
            say(row(f"{model}, val_der", run([*words, "supervision=val_der", f"trainer.max_steps={steps}"]), COLUMNS))
        references(metrics, COLUMNS)


def shapes(options: argparse.Namespace, rest: Sequence[str]) -> None:
    """Held-out shapes from few samples, in a dictionary and from scratch."""
    for observed in options.observed:
        say(header(f"{observed} samples of each held-out shape", CODED))
        few = [f"data.observed={observed}", *rest]
        metrics = run(["task=sdf", "regime=fit", f"dictionary={options.dictionary}", "solver=ridge", *few])
        say(row("ridge", metrics, CODED))
        references(metrics, CODED)
        for place in range(options.scratch):
            alone = ["regime=single", f"regime.signals=[{place}]", "model=sine", f"trainer.max_steps={options.steps}"]
            one = ["regime=fit", f"dictionary={options.dictionary}", f"regime.signals=[{place}]", "solver=ridge"]
            found = run(["task=sdf", *alone, *few])
            say(row(f"sine from scratch, shape {place}", found, CODED))
            say(row(f"ridge, shape {place}", run(["task=sdf", *one, *few]), CODED))


def main(words: Sequence[str] | None = None) -> None:
    """Parse the command line and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    questions = parser.add_subparsers(required=True)
    ways = questions.add_parser("derivatives")
    ways.add_argument("--points", type=int, default=8192)
    ways.add_argument("--rounds", type=int, default=7)
    ways.add_argument("--device", default="cpu")
    ways.add_argument("--compile", action="store_true")
    ways.set_defaults(answer=derivatives)
    one = questions.add_parser("meshes")
    one.add_argument("files", nargs="+")
    one.add_argument("--models", nargs="+", default=["sine"])
    one.add_argument("--steps", type=int, default=2000)
    one.set_defaults(answer=meshes)
    many = questions.add_parser("shapes")
    many.add_argument("dictionary")
    many.add_argument("--observed", type=int, nargs="+", default=[500, 5000])
    many.add_argument("--scratch", type=int, default=4)
    many.add_argument("--steps", type=int, default=1000)
    many.set_defaults(answer=shapes)
    answer(parser, words)


if __name__ == "__main__":
    main()
