"""Positional encoding: octaves of sines and cosines of the coordinates."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr.errors import InputError


def nyquist_bands(training_shape: Sequence[int]) -> int:
    """Octaves that samples this far apart can support: floor(log2(samples / 4)) of the shortest axis.

    Source: Sobolev training for INRs (ECCV 2022), after Sitzmann et al. (2020).
    """
    return max(int(math.log2(max(min(training_shape), 4) / 4)), 1)


class PositionalEncoding(nn.Module):
    """The coordinates, followed by sin(2^i lowest x) and cos(2^i lowest x) for i = 0 .. bands - 1.

    `bands=None` follows from the training grid by `nyquist_bands`.

    Shapes: (..., in_features) -> (..., in_features (1 + 2 bands)).
    Units:  lowest, the frequency of the first octave, in radians per unit of [-1, 1].
    Raises: InputError if neither bands nor the training grid's shape is given, bands < 1, or lowest is not positive.
    Source: Mildenhall et al., NeRF (ECCV 2020), equation 4; its code has lowest = 1 in place of pi.
    """

    frequencies: Tensor

    def __init__(
        self,
        in_features: int,
        bands: int | None = None,
        training_shape: Sequence[int] | None = None,
        lowest: float = math.pi,
    ) -> None:
        super().__init__()
        if bands is None:
            if training_shape is None:
                raise InputError("A positional encoding needs bands, or the training_shape to derive them from; got neither.")
            bands = nyquist_bands(training_shape)
        if bands < 1 or not lowest > 0:
            raise InputError(f"A positional encoding needs bands >= 1 and lowest > 0, got bands={bands}, lowest={lowest}.")
        self.register_buffer("frequencies", lowest * 2.0 ** torch.arange(bands), persistent=False)
        self.out_features = in_features * (1 + 2 * bands)

    def forward(self, x: Float[Tensor, "*batch dims"]) -> Float[Tensor, "*batch features"]:
        """The encoded coordinates."""
        phase = (x[..., None] * self.frequencies.to(x)).flatten(-2)
        return torch.cat([x, phase.sin(), phase.cos()], -1)

    def pushforward(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """The encoded coordinates and their tangents."""
        phase = (x[..., None] * self.frequencies.to(x)).flatten(-2)
        turn = (dx[..., None] * self.frequencies.to(x)).flatten(-2)
        sine, cosine = phase.sin(), phase.cos()
        return torch.cat([x, sine, cosine], -1), torch.cat([dx.expand(len(dx), *x.shape), cosine * turn, -sine * turn], -1)

    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The encoded coordinates, and how cotangents of them return."""
        frequencies = self.frequencies.to(x)
        phase = (x[..., None] * frequencies).flatten(-2)
        sine, cosine = phase.sin(), phase.cos()

        def returned(cotangent: Tensor) -> Tensor:
            kept, by_sine, by_cosine = cotangent.split([x.shape[-1], phase.shape[-1], phase.shape[-1]], -1)
            turn = by_sine * cosine - by_cosine * sine
            return kept + (turn.unflatten(-1, (x.shape[-1], -1)) * frequencies).sum(-1)

        return torch.cat([x, sine, cosine], -1), returned
