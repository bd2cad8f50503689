"""The base of encodings: features of the coordinates that a network sees in their place."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Encoding(nn.Module):
    """A map from coordinates (..., in_features) to features (..., out_features)."""

    out_features: int


class Waves(Encoding, ABC):
    """Sines and cosines of phases that are linear in the coordinates; `with_coordinates` in front, too."""

    with_coordinates = False

    @abstractmethod
    def phases(self, x: Tensor) -> Tensor:
        """Map coordinates to phases [rad], linearly."""

    @abstractmethod
    def phases_transposed(self, cotangent: Tensor) -> Tensor:
        """Map cotangents of the phases to those of the coordinates."""

    def forward(self, x: Float[Tensor, "*batch dims"]) -> Float[Tensor, "*batch features"]:
        """Encode coordinates."""
        phase = self.phases(x)
        return torch.cat([*([x] if self.with_coordinates else []), phase.sin(), phase.cos()], -1)

    def pushforward(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """Encode coordinates, and their tangents: d sin p = cos p dp, d cos p = -sin p dp, where dp is linear in dx."""
        # Each of sine and cosine is, up to sign, the derivative of the other, so both are computed once.
        phase, dphase = self.phases(x), self.phases(dx)
        sine, cosine = phase.sin(), phase.cos()
        value, tangent = ([x], [dx.expand(len(dx), *x.shape)]) if self.with_coordinates else ([], [])
        return torch.cat([*value, sine, cosine], -1), torch.cat([*tangent, cosine * dphase, -sine * dphase], -1)

    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Encode coordinates, and pull cotangents back: through the phases, and directly where coordinates come along."""
        phase = self.phases(x)
        sine, cosine = phase.sin(), phase.cos()

        def pull(cotangent: Tensor) -> Tensor:
            direct, waves = cotangent.tensor_split([-2 * phase.shape[-1]], -1)
            by_sine, by_cosine = waves.chunk(2, -1)
            through = self.phases_transposed(by_sine * cosine - by_cosine * sine)
            return direct + through if self.with_coordinates else through

        return torch.cat([*([x] if self.with_coordinates else []), sine, cosine], -1), pull
