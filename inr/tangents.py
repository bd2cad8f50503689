"""Rules that carry tangents and cotangents through functions of tensors; torch alone."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._pytree import tree_map

Tree = TypeVar("Tree")  # a tensor, or tuples of tensors
LEVELS = threading.RLock()  # torch counts levels of forward mode for all threads together: one at a time may open any


def jvp(function: Callable[..., Any], primals: tuple[Any, ...], tangents: tuple[Any, ...], has_aux: bool = False) -> Any:
    """Call `torch.func.jvp`, from any thread."""
    if torch.compiler.is_compiling():  # which knows no locks, and runs in one thread
        return torch.func.jvp(function, primals, tangents, has_aux=has_aux)
    with LEVELS:
        return torch.func.jvp(function, primals, tangents, has_aux=has_aux)


def linearise(function: Callable[..., Tree], primals: tuple[object, ...], tangents: tuple[object, ...]) -> tuple[Tree, Tree]:
    """Return a function's value and its derivatives along several tangents, by forward-mode differentiation.

    Shapes: primals and the result are trees of tensors; every tangent, and every derivative returned, has one more
            axis in front, which counts the directions.
    """
    # Forward mode copies a tangent into the memory layout of its primal; elements of an expanded primal share memory.
    primals = tree_map(Tensor.contiguous, primals)

    def along(direction: tuple[object, ...]) -> tuple[Tree, Tree]:
        value, derivative = jvp(function, primals, direction)
        return value, derivative

    values, derivatives = torch.func.vmap(along, randomness="same")(tangents)
    return tree_map(lambda value: value[0], values), derivatives  # the value is the same along every direction


def pushforward(
    function: Callable[[Tensor], Tensor], inputs: Float[Tensor, "*batch dims"], tangents: Float[Tensor, "axes *#batch dims"]
) -> tuple[Tensor, Tensor]:
    """Push tangents through a function by its own `pushforward` if it has one, else by `linearise`.

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
    """Return a function's values and the map that pulls cotangents back: its own `pullback`, else `torch.func.vjp`.

    Shapes: inputs (..., dims) -> values (..., channels); cotangents (outputs, ..., channels) -> (outputs, ..., dims).
            Cotangents that are the same at all inputs may have size 1 there.
    """
    analytic = getattr(function, "pullback", None)
    if analytic is not None:
        return analytic(inputs)
    values, vjp = torch.func.vjp(function, inputs)[:2]

    def pull(cotangents: Tensor) -> Tensor:
        return torch.func.vmap(lambda cotangent: vjp(cotangent)[0])(cotangents.expand(len(cotangents), *values.shape))

    return values, pull


def contract(
    gradients: Float[Tensor, "channels *batch dims"], tangents: Float[Tensor, "axes *#batch dims"]
) -> Float[Tensor, "axes *batch channels"]:
    """Turn the gradients of all channels into derivatives along tangents: df_c = sum over i of (df_c / dx_i) dx_i."""
    return (tangents[:, None] * gradients).sum(-1).movedim(1, -1)
