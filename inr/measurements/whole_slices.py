"""All rays of a scan at once: the field is evaluated once, on a lattice, and a sparse matrix sums it up along them."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from inr.errors import InputError
from inr.field import Field
from inr.measurements.measurement import Measurement, SamplePoints
from inr.measurements.observation_matrix import observation_matrix
from inr.measurements.radon import LineIntegrals
from inr.measurements.sparse import SparseMatrix
from inr.networks.spline import Spline

OVERSAMPLES = (1, 2)
SAMPLES = 2  # of a line for each node of the lattice that it passes
CROSSED = 3  # nodes with a weight in a ray, at most about, for each node along a side of the lattice


class Product(torch.autograd.Function):
    """matrix @ x for x (columns, signals), differentiable in both modes as often as anybody likes, since it is linear."""

    @staticmethod
    def forward(x: Tensor, matrix: SparseMatrix, adjoint: bool) -> Tensor:
        """Multiply by the matrix, or by its transpose."""
        return matrix.adjoint(x.contiguous()) if adjoint else matrix(x.contiguous())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, SparseMatrix, bool], output: Tensor) -> None:
        """Remember the matrix."""
        ctx.matrix, ctx.adjoint = inputs[1:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Multiply by the transpose: the gradient of <g, A x> by x is A^T g."""
        return Product.apply(gradients[0], ctx.matrix, not ctx.adjoint), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        """Multiply the tangent: a linear function is its own derivative."""
        return Product.apply(tangents[0], ctx.matrix, ctx.adjoint)

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[int | None], x: Tensor, matrix: SparseMatrix, adjoint: bool) -> tuple[Tensor, int]:
        """Multiply all entries at once, side by side."""
        assert in_dims[0] is not None
        entries = x.movedim(in_dims[0], 1)  # (columns, entries, signals)
        return Product.apply(entries.flatten(1), matrix, adjoint).unflatten(1, entries.shape[1:]), 1


class Remembered(Field):
    """A field that evaluates the same tensor of points once."""

    def __init__(self, field: Field) -> None:
        super().__init__(self.evaluate, field.penalties)
        self.field = field
        self.last: tuple[Tensor, Tensor] | None = None

    def evaluate(self, points: Tensor) -> Tensor:
        """Evaluate the field, unless the last points were these."""
        if self.last is None or self.last[0] is not points:
            self.last = points, self.field(points)
        return self.last[1]


class WholeSlices(Measurement):
    """Observe all rays of a scan for the price of one slice: values at the nodes of a lattice, times a sparse matrix.

    The field is taken as bilinear between the nodes, which the matrix integrates along the lines that `beam` follows. Rays
    that are not those of the whole scan, in their order, are seen by the beam itself, sample by sample.
    beam:       the scanner.
    bins, views: of the scan; the rays run view by view of the first bin, and so on.
    shape:      rows and columns of the slice, in pixels.
    oversample: cells of the lattice from one pixel to the next, 1 or 2.
    Shapes: as of `LineIntegrals`; differences (signals, nodes, channels, 2).
    Units:  as of `LineIntegrals`; differences in field value per pixel.
    Raises: InputError for another oversample, and jittered rays.
    """

    rays: Tensor
    nodes: Tensor
    following: Tensor

    def __init__(self, beam: LineIntegrals, bins: int, views: int, shape: Sequence[int], oversample: int = 1) -> None:
        super().__init__()
        if oversample not in OVERSAMPLES:
            raise InputError(f"data.oversample must be 1 or 2 cells per pixel, got {oversample}.")
        if beam.jitter:
            rule = "Whole slices have nothing to jitter, got data.jitter=true"
            raise InputError(f"{rule}; leave it out, or add data.whole=false.")
        self.beam, self.oversample = beam, oversample
        self.side = max(shape)  # the lattice is a square about the slice, as [-1, 1]^2 is
        rays = torch.cartesian_prod(torch.arange(float(bins)), torch.arange(float(views)))
        self.register_buffer("rays", rays, persistent=False)
        points, inside = self.covered(oversample * (self.side - 1) + 1)
        place = torch.full(inside.shape, -1).masked_scatter(inside, torch.arange(int(inside.sum())))
        # of each node the next one along both axes; itself where the next is not covered, so that the difference is zero
        ends = torch.stack([torch.cat([place[1:], place[-1:]]), torch.cat([place[:, 1:], place[:, -1:]], 1)], -1)
        following = torch.where(ends < 0, place[..., None], ends)[inside]
        self.register_buffer("nodes", points[inside][None], persistent=False)
        self.register_buffer("following", following, persistent=False)
        self.columns = inside.flatten().numpy()
        self.known: dict[str, Tensor] = {}  # shared by copies that `within` makes, as the matrices are
        self.matrices: dict[tuple[int | None, torch.device, torch.dtype], SparseMatrix] = {}

    def covered(self, size: int) -> tuple[Tensor, Tensor]:
        """Return the nodes (rows, columns, 2) of a lattice, and those (rows, columns) that a ray may pass near."""
        axis = torch.linspace(-1, 1, size)
        points = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
        if self.beam.region != "circle":
            return points, torch.ones(points.shape[:-1], dtype=torch.bool)
        # the corners of a cell that the circle cuts lie within a diagonal of it
        reach = 1 + 2**0.5 * 2 / (size - 1)
        return points, (points - self.beam.pivot.to(points)).norm(dim=-1) <= reach

    def one_by_one(self) -> Measurement:
        """Return the beam."""
        return self.beam.within(**self.context)

    def prepare(self, field: Field, coordinates: Float[Tensor, "shared points 2"]) -> tuple[Measurement, Field]:
        """Return this with a field that is evaluated once if all rays are looked along, else the beam."""
        return (self, Remembered(field)) if self.sees(coordinates) else self.one_by_one().prepare(field, coordinates)

    def sees(self, coordinates: Float[Tensor, "shared points 2"]) -> bool:
        """Return True if these are all rays in their order; a tensor that is looked along in every step is compared once."""
        if self.context or coordinates.shape != (1, *self.rays.shape):
            return False
        if self.known.get("rays") is not coordinates:  # comparing numbers waits for a GPU
            if not torch.equal(coordinates[0], self.rays):
                return False
            self.known["rays"] = coordinates
        return True

    def locate(self, coordinates: Float[Tensor, "shared points 2"]) -> SamplePoints:
        """Return the nodes of the lattice (1, nodes, 2), whatever the coordinates."""
        return SamplePoints(self.nodes)

    def integrate(self, values: Float[Tensor, "signals nodes channels"], quadrature: tuple[Tensor, ...]) -> Tensor:
        """Sum the values up along all rays."""
        return self.product(values, None)

    def along(
        self, field: Field, coordinates: Tensor, basis: Float[Tensor, "along #shared #points 2"], axes: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Return the observations, and their derivatives along each direction: the nodes stay, the matrix changes."""
        values = field(self.nodes)
        by_axis = {axis: self.product(values, axis) for axis in axes}
        parts = [basis[..., axis, None].to(slopes) * slopes for axis, slopes in by_axis.items()]
        return self.product(values, None), torch.stack(parts).sum(0)

    def differences(self, field: Field) -> Float[Tensor, "signals nodes channels 2"]:
        """Return the differences from each node to the next one along both axes [value per pixel]."""
        values = field(self.nodes)
        steps = [values[:, ends] - values for ends in self.following.unbind(-1)]
        return self.oversample * torch.stack(steps, -1)

    def of_constant(self, coordinates: Float[Tensor, "shared points axes"]) -> Tensor:
        """Return the lengths of the lines."""
        return self.one_by_one().of_constant(coordinates)

    def product(self, values: Tensor, axis: int | None) -> Tensor:
        """Multiply values (signals, nodes, channels) by the matrix of observations, or of their derivatives along an axis."""
        columns = values.movedim(1, 0)
        seen = Product.apply(columns.flatten(1).to(self.rays.dtype), self.matrix(axis), False)
        return seen.unflatten(1, columns.shape[1:]).movedim(0, 1)

    def matrix(self, axis: int | None) -> SparseMatrix:
        """Return the matrix of all observations (rays, nodes), or of their derivatives along an axis; made once."""
        key = axis, self.rays.device, self.rays.dtype
        if key not in self.matrices:
            lattice = Spline(2, 1, [self.side, self.side], "linear", fineness=float(self.oversample))
            beam = self.beam.resolving(lattice.spacing / SAMPLES)
            made = observation_matrix(lattice, beam, self.rays.cpu()[None], None if axis is None else [axis])
            self.matrices[key] = SparseMatrix(made.matrix[:, self.columns], self.rays.device)
        return self.matrices[key]


def entries(bins: int, views: int, shape: Sequence[int], oversample: int) -> int:
    """Return about how many entries the matrix of a whole scan has."""
    return bins * views * CROSSED * oversample * max(shape)
