import copy

import pytest
import torch
from tiny.laws import by_reverse
from tiny.signals import EXPERTS, TRUNKS, every_signal, network
from torch.testing import assert_close

from inr.derivatives import value_and_jacobian
from inr.field import Field, Signals
from inr.measurements.pointwise import Pointwise

SHAPE = (12, 9)
SHOWN = [2, 0]


pytestmark = pytest.mark.usefixtures("float64")


def coordinates(signals):
    return torch.rand(signals, 7, 2) * (torch.tensor(SHAPE) - 1)


def loss(value, jacobian):
    return (value - 0.3).square().sum() + (jacobian - 0.1).square().sum()


@pytest.mark.parametrize("signals", [1, 3])
@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("kind", ["head", "all"])
def test_additions_of_zero_leave_the_fields_as_they_are(kind, trunk, signals):
    plain, refined = (network("nid_moe", parts={"trunk": trunk}, residuals=choice) for choice in (None, kind))
    missing, unexpected = refined.load_state_dict(plain.state_dict(), strict=False)
    assert all(name.startswith("residuals.") for name in missing)
    assert not unexpected
    at, measurement = coordinates(signals), Pointwise(SHAPE)
    expected, ours = (value_and_jacobian(measurement, model.field(every_signal(model)), at) for model in (plain, refined))
    for one, other in zip(expected, ours, strict=True):
        assert one.norm() > 0
        assert (one - other).norm() <= 1e-12 * one.norm()


@pytest.mark.parametrize("signals", [1, 2])
@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("kind", ["head", "all"])
def test_every_signal_is_a_network_of_the_summed_weights(kind, trunk, signals):
    model = network("nid_moe", parts={"trunk": trunk}, residuals=kind)
    model.coder.codes.data[:, EXPERTS:].normal_()
    for parameter in model.residuals.parameters():
        parameter.data.normal_().mul_(0.05)
    at, fields = coordinates(signals), model.field(Signals(torch.tensor(SHOWN)))
    value, jacobian = value_and_jacobian(Pointwise(SHAPE), fields, at)
    assert_close(fields(Pointwise(SHAPE).locate(at).points), value)
    loss(value, jacobian).backward()
    for row, signal in enumerate(SHOWN):
        alone, code = copy.deepcopy(model.trunk), model.coder.codes[signal].detach()
        weights = dict(zip(model.residuals.names, model.residuals.weights, strict=True))
        for name, parameter in alone.named_parameters():
            parameter.data += weights[name].data[signal] if kind == "all" else 0
        head = torch.einsum("e,ecf->cf", code[:EXPERTS], model.experts) + model.residuals.heads[signal]
        head = head.detach().requires_grad_()
        bias = code[EXPERTS:].requires_grad_()
        field = Field(lambda points, h=head, b=bias, net=alone: net(points) @ h.T + b)
        expected = by_reverse(Pointwise(SHAPE), field, at[row % signals][None])
        inputs = [head, bias, *(alone.parameters() if kind == "all" else ())]
        gradients = torch.autograd.grad(loss(*expected), inputs)
        ours = [model.residuals.heads.grad[signal], model.coder.codes.grad[signal, EXPERTS:]]
        ours += [weights[name].grad[signal] for name in weights]
        computed, wanted = (value[row : row + 1], jacobian[row : row + 1], *ours), (*expected, *gradients)
        for one, other in zip(computed, wanted, strict=True):
            assert other.norm() > 0
            assert (one - other).norm() <= 1e-11 * other.norm()
    for parameter in model.residuals.parameters():
        assert (parameter.grad[1] == 0).all()  # the signal that was not shown


@pytest.mark.parametrize("kind", ["head", "all"])
def test_additions_count_once_among_the_parameters(kind):
    plain, refined = (sum(p.numel() for p in network("nid_moe", residuals=choice).parameters()) for choice in (None, kind))
    model = network("nid_moe")
    single = model.experts[0].numel() + (sum(p.numel() for p in model.trunk.parameters()) if kind == "all" else 0)
    assert refined - plain == 3 * single


def test_other_codes_come_without_additions():
    model, points = network("nid_moe", residuals="head"), torch.rand(1, 5, 2)
    model.residuals.heads.data.normal_()
    codes = model.coder.codes.detach().clone()
    bare, full = model.with_codes(codes), model.field(every_signal(model))(points)
    assert_close(bare.field(every_signal(bare))(points), model.field_of(codes)(points))
    assert (bare.field(every_signal(bare))(points) - full).norm() > 0.1
