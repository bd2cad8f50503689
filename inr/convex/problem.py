"""A field that is linear in its parameters, seen linearly: equations to be solved instead of a loss to be trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from inr.measurements.sparse import SparseMatrix
from inr.metrics.figures import Metric


@dataclass(frozen=True)
class Problem:
    """matrix @ coefficients = targets, each equation of some weight; signals and channels are columns side by side.

    lattice: nodes of the coefficients along each axis, the last one running fastest.
    Shapes: matrix (rows, nodes), targets (rows, signals), weights (rows, 1|signals).
    """

    matrix: SparseMatrix
    targets: Float[Tensor, "rows signals"]
    weights: Float[Tensor, "rows #signals"]
    lattice: tuple[int, ...]

    def residual(self, coefficients: Float[Tensor, "nodes signals"]) -> Float[Tensor, "rows signals"]:
        """Return what the equations miss their targets by."""
        return self.matrix(coefficients) - self.targets

    def misfit(self, coefficients: Float[Tensor, "nodes signals"]) -> float:
        """Return the weighted mean square of the residual."""
        error = self.residual(coefficients).double().square()
        return float((self.weights * error).sum() / self.weights.expand_as(error).sum().clamp_min(1e-30))

    def of_rows(self, rows: Bool[Tensor, "rows 1"]) -> Problem:
        """Return the problem in which only some of the equations count."""
        return replace(self, weights=self.weights * rows)

    def on_lattice(self, coefficients: Float[Tensor, "nodes signals"]) -> Float[Tensor, "*lattice signals"]:
        """Return coefficients by node along each axis."""
        return coefficients.reshape(*self.lattice, -1)


@dataclass(frozen=True)
class Solution:
    """Coefficients (nodes, signals), and figures that tell how they were found."""

    coefficients: Float[Tensor, "nodes signals"]
    figures: dict[str, Metric] = field(default_factory=dict)


class ConvexSolver(ABC):
    """A rule that finds the coefficients of a field which is linear in them.

    closed_form: the solution needs no training steps.
    """

    closed_form = True

    @abstractmethod
    def coefficients(self, problem: Problem) -> Solution:
        """Solve a problem."""


def gradient(x: Float[Tensor, "*lattice signals"]) -> Float[Tensor, "dims *lattice signals"]:
    """Return the differences to the next node along each axis, zero at the last one."""
    slopes = x.new_zeros(x.ndim - 1, *x.shape)
    for axis, slope in enumerate(slopes):
        slope.narrow(axis, 0, x.shape[axis] - 1).copy_(x.diff(dim=axis))
    return slopes


def gradient_adjoint(z: Float[Tensor, "dims *lattice signals"]) -> Float[Tensor, "*lattice signals"]:
    """Return the adjoint of `gradient`, which is minus the divergence."""
    total = torch.zeros_like(z[0])
    for axis, slope in enumerate(z):
        inner = slope.narrow(axis, 0, slope.shape[axis] - 1)
        total.narrow(axis, 0, inner.shape[axis]).sub_(inner)
        total.narrow(axis, 1, inner.shape[axis]).add_(inner)
    return total
