import math

import pytest
import torch
from torch.testing import assert_close

from inr.derivatives import value_and_jacobian
from inr.errors import InputError
from inr.field import Field
from inr.measurements.pointwise import Points

pytestmark = pytest.mark.usefixtures("float64")
TURN = [[0.6, 0.8, 0.0], [-0.8, 0.6, 0.0], [0.0, 0.0, 1.0]]


def bowl(points):
    """A field with a different slope along each axis."""
    return (points * torch.tensor([1.0, 2.0, 3.0])).sum(-1, keepdim=True).sin()


def test_without_options_coordinates_are_points():
    at = torch.rand(2, 5, 3)
    value, jacobian = value_and_jacobian(Points(), Field(bowl), at)
    assert_close(value, bowl(at))
    slope = (at * torch.tensor([1.0, 2.0, 3.0])).sum(-1).cos()
    assert_close(jacobian[..., 0, :], slope[..., None] * torch.tensor([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("rotation", [None, TURN])
def test_a_frame_moves_turns_and_scales(rotation):
    space, at = Points([5.0, -1.0, 2.0], 4.0, rotation), torch.rand(1, 5, 3) * 8
    turn = torch.eye(3) if rotation is None else torch.tensor(rotation)
    points = torch.stack([turn @ (place - torch.tensor([5.0, -1.0, 2.0])) / 4 for place in at[0]])[None]
    value, jacobian = value_and_jacobian(space, Field(bowl), at)
    assert_close(value, bowl(points), rtol=1e-6, atol=1e-6)  # the frame is kept in float32
    step = 1e-5 * torch.eye(3)
    slopes = [
        (space.integrate(bowl(space.locate(at + one).points), ()) - bowl(space.locate(at - one).points)) / 2e-5 for one in step
    ]
    assert_close(jacobian, torch.stack(slopes, -1), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_space_has_a_size(scale):
    with pytest.raises(InputError, match="positive and finite"):
        Points(scale=scale)
