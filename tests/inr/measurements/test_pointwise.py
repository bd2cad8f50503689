import math

import pytest
import torch
from torch.testing import assert_close

from inr.derivatives import value_and_jacobian
from inr.errors import InputError
from inr.field import Field
from inr.measurements.pointwise import Points, Pointwise

pytestmark = pytest.mark.usefixtures("float64")
TURN = [[0.6, 0.8, 0.0], [-0.8, 0.6, 0.0], [0.0, 0.0, 1.0]]
SLOPES = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
BOWL = Field(lambda points: (points * SLOPES).sum(-1, keepdim=True).sin())  # a different slope along each axis


@pytest.mark.parametrize(
    ("space", "centre", "turn"),
    [
        (Points(), [0.0, 0.0, 0.0], torch.eye(3)),
        (Points([5.0, -1.0, 2.0], 4.0), [5.0, -1.0, 2.0], torch.eye(3) / 4),
        (Points([5.0, -1.0, 2.0], 4.0, TURN), [5.0, -1.0, 2.0], torch.tensor(TURN) / 4),
    ],
    ids=["as it is", "scaled", "turned"],
)
def test_a_frame_moves_turns_and_scales(space, centre, turn):
    at = torch.rand(2, 5, 3) * 8
    points = torch.einsum("ij,spj->spi", turn.double(), at - torch.tensor(centre))
    value, jacobian = value_and_jacobian(space, BOWL, at)
    slope = (points * SLOPES).sum(-1).cos()[..., None, None] * (SLOPES @ turn.double())
    assert_close((value, jacobian), (BOWL(points), slope), rtol=1e-6, atol=1e-6)  # the frame is kept in float32


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_space_has_a_size(scale):
    with pytest.raises(InputError, match="positive and finite"):
        Points(scale=scale)


def test_points_far_from_the_origin_are_told_apart_about_their_centre():
    turn = [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    points, centre = Points((5e6, 4.5e6 + 0.25, 1.0), 2.0, turn), torch.tensor([5e6, 4.5e6 + 0.25, 1.0], dtype=torch.float64)
    near, origin = points.centred()
    assert torch.equal(origin, centre)
    steps = torch.tensor([[0.01, 0.02, 0.03]], dtype=torch.float64)
    located = near.locate((centre + steps - origin).float()).points
    assert_close(located, torch.tensor([[0.01, -0.005, 0.015]]).float(), rtol=1e-4, atol=1e-8)
    assert near.centred() == (near, None)
    assert Pointwise([3]).centred()[1] is None
