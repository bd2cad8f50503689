"""Gates: the experts that a code uses, and the evenness of their use.

Gates are signed and not normalised; the largest in magnitude stay, the rest is zero.
Source: Neural Implicit Dictionary Learning via Mixture-of-Expert Training (ICML 2022), section 3.2; noisy top-k and its
        differentiable load: Shazeer et al., Outrageously Large Neural Networks (2017), appendix A.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def strongest(size: Float[Tensor, "signals experts"], count: int) -> Bool[Tensor, "signals experts"]:
    """Mark the `count` largest entries of each row."""
    # By their places and not by a threshold: of equal entries no more than `count` are marked.
    return torch.zeros_like(size, dtype=torch.bool).scatter(-1, size.topk(count, -1).indices, True)


def expected_load(
    gates: Float[Tensor, "signals experts"], noisy: Float[Tensor, "signals experts"], count: int, noise: float
) -> Float[Tensor, " experts"]:
    """Return the expected number of signals that use each expert if its noise came anew: differentiable by the gates.

    An expert is used if its noisy magnitude exceeds the `count`-th largest of the others. Without noise it is the number of
    signals that use the expert, which has no gradient.
    """
    used = strongest(noisy.abs(), count)
    if noise == 0:
        return used.sum(0).to(gates.dtype)
    # The count-th largest of the others is the (count + 1)-th of all for an expert that is used, else the count-th.
    ranked = noisy.detach().abs().topk(min(count + 1, gates.shape[-1]), -1).values
    threshold = torch.where(used, ranked[:, -1:], ranked[:, count - 1 : count])
    # P(|g + noise n| > t) = P(n > (t - g) / noise) + P(n < (-t - g) / noise), with P(n < x) = (1 + erf(x / sqrt 2)) / 2.
    above = (gates - threshold) / (math.sqrt(2) * noise)
    below = (-gates - threshold) / (math.sqrt(2) * noise)
    return (1 + (torch.erf(above) + torch.erf(below)) / 2).sum(0)
