"""Photographs of scenes as tensors on a device, and batches of their pixels."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from datamodules.common.batch import Batch, DeviceCache, Part, Units
from datamodules.common.signal_data import Observed, Wanted
from datamodules.scenes.capture import Capture
from datamodules.scenes.photograph_files import shrink
from inr.errors import InputError
from inr.field import Signals
from inr.supervision.differences import complete_at, jacobian_at

THREADS = 8  # that decode photographs side by side: more wait for the disk
BYTES = Units(255.0, 0.0, 255.0, "8-bit value (0..255)", "uint8")


class Photographs(NamedTuple):
    """The photographs of a capture and their cameras, on a device.

    shown: the pixels that train and are scored; None: all of them.
    drawn: flat indices (training view, row, column) of the training pixels among these; None: all of them.

    Shapes: pixels (views, rows, columns, 3), poses (views, 3, 4), intrinsics (views, 4|11), train (training views,), shown
            (views, rows, columns), drawn (pixels,).
    """

    pixels: UInt8[Tensor, "views rows columns 3"]
    poses: Tensor
    intrinsics: Tensor
    train: Tensor
    shown: Bool[Tensor, "views rows columns"] | None = None
    drawn: Tensor | None = None

    def to(self, device: torch.device) -> "Photographs":
        """Copy them to a device."""
        copies = {name: tensor.to(device) for name, tensor in self._asdict().items() if tensor is not None}
        return Photographs(**copies)


def read_photographs(capture: Capture, factor: int) -> Photographs:
    """Read all photographs of a capture by several threads; every factor-th row and column trains.

    Raises: InputError if what masks leave is nothing to train on.
    """
    # Pillow decodes outside of the interpreter's lock, so that threads do it side by side.
    with ThreadPoolExecutor(THREADS) as pool:
        pixels = np.stack(list(pool.map(capture.read, range(len(capture.names)))))
        shown = None if capture.shown is None else np.stack(list(pool.map(capture.shown, range(len(capture.names)))))
    poses, intrinsics = (torch.from_numpy(array).float() for array in (capture.poses, capture.intrinsics))
    scene = Photographs(torch.from_numpy(pixels), poses, intrinsics, torch.tensor(capture.train))
    if shown is None:
        return scene
    drawn = np.flatnonzero(shown[list(capture.train), ::factor, ::factor])
    if not len(drawn):
        raise InputError(f"Masks must leave pixels to train on, with factor={factor} they hide all; correct them.")
    return scene._replace(shown=torch.from_numpy(shown), drawn=torch.from_numpy(drawn))


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
        return [read_photographs(capture, self.factor) for capture in self.captures]

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
        if self.captures[scene].shown is not None:
            drawn = self.photographs[scene].drawn
            return 0 if drawn is None else len(drawn)
        return len(self.captures[scene].train) * math.prod(self.training_shape)

    @property
    def size(self) -> int:
        """Number of training pixels that every scene has."""
        # Scenes may differ in their number of views; what looks at several at once goes as far as the smallest of them.
        return min(self.training_pixels(scene) for scene in range(len(self)))

    def photograph(self, scene: int, view: int, factor: int) -> UInt8[Tensor, "rows columns 3"]:
        """Return a photograph, reduced by a factor."""
        return torch.from_numpy(shrink(self.photographs[scene].pixels[view].numpy(), factor))

    def shown(self, scene: int, view: int, factor: int) -> Bool[Tensor, "rows columns"] | None:
        """Return the pixels of a reduced photograph that are not hidden; None: all of them."""
        shown = self.photographs[scene].shown
        if shown is None:
            return None
        rows, columns = (side // factor for side in shown.shape[1:])
        return shown[view, : rows * factor, : columns * factor].reshape(rows, factor, columns, factor).all(3).all(1)

    def scored(self, scene: int, view: int, factor: int) -> Bool[Tensor, "rows columns"] | None:
        """Return the pixels of a reduced photograph that are scored; None: all pixels of all photographs.

        Raises: InputError if there are none.
        """
        if all(capture.shown is None for capture in self.captures):
            return None
        shown = self.shown(scene, view, factor)
        if shown is None:
            return torch.ones([side // factor for side in self.captures[scene].size], dtype=torch.bool)
        if not shown.any():
            rule = f"A tested view must show a whole square of {factor} pixels to score"
            name = self.captures[scene].names[view]
            raise InputError(f"{rule}, the mask of {name} leaves none; correct it, or use a smaller data.test_factor.")
        return shown

    def extent(self, scene: int, view: int, factor: int) -> tuple[int, int]:
        """Return rows and columns of a reduced photograph, at least one of each."""
        rows, columns = self.captures[scene].size_of(view)
        return max(rows // factor, 1), max(columns // factor, 1)

    def fill_hidden(self, scene: int, view: int, factor: int) -> Tensor:
        """Return a reduced photograph (rows, columns, 3) in fitted numbers, the mean colour where it is hidden."""
        picture = BYTES.normalise(self.photograph(scene, view, factor))
        shown = self.shown(scene, view, factor)
        return picture if shown is None else torch.where(shown[..., None], picture, self.mean_colour(scene))

    def mean_colour(self, scene: int) -> Tensor:
        """Return the mean colour (3,) of the training views in fitted numbers."""
        photographs = self.photographs[scene]
        shown = photographs.shown
        views = self.captures[scene].train
        seen = [photographs.pixels[view] if shown is None else photographs.pixels[view][shown[view]] for view in views]
        sums = torch.stack([pixels.flatten(0, -2).sum(0, dtype=torch.float64) for pixels in seen])
        return (sums.sum(0) / sum(pixels.numel() // 3 for pixels in seen) / BYTES.scale).float()

    def nearest_view(self, scene: int, view: int) -> int:
        """Return the training view whose camera stood closest to that of a view, of those of its size if there are any."""
        capture = self.captures[scene]
        places = capture.poses[:, :, 3]
        alike = [other for other in capture.train if capture.size_of(other) == capture.size_of(view)] or capture.train
        return min(alike, key=lambda other: float(np.linalg.norm(places[other] - places[view])))

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
        tables = [self.on(device)[scene].drawn for scene in signals.tolist()]
        flat = torch.stack([at if table is None else table[at] for table, at in zip(tables, flat, strict=True)])
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
        poses = torch.stack([scene.poses[view] for scene, view, _ in looks])
        # Scenes without distortion get one of zeros beside scenes that have one.
        numbers = max(scene.intrinsics.shape[1] for scene, _, _ in looks)
        lenses = [F.pad(scene.intrinsics[view], (0, numbers - scene.intrinsics.shape[1])) for scene, view, _ in looks]
        context = {"poses": poses, "intrinsics": torch.stack(lenses)}
        targets = {}
        weights = {}
        if quantities:
            targets["value"] = torch.stack([BYTES.normalise(scene.pixels[view, *at.T]) for scene, view, at in looks])
        if "jacobian" in quantities:
            # Filters read the neighbours of a pixel in its own photograph, as `jacobian_at` knows which one each lies in.
            slopes = [jacobian_at(scene.pixels, at, self.filter, self.border, view) for scene, view, at in looks]
            targets["jacobian"] = torch.stack(slopes) / BYTES.scale
            if any(scene.shown is not None for scene, _, _ in looks):
                weights["jacobian"] = torch.stack([self.complete(*look) for look in looks])
        return Batch(Signals(signals.to(device)), {"data": Part(pixels.float(), targets, weights, context)})

    def complete(self, scene: Photographs, views: Tensor, pixels: Tensor) -> Tensor:
        """Return weights (points,) of derivatives: 0 where a filter reads hidden pixels, else 1."""
        if scene.shown is None:
            return torch.ones(len(pixels), device=pixels.device)
        return complete_at(scene.shown[..., None], pixels, self.filter, self.border, views)[:, 0].float()
