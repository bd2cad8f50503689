"""Features stored at the nodes of lattices: the encoding of explicit fields, whose work grows with points, not parameters."""

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr.errors import InputError
from inr.networks.encoding import Encoding
from inr.networks.interpolation import Stencil, kernel_named, weighted_sum
from inr.networks.repeated import Repeated

# Of the hash by Teschner et al. (2003), as Instant Neural Graphics Primitives has it; the first keeps neighbours together.
PRIMES = (1, 2654435761, 805459861)
SMALL = 1e-4  # bound of the initial features, so that the head sees zeros
GROWTH = 1.5  # cells of a level / cells of the one before
LARGEST = 2**31 - 1  # number of a row, in 32 bits, which are read faster than 64
COARSEST = 16  # cells of the first level, along the longest axis


class GridEncoding(Encoding):
    """Features of the lattices of several levels around a point, each interpolated, one level after the other.

    shape:    samples along each axis that are shown; the finest level has `fineness` cells from one to the next.
    whole:    samples that there are; `fineness` None: 2 where some are not shown, as value and slope are two numbers, else 1.
    kernel:   linear (continuous), smoothstep (slopes are, and vanish at nodes, so that finer cells bring values closer at first
              order alone, and slopes not at all), quadratic (slopes are), cubic (curvatures are).
    features: of a node.
    rows:     nodes that a level stores at most: it is dense as long as they suffice, then nodes share rows by a hash.
    coarsest: cells of the first level along the longest axis; each level has `growth` times as many as the one before.
    lattices: nodes of each level along each axis, those beyond the ends of [-1, 1] included; the last axis runs fastest.
    Shapes: (..., in_features) in [-1, 1] -> (..., levels x features).
    Raises: InputError for an unknown kernel, more than three axes, and sizes that are not positive or too large.
    Source: Mueller et al., Instant Neural Graphics Primitives with a Multiresolution Hash Encoding (2022), section 3;
            B-splines instead of linear interpolation after Unser, Aldroubi, Eden (1993).
    """

    cells: Tensor
    strides: Tensor
    offsets: Tensor
    starts: Tensor

    def __init__(
        self,
        in_features: int,
        shape: Sequence[int],
        kernel: str = "quadratic",
        features: int = 2,
        rows: int = 2**19,
        fineness: float | None = 1.0,
        growth: float = GROWTH,
        coarsest: int = COARSEST,
        whole: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= in_features <= len(PRIMES):
            raise InputError(f"A grid has 1 to {len(PRIMES)} axes, got {in_features}; choose another model.")
        if fineness is None:
            fineness = 1.0 if whole is None or list(whole) == list(shape) else 2.0
        if min(features, rows, coarsest) < 1 or not fineness > 0 or not growth > 1:
            given = f"features={features}, rows={rows}, coarsest={coarsest}, fineness={fineness}, growth={growth}"
            raise InputError(f"A grid needs features, rows, coarsest >= 1, fineness > 0 and growth > 1, got {given}.")
        self.kernel = kernel_named(kernel)
        # a scene's photographs have other axes than its space, where all sides are as long
        sides = list(shape) if len(shape) == in_features else [max(shape)] * in_features
        finest = [max(fineness * (side - 1), 1.0) for side in sides]
        levels = 1 + max(0, math.floor(math.log(max(finest) / coarsest) / math.log(growth)))
        cells = [[max(1, round(one / growth**step)) for one in finest] for step in reversed(range(levels))]
        self.lattices = [tuple(map(self.kernel.nodes, counts)) for counts in cells]
        kept = [min(math.prod(lattice), rows) for lattice in self.lattices]
        self.dense = sum(math.prod(lattice) <= rows for lattice in self.lattices)
        if sum(kept) > LARGEST:
            rule = f"A grid stores at most {LARGEST} nodes"
            raise InputError(f"{rule}, got {sum(kept)}; use fewer rows, a smaller fineness, or a larger growth.")
        starts = torch.tensor([0, *kept[:-1]]).cumsum(0, dtype=torch.int32)[:, None]
        steps = [[math.prod(lattice[axis + 1 :]) for axis in range(in_features)] for lattice in self.lattices[: self.dense]]
        strides = torch.tensor(steps, dtype=torch.int32).reshape(-1, in_features)
        taps = torch.tensor(list(itertools.product(range(self.kernel.taps), repeat=in_features)), dtype=torch.int32)
        # by axis, then level
        self.register_buffer("cells", torch.tensor(cells, dtype=torch.float32).T.contiguous(), persistent=False)
        self.register_buffer("strides", strides.T.contiguous(), persistent=False)
        self.register_buffer("offsets", starts[: self.dense] + strides @ taps.T, persistent=False)
        self.register_buffer("starts", starts, persistent=False)
        self.rows, self.out_features = rows, levels * features
        self.table = nn.Parameter(torch.empty(sum(kept), features).uniform_(-SMALL, SMALL))
        self.repeated_weights, self.repeated_slopes = Repeated(self.weights), Repeated(self.slopes)

    def stencil(self, x: Float[Tensor, "*batch axes"]) -> tuple[Stencil, Tensor]:
        """Return the stencil of points, and the rows (..., levels, nodes) of its nodes in the table."""
        stencil = Stencil(self.kernel, x, self.cells.to(x).unbind())
        rows = stencil.numbers(self.strides.unbind(), self.offsets, slice(self.dense))
        if self.dense == len(self.starts):
            return stencil, rows
        shared = stencil.hashes(PRIMES, slice(self.dense, None)) % self.rows
        return stencil, torch.cat([rows, shared.int() + self.starts[self.dense :]], -2)

    def weights(self, x: Float[Tensor, "*batch axes"]) -> tuple[Tensor, Tensor]:
        """Return the rows of nodes (..., levels, nodes), and one set of weights (1, ..., levels, nodes)."""
        stencil, rows = self.stencil(x)
        return rows, stencil.weights()[None]

    def slopes(self, x: Float[Tensor, "*batch axes"]) -> tuple[Tensor, Tensor]:
        """Return the same, and in further sets the derivatives of the weights along each axis."""
        stencil, rows = self.stencil(x)
        return rows, torch.cat([stencil.weights()[None], stencil.slopes()])

    def interpolate(self, rows: Tensor, weights: Float[Tensor, "sets *batch levels nodes"]) -> Tensor:
        """Sum the features of nodes with several sets of weights: (sets, ..., levels x features)."""
        return weighted_sum(self.table, rows, weights).flatten(-2)

    def forward(self, x: Float[Tensor, "*batch dims"]) -> Float[Tensor, "*batch features"]:
        """Interpolate all levels."""
        return self.interpolate(*self.repeated_weights(x))[0]

    def pushforward(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """Interpolate all levels, and once more with the derivative of the weights along each tangent."""
        rows, weights = self.repeated_slopes(x)
        if len(dx) < x.shape[-1]:  # of fewer tangents than axes there are fewer sums
            weights = torch.cat([weights[:1], torch.einsum("t...a,a...ln->t...ln", dx, weights[1:])])
            value, *tangents = self.interpolate(rows, weights)
            return value, torch.stack(tangents)
        features = self.interpolate(rows, weights)
        return features[0], torch.einsum("t...a,a...f->t...f", dx, features[1:])

    def pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Interpolate all levels, and contract cotangents with the derivatives of the features by each coordinate."""
        features = self.interpolate(*self.repeated_slopes(x))
        gradients = features[1:].movedim(0, -1)
        return features[0], lambda cotangent: (cotangent[..., None] * gradients).sum(-2)
