"""Many signals on one grid: which are shown, what is observed of them, and batches as draws of signals and samples."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from datamodules.common.batch import Batch, Scored, Units
from datamodules.common.draws import Draw, Schedule, Stream, Sweep, Targets, own_share
from datamodules.common.splits import Split
from datamodules.grids.baselines import references
from datamodules.grids.corruptions import Corruption, Damage, corruptions_of
from datamodules.grids.patches import Patches
from datamodules.grids.store import Source, Stack
from inr.errors import InputError
from inr.supervision.differences import check

MASKS, TUNED, CPU = ("unknown", "known"), 64, torch.device("cpu")


class CollectionData(L.LightningDataModule):
    """Signals of one shape and kind, of which some train and others are held out, to be encoded later.

    Subclasses give `scan`: names, shape, and how one signal is read. Signals stay in the file's own number type; targets are
    computed for what is drawn.

    Options: `shown` says which signals training sees: train, or held_out to encode those; `choose` keeps the ones at these
    positions. `held_out`: the last ones by name, a fraction below 1 or a count, random ones with `shuffle`; or a text file of
    names, or a subfolder; null: the split that comes with the files. `tuning`, a fraction or a count, are the last of the
    training signals: not shown in training, solvers choose their weights on them; none where nothing is held out. `limit`
    bounds the signals before the split. `patch_size` cuts every signal into blocks that are signals of their own.
    `corruption` names some of `corruptions`, which held-out signals go through; `mask` says whether the altered samples are
    known, and then weigh nothing. `filter`, `border` and `aspect` are those of `GridData`. A step shows `points` samples,
    over all processes, of `batch_signals` signals; `validation_signals` and `test_signals` bound what is evaluated, `chunk`
    samples at a time; null: all. `memory` is how many MiB of the shown signals, and of the evaluated ones, may be kept
    decoded; larger ones are read for each step. `components` are the numbers of principal components in reference rows.
    """

    root, factor, encodable, encoded_as = Path(), 1, "grids", "as it is"  # no samples are left out between those shown
    shared_points = True

    def __init__(
        self,
        shown: str = "train",
        choose: Sequence[int] | None = None,
        held_out: float | int | str | None = 0.1,
        tuning: float | int = 0.1,
        shuffle: bool = False,
        limit: int | None = None,
        patch_size: int | Sequence[int] | None = None,
        corruption: str | Sequence[str] | None = None,
        corruptions: Mapping[str, Corruption] | None = None,
        mask: str = "unknown",
        filter: str = "central",
        border: str = "one_sided",
        aspect: str = "stretch",
        seed: int = 0,
        batch_signals: int | None = 64,
        points: int | None = 1024,
        validation_signals: int | None = 32,
        test_signals: int | None = 256,
        chunk: int = 65536,
        memory: int = 1024,
        components: Sequence[int] = (),
    ) -> None:
        super().__init__()
        check(filter, border)
        counts = {
            "batch_signals": batch_signals,
            "points": points,
            "validation_signals": validation_signals,
            "test_signals": test_signals,
            "chunk": chunk,
        }
        rules = {name: (value is None or value >= 1, "must be at least 1", value) for name, value in counts.items()} | {
            "mask": (mask in MASKS, f"must be one of {', '.join(MASKS)}", mask),
            "memory": (memory >= 0, "must not be negative", memory),
        }
        for option, (holds, rule, given) in rules.items():
            if not holds:
                raise InputError(f"data.{option} {rule}, got {given}.")
        self.split = Split(shown, choose, held_out, tuning, shuffle, limit, seed)
        self.shown, self.held_out, self.components = shown, held_out, components
        self.patch_size, self.mask, self.corruptions = patch_size, mask, corruptions_of(corruption, dict(corruptions or {}))
        self.filter, self.border, self.aspect, self.seed = filter, border, aspect, seed
        self.batch_signals, self.points, self.chunk, self.memory = batch_signals, points, chunk, memory
        self.validation_signals, self.test_signals = validation_signals, test_signals
        self.quantities: Collection[str] = ("value", "jacobian")
        self.encodes = False
        self.whole_batch: tuple[torch.device, Batch] | None = None

    def scan(self) -> Source:
        """What is known of the files from their names, their headers and the first of them."""
        raise NotImplementedError(f"{type(self).__name__} must say what it reads: define scan().")

    def input_scale(self, shape: tuple[int, ...]) -> float:
        """How far models should stretch [-1, 1] to reach the frequencies of this kind of signal."""
        return 1.0

    @cached_property
    def source(self) -> Source:
        """The files, scanned once."""
        source = self.scan()
        if min(source.shape) < 2:
            raise InputError(f"Signals need two samples or more along every axis, got {list(source.shape)}; use larger ones.")
        return source

    @cached_property
    def patches(self) -> Patches:
        """How signals are cut."""
        patches = Patches(self.source.shape, self.patch_size)
        if min(patches.shape) < 2:
            raise InputError(f"Patches need two samples or more along every axis, got data.patch_size={self.patch_size}.")
        return patches

    @cached_property
    def parts(self) -> dict[str, list[int]]:
        """Positions of the training, tuning and held-out images; of the shown ones those that `choose` keeps."""
        return self.split.parts(self.source.names, self.source.held_out, self.root)

    def describe(self) -> dict[str, Any]:
        """Plain numbers that the rest of the configuration follows from."""
        shape = self.patches.shape
        return {
            "in_features": len(shape),
            "out_features": self.source.channels,
            "shape": list(shape),
            "training_shape": list(shape),
            "signals": len(self.parts[self.shown]) * self.patches.count,
            "input_scale": self.input_scale(shape),
            "result": "data",
        }

    @cached_property
    def units(self) -> Units:
        """What the numbers of all signals are."""
        return self.source.units()

    def setup(self, stage: str | None = None) -> None:
        """Choose the signals; they are read when they are first asked for."""
        if hasattr(self, "trained"):
            return
        self.shape, self.size = self.patches.shape, math.prod(self.patches.shape)
        self.targets = Targets(self.shape, self.units, self.filter, self.border)
        damage = Damage(self.corruptions, self.units, self.mask == "known", self.seed) if self.corruptions else None
        train, tuning, held_out = self.parts["train"], self.parts["tuning"][:TUNED], self.parts["held_out"]
        tested = self.test_signals if self.shown == "train" else None

        def stack(positions: Sequence[int], damage: Damage | None = None) -> Stack:
            return Stack(self.source, positions, self.patches, damage, self.memory * 2**20)

        self.trained, self.tuned, self.tuned_truth = stack(train), stack(tuning, damage), stack(tuning)
        self.encoded = stack(held_out[:tested], damage) if held_out else stack(train[:tested])
        self.displayed = self.trained if self.shown == "train" else self.encoded
        images, patches = len(self.displayed.positions), self.patches.count
        self.schedule = Schedule(images, patches, self.size, self.batch_signals, self.points, self.seed)

    @property
    def holds_out(self) -> bool:
        """Whether the evaluated signals are others than those of training."""
        return bool(self.parts["held_out"])

    @property
    def names(self) -> list[str]:
        """Names of the evaluated images, before they are cut."""
        return self.encoded.images

    @property
    def train_names(self) -> list[str]:
        """Names of the signals that training shows."""
        return self.displayed.names

    @property
    def evaluated(self) -> int:
        """How many signals are evaluated."""
        return len(self.encoded)

    def normalise(self, samples: Tensor) -> Tensor:
        """From file units to what the network fits."""
        return self.targets.normalise(samples)

    def restore(self, values: Tensor) -> Tensor:
        """From what the network fits to file units."""
        return values * self.units.scale + self.units.offset

    def scored(self, image: int) -> Scored:
        """What the reconstruction of an evaluated image is compared with: everywhere, and in and outside the altered region."""
        return self.encoded.scored(image)

    def meanings(self) -> dict[str, str]:
        """Which samples each PSNR looks at, in words."""
        known = (
            "the network knows which" if self.mask == "known" else "unless they are missing, the network does not know which"
        )
        altered = f"that {' and '.join(type(corruption).__name__ for corruption in self.corruptions)} altered ({known})"
        return {"psnr": "of all samples", "psnr_altered": f"of the samples {altered}", "psnr_intact": "of the other samples"}

    def validated(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor, None]]:
        """What a validation saw of each image (*whole, channels), and the truth in fitted numbers."""
        for image, seen in enumerate(self.merge(values.reshape(-1, *self.shape, values.shape[-1]))):
            yield seen, self.normalise(self.encoded.original(image)), None

    def references(self, methods: Mapping[str, Any]) -> dict[str, Callable[[], Tensor]]:
        """What mean, principal components and inpainting make of the same observations (images, *whole, channels)."""
        rows = self.encoded.rows(torch.arange(self.swept(self.test_signals)), CPU)
        learned = Stack(self.source, self.parts["train"] + self.parts["tuning"], self.patches)

        def training(most: int) -> Tensor:
            return self.normalise(learned.spread(most).values)

        observed, corrupted = self.normalise(rows.values), self.encoded.damage is not None
        return references(training, observed, rows.missing, corrupted, self.components, self.merge)

    def merge(self, values: Tensor) -> Tensor:
        """The images (images, *whole, channels) that consecutive signals (signals, *shape, channels) make up."""
        return self.patches.merge(values)

    def observation_batches(self, signals: Tensor, device: torch.device) -> Iterator[Batch]:
        """One pass over all samples of some evaluated signals (signals,), this process's slice of it."""
        return self.whole_pass(self.encoded, signals, device)

    def tuning_batches(self, signals: Tensor, device: torch.device, corrupted: bool = True) -> Iterator[Batch]:
        """The same of some of the signals to tune on, at most 64 spread evenly: as they are observed, or as they are."""
        stack = self.tuned if corrupted else self.tuned_truth
        return self.whole_pass(stack, signals * len(stack) // self.tuning_signals, device)

    @property
    def tuning_signals(self) -> int:
        """How many signals solvers tune on."""
        return min(len(self.tuned), TUNED)

    def training_batches(self, device: torch.device) -> Iterator[Batch]:
        """All of the first training signals, at most those of 64 images, as they are."""
        return self.whole_pass(
            self.trained, torch.arange(len(self.trained))[: TUNED * self.patches.count], device, shared=False
        )

    def whole_pass(self, stack: Stack, signals: Tensor, device: torch.device, shared: bool = True) -> Iterator[Batch]:
        """All samples of some signals, `shared` by the processes or not, at most `chunk` of all of them at a time."""
        rows = stack.rows(signals.cpu(), device)
        samples = own_share(self.size) if shared else torch.arange(self.size)
        for some in samples.split(max(1, self.chunk // max(1, len(signals)))):
            yield self.targets.batch(rows, signals, some, self.quantities, self.encodes)

    def transfer_batch_to_device(self, batch: Draw, device: torch.device, dataloader_idx: int) -> Batch:
        """Turn a draw into a batch on the device: of the shown signals while training, else of the evaluated ones."""
        trains = self.trainer is None or self.trainer.training
        return self.training_batch(batch, device) if trains else self.evaluation_batch(batch, device)

    def evaluation_batch(self, drawn: Draw, device: torch.device) -> Batch:
        """Values of evaluated signals."""
        samples = torch.arange(self.size) if drawn.samples is None else drawn.samples
        return self.targets.batch(self.encoded.rows(drawn.signals, device), drawn.signals, samples, ("value",), self.encodes)

    def training_batch(self, drawn: Draw, device: torch.device) -> Batch:
        """The batch of a training step; that of all samples of all signals is built once."""
        everything = drawn.samples is None and len(drawn.signals) == len(self.displayed)
        if everything and self.whole_batch is not None and self.whole_batch[0] == device:
            return self.whole_batch[1]
        samples = own_share(self.size) if drawn.samples is None else drawn.samples
        rows = self.displayed.rows(drawn.signals, device)
        batch = self.targets.batch(rows, drawn.signals, samples, self.quantities, self.encodes)
        self.whole_batch = (device, batch) if everything else None
        return batch

    def train_dataloader(self) -> Stream:
        """Endless draws, from the trainer's global step on."""
        return Stream(self.draws)

    def draws(self) -> Iterator[Draw]:
        """One draw per step: the same signals in every process, this process's slice of the samples."""
        step = self.trainer.global_step * self.trainer.accumulate_grad_batches if self.trainer else 0
        yield from self.schedule.draws(step, self.displayed.prefetch)

    def signals_at(self, step: int) -> Tensor:
        """The signals that a step shows: all patches of some images."""
        return self.schedule.signals(step)

    def swept(self, images: int | None) -> int:
        """How many signals the first evaluated images have."""
        return len(self.names[:images]) * self.patches.count

    def val_dataloader(self) -> Sweep:
        """All samples of the first `validation_signals` images."""
        return Sweep(self.swept(self.validation_signals), self.size, self.chunk)

    def test_dataloader(self) -> Sweep:
        """All samples of the first `test_signals` images."""
        return Sweep(self.swept(self.test_signals), self.size, self.chunk)

    def constant_batches(self, device: torch.device) -> Iterator[Batch]:
        """All of the evaluated signals, one at a time, where they are among those that are shown; else nothing."""
        for signal in range(len(self.encoded) if self.shown == "held_out" or not self.holds_out else 0):
            yield from self.whole_pass(self.encoded, torch.tensor([signal]), device, shared=False)
