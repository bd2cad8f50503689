"""Figures of merit; every one carries its unit and its definition."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

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


def psnr(prediction: Tensor, target: Tensor, peak: float = 1.0, mask: Bool[Tensor, "*shape"] | None = None) -> float:
    """Peak signal-to-noise ratio 10 log10(peak^2 / mean squared error) [dB], over the samples of the mask.

    Shapes: prediction and target alike; the mask covers their leading axes. An empty mask gives nan, no error inf, an
            infinite error or no peak -inf.
    """
    error = (prediction - target).square()
    if mask is not None:
        error = error[mask]
    mean = error.double().mean().item()
    ratio = math.inf if mean == 0 else peak**2 / mean
    return 10 * math.log10(ratio) if ratio > 0 else (-math.inf if ratio == 0 else math.nan)


def snr(prediction: Tensor, target: Tensor, mask: Bool[Tensor, "*shape"] | None = None) -> float:
    """Signal-to-noise ratio 10 log10(signal energy / error energy) [dB], over the samples of the mask."""
    if mask is not None:
        prediction, target = prediction[mask], target[mask]
    return psnr(prediction, target, peak=target.double().square().mean().sqrt().item())


def ssim(prediction: Float[Tensor, "rows columns"], target: Float[Tensor, "rows columns"], peak: float = 1.0) -> float:
    """Structural similarity: gaussian window of 11 samples and sigma 1.5, mean over the windows inside the image.

    Source: Wang et al., Image quality assessment (2004); nan for images smaller than the window.
    """
    if min(target.shape) < 11:
        return math.nan
    images = prediction[None, None], target[None, None]
    _, similarities = structural_similarity_index_measure(*images, data_range=peak, return_full_image=True)
    return float(similarities[..., 5:-5, 5:-5].mean())  # windows that reach beyond the border are not part of it
