"""Fourier features: sines and cosines along random directions."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr.errors import InputError
from inr.networks.linear import linear32


class FourierFeatures(nn.Module):
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
        self.register_buffer("directions", scale * torch.randn(frequencies, in_features))
        self.out_features = 2 * frequencies

    def forward(self, x: Float[Tensor, "*batch dims"]) -> Float[Tensor, "*batch features"]:
        """The encoded coordinates."""
        phase = linear32(x, self.directions)
        return torch.cat([phase.sin(), phase.cos()], -1)

    def pushforward(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """The encoded coordinates and their tangents."""
        phase, turn = linear32(x, self.directions), linear32(dx, self.directions)
        sine, cosine = phase.sin(), phase.cos()
        return torch.cat([sine, cosine], -1), torch.cat([cosine * turn, -sine * turn], -1)

    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The encoded coordinates, and how cotangents of them return."""
        phase = linear32(x, self.directions)
        sine, cosine = phase.sin(), phase.cos()

        def returned(cotangent: Tensor) -> Tensor:
            by_sine, by_cosine = cotangent.chunk(2, -1)
            return linear32(by_sine * cosine - by_cosine * sine, self.directions.T)

        return torch.cat([sine, cosine], -1), returned
