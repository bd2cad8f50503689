"""The base of networks that are linear in their parameters: what they observe linearly can be solved for."""

from abc import ABC, abstractmethod

from jaxtyping import Float, Int
from torch import Tensor

from inr.field import Network
from inr.networks.interpolation import weighted_sum


class LatticeNetwork(Network, ABC):
    """A field for one signal, linear in its parameters: at a point the sum over k of weights[k] * coefficients[index[k]].

    Subclasses define `lattice`, `spacing`, `coefficients` and `stencil`; values follow, and derivatives in forward mode.
    lattice: nodes along each axis, the last one running fastest.
    spacing: of the nodes, along the axis where they are closest [units of the points].
    Shapes: points (..., dims) in [-1, 1] -> values (..., channels); coefficients (nodes, channels).
    """

    lattice: tuple[int, ...]
    spacing: float

    @property
    @abstractmethod
    def coefficients(self) -> Tensor:
        """All parameters, (nodes, channels)."""

    @abstractmethod
    def stencil(
        self, points: Float[Tensor, "*batch dims"]
    ) -> tuple[Int[Tensor, "*batch nodes"], Float[Tensor, "*batch nodes"]]:
        """Return the nodes that count at each point, and their weights."""

    def forward(self, points: Float[Tensor, "*batch dims"]) -> Float[Tensor, "*batch channels"]:
        """Evaluate the field."""
        index, weights = self.stencil(points)
        return weighted_sum(self.coefficients, index, weights[None])[0]
