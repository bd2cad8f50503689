import math

import pytest
import torch
from torch.testing import assert_close

from inr.derivatives import observe_at
from inr.field import Field
from inr.measurements.pointwise import Points, Pointwise
from inr.measurements.radon import FanBeam, ParallelBeam, Pixels
from inr.measurements.rendering import VolumeRendering
from inr.randomness import StepRandomness

pytestmark = pytest.mark.usefixtures("float64")
CAMERA = {"poses": torch.eye(4).double()[None, None, :3], "intrinsics": torch.tensor([[[9.0, 9.0, 3.0, 4.0]]]).double()}
SENSORS = [
    (Pointwise((7, 9)), {}),
    (Points((0.1, 0.2), 3.0), {}),
    (Pixels((7, 9)), {}),
    (ParallelBeam(0.2, jitter=True), {"angles": torch.linspace(0, math.pi, 9).double()}),
    (FanBeam(3.0, 1.0, bin_width=0.2, jitter=True), {}),
    (VolumeRendering(samples=8, importance=4, noise=0.5, near=0.5), CAMERA),
]


@pytest.mark.parametrize(("sensor", "context"), SENSORS, ids=lambda one: type(one).__name__)
def test_a_sensor_observes_its_value_and_what_it_says_beside_it(sensor, context):
    field = Field(lambda points: torch.cat([(k * points).sum(-1, keepdim=True).sin() for k in range(1, 5)], -1))
    at, bound = 6 * torch.rand(1, 5, 2), sensor.within(**context, randomness=StepRandomness(0, 3, 0, 5, 5))
    seen = bound.observe(field, at)
    assert list(seen) == ["value", *sensor.further]
    assert_close(seen["value"], observe_at(bound, field, at, {"value"})["value"], rtol=0, atol=0)
    assert all(seen[quantity].shape == (1, 5, 1) for quantity in sensor.further)
    assert sensor.context == {}
