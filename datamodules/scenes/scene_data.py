"""Photographs of a scene: which pixels train, their targets, and batches as draws of rays."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import lightning as L
import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from datamodules.common.batch import Batch, Part, Scored, Units
from datamodules.common.draws import Given, Stream
from datamodules.scenes.capture import Capture, shrink
from datamodules.scenes.photographs import Photographs, RayDraw, read_photographs
from inr.distributed import rank, ranks
from inr.errors import InputError
from inr.field import Signals
from inr.randomness import StepRandomness, draw_indices, key, permute
from inr.supervision.differences import check, jacobian_at

PEAK = 255.0


class SceneData(L.LightningDataModule):
    """Photographs of one scene with known cameras.

    Subclasses give `capture`. Photographs stay on the device in bytes; rays and targets are made for the drawn pixels alone.

    Options: `factor` trains on every factor-th row and column of the training views. `filter` and `border` define the
    derivative targets (see `inr.supervision.differences`).
    `directions` gives the network the direction of view beside the position. `parts`
    are the names under which a batch holds its rays: supervision and measurements may name more than `data`. `points` is
    the number of rays of a step over all processes. A validation looks at `validation_points` pixels of the test views,
    null: all; the test at the first `test_views`, null: all, as means over squares of `test_factor` pixels. `chunk` rays
    are rendered at a time. `pixel_centre` says where in its pixel a ray passes, 0.5 in the middle.

    Units:  coordinates (row, column) in pixels; values 0..255 in the files.
    """

    factor, offset = 1, 0

    def __init__(
        self,
        factor: int = 1,
        filter: str = "central",
        border: str = "one_sided",
        directions: bool = False,
        parts: Sequence[str] = ("data",),
        points: int = 1024,
        validation_points: int | None = 4096,
        test_views: int | None = None,
        test_factor: int = 1,
        chunk: int = 2048,
        pixel_centre: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check(filter, border)
        counts = {"factor": factor, "points": points, "test_factor": test_factor, "chunk": chunk}
        counts |= {
            name: n for name, n in {"validation_points": validation_points, "test_views": test_views}.items() if n is not None
        }
        for option, count in counts.items():
            if count < 1:
                raise InputError(f"data.{option} must be at least 1, got {count}.")
        if "data" not in parts:
            raise InputError(f"data.parts must name the part data, which is evaluated, got {list(parts)}.")
        self.factor, self.filter, self.border, self.directions = factor, filter, border, directions
        self.parts, self.points, self.chunk, self.seed = list(parts), points, chunk, seed
        self.validation_points, self.test_views, self.test_factor = validation_points, test_views, test_factor
        self.pixel_centre = pixel_centre
        self.quantities: Collection[str] = ("value", "jacobian")
        self.on_device: dict[tuple[int, torch.device], Photographs] = {}
        self.units = Units(PEAK, 0.0, PEAK, "8-bit value (0..255)", "uint8")

    def capture(self) -> Capture:
        """The photographs and their cameras, read as far as their headers."""
        raise NotImplementedError(f"{type(self).__name__} must say what was photographed: define capture().")

    @cached_property
    def captures(self) -> list[Capture]:
        """The one scene."""
        return [self.capture()]

    def describe(self) -> dict[str, Any]:
        """Plain numbers that the rest of the configuration follows from."""
        first, size = self.captures[0], list(self.captures[0].size)
        coarse = [-(-side // self.factor) for side in size]
        if min(size) < self.test_factor:
            raise InputError(
                f"A tested view needs a pixel or more, but test_factor={self.test_factor} leaves none of {size}; use a smaller"
                " data.test_factor."
            )
        if min(coarse) < 2:
            raise InputError(
                f"Photographs need two training pixels or more along each side, but factor={self.factor} leaves {coarse} of"
                f" {size}; use a smaller data.factor."
            )
        camera = {"near": first.near, "far": first.far, "box": first.box, "background": list(first.background)}
        return {
            "in_features": 3,
            "out_features": 4,
            "shape": [side // self.test_factor for side in size],
            "training_shape": coarse,
            "signals": len(self.captures),
            "input_scale": 1.0,
            "result": "data",
            "camera": camera | {"ndc": None if first.ndc is None else list(first.ndc)},
        }

    def setup(self, stage: str | None = None) -> None:
        """Know the sizes; photographs are read when they are first asked for."""
        rows, columns = self.captures[0].size
        self.shape = (rows // self.test_factor, columns // self.test_factor)
        self.size = math.prod(self.shape)
        self.coarse = (-(-rows // self.factor), -(-columns // self.factor))

    @cached_property
    def photographs(self) -> list[Photographs]:
        """All photographs of all scenes."""
        return [read_photographs(capture) for capture in self.captures]

    def on(self, device: torch.device, signal: int) -> Photographs:
        """The photographs of a scene on a device."""
        if (signal, device) not in self.on_device:
            self.on_device[signal, device] = Photographs(*(tensor.to(device) for tensor in self.photographs[signal]))
        return self.on_device[signal, device]

    @cached_property
    def tested(self) -> list[tuple[int, int]]:
        """The pictures that a test compares, (scene, view) each."""
        return [(scene, view) for scene, capture in enumerate(self.captures) for view in capture.test[: self.test_views]]

    @property
    def names(self) -> list[str]:
        """Names of the test views."""
        return [self.view_name(scene, view) for scene, view in self.tested]

    def view_name(self, scene: int, view: int) -> str:
        """The name of a photograph."""
        return self.captures[scene].names[view]

    def normalise(self, samples: Tensor) -> Tensor:
        """From bytes to what the network fits, 0..1."""
        return samples.float() / PEAK

    def restore(self, values: Tensor) -> Tensor:
        """From 0..1 to 0..255."""
        return values * PEAK

    def scored(self, image: int) -> Scored:
        """What a rendered test view is compared with."""
        return Scored(self.names[image], self.shrunk(*self.tested[image]), {"psnr": None})

    def shrunk(self, scene: int, view: int) -> UInt8[Tensor, "rows columns 3"]:
        """A photograph as the test compares it."""
        return torch.from_numpy(shrink(self.photographs[scene].pixels[view].numpy(), self.test_factor))

    def meanings(self) -> dict[str, str]:
        """What is compared, in words."""
        some = f"means over {self.test_factor} x {self.test_factor} pixels" if self.test_factor > 1 else "all pixels"
        return {"psnr": f"of {some} of a view that was not trained on, red, green and blue clipped to 0..1"}

    def merge(self, values: Tensor) -> Tensor:
        """Pictures are not cut."""
        return values

    def references(self, methods: Mapping[str, Any]) -> dict[str, Callable[[], Tensor]]:
        """What one gets without any model of the scene (images, *shape, 3): the mean colour, the photograph from nearest by."""
        return {
            "mean colour": lambda: torch.stack([self.mean_colour(scene).expand(*self.shape, 3) for scene, _ in self.tested]),
            "nearest view": lambda: torch.stack([self.nearest(scene, view) for scene, view in self.tested]),
        }

    def mean_colour(self, scene: int) -> Tensor:
        """The mean colour of the training views."""
        pixels = self.photographs[scene].pixels
        sums = [pixels[view].sum((0, 1), dtype=torch.float64) for view in self.captures[scene].train]
        return (torch.stack(sums).mean(0) / math.prod(pixels.shape[1:3]) / PEAK).float()

    def nearest(self, scene: int, view: int) -> Tensor:
        """The training photograph whose camera was closest."""
        capture, where = self.captures[scene], self.captures[scene].poses[:, :, 3]
        closest = min(capture.train, key=lambda other: float(np.linalg.norm(where[other] - where[view])))
        return self.normalise(self.shrunk(scene, closest))

    def batch_at(self, drawn: RayDraw, device: torch.device, quantities: Collection[str]) -> Batch:
        """The rays of the drawn pixels, with targets of the quantities, on the device."""
        pixels, views = drawn.pixels.to(device, non_blocking=True), drawn.views.to(device, non_blocking=True)
        shown = [self.on(device, signal) for signal in drawn.signals.tolist()]
        context: dict[str, Any] = {
            "poses": torch.stack([scene.poses[view] for scene, view in zip(shown, views, strict=True)]),
            "intrinsics": torch.stack([scene.intrinsics[view] for scene, view in zip(shown, views, strict=True)]),
        }
        if drawn.step is not None:
            first, last = (self.points * place // ranks() for place in (rank(), rank() + 1))
            context["randomness"] = StepRandomness(self.seed, drawn.step, first, last, self.points)
        each, targets = list(zip(shown, views, pixels.long(), strict=True)), {}
        if quantities:
            targets["value"] = torch.stack([self.normalise(scene.pixels[view, *at.T]) for scene, view, at in each])
        if "jacobian" in quantities:
            slopes = [jacobian_at(scene.pixels, at, self.filter, self.border, view) for scene, view, at in each]
            targets["jacobian"] = torch.stack(slopes) / PEAK
        part = Part(pixels.float(), targets, context=context)
        return Batch(Signals(drawn.signals.to(device)), dict.fromkeys(self.parts, part))

    def transfer_batch_to_device(self, batch: RayDraw, device: torch.device, dataloader_idx: int) -> Batch:
        """Turn a draw into a batch on the device."""
        return self.batch_at(batch, device, self.quantities) if batch.step is not None else self.evaluation_batch(batch, device)

    def evaluation_batch(self, drawn: RayDraw, device: torch.device) -> Batch:
        """The rays of the one part that is evaluated."""
        batch = self.batch_at(drawn, device, ())
        return Batch(batch.signals, {"data": batch.parts["data"]})

    def train_dataloader(self) -> Stream:
        """Endless draws of rays, from the trainer's global step on."""
        return Stream(self.draws)

    def draws(self) -> Iterator[RayDraw]:
        """One draw per step, this process's slice of it."""
        step = self.trainer.global_step * self.trainer.accumulate_grad_batches if self.trainer else 0
        while True:
            yield self.draw(step)
            step += 1

    def signals_at(self, step: int) -> Tensor:
        """The scenes that a step shows."""
        return torch.arange(len(self.captures))

    def draw(self, step: int) -> RayDraw:
        """The rays of a step."""
        signals = self.signals_at(step)
        drawn = [self.training_pixels(signal, step) for signal in signals.tolist()]
        return RayDraw(signals, torch.stack([views for views, _ in drawn]), torch.stack([pixels for _, pixels in drawn]), step)

    def training_pixels(self, signal: int, step: int) -> tuple[Int[Tensor, " points"], Int[Tensor, "points 2"]]:
        """Views and pixels of a scene that a step shows, this process's slice of them."""
        total = len(self.captures[signal].train) * math.prod(self.coarse)
        return self.locate(signal, draw_indices(step, self.points, total, key(self.seed, signal), rank(), ranks()))

    def locate(self, signal: int, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Views and pixels of positions among the training pixels of a scene."""
        place, rest = positions // math.prod(self.coarse), positions % math.prod(self.coarse)
        pixels = self.factor * torch.stack([rest // self.coarse[1], rest % self.coarse[1]], -1)
        return torch.tensor(self.captures[signal].train)[place], pixels

    def pixels_of(self, picture: int, samples: Tensor) -> RayDraw:
        """Some samples, of all in order, of a test picture: the centres of squares of `test_factor` pixels."""
        scene, view = self.tested[picture]
        squares = torch.stack([samples // self.shape[1], samples % self.shape[1]], -1)
        pixels = self.test_factor * (squares + self.pixel_centre) - self.pixel_centre
        return RayDraw(torch.tensor([scene]), torch.full_like(samples, view)[None], pixels[None])

    def validation_samples(self) -> list[Tensor]:
        """For each test picture the samples that a validation looks at, the same ones every time."""
        total = len(self.tested) * self.size
        count = total if self.validation_points is None else min(self.validation_points, total)
        some = permute(torch.arange(count), total, key(self.seed, "validation")).sort().values
        return [some[some // self.size == picture] % self.size for picture in range(len(self.tested))]

    def validated(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor, None]]:
        """What a validation saw (samples, 3), and the truth."""
        truths = [
            self.scored(picture).truth.flatten(0, 1)[samples] for picture, samples in enumerate(self.validation_samples())
        ]
        yield values, self.normalise(torch.cat(truths)), None

    def val_dataloader(self) -> Given:
        """Some pixels of all test views."""
        chosen = enumerate(self.validation_samples())
        parts = [(picture, part) for picture, samples in chosen for part in samples.split(self.chunk) if len(part)]
        return Given(self.pixels_of(picture, part) for picture, part in parts)

    def test_dataloader(self) -> Given:
        """All pixels of all test views, in order."""
        chunks = torch.arange(self.size).split(self.chunk)
        return Given(self.pixels_of(picture, part) for picture in range(len(self.tested)) for part in chunks)

    def constant_batches(self, device: torch.device) -> Iterator[Batch]:
        """For each scene at most `chunk` training pixels, spread evenly."""
        for signal in range(len(self.captures)):
            total = len(self.captures[signal].train) * math.prod(self.coarse)
            count = min(self.chunk, total)
            views, pixels = self.locate(signal, torch.arange(count) * total // count)
            batch = self.batch_at(RayDraw(torch.tensor([signal]), views[None], pixels[None]), device, ("value",))
            yield Batch(batch.signals, {"data": batch.parts["data"]})
