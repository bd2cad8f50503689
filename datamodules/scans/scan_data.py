"""Scanned slices: line integrals to fit, pixels of the slice to score."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import lightning as L
import torch
from torch import Tensor

from datamodules.common.batch import Batch, Scored, Units
from datamodules.common.draws import Draw, Given, Schedule, Stream, Sweep, own_share
from datamodules.scans.scanner import Scanner
from datamodules.scans.scans import Scans
from inr.distributed import rank, ranks
from inr.errors import InputError
from inr.randomness import StepRandomness, draw_indices, key
from inr.supervision.differences import check

LARGEST = 2**27  # signals x bins^2 x views that an iterative reference is made of
TUNED = 64


class CTData(L.LightningDataModule):
    """Slices seen through line integrals: trained on sinograms, scored on the slice and on views in between.

    Subclasses give `scanner`, `shape`, `units` and `scan`, collections also `parts` and `shown`. Sinograms stay on the device;
    a batch is a draw of rays, shared by its signals.

    Options: `filter` defines the derivative targets (see `inr.supervision.differences`).
    A step shows `points` rays, over all processes, of
    `batch_signals` signals; null: all. `slice_points` pixels of the slice come along where the supervision has terms on it.
    `validation_signals` and `test_signals` bound what is evaluated, null: all, `chunk` points of the field at a time.

    Units:  coordinates (bin, view), in the slice (row, column) in pixels.
    """

    factor, offset, border, shared_points = 1, 0, "one_sided", True
    encodable, encodes, encoded_as = "grids", False, "as the filtered back-projection of what was measured"
    parts: Mapping[str, Sequence[int]] = {"train": [0], "tuning": [], "held_out": []}
    shown = "train"

    def __init__(
        self,
        filter: str = "central",
        points: int | None = 96,
        batch_signals: int | None = 64,
        slice_points: int = 4096,
        validation_signals: int | None = 32,
        test_signals: int | None = 64,
        chunk: int = 65536,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check(filter, self.border)
        counts = {
            "points": points,
            "batch_signals": batch_signals,
            "slice_points": slice_points,
            "validation_signals": validation_signals,
            "test_signals": test_signals,
            "chunk": chunk,
        }
        for option, count in counts.items():
            if count is not None and count < 1:
                raise InputError(f"data.{option} must be at least 1, got {count}.")
        self.filter, self.seed, self.points, self.batch_signals = filter, seed, points, batch_signals
        self.slice_points, self.chunk = slice_points, chunk
        self.validation_signals, self.test_signals = validation_signals, test_signals
        self.quantities: Collection[str] = ("value", "jacobian")
        self.on_slice: Collection[str] = ()  # what the supervision reads of the slice itself

    @cached_property
    def scanner(self) -> Scanner:
        """The geometry of the scan."""
        raise NotImplementedError(f"{type(self).__name__} must say how it was scanned: define scanner.")

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the slice."""
        raise NotImplementedError(f"{type(self).__name__} must say how large a slice is: define shape.")

    @cached_property
    def units(self) -> Units:
        """What the numbers of the slice are."""
        raise NotImplementedError(f"{type(self).__name__} must say what its numbers are: define units.")

    @cached_property
    def largest(self) -> float:
        """The attenuation per length that the network fits as 1."""
        raise NotImplementedError(f"{type(self).__name__} must say how large its values are: define largest.")

    def scan(self, positions: Sequence[int]) -> Scans:
        """The signals at these positions, scanned."""
        raise NotImplementedError(f"{type(self).__name__} must say what was measured: define scan(positions).")

    @cached_property
    def window(self) -> tuple[float, float]:
        """What a picture shows as black and as white, in the numbers of the slice."""
        return self.units.offset, self.units.offset + self.units.peak

    def describe(self) -> dict[str, Any]:
        """Plain numbers that the rest of the configuration follows from."""
        if min(self.shape) < 2 or self.scanner.bins < 3:
            raise InputError(
                f"A scan needs three bins, and two pixels along each side of the slice, got {self.scanner.bins} and"
                f" {list(self.shape)}; use more data.bins, or a larger data.size."
            )
        return {
            "in_features": 2,
            "out_features": 1,
            "shape": list(self.shape),
            "training_shape": list(self.shape),
            "signals": len(self.parts[self.shown]),
            "input_scale": 1.0,
            "result": "result",
            "scanner": self.scanner.describe(),
        }

    def setup(self, stage: str | None = None) -> None:
        """Scan the signals that are shown and those that are evaluated."""
        if hasattr(self, "displayed"):
            return
        self.size, self.rays = math.prod(self.shape), self.scanner.bins * self.scanner.views
        held_out = self.parts["held_out"][: self.test_signals if self.shown == "train" else None]
        self.displayed = self.scan(self.parts[self.shown])
        self.evaluated = self.displayed if self.shown == "held_out" or not held_out else self.scan(held_out)
        self.schedule = Schedule(len(self.displayed), 1, self.rays, self.batch_signals, self.points, self.seed)

    @cached_property
    def tuned(self) -> Scans:
        """Training signals that are not shown, on which solvers choose their weights."""
        return self.scan(self.parts["tuning"][:TUNED])

    @property
    def tuning_signals(self) -> int:
        """How many signals solvers tune on."""
        return min(len(self.parts["tuning"]), TUNED)

    @property
    def holds_out(self) -> bool:
        """Whether the evaluated signals are others than those of training."""
        return bool(self.parts["held_out"])

    @property
    def names(self) -> list[str]:
        """Names of the evaluated signals."""
        return list(self.evaluated.names)

    @property
    def train_names(self) -> list[str]:
        """Names of the signals that training shows."""
        return list(self.displayed.names)

    @property
    def axes(self) -> list[int]:
        """Along which axes derivatives are worth comparing: by the view only where views are dense."""
        return [0, 1] if self.scanner.dense else [0]

    def normalise(self, samples: Tensor) -> Tensor:
        """From the slice's numbers to what the network fits."""
        return (samples.float() - self.units.offset) / self.units.scale

    def restore(self, values: Tensor) -> Tensor:
        """From what the network fits to the slice's numbers."""
        return values * self.units.scale + self.units.offset

    @cached_property
    def disc(self) -> Tensor:
        """Mask (rows, columns) of the circle that lines from all sides cross."""
        return self.scanner.disc(self.shape)

    def scored(self, image: int) -> Scored:
        """What the reconstruction of a signal is compared with: the slice, and the disc in it; nothing if it is unknown."""
        if self.evaluated.slices is None:
            return Scored(self.names[image], torch.zeros(*self.shape, 1), {})
        truth = self.restore(self.evaluated.slices[image][..., None])
        return Scored(self.names[image], truth, {"psnr": None, "psnr_disc": self.disc})

    def meanings(self) -> dict[str, str]:
        """Which pixels each PSNR looks at, in words."""
        return {"psnr": "of the whole slice", "psnr_disc": "of the disc that is seen from all sides"}

    def validated(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor, None]]:
        """What a validation saw (samples, 1), and the truth, signal by signal."""
        assert self.evaluated.slices is not None
        for seen, truth in zip(values.reshape(-1, self.size, 1), self.evaluated.slices, strict=False):
            yield seen, truth.reshape(-1, 1), None

    def merge(self, values: Tensor) -> Tensor:
        """Slices are not cut."""
        return values

    def references(self, methods: Mapping[str, Any]) -> dict[str, Callable[[], Tensor]]:
        """What classical methods make of the same sinograms (images, *shape, 1), in fitted numbers."""
        scans, scanner = self.evaluated, self.scanner
        rows: dict[str, Callable[[], Tensor]] = {
            "fbp": lambda: scans.back_projected(self.shape, "ramp"),
            "fbp hann": lambda: scans.back_projected(self.shape, "hann"),
        }
        if (scanner.source is None or scanner.closes) and len(scans) * scanner.bins**2 * scanner.views <= LARGEST:
            rows["sart"] = lambda: scanner.iterate(scans.sinograms, self.shape)[..., None]
        return rows

    def transfer_batch_to_device(self, batch: Draw, device: torch.device, dataloader_idx: int) -> Batch:
        """Turn a draw into a batch on the device: rays of the shown signals while training, else pixels of the evaluated."""
        trains = self.trainer is None or self.trainer.training
        return self.training_batch(batch, device) if trains else self.evaluation_batch(batch, device)

    def training_batch(self, drawn: Draw, device: torch.device) -> Batch:
        """Rays of the shown signals, pixels of their slices, or both, as terms read them; this process's share."""
        scans, signals, parts = self.displayed, drawn.signals, {}
        rays = own_share(self.rays) if drawn.samples is None else drawn.samples
        if self.quantities:
            total = self.rays if drawn.samples is None else self.schedule.points or self.rays
            own = StepRandomness(self.seed, drawn.step, total * rank() // ranks(), total * (rank() + 1) // ranks(), total)
            parts["data"] = scans.ray_part(signals, rays.to(device), self.quantities, self.filter, randomness=own)
        if self.on_slice:
            count = min(self.slice_points, self.size)
            pixels = draw_indices(drawn.step, count, self.size, key(self.seed, "slice"), rank(), ranks())
            known = () if scans is self.evaluated else self.on_slice  # what is evaluated is never shown
            parts["result"] = scans.slice_part(signals, pixels.to(device), self.shape, known, self.filter)
        return scans.batch(signals, parts, self.seen)

    @property
    def seen(self) -> tuple[int, int] | None:
        """The shape of what an encoder gets to see, None if there is none."""
        return self.shape if self.encodes else None

    def evaluation_batch(self, drawn: Draw, device: torch.device) -> Batch:
        """Pixels of the slices of evaluated signals."""
        pixels = torch.arange(self.size) if drawn.samples is None else drawn.samples
        part = self.evaluated.slice_part(drawn.signals, pixels.to(device), self.shape)
        return self.evaluated.batch(drawn.signals, {"result": part}, self.seen)

    def train_dataloader(self) -> Stream:
        """Endless draws, from the trainer's global step on."""
        return Stream(self.draws)

    def draws(self) -> Iterator[Draw]:
        """One draw per step: the same signals in every process, this process's slice of the rays."""
        step = self.trainer.global_step * self.trainer.accumulate_grad_batches if self.trainer else 0
        yield from self.schedule.draws(step, lambda signals: None)

    def swept(self, images: int | None) -> int:
        """How many of so many signals there are."""
        return len(self.names[:images])

    def val_dataloader(self) -> Sweep | Given:
        """All pixels of the first `validation_signals`."""
        return Sweep(self.swept(self.validation_signals), self.size, self.chunk)

    def test_dataloader(self) -> Sweep:
        """All pixels of all evaluated signals."""
        return Sweep(len(self.evaluated), self.size, self.chunk)

    def ray_batches(self, scans: Scans, signals: Tensor, rays: Tensor, device: torch.device) -> Iterator[Batch]:
        """Batches of some rays of some signals, as many at a time as `chunk` points of the field have room for."""
        for some in rays.split(max(1, self.chunk // self.scanner.samples)):
            part = scans.ray_part(signals, some.to(device), {*self.quantities, "value"}, self.filter)
            yield scans.batch(signals, {"data": part}, self.seen)

    def slice_batches(self, scans: Scans, signals: Tensor, pixels: Tensor, device: torch.device) -> Iterator[Batch]:
        """Batches of some pixels of some slices, with their values."""
        for some in pixels.split(max(1, self.chunk // len(signals))):
            part = scans.slice_part(signals, some.to(device), self.shape, ("value",))
            yield scans.batch(signals, {"result": part}, self.seen)

    def observation_batches(self, signals: Tensor, device: torch.device) -> Iterator[Batch]:
        """One pass over all that was measured of some evaluated signals (signals,), this process's share of it."""
        return self.ray_batches(self.evaluated, signals.cpu(), own_share(self.rays), device)

    def tuning_batches(self, signals: Tensor, device: torch.device, corrupted: bool = True) -> Iterator[Batch]:
        """The same of some of the signals to tune on, or their slices."""
        if corrupted:
            return self.ray_batches(self.tuned, signals, own_share(self.rays), device)
        return self.slice_batches(self.tuned, signals, own_share(self.size), device)

    def training_batches(self, device: torch.device) -> Iterator[Batch]:
        """The slices of the first 64 shown signals."""
        signals = torch.arange(min(len(self.displayed), TUNED))
        return self.slice_batches(self.displayed, signals, torch.arange(self.size), device)

    def constant_batches(self, device: torch.device) -> Iterator[Batch]:
        """All rays of the evaluated signals, one signal at a time, where they are among those that are shown."""
        for signal in range(len(self.evaluated) if self.evaluated is self.displayed else 0):
            yield from self.ray_batches(self.evaluated, torch.tensor([signal]), torch.arange(self.rays), device)
