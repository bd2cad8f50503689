"""B-spline kernels on lattices, and the weighted sum over nodes, whose gradient by the table costs what it must."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from torch import Tensor

from inr.errors import InputError


class Kernel(NamedTuple):
    """Weights of the nodes around a point, polynomials in its place t in 0..1 between two of them.

    coefficients: of each node's polynomial, ascending powers; at every t the weights sum to 1.
    shift: half a cell for kernels whose support has its middle on a node.
    Order: of values linear 2, quadratic 3, cubic 4, of slopes one less. Smoothstep has 1 and 0: flat at its nodes, it makes no
           straight line, whose slope it misses there by all of it, however fine the cells.
    Source: Unser, Aldroubi, Eden, B-spline Signal Processing (1993), section 2; smoothstep: Mueller et al., Instant Neural
            Graphics Primitives (2022), appendix A.
    """

    coefficients: tuple[tuple[float, ...], ...]
    shift: float = 0.0

    @property
    def taps(self) -> int:
        """Number of nodes that a point depends on along an axis."""
        return len(self.coefficients)

    def nodes(self, cells: int) -> int:
        """Count the nodes along an axis of so many cells, those beyond its ends included."""
        return cells + self.taps - 1 + (self.shift > 0)

    def weights(self, place: Float[Tensor, "*batch"]) -> list[Float[Tensor, "*batch"]]:
        """Evaluate the polynomial of each node."""
        # Node by node, and not as one more axis: inner axes as short as that take several times as long.
        others = [polynomial(place, one) for one in self.coefficients[1:]]
        return [1 - functools.reduce(torch.add, others), *others]

    def slopes(self, place: Float[Tensor, "*batch"]) -> list[Float[Tensor, "*batch"]]:
        """Evaluate the derivative of each node's polynomial."""
        others = [polynomial(place, derivative(one)) for one in self.coefficients[1:]]
        return [-functools.reduce(torch.add, others), *others]


def derivative(coefficients: Sequence[float]) -> list[float]:
    """Return the coefficients of a polynomial's derivative."""
    return [power * factor for power, factor in enumerate(coefficients)][1:]


def polynomial(x: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Evaluate a polynomial by Horner's rule."""
    *rest, last = coefficients
    result = torch.full_like(x, last) if not rest else x * last
    for power, factor in reversed(list(enumerate(rest))):
        result = result + factor if factor else result
        result = result * x if power else result
    return result


KERNELS = {
    "linear": Kernel(((1.0, -1.0), (0.0, 1.0))),
    "smoothstep": Kernel(((1.0, 0.0, -3.0, 2.0), (0.0, 0.0, 3.0, -2.0))),  # linear in 3 t^2 - 2 t^3: flat at the nodes
    "quadratic": Kernel(((0.5, -1.0, 0.5), (0.5, 1.0, -1.0), (0.0, 0.0, 0.5)), shift=0.5),
    "cubic": Kernel(
        (
            (1 / 6, -1 / 2, 1 / 2, -1 / 6),
            (2 / 3, 0.0, -1.0, 1 / 2),
            (1 / 6, 1 / 2, 1 / 2, -1 / 2),
            (0.0, 0.0, 0.0, 1 / 6),
        )
    ),
}


def kernel_named(name: str) -> Kernel:
    """Return a kernel. Raises: InputError for an unknown name."""
    if name not in KERNELS:
        raise InputError(f"The kernel of a lattice must be one of {', '.join(KERNELS)}, got kernel={name}.")
    return KERNELS[name]


def outer(factors: Sequence[Sequence[Tensor]], combine: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
    """Combine what each axis has of its nodes to what the nodes of the whole cell have, the last axis running fastest."""
    return [functools.reduce(combine, one) for one in itertools.product(*factors)]


class Stencil:
    """The nodes that points depend on, in lattices of some cells along each axis from -1 to 1, and their weights.

    Beyond the ends a field goes on as it is there.
    Shapes: points (..., axes); cells by axis, each a number or as many as there are levels, which are one more axis behind
            the points': `first`, `weights` and `slopes` are of the shape (..., levels).
    """

    def __init__(self, kernel: Kernel, points: Float[Tensor, "*batch axes"], cells: Sequence[Tensor]) -> None:
        self.kernel, self.cells = kernel, cells
        self.inside = [(x.abs() <= 1).to(x) for x in points.unbind(-1)]
        self.first: list[Tensor] = []
        self.place: list[Tensor] = []
        for x, count in zip(points.clamp(-1, 1).unbind(-1), cells, strict=True):
            position = torch.addcmul(0.5 * count + kernel.shift, x[..., None], 0.5 * count)
            # the far end belongs to the last cell, not to one behind it
            first = torch.minimum(position.detach().floor(), count - 1 + (kernel.shift > 0))
            self.first.append(first.int())
            self.place.append(position - first)

    def numbers(
        self, strides: Sequence[Tensor], offsets: Int[Tensor, "levels nodes"], levels: slice
    ) -> Int[Tensor, "*batch levels nodes"]:
        """Return the number of each node of some levels: that of the first, and how far behind it the others are."""
        along = [first[..., levels] * stride for first, stride in zip(self.first, strides, strict=True)]
        return functools.reduce(torch.add, along)[..., None] + offsets

    def hashes(self, factors: Sequence[int], levels: slice) -> Int[Tensor, "*batch levels nodes"]:
        """Return a hash of each node of some levels: its places along the axes, times a factor each, by exclusive or."""
        taps = range(self.kernel.taps)
        along = [
            [(first[..., levels].long() + tap) * factor for tap in taps]
            for first, factor in zip(self.first, factors, strict=False)
        ]
        return torch.stack(outer(along, torch.bitwise_xor), -1)

    def weights(self) -> Float[Tensor, "*batch nodes"]:
        """Return the weight of each node."""
        return torch.stack(outer([self.kernel.weights(place) for place in self.place], torch.mul), -1)

    def slopes(self) -> Float[Tensor, "axes *batch nodes"]:
        """Return the derivative of the weights by the point along each axis."""
        values = [self.kernel.weights(place) for place in self.place]
        slopes = []
        for axis, place in enumerate(self.place):
            rate = 0.5 * self.cells[axis] * self.inside[axis][..., None]
            along = [rate * slope for slope in self.kernel.slopes(place)]
            slopes.append(torch.stack(outer([*values[:axis], along, *values[axis + 1 :]], torch.mul), -1))
        return torch.stack(slopes)


def scatter(gradient: Tensor, index: Tensor, weights: Tensor, nodes: int) -> Tensor:
    """Add gradient x weight of every set to the table's rows: the adjoint of the weighted sum.

    Shapes: gradient (sets, points, features), index (points, taps), weights (sets, points, taps) -> (nodes, features).
    """
    if index.device.type != "cpu":
        values = torch.einsum("spf,spt->ptf", gradient, weights).flatten(0, 1)
        return torch.zeros(nodes, gradient.shape[-1], dtype=values.dtype, device=values.device).index_add_(
            0, index.flatten(), values
        )
    # The transpose of a sparse matrix with a row per point. On a CPU torch's products with it, and its additions of rows, which
    # are only a few numbers long, take many times as long as scipy's.
    points, taps = index.shape
    places, starts = index.flatten().numpy(), np.arange(0, points * taps + 1, taps, dtype=np.int32)
    total = np.zeros((nodes, gradient.shape[-1]), gradient.numpy().dtype)
    for weight, one in zip(weights, gradient, strict=True):
        total += csr_array((weight.flatten().numpy(), places, starts), (points, nodes)).T @ one.numpy()
    return torch.from_numpy(total)


def dotted(table: Tensor, index: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient (sets, points, taps) of the weights: the features of each node times those of the gradient."""
    return torch.einsum("spf,ptf->spt", gradient, table[index])


class OneByOne(torch.autograd.Function):
    """The base of functions whose kernels know no batches: `torch.func.vmap` calls them once for each of its entries."""

    @classmethod
    def vmap(cls, info: Any, in_dims: Sequence[int | None], *given: Any) -> tuple[Tensor, int]:
        """Stack the results of all entries."""
        entries = [
            cls.apply(*(one if axis is None else one.select(axis, entry) for one, axis in zip(given, in_dims, strict=True)))
            for entry in range(info.batch_size)
        ]
        return torch.stack(entries), 0


class WeightedSum(OneByOne):
    """table[index] summed with weights, several sets of them at once: values (sets, points, features).

    Shapes: table (nodes, features), index (points, taps), weights (sets, points, taps).
    """

    # Autograd of an embedding_bag, or of indexing and multiplying, takes several times as long for its scatter, and keeps
    # the gathered rows. The backward pass is made of `Scatter` and differentiable functions, so it can be differentiated.

    @staticmethod
    def forward(table: Tensor, index: Tensor, weights: Tensor) -> Tensor:
        """Gather and sum."""
        return torch.stack([F.embedding_bag(index, table, per_sample_weights=one, mode="sum") for one in weights])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Save the arguments."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        """Return the gradients of table and weights."""
        table, index, weights = ctx.saved_tensors
        by_table = Scatter.apply(gradients[0], index, weights, len(table)) if ctx.needs_input_grad[0] else None
        by_weights = dotted(table, index, gradients[0]) if ctx.needs_input_grad[2] else None
        return by_table, None, by_weights


def weighted_sum(
    table: Float[Tensor, "nodes features"], index: Int[Tensor, "*batch taps"], weights: Float[Tensor, "sets *batch taps"]
) -> Float[Tensor, "sets *batch features"]:
    """Sum rows of a table with several sets of weights, in the table's own precision."""
    taps = index.shape[-1]
    with torch.autocast(index.device.type, enabled=False):
        sums = WeightedSum.apply(table, index.reshape(-1, taps), weights.reshape(len(weights), -1, taps))
    return sums.reshape(*weights.shape[:-1], -1)


class Scatter(OneByOne):
    """`scatter`, whose gradients are weighted sums again."""

    @staticmethod
    def forward(gradient: Tensor, index: Tensor, weights: Tensor, nodes: int) -> Tensor:
        """Add up."""
        return scatter(gradient, index, weights, nodes)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Save the tensors among the arguments."""
        ctx.save_for_backward(*inputs[:3])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor, None]:
        """Return the gradients of what was added up, and of the weights."""
        gradient, index, weights = ctx.saved_tensors
        return WeightedSum.apply(gradients[0], index, weights), None, dotted(gradients[0], index, gradient), None
