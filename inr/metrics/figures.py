"""Figures of merit; every one carries its unit and its definition."""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

SLAB, STRIP, WINDOW = 2**20, 256, 11
LUMA = (65.738 / 256, 129.057 / 256, 25.064 / 256)


class Metric(NamedTuple):
    """A figure, its unit, and in words what it is."""

    value: float
    unit: str
    definition: str


def luma(image: Float[Tensor, "*shape channels"]) -> Float[Tensor, "*shape"]:
    """Brightness of an image: ITU-R BT.601 luma without offset for three channels, their mean otherwise."""
    if image.shape[-1] != 3:
        return image.mean(-1)
    return image @ image.new_tensor(LUMA)


def mean_square(pairs: Iterable[tuple[Tensor, ...]]) -> float:
    """Mean squared difference of pairs of tensors, summed in float64; nan without any."""
    total, count = 0.0, 0
    for one, other in pairs:
        total += (one - other).square().sum(dtype=torch.float64).item()
        count += one.numel()
    return total / count if count else math.nan


def slabs(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors of one length cut alike along the first axis, so that what is made of a piece stays small."""
    rows = max(SLAB * len(tensors[0]) // max(tensors[0].numel(), 1), 1)
    return zip(*(tensor.split(rows) for tensor in tensors), strict=True)


def decibels(power: float, noise: float) -> float:
    """10 log10(power / noise): inf without noise, -inf without power or with infinite noise, nan where there is neither."""
    ratio = math.inf if noise == 0 else power / noise
    return 10 * math.log10(ratio) if ratio > 0 else (-math.inf if ratio == 0 else math.nan)


def psnr(prediction: Tensor, target: Tensor, peak: float = 1.0, mask: Bool[Tensor, "*shape"] | None = None) -> float:
    """Peak signal-to-noise ratio 10 log10(peak^2 / mean squared error) [dB], over the samples of the mask.

    Shapes: prediction and target alike; the mask covers their leading axes. An empty mask gives nan, no error inf, an
            infinite error or no peak -inf.
    """
    if mask is None:
        return decibels(peak**2, mean_square(slabs(prediction, target)))
    parts = slabs(prediction, target, mask)
    return decibels(peak**2, mean_square((one[inside], other[inside]) for one, other, inside in parts))


def snr(prediction: Tensor, target: Tensor, mask: Bool[Tensor, "*shape"] | None = None) -> float:
    """Signal-to-noise ratio 10 log10(signal energy / error energy) [dB], over the samples of the mask."""
    if mask is not None:
        prediction, target = prediction[mask], target[mask]
    return psnr(prediction, target, peak=target.double().square().mean().sqrt().item())


def ssim(prediction: Float[Tensor, "rows columns"], target: Float[Tensor, "rows columns"], peak: float = 1.0) -> float:
    """Structural similarity: gaussian window of 11 samples and sigma 1.5, mean over the windows inside the image.

    Source: Wang et al., Image quality assessment (2004); nan for images smaller than the window.
    """
    if min(target.shape) < WINDOW:
        return math.nan
    reach, total = WINDOW // 2, 0.0
    for first in range(reach, len(target) - reach, STRIP):
        rows = slice(first - reach, min(first + STRIP, len(target) - reach) + reach)
        strips = prediction[None, None, rows], target[None, None, rows]
        _, similarity = structural_similarity_index_measure(*strips, data_range=peak, return_full_image=True)
        total += similarity[..., reach:-reach, reach:-reach].sum(dtype=torch.float64).item()
    return total / ((target.shape[0] - 2 * reach) * (target.shape[1] - 2 * reach))
