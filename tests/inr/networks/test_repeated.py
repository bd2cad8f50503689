import pytest
import torch
from tiny.laws import gradients
from torch.testing import assert_close

from inr.networks.activations import Sine
from inr.networks.grids import GridEncoding
from inr.networks.mlp import MLP
from inr.networks.repeated import Repeated

pytestmark = pytest.mark.usefixtures("float64")


class Counted:
    """A function of points that counts its calls."""

    calls = 0

    def __call__(self, points):
        self.calls += 1
        return 2 * points


def test_a_result_is_kept_from_the_second_time_on():
    function = Counted()
    repeated, points = Repeated(function), torch.rand(5, 2)
    for calls, given in enumerate((points, points.clone(), points, points.clone())):
        assert torch.equal(repeated(given), 2 * points)
        assert function.calls == min(calls + 1, 2)
    repeated(points + 1)
    repeated(points)
    assert function.calls == 4


@pytest.mark.parametrize("change", [lambda x: x.add_(0.1), lambda x: x[2].fill_(-0.0), lambda x: x.resize_(4, 2)])
def test_points_that_were_overwritten_are_looked_at_anew(change):
    repeated, points = Repeated(lambda points: 2 * points), torch.rand(5, 2)
    for _ in range(3):
        repeated(points)
    change(points)
    assert torch.equal(repeated(points), 2 * points)


def test_numbers_of_another_type_are_others():
    repeated, points = Repeated(lambda points: 2 * points), torch.ones(5, 2)
    for _ in range(3):
        repeated(points)
    assert repeated(points.float()).dtype == torch.float32


def test_nothing_is_kept_where_gradients_flow_or_transforms_look():
    function = Counted()
    repeated, points = Repeated(function), torch.rand(5, 2)
    for _ in range(3):
        assert_close(torch.autograd.grad(repeated(asked := points.clone().requires_grad_()).sum(), asked)[0], points * 0 + 2)
        assert_close(torch.func.jvp(repeated, (points,), (points,))[1], 2 * points)
        assert_close(torch.func.vmap(repeated)(points), 2 * points)
        with torch.inference_mode():
            repeated(points)
    assert function.calls == 12
    assert repeated.kept is None


@pytest.mark.parametrize("kernel", ["linear", "quadratic"])
def test_a_network_computes_the_same_bits_at_points_that_come_again(kernel):
    torch.manual_seed(0)
    network = MLP(2, 3, Sine(3.0), GridEncoding(2, (9, 12), kernel, rows=50, coarsest=3), hidden_features=8, hidden_layers=1)
    points, tangents = 2 * torch.rand(1, 20, 2) - 1, torch.eye(2)[:, None, None]

    def everything():
        value, slopes = network.pushforward(points, tangents)
        return network(points), value, slopes, *gradients((value, slopes.movedim(0, -1)), network.parameters())

    first, *others = [everything() for _ in range(4)]
    for other in others:
        assert all(torch.equal(one, again) for one, again in zip(first, other, strict=True))
    assert network.layers[0].repeated_slopes.kept[1] is not None
