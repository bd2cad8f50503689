"""Linear maps with their pushforward, and chains of modules."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from inr.field import HiddenMatrices
from inr.tangents import pullback, pushforward


def at_least_float32(x: Tensor) -> Tensor:
    """Convert half precision to float32; any other type stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def linear32(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply a linear map that autocast leaves in float32: for coordinates, phases of encodings and the last layer."""
    # bf16 rounds to 8 bits: a coordinate near 1 is off by up to 1/512, half a pixel of an image 512 wide.
    with torch.autocast(x.device.type, enabled=False):
        return F.linear(at_least_float32(x), weight, bias)


class Linear(nn.Linear, HiddenMatrices):
    """A linear layer through which tangents pass; with `exact`, at the ends of a network, it computes in float32 always."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, exact: bool = False) -> None:
        super().__init__(in_features, out_features, bias)
        self.exact = exact
        self.apply_weight = linear32 if exact else F.linear

    def hidden_matrices(self) -> list[Tensor]:
        """Return the weight of a layer between features."""
        return [] if self.exact else [self.weight]

    def matrix(self) -> Tensor:
        """Return the matrix that acts on the features."""
        return self.weight

    def forward(self, x: Float[Tensor, "*batch features"]) -> Tensor:
        """Map the features: W x + b."""
        return self.apply_weight(x, self.weight, self.bias)

    def pushforward(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """Map the features and their tangents: W x + b and W dx."""
        return self(x), self.apply_weight(dx, self.weight)

    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Map the features, and cotangents by the transpose of W."""
        return self(x), lambda cotangent: self.apply_weight(cotangent, self.weight.T)


class ComplexLinear(nn.Module, HiddenMatrices):
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
        components = 1 if position == "first" else 2  # real, imaginary
        bound = 1 / math.sqrt(in_features)
        self.weight = nn.Parameter(torch.empty(components, out_features, in_features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(1 if position in ("first", "last") else 2, out_features).uniform_(-bound, bound))
        self.position = position
        self.apply_weight = F.linear if position == "hidden" else linear32

    def hidden_matrices(self) -> list[Tensor]:
        """Return the weight of a hidden layer, a stack of its real and its imaginary part."""
        return [self.weight] if self.position == "hidden" else []

    def matrix(self) -> Tensor:
        """Return the real matrix that acts on [real | imaginary]."""
        if self.position == "first":
            return self.weight[0]
        # (U + iV)(x + iy) = (U x - V y) + i (V x + U y): rows [U, -V] give the real part, rows [V, U] the imaginary one.
        real, imaginary = self.weight
        upper = torch.cat([real, -imaginary], -1)
        return upper if self.position == "last" else torch.cat([upper, torch.cat([imaginary, real], -1)])

    def complete(self, z: Tensor) -> Tensor:
        """Append the imaginary part, zero, that the first layer's product lacks."""
        return F.pad(z, (0, z.shape[-1])) if self.position == "first" else z

    def forward(self, x: Tensor) -> Tensor:
        """Map the features: M [x | y] + [b | c]."""
        return self.complete(self.apply_weight(x, self.matrix(), self.bias.flatten()))

    def pushforward(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """Map the features, and their tangents by M."""
        matrix = self.matrix()  # put together once for both
        z = self.apply_weight(x, matrix, self.bias.flatten())
        return self.complete(z), self.complete(self.apply_weight(dx, matrix))

    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Map the features, and cotangents by the transpose of M."""
        matrix = self.matrix()
        # The zeros appended to the first layer's product do not depend on x, so their cotangents are cut off.
        return self(x), lambda cotangent: self.apply_weight(cotangent[..., : len(matrix)], matrix.T)


class Chain(nn.Sequential):
    """Modules one after another; tangents pass through each by its own pushforward, cotangents by its pullback."""

    def pushforward(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """Return value and tangents after the last module."""
        for module in self:
            x, dx = pushforward(module, x, dx)
        return x, dx

    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the value after the last module, and the map from cotangents there to those before the first."""
        pulls = []
        for module in self:
            x, pull = pullback(module, x)
            pulls.append(pull)

        def pull_all(cotangent: Tensor) -> Tensor:
            for pull in reversed(pulls):  # the transpose of a product is the product of the transposes in reverse
                cotangent = pull(cotangent)
            return cotangent

        return x, pull_all


class SkipConnection(nn.Module):
    """A chain whose input is handed on in front of its output: x -> (x, chain(x))."""

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self.chain = chain

    def forward(self, x: Float[Tensor, "*batch features"]) -> Tensor:
        """Concatenate the input and the chain's output."""
        y = self.chain(x)
        return torch.cat([x.to(y.dtype), y], -1)

    def pushforward(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """Concatenate input and output, and their tangents."""
        y, dy = self.chain.pushforward(x, dx)
        # Tangents shared by all points (size 1) take their full size only here, where they meet others.
        dx = dx.expand(*dy.shape[:-1], dx.shape[-1])
        return torch.cat([x.to(y.dtype), y], -1), torch.cat([dx.to(dy.dtype), dy], -1)

    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Concatenate input and output; a cotangent's two halves add up at the input, the second after the chain."""
        y, pull_chain = self.chain.pullback(x)

        def pull(cotangent: Tensor) -> Tensor:
            direct, through = cotangent.tensor_split([x.shape[-1]], -1)
            return direct + pull_chain(through)

        return torch.cat([x.to(y.dtype), y], -1), pull
