"""Penalties on codes: experts used evenly, codes sparse."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from inr.errors import InputError

LARGEST = 1e6  # weight of an expert's rank: more would drown the loss in float32
TINY = 1e-10  # of a squared mean, so that gates that are all zero divide


class Usage(NamedTuple):
    """The gates of a step as penalties see them: `dense` if all are in use, `warm` if that is so for the warm-up only.

    Shapes: gates (signals, experts), zero where not used; load (experts,), (expected) number of signals that use each.
    """

    gates: Tensor
    load: Tensor
    dense: bool = False
    warm: bool = False


def variation(x: Float[Tensor, " experts"]) -> Float[Tensor, ""]:
    """Return the squared coefficient of variation: variance / mean^2, zero if all entries are alike."""
    return x.var(unbiased=False) / (x.mean().square() + TINY)


class Balance:
    """importance CV^2(sum of |gates|) + load CV^2(load), over the signals of a step.

    published: take the signed sum of the gates for the importance, and a count without gradient for the load.
    Raises: InputError for negative weights.
    Source: Neural Implicit Dictionary Learning (ICML 2022), equation 7; Shazeer et al. (2017), section 4.
    """

    def __init__(self, importance: float = 0.01, load: float = 0.01, published: bool = False) -> None:
        if not (importance >= 0 and load >= 0):
            raise InputError(f"Weights of the balance must not be negative, got importance={importance}, load={load}.")
        self.importance, self.load = importance, load
        self.published = published

    def __call__(self, usage: Usage) -> Float[Tensor, ""]:
        """Return the penalty of a step; none while all experts are in use."""
        if usage.dense:
            return usage.gates.new_zeros(())
        # Magnitudes: of the signed gates, those of one expert cancel, and experts of mean 0 would count as unused.
        importance = usage.gates.sum(0) if self.published else usage.gates.abs().sum(0)
        load = (usage.gates != 0).sum(0).to(usage.gates.dtype) if self.published else usage.load
        return self.importance * variation(importance) + self.load * variation(load)


class Sparsity:
    """weight * mean |gate|, in the dense warm-up before top-k or always; the expert of rank r weighs `base`^r, at most 1e6.

    Raises: InputError for a negative weight or a base below 1.
    Source: Neural Implicit Dictionary Learning (ICML 2022), sections 3.2 and 4.3.
    """

    def __init__(self, weight: float = 0.01, base: float = 1.0, always: bool = False) -> None:
        if not (weight >= 0 and base >= 1):
            raise InputError(f"Sparsity needs weight >= 0 and base >= 1, got weight={weight}, base={base}.")
        self.weight, self.base = weight, base
        self.always = always

    def __call__(self, usage: Usage) -> Float[Tensor, ""]:
        """Return the penalty of a step."""
        size = usage.gates.abs()
        if not (usage.warm or self.always):
            return size.new_zeros(())
        if self.base > 1:
            ranks = torch.arange(size.shape[-1], device=size.device, dtype=size.dtype)
            size = size * (self.base**ranks).clamp(max=LARGEST)
        return self.weight * size.mean()
