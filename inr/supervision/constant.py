"""The constant of a signal that derivatives leave open, estimated from observed values."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from inr.distributed import global_sum


class Residuals(NamedTuple):
    """Values that some signals lack at observed points, and how a constant would add to them.

    Shapes: signals (signals,), rows of the constants; differences (signals, points, channels) = target - observed value;
            response (1|signals, points, 1) = `Measurement.of_constant`; weights (1|signals, points), None: all one.
    """

    signals: Int[Tensor, " signals"]
    differences: Float[Tensor, "signals points channels"]
    response: Float[Tensor, "#signals points 1"]
    weights: Float[Tensor, "#signals points"] | None = None


class UnknownConstant(nn.Module):
    """Constant of each signal and channel that is added to its field where the supervision does not determine it.

    A field and the field plus c have one jacobian, and a sensor that is linear in the field observes response x c more
    of the second. Equal weighted sums of targets and observations, sum(w t) = sum(w (v + response c)), give
    c = sum(w (t - v)) / sum(w response).
    Shapes: value (signals, channels), zero until estimated.
    """

    value: Tensor

    def __init__(self, signals: int = 1, channels: int = 1) -> None:
        super().__init__()
        self.register_buffer("value", torch.zeros(signals, channels))

    def forward(
        self,
        values: Float[Tensor, "signals points channels"],
        response: Float[Tensor, "#signals points 1"],
        signals: Int[Tensor, " signals"],
    ) -> Float[Tensor, "signals points channels"]:
        """Add what is observed of the constants of some signals to observed values."""
        return values + response * self.value[signals][:, None]

    @torch.no_grad()
    def estimate(self, residuals: Iterable[Residuals], over_processes: bool = False) -> None:
        """Set the constants of all signals with weight in some residuals; those of the others stay.

        over_processes: every process saw some of the residuals only; else each saw all of them.
        """
        total, mass = torch.zeros_like(self.value), torch.zeros_like(self.value[:, :1])
        for signals, differences, response, weights in residuals:
            weights = torch.ones_like(response) if weights is None else weights[..., None]
            total[signals] += (weights * differences).sum(1)
            mass[signals] += (weights * response).sum(1)
        if over_processes:
            total, mass = global_sum(total), global_sum(mass)
        self.value.copy_(torch.where(mass > 0, total / mass, self.value))
