"""The slope of a sampled signal, by which frequencies of networks are chosen."""

from collections.abc import Sequence

import torch
from torch import Tensor

from inr.supervision.differences import complete_at, jacobian_at

TINY = 1e-30  # a variance that divides


def relative_slope(samples: Tensor, missing: Tensor | None, scale: Sequence[float], rule: tuple[str, str], most: int) -> float:
    """Return the root-mean-square gradient over the standard deviation, at no more than so many samples.

    scale: steps of the samples in a unit of the coordinates, by axis.
    rule:  filter and border of the differences, which read no missing sample.
    Shapes: samples (*shape, channels), missing (*shape).
    """
    total = samples.shape[:-1].numel()
    some = torch.arange(min(total, most)) * total // min(total, most)
    indices = torch.stack(torch.unravel_index(some, samples.shape[:-1]), -1)
    if missing is not None:
        indices = indices[complete_at(~missing[..., None], indices, *rule)[:, 0]]
    gradients = torch.tensor(scale) * jacobian_at(samples, indices, *rule)
    variance = samples[tuple(indices.T)].float().var(0).mean()
    return float((gradients.square().sum(-1).mean() / variance.clamp_min(TINY)).sqrt())
