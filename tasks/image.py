"""Image regression: fit some pixels, score the others."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import png
import torch
from PIL import Image
from torch import Tensor

from datamodules.common.batch import Scored
from inr.baselines.interpolation import cubic, linear, nearest
from inr.metrics.figures import Metric, decibels, luma, mean_square, ssim
from inr.metrics.lpips import load_lpips
from inr.supervision.differences import jacobian_at
from tasks.drawing.panels import direction_map, panels
from tasks.evaluation import GridTask

LARGEST_PICTURE, ROWS = 768, 4
LUMA_TEXT = "luma (65.738 R + 129.057 G + 25.064 B) / 256 of values clipped to 0..1"


class ImageTask(GridTask):
    """Fit an image; figures compare its luma, clipped to 0..1.

    `lpips` adds the perceptual distance of colour images: a file of AlexNet's weights, `download`, or null for the file
    in torch's cache if it is there.

    Source: the test protocol of Sobolev Training for Implicit Neural Representations (ECCV 2022), section 4.1.
    """

    methods = {"nearest": nearest, "bilinear": linear, "bicubic": cubic}

    def __init__(self, *args: Any, lpips: str | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self.lpips = load_lpips(lpips)

    def brightness(self, values: Tensor) -> Tensor:
        """Luma in 0..1 of fitted values in -1..1; the mean of the channels where there are not three."""
        return luma(self.shown(values))

    @staticmethod
    def shown(values: Tensor) -> Tensor:
        """Fitted values in -1..1 as 0..1, clipped."""
        return ((values + 1) / 2).clamp(0, 1)

    def figures(self, values: Tensor, shown: Tensor, truth: Tensor, scored: Scored) -> dict[str, Metric]:
        """SSIM of the luma, PSNR of all channels and pixels, LPIPS where it is to be had."""
        crop = self.data.factor if self.data.factor > 1 else 0
        inner = tuple(slice(crop, size - crop) for size in truth.shape)
        window = f"gaussian window 11, sigma 1.5, on the {LUMA_TEXT}, cropped by {crop} pixels"
        error = mean_square((self.shown(one), self.shown(other)) for one, other in self.pairs(values, scored))
        metrics = {
            "ssim": Metric(ssim(shown[inner], truth[inner]), "1", f"structural similarity, {window}"),
            "psnr_all": Metric(decibels(1.0, error), "dB", "PSNR of all pixels and channels, clipped to 0..1, peak 1"),
        }
        if self.lpips is not None and values.shape[-1] == 3:
            distance = self.lpips(self.shown(values), self.shown(self.data.normalise(scored.truth)))
            metrics["lpips"] = Metric(distance, "1", "LPIPS 0.1 on AlexNet, the whole image; lower is better")
        return metrics

    def draw(self) -> dict[str, np.ndarray]:
        """The first images: what was observed, target, reconstructions and error; derivatives of the luma of the first."""
        images = self.images(self.reconstruction)
        pictures = {"reconstruction": panels([self.row(place, image) for place, image in enumerate(images[:ROWS])])}
        if images[0].shape[:-1] == tuple(self.data.shape):  # not cut into patches
            pictures["derivatives"] = panels([self.derivative_row()])
        return pictures

    def row(self, place: int, image: Tensor) -> list[tuple[str, np.ndarray]]:
        """Panels of one image: observation if it is not the truth, target, snapshots, reconstruction, error."""
        scored = self.data.scored(place)
        few = tuple(slice(None, None, math.ceil(max(image.shape) / LARGEST_PICTURE)) for _ in range(2))
        target, result = self.shown(self.data.normalise(scored.truth[few])), self.shown(image[few])
        row = [("target", target), *((name, self.shown(shot[place][few])) for name, shot in self.snapshots.items())]
        row = [*row, ("reconstruction", result)]
        if scored.observed is not None:
            row = [("observed", self.shown(self.data.normalise(scored.observed[few]))), *row]
        error = (luma(result) - luma(target)).abs().numpy()
        return [*((title, colours(panel)) for title, panel in row), ("|error| of the luma", error)]

    def derivative_row(self) -> list[tuple[str, np.ndarray]]:
        """Panels of the derivatives of the luma by (row, column): target, field, difference."""
        stride = math.ceil(max(self.data.shape) / LARGEST_PICTURE)
        rows, columns = (torch.arange(0, size, stride) for size in self.data.shape)
        indices = torch.cartesian_prod(rows, columns)
        size = (len(rows), len(columns))
        true, fitted = (self.luma_gradient(jacobian).reshape(*size, 2).numpy() for jacobian in self.jacobians(indices))
        full_scale = float(np.quantile(np.hypot(*np.moveaxis(true, -1, 0)), 0.99))
        difference = np.hypot(*np.moveaxis(fitted - true, -1, 0))
        return [
            (f"target derivative ({self.data.filter})", direction_map(true, full_scale)),
            ("derivative of the field", direction_map(fitted, full_scale)),
            ("|difference| per pixel", difference),
        ]

    def jacobians(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """True and fitted jacobians (points, channels, 2) of 0..1 values at some pixels (points, 2) of the first image."""
        truth, data, scale = self.data.scored(0).truth, self.data, 2 * self.data.units.scale
        true = [jacobian_at(truth, part, data.filter, data.border) for part in indices.split(data.chunk)]
        return torch.cat(true) / scale, self.fitted().jacobian(indices.float()) / scale

    @staticmethod
    def luma_gradient(jacobian: Tensor) -> Tensor:
        """The gradient (points, 2) of the luma from the jacobian (points, channels, 2)."""
        return luma(jacobian.transpose(1, 2))

    def export(self, folder: Path, scale: float) -> None:
        """`reconstruction.png`, 8 or 16 bits as the file had; arrays of other kinds as `.npy`; of several a folder.

        What was observed of them, if it is not the truth, lies beside it.
        """
        places = range(len(self.images(self.reconstruction)))
        for place in places:
            scored = self.data.scored(place)
            name = f"/{scored.name}" if len(places) > 1 else ""
            self.save(folder / f"reconstruction{name}", self.rendered(place, scale))
            if scored.observed is not None:
                self.save(folder / f"observed{name}", [scored.observed])

    def save(self, path: Path, slabs: Iterable[Tensor]) -> None:
        """One image, given in slabs (rows, columns, channels) of file units, under a path without its ending."""
        path = path.parent / path.name.removesuffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        units, whole = self.data.units, [slab.numpy() for slab in slabs]
        channels = whole[0].shape[-1]
        if units.number == "float32" or channels not in (1, 3):
            np.save(path.parent / f"{path.name}.npy", np.concatenate(whole))
            return
        pixels = np.concatenate([slab.round().clip(0, units.peak).astype(units.number) for slab in whole])
        file = path.parent / f"{path.name}.png"
        if units.number == "uint8":
            Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels).save(file)
            return
        writer = png.Writer(pixels.shape[1], pixels.shape[0], greyscale=channels == 1, bitdepth=16)
        with file.open("wb") as opened:
            writer.write(opened, pixels.reshape(len(pixels), -1))


def colours(image: Tensor) -> np.ndarray:
    """An image of any number of channels as (rows, columns, 3) in 0..1."""
    return (image if image.shape[-1] == 3 else luma(image)[..., None].expand(*image.shape[:-1], 3)).numpy()
