"""How tangents and cotangents pass through functions of tensors; torch alone."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._pytree import tree_map


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
