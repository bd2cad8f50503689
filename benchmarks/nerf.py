"""Measure what a training step of a radiance field costs with derivatives of the pixels, and what a rendered view costs.

One optimiser step of an 8x256 ReLU network on ten octaves of the position, derivatives by (row, column), all ways in turn, best
of several rounds; 64 rays (1,024, as published, would take up to 8 GiB) of 128 samples in normalised device coordinates.
Peak memory is that of a process that takes one kind of step: the most that it holds during two steps less what it holds
between steps, after a first step that compiles what there is to compile; what is freed goes back at once (glibc), so that it
grows with the rays and not with holes in the heap.

    python benchmarks/nerf.py [--rounds 5] [--rays 64] [--samples 128] [--ways ...] [--device cpu] [--skip-memory]
    python benchmarks/nerf.py --render [--chunks 4] [--view 756 1008]
"""

import argparse
import ctypes
import gc
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from dictionary import synchronise
from step import best_times, resident
from torch import Tensor

from inr.derivatives import observe_at, value_and_jacobian
from inr.field import Field, Signals
from inr.measurements.measurement import Measurement
from inr.measurements.rendering import VolumeRendering
from inr.networks.activations import ReLU
from inr.networks.mlp import MLP
from inr.networks.positional import PositionalEncoding
from inr.randomness import StepRandomness

SPACE, RAW, COLOURS, AXES, OCTAVES, LAYERS = 3, 4, 3, 2, 10, 8
CHUNK = 4096  # rays rendered at a time
Predict = Callable[[MLP, Measurement, Tensor], tuple[Tensor, Tensor | None]]


@dataclass
class Size:
    """Size of the problem of a step, and the device that solves it."""

    rays: int
    samples: int
    hidden: int
    view: tuple[int, int]
    device: str

    def network(self, compiled: bool = False) -> MLP:
        """The network, the same at every call."""
        torch.manual_seed(0)
        network = MLP(SPACE, RAW, ReLU(), PositionalEncoding(SPACE, OCTAVES), self.hidden, LAYERS).to(self.device)
        if compiled:
            network.forward = torch.compile(network.forward)  # type: ignore[method-assign]
            network.pushforward = torch.compile(network.pushforward)  # type: ignore[method-assign]
        return network

    def camera(self, training: bool) -> Measurement:
        """A camera at the origin that looks along -z, a little to the side; rays are jittered while training."""
        rows, columns = self.view
        focal = 0.8 * columns
        turned = torch.linalg.qr(torch.eye(SPACE) + 0.1 * torch.tensor([[0.0, 1, 2], [-1, 0, 1], [-2, -1, 0]])).Q
        pose = torch.cat([turned * turned.diagonal().sign(), torch.zeros(SPACE, 1)], -1).to(self.device)
        intrinsics = torch.tensor([focal, focal, (rows - 1) / 2, (columns - 1) / 2], device=self.device)
        slopes, white = (2 * focal / rows, 2 * focal / columns), (1.0, 1.0, 1.0)
        rendering = VolumeRendering(samples=self.samples, ndc=slopes, background=white)
        drawn = {"randomness": StepRandomness(0, 0, 0, self.rays, self.rays)} if training else {}
        return rendering.to(self.device).within(poses=pose[None, None], intrinsics=intrinsics[None, None], **drawn)

    def coordinates(self) -> Tensor:
        """Pixels of the view, the same at every call."""
        torch.manual_seed(1)
        return torch.rand(1, self.rays, AXES, device=self.device) * torch.tensor(self.view, device=self.device)

    def targets(self) -> tuple[Tensor, Tensor]:
        """Colours and their derivatives, the same at every call."""
        torch.manual_seed(2)
        value = torch.rand(1, self.rays, COLOURS, device=self.device)
        return value, torch.randn(*value.shape, AXES, device=self.device)


def field_of(network: MLP) -> Field:
    """The field of the one scene."""
    return network.field(Signals(torch.zeros(1, dtype=torch.long)))


def predict_value(network: MLP, camera: Measurement, at: Tensor) -> tuple[Tensor, None]:
    """Colours alone."""
    return observe_at(camera, field_of(network), at, {"value"})["value"], None


def predict_analytic(network: MLP, camera: Measurement, at: Tensor) -> tuple[Tensor, Tensor]:
    """Colours and jacobian through the network's analytic pushforward."""
    return value_and_jacobian(camera, field_of(network), at)


def predict_jvp(network: MLP, camera: Measurement, at: Tensor) -> tuple[Tensor, Tensor]:
    """Colours and jacobian by vmap(jvp), the rule for foreign modules."""
    return value_and_jacobian(camera, Field(lambda points: network(points)), at)


def predict_double(network: MLP, camera: Measurement, at: Tensor) -> tuple[Tensor, Tensor]:
    """Colours and jacobian by one backward pass per colour that keeps its graph, from the pixel on."""
    at = at.clone().requires_grad_()
    samples = camera.locate(at)
    value = camera.integrate(field_of(network)(samples.points), samples.quadrature)
    rows = [torch.autograd.grad(value[..., c].sum(), at, create_graph=True)[0] for c in range(COLOURS)]
    return value, torch.stack(rows, -2)


WAYS: dict[str, tuple[Predict, bool, bool]] = {  # prediction, in bf16?, compiled?
    "double backward": (predict_double, False, False),
    "vmap(jvp)": (predict_jvp, False, False),
    "analytic": (predict_analytic, False, False),
    "analytic, compiled": (predict_analytic, False, True),
    "value only": (predict_value, False, False),
    "value only, compiled": (predict_value, False, True),
    "double backward, bf16": (predict_double, True, False),
    "analytic, bf16": (predict_analytic, True, False),
    "analytic, bf16, compiled": (predict_analytic, True, True),
    "value only, bf16": (predict_value, True, False),
    "value only, bf16, compiled": (predict_value, True, True),
}
RENDERINGS: dict[str, tuple[bool, bool]] = {  # in bf16?, compiled?
    "render": (False, False),
    "render, compiled": (False, True),
    "render, bf16": (True, False),
    "render, bf16, compiled": (True, True),
}


def check_agreement(size: Size) -> None:
    """Raise AssertionError unless all ways of differentiating give the same colours and jacobian, which is not zero.

    In float64: in float32 a ray's sample may fall on either side of a ReLU's kink.
    """
    network, camera, at = size.network().double(), size.camera(training=True), size.coordinates().double()
    value, jacobian = predict_double(network, camera, at)
    scale = jacobian.square().mean().sqrt().item()
    assert scale > 1e-4, f"The jacobian must not vanish, its entries are about {scale:.1e}."
    for predict in (predict_analytic, predict_jvp):
        others = predict(network, camera, at)
        torch.testing.assert_close(others[0], value)
        torch.testing.assert_close(others[1], jacobian, rtol=1e-8, atol=1e-8 * scale)


def stepper(way: str, size: Size) -> Callable[[], None]:
    """A function that takes one optimiser step in the given way."""
    predict, half, compiled = WAYS[way]
    network, camera, at = size.network(compiled), size.camera(training=True), size.coordinates()
    value_target, jacobian_target = size.targets()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-6)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(size.device, torch.bfloat16, enabled=half):
            value, jacobian = predict(network, camera, at)
        loss = F.mse_loss(value, value_target)
        if jacobian is not None:
            loss = loss + (jacobian - jacobian_target).square().sum((-1, -2)).mean()
        loss.backward()
        optimizer.step()
        synchronise(size.device)

    return step


def renderer(way: str, size: Size, chunks: int) -> Callable[[], None]:
    """A function that renders so many chunks of rays, spread over the view."""
    half, compiled = RENDERINGS[way]
    network, camera = size.network(compiled), size.camera(training=False)
    rows, columns = (torch.arange(side, dtype=torch.float, device=size.device) for side in size.view)
    parts = torch.cartesian_prod(rows, columns)[None].split(CHUNK, 1)
    whole = parts[: max(1, len(parts) - 1)]  # the last one may be smaller
    spread = [whole[len(whole) * place // chunks] for place in range(chunks)]

    def render() -> None:
        with torch.no_grad(), torch.autocast(size.device, torch.bfloat16, enabled=half):
            for part in spread:
                camera.observe(field_of(network), part)
        synchronise(size.device)

    return render


def measure_memory(work: Callable[[], None], device: str) -> float:
    """MiB that two repetitions add at most to this process (on a GPU: to what is allocated), after one to warm up."""
    work()
    gc.collect()
    if device == "cpu":
        ctypes.CDLL(None).malloc_trim(0)  # give back what is free, or it counts as held
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        held = resident("VmRSS")
    else:
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated() / 2**20
    for _ in range(2):
        work()
    peak = resident("VmHWM") if device == "cpu" else torch.cuda.max_memory_allocated() / 2**20
    return max(0.0, peak - held)  # the system counts in batches of pages


def peak_memory(way: str, words: list[str]) -> float:
    """The same in a process of its own, with the options of this run."""
    command = [sys.executable, __file__, *words, "--memory-of", way]
    settings = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # every larger block is given back as soon as it is free
    return float(subprocess.run(command, capture_output=True, text=True, check=True, env=settings).stdout.split()[-1])


def processor(device: str) -> str:
    """The name of what computes."""
    if device != "cpu":
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return f"{torch.get_num_threads()} threads of {next(names, 'an unnamed processor')}"


def print_table(best: dict[str, float], heading: str, scale: float, held: int, words: list[str] | None) -> None:
    """Print seconds per ray of every kind of work, scaled; relative to the first; its memory, taken with `held` rays."""
    first = next(iter(best))
    print(f"| | {heading} | µs per ray | times faster than {first} | peak memory [MiB] | KiB per ray |")
    print("|---|---|---|---|---|---|")
    for way, seconds in best.items():
        row = f"| {way} | {scale * seconds:.0f} | {1e6 * seconds:.0f} | {best[first] / seconds:.2f} |"
        memory = None if words is None else peak_memory(way, words)
        print(f"{row} | |" if memory is None else f"{row} {memory:.0f} | {1024 * memory / held:.0f} |", flush=True)


def parse(words: list[str]) -> argparse.Namespace:
    """The options of a run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rays", type=int, default=64, help="of a training step")
    parser.add_argument("--samples", type=int, default=128, help="per ray")
    parser.add_argument("--hidden", type=int, default=256, help="features of each layer")
    parser.add_argument("--ways", nargs="+", choices=[*WAYS, *RENDERINGS], metavar="WAY", help="print these alone")
    parser.add_argument("--render", action="store_true", help="render a view, no training")
    parser.add_argument("--view", type=int, nargs=2, default=(756, 1008), metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--chunks", type=int, default=1, help=f"of {CHUNK} rays that are timed; the view's time in proportion")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--memory-of", choices=[*WAYS, *RENDERINGS], help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main(words: list[str]) -> None:
    """Measure and print a table in Markdown."""
    options = parse(words)
    warnings.simplefilter("ignore")
    size = Size(options.rays, options.samples, options.hidden, tuple(options.view), options.device)
    makers: dict[str, Callable[[], Callable[[], None]]] = {way: partial(stepper, way, size) for way in WAYS}
    makers |= {way: partial(renderer, way, size, 1 if options.memory_of else options.chunks) for way in RENDERINGS}
    if options.memory_of:
        print(measure_memory(makers[options.memory_of](), size.device))
        return
    kinds = RENDERINGS if options.render else WAYS
    chosen = [way for way in kinds if options.ways is None or way in options.ways]
    if not chosen:
        raise SystemExit(f"--ways must name some of {', '.join(kinds)}.")
    print(f"torch {torch.__version__}, {processor(size.device)}; {LAYERS} x {size.hidden}, {size.samples} samples per ray")
    batch, repeats, heading, scale = size.rays, 1, f"ms per step of {size.rays} rays", 1000.0 * size.rays
    if options.render:
        pixels = size.view[0] * size.view[1]
        batch, repeats, heading, scale = min(CHUNK, pixels), options.chunks, f"s per view of {pixels} rays", pixels
        print(f"{repeats} of {-(-pixels // batch)} chunks of {batch} rays timed\n")
    else:
        check_agreement(size)
        print("all ways give the same colours and the same jacobian\n")
    best = best_times({way: makers[way]() for way in chosen}, options.rounds)
    best = {way: seconds / batch / repeats for way, seconds in best.items()}
    print_table(best, heading, scale, batch, None if options.skip_memory else words)


if __name__ == "__main__":
    main(sys.argv[1:])
