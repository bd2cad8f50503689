"""Gates: which experts a code uses, and how evenly experts are used.

Gates are signed and not normalised; the largest in magnitude stay, the rest is zero.
Source: Neural Implicit Dictionary Learning via Mixture-of-Expert Training (ICML 2022), section 3.2; noisy top-k and its
        differentiable load: Shazeer et al., Outrageously Large Neural Networks (2017), appendix A.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def strongest(size: Float[Tensor, "signals experts"], count: int) -> Bool[Tensor, "signals experts"]:
    """Mask of the `count` largest entries of each row."""
    kept = torch.zeros_like(size, dtype=torch.bool)
    return kept.scatter(-1, size.topk(count, -1).indices, True)


def expected_load(
    gates: Float[Tensor, "signals experts"], noisy: Float[Tensor, "signals experts"], count: int, noise: float
) -> Float[Tensor, " experts"]:
    """How many signals would keep each expert if its own noise were drawn again: differentiable by the gates.

    An expert is kept if its noisy magnitude exceeds the `count`-th largest of the others: P(|gate + noise| > threshold) of a
    folded normal. Without noise it is the number of signals that keep the expert, which has no gradient.
    """
    kept = strongest(noisy.abs(), count)
    if noise == 0:
        return kept.sum(0).to(gates.dtype)
    ranked = noisy.detach().abs().topk(min(count + 1, gates.shape[-1]), -1).values
    threshold = torch.where(kept, ranked[:, -1:], ranked[:, count - 1 : count])
    above = (gates - threshold) / (math.sqrt(2) * noise)
    below = (-gates - threshold) / (math.sqrt(2) * noise)
    return (1 + (torch.erf(above) + torch.erf(below)) / 2).sum(0)
