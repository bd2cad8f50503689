import pytest
import torch
from tiny.laws import by_reverse
from torch import nn
from torch.testing import assert_close

from inr.field import Field
from inr.measurements.observation_matrix import observation_matrix
from inr.measurements.pointwise import Pointwise
from inr.networks.lattice import LatticeNetwork
from inr.networks.spline import Spline

pytestmark = pytest.mark.usefixtures("float64")


class Tents(LatticeNetwork):
    """Linear interpolation of seven values from -1 to 1: the least that a subclass defines."""

    lattice = (7,)

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(7, 2))

    @property
    def coefficients(self):
        return self.table

    def stencil(self, points):
        position = 3 * (points[..., 0] + 1)
        first = position.detach().floor().clamp(0, 5)
        place = position - first
        return torch.stack([first, first + 1], -1).int(), torch.stack([1 - place, place], -1)


def test_a_network_of_coefficients_and_a_stencil_has_values_and_derivatives():
    torch.manual_seed(0)
    tents, spline = Tents(), Spline(1, 2, [7], "linear")
    spline.coefficients.data = tents.table.data
    at, sensor = 1 + 4 * torch.rand(1, 20, 1), Pointwise([7])
    assert_close(by_reverse(sensor, Field(tents), at), by_reverse(sensor, Field(spline), at))
    assert_close(tents.groups()["tables"], [tents.table])


def test_its_observations_are_a_matrix_times_its_coefficients():
    torch.manual_seed(0)
    tents, at, sensor = Tents(), 1 + 4 * torch.rand(1, 20, 1), Pointwise([7])
    value, jacobian = by_reverse(sensor, Field(tents), at)
    for along, seen in ((None, value[0]), ([0], jacobian[0, ..., 0])):
        matrix = observation_matrix(tents, sensor, at, along)
        assert_close(matrix(tents.table.detach().float()), seen.detach().float(), rtol=1e-5, atol=1e-5, check_dtype=False)
