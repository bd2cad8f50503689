"""Image regression: fit some pixels, score the others."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import png
import torch
from PIL import Image
from torch import Tensor

from inr.interpolation import cubic, linear, nearest
from inr.lpips import load_lpips
from inr.metrics import Metric, decibels, luma, mean_square, ssim
from tasks.grid import GridTask
from tasks.pictures import direction_map, panels

LARGEST_PICTURE = 768
LUMA_TEXT = "luma (65.738 R + 129.057 G + 25.064 B) / 256 of values clipped to 0..1"


class ImageTask(GridTask):
    """Fit an image; figures compare its luma, clipped to 0..1.

    `lpips` adds the perceptual distance of colour images: a file of AlexNet's weights, `download`, or null for the file
    in torch's cache if it is there.

    Source: the test protocol of Sobolev Training for Implicit Neural Representations (ECCV 2022), section 4.1.
    """

    references = {"nearest": nearest, "bilinear": linear, "bicubic": cubic}

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

    def figures(self, values: Tensor, shown: Tensor, truth: Tensor) -> dict[str, Metric]:
        """SSIM of the luma, PSNR of all channels and pixels, LPIPS where it is to be had."""
        crop = self.data.factor if self.data.factor > 1 else 0
        inner = tuple(slice(crop, size - crop) for size in self.data.shape)
        window = f"gaussian window 11, sigma 1.5, on the {LUMA_TEXT}, cropped by {crop} pixels"
        error = mean_square((self.shown(one), self.shown(other)) for one, other in self.pairs(values))
        metrics = {
            "ssim": Metric(ssim(shown[inner], truth[inner]), "1", f"structural similarity, {window}"),
            "psnr_all": Metric(decibels(1.0, error), "dB", "PSNR of all pixels and channels, clipped to 0..1, peak 1"),
        }
        if self.lpips is not None and values.shape[-1] == 3:
            distance = self.lpips(self.shown(values), self.shown(self.data.normalise(self.data.samples)))
            metrics["lpips"] = Metric(distance, "1", "LPIPS 0.1 on AlexNet, the whole image; lower is better")
        return metrics

    def draw(self) -> dict[str, np.ndarray]:
        """Target, reconstruction and error, and the derivatives of the luma by (row, column)."""
        stride = math.ceil(max(self.data.shape) / LARGEST_PICTURE)
        rows, columns = (torch.arange(0, size, stride) for size in self.data.shape)
        corners = torch.cartesian_prod(rows, columns)
        flat = self.data.flatten(corners)
        size = (len(rows), len(columns))
        target, result = (self.shown(values).reshape(*size, -1) for values in (self.target(flat), self.reconstruction[flat]))
        error = (luma(result) - luma(target)).abs().numpy()
        value = [("target", colours(target)), ("reconstruction", colours(result)), ("|error| of the luma", error)]
        true, fitted = (self.luma_gradient(jacobian).reshape(*size, 2).numpy() for jacobian in self.jacobians(flat))
        full_scale = float(np.quantile(np.hypot(*np.moveaxis(true, -1, 0)), 0.99))
        difference = np.hypot(*np.moveaxis(fitted - true, -1, 0))
        derivative = [
            (f"target derivative ({self.data.filter})", direction_map(true, full_scale)),
            ("derivative of the field", direction_map(fitted, full_scale)),
            ("|difference| per pixel", difference),
        ]
        return {"reconstruction": panels([value]), "derivatives": panels([derivative])}

    def jacobians(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """True and fitted jacobians (points, channels, 2) of 0..1 values at some pixels."""
        indices = torch.stack(torch.unravel_index(flat, self.data.shape), -1)
        truth = [self.data.target_jacobian(part) for part in indices.split(self.data.chunk)]
        scale = 2 * self.data.units.scale
        return torch.cat(truth) / 2, self.fitted().jacobian(indices.float()) / scale

    @staticmethod
    def luma_gradient(jacobian: Tensor) -> Tensor:
        """The gradient (points, 2) of the luma from the jacobian (points, channels, 2)."""
        return luma(jacobian.transpose(1, 2))

    def export(self, folder: Path, scale: float) -> None:
        """`reconstruction.png`, 8 or 16 bits as the file had; arrays of other kinds as `reconstruction.npy`."""
        units, channels = self.data.units, self.data.samples.shape[-1]
        slabs = self.rendered(scale)
        if units.number == "float32" or channels not in (1, 3):
            np.save(folder / "reconstruction.npy", np.concatenate([slab.numpy() for slab in slabs]))
            return
        pixels = np.concatenate([slab.round().clamp(0, units.peak).numpy().astype(units.number) for slab in slabs])
        if units.number == "uint8":
            Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels).save(folder / "reconstruction.png")
            return
        writer = png.Writer(pixels.shape[1], pixels.shape[0], greyscale=channels == 1, bitdepth=16)
        with (folder / "reconstruction.png").open("wb") as file:
            writer.write(file, pixels.reshape(len(pixels), -1))


def colours(image: Tensor) -> np.ndarray:
    """An image of any number of channels as (rows, columns, 3) in 0..1."""
    return (image if image.shape[-1] == 3 else luma(image)[..., None].expand(*image.shape[:-1], 3)).numpy()
