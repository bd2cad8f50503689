"""Linear maps with their pushforward, and chains of modules."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from inr.tangents import pullback, pushforward


def at_least_float32(x: Tensor) -> Tensor:
    """The tensor in float32 if it is in half precision, else as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def linear32(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A linear map that autocast leaves in float32: for coordinates, phases of encodings and the last layer."""
    with torch.autocast(x.device.type, enabled=False):
        return F.linear(at_least_float32(x), weight, bias)


class Linear(nn.Linear):
    """A linear layer through which tangents pass; with `exact` it ignores autocast and computes in float32."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, exact: bool = False) -> None:
        super().__init__(in_features, out_features, bias)
        self.apply_weight = linear32 if exact else F.linear

    def matrix(self) -> Tensor:
        """The matrix that acts on the features."""
        return self.weight

    def forward(self, x: Float[Tensor, "*batch features"]) -> Tensor:
        """The affine map of the features."""
        return self.apply_weight(x, self.weight, self.bias)

    def pushforward(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """The map of the features, and the linear part of it applied to their tangents."""
        return self(x), self.apply_weight(dx, self.weight)

    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The map of the features, and its transpose for cotangents."""
        return self(x), lambda cotangent: self.apply_weight(cotangent, self.weight.T)


class ComplexLinear(nn.Module):
    """A complex linear layer on features laid out as [real | imaginary], as one real matrix product.

    The first layer takes real features, with real weights, and appends a zero imaginary part; the last returns the real
    part only. So bf16, `torch.compile` and the pushforward see nothing but real matrices.

    Shapes: (..., in) -> (..., 2 out) for position "first", (..., 2 in) -> (..., 2 out) for "hidden",
            (..., 2 in) -> (..., out) for "last"; in and out count complex features.
    Source: Saragadam et al., WIRE: Wavelet Implicit Neural Representations (CVPR 2023), section 3; initialised as there,
            real and imaginary parts uniform in +-1/sqrt(in).
    """

    def __init__(self, in_features: int, out_features: int, position: str) -> None:
        super().__init__()
        parts = 1 if position == "first" else 2
        bound = 1 / math.sqrt(in_features)
        self.weight = nn.Parameter(torch.empty(parts, out_features, in_features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(1 if position in ("first", "last") else 2, out_features).uniform_(-bound, bound))
        self.position = position
        self.apply_weight = F.linear if position == "hidden" else linear32

    def matrix(self) -> Tensor:
        """The real matrix that acts on [real | imaginary]."""
        if self.position == "first":
            return self.weight[0]
        real, imaginary = self.weight
        above = torch.cat([real, -imaginary], -1)
        return above if self.position == "last" else torch.cat([above, torch.cat([imaginary, real], -1)])

    def complete(self, z: Tensor) -> Tensor:
        """Append the imaginary part, zero, that the first layer's product lacks."""
        return F.pad(z, (0, z.shape[-1])) if self.position == "first" else z

    def forward(self, x: Tensor) -> Tensor:
        """The affine map of the features."""
        return self.complete(self.apply_weight(x, self.matrix(), self.bias.flatten()))

    def pushforward(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """The map of the features, and the linear part of it applied to their tangents."""
        matrix = self.matrix()
        z, dz = self.apply_weight(x, matrix, self.bias.flatten()), self.apply_weight(dx, matrix)
        return self.complete(z), self.complete(dz)

    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The map of the features, and its transpose for cotangents."""
        matrix = self.matrix()
        return self(x), lambda cotangent: self.apply_weight(cotangent[..., : len(matrix)], matrix.T)


class Chain(nn.Sequential):
    """Modules one after another; tangents pass through each by its own pushforward, cotangents return by its pullback."""

    def pushforward(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """Value and tangents after the last module."""
        for module in self:
            x, dx = pushforward(module, x, dx)
        return x, dx

    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Value after the last module, and how cotangents return to the first."""
        backs = []
        for module in self:
            x, back = pullback(module, x)
            backs.append(back)

        def returned(cotangent: Tensor) -> Tensor:
            for back in reversed(backs):
                cotangent = back(cotangent)
            return cotangent

        return x, returned


class Again(nn.Module):
    """A chain after which its input enters once more: (x) -> (x, chain(x)); a skip connection."""

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self.chain = chain

    def forward(self, x: Float[Tensor, "*batch features"]) -> Tensor:
        """The input beside what the chain makes of it."""
        y = self.chain(x)
        return torch.cat([x.to(y.dtype), y], -1)

    def pushforward(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """The same of value and tangents."""
        y, dy = self.chain.pushforward(x, dx)
        dx = dx.expand(*dy.shape[:-1], dx.shape[-1])
        return torch.cat([x.to(y.dtype), y], -1), torch.cat([dx.to(dy.dtype), dy], -1)

    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The same value; cotangents return by both ways."""
        y, back = self.chain.pullback(x)

        def returned(cotangent: Tensor) -> Tensor:
            direct, through = cotangent.tensor_split([x.shape[-1]], -1)
            return direct + back(through)

        return torch.cat([x.to(y.dtype), y], -1), returned
