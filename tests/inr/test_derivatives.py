import pytest
import torch
from tiny.signals import ANYWHERE, TRUNKS, every_signal, network
from torch.testing import assert_close

from inr.derivatives import observe_at, value_and_jacobian
from inr.field import Field
from inr.measurements.measurement import Measurement
from inr.measurements.pointwise import Pointwise
from inr.networks.activations import Activation, Sine
from inr.networks.linear import Again, Chain, Linear
from inr.networks.mlp import MLP
from inr.tangents import linearise, pullback

SHAPE = (12, 9)
CHANNELS = [3, 1]  # of more channels than axes tangents go forward, of fewer gradients go backward


pytestmark = pytest.mark.usefixtures("float64")


def coordinates(points: int = 7) -> torch.Tensor:
    return torch.rand(1, points, 2) * (torch.tensor(SHAPE) - 1)


def field_of(model):
    return model.field(every_signal(model))


def layers(model):
    return next(module for module in model.modules() if isinstance(module, Chain))


def double_backward(measurement, field, at):
    """The jacobian by reverse mode, one backward pass per channel; every signal gets coordinates of its own."""
    signals = len(field(measurement.locate(at).points))
    at = at.repeat(signals, 1, 1).requires_grad_()
    value = measurement.integrate(field(measurement.locate(at).points), ())
    rows = [torch.autograd.grad(value[..., c].sum(), at, create_graph=True)[0] for c in range(value.shape[-1])]
    return value, torch.stack(rows, -2)


def loss(value, jacobian):
    return (value - 0.3).square().mean() + (jacobian - 0.1).square().sum((-1, -2)).mean()


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("model", ANYWHERE)
def test_forward_equals_reverse_equals_central_differences(model, channels):
    model = network(model, out_features=channels)
    field, beam, at, signals = field_of(model), Pointwise(SHAPE), coordinates(), len(every_signal(model).index)
    value, jacobian = value_and_jacobian(beam, field, at)
    reverse_value, reverse = double_backward(beam, field, at)
    assert value.shape == (signals, 7, channels)
    assert jacobian.shape == (signals, 7, channels, 2)
    assert_close(value, reverse_value)
    assert_close(jacobian, reverse, rtol=1e-10, atol=1e-10)
    step = 1e-5
    for axis in range(2):
        shift = step * torch.eye(2)[axis]
        ahead, behind = (observe_at(beam, field, at + sign * shift, {"value"})["value"] for sign in (1, -1))
        assert_close((ahead - behind) / (2 * step), jacobian[..., axis], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", ANYWHERE)
def test_every_layer_pushes_tangents_as_jacrev_does(model):
    model, x = network(model), torch.rand(1, 5, 2)
    tangents = torch.eye(2)[:, None, None].expand(2, 1, 5, 2)
    for module in layers(model):
        value, derivatives = module.pushforward(x, tangents)
        jacobian = torch.func.vmap(torch.func.jacrev(module))(x[0])
        assert_close(value, module(x))
        assert_close(derivatives[:, 0], torch.einsum("pcd,kpd->kpc", jacobian, tangents[:, 0]), rtol=1e-10, atol=1e-10)
        x, tangents = value.detach(), derivatives.detach()


def assert_pulls_as_jacrev(module, x):
    value, back = pullback(module, x)
    assert_close(value, module(x))
    jacobian = torch.func.vmap(torch.func.jacrev(module))(x[0])
    shared, own = torch.rand(3, 1, 1, value.shape[-1]), torch.rand(3, 1, 5, value.shape[-1])
    for cotangents in (shared, own):
        expected = torch.einsum("pcd,kpc->kpd", jacobian, cotangents[:, 0].expand(3, 5, -1))
        assert_close(back(cotangents)[:, 0].expand(3, 5, -1), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("model", ANYWHERE)
def test_every_layer_pulls_cotangents_as_jacrev_does(model):
    x = torch.rand(1, 5, 2)
    for module in layers(network(model)):
        assert_pulls_as_jacrev(module, x)
        x = module(x).detach()


@pytest.mark.parametrize("module", [Again(Chain(Linear(4, 3), Sine(2.0))), torch.nn.Tanh()], ids=["skip", "foreign"])
def test_skips_and_foreign_modules_pull_as_jacrev_does(module):
    assert_pulls_as_jacrev(module.double(), torch.rand(1, 5, 4))


@pytest.mark.parametrize("model", TRUNKS)
def test_going_backward_equals_going_forward(model):
    model, x = network(model, in_features=3, out_features=2, input_scale=1.7), torch.rand(1, 6, 3)
    for tangents in (torch.rand(3, 1, 1, 3), torch.rand(3, 1, 6, 3)):
        backward, forward = model.pushforward(x, tangents), model.layers.pushforward(1.7 * x, 1.7 * tangents)
        for one, other in zip(backward, forward, strict=True):
            assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("model", ANYWHERE)
def test_parameter_gradients_of_a_jacobian_loss_equal_those_of_double_backward(model, dtype, tolerance, channels):
    model, at = network(model, out_features=channels).to(dtype), coordinates().to(dtype)
    gradients = []
    for evaluate in (value_and_jacobian, double_backward):
        model.zero_grad()
        loss(*evaluate(Pointwise(SHAPE), field_of(model), at)).backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    assert len(gradients[0]) == len(gradients[1])
    for forward, reverse in zip(*gradients, strict=True):
        assert (forward - reverse).norm() <= tolerance * reverse.norm()


@pytest.mark.parametrize("model", ANYWHERE)
def test_the_pushforward_can_be_differentiated_twice(model):
    model = network(model)
    for activation in {module for module in layers(model) if hasattr(module, "layer")}:
        z, dz = torch.rand(3, 4) - 0.4, torch.rand(2, 3, 4)
        inputs = z.requires_grad_(), dz.requires_grad_()
        assert torch.autograd.gradcheck(activation.pushforward, inputs)
        assert torch.autograd.gradgradcheck(activation.pushforward, inputs)


class Swish(Activation):
    def forward(self, z):
        return z * z.sigmoid()


def test_an_activation_needs_no_more_than_its_value():
    model, x, dx = MLP(2, 3, Swish(), hidden_features=8), torch.rand(1, 5, 2), torch.rand(2, 1, 5, 2)
    assert_close(model.pushforward(x, dx), linearise(model, (x,), (dx,)))
    z, dz = torch.randn(3, 4).requires_grad_(), torch.rand(2, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(Swish().pushforward, (z, dz))


def test_foreign_modules_get_the_default_rule():
    field = Field(torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)))
    at = coordinates()
    assert_close(value_and_jacobian(Pointwise(SHAPE), field, at)[1], double_backward(Pointwise(SHAPE), field, at)[1])


def test_the_analytic_rule_equals_the_default_rule():
    model, x, dx = network("wire"), torch.rand(4, 2), torch.rand(3, 4, 2)
    for ours, default in zip(model.pushforward(x, dx), linearise(model, (x,), (dx,)), strict=True):
        assert_close(ours, default)


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
    expected = double_backward(Pointwise(SHAPE), field, at)[1]
    with context():
        assert_close(value_and_jacobian(Pointwise(SHAPE), field, at)[1], expected)


@pytest.mark.parametrize("model", ANYWHERE)
def test_bf16_keeps_values_and_derivatives_within_its_precision(model):
    torch.manual_seed(1)
    model, at = network(model, hidden_features=64).float(), coordinates(64).float()
    exact = value_and_jacobian(Pointwise(SHAPE), field_of(model), at)
    with torch.autocast("cpu", torch.bfloat16):
        rough = value_and_jacobian(Pointwise(SHAPE), field_of(model), at)
    for precise, approximate in zip(exact, rough, strict=True):
        assert approximate.dtype == torch.float32
        assert (precise - approximate).norm() < 0.1 * precise.norm()
        assert not torch.equal(precise, approximate)


def test_shared_points_equal_the_same_points_repeated():
    codes = torch.rand(4, 1, 3)
    shared = Field(lambda points: points.sin().sum(-1, keepdim=True) * codes)
    at = coordinates()
    value, jacobian = value_and_jacobian(Pointwise(SHAPE), shared, at)
    repeated_value, repeated_jacobian = value_and_jacobian(Pointwise(SHAPE), shared, at.expand(4, -1, -1))
    assert value.shape == (4, 7, 3)
    assert_close(value, repeated_value)
    assert_close(jacobian, repeated_jacobian)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch hides it, but not where warnings are errors
@pytest.mark.parametrize("model", ANYWHERE)
def test_compiled_functions_equal_eager_ones(model):
    model, at = network(model, hidden_layers=2), coordinates()
    expected = value_and_jacobian(Pointwise(SHAPE), field_of(model), at)
    model.forward, model.pushforward = (
        torch.compile(function, backend="aot_eager") for function in (model.forward, model.pushforward)
    )
    assert_close(value_and_jacobian(Pointwise(SHAPE), field_of(model), at), expected)
    assert_close(field_of(model)(Pointwise(SHAPE).locate(at).points), expected[0])


@pytest.mark.parametrize("aspect", ["stretch", "keep"])
def test_the_constant_motion_of_points_equals_the_differentiated_one(aspect):
    measurement, at = Pointwise(SHAPE, aspect), coordinates()
    basis = torch.eye(2)[:, None, None]
    points, steps = (samples.points for samples in measurement.locate_along(at, basis))
    expected, moved = (samples.points for samples in Measurement.locate_along(measurement, at, basis))
    assert_close(points, expected)
    assert_close(steps.expand_as(moved), moved)
