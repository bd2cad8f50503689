"""Signals sampled on a regular grid: which samples train, their targets, and batches as index draws."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from datamodules.common.batch import Batch, Part, Scored, Units
from datamodules.common.draws import Chunks, Stream
from datamodules.common.files import refuse_infinite
from inr.baselines.interpolation import Interpolation, hermite, interpolate
from inr.distributed import rank, ranks
from inr.errors import InputError
from inr.field import Signals
from inr.randomness import draw, key, permute
from inr.supervision.differences import check, footprint, jacobian_at

TRAIN_SAMPLES = ("grid", "stencil", "all", "random")


class GridData(L.LightningDataModule):
    """One signal on a grid, of which some samples are shown to the network.

    Subclasses give `header` (shape and channels, without reading the data) and `read` (samples and units). The samples
    stay on the device in the file's own number type; targets are computed for the drawn samples alone.

    Options: `factor` and `offset` choose every factor-th sample along each axis, from the offset on. `train_pixels`:
    `grid` trains on these; `stencil` on all that their derivative filters read; `random` on as many, drawn anywhere;
    `all` on every sample; `limit` keeps some of them, drawn at random. `filter` and `border` define the derivative
    targets (see `inr.supervision.differences`).
    `points` is the size of a batch over all processes, null: all training samples at once.
    `validation_points` bounds the samples that a validation looks at, null: all; the final test always looks at all,
    `chunk` at a time. `aspect` is read by the measurement: stretch maps every axis to [-1, 1], keep scales all alike.
    """

    def __init__(
        self,
        factor: int | None = None,
        offset: int = 0,
        train_pixels: str = "grid",
        limit: int | None = None,
        filter: str = "central",
        border: str = "one_sided",
        points: int | None = None,
        validation_points: int | None = 65536,
        chunk: int = 65536,
        aspect: str = "stretch",
        seed: int = 0,
    ) -> None:
        super().__init__()
        check(filter, border)
        factor = self.default_factor() if factor is None else factor
        rules = {
            "factor": (factor >= 1, "must be at least 1", factor),
            "offset": (0 <= offset < factor, f"must be between 0 and factor - 1 = {factor - 1}", offset),
            "limit": (limit is None or limit >= 1, "must be at least 1, or null for no limit", limit),
            "points": (points is None or points >= 1, "must be at least 1, or null for all samples", points),
            "validation_points": (validation_points is None or validation_points >= 1, "must be 1 or more", validation_points),
            "chunk": (chunk >= 1, "must be at least 1", chunk),
            "train_pixels": (train_pixels in TRAIN_SAMPLES, f"must be one of {', '.join(TRAIN_SAMPLES)}", train_pixels),
        }
        for option, (holds, rule, value) in rules.items():
            if not holds:
                raise InputError(f"data.{option} {rule}, got {value}.")
        self.factor, self.offset, self.train_pixels, self.filter, self.border = factor, offset, train_pixels, filter, border
        self.points, self.validation_points, self.chunk, self.aspect, self.seed = points, validation_points, chunk, aspect, seed
        self.quantities: Collection[str] = ("value", "jacobian")
        self.limit = limit
        self.device_grid: tuple[torch.device, Tensor] | None = None
        self.whole_batch: tuple[torch.device, Batch] | None = None

    def default_factor(self) -> int:
        """Which samples to train on if the user does not say."""
        return 1

    @property
    def names(self) -> list[str]:
        """The name of the one signal."""
        return ["signal"]

    def header(self) -> tuple[tuple[int, ...], int]:
        """Shape of the grid and number of channels, from the file's header."""
        raise NotImplementedError(f"{type(self).__name__} must say how large its data are: define header().")

    def read(self) -> tuple[Tensor, Units]:
        """The samples (*shape, channels) in file units, and what the units are."""
        raise NotImplementedError(f"{type(self).__name__} must read its data: define read().")

    def describe(self) -> dict[str, Any]:
        """Plain numbers that the rest of the configuration follows from."""
        shape, channels = self.header()
        coarse = [-(-(size - self.offset) // self.factor) for size in shape]
        if min(coarse) < 2:
            raise InputError(
                f"Every axis needs at least two training samples, but factor={self.factor} with offset={self.offset} leaves"
                f" {coarse} of {list(shape)}; use a smaller data.factor, or larger data."
            )
        return {
            "in_features": len(shape),
            "out_features": channels,
            "shape": list(shape),
            "training_shape": coarse if self.train_pixels in ("grid", "random") else list(shape),
            "signals": 1,
            "input_scale": self.input_scale(shape),
            "result": "data",
        }

    def input_scale(self, shape: tuple[int, ...]) -> float:
        """How far models should stretch [-1, 1] to reach the frequencies of this kind of signal."""
        return 1.0

    def setup(self, stage: str | None = None) -> None:
        """Read the data once and choose the training samples."""
        if hasattr(self, "samples"):
            return
        self.samples, self.units = self.read()
        refuse_infinite(self.samples.numpy())
        self.shape = tuple(self.samples.shape[:-1])
        self.size = math.prod(self.shape)
        self.train_samples = self.choose()
        if self.limit is not None and self.limit < len(self.train_samples):
            some = permute(torch.arange(self.limit), len(self.train_samples), key(self.seed, "limit"))
            self.train_samples = self.train_samples[some.sort().values]

    @cached_property
    def coarse(self) -> Tensor:
        """Indices by axis (points, axes) of every factor-th sample."""
        axes = [torch.arange(self.offset, size, self.factor) for size in self.shape]
        return torch.cartesian_prod(*axes).reshape(-1, len(self.shape))

    def choose(self) -> Tensor:
        """Flat indices of the training samples."""
        if self.train_pixels == "all" or self.factor == 1:
            return torch.arange(self.size)
        if self.train_pixels == "random":
            positions = torch.arange(len(self.coarse))
            return permute(positions, self.size, key(self.seed, "train_pixels")).sort().values
        if self.train_pixels == "stencil":
            return self.read_by_stencils().flatten().nonzero().flatten()
        return self.flatten(self.coarse)

    def flatten(self, indices: Tensor) -> Tensor:
        """Flat indices from indices by axis (points, axes)."""
        flat = indices[:, 0]
        for axis in range(1, len(self.shape)):
            flat = flat * self.shape[axis] + indices[:, axis]
        return flat

    def read_by_stencils(self) -> Tensor:
        """Mask of the grid: the samples that values or derivative filters on the factor grid read."""
        return footprint(self.shape, self.coarse, self.filter, self.border)

    def unseen(self) -> Tensor:
        """Mask of the grid: the samples outside the factor grid, the same for every arm; all of them at factor 1."""
        mask = torch.ones(self.shape, dtype=torch.bool)
        if self.factor > 1:
            mask[tuple(self.coarse.T)] = False
        return mask

    def unread(self) -> Tensor:
        """Mask of the grid: the samples that neither values nor filters on the factor grid read; all of them at factor 1."""
        return ~self.read_by_stencils() if self.factor > 1 else torch.ones(self.shape, dtype=torch.bool)

    def scored(self, image: int) -> Scored:
        """What the reconstruction is compared with: the samples outside the factor grid, those not even read, those shown."""
        trained = torch.zeros(self.size, dtype=torch.bool)
        trained[self.train_samples] = True
        masks = {"psnr": self.unseen(), "psnr_unread": self.unread(), "psnr_train": trained.reshape(self.shape)}
        return Scored(self.names[image], self.samples, dict(masks))

    def meanings(self) -> dict[str, str]:
        """Which samples each PSNR looks at, in words."""
        if self.factor == 1:
            everywhere = f"of all samples (factor 1), {len(self.train_samples)} of {self.size} of which were trained on"
            return {"psnr": everywhere, "psnr_unread": everywhere, "psnr_train": "of the training samples"}
        outside = f"of the samples outside the grid of factor {self.factor} and offset {self.offset}"
        shared = int(self.unseen().flatten()[self.train_samples].sum())
        note = f" ({shared} of {int(self.unseen().sum())} were trained on)" if shared else ""
        unread = f"of the samples that neither values nor {self.filter} filters on that grid read"
        return {"psnr": outside + note, "psnr_unread": unread, "psnr_train": "of the training samples"}

    def validated(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """What a validation saw (samples, channels), the truth in fitted numbers, and which of the samples count."""
        flat = self.validation_samples()
        yield values, self.normalise(self.samples.flatten(0, -2)[flat]), self.unseen().flatten()[flat]

    def merge(self, values: Tensor) -> Tensor:
        """One signal is not cut."""
        return values

    def references(self, methods: Mapping[str, Interpolation]) -> dict[str, Callable[[], Tensor]]:
        """Interpolations (1, *shape, channels) of the factor grid by name; none at factor 1, nothing is missing."""
        if self.factor == 1:
            return {}
        coarse_shape = [len(range(self.offset, size, self.factor)) for size in self.shape]
        samples = self.normalise(self.samples[tuple(self.coarse.T)]).reshape(*coarse_shape, -1).double().numpy()
        slopes = self.target_jacobian(self.coarse).reshape(*samples.shape, len(self.shape)).double().numpy()
        where = self.shape, self.factor, self.offset

        def by_channel(reconstruct: Callable[[slice], np.ndarray]) -> Callable[[], Tensor]:
            channels = range(samples.shape[-1])
            return lambda: torch.cat([torch.from_numpy(reconstruct(slice(c, c + 1))).float() for c in channels], -1)[None]

        def by(along: Interpolation) -> Callable[[], Tensor]:
            return by_channel(lambda c: interpolate(samples[..., c], *where, along))

        rows = {name: by(along) for name, along in methods.items()}
        return rows | {"hermite": by_channel(lambda c: hermite(samples[..., c], slopes[..., c, :], *where))}

    def normalise(self, samples: Tensor) -> Tensor:
        """From file units to what the network fits."""
        return (samples.float() - self.units.offset) / self.units.scale

    def restore(self, values: Tensor) -> Tensor:
        """From what the network fits to file units."""
        return values * self.units.scale + self.units.offset

    def target_jacobian(self, indices: Tensor, grid: Tensor | None = None) -> Tensor:
        """Derivatives (points, channels, axes) of fitted numbers by the sample index, at indices (points, axes)."""
        return jacobian_at(self.samples if grid is None else grid, indices, self.filter, self.border) / self.units.scale

    def batch_at(self, flat: Tensor, quantities: Collection[str] | None = None) -> Batch:
        """The batch of these samples, with targets of the quantities (those trained on), on the device of the indices."""
        if self.device_grid is None or self.device_grid[0] != flat.device:
            self.device_grid = flat.device, self.samples.to(flat.device)
        grid = self.device_grid[1]
        indices = torch.stack(torch.unravel_index(flat, self.shape), -1)
        value = self.normalise(grid[tuple(indices.T)])
        targets = {"value": value[None]}
        if "jacobian" in (self.quantities if quantities is None else quantities):
            targets["jacobian"] = self.target_jacobian(indices, grid)[None]
        return Batch(Signals(flat.new_zeros(1)), {"data": Part(indices.float()[None], targets)})

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Batch:
        """Turn indices, or None for the whole training set, into a batch on the device."""
        if batch is not None:
            trains = self.trainer is None or self.trainer.training
            return self.batch_at(batch.to(device, non_blocking=True), None if trains else ("value",))
        if self.whole_batch is None or self.whole_batch[0] != device:
            samples = self.train_samples
            share = slice(len(samples) * rank() // ranks(), len(samples) * (rank() + 1) // ranks())
            self.whole_batch = device, self.batch_at(samples[share].to(device))
        return self.whole_batch[1]

    def train_dataloader(self) -> Stream:
        """Endless index draws, from the trainer's global step on; None stands for all training samples."""
        return Stream(self.draws)

    def draws(self) -> Iterator[Tensor | None]:
        """One index draw per step, this process's slice of it."""
        samples = self.train_samples
        step = self.trainer.global_step * self.trainer.accumulate_grad_batches if self.trainer else 0
        while True:
            if self.points is None or self.points >= len(samples):
                yield None
            else:
                yield samples[draw(step, self.points, len(samples), self.seed, rank(), ranks())]
            step += 1

    def validation_samples(self) -> Tensor:
        """Flat indices of the samples that a validation looks at, the same ones every time."""
        if self.validation_points is None or self.validation_points >= self.size:
            return torch.arange(self.size)
        return permute(torch.arange(self.validation_points), self.size, key(self.seed, "validation")).sort().values

    def val_dataloader(self) -> Chunks:
        """Chunks of the validation samples."""
        return Chunks(self.validation_samples(), self.chunk)

    def test_dataloader(self) -> Chunks:
        """Chunks of all samples, in order."""
        return Chunks(torch.arange(self.size), self.chunk)

    def constant_batches(self, device: torch.device) -> Iterator[Batch]:
        """At most `chunk` training samples, spread evenly, that a constant can be estimated from."""
        count = min(self.chunk, len(self.train_samples))
        yield self.batch_at(self.train_samples[torch.arange(count) * len(self.train_samples) // count].to(device))
