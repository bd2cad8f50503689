"""A spline: coefficients on a lattice and nothing else, so linear in its parameters."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from inr.networks.grids import GridEncoding
from inr.networks.lattice import LatticeNetwork

EVERY = 2**62  # rows: as many as there are nodes


class Spline(LatticeNetwork):
    """A sum of B-splines, one at each node of a lattice: a field for one signal, linear in its `coefficients`.

    shape:    samples along each axis; the lattice has `fineness` cells from one to the next.
    kernel:   linear, quadratic, cubic (B-splines), or smoothstep.
    lattice:  nodes along each axis, those beyond the ends of [-1, 1] included; the last axis runs fastest.
    Shapes: points (..., in_features) in [-1, 1] -> values (..., out_features); coefficients (nodes, out_features).
    Raises: InputError for an unknown kernel, more than three axes, and a fineness that is not positive.
    Source: Unser, Aldroubi, Eden, B-spline Signal Processing (1993).
    """

    def __init__(
        self, in_features: int, out_features: int, shape: Sequence[int], kernel: str = "cubic", fineness: float = 1.0
    ) -> None:
        super().__init__()
        # one level, so coarse that it is the finest, with a row for every node
        level = GridEncoding(in_features, shape, kernel, out_features, EVERY, fineness, coarsest=EVERY)
        level.table.data.zero_()
        self.level, self.lattice = level, level.lattices[-1]
        self.spacing = 2 / float(level.cells.max())

    @property
    def coefficients(self) -> Tensor:
        """The coefficients (nodes, out_features)."""
        return self.level.table

    def stencil(
        self, points: Float[Tensor, "*batch dims"]
    ) -> tuple[Int[Tensor, "*batch nodes"], Float[Tensor, "*batch nodes"]]:
        """Return the rows of the coefficients that each point depends on, and their weights, which are never negative."""
        stencil, rows = self.level.stencil(points)
        return rows[..., 0, :], stencil.weights()[..., 0, :]

    def pushforward(self, points: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the spline, and its derivatives along the tangents (axes, ..., in_features)."""
        return self.level.pushforward(points, tangents)
