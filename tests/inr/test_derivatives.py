import pytest
import torch
from tiny.laws import assert_derivatives_are_exact, by_reverse, gradients
from tiny.signals import ANYWHERE, LAYERED, TRUNKS, field_of, network
from torch.testing import assert_close

from inr.derivatives import value_and_jacobian
from inr.field import Field
from inr.measurements.measurement import Measurement
from inr.measurements.pointwise import Points, Pointwise
from inr.measurements.radon import Pixels
from inr.networks.activations import Activation, Elementwise, Finer, Gauss, ReLU, Sine
from inr.networks.linear import Chain, Linear, SkipConnection
from inr.networks.mlp import MLP
from inr.tangents import linearise, pullback, pushforward

SHAPE = (12, 9)
CHANNELS = [3, 1]  # of more channels than axes tangents go forward, of fewer gradients go backward


pytestmark = pytest.mark.usefixtures("float64")


def coordinates(points: int = 7) -> torch.Tensor:
    return torch.rand(1, points, 2) * (torch.tensor(SHAPE) - 1)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("model", ANYWHERE)
def test_forward_equals_reverse_equals_central_differences(model, channels):
    model = network(model, out_features=channels)
    assert_derivatives_are_exact(Pointwise(SHAPE), model, field_of(model), coordinates())


def assert_moves_as_jacrev(module, x):
    jacobian = torch.func.vmap(torch.func.jacrev(module))(x[0])
    tangents = torch.rand(3, 1, 5, x.shape[-1])
    forward, derivatives = pushforward(module, x, tangents)
    assert_close(derivatives[:, 0], torch.einsum("pcd,kpd->kpc", jacobian, tangents[:, 0]), rtol=1e-10, atol=1e-10)
    value, back = pullback(module, x)
    assert_close((forward, value), (module(x), module(x)))
    shared, own = torch.rand(3, 1, 1, value.shape[-1]), torch.rand(3, 1, 5, value.shape[-1])
    for cotangents in (shared, own):
        expected = torch.einsum("pcd,kpc->kpd", jacobian, cotangents[:, 0].expand(3, 5, -1))
        assert_close(back(cotangents)[:, 0].expand(3, 5, -1), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("model", LAYERED)
def test_every_layer_moves_tangents_and_cotangents_as_jacrev_does(model):
    model, x = network(model), torch.rand(1, 5, 2)
    for module in next(module for module in model.modules() if isinstance(module, Chain)):
        assert_moves_as_jacrev(module, x)
        x = module(x).detach()


@pytest.mark.parametrize("module", [SkipConnection(Chain(Linear(4, 3), Sine(2.0))), torch.nn.Tanh()], ids=["skip", "foreign"])
def test_skips_and_foreign_modules_move_both_as_jacrev_does(module):
    assert_moves_as_jacrev(module.double(), torch.rand(1, 5, 4))


@pytest.mark.parametrize("model", TRUNKS)
def test_going_backward_equals_going_forward(model):
    model, x = network(model, in_features=3, out_features=2, input_scale=1.7), torch.rand(1, 6, 3)
    for tangents in (torch.rand(3, 1, 1, 3), torch.rand(3, 1, 6, 3)):
        backward, forward = model.pushforward(x, tangents), model.layers.pushforward(1.7 * x, 1.7 * tangents)
        for one, other in zip(backward, forward, strict=True):
            assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("model", ANYWHERE)
def test_parameter_gradients_keep_their_digits_in_float32(model, channels):
    model, at = network(model, out_features=channels).float(), coordinates().float()
    both = [compute(Pointwise(SHAPE), field_of(model), at) for compute in (value_and_jacobian, by_reverse)]
    for forward, reverse in zip(*(gradients(observed, model.parameters()) for observed in both), strict=True):
        assert (forward - reverse).norm() <= 1e-5 * reverse.norm()


class Swish(Activation):
    def forward(self, z):
        return z * z.sigmoid()


def test_an_activation_needs_no_more_than_its_value():
    model, x, dx = MLP(2, 3, Swish(), hidden_features=8), torch.rand(1, 5, 2), torch.rand(2, 1, 5, 2)
    assert_close(model.pushforward(x, dx), linearise(model, (x,), (dx,)))


def plain(z, dz, activation):
    """Value, slope and tangents of an activation by autograd alone."""
    value = activation(z)
    (slope,) = torch.autograd.grad(value.sum(), z, create_graph=True)
    return value, slope, slope * dz


@pytest.mark.parametrize("read", [[0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2]], ids=str)
@pytest.mark.parametrize("activation", [Sine(3.0), Finer(3.0), ReLU(), Gauss(0.5), Swish()], ids=lambda one: type(one).__name__)
def test_the_written_backward_pass_equals_autograd_twice(activation, read):
    z, dz = torch.randn(3, 4, requires_grad=True), torch.randn(2, 1, 4, requires_grad=True)  # tangents are broadcast
    weights, results = [torch.randn(3, 4), torch.randn(3, 4), torch.randn(2, 3, 4)], []
    for rule in (Elementwise.apply, plain):
        outputs, nothing = rule(z, dz, activation), 0 * (z.sum() + dz.sum())
        loss = nothing + sum((weights[index] * outputs[index].square()).sum() for index in read)
        first = torch.autograd.grad(loss, (z, dz), create_graph=True)
        second = torch.autograd.grad(nothing + sum(one.square().sum() for one in first), (z, dz))
        results.append([*first, *second])
    assert_close(*results)


def test_foreign_modules_get_the_default_rule():
    network = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    assert_derivatives_are_exact(Pointwise(SHAPE), network, Field(network), coordinates())


@pytest.mark.parametrize("model", ANYWHERE)
def test_each_row_depends_on_its_own_coordinate(model):
    field, at = field_of(network(model)), coordinates()
    moved = at.clone()
    moved[0, 3] += 1
    before, after = (value_and_jacobian(Pointwise(SHAPE), field, x)[1] for x in (at, moved))
    for changed in (before != after).flatten(2).any(-1):
        assert changed.nonzero().flatten().tolist() == [3]


@pytest.mark.parametrize("context", [torch.no_grad, torch.enable_grad])
def test_derivatives_do_not_need_grad_mode(context):
    field, at = field_of(network("sine")), coordinates()
    expected = by_reverse(Pointwise(SHAPE), field, at)[1]
    with context():
        assert_close(value_and_jacobian(Pointwise(SHAPE), field, at)[1], expected)


@pytest.mark.parametrize("model", LAYERED)
def test_bf16_keeps_values_and_derivatives_within_its_precision(model):
    torch.manual_seed(1)
    model, at = network(model, hidden_features=64).float(), coordinates(64).float()
    exact = value_and_jacobian(Pointwise(SHAPE), field_of(model), at)
    with torch.autocast("cpu", torch.bfloat16):
        rough = value_and_jacobian(Pointwise(SHAPE), field_of(model), at)
    for precise, approximate in zip(exact, rough, strict=True):
        assert approximate.dtype == torch.float32
        assert (precise - approximate).norm() < 0.15 * precise.norm()  # a ReLU that rounding flips loses its whole slope
        assert not torch.equal(precise, approximate)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch hides it, but not where warnings are errors
@pytest.mark.parametrize("model", ANYWHERE)
def test_compiled_functions_equal_eager_ones(model):
    model, at = network(model, hidden_layers=2), coordinates()
    expected = value_and_jacobian(Pointwise(SHAPE), field_of(model), at)
    names = list(model.state_dict())
    model.compile_functions("aot_eager")
    assert {"forward", "pushforward"} < set(vars(model))
    assert list(model.state_dict()) == names
    assert_close(value_and_jacobian(Pointwise(SHAPE), field_of(model), at), expected)
    assert_close(field_of(model)(Pointwise(SHAPE).locate(at).points), expected[0])


@pytest.mark.parametrize("sensor", [Pointwise(SHAPE), Pointwise(SHAPE, "keep"), Pixels(SHAPE), Points((1.0, 2.0), 3.0)])
def test_the_constant_motion_of_points_equals_the_differentiated_one(sensor):
    at, basis = coordinates(), torch.eye(2)[:, None, None]
    located, motion = sensor.locate_along(at, basis)
    expected, moved = Measurement.locate_along(sensor, at, basis)
    assert_close((*located.quadrature, *motion.quadrature), (*expected.quadrature, *moved.quadrature))
    assert_close((located.points, motion.points.expand_as(moved.points)), (expected.points, moved.points))
