import pytest
import torch
from torch.testing import assert_close

from inr.derivatives import observe_at
from inr.field import Field
from inr.measurements.pointwise import Pointwise
from inr.measurements.radon import ParallelBeam
from inr.supervision.constant import Residuals, UnknownConstant

SIGNALS, CHANNELS, POINTS = 3, 2, 40
pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(params=[Pointwise((6, 5)), ParallelBeam(0.2, 0.3, samples=9, centre=4.0)], ids=["points", "lines"])
def observed(request):
    """What a sensor sees of three fields, of the fields plus constants, and of 1; and the constants."""
    rates, constants = torch.randn(SIGNALS, 2, CHANNELS), torch.randn(SIGNALS, CHANNELS)

    def waves(points):
        return (points.flatten(1, -2) @ rates).sin().unflatten(1, points.shape[1:-1])

    def raised(points):
        return waves(points) + constants.reshape(SIGNALS, *[1] * (points.ndim - 2), CHANNELS)

    at = torch.rand(1, POINTS, 2) * torch.tensor([5.0, 4.0])
    seen = [observe_at(request.param, Field(function), at, {"value"})["value"] for function in (waves, raised)]
    return *seen, request.param.of_constant(at), constants


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("points", [7, POINTS])
@pytest.mark.parametrize("groups", [[[0, 1, 2]], [[2], [0, 1]]])
def test_a_field_plus_a_constant_gives_the_constant_back(observed, groups, points, weighted):
    values, raised, response, constants = observed
    weights = torch.rand(SIGNALS, POINTS) * (torch.rand(SIGNALS, POINTS) > 0.4) if weighted else None
    targets = raised if weights is None else torch.where(weights[..., None] > 0, raised, 1e3)  # hidden samples weigh nothing
    unknown = UnknownConstant(SIGNALS, CHANNELS)
    unknown.estimate(
        Residuals(
            torch.tensor(group),
            (targets - values)[group, start : start + points],
            response[:, start : start + points],
            None if weights is None else weights[group, start : start + points],
        )
        for group in groups
        for start in range(0, POINTS, points)
    )
    assert_close(unknown.value, constants)
    assert_close(unknown(values[[2, 0]], response, torch.tensor([2, 0])), raised[[2, 0]])


def test_signals_without_any_weight_have_the_constant_that_they_had(observed):
    values, raised, response, constants = observed
    unknown = UnknownConstant(SIGNALS, CHANNELS)
    unknown.value.fill_(7.0)
    weights = torch.ones(2, POINTS)
    weights[1] = 0
    unknown.estimate([Residuals(torch.tensor([0, 2]), (raised - values)[[0, 2]], response, weights)])
    assert_close(unknown.value[0], constants[0])
    assert (unknown.value[1:] == 7).all()


def test_shares_of_processes_are_summed(observed, monkeypatch):
    values, raised, response, constants = observed
    monkeypatch.setattr("inr.supervision.constant.global_sum", lambda share: 3 * share)  # three that saw the same
    unknown = UnknownConstant(SIGNALS, CHANNELS)
    unknown.estimate([Residuals(torch.arange(SIGNALS), raised - values, response)], over_processes=True)
    assert_close(unknown.value, constants)
