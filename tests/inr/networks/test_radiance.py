import pytest
import torch
from tiny.signals import field_of, network
from torch.testing import assert_close

from inr.errors import InputError
from inr.networks.activations import Gabor, ReLU, Sine
from inr.networks.linear import SkipConnection
from inr.networks.mlp import MLP
from inr.networks.positional import PositionalEncoding
from inr.networks.radiance import Cascade, RadianceField

pytestmark = pytest.mark.usefixtures("float64")


def jacobian(module: torch.nn.Module, points: torch.Tensor) -> torch.Tensor:
    return torch.stack([torch.func.jacrev(module)(point) for point in points])


def pushed(module: torch.nn.Module, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    axes = points.shape[-1]
    value, slopes = module.pushforward(points, torch.eye(axes)[:, None].expand(axes, *points.shape))
    return value, slopes.movedim(0, -1)


@pytest.mark.parametrize("trunk", ["relu", "sine", "wire", "fourier"])
def test_a_radiance_field_pushes_tangents_as_jacrev_does(trunk):
    field, points = network("radiance", 3, 4, parts={"trunk": trunk}), torch.rand(5, 6)
    value, slopes = pushed(field, points)
    assert value.shape == (5, 4)
    assert_close(value, field(points))
    assert_close(slopes, jacobian(field, points), rtol=1e-10, atol=1e-10)


def test_density_does_not_depend_on_the_direction_but_colour_does():
    field, points = network("radiance", 3, 4), torch.rand(5, 6)
    turned = torch.cat([points[:, :3], torch.rand(5, 3)], -1)
    assert torch.equal(field(points)[:, 3], field(turned)[:, 3])
    assert not torch.isclose(field(points)[:, :3], field(turned)[:, :3]).any()


@pytest.mark.parametrize("activation", [ReLU(), Sine()])
@pytest.mark.parametrize("bands", [None, 3])
def test_after_the_skip_the_encoded_points_enter_again(activation, bands):
    encoding = None if bands is None else PositionalEncoding(2, bands)
    model, points = MLP(2, 3, activation, encoding, hidden_features=8, hidden_layers=4, skip=2), torch.rand(5, 2)
    skip = next(module for module in model.modules() if isinstance(module, SkipConnection))
    encoded = points if encoding is None else encoding(points)
    x = torch.cat([encoded, skip.chain(encoded)], -1)
    for module in list(model.layers)[list(model.layers).index(skip) + 1 :]:
        x = module(x)
    assert_close(model(points), x)
    assert len(skip.chain) == 4  # two layers and their activations
    assert_close(pushed(model, points)[1], jacobian(model, points), rtol=1e-10, atol=1e-10)


def test_a_cascade_proposes_with_its_coarse_network():
    coarse, fine = (MLP(3, 4, Sine(), hidden_features=8) for _ in range(2))
    cascade, points = Cascade(coarse, fine), torch.rand(1, 5, 3)
    field = field_of(cascade)
    assert_close(field(points), fine(points))
    assert_close(field.coarse(points), coarse(points))
    assert not cascade.directions


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: MLP(2, 3, ReLU(), hidden_layers=4, skip=4), "skip must be in 1 .. hidden_layers - 1 = 3, or null, got skip=4"),
        (lambda: MLP(2, 3, Gabor(), hidden_layers=4, skip=2), "complex features"),
        (lambda: RadianceField(2, 4, MLP(3, None, ReLU()), ReLU(), PositionalEncoding(3, 4)), "3 axes, got 2"),
        (lambda: RadianceField(3, 4, MLP(3, 4, ReLU()), ReLU(), PositionalEncoding(3, 4)), "must end in its activation"),
    ],
)
def test_what_does_not_fit_is_refused(make, line):
    with pytest.raises(InputError, match=line):
        make()
