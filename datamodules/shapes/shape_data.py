"""Shapes as fields of signed distance: samples near the surface and in space to fit, a lattice to score."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor

from datamodules.common.batch import Batch, Part, Scored, Units
from datamodules.common.draws import Draw, Given, Schedule, Stream, Sweep, own_share
from datamodules.shapes.frame import Frame
from datamodules.shapes.pools import Pools
from datamodules.shapes.shape import Sampling, Shape, lattice
from inr.distributed import rank, ranks
from inr.errors import InputError
from inr.randomness import StepRandomness

TUNED, SHELL, INTERPOLATED = 64, 0.1, 20000


class Probe(NamedTuple):
    """A look at the points that a validation knows, of one shape."""

    signal: int


class ShapeData(L.LightningDataModule):
    """Shapes in the cube [-1, 1]^3, fitted to signed distances at samples, scored on a lattice and by their surfaces.

    Subclasses give `shape_at`; collections also `parts` and `shown`.

    Options: `pool` samples of each shape are made once, a share `surface` of them on the surface, `near` near it by gaussian
    steps of `sigmas`, the rest anywhere in the cube; of evaluated shapes no more than `observed` are used, null: all. A step
    shows `points` of them, over all processes, of each of `batch_signals` shapes; null: all. Where the supervision has terms
    on space, `space_points` random points of the cube come along, null: as many as `points`. `resolution` is that of the
    lattice on which results are scored, `validation_points` how many points a validation looks at, of each of
    `validation_signals`; `test_signals` bounds what is evaluated; `chunk` points at a time.

    Units:  coordinates and distances in normalised lengths, positive outside.
    """

    encodable, encodes, shared_points = "points", False, False
    parts: Mapping[str, Sequence[int]] = {"train": [0], "tuning": [], "held_out": []}
    shown = "train"

    def __init__(
        self,
        pool: int = 200000,
        observed: int | None = None,
        surface: float = 0.2,
        near: float = 0.6,
        sigmas: Sequence[float] = (0.005, 0.05),
        points: int | None = 4096,
        space_points: int | None = None,
        batch_signals: int | None = 16,
        resolution: int = 64,
        validation_points: int = 16384,
        validation_signals: int | None = 8,
        test_signals: int | None = 64,
        chunk: int = 65536,
        seed: int = 0,
    ) -> None:
        super().__init__()
        counts = {
            "pool": pool,
            "observed": observed,
            "points": points,
            "space_points": space_points,
            "batch_signals": batch_signals,
            "validation_points": validation_points,
            "validation_signals": validation_signals,
            "test_signals": test_signals,
            "chunk": chunk,
        }
        for option, count in counts.items():
            if count is not None and count < 1:
                raise InputError(f"data.{option} must be at least 1, got {count}.")
        if resolution < 2:
            raise InputError(f"data.resolution counts points along each side of the lattice, at least 2, got {resolution}.")
        self.sampling = Sampling(surface, near, tuple(sigmas))
        self.sampling.check()
        self.pool, self.observed, self.points, self.space_points = pool, observed, points, space_points
        self.batch_signals, self.resolution, self.chunk, self.seed = batch_signals, resolution, chunk, seed
        self.validation_points, self.validation_signals = validation_points, validation_signals
        self.test_signals = test_signals
        self.shape, self.size = (resolution,) * 3, resolution**3
        self.quantities: Collection[str] = ("value", "jacobian")
        self.in_space = False  # whether the supervision has terms on the space around

    def shape_at(self, position: int) -> Shape:
        """The shape at a position."""
        raise NotImplementedError(f"{type(self).__name__} must have shapes: define shape_at(position).")

    @property
    def frame(self) -> dict[str, Any]:
        """Where the cube lies in the file's coordinates, as options of `inr.measurements.pointwise.Points`."""
        return Frame((0.0, 0.0, 0.0), 1.0).describe()

    @cached_property
    def units(self) -> Units:
        """What distances are measured in."""
        return Units(self.frame["scale"], 0.0, self.frame["scale"], "length of the file")

    @property
    def encoded_as(self) -> str:
        """What an encoder sees of a shape."""
        return f"as {self.evaluated.clouds.shape[1]} points of its surface"

    def describe(self) -> dict[str, Any]:
        """Plain numbers that the rest of the configuration follows from."""
        return {
            "in_features": 3,
            "out_features": 1,
            "shape": list(self.shape),
            "training_shape": list(self.shape),
            "signals": len(self.parts[self.shown]),
            "input_scale": 1.0,
            "result": "space",
            "cube": self.frame,
        }

    def setup(self, stage: str | None = None) -> None:
        """Choose the shapes; their samples are made when they are first asked for."""
        if hasattr(self, "displayed"):
            return
        held_out = self.parts["held_out"][: self.test_signals if self.shown == "train" else None]
        evaluates = self.shown == "held_out" or not held_out
        seen = self.pool if self.observed is None else min(self.observed, self.pool)
        self.displayed = self.pools(self.parts[self.shown], seen if evaluates else self.pool)
        self.evaluated = self.displayed if evaluates else self.pools(held_out, seen)
        self.tuned = self.pools(self.parts["tuning"][:TUNED], seen)
        size = self.displayed.size
        self.schedule = Schedule(len(self.displayed), 1, size, self.batch_signals, self.points, self.seed)

    def pools(self, positions: Sequence[int], count: int) -> Pools:
        """Samples of the shapes at some positions."""
        return Pools([self.shape_at(place) for place in positions], count, self.sampling, self.seed)

    @property
    def tuning_signals(self) -> int:
        """How many shapes solvers tune on."""
        return len(self.tuned)

    @property
    def holds_out(self) -> bool:
        """Whether the evaluated shapes are others than those of training."""
        return bool(self.parts["held_out"])

    @property
    def solid(self) -> bool:
        """Whether inside and outside of the evaluated shapes are known."""
        return all(shape.solid for shape in self.evaluated.shapes)

    @property
    def names(self) -> list[str]:
        """Names of the evaluated shapes."""
        return self.evaluated.names

    @property
    def train_names(self) -> list[str]:
        """Names of the shapes that training shows."""
        return self.displayed.names

    def normalise(self, samples: Tensor) -> Tensor:
        """From lengths of the file to normalised ones."""
        return samples / self.units.scale

    def restore(self, values: Tensor) -> Tensor:
        """From normalised lengths to those of the file."""
        return values * self.units.scale

    def scored(self, image: int) -> Scored:
        """What the reconstruction of a shape is compared with: all of the lattice, and its points near the surface."""
        if not self.solid:
            return Scored(self.names[image], torch.zeros(*self.shape, 1), {})
        truth = self.evaluated.truth(image, self.resolution)
        return Scored(self.names[image], self.restore(truth[..., None]), {"psnr": None, "psnr_shell": truth.abs() < SHELL})

    def meanings(self) -> dict[str, str]:
        """Which points of the lattice each PSNR looks at, in words."""
        everywhere = f"of distances on a lattice of {self.resolution}^3 points in the cube"
        return {"psnr": everywhere, "psnr_shell": f"{everywhere}, those nearer than {SHELL} half-widths to the surface"}

    def merge(self, values: Tensor) -> Tensor:
        """Shapes are not cut."""
        return values

    def references(self, methods: Mapping[str, Any]) -> dict[str, Callable[[], Tensor]]:
        """What interpolation makes of the same samples (shapes, *shape, 1)."""
        if not self.solid:
            return {}
        most, shape = INTERPOLATED, (-1, *self.shape, 1)
        return {"linear": lambda: self.evaluated.interpolated(self.resolution, most).reshape(shape)}

    def transfer_batch_to_device(self, batch: Draw | Probe, device: torch.device, dataloader_idx: int) -> Batch:
        """Turn a draw into a batch on the device: samples of the shown shapes while training, else of the evaluated ones."""
        trains = (self.trainer is None or self.trainer.training) and isinstance(batch, Draw)
        return self.training_batch(batch, device) if trains else self.evaluation_batch(batch, device)  # type: ignore[arg-type]

    def training_batch(self, drawn: Draw, device: torch.device) -> Batch:
        """Samples of the shown shapes, random points of space, or both, as terms read them; this process's share."""
        pools, parts = self.displayed, {}
        places = own_share(pools.size) if drawn.samples is None else drawn.samples
        if self.quantities:
            parts["data"] = pools.part(drawn.signals, places.to(device), self.quantities, device)
        if self.in_space:
            total = self.space_points or self.points or pools.size
            rows = StepRandomness(self.seed, drawn.step, total * rank() // ranks(), total * (rank() + 1) // ranks(), total)
            parts["space"] = Part(rows.uniform("space", 3, device)[None] * 2 - 1, {})
        return pools.batch(drawn.signals, parts, self.encodes)

    def evaluation_batch(self, drawn: Draw | Probe, device: torch.device) -> Batch:
        """Points of the lattice, or those that a validation knows."""
        if isinstance(drawn, Probe):
            points, signals = self.evaluated.probes(drawn.signal, self.validation_points)[0], torch.tensor([drawn.signal])
        else:
            signals = drawn.signals
            points = self.lattice if drawn.samples is None else self.lattice[drawn.samples]
        return self.evaluated.batch(signals, {"space": Part(points[None].to(device), {})}, self.encodes)

    @cached_property
    def lattice(self) -> Tensor:
        """The points of the lattice."""
        return lattice(self.resolution)

    def validated(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor, None]]:
        """What a validation saw (samples, 1), and the truth, shape by shape."""
        for signal in range(self.swept(self.validation_signals)):
            truth = self.evaluated.probes(signal, self.validation_points)[1]
            seen, values = values.tensor_split([len(truth)])
            yield seen, truth, None

    def train_dataloader(self) -> Stream:
        """Endless draws, from the trainer's global step on."""
        return Stream(self.draws)

    def draws(self) -> Iterator[Draw]:
        """One draw per step: the same shapes in every process, this process's slice of the samples."""
        step = self.trainer.global_step * self.trainer.accumulate_grad_batches if self.trainer else 0
        yield from self.schedule.draws(step, lambda signals: None)

    def swept(self, images: int | None) -> int:
        """How many shapes of so many there are."""
        return len(self.names[:images])

    def val_dataloader(self) -> Given:
        """The points that a validation knows of the first `validation_signals`."""
        return Given(Probe(signal) for signal in range(self.swept(self.validation_signals)))

    def test_dataloader(self) -> Sweep:
        """All points of the lattice, for all evaluated shapes."""
        return Sweep(len(self.evaluated), self.size, self.chunk)

    def passes(self, pools: Pools, signals: Tensor, device: torch.device) -> Iterator[Batch]:
        """All samples of some shapes, this process's share of them, at most `chunk` of all of them at a time."""
        for some in own_share(pools.size).split(max(1, self.chunk // max(1, len(signals)))):
            part = pools.part(signals, some.to(device), {*self.quantities, "value"}, device)
            yield pools.batch(signals, {"data": part}, self.encodes)

    def observation_batches(self, signals: Tensor, device: torch.device) -> Iterator[Batch]:
        """One pass over all that was observed of some evaluated shapes (signals,)."""
        return self.passes(self.evaluated, signals.cpu(), device)

    def tuning_batches(self, signals: Tensor, device: torch.device, corrupted: bool = True) -> Iterator[Batch]:
        """The same of some shapes to tune on; or points all over the cube, with what is known there."""
        if corrupted:
            yield from self.passes(self.tuned, signals, device)
            return
        points, distance = self.tuned.probes(int(signals[0]), self.validation_points)
        part = Part(points[None].to(device), {"value": distance[None].to(device)})
        yield self.tuned.batch(signals, {"space": part}, self.encodes)

    def training_batches(self, device: torch.device) -> Iterator[Batch]:
        """Samples of the first 64 shown shapes."""
        return self.passes(self.displayed, torch.arange(min(len(self.displayed), TUNED)), device)

    def constant_batches(self, device: torch.device) -> Iterator[Batch]:
        """All samples of the evaluated shapes, one shape at a time, where they are among those that are shown."""
        for signal in range(len(self.evaluated) if self.evaluated is self.displayed else 0):
            yield from self.passes(self.evaluated, torch.tensor([signal]), device)
