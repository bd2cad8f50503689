"""A sparse matrix and its exact adjoint, on a CPU or a GPU."""

import itertools
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Float
from torch import Tensor

from inr.errors import InputError

PARTS = 4  # of the rows, that threads multiply side by side
LARGEST = 2**28  # entries that a matrix may have: 2 GiB as a float32 and an int32 each


class SparseMatrix:
    """A matrix that acts on columns of signals: `matrix(x)`, and `matrix.adjoint(y)`.

    scipy multiplies on a CPU: the adjoint is the same numbers read by columns, without a copy, and both take less time there
    than torch's sparse products; rows are shared out to torch's threads, in parts that do not depend on their number, nor do
    the sums. A GPU gets the matrix and its transpose, since torch has no product by columns.
    Shapes: x (columns, signals) -> matrix(x) (rows, signals); y (rows, signals) -> adjoint(y) (columns, signals).
    """

    def __init__(self, matrix: scipy.sparse.csr_array, device: torch.device | str = "cpu") -> None:
        self.matrix, self.device = matrix, torch.device(device)
        self.shape: tuple[int, int] = matrix.shape
        here = self.device.type == "cpu"
        self.there = None if here else (on_device(matrix, self.device), on_device(matrix.T.tocsr(), self.device))
        self.parts = row_parts(matrix, PARTS) if here else []
        self.pool = ThreadPoolExecutor(min(torch.get_num_threads(), PARTS))

    def on(self, device: torch.device) -> "SparseMatrix":
        """Return the matrix on another device."""
        return self if device == self.device else SparseMatrix(self.matrix, device)

    def __call__(self, x: Float[Tensor, "columns signals"]) -> Float[Tensor, "rows signals"]:
        """Multiply by the matrix."""
        if self.there is not None:
            return self.there[0] @ x
        array = x.numpy()
        return torch.from_numpy(np.concatenate(list(self.pool.map(lambda part: part @ array, self.parts))))

    def adjoint(self, y: Float[Tensor, "rows signals"]) -> Float[Tensor, "columns signals"]:
        """Multiply by the transpose."""
        if self.there is not None:
            return self.there[1] @ y
        stops = np.cumsum([part.shape[0] for part in self.parts])
        arrays = np.split(y.numpy(), stops[:-1])
        return torch.from_numpy(sum(self.pool.map(lambda part, rows: part.T @ rows, self.parts, arrays)))

    def absolute_sums(self) -> tuple[Float[Tensor, "rows 1"], Float[Tensor, "columns 1"]]:
        """Return the sums of the magnitudes of each row, and of each column."""
        magnitude = abs(self.matrix)
        sums = (np.asarray(magnitude.sum(axis), dtype=np.float32) for axis in (1, 0))
        rows, columns = (torch.from_numpy(one)[:, None].to(self.device) for one in sums)
        return rows, columns

    def squares(self, weights: Float[Tensor, "rows 1"]) -> Float[Tensor, "columns 1"]:
        """Return the weighted sum of squares of each column: the diagonal of A^T W A."""
        sums = self.matrix.power(2).T @ weights.cpu().numpy()
        return torch.from_numpy(sums).float().to(self.device)


def row_parts(matrix: scipy.sparse.csr_array, count: int) -> list[scipy.sparse.csr_array]:
    """Return blocks of rows with about as many entries each, which share the numbers of the matrix."""
    starts = matrix.indptr
    bounds = np.searchsorted(starts, np.linspace(0, starts[-1], count + 1))
    bounds[0], bounds[-1] = 0, matrix.shape[0]
    parts = []
    for first, last in itertools.pairwise(bounds):
        entries = slice(starts[first], starts[last])
        rows = (matrix.data[entries], matrix.indices[entries], starts[first : last + 1] - starts[first])
        parts.append(scipy.sparse.csr_array(rows, (last - first, matrix.shape[1])))
    return parts


def on_device(matrix: scipy.sparse.csr_array, device: torch.device) -> Tensor:
    """Copy a matrix to a device."""
    starts, columns, values = (torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data))
    return torch.sparse_csr_tensor(starts, columns, values, matrix.shape, device=device)


def stack(blocks: Iterable[tuple[Tensor, Tensor]], columns: int) -> SparseMatrix:
    """Make a matrix, on the CPU, of blocks of rows: columns and values (rows, entries) of each; those of one column add up.

    Raises: InputError for more entries than memory is likely to hold.
    """
    rows: list[scipy.sparse.csr_array] = []
    entries = 0
    for index, values in blocks:
        count, each = index.shape
        # in 32 bits, which are sorted and multiplied by in half the time
        starts = np.arange(0, count * each + 1, each, dtype=np.int32)
        flat = values.flatten().cpu().numpy(), index.flatten().int().cpu().numpy()
        block = scipy.sparse.csr_array((*flat, starts), (count, columns), copy=True)
        block.sum_duplicates()  # in place
        block.eliminate_zeros()  # such as those of lines beside the slice
        entries += block.nnz
        if entries > LARGEST:
            rule = f"A matrix of {columns} unknowns may have {LARGEST:.1e} entries, got more"
            raise InputError(f"{rule}; use fewer observations, a coarser lattice, or steps (solver=adam).")
        rows.append(block)
    return SparseMatrix(scipy.sparse.vstack(rows, format="csr"))
