"""Fields: what a network represents. Points go in, values come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from inr.tangents import pushforward


@dataclass(frozen=True)
class Signals:
    """The signals of a batch: who they are, and what an encoder may see of them.

    Shapes: index (signals,); observations anything an encoder reads, or None.
    """

    index: Int[Tensor, " signals"]
    observations: Tensor | None = None


class Field:
    """A function from points to values, with the penalties that its parameters pay.

    Shapes: points (1|signals, *points, dims) in [-1, 1]^dims -> values (signals, *points, channels). The signal axis is
            always there; of size 1 in the points it means that all signals share them.
    `proposal` is a cheaper field of the same scene that says where this one is worth sampling.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        penalties: dict[str, Tensor] | None = None,
        proposal: Field | None = None,
    ) -> None:
        self.function, self.penalties, self.proposal = function, penalties or {}, proposal

    def __call__(self, points: Float[Tensor, "shared *points dims"]) -> Float[Tensor, "signals *points channels"]:
        """Values of the field at the points."""
        return self.function(points)

    def pushforward(
        self, points: Float[Tensor, "shared *points dims"], tangents: Float[Tensor, "axes #shared *#points dims"]
    ) -> tuple[Float[Tensor, "signals *points channels"], Float[Tensor, "axes #signals *#points channels"]]:
        """Values, and their derivatives along each tangent of the points."""
        return pushforward(self.function, points, tangents)
