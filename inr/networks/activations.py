"""Nonlinearities: value, slope, and the initialisation published with each."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr.errors import InputError
from inr.networks.linear import ComplexLinear, Linear, at_least_float32
from inr.tangents import jvp


def require_positive(**options: float) -> None:
    """Raise InputError for options that must be above zero and are not."""
    for name, value in options.items():
        if not value > 0:  # also of nan
            raise InputError(f"{name} must be positive, got {name}={value}.")


def frequency_of(slope: float, axes: int) -> float:
    """Return the omega that sines should have for signals of a root-mean-square slope, in deviations per unit of the points.

    A fit to the best of several frequencies, on images, sounds and shapes: benchmarks/README.md.
    """
    return 3 * (math.sqrt(3) * axes * slope) ** 0.6


class Elementwise(torch.autograd.Function):
    """(z, dz) -> (f(z), f'(z), f'(z) dz), with a backward pass that needs fewer tensors than autograd would keep.

    Autograd would keep the arguments of every operation on the way; here z, dz, f and f' do, or f' alone if f'' is zero.
    The backward pass is made of saved inputs and outputs, so it can be differentiated again.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, dz: Tensor, activation: "Activation") -> tuple[Tensor, Tensor, Tensor]:
        """Return value, slope, and slope times each tangent (axes, ..., features)."""
        value, slope = activation.value_and_slope(z)
        return value, slope, slope * dz

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, "Activation"], output: tuple[Tensor, Tensor, Tensor]) -> None:
        """Save inputs and outputs, of a piecewise linear function the slope alone."""
        z, dz, ctx.activation = inputs
        value, slope, _ = output
        ctx.save_for_backward(slope, *([z, dz, value] if ctx.activation.curved else []))
        ctx.set_materialize_grads(False)  # None, not zeros, for an output that the loss does not read
        ctx.tangents = dz.shape

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        """Return the gradients of z and of dz."""
        # With v = f, s = f', t = f' dz a change of z and dz changes the loss by
        #   g_v f' δz + g_s f'' δz + sum over axes of g_t (f'' dz δz + f' δdz), so
        #   g_z = f' g_v + f'' (g_s + sum over axes of dz g_t)   and   g_dz = f' g_t, summed where dz was broadcast.
        slope, *rest = ctx.saved_tensors
        by_value, by_slope, by_tangent = gradients
        gradient = None if by_value is None else slope * by_value
        to_tangents = None if by_tangent is None else (slope * by_tangent).sum_to_size(ctx.tangents)
        if not rest or (by_slope is None and by_tangent is None):
            return gradient, to_tangents, None
        z, dz, value = rest
        factors = [by_slope] if by_tangent is None else [add_up(dz * by_tangent), by_slope]
        factor = functools.reduce(torch.add, [one for one in factors if one is not None])
        curvature = ctx.activation.curvature(z, value, slope)
        gradient = curvature * factor if gradient is None else torch.addcmul(gradient, curvature, factor)
        return gradient, to_tangents, None


def add_up(products: Tensor) -> Tensor:
    """Return the sum over the first axis; of a single entry that entry, without a copy."""
    return products[0] if len(products) == 1 else products.sum(0)


class Activation(nn.Module):
    """An elementwise nonlinearity: subclasses give `forward`, where it pays the derivatives, and initialise their layers.

    Shapes: z (..., features) -> value, slope and curvature of the same shape; tangents dz (axes, ..., features).
    Phases are computed in float32 under autocast; results come back in the precision of z.
    """

    complex_valued = False  # features are laid out as [real | imaginary]
    curved = True  # the second derivative is not zero everywhere

    def value_and_slope(self, z: Float[Tensor, "*batch features"]) -> tuple[Tensor, Tensor]:
        """Return the value and the derivative, sharing what they have in common; by forward mode unless written out."""
        return jvp(self.forward, (z,), (torch.ones_like(z),))[:2]

    def curvature(self, z: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        """Return the second derivative, from the argument and the results of `value_and_slope`."""
        return jvp(lambda x: self.value_and_slope(x)[1], (z,), (torch.ones_like(z),))[1]

    def pushforward(self, z: Tensor, dz: Tensor) -> tuple[Tensor, Tensor]:
        """Return the value, and slope times each tangent."""
        value, _, tangents = Elementwise.apply(z, dz, self)
        return value, tangents

    def pullback(self, z: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the value, and the map from cotangents to slope times cotangent."""
        value, slope, _ = Elementwise.apply(z, z.new_empty(0, *z.shape), self)  # along no tangent
        return value, lambda cotangent: slope * cotangent

    def layer(self, in_features: int, out_features: int, position: str) -> Linear | ComplexLinear:
        """Make the linear layer that feeds this activation; position is `first`, `hidden` or `last` (which feeds none)."""
        linear = Linear(in_features, out_features, exact=position != "hidden")
        with torch.no_grad():
            self.initialise(linear, position)
        return linear

    def initialise(self, linear: Linear, position: str) -> None:
        """Overwrite the layer's weights as published; torch's default (uniform in +-1/sqrt(in)) stays otherwise."""


class Sine(Activation):
    """sin(omega z).

    Initialisation: first layer U(+-1/in), the others U(+-sqrt(6/in)/omega), the last too; with `siren=False` torch's default.
    Raises: InputError unless omega is positive.
    Source: Sitzmann et al., Implicit Neural Representations with Periodic Activation Functions (2020), section 3.2.
    """

    def __init__(self, omega: float = 30.0, siren: bool = True) -> None:
        super().__init__()
        require_positive(omega=omega)
        self.omega, self.siren = omega, siren

    def forward(self, z: Tensor) -> Tensor:
        """Return sin(omega z)."""
        # bf16 would round a phase of 30 radians by up to 0.06.
        return (self.omega * at_least_float32(z)).sin().to(z.dtype)

    def value_and_slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return sin(omega z) and omega cos(omega z)."""
        phase = self.omega * at_least_float32(z)
        value = phase.sin().to(z.dtype)
        return value, phase.cos_().mul_(self.omega).to(z.dtype)  # in place: new memory takes as long as the cosines

    def curvature(self, z: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        """Return -omega^2 sin(omega z)."""
        return -(self.omega**2) * value

    def initialise(self, linear: Linear, position: str) -> None:
        """Keep the distribution of phases the same from layer to layer."""
        # A sine of wide phases has variance 1/2, and U(+-b) has b^2 / 3: with b = sqrt(6 / in) / omega the phase omega W s of
        # the next layer has variance omega^2 in (b^2 / 3) / 2 = 1, whatever the width.
        if self.siren:
            inputs = linear.in_features
            bound = 1 / inputs if position == "first" else math.sqrt(6 / inputs) / self.omega
            linear.weight.uniform_(-bound, bound)


class Finer(Sine):
    """sin(omega (|z| + 1) z): the local frequency grows with |z|, so the bias chooses a band.

    Initialisation: as sine; the first layer's bias U(+-first_bias), torch's default if None.
    Source: Liu et al., FINER: Flexible Spectral-bias Tuning in INRs by Variable-periodic Activation Functions
            (CVPR 2024), equations 5 to 8. Published code detaches |z| + 1; here its derivative counts.
    """

    def __init__(self, omega: float = 30.0, first_bias: float | None = 1.0) -> None:
        super().__init__(omega)
        self.first_bias = first_bias

    def forward(self, z: Tensor) -> Tensor:
        """Return sin(omega (|z| + 1) z)."""
        x = at_least_float32(z)
        return (self.omega * (x.abs() + 1) * x).sin().to(z.dtype)

    def value_and_slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return sin(phase) and omega (2 |z| + 1) cos(phase), phase = omega (|z| + 1) z."""
        # d/dz (|z| + 1) z = sign(z) z + |z| + 1 = 2 |z| + 1, continuous although |z| has a kink.
        x = at_least_float32(z)
        size = x.abs()
        phase = self.omega * (size + 1) * x
        return phase.sin().to(z.dtype), (self.omega * (2 * size + 1) * phase.cos()).to(z.dtype)

    def curvature(self, z: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        """Return 2 omega sign(z) cos(phase) - (omega (2 |z| + 1))^2 sin(phase)."""
        # omega cos(phase) = slope / (2 |z| + 1), and the denominator is at least 1: no second cosine.
        x = at_least_float32(z)
        stretch = 2 * x.abs() + 1
        return (2 * x.sign() / stretch * slope - (self.omega * stretch).square() * value).to(z.dtype)

    def initialise(self, linear: Linear, position: str) -> None:
        """Initialise weights as of sine, and biases of the first layer so that its features start in different bands."""
        super().initialise(linear, position)
        if position == "first" and self.first_bias is not None:
            linear.bias.uniform_(-self.first_bias, self.first_bias)


class ReLU(Activation):
    """max(z, 0).

    Initialisation: weights N(0, 2/in) (He et al. 2015), with `normal=False` torch's default.
    Source: the ReLU baselines of Sitzmann et al. (2020) and of Sobolev training for INRs (ECCV 2022).
    """

    curved = False

    def __init__(self, normal: bool = True) -> None:
        super().__init__()
        self.normal = normal

    def forward(self, z: Tensor) -> Tensor:
        """Return max(z, 0)."""
        # Compiled code would save z > 0 for the backward pass as booleans, which it stores slowly; a factor stays a float.
        return z * z.detach().sign().clamp_min(0) if torch.compiler.is_compiling() else z.relu()

    def value_and_slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return max(z, 0) and the unit step, 0 at 0 as torch has it."""
        value = z.relu()
        return value, value.sign()  # floats, not booleans, for the same reason

    def initialise(self, linear: Linear, position: str) -> None:
        """Draw Kaiming-normal weights: of variance 2 / in, as a ReLU passes half of the mean square."""
        if self.normal:
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")


class Gauss(Activation):
    """exp(-(z / sigma)^2 / 2).

    Initialisation: torch's default.
    Raises: InputError unless sigma is positive.
    Source: Ramasinghe and Lucey, Beyond Periodicity (ECCV 2022), table 1.
    """

    def __init__(self, sigma: float = 0.1) -> None:
        super().__init__()
        require_positive(sigma=sigma)
        self.rate = sigma**-2

    def forward(self, z: Tensor) -> Tensor:
        """Return exp(-(z / sigma)^2 / 2)."""
        return (-0.5 * self.rate * at_least_float32(z).square()).exp().to(z.dtype)

    def value_and_slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return exp(-(z / sigma)^2 / 2) and -z / sigma^2 times it."""
        x = at_least_float32(z)
        value = (-0.5 * self.rate * x.square()).exp()
        return value.to(z.dtype), (-self.rate * x * value).to(z.dtype)

    def curvature(self, z: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        """Return (z^2 / sigma^2 - 1) / sigma^2 times the value."""
        return (self.rate * (self.rate * at_least_float32(z).square() - 1) * value).to(z.dtype)


class Gabor(Activation):
    """exp(i omega z - |sigma z|^2) of complex z, a wavelet; features are laid out as [real | imaginary].

    Initialisation: `ComplexLinear`.
    Raises: InputError unless omega and sigma are positive.
    Source: Saragadam et al., WIRE: Wavelet Implicit Neural Representations (CVPR 2023), equation 2.
    """

    # With z = a + ib the exponent is -(omega b + sigma^2 (a^2 + b^2)) + i omega a, so w = exp(growth) (cos + i sin)(omega a).
    # Because of |z| it has no complex derivative: the pushforward is the real differential of (a, b) -> (u, v), w = u + iv.
    #   d growth = -omega db - 2 sigma^2 (a da + b db),   d phase = omega da,
    #   du = u d growth - v d phase,   dv = v d growth + u d phase;   the pullback is the transpose.
    complex_valued = True

    def __init__(self, omega: float = 10.0, sigma: float = 10.0) -> None:
        super().__init__()
        require_positive(omega=omega, sigma=sigma)
        self.omega = omega
        self.rate = sigma**2

    def wavelet(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return real and imaginary part of z and of the wavelet, (a, b, u, v), in float32 at least."""
        a, b = at_least_float32(z).chunk(2, -1)
        size = (-self.omega * b - self.rate * (a.square() + b.square())).exp()
        phase = self.omega * a
        return a, b, size * phase.cos(), size * phase.sin()

    def forward(self, z: Tensor) -> Tensor:
        """Return the wavelet [u | v]."""
        _, _, u, v = self.wavelet(z)
        return torch.cat([u, v], -1).to(z.dtype)

    def pushforward(self, z: Tensor, dz: Tensor) -> tuple[Tensor, Tensor]:
        """Return the wavelet, and its real differential along each tangent."""
        a, b, u, v = self.wavelet(z)
        da, db = at_least_float32(dz).chunk(2, -1)
        dgrowth = -self.omega * db - 2 * self.rate * (a * da + b * db)
        dphase = self.omega * da
        tangent = torch.cat([u * dgrowth - v * dphase, v * dgrowth + u * dphase], -1)
        return torch.cat([u, v], -1).to(z.dtype), tangent.to(z.dtype)

    def pullback(self, z: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the wavelet, and the transpose of its real differential."""
        a, b, u, v = self.wavelet(z)

        def pull(cotangent: Tensor) -> Tensor:
            by_u, by_v = at_least_float32(cotangent).chunk(2, -1)
            by_growth, by_phase = by_u * u + by_v * v, by_v * u - by_u * v
            by_a = self.omega * by_phase - 2 * self.rate * a * by_growth
            by_b = -(self.omega + 2 * self.rate * b) * by_growth
            return torch.cat([by_a, by_b], -1).to(z.dtype)

        return torch.cat([u, v], -1).to(z.dtype), pull

    def layer(self, in_features: int, out_features: int, position: str) -> ComplexLinear:
        """Make a complex linear layer, real at both ends."""
        return ComplexLinear(in_features, out_features, position)
