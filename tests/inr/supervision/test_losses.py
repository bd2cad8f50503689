import pytest
import torch
from torch.testing import assert_close

from inr.errors import InputError
from inr.supervision.losses import Eikonal, Misalignment, Negativity, OffSurface, RampWeightedError, TotalVariation

JACOBIAN = (2, 5, 3, 4)  # signals, points, channels, axes
pytestmark = pytest.mark.usefixtures("float64")


def test_total_variation_is_the_mean_length_of_gradients():
    slopes = torch.tensor([3.0, 4.0]).expand(1, 6, 2, 2)
    assert_close(TotalVariation(weight=0.5)(slopes), torch.tensor(2.5), rtol=1e-6, atol=0)
    flat = torch.zeros(1, 6, 1, 2, requires_grad=True)
    TotalVariation()(flat).backward()
    assert_close(flat.grad, torch.zeros_like(flat))  # no corner at zero


def test_negativity_sees_only_what_is_below_zero():
    values = torch.tensor([-2.0, 0.0, 5.0, -1.0])[None, :, None].requires_grad_()
    loss = Negativity()(values)
    assert_close(loss, torch.tensor(5 / 4))
    loss.backward()
    assert values.grad.flatten().tolist() == [-1.0, 0.0, 0.0, -0.5]


@pytest.mark.parametrize("power", [1, 2])
def test_the_eikonal_term_wants_gradients_of_length_one(power):
    jacobian, weights = torch.randn(2, 5, 3, 4), torch.rand(2, 5)
    expected = (jacobian.norm(dim=-1) - 1).abs().pow(power).mean(-1)
    term = Eikonal("space", 0.7, power)
    assert_close(term(jacobian), 0.7 * expected.mean(), rtol=1e-6, atol=1e-6)
    assert_close(term(jacobian, None, weights), 0.7 * (weights * expected).sum() / weights.sum(), rtol=1e-6, atol=1e-6)
    assert term(jacobian / jacobian.norm(dim=-1, keepdim=True)) < 1e-6
    still = torch.zeros(1, 1, 1, 3, requires_grad=True)
    term(still).backward()
    assert still.grad.isfinite().all()


def test_misalignment_is_one_minus_the_cosine_whatever_the_lengths():
    prediction, target = torch.randn(JACOBIAN), torch.randn(JACOBIAN)
    cosine = (prediction * target).sum(-1) / prediction.norm(dim=-1) / target.norm(dim=-1)
    term = Misalignment(weight=2.0)
    assert_close(term(prediction, target), 2 * (1 - cosine).mean())
    assert_close(term(7 * prediction, target), term(prediction, target))
    assert_close(term(-target, target), torch.tensor(4.0))
    for options in ({"quantity": "value"}, {"target": None}):
        with pytest.raises(InputError, match="between a jacobian and its target"):
            Misalignment(**options)


def test_values_near_zero_are_kept_off_the_surface():
    value = torch.tensor([[[0.0], [0.01], [-0.01], [1.0]]])
    expected = torch.tensor([1.0, 0.6065306597, 0.6065306597, 0.0]).mean()
    assert_close(OffSurface(sharpness=50.0)(value), expected)


@pytest.mark.parametrize("build", [lambda: Eikonal(power=0.5), lambda: OffSurface(sharpness=0.0)])
def test_terms_of_space_refuse_what_has_no_meaning(build):
    with pytest.raises(InputError, match="must be"):
        build()


def test_the_ramp_weighs_each_frequency_of_a_view_by_its_share_of_the_highest():
    bins, views = 64, 3
    places = torch.arange(float(bins))[:, None].expand(bins, views)
    inside = torch.hann_window(bins, periodic=False)[:, None]  # so that nothing is cut off at the ends

    def ratio(frequency):  # cycles per bin; the highest is a half
        wave = (inside * torch.cos(2 * torch.pi * frequency * places)).reshape(1, -1, 1)
        square = wave.square().mean()
        return float(RampWeightedError(views, plain=0.0)(wave, torch.zeros_like(wave)) / square)

    assert [ratio(share / 2) for share in (0.25, 0.5, 0.75)] == pytest.approx([0.25, 0.5, 0.75], rel=1e-3)
    residual, weights = torch.randn(2, bins * views, 1), torch.rand(2, bins * views)
    nothing = torch.zeros_like(residual)
    assert RampWeightedError(views, plain=0.0)(residual, nothing) > 0
    both = [RampWeightedError(views, plain=plain)(residual, nothing) for plain in (0.0, 0.5)]
    assert_close(both[1] - both[0], 0.5 * residual.square().mean())
    weighted = RampWeightedError(views)(residual, nothing, weights)
    assert_close(weighted, RampWeightedError(views)(weights.sqrt()[..., None] * residual, nothing) / weights.mean())
    assert_close(RampWeightedError(views)(residual, nothing, 3 * weights), weighted)
    for options, rule in (({"views": None}, "needs whole views"), ({"views": 3, "plain": -1.0}, "plain must be finite")):
        with pytest.raises(InputError, match=rule):
            RampWeightedError(**options)
