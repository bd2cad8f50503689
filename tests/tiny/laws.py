"""The law of every measurement and field: forward = reverse = central differences, and so are the parameters' gradients."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.testing import assert_close

from inr.derivatives import value_and_jacobian
from inr.field import Field, Signals
from inr.measurements.measurement import Measurement


def by_reverse(measurement: Measurement, field: Field, at: Tensor) -> tuple[Tensor, Tensor]:
    """Value and jacobian by one backward pass per channel that keeps its graph; every signal has coordinates of its own."""
    at = at.repeat(len(measurement(field, at)) // len(at), 1, 1).requires_grad_()
    value = measurement(field, at)
    rows = [torch.autograd.grad(channel.sum(), at, create_graph=True)[0] for channel in value.unbind(-1)]
    return value, torch.stack(rows, -2)


def gradients(observed: tuple[Tensor, Tensor], parameters: Iterable[nn.Parameter]) -> tuple[Tensor, ...]:
    """Gradients of a loss on value and jacobian."""
    value, jacobian = observed
    loss = (value - 0.3).square().mean() + (jacobian - 0.1).square().sum((-1, -2)).mean()
    return torch.autograd.grad(loss, list(parameters), retain_graph=True, materialize_grads=True)


def assert_derivatives_are_exact(measurement: Measurement, network: nn.Module, field: Field, at: Tensor, step: float = 1e-6):
    """Check values, jacobians and gradients of what a measurement sees of a network's field."""
    forward, reverse = (compute(measurement, field, at) for compute in (value_and_jacobian, by_reverse))
    assert forward[1].shape == (*forward[0].shape, at.shape[-1])
    assert_close(forward, reverse, rtol=1e-10, atol=1e-10)
    for axis, shift in enumerate(step * torch.eye(at.shape[-1])):
        difference = (measurement(field, at + shift) - measurement(field, at - shift)) / (2 * step)
        assert_close(difference, forward[1][..., axis], rtol=1e-4, atol=1e-6)
    assert_close(gradients(forward, network.parameters()), gradients(reverse, network.parameters()), rtol=1e-9, atol=1e-10)


def assert_codes_depend_on_their_own_observations(coder: nn.Module, seen: Tensor):
    """Check that codes differ, and that neither the order nor the number of the signals nor another observation moves one."""
    codes, order = coder(Signals(torch.arange(4), seen)), torch.tensor([2, 0, 3, 1])
    assert torch.pdist(codes).min() > 1e-3
    assert_close(coder(Signals(torch.arange(4), seen[order])), codes[order], rtol=0, atol=1e-12)
    assert_close(coder(Signals(torch.arange(1), seen[1:2])), codes[1:2], rtol=0, atol=1e-12)
    moved = torch.cat([seen[:2], 1.5 * seen[2:3], seen[3:]])
    changed = (coder(Signals(torch.arange(4), moved)) - codes).abs().amax(-1) > 1e-9
    assert changed.tolist() == [False, False, True, False]
