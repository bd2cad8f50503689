"""Fields, functions from points to values, and the networks that turn signals into fields."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from inr.errors import InputError
from inr.tangents import pushforward

TABLES = ("table", "coefficients")  # names of parameters that hold values at places, as explicit fields do


@dataclass(frozen=True)
class Signals:
    """The signals of a batch: their indices, and the observations that an encoder sees of them, of whatever shape it reads."""

    index: Int[Tensor, " signals"]
    observations: Tensor | None = None


class Field:
    """A function from points to values, with the penalties (name -> scalar) that its parameters pay.

    Shapes: points (1|signals, *points, dims) in [-1, 1]^dims -> values (signals, *points, channels). The signal axis is
            always there; of size 1 in the points it means that all signals share them.
    spacing: of the nodes that it interpolates, which sensors then resolve [units of the points]; None: there are none.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        penalties: dict[str, Tensor] | None = None,
        coarse: Field | None = None,
        spacing: float | None = None,
    ) -> None:
        self.function, self.penalties = function, penalties or {}
        self.proposal = coarse
        self.spacing = spacing

    @property
    def coarse(self) -> Field:
        """A cheaper field of the same signals that says where this one is worth sampling: itself, unless there is one."""
        return self.proposal or self  # not an attribute: a circle of references would keep a step's tensors alive

    def __call__(self, points: Float[Tensor, "shared *points dims"]) -> Float[Tensor, "signals *points channels"]:
        """Evaluate the field at the points."""
        return self.function(points)

    def pushforward(
        self, points: Float[Tensor, "shared *points dims"], tangents: Float[Tensor, "axes #shared *#points dims"]
    ) -> tuple[Float[Tensor, "signals *points channels"], Float[Tensor, "axes #signals *#points channels"]]:
        """Evaluate the field, and its derivatives along each tangent of the points."""
        return pushforward(self.function, points, tangents)


class HiddenMatrices(ABC):
    """A module that has hidden matrices of its own: maps from features to features, or stacks of them (..., out, in)."""

    @abstractmethod
    def hidden_matrices(self) -> list[Tensor]:
        """Return them."""


class Network(nn.Module):
    """A function from signals to their fields: subclasses of one signal define `forward`, those of several define `field`.

    directions: points carry a unit direction of view behind the position, as those of a radiance field do.
    spacing:    of its field's nodes.
    Raises: InputError if more than one signal is asked of a network of one.
    """

    directions: bool = False
    spacing: float | None = None

    def field(self, signals: Signals) -> Field:
        """Return the fields of these signals: of a network of one signal, that network."""
        if len(signals.index) != 1:
            raise InputError(
                f"This network represents one signal, got {len(signals.index)}; use regime=single, or model=nid_moe, for many."
            )
        return Field(self, spacing=self.spacing)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Sort the parameters by kind, each once, for optimisers that treat kinds differently; override to sort otherwise.

        hidden: matrices between features, as the layers tell.
        tables: values at places, by their names.
        rest:   all others: first and last layers (the experts of a dictionary are such), biases, codes.
        """
        layers = [module for module in self.modules() if isinstance(module, HiddenMatrices)]
        hidden = {id(matrix) for layer in layers for matrix in layer.hidden_matrices()}
        groups: dict[str, list[nn.Parameter]] = {"hidden": [], "tables": [], "rest": []}
        for name, parameter in self.named_parameters():
            is_table = name.rpartition(".")[2] in TABLES
            groups["hidden" if id(parameter) in hidden else "tables" if is_table else "rest"].append(parameter)
        return groups

    def compile_functions(self, backend: str = "inductor") -> None:
        """Pass forward and pushforward through `torch.compile`: the network's own, or without a pushforward its children's."""
        # The functions, not the module: torch.compile(module) would put `_orig_mod.` before every name in a checkpoint.
        for module in [self] if hasattr(self, "pushforward") else list(self.children()):
            for name in ("forward", "pushforward"):
                setattr(module, name, torch.compile(getattr(module, name), backend=backend))
