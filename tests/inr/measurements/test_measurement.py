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


@pytest.mark.parametrize(("sensor", "context"), SENSORS, ids=lambda one: type(one).__name__)
def test_a_constant_adds_its_response_to_what_a_linear_sensor_observes(sensor, context):
    at, bound = torch.cat([10 * torch.rand(1, 40, 2) - 2, torch.zeros(1, 1, 2)], 1), sensor.within(**context)
    response = bound.of_constant(at)
    expected = bound(Field(lambda points: torch.ones_like(points[..., :1])), at) if sensor.linear else torch.ones(1, 41, 1)
    assert response.shape == (1, 41, 1)
    assert_close(response, expected.expand_as(response))


def test_pixels_that_no_ray_crosses_take_no_constant():
    assert_close(Pixels((9, 9)).of_constant(torch.tensor([[[0.0, 0.0], [4.0, 4.0]]])), torch.tensor([[[0.0], [1.0]]]))


@pytest.mark.parametrize("sensor", [one for one, _ in SENSORS if one.linear], ids=lambda one: type(one).__name__)
def test_low_precision_does_not_move_the_points(sensor):
    at = 6 * torch.rand(1, 50, 2, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        rough = sensor.float().locate(at).points
    assert_close(rough, sensor.locate(at).points, rtol=0, atol=0)


def test_random_numbers_of_another_name_are_refused():
    with pytest.raises(TypeError, match="got the name draws"):
        Pointwise((7, 9)).within(draws=StepRandomness(0, 3, 0, 5, 5))
