"""Random directions in place of all axes: one directional derivative at each point estimates the sum over axes."""

import math
from types import SimpleNamespace

import pytest
import torch
from tiny.laws import by_reverse
from tiny.signals import ANYWHERE, field_of, network
from torch.testing import assert_close

from inr.derivatives import observe_at, slope_along, value_and_jacobian, value_and_slope
from inr.errors import InputError
from inr.field import Field
from inr.measurements.pointwise import Points, Pointwise
from inr.measurements.radon import FanBeam, ParallelBeam, Pixels
from inr.measurements.rendering import VolumeRendering
from inr.measurements.whole_slices import WholeSlices
from inr.randomness import StepRandomness
from inr.supervision.losses import AbsoluteError, Eikonal, Misalignment, SquaredError, TotalVariation
from inr.supervision.terms import Supervision

pytestmark = pytest.mark.usefixtures("float64")
CAMERA = {"poses": torch.eye(4).double()[None, None, :3], "intrinsics": torch.tensor([[[9.0, 9.0, 3.0, 4.0]]]).double()}
SENSORS = {
    "pointwise": lambda: Pointwise((7, 9)),
    "points": lambda: Points((0.1, 0.2), 3.0),
    "pixels": lambda: Pixels((7, 9), width=1.0, side=2),
    "parallel": lambda: ParallelBeam(0.2),
    "fan": lambda: FanBeam(3.0, 1.0, bin_width=0.2),
    "rendering": lambda: VolumeRendering(samples=8, near=0.5).within(**CAMERA),
}


def waves(points):
    """A smooth field of four channels."""
    return torch.cat([(k * points).sum(-1, keepdim=True).sin() for k in range(1, 5)], -1)


def quadrature(axes: int) -> list[torch.Tensor]:
    """Unit directions, as many as suffice to average squares exactly: equal angles in the plane, else a turned basis."""
    if axes == 2:
        angles = 0.3 + torch.arange(3) * 2 * math.pi / 3
        return list(torch.stack([angles.cos(), angles.sin()], -1))
    return list(torch.linalg.qr(torch.randn(axes, axes))[0])


@pytest.mark.parametrize("target", ["data", None])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum_axes"])
@pytest.mark.parametrize("axes", [1, 2, 3, 5])
def test_the_mean_over_directions_is_the_whole_term(axes, reduction, weighted, target):
    prediction, truth = torch.randn(2, 6, 3, axes), torch.randn(2, 6, 3, axes)
    weights = {"jacobian": torch.rand(2, 6)} if weighted else {}
    term = SquaredError(quantity="jacobian", reduction=reduction, weight=0.7, target=target)
    random, whole = Supervision({"slope": term}, "random"), Supervision({"slope": term})
    estimates = []
    for direction in quadrature(axes):
        unit = direction.expand(1, 6, axes)
        part = SimpleNamespace(targets={"jacobian": truth}, weights=weights, direction=unit)
        estimates.append(random({"data": {"slope": slope_along(prediction, unit)}}, {"data": part})["slope"])
    every = SimpleNamespace(targets={"jacobian": truth}, weights=weights)
    expected = whole({"data": {"jacobian": prediction}}, {"data": every})["slope"]
    assert_close(torch.stack(estimates).mean(), expected)
    assert axes == 1 or max(estimates) > min(estimates)


@pytest.mark.parametrize("axes", [[0], [2, 0], [1, 1]])
def test_directions_stay_within_the_axes_of_a_term(axes):
    prediction, truth = torch.randn(1, 6, 2, 3), torch.randn(1, 6, 2, 3)
    term = SquaredError(quantity="jacobian", reduction="sum_axes", axes=axes)
    random = Supervision({"slope": term}, "random")
    drawn = random.direction("data", torch.zeros(1, 6, 3), StepRandomness(0, 4, 0, 6, 6))
    assert not drawn[..., [axis for axis in range(3) if axis not in axes]].any()
    estimates = []
    for unit in torch.linalg.qr(torch.randn(len(axes), len(axes)))[0]:
        direction = torch.zeros(1, 6, 3)
        for weight, axis in zip(unit, axes, strict=True):
            direction[..., axis] += weight
        part = SimpleNamespace(targets={"jacobian": truth}, weights={}, direction=direction)
        estimates.append(random({"data": {"slope": slope_along(prediction, direction)}}, {"data": part})["slope"])
    assert_close(torch.stack(estimates).mean(), term(prediction, truth))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_drawn_directions_are_units_that_prefer_no_axis(axes):
    random = Supervision({"slope": SquaredError(quantity="jacobian")}, "random")
    at, count = torch.zeros(1, 40000, axes), 40000

    def drawn(step, first=0, last=count):
        return random.direction("data", at[:, first:last], StepRandomness(1, step, first, last, count))

    one, other = drawn(7), drawn(8)
    assert_close(one.norm(dim=-1), torch.ones(1, count), rtol=0, atol=1e-6)  # drawn in float32
    moments = torch.einsum("spa,spb->ab", one, one) / count
    deviation = 1 / count**0.5  # of an entry of v v^T, at most 1, is below 1
    assert_close(moments, torch.eye(axes) / axes, rtol=0, atol=4 * deviation)
    assert_close(one.mean(1), torch.zeros(1, axes), rtol=0, atol=4 * deviation)
    assert torch.equal(one, drawn(7))  # a pure function of the step
    assert (one != other).any(-1).double().mean() > 0.4
    assert torch.equal(one, torch.cat([drawn(7, 0, 11), drawn(7, 11)], 1))  # and not of the processes


@pytest.mark.parametrize("sensor", SENSORS)
def test_the_derivative_along_a_direction_is_the_jacobian_times_it(sensor):
    sensor, field = SENSORS[sensor]().double(), Field(waves)
    at, direction = 6 * torch.rand(1, 5, 2), torch.nn.functional.normalize(torch.randn(1, 5, 2), dim=-1)
    value, slope = value_and_slope(sensor, field, at, direction)
    expected, jacobian = value_and_jacobian(sensor, field, at)
    assert slope.shape == (*value.shape, 1)
    assert_close((value, slope), (expected, torch.einsum("spca,spa->spc", jacobian, direction)[..., None]))
    step = 1e-6
    ends = [sensor(field, at + sign * step * direction) for sign in (1, -1)]
    assert_close((ends[0] - ends[1])[..., None] / (2 * step), slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("along", [None, [0], [1]])
def test_whole_slices_have_a_derivative_along_a_direction_of_each_ray(along):
    whole = WholeSlices(ParallelBeam(0.21, 0.4, samples=40, centre=4.2).double(), 9, 5, [12, 10]).double()
    field, direction = Field(waves), torch.randn(1, 45, 2)
    if along is not None:
        direction[..., [axis for axis in (0, 1) if axis not in along]] = 0
    value, slope = value_and_slope(whole, field, whole.rays[None], direction, along)
    expected, jacobian = value_and_jacobian(whole, field, whole.rays[None], along)
    assert_close((value, slope), (expected, torch.einsum("spca,spa->spc", jacobian, direction)[..., None]))
    assert {axis for axis, *_ in whole.matrices} == {None, *(along or (0, 1))}  # no other matrix is made


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("model", ANYWHERE)
def test_gradients_of_parameters_pass_through_one_tangent(model, channels):
    model = network(model, out_features=channels)
    at, direction = torch.rand(1, 7, 2) * 8, torch.nn.functional.normalize(torch.randn(1, 7, 2), dim=-1)
    _, slope = value_and_slope(Pointwise((12, 9)), field_of(model), at, direction)
    expected = slope_along(by_reverse(Pointwise((12, 9)), field_of(model), at)[1], direction)
    assert_close(slope, expected, rtol=1e-10, atol=1e-10)
    both = [
        torch.autograd.grad(one.square().sum(), list(model.parameters()), materialize_grads=True) for one in (slope, expected)
    ]
    assert_close(*both, rtol=1e-8, atol=1e-9)


def test_one_tangent_passes_through_the_network_unless_something_else_reads_the_jacobian():
    passed = []

    class Counting(Field):
        def pushforward(self, points, tangents):
            passed.append(len(tangents))
            return super().pushforward(points, tangents)

    field, at, direction = Counting(waves), torch.rand(1, 5, 2), torch.randn(1, 5, 2)
    only = observe_at(Pointwise((7, 9)), field, at, {"value", "slope"}, direction=direction)
    both = observe_at(Pointwise((7, 9)), field, at, {"value", "slope", "jacobian"}, direction=direction)
    assert passed == [1, 2]
    assert_close(only["slope"], both["slope"])
    assert set(only) == {"value", "slope"}


def test_errors_that_are_no_sum_over_axes_stay_whole():
    squared = SquaredError(quantity="jacobian")
    whole = {"eikonal": Eikonal(part="space"), "tv": TotalVariation(), "angle": Misalignment(part="surface")}
    random = Supervision({"value": SquaredError(), "slope": squared, **whole}, "random")
    assert random.predicted("space") == random.predicted("surface") == {"jacobian"}
    assert random.predicted("data") == {"value", "slope", "jacobian"}
    assert random.quantities("data") == {"value", "jacobian"}  # of the data
    assert Supervision({"slope": squared}, "random").predicted("data") == {"slope"}
    assert random.along("data", [0]).directions == "random"
    at, rows = torch.zeros(1, 5, 2), StepRandomness(0, 1, 0, 5, 5)
    assert random.direction("space", at, rows) is None
    assert Supervision({"slope": squared}).direction("data", at, rows) is None


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (
            {"slope": AbsoluteError(quantity="jacobian")},
            "squared error of a jacobian.* got AbsoluteError of a jacobian; use Sq",
        ),
        ({"value": SquaredError()}, "got SquaredError of a value"),
        ({"eikonal": Eikonal(part="space")}, "got Eikonal of a jacobian"),
        (
            {axis: SquaredError(quantity="jacobian", axes=[axis]) for axis in (0, 1)},
            r"part data share .* need the same axes, got \[0\] and \[1\]",
        ),
    ],
    ids=["absolute", "value", "eikonal", "axes"],
)
def test_directions_that_estimate_nothing_are_refused(terms, message):
    Supervision(terms)
    with pytest.raises(InputError, match=message):
        Supervision(terms, "random")


def test_unknown_directions_are_refused():
    with pytest.raises(InputError, match="must be all or random, got directions=some"):
        Supervision({"slope": SquaredError(quantity="jacobian")}, "some")
