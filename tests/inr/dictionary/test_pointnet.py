import pytest
import torch
from tiny.laws import assert_codes_depend_on_their_own_observations
from torch.testing import assert_close

from inr.dictionary.pointnet import PointNetCoder
from inr.errors import InputError
from inr.field import Signals

EXPERTS, CHANNELS = 6, 1
pytestmark = pytest.mark.usefixtures("float64")


def coder(seed=0):
    torch.manual_seed(seed)
    return PointNetCoder(EXPERTS, CHANNELS, width=8)


def ellipsoids(signals, points=40):
    """Points on ellipsoids, with their normals."""
    torch.manual_seed(1)
    sphere = torch.nn.functional.normalize(torch.randn(signals, points, 3), dim=-1)
    axes = 0.3 + 0.7 * torch.rand(signals, 1, 3)
    return torch.cat([sphere * axes, torch.nn.functional.normalize(sphere / axes, dim=-1)], -1)


def encode(model, seen):
    return model(Signals(torch.arange(len(seen)), seen))


def test_neither_the_order_of_points_nor_how_often_they_come_matters():
    model, seen = coder(), ellipsoids(3)
    codes = encode(model, seen)
    assert codes.shape == (3, EXPERTS + CHANNELS)
    assert_close(encode(model, seen[:, torch.randperm(40)]), codes, rtol=0, atol=1e-12)
    assert_close(encode(model, torch.cat([seen, seen[:, :7], seen[:, 3:5]], 1)), codes, rtol=0, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_a_code_depends_on_the_points_of_its_signal_alone(training):
    assert_codes_depend_on_their_own_observations(coder().train(training), ellipsoids(4))


@pytest.mark.parametrize("part", [slice(0, 3), slice(3, 6)], ids=["places", "normals"])
def test_places_and_normals_both_count(part):
    seen = ellipsoids(2).requires_grad_()
    encode(coder(), seen).square().sum().backward()
    counting = seen.grad[..., part].norm(dim=-1) > 0  # of the points that are the maximum of some feature
    assert counting.sum(1).min() > 10


def test_codes_stay_in_float32_under_autocast():
    model, seen = coder().float(), ellipsoids(3).float()
    with torch.autocast("cpu", torch.bfloat16):
        codes = encode(model, seen)
    codes.square().sum().backward()
    assert codes.dtype == torch.float32
    assert_close(codes, encode(model, seen), rtol=0, atol=0.02)


@pytest.mark.parametrize(
    ("seen", "words"), [(None, "got none"), (torch.zeros(2, 8, 8, 6), r"got \(2, 8, 8, 6\)"), (torch.zeros(2, 8, 3), "8, 3")]
)
def test_only_points_are_read(seen, words):
    with pytest.raises(InputError, match=rf"reads \(signals, points, 6\), .*{words}.*; choose"):
        coder()(Signals(torch.arange(2), seen))


def test_a_width_of_nothing_is_refused():
    with pytest.raises(InputError, match="got width=0"):
        PointNetCoder(EXPERTS, CHANNELS, width=0)
