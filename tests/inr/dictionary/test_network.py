import copy

import pytest
import torch
from tiny.laws import by_reverse
from tiny.signals import EXPERTS, TRUNKS, every_signal, network
from torch.testing import assert_close

from inr.derivatives import observe_at, value_and_jacobian
from inr.field import Field, Signals
from inr.measurements.pointwise import Pointwise
from inr.measurements.radon import FanBeam, ParallelBeam

SHAPE = (12, 9)
EXACT = 1e-12


pytestmark = pytest.mark.usefixtures("float64")


def dictionary(trunk="sine", **options):
    """Three signals whose biases are not zero."""
    model = network("nid_moe", parts={"trunk": trunk}, **options)
    model.coder.codes.data[:, EXPERTS:].normal_()
    return model


def shared_coordinates(points=7):
    return torch.rand(1, points, 2) * (torch.tensor(SHAPE) - 1)


def naive(model, codes):
    """Every expert at every point, then mixed."""

    def function(points):
        fields = torch.stack([model.trunk(points) @ expert.T for expert in model.experts])
        fields = fields.expand(-1, len(codes), -1, -1)
        return torch.einsum("se,espc->spc", codes[:, :EXPERTS], fields) + codes[:, None, EXPERTS:]

    return Field(function)


def assert_near(ours, theirs, tolerance=EXACT):
    """Equal up to a share of the norm, which must not be zero."""
    assert ours.shape == theirs.shape
    assert theirs.norm() > 0
    assert (ours - theirs).norm() <= tolerance * theirs.norm()


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("trunk", TRUNKS)
def test_the_folded_field_is_the_mixture_of_all_experts(trunk, apart, channels):
    model, beam = dictionary(trunk, out_features=channels), Pointwise(SHAPE)
    at = torch.cat([shared_coordinates() for _ in range(3 if apart else 1)])
    folded = value_and_jacobian(beam, model.field(every_signal(model)), at)
    unfolded = by_reverse(beam, naive(model, model.coder.codes), at)
    gradients = []
    for value, jacobian in (folded, unfolded):
        assert value.shape == (3, 7, channels)
        assert jacobian.shape == (3, 7, channels, 2)
        loss = (value - 0.3).square().mean() + (jacobian - 0.1).square().mean()
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    for ours, theirs in zip((*folded, *gradients[0]), (*unfolded, *gradients[1]), strict=True):
        assert_near(ours, theirs)


@pytest.mark.parametrize("signals", [[1], [2, 0], [1, 1, 0, 2]])
def test_a_batch_shows_the_signals_that_it_names(signals):
    model, points = dictionary(), torch.rand(1, 5, 2)
    everything = model.field(every_signal(model))(points)
    assert_close(model.field(Signals(torch.tensor(signals)))(points), everything[signals], rtol=0, atol=1e-13)


@pytest.mark.parametrize("axes", [(4,), (2, 3)])
def test_points_may_have_any_axes(axes):
    model, points = dictionary(), torch.rand(1, *axes, 2)
    field = model.field(every_signal(model))
    assert field(points).shape == (3, *axes, 3)
    assert_close(field(points).flatten(1, -2), field(points.flatten(1, -2)), rtol=0, atol=1e-13)


def test_the_strongest_gates_alone_are_used_and_their_penalties_are_paid_while_training():
    model, points = dictionary(top_k=3), torch.rand(1, 5, 2)
    codes = model.coder.codes.detach().clone()
    for code in codes:
        code[code[:EXPERTS].abs().argsort()[: EXPERTS - 3]] = 0
    field = model.field(every_signal(model))
    assert_near(field(points), model.field_of(codes)(points))
    assert (field(points) - model.field_of(model.coder.codes)(points)).norm() > 1e-3
    assert set(field.penalties) == {"balance", "sparsity"}
    assert model.eval().field(every_signal(model)).penalties == {}


def test_other_codes_share_the_dictionary_and_keep_all_their_gates():
    model, codes, points = dictionary(top_k=2), torch.randn(5, EXPERTS + 3), torch.rand(1, 6, 2)
    before = copy.deepcopy(model.state_dict())
    other = model.with_codes(codes)
    assert_near(other.field(Signals(torch.arange(5)))(points), naive(model, codes)(points))
    assert other.experts is model.experts
    assert other.trunk is model.trunk
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert model.active_gates == 2


def test_training_starts_dense_and_goes_on_with_top_k():
    model = dictionary(top_k=2, noise=0.1)
    for step in range(5):
        model.at_step(step, seed=0, warmup=3)
        gates, usage = model.gate(model.coder.codes[:, :EXPERTS])
        warm = step < 3
        assert (gates != 0).sum(-1).tolist() == [EXPERTS if warm else 2] * 3
        assert usage.dense == warm
        penalties = model.field(every_signal(model)).penalties
        assert (penalties["sparsity"] > 0) == warm
        assert (penalties["balance"] > 0) != warm


def test_without_top_k_all_gates_stay():
    model = dictionary()
    model.at_step(100, seed=0, warmup=3)
    gates, usage = model.gate(model.coder.codes[:, :EXPERTS])
    assert torch.equal(gates, model.coder.codes[:, :EXPERTS])
    assert usage.load.tolist() == [3.0] * EXPERTS


def test_noise_is_a_function_of_seed_and_step():
    model, gates = dictionary(top_k=2, noise=1.0), torch.randn(64, EXPERTS)

    def chosen(step, seed):
        model.at_step(step, seed, warmup=0)
        return model.gate(gates)[0]

    first = chosen(5, 1)
    torch.randn(3)  # what else is drawn does not matter
    assert torch.equal(chosen(5, 1), first)
    assert not torch.equal(chosen(6, 1), first)
    assert not torch.equal(chosen(5, 2), first)
    model.eval()
    quiet = chosen(5, 1)
    assert torch.equal(chosen(6, 2), quiet)
    dropped = torch.where(quiet != 0, 0, gates.abs()).amax(-1)
    assert (torch.where(quiet != 0, gates.abs(), torch.inf).amin(-1) > dropped).all()


@pytest.mark.parametrize("step", [0, 10])
def test_how_many_gates_are_kept_survives_a_checkpoint(step):
    model, other = dictionary(top_k=2), dictionary(top_k=2 if step == 0 else None)
    model.at_step(step, seed=0, warmup=5)
    assert other.active_gates != model.active_gates
    other.load_state_dict(model.state_dict())
    assert other.active_gates == model.active_gates == (EXPERTS if step == 0 else 2)
    points = torch.rand(1, 5, 2)
    assert torch.equal(other.field(every_signal(other))(points), model.field(every_signal(model))(points))


def test_a_mixture_is_as_large_as_one_head():
    """Codes of variance 1 / experts: the variance of a mixed head is that of an expert."""
    model = network("nid_moe", experts=512, hidden_features=32)
    heads = torch.einsum("se,ecf->scf", model.coder.codes[:, :512], model.experts)
    assert_close(heads.std(), model.experts.std(), rtol=0.2, atol=0)


def test_heads_are_mixed_in_float32_under_autocast():
    model, points = dictionary().float(), torch.rand(1, 50, 2, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        features = model.trunk(points)
        value = model.field(every_signal(model))(points)
        at = shared_coordinates().float()
        jacobian = value_and_jacobian(Pointwise(SHAPE), model.field(every_signal(model)), at)[1]
    assert features.dtype == torch.bfloat16
    assert value.dtype == jacobian.dtype == torch.float32
    codes = model.coder.codes
    heads = torch.einsum("se,ecf->scf", codes[:, :EXPERTS], model.experts)
    assert_close(value, features.float() @ heads.mT + codes[:, None, EXPERTS:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize(
    "sensor", [Pointwise(SHAPE), ParallelBeam(0.2, 0.3, samples=9, centre=4.0), FanBeam(samples=9, bin_width=0.1)]
)
def test_what_is_observed_of_features_gives_the_fields_of_all_unit_codes(trunk, sensor):
    model, coordinates = dictionary(trunk, out_features=2), shared_coordinates()
    units = torch.eye(model.unknowns)
    one = observe_at(sensor, model.field_of(units), coordinates, {"value", "jacobian"})
    seen = observe_at(sensor, model.features(), coordinates, {"value", "jacobian"})
    assert_close(model.atoms(seen["value"]), one["value"], rtol=EXACT, atol=EXACT)
    assert_close(model.atoms(seen["jacobian"].mT).mT, one["jacobian"], rtol=1e-10, atol=1e-10)
