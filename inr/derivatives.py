"""Derivatives of observations by sensor coordinates, in forward mode."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._pytree import tree_map

if TYPE_CHECKING:
    from inr.field import Field
    from inr.measurements.measurement import Measurement


def linearise(function: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    """A function's value and its derivatives along several tangents, by forward-mode differentiation.

    Shapes: primals and the result are trees of tensors; every tangent, and every derivative returned, has one more
            axis in front, which counts the directions.
    """
    primals = tree_map(Tensor.contiguous, primals)

    def along(direction: tuple[Any, ...]) -> tuple[Any, Any]:
        value, derivative = torch.func.jvp(function, primals, direction)  # type: ignore[misc]
        return value, derivative

    values, derivatives = torch.func.vmap(along, randomness="same")(tangents)
    return tree_map(lambda value: value[0], values), derivatives


def pushforward(
    function: Callable[[Tensor], Tensor], inputs: Float[Tensor, "*batch dims"], tangents: Float[Tensor, "axes *#batch dims"]
) -> tuple[Tensor, Tensor]:
    """How tangents pass through a function: its own analytic rule if it has one, else `linearise`.

    Shapes: inputs (..., dims), tangents (axes, ..., dims) -> values (..., channels), derivatives (axes, ..., channels).
            Tangents that are the same at all inputs may have size 1 there.
    """
    analytic = getattr(function, "pushforward", None)
    if analytic is not None:
        return analytic(inputs, tangents)
    return linearise(function, (inputs,), (tangents.expand(len(tangents), *inputs.shape),))


def pullback(
    function: Callable[[Tensor], Tensor], inputs: Float[Tensor, "*batch dims"]
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """A function's values, and how cotangents return through it: its own analytic rule if it has one, else `torch.func.vjp`.

    Shapes: inputs (..., dims) -> values (..., channels); cotangents (outputs, ..., channels) -> (outputs, ..., dims).
            Cotangents that are the same at all inputs may have size 1 there.
    """
    analytic = getattr(function, "pullback", None)
    if analytic is not None:
        return analytic(inputs)
    values, back = torch.func.vjp(function, inputs)  # type: ignore[misc]

    def returned(cotangents: Tensor) -> Tensor:
        return torch.func.vmap(lambda cotangent: back(cotangent)[0])(cotangents.expand(len(cotangents), *values.shape))

    return values, returned


def contract(
    gradients: Float[Tensor, "channels *batch dims"], tangents: Float[Tensor, "axes *#batch dims"]
) -> Float[Tensor, "axes *batch channels"]:
    """How channels change along tangents, from the gradient of each channel by the inputs."""
    return (tangents[:, None] * gradients).sum(-1).movedim(1, -1)


def value_and_jacobian(
    measurement: Measurement,
    field: Field,
    coordinates: Float[Tensor, "shared points axes"],
    along: Sequence[int] | None = None,
) -> tuple[Float[Tensor, "signals points channels"], Float[Tensor, "signals points channels axes"]]:
    """What the sensor observes at the coordinates, and its derivative by them.

    Tangents of the coordinates go through `locate`, through the field's own pushforward (which may go backward through the
    network where that is less work), through `integrate`; so the result is exact, needs no graph of autograd, works under
    `no_grad`, and can be differentiated by the parameters once more.
    With `along` only these axes are followed, and the columns of the others are zero.

    Shapes: coordinates (1|signals, points, axes) -> value (signals, points, channels), jacobian (..., channels, axes).
    Units:  observation per step of the sensor index (pixel, sample, bin, view).
    """
    axes = coordinates.shape[-1]
    basis = torch.eye(axes, dtype=coordinates.dtype, device=coordinates.device)
    basis = (basis if along is None else basis[list(along)]).reshape(-1, 1, 1, axes)
    samples, steps = measurement.locate_along(coordinates, basis)
    values, slopes = field.pushforward(samples.points, steps.points)
    slopes = slopes.expand(len(basis), *values.shape)
    value, jacobian = linearise(measurement.integrate, (values, samples.quadrature), (slopes, steps.quadrature))
    if len(basis) < axes:
        jacobian = torch.tensordot(basis[:, 0, 0].to(jacobian).T, jacobian, 1)
    return value, jacobian.movedim(0, -1)


def observe_at(
    measurement: Measurement,
    field: Field,
    coordinates: Float[Tensor, "shared points axes"],
    quantities: Collection[str],
    along: Sequence[int] | None = None,
) -> dict[str, Tensor]:
    """Predictions of the quantities asked for: `value`, `jacobian` or both.

    Shapes: as in `value_and_jacobian`. The jacobian is computed only if it is asked for, and only `along` these axes.
    """
    measurement, field = measurement.prepare(field, coordinates)
    if "jacobian" in quantities:
        value, jacobian = value_and_jacobian(measurement, field, coordinates, along)
        return {"value": value, "jacobian": jacobian}
    samples = measurement.locate(coordinates)
    return {"value": measurement.integrate(field(samples.points), samples.quadrature)}
