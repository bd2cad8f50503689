"""The matrix of an observation: a field linear in its parameters, seen by a sensor linear in the field."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inr.measurements.measurement import Measurement
from inr.measurements.sparse import SparseMatrix, stack
from inr.networks.lattice import LatticeNetwork
from inr.tangents import jvp

ENTRIES = 2**22  # of the matrix that are made at a time, before those of one coefficient are added up


def rows(
    field: LatticeNetwork,
    measurement: Measurement,
    coordinates: Float[Tensor, "1 points axes"],
    along: Sequence[int] | None = None,
) -> tuple[Int[Tensor, "rows entries"], Float[Tensor, "rows entries"]]:
    """Return nodes and weights of the values at the coordinates; with `along`, of their derivatives along these axes.

    Shapes: a row per point; of derivatives a row per point and axis, those of one point together.
    """

    def entries(coordinates: Tensor) -> tuple[Tensor, Tensor]:
        located = measurement.locate(coordinates)
        index, weights = field.stencil(located.points)
        # Every observation is linear in the values of its own samples alone, so that the gradient of the sum of all
        # observations is the weight that each sample has in its own.
        nothing = torch.zeros_like(located.points[..., :1])
        observations, pull = torch.func.vjp(lambda values: measurement.integrate(values, located.quadrature), nothing)[:2]
        (share,) = pull(torch.ones_like(observations))
        return (share * weights).flatten(2)[0], index.flatten(2)[0]

    if along is None:
        values, index = entries(coordinates)
        return index, values
    slopes: list[Tensor] = []
    index = torch.empty(0)
    for axis in along:
        step = torch.zeros_like(coordinates)
        step[..., axis] = 1
        # The nodes are the same on the whole of a cell, so that only weights have a derivative.
        moved: tuple[Tensor, ...] = jvp(entries, (coordinates,), (step,), has_aux=True)
        slopes.append(moved[1])
        index = moved[2]
    return index.repeat_interleave(len(along), 0), torch.stack(slopes, 1).flatten(0, 1)


@torch.no_grad()
def blocks(
    field: LatticeNetwork,
    measurement: Measurement,
    coordinates: Float[Tensor, "1 points axes"],
    along: Sequence[int] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield `rows` of some coordinates after the other, so that memory does not grow with their number."""
    each = rows(field, measurement, coordinates[:, :1], along)[0].numel()
    for some in coordinates.split(max(1, ENTRIES // each), 1):
        yield rows(field, measurement, some, along)


def observation_matrix(
    field: LatticeNetwork,
    measurement: Measurement,
    coordinates: Float[Tensor, "1 points axes"],
    along: Sequence[int] | None = None,
) -> SparseMatrix:
    """Return the matrix that takes coefficients (nodes, channels) to observations (points, channels) at the coordinates.

    Raises: InputError for more entries than memory is likely to hold.
    """
    nodes = torch.Size(field.lattice).numel()
    return stack(blocks(field, measurement, coordinates, along), nodes).on(coordinates.device)
