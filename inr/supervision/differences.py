"""Target jacobians of sampled grids: finite differences at any samples, read straight from the grid.

A stencil along one axis is three samples with three weights, so a filter in several axes is a product of stencils and
costs 3^axes reads per sample, whatever the size of the grid. Derivatives are per grid step.
"""

# kornia.filters.spatial_gradient filters whole pictures in two axes, with replicated borders that are of first order.

import functools
from collections.abc import Iterator, Sequence
from itertools import product

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from inr.errors import InputError

FILTERS = ("central", "sobel")
BORDERS = ("one_sided", "replicate", "periodic")
DERIVATIVE = (-0.5, 0.0, 0.5)  # (f(x + 1) - f(x - 1)) / 2, exact on quadratics
SMOOTHING = (0.25, 0.5, 0.25)  # two means of neighbours; sums to 1
IDENTITY = (0.0, 1.0, 0.0)
# f' at an end of three samples, from the parabola through them: exact on quadratics, like the inner ones.
FIRST = (-1.5, 2.0, -0.5)
LAST = (0.5, -2.0, 1.5)


def check(filter: str, border: str) -> None:
    """Refuse names of filters and borders that do not exist."""
    if filter not in FILTERS:
        raise InputError(f"The derivative filter must be one of {', '.join(FILTERS)}, got {filter}.")
    if border not in BORDERS:
        raise InputError(f"The border must be one of {', '.join(BORDERS)}, got {border}.")


def stencil(
    index: Int[Tensor, " points"], size: int, weights: tuple[float, float, float], border: str
) -> tuple[Int[Tensor, "points 3"], Float[Tensor, "points 3"]]:
    """Return the three samples of an axis that are read around each index, and their weights.

    Beyond the border lies the last sample again (`replicate`), the other end (`periodic`), or nothing: `one_sided`
    differences there are (-3, 4, -1)/2, of second order like the inner ones, and smoothing stops.
    Raises: InputError if one-sided differences have fewer than three samples.
    """
    around = index[:, None] + torch.arange(-1, 2, device=index.device)
    table = constants((weights,), index.device).expand(len(index), 3)
    if border == "periodic":
        return around % size, table
    if border == "replicate":
        return around.clamp(0, size - 1), table
    ends = IDENTITY, IDENTITY
    if weights == DERIVATIVE:
        if size < 3:
            raise InputError(f"One-sided differences need three samples along an axis, got {size}; use border=replicate.")
        # At an end the three samples are shifted inward, so that all of them exist.
        around = around + (index == 0).long()[:, None] - (index == size - 1).long()[:, None]
        ends = FIRST, LAST
    first, last = constants(ends, index.device)
    table = torch.where((index == 0)[:, None], first, table)
    return around.clamp(0, size - 1), torch.where((index == size - 1)[:, None], last, table)


@functools.cache
def constants(rows: tuple[tuple[float, ...], ...], device: torch.device) -> Tensor:
    """Return a small table on a device, copied there once and not in every step."""
    return torch.tensor(rows, device=device, dtype=torch.float32)


def cells(
    indices: Int[Tensor, "points axes"], shape: Sequence[int], axis: int, filter: str, border: str
) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
    """Yield indices and weights of the samples that the filter along one axis reads, one cell of the stencil at a time."""
    across = SMOOTHING if filter == "sobel" else IDENTITY
    weights_of = [DERIVATIVE if other == axis else across for other in range(len(shape))]
    stencils = [stencil(indices[:, other], size, weights_of[other], border) for other, size in enumerate(shape)]
    # Across the axis, central differences read the middle column alone: 3 cells instead of 3^axes.
    columns = [range(3) if other == axis or filter == "sobel" else (1,) for other in range(len(shape))]
    for cell in product(*columns):
        weights = [weights[:, column] for (_, weights), column in zip(stencils, cell, strict=True)]
        yield tuple(reads[:, column] for (reads, _), column in zip(stencils, cell, strict=True)), torch.stack(weights).prod(0)


def jacobian_at(
    grid: Tensor,
    indices: Int[Tensor, "points axes"],
    filter: str = "central",
    border: str = "one_sided",
    among: Int[Tensor, " points"] | None = None,
) -> Float[Tensor, "points channels axes"]:
    """Return the jacobian of a sampled grid at some of its samples; of several grids with `among`, the grid of each sample.

    `central` is (-1, 0, 1)/2 along each axis; `sobel` also smooths by (1, 2, 1)/4 across it. With border=replicate they
    equal kornia's normalised `diff` and `sobel`.
    Shapes: grid ([grids,] *shape, channels) of any number type, indices (points, axes) -> (points, channels, axes).
    Units:  grid value per grid step.
    Source: Yuan et al., Sobolev Training for Implicit Neural Representations with Approximated Image Derivatives
            (ECCV 2022), section 3.
    """
    check(filter, border)
    # Weights turn the grid's numbers into floats one cell at a time, so that bytes stay bytes in memory.
    jacobian = torch.zeros(len(indices), grid.shape[-1], indices.shape[1], device=grid.device)
    grids = () if among is None else (among,)
    for axis in range(indices.shape[1]):
        for reads, weight in cells(indices, grid.shape[len(grids) : -1], axis, filter, border):
            jacobian[..., axis] += weight[:, None] * grid[grids + reads]
    return jacobian


def footprint(
    shape: Sequence[int], indices: Int[Tensor, "points axes"], filter: str = "central", border: str = "one_sided"
) -> Bool[Tensor, "*shape"]:
    """Mark the samples of a grid that values and filters at some of its samples read."""
    check(filter, border)
    read = torch.zeros(tuple(shape), dtype=torch.bool)
    read[tuple(indices.T)] = True
    for axis in range(len(shape)):
        for reads, weight in cells(indices, shape, axis, filter, border):
            read[tuple(read_axis[weight != 0] for read_axis in reads)] = True
    return read


def complete_at(
    known: Bool[Tensor, "*grids_and_shape signals"],
    indices: Int[Tensor, "points axes"],
    filter: str = "central",
    border: str = "one_sided",
    among: Int[Tensor, " points"] | None = None,
) -> Bool[Tensor, "points signals"]:
    """Mark the samples of a grid at which the filters read known samples only, for several signals on the grid.

    Of several grids (grids, *shape, signals) with `among`, the grid of each sample.
    """
    check(filter, border)
    complete = known.new_ones(len(indices), known.shape[-1])
    grids = () if among is None else (among,)
    for axis in range(indices.shape[1]):
        for reads, weight in cells(indices, known.shape[len(grids) : -1], axis, filter, border):
            complete &= known[grids + reads] | (weight == 0)[:, None]
    return complete
