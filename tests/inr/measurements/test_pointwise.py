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
