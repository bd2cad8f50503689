"""Positional encoding: octaves of sines and cosines of the coordinates."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from inr.errors import InputError
from inr.networks.encoding import Waves


def nyquist_bands(training_shape: Sequence[int]) -> int:
    """Count the octaves that a grid's samples can support: floor(log2(samples / 4)) of the shortest axis, at least 1.

    Source: Sobolev training for INRs (ECCV 2022), after Sitzmann et al. (2020).
    """
    # Samples on [-1, 1] are 2 / samples apart: their Nyquist frequency is samples / 4 periods per unit. As published, this is
    # compared with 2^i, four times what the last octave, of 2^(bands - 1) / 2 periods per unit, comes to.
    return max(int(math.log2(max(min(training_shape), 4) / 4)), 1)


class PositionalEncoding(Waves):
    """The coordinates, followed by sin(2^i lowest x) and cos(2^i lowest x) for i = 0 .. bands - 1.

    `bands=None` follows from the training grid by `nyquist_bands`.
    Shapes: (..., in_features) -> (..., in_features (1 + 2 bands)).
    Units:  lowest, the frequency of the first octave, in radians per unit of [-1, 1].
    Raises: InputError if neither bands nor the training grid's shape is given, bands < 1, or lowest is not positive.
    Source: Mildenhall et al., NeRF (ECCV 2020), equation 4; its code has lowest = 1 in place of pi.
    """

    with_coordinates = True
    frequencies: Tensor

    def __init__(
        self, in_features: int, bands: int | None = None, training_shape: Sequence[int] | None = None, lowest: float = math.pi
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

    def phases(self, x: Tensor) -> Tensor:
        """Multiply each coordinate by all frequencies."""
        return (x[..., None] * self.frequencies.to(x)).flatten(-2)

    def phases_transposed(self, cotangent: Tensor) -> Tensor:
        """Sum cotangents over the frequencies of each coordinate, weighted by them."""
        return (cotangent.unflatten(-1, (-1, len(self.frequencies))) * self.frequencies.to(cotangent)).sum(-1)
