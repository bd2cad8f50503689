"""Robust principal components of a video: its still background, and the foreground that moves."""

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from datamodules.grids.video import VideoCollection
from inr.dictionary.coders import Codebook
from inr.errors import InputError
from inr.measurements.measurement import Sensors
from inr.metrics.figures import Metric, psnr
from tasks.base import Training
from tasks.drawing.panels import panels
from tasks.drawing.videos import write_video
from tasks.evaluation import Row
from tasks.image import ImageTask, colours

MAD = 1.4826  # standard deviation of a gaussian / its median absolute value
ROUNDING = 1 / math.sqrt(12)  # standard deviation of rounding to integers, uniform in -1/2..1/2
DRAWN = 4  # frames in the picture
GREY = 127.5  # [8-bit values] of no difference
PEAK = 255.0  # [8-bit values]


class Separation(NamedTuple):
    """A video taken apart: background in 0..255, mask of the foreground, and the difference beyond which it begins.

    Shapes: background (frames, rows, columns, channels), mask (frames, rows, columns).
    """

    background: Tensor
    mask: Tensor
    threshold: float


class BackgroundTask(ImageTask):
    """Split a video of a still camera: the reconstruction is the background, what differs from it the foreground.

    The noise is measured on the differences themselves, of which most are of background: 1.4826 x the median |difference|
    of all frames, and no less than that of rounding.
    cutoff: difference in standard deviations of the noise beyond which a pixel is foreground
    threshold: the same in 8-bit values, in place of `cutoff`
    opening: side of the square [pixels] that cleans the mask; 1: none
    Raises: InputError for a cutoff or threshold that is not positive, and an opening below 1.
    Source: Neural Implicit Dictionary Learning via Mixture-of-Expert Training (ICML 2022), section 4.3.
    """

    reads = VideoCollection
    peak = PEAK

    def __init__(
        self,
        training: Training,
        measurements: Sensors,
        channels: int = 1,
        signals: int = 1,
        lpips: str | None = None,
        cutoff: float = 5.0,
        threshold: float | None = None,
        opening: int = 3,
    ) -> None:
        super().__init__(training, measurements, channels, signals, lpips)
        if not cutoff > 0 or (threshold is not None and not threshold > 0) or opening < 1:
            rule = "task.cutoff and task.threshold must be positive and task.opening at least 1 pixel"
            raise InputError(f"{rule}, got {cutoff}, {'null' if threshold is None else threshold} and {opening}.")
        self.cutoff, self.threshold = cutoff, threshold
        self.opening = opening
        self.result: Separation | None = None

    @property
    def video(self) -> VideoCollection:
        """The data, which are a video."""
        assert isinstance(self.data, VideoCollection)
        return self.data

    def on_fit_start(self) -> None:
        """Begin with the code of one frame for all: a still video, from which each then departs as far as it must."""
        coder = getattr(self.network, "coder", None)
        if isinstance(coder, Codebook) and self.trainer.ckpt_path is None:  # a resumed run goes on from its codes
            coder.codes.data.copy_(coder.codes.data[:1].expand_as(coder.codes))

    @cached_property
    def frames(self) -> UInt8[Tensor, "frames rows columns channels"]:
        """The frames to be taken apart, as they lie in the video."""
        count = len(self.data.names[: self.data.most_items["test"]])
        return torch.stack([self.data.truth(place).truth for place in range(count)])

    @cached_property
    def truth(self) -> tuple[Tensor, Tensor] | None:
        """The true background and mask of these frames, if they are known."""
        if self.video.background is None or self.video.foreground is None:
            return None
        places = self.video.evaluated.positions[: len(self.frames)]
        return torch.from_numpy(self.video.background[places]), torch.from_numpy(self.video.foreground[places])

    @cached_property
    def median(self) -> Tensor:
        """The median of the frames over time, at every pixel, as often as there are frames."""
        return torch.from_numpy(np.median(self.frames.numpy(), 0)).float().expand(self.frames.shape)

    def backgrounds(self, values: Tensor) -> Tensor:
        """Return reconstructions (frames, rows, columns, channels) in 0..255, clipped, from values (samples, channels)."""
        return self.data.restore(self.items(values)).clamp(0, PEAK)

    def separate(self, background: Tensor) -> Separation:
        """Find the mask that a background (frames, rows, columns, channels) makes."""
        sizes = [(frame - still).abs() for frame, still in zip(self.frames, background, strict=True)]
        noise = max(MAD * float(torch.stack(sizes).median()), ROUNDING)
        threshold = self.cutoff * noise if self.threshold is None else self.threshold
        mask = torch.stack([size.amax(-1) > threshold for size in sizes])  # one channel is enough: colours may match in two
        return Separation(background, opened(mask, self.opening), threshold)

    def validated(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield the frames of the background beside the truth, or else beside the median over time."""
        compared = self.median if self.truth is None else self.truth[0]
        return ((frame, true.float(), None) for frame, true in zip(self.backgrounds(values), compared, strict=False))

    def score(self, values: Tensor) -> dict[str, Metric]:
        """Return figures of the network's separation, then those of classical ones."""
        self.result = self.separate(self.backgrounds(values))
        metrics = self.figures_of(self.result)
        for row, make in self.rows().items():
            metrics |= {f"{row}/{name}": figure for name, figure in self.figures_of(self.separate(make())).items()}
        metrics.pop("median/psnr_median", None)  # infinite: it is compared with itself
        return metrics

    def rows(self) -> dict[str, Callable[[], Tensor]]:
        """Return backgrounds by classical methods."""
        return {
            "median": lambda: self.median,
            "mean": lambda: self.frames.float().mean(0).expand(self.frames.shape),
            "svd 1": lambda: leading(self.frames),
        }

    def figures_of(self, result: Separation) -> dict[str, Metric]:
        """Compare a separation with the truth; where that is not known, describe it."""
        rule = f"a channel differs by more than {result.threshold:.1f} of 255"
        rule += "" if self.opening == 1 else f", opened by {self.opening} x {self.opening} pixels"
        if self.truth is not None:
            background = f"mean over {len(result.mask)} frames of the PSNR of the background, all pixels and channels, peak 255"
            value = mean_psnr(result.background, self.truth[0])
            return {"psnr_background": Metric(value, "dB", background)} | overlap(result.mask, self.truth[1], rule)
        still = f"mean over {len(result.mask)} frames of the PSNR of the background against the median of the frames over time"
        total, count = 0.0, 0  # frame by frame: the differences of a long video would fill the memory
        for frame, behind, mask in zip(self.frames, result.background, result.mask, strict=True):
            total += float((frame - behind).abs()[~mask].sum())
            count += int((~mask).sum()) * frame.shape[-1]
        share, rest = float(result.mask.float().mean()), total / count if count else math.nan
        return {
            "psnr_median": Metric(mean_psnr(result.background, self.median), "dB", f"{still}: no truth is known; peak 255"),
            "foreground": Metric(share, "1", f"share of pixels in the mask: {rule}"),
            "residual": Metric(rest, "8-bit value (0..255)", "mean |frame - background| outside the mask"),
        }

    def draw(self) -> dict[str, np.ndarray]:
        """Draw some frames: as they are, background, foreground (grey where there is none), mask, true mask."""
        count = len(self.frames)
        places = sorted({round(share * (count - 1)) for share in np.linspace(0.05, 0.95, DRAWN)})
        return {"separation": panels([self.panels_of(place) for place in places])}

    def panels_of(self, place: int) -> Row:
        """Return the panels of one frame with their titles."""
        assert self.result is not None
        frame, still = self.frames[place], self.result.background[place]
        row = [
            (self.data.names[place], colours(frame / PEAK)),
            ("background", colours(still / PEAK)),
            ("foreground", colours(difference(frame, still) / PEAK)),
            ("mask", colours(self.result.mask[place][..., None].float())),
        ]
        return row if self.truth is None else [*row, ("true mask", colours(self.truth[1][place][..., None].float()))]

    def export(self, folder: Path, scale: float) -> None:
        """Write videos of background, foreground (grey: none) and mask, `mask.npy`, `background.png` of the middle frame.

        Only that picture is `scale` times as fine.
        """
        assert self.result is not None
        still, mask = self.result.background, self.result.mask
        rate = self.video.rate
        write_video(folder / "background", (as_bytes(frame) for frame in still), rate)
        moving = (as_bytes(difference(frame, behind)) for frame, behind in zip(self.frames, still, strict=True))
        write_video(folder / "foreground", moving, rate)
        write_video(folder / "mask", (255 * frame.numpy().astype(np.uint8) for frame in mask), rate)
        np.save(folder / "mask.npy", mask.numpy())
        self.save(folder / "background", self.rendered(len(still) // 2, scale))


def as_bytes(frame: Tensor) -> np.ndarray:
    """Round a frame (rows, columns, channels) of 0..255 to bytes, grey as (rows, columns)."""
    rounded = frame.round().clamp(0, 255).to(torch.uint8).numpy()
    return rounded[..., 0] if rounded.shape[-1] == 1 else rounded


def difference(frame: Tensor, background: Tensor) -> Tensor:
    """Return a frame less its background, halved so that it fits above and below the grey of 127.5."""
    return GREY + (frame - background) / 2


def opened(masks: Bool[Tensor, "frames rows columns"], side: int) -> Bool[Tensor, "frames rows columns"]:
    """Leave of masks the part that squares of `side` pixels inside them make up.

    Outside the picture a mask goes on as at the border, so that an object that is half in view is no speckle.
    """
    if side == 1:
        return masks
    from kornia.morphology import opening  # not above: it takes a second to import, and few runs need it

    # kornia's own borders are laid around each half of the opening anew, which would cut lines along them.
    padded = F.pad(masks[:, None].float(), [side] * 4, mode="replicate")
    return opening(padded, torch.ones(side, side))[:, 0, side:-side, side:-side] > 0


def leading(frames: UInt8[Tensor, "frames *shape"], rank: int = 1) -> Float[Tensor, "frames *shape"]:
    """Approximate frames in least squares by this rank, in 0..255: truncated singular values, no mean taken off."""
    matrix = frames.flatten(1).float()
    # With M = U S V^T, M M^T = U S^2 U^T is only frames x frames, and U U^T M the part of M in the leading U.
    _, vectors = torch.linalg.eigh((matrix @ matrix.T).double())
    basis = vectors[:, -rank:].float()
    return (basis @ (basis.T @ matrix)).clamp(0, PEAK).reshape(frames.shape)


def mean_psnr(background: Tensor, truth: Tensor) -> float:
    """Average the PSNR of a background in 0..255 over the frames."""
    figures = [psnr(frame, true.float(), PEAK) for frame, true in zip(background, truth, strict=True)]
    return sum(figures) / len(figures)


def overlap(mask: Bool[Tensor, "*shape"], truth: Bool[Tensor, "*shape"], rule: str) -> dict[str, Metric]:
    """Compare a mask with the true one, over all frames together."""
    both = float((mask & truth).sum())
    found, true = float(mask.sum()), float(truth.sum())
    either = found + true - both
    return {
        "iou": Metric(both / either if either else 1.0, "1", f"pixels in both masks / in either, all frames; {rule}"),
        "precision": Metric(both / found if found else math.nan, "1", "share of the mask that is truly foreground"),
        "recall": Metric(both / true if true else math.nan, "1", "share of the true foreground that the mask has"),
    }
