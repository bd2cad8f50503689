"""Image regression: fit some pixels, score the others."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np
import png
import torch
from PIL import Image
from torch import Tensor

from datamodules.common.batch import Scored
from datamodules.grids.grid_signals import GridSignals
from inr.measurements.measurement import Sensors
from inr.metrics.figures import Metric, decibels, luma, mean_square, ssim
from inr.metrics.lpips import MISSING, load_lpips
from inr.supervision.differences import jacobian_at
from tasks.base import Training
from tasks.drawing.panels import direction_map, panels
from tasks.evaluation import EvaluatedTask, Row, item_path

LARGEST_PICTURE = 768  # pixels a side, beyond which panels show every n-th
ROWS = 4  # images of a picture
LUMA_TEXT = "luma (65.738 R + 129.057 G + 25.064 B) / 256 of values clipped to 0..1"


class ImageTask(EvaluatedTask[GridSignals]):
    """Fit an image; figures compare its luma, clipped to 0..1.

    lpips: adds the perceptual distance of colour images: a file of AlexNet's weights, `download`, or None for the file in
        torch's cache if it is there.
    Source: the test protocol of Sobolev Training for Implicit Neural Representations (ECCV 2022), section 4.1.
    """

    reads: ClassVar[type] = GridSignals

    def __init__(
        self, training: Training, measurements: Sensors, channels: int = 1, signals: int = 1, lpips: str | None = None
    ) -> None:
        super().__init__(training, measurements, channels, signals)
        self.lpips = load_lpips(lpips)
        self.notes = [MISSING] if self.lpips is None and channels == 3 else []

    def brightness(self, values: Tensor) -> Tensor:
        """Return the luma in 0..1 of fitted values in -1..1; the mean of the channels where there are not three."""
        return luma(self.unit_range(values))

    @staticmethod
    def unit_range(values: Tensor) -> Tensor:
        """Map fitted values in -1..1 to 0..1, clipped."""
        return ((values + 1) / 2).clamp(0, 1)

    def figures(self, values: Tensor, shown: Tensor, truth: Tensor, scored: Scored) -> dict[str, Metric]:
        """Return SSIM of the luma, PSNR of all channels and pixels, LPIPS where it is to be had."""
        crop = self.data.stride if self.data.stride > 1 else 0
        inner = tuple(slice(crop, size - crop) for size in truth.shape)
        window = f"gaussian window 11, sigma 1.5, on the {LUMA_TEXT}, cropped by {crop} pixels"
        error = mean_square((self.unit_range(one), self.unit_range(other)) for one, other in self.pairs(values, scored))
        metrics = {
            "ssim": Metric(ssim(shown[inner], truth[inner]), "1", f"structural similarity, {window}"),
            "psnr_all": Metric(decibels(1.0, error), "dB", "PSNR of all pixels and channels, clipped to 0..1, peak 1"),
        }
        if self.lpips is not None and values.shape[-1] == 3:
            distance = self.lpips(self.unit_range(values), self.unit_range(self.data.normalise(scored.truth)))
            metrics["lpips"] = Metric(distance, "1", "LPIPS 0.1 on AlexNet, the whole image; lower is better")
        return metrics

    def draw(self) -> dict[str, np.ndarray]:
        """Draw the first images: what was observed, target, reconstructions and error; derivatives of the luma of the first."""
        images = self.items(self.reconstruction)
        pictures = {"reconstruction": panels([self.row(place, image) for place, image in enumerate(images[:ROWS])])}
        if not self.data.cut:
            pictures["derivatives"] = panels([self.derivative_row()])
        return pictures

    def row(self, place: int, image: Tensor) -> Row:
        """Make the panels of one image: observation if it is not the truth, target, snapshots, reconstruction, error."""
        scored = self.data.truth(place)
        stride = math.ceil(max(image.shape) / LARGEST_PICTURE)

        def seen(values: Tensor) -> Tensor:
            return self.unit_range(values[::stride, ::stride])

        target = seen(self.data.normalise(scored.truth))
        result = seen(image)
        snapshots = [(name, seen(shot[place])) for name, shot in self.regime.snapshots.items()]
        row = [("target", target), *snapshots, ("reconstruction", result)]
        if scored.observed is not None:
            row = [("observed", seen(self.data.normalise(scored.observed))), *row]
        error = (luma(result) - luma(target)).abs().numpy()
        return [*((title, colours(panel)) for title, panel in row), ("|error| of the luma", error)]

    def derivative_row(self) -> Row:
        """Make the panels of the derivatives of the luma by (row, column): target, field, difference."""
        stride = math.ceil(max(self.data.shape) / LARGEST_PICTURE)
        rows, columns = (torch.arange(0, size, stride) for size in self.data.shape)
        indices, size = torch.cartesian_prod(rows, columns), (len(rows), len(columns))
        true, fitted = (luma(jacobian.mT).reshape(*size, 2).numpy() for jacobian in self.jacobians(indices))
        full_scale = float(np.quantile(np.hypot(*np.moveaxis(true, -1, 0)), 0.99))
        difference = np.hypot(*np.moveaxis(fitted - true, -1, 0))
        return [
            (f"target derivative ({self.data.filter})", direction_map(true, full_scale)),
            ("derivative of the field", direction_map(fitted, full_scale)),
            ("|difference| per pixel", difference),
        ]

    def jacobians(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return true and fitted jacobians (points, channels, 2) of 0..1 values at pixels (points, 2) of the first image."""
        data = self.data
        truth = data.truth(0).truth
        scale = 2 * data.units.scale  # of the file's numbers, whose range is twice the scale, to 0..1
        true = [jacobian_at(truth, part, data.filter, data.border) for part in indices.split(data.chunk)]
        return torch.cat(true) / scale, self.fitted().jacobian(indices.float()) / scale

    def export(self, folder: Path, scale: float) -> None:
        """Write `reconstruction.png` in the file's bits, other arrays as `.npy`, of several a folder; and what was observed."""
        names = self.data.names[: len(self.items(self.reconstruction))]
        for place in range(len(names)):
            self.save(item_path(folder, "reconstruction", names, place), self.rendered(place, scale))
            observed = self.data.truth(place).observed
            if observed is not None:
                self.save(item_path(folder, "observed", names, place), [observed])

    def save(self, path: Path, slabs: Iterable[Tensor]) -> None:
        """Write one image, given in slabs (rows, columns, channels) of file units, under a path without its ending."""
        path = path.parent / path.name.removesuffix(".png")
        units = self.data.units
        whole = [slab.numpy() for slab in slabs]
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
    """Bring an image of any number of channels to (rows, columns, 3) in 0..1."""
    return (image if image.shape[-1] == 3 else luma(image)[..., None].expand(*image.shape[:-1], 3)).numpy()
