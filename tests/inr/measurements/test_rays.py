import pytest
import torch
from torch.testing import assert_close

from inr.measurements.rays import Rays, box_interval

pytestmark = pytest.mark.usefixtures("float64")
NEAR, FAR = -2.0, 3.0


def rays(axes: int) -> Rays:
    """Rays around a box, of which many run along its axes, between its faces, within them and beside them."""
    origins, directions = 3 * torch.rand(600, axes) - 1.5, torch.randn(600, axes)
    directions[torch.rand(600, axes) < 0.3] = 0.0
    directions[torch.rand(600, axes) < 0.1] *= 1e-200
    return Rays(torch.where((directions == 0) & (torch.rand(600, axes) < 0.5), origins.round(), origins), directions)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_rays_are_in_the_box_from_where_they_enter_to_where_they_leave_it(axes):
    lines, distances = rays(axes), torch.linspace(NEAR + 1e-4, FAR - 1e-4, 1001)
    enters, leaves = box_interval(*lines, NEAR, FAR)
    assert ((enters >= NEAR) & (enters <= leaves) & (leaves <= FAR)).all()
    inside = (lines.at(distances.expand(600, -1)).abs() < 1).all(-1)
    assert torch.equal(inside, (enters < distances) & (distances < leaves))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_derivatives_of_the_interval_are_finite_and_those_of_a_miss_are_equal(axes):
    lines = rays(axes)
    steps = torch.randn(600, axes), torch.randn(600, axes)
    (enters, leaves), (denters, dleaves) = torch.func.jvp(lambda *ray: box_interval(*ray, NEAR, FAR), tuple(lines), steps)
    assert torch.isfinite(torch.cat([denters, dleaves])).all()
    missed = enters == leaves
    assert missed.any()
    assert_close(denters[missed], dleaves[missed])
    inputs = [tensor.requires_grad_() for tensor in lines]
    gradients = torch.autograd.grad(sum(end.sum() for end in box_interval(*inputs, NEAR, FAR)), inputs)
    assert torch.isfinite(torch.cat(gradients)).all()
