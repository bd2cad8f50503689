import numpy as np
import pytest
import scipy.sparse
import torch
from torch.testing import assert_close

from inr.convex.equations import Equations, coefficients_of
from inr.derivatives import value_and_jacobian
from inr.errors import InputError
from inr.field import Signals
from inr.measurements import sparse
from inr.measurements.observation_matrix import observation_matrix
from inr.measurements.pointwise import Points, Pointwise
from inr.measurements.radon import FanBeam, ParallelBeam, Pixels
from inr.measurements.sparse import SparseMatrix, stack
from inr.networks.interpolation import KERNELS
from inr.networks.spline import Spline
from inr.supervision.losses import SquaredError
from inr.supervision.terms import Supervision

ONE = Signals(torch.zeros(1, dtype=torch.long))
SENSORS = {  # the sensor, and the coordinates at which it looks, from 0 to these
    "sound": (Pointwise([9]), [8.0]),
    "image": (Pointwise([9, 7]), [8.0, 6.0]),
    "narrow": (Pointwise([9, 7], aspect="keep"), [8.0, 6.0]),
    "volume": (Pointwise([5, 6, 7]), [4.0, 5.0, 6.0]),
    "space": (Points(centre=[0.5, 0.5, 0.5], scale=1.5), [1.0, 1.0, 1.0]),
    "parallel": (ParallelBeam(bin_width=0.2, view_step=0.4, samples=33, centre=4.3), [8.0, 7.0]),
    "square": (
        ParallelBeam(bin_width=0.2, view_step=0.4, samples=33, centre=4.3, region="square", pivot=(0.1, 0.0)),
        [8.0, 7.0],
    ),
    "fan": (FanBeam(bin_width=0.3, view_step=0.7, samples=33, centre=4.0), [8.0, 7.0]),
    "pixels": (Pixels([9, 9]), [8.0, 8.0]),
}


@pytest.fixture(params=[(sensor, kernel) for sensor in SENSORS for kernel in KERNELS], ids="-".join)
def seen(request):
    """A spline with random coefficients, a sensor, and places between its samples."""
    sensor, kernel = request.param
    measurement, ends = SENSORS[sensor]
    torch.manual_seed(0)
    field = Spline(len(ends), 3, [7] * len(ends), kernel)
    field.coefficients.data.normal_()
    return field, measurement, (0.03 + 0.94 * torch.rand(1, 40, len(ends))) * torch.tensor(ends)


@torch.no_grad()
def test_the_matrix_observes_values_and_derivatives_of_the_field(seen):
    field, measurement, coordinates = seen
    value, jacobian = value_and_jacobian(measurement, field.field(ONE), coordinates)
    matrix = observation_matrix(field, measurement, coordinates)
    assert_close(matrix(field.coefficients), value[0], rtol=1e-4, atol=1e-5)
    along = observation_matrix(field, measurement, coordinates, along=range(coordinates.shape[-1]))
    slopes = along(field.coefficients).unflatten(0, (40, -1)).mT
    assert_close(slopes, jacobian[0], rtol=1e-4, atol=1e-4 * float(jacobian.abs().max()))
    last = observation_matrix(field, measurement, coordinates, along=[coordinates.shape[-1] - 1])
    assert_close(last(field.coefficients), slopes[..., -1])


@torch.no_grad()
def test_the_adjoint_is_exact(seen):
    field, measurement, coordinates = seen
    for along in (None, [0]):
        matrix = observation_matrix(field, measurement, coordinates, along)
        c, y = torch.randn(matrix.shape[1], 2), torch.randn(matrix.shape[0], 2)
        left, right = (matrix(c).double() * y).sum(0), (c * matrix.adjoint(y).double()).sum(0)
        assert_close(left, right, rtol=1e-4, atol=1e-4)


def test_sums_are_those_of_the_dense_matrix():
    dense = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32) * (np.arange(35).reshape(5, 7) % 3 > 0)
    matrix, weights = SparseMatrix(scipy.sparse.csr_array(dense)), torch.rand(5, 1)
    rows, columns = matrix.absolute_sums()
    assert_close(rows, torch.from_numpy(abs(dense).sum(1, keepdims=True)))
    assert_close(columns, torch.from_numpy(abs(dense).sum(0)[:, None]))
    assert_close(matrix.squares(weights), torch.from_numpy((weights.numpy() * dense**2).sum(0))[:, None])


def test_blocks_are_stacked_and_entries_of_a_column_add_up(monkeypatch):
    blocks = [(torch.tensor([[0, 2, 2], [1, 0, 1]]), torch.tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 5.0]]))] * 2
    matrix = stack(iter(blocks), 3)
    assert matrix.matrix.toarray().tolist() == [[1, 0, 5], [0, 9, 0]] * 2
    assert matrix.matrix.nnz == 6
    monkeypatch.setattr(sparse, "LARGEST", 5)
    with pytest.raises(InputError, match=r"3 unknowns may have 5.0e\+00 entries, got more; use fewer observations"):
        stack(iter(blocks), 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_multiplies_alike():
    matrix = SparseMatrix(scipy.sparse.random_array((50, 30), density=0.2, dtype=np.float32, rng=0).tocsr())
    there = matrix.on(torch.device("cuda"))
    c, y = torch.randn(30, 2), torch.randn(50, 2)
    assert_close(there(c.cuda()).cpu(), matrix(c))
    assert_close(there.adjoint(y.cuda()).cpu(), matrix.adjoint(y))
    assert all(one.is_cuda for one in there.absolute_sums())


class OnePart:
    """A batch with one part."""

    def __init__(self, coordinates, targets, weights):
        self.signals, self.parts = ONE, {"data": self}
        self.coordinates, self.targets, self.weights, self.context = coordinates, targets, weights, {}


def equations(terms, signals=2, preferred=None, shared=1):
    at = torch.rand(shared, 6, 2)
    targets = {"value": torch.randn(signals, 6, 3), "jacobian": torch.randn(signals, 6, 3, 2)}
    part = OnePart(at, targets, {"value": torch.rand(signals, 6)})
    supervision = Supervision({str(place): term for place, term in enumerate(terms)})
    found = Equations(Spline(2, 3, [4, 4]), {"data": Pointwise([4, 4])}, supervision, preferred)
    return part, found.problem([part])


def test_an_equation_counts_as_it_does_in_training():
    value, slope = SquaredError(weight=0.5), SquaredError(quantity="jacobian", weight=2.0, reduction="sum_axes", axes=[1])
    part, problem = equations([value, slope])
    c = torch.randn(2, problem.matrix.shape[1], 3)
    residual = problem.residual(c.movedim(0, 1).flatten(1))
    loss = float((problem.weights * residual.square()).sum())
    seen = problem.matrix(c.movedim(0, 1).flatten(1)).unflatten(1, (2, 3))
    error = (seen[:6] - part.targets["value"].movedim(0, 1)).square().sum(-1).T
    steep = (seen[6:] - part.targets["jacobian"][..., 1].movedim(0, 1)).square().sum()
    # the mean over three channels counts a third of their sum, for both terms
    assert loss == pytest.approx(3 * float(0.5 * (part.weights["value"] * error).sum() / 3 + 2 * steep), rel=1e-4)
    assert_close(coefficients_of(c.movedim(0, 1).flatten(1), 3), c)


def test_values_are_preferred_where_there_are_any():
    value, slope = SquaredError(), SquaredError(quantity="jacobian")
    assert equations([value, slope])[1].matrix.shape[0] == 18
    assert equations([value, slope], preferred="value")[1].matrix.shape[0] == 6
    assert equations([slope], preferred="value")[1].matrix.shape[0] == 12
    with pytest.raises(InputError, match="terms that compare with data, got none"):
        equations([SquaredError(weight=0.0)])
    with pytest.raises(InputError, match="coordinates that all signals share, got those of 2"):
        equations([value], shared=2)
