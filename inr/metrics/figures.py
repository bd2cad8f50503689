"""Figures of merit; every one carries its unit and its definition."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
import torchmetrics
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.utilities import dim_zero_cat

SLAB = 2**20  # numbers that are compared at a time, so that long films need no second copy
STRIP = 256  # rows whose similarity is computed at a time: it needs a dozen maps of their size
WINDOW = 11  # pixels on a side of the window of structural similarity
LUMA = (65.738 / 256, 129.057 / 256, 25.064 / 256)  # weights of red, green, blue: ITU-R BT.601


class Metric(NamedTuple):
    """A figure as tables and files show it: value, unit, and in words its definition."""

    value: float
    unit: str
    definition: str


class MeanOverImages(torchmetrics.Metric):
    """Mean over images of a figure of each, such as `psnr`; Lightning resets it every epoch and gathers all processes.

    figure: function of what `update` is given for an image.
    """

    values: list[Tensor]

    def __init__(self, figure: Callable[..., float]) -> None:
        super().__init__()
        self.figure = figure
        self.add_state("values", default=[], dist_reduce_fx="cat")

    def update(self, *images: Tensor, **options: Tensor | float | None) -> None:
        """Add the figure of an image."""
        exact = torch.float32 if self.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        self.values.append(torch.tensor([self.figure(*images, **options)], dtype=exact, device=self.device))

    def mean(self) -> float:
        """Return the mean over the images of this process (once gathered, of all) in double precision; nan without any."""
        figures = dim_zero_cat(self.values).tolist() if len(self.values) else []
        return sum(figures) / len(figures) if figures else math.nan

    def compute(self) -> Tensor:
        """Return the mean in the default type, as Lightning logs numbers."""
        return torch.tensor(self.mean(), device=self.device)


def luma(image: Float[Tensor, "*shape channels"]) -> Float[Tensor, "*shape"]:
    """Return the brightness of an image: ITU-R BT.601 luma without offset for three channels, their mean otherwise."""
    # kornia's grey is of full range (0.299, 0.587, 0.114); published figures are of MATLAB's rgb2ycbcr, of studio range.
    return image @ image.new_tensor(LUMA) if image.shape[-1] == 3 else image.mean(-1)


def mean_square(pairs: Iterable[tuple[Tensor, ...]]) -> float:
    """Return the mean squared difference of pairs of tensors, summed in float64; nan without any."""
    total, count = 0.0, 0
    for one, other in pairs:
        total += (one - other).square().sum(dtype=torch.float64).item()
        count += one.numel()
    return total / count if count else math.nan


def slabs(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Cut tensors of one length alike along the first axis, so that what is made of a piece stays small."""
    rows = max(SLAB * len(tensors[0]) // max(tensors[0].numel(), 1), 1)
    return zip(*(tensor.split(rows) for tensor in tensors), strict=True)


def decibels(power: float, noise: float) -> float:
    """Return 10 log10(power / noise): inf without noise, -inf without power or with infinite noise, nan with neither."""
    ratio = math.inf if noise == 0 else power / noise
    return 10 * math.log10(ratio) if ratio > 0 else (-math.inf if ratio == 0 else math.nan)


def psnr(prediction: Tensor, target: Tensor, peak: float = 1.0, mask: Bool[Tensor, "*shape"] | None = None) -> float:
    """Return the peak signal-to-noise ratio 10 log10(peak^2 / mean squared error) [dB], over the samples of the mask.

    Shapes: prediction and target alike; the mask covers their leading axes. An empty mask gives nan, no error inf, an
            infinite error or no peak -inf.
    """
    # torchmetrics' PSNR pools the errors of all images, sums in float32, and knows neither masks nor an empty one.
    if mask is None:
        return decibels(peak**2, mean_square(slabs(prediction, target)))
    pieces = slabs(prediction, target, mask)
    return decibels(peak**2, mean_square((one[inside], other[inside]) for one, other, inside in pieces))


def snr(prediction: Tensor, target: Tensor, mask: Bool[Tensor, "*shape"] | None = None) -> float:
    """Return the signal-to-noise ratio 10 log10(signal energy / error energy) [dB], over the samples of the mask."""
    # torchmetrics adds an epsilon to both energies, so that an exact sound has a finite ratio and a faint one another.
    if mask is not None:
        prediction, target = prediction[mask], target[mask]
    return psnr(prediction, target, peak=target.double().square().mean().sqrt().item())


def ssim(
    prediction: Float[Tensor, "rows columns"],
    target: Float[Tensor, "rows columns"],
    peak: float = 1.0,
    mask: Bool[Tensor, "rows columns"] | None = None,
) -> float:
    """Return the structural similarity: gaussian window of 11 samples and sigma 1.5, mean over the windows inside the image.

    mask: the samples that windows are centred at; None: all. Where it hides some, both images should be alike there.

    Source: Wang et al., Image quality assessment (2004); nan for images smaller than the window.
    """
    if min(target.shape) < WINDOW:
        return math.nan
    reach, total, count = WINDOW // 2, 0.0, 0
    # torchmetrics' mean of the whole is the same but takes a dozen copies of the image; strips overlap by a window's reach.
    for first in range(reach, len(target) - reach, STRIP):
        rows = slice(first - reach, min(first + STRIP, len(target) - reach) + reach)
        strips = prediction[None, None, rows], target[None, None, rows]
        _, similarity = structural_similarity_index_measure(*strips, data_range=peak, return_full_image=True)
        windows = similarity[0, 0, reach:-reach, reach:-reach]
        counted = windows if mask is None else windows[mask[rows][reach:-reach, reach:-reach]]
        total += counted.sum(dtype=torch.float64).item()
        count += counted.numel()
    return total / count if count else math.nan
