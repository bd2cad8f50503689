"""Photographs of scenes as tensors on a device, and batches of their pixels."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from datamodules.common.batch import Batch, DeviceCache, Part, Units
from datamodules.common.signal_data import Observed, Wanted
from datamodules.scenes.capture import Capture, shrink
from inr.field import Signals
from inr.supervision.differences import jacobian_at

THREADS = 8  # that decode photographs side by side: more wait for the disk
BYTES = Units(255.0, 0.0, 255.0, "8-bit value (0..255)", "uint8")


class Photographs(NamedTuple):
    """The photographs of a capture and their cameras, on a device.

    Shapes: pixels (views, rows, columns, 3), poses (views, 3, 4), intrinsics (views, 4), train (training views,).
    """

    pixels: UInt8[Tensor, "views rows columns 3"]
    poses: Tensor
    intrinsics: Tensor
    train: Tensor

    def to(self, device: torch.device) -> "Photographs":
        """Copy them to a device."""
        return Photographs(*(tensor.to(device) for tensor in self))


def read_photographs(capture: Capture) -> Photographs:
    """Read all photographs of a capture by several threads."""
    # Pillow decodes outside of the interpreter's lock, so that threads do it side by side.
    with ThreadPoolExecutor(THREADS) as pool:
        pixels = np.stack(list(pool.map(capture.read, range(len(capture.names)))))
    poses, intrinsics = (torch.from_numpy(array).float() for array in (capture.poses, capture.intrinsics))
    return Photographs(torch.from_numpy(pixels), poses, intrinsics, torch.tensor(capture.train))


class PhotographedScenes(Observed):
    """Scenes as their photographs show them; a sample is a training pixel by its flat index (training view, row, column).

    captures: by name of scene, with photographs of one size.
    factor: every factor-th row and column trains.
    filter, border: of the derivative targets (see `inr.supervision.differences`).
    """

    def __init__(self, captures: Mapping[str, Capture], factor: int, filter: str, border: str) -> None:
        self.names = list(captures)
        self.captures = list(captures.values())
        self.factor = factor
        self.filter = filter
        self.border = border
        self.cache = DeviceCache[list[Photographs]]()

    @cached_property
    def photographs(self) -> list[Photographs]:
        """All photographs of all scenes, read when they are first asked for."""
        return [read_photographs(capture) for capture in self.captures]

    def on(self, device: torch.device) -> list[Photographs]:
        """Return the photographs on a device."""
        return self.cache.on(device, lambda: [scene.to(device) for scene in self.photographs])

    @property
    def training_shape(self) -> tuple[int, int]:
        """Rows and columns of a photograph that train."""
        rows, columns = self.captures[0].size
        return -(-rows // self.factor), -(-columns // self.factor)

    def training_pixels(self, scene: int) -> int:
        """Count the training pixels of a scene."""
        return len(self.captures[scene].train) * math.prod(self.training_shape)

    @property
    def size(self) -> int:
        """Number of training pixels that every scene has."""
        # Scenes may differ in their number of views; what looks at several at once goes as far as the smallest of them.
        return min(self.training_pixels(scene) for scene in range(len(self)))

    def photograph(self, scene: int, view: int, factor: int) -> UInt8[Tensor, "rows columns 3"]:
        """Return a photograph, reduced by a factor."""
        return torch.from_numpy(shrink(self.photographs[scene].pixels[view].numpy(), factor))

    def mean_colour(self, scene: int) -> Tensor:
        """Return the mean colour (3,) of the training views in fitted numbers."""
        pixels = self.photographs[scene].pixels
        sums = [pixels[view].sum((0, 1), dtype=torch.float64) for view in self.captures[scene].train]
        return (torch.stack(sums).mean(0) / math.prod(pixels.shape[1:3]) / BYTES.scale).float()

    def nearest_view(self, scene: int, view: int) -> int:
        """Return the training view whose camera stood closest to that of a view."""
        capture = self.captures[scene]
        places = capture.poses[:, :, 3]
        return min(capture.train, key=lambda other: float(np.linalg.norm(places[other] - places[view])))

    def batches(self, signals: Tensor, chunks: Iterable[Tensor], wanted: Wanted, device: torch.device) -> Iterator[Batch]:
        """Yield a batch on the device for each chunk of training pixels of these scenes."""
        for samples in chunks:
            yield self.training_batch(signals, samples.expand(len(signals), -1), wanted.of("data"), device)

    def training_batch(
        self, signals: Tensor, samples: Int[Tensor, "signals points"], quantities: Collection[str], device: torch.device
    ) -> Batch:
        """Make the batch of some training pixels of scenes (signals,)."""
        # flat = (training view * rows + row) * columns + column
        rows, columns = self.training_shape
        flat = samples.to(device, non_blocking=True)
        trained = zip(signals.tolist(), flat // (rows * columns), strict=True)
        views = torch.stack([self.on(device)[scene].train[place] for scene, place in trained])
        pixels = self.factor * torch.stack([flat // columns % rows, flat % columns], -1)
        return self.batch(signals, views, pixels, quantities, device)

    def batch(self, signals: Tensor, views: Tensor, pixels: Tensor, quantities: Collection[str], device: torch.device) -> Batch:
        """Make the batch of rays through pixels of some views, with targets of the quantities.

        Shapes: signals (signals,); views (signals, points); pixels (signals, points, 2), between the centres of pixels only
                where there are no targets.
        """
        # Photographs stay bytes, a quarter of the memory of floats, and become fitted numbers for the drawn pixels alone.
        scenes = self.on(device)
        looks = [(scenes[scene], view, at) for scene, view, at in zip(signals.tolist(), views, pixels.long(), strict=True)]
        names = ("poses", "intrinsics")
        context = {name: torch.stack([getattr(scene, name)[view] for scene, view, _ in looks]) for name in names}
        targets = {}
        if quantities:
            targets["value"] = torch.stack([BYTES.normalise(scene.pixels[view, *at.T]) for scene, view, at in looks])
        if "jacobian" in quantities:
            # Filters read the neighbours of a pixel in its own photograph, as `jacobian_at` knows which one each lies in.
            slopes = [jacobian_at(scene.pixels, at, self.filter, self.border, view) for scene, view, at in looks]
            targets["jacobian"] = torch.stack(slopes) / BYTES.scale
        return Batch(Signals(signals.to(device)), {"data": Part(pixels.float(), targets, context=context)})
