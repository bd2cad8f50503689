"""Fourier features: sines and cosines along random directions."""

import torch
from torch import Tensor

from inr.errors import InputError
from inr.networks.encoding import Waves
from inr.networks.linear import linear32


class FourierFeatures(Waves):
    """sin(B x) and cos(B x) with fixed B ~ N(0, scale^2).

    Shapes: (..., in_features) -> (..., 2 frequencies).
    Units:  scale in radians per unit of [-1, 1]; there is no further 2 pi.
    Raises: InputError unless scale and frequencies are positive.
    Source: Tancik et al., Fourier Features Let Networks Learn High Frequency Functions (2020), section 5.
    """

    directions: Tensor

    def __init__(self, in_features: int, frequencies: int = 256, scale: float = 30.0) -> None:
        super().__init__()
        if frequencies < 1 or not scale > 0:
            raise InputError(f"Fourier features need frequencies >= 1 and scale > 0, got {frequencies} and {scale}.")
        self.register_buffer("directions", scale * torch.randn(frequencies, in_features))  # random, so it is saved
        self.out_features = 2 * frequencies

    def phases(self, x: Tensor) -> Tensor:
        """Project coordinates on the directions: B x."""
        return linear32(x, self.directions)

    def phases_transposed(self, cotangent: Tensor) -> Tensor:
        """Apply the transpose of B."""
        return linear32(cotangent, self.directions.T)
