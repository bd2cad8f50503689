import math
from functools import partial
from itertools import product

import pytest
import torch
from tiny.laws import assert_derivatives_are_exact
from tiny.signals import field_of, network
from torch.testing import assert_close

from inr.derivatives import observe_at, value_and_jacobian
from inr.errors import InputError
from inr.field import Field
from inr.measurements.radon import REGIONS, FanBeam, LineIntegrals, ParallelBeam, Pixels
from inr.randomness import StepRandomness

pytestmark = pytest.mark.usefixtures("float64")
BEAMS = {"parallel": ParallelBeam, "fan": partial(FanBeam, 3.0, 1.0)}
EACH_BEAM = pytest.mark.parametrize("beam", [partial(beam, bin_width=0.1, samples=20) for beam in BEAMS.values()], ids=BEAMS)
EACH_REGION = pytest.mark.parametrize("region", REGIONS)
ANGLES = [-0.2, 0.1, 0.5, 0.6, 1.3, 2.0, 3.5]
WAVES = Field(lambda points: torch.stack([torch.cos(3 * points[..., 0] + 1), torch.exp(points.sum(-1) / 2)], -1))
ONE = Field(lambda points: torch.ones_like(points[..., :1]))


def blob(sigma, *centre):
    return Field(lambda p: torch.exp(-(p - torch.tensor(centre)).square().sum(-1, keepdim=True) / (2 * sigma**2)))


def disc(radius, *centre):
    return Field(lambda p: ((p - torch.tensor(centre)).norm(dim=-1, keepdim=True) < radius).to(p))


def through_blob(distance, sigma):
    return math.sqrt(math.tau) * sigma * torch.exp(-distance.square() / (2 * sigma**2))


def through_disc(distance, radius):
    return 2 * (radius**2 - distance.square()).clamp(min=0).sqrt()


def through(region, offset, angle):
    wide, tall = angle.cos().abs(), angle.sin().abs()
    square = torch.minimum(2 / torch.maximum(wide, tall), ((wide + tall - offset.abs()) / (wide * tall)).clamp(min=0))
    return {"circle": through_disc(offset, 1.0), "square": square, "strip": 2 + 0 * offset}[region]


def grid(bins, views):
    return torch.cartesian_prod(bins, views)[None]


def anywhere():
    """Bins around the axis; every view of ANGLES, a little beside it."""
    return torch.stack([12 * torch.rand(7) - 6, torch.arange(7) + 0.8 * (torch.rand(7) - 0.5)], -1)[None]


@pytest.mark.parametrize(("region", "pivot"), list(product(REGIONS, [(0.0, 0.0), (0.1, -0.05)])))
def test_sinogram_of_a_blob_and_of_a_disc_aside(region, pivot):
    sigma, row, column, width, step = 0.1, 0.2, -0.15, 0.04, 0.3
    at = grid(torch.linspace(-9, 9, 10), torch.linspace(-4, 16, 11))
    offset, angle = width * (at[0, :, 0] - 0.5), step * at[0, :, 1]
    down, right = row - pivot[0], column - pivot[1]
    distance, approach = offset - right * angle.cos() + down * angle.sin(), right * angle.sin() + down * angle.cos()
    line = through_blob(distance, sigma)
    beam = ParallelBeam(width, step, samples=200, centre=0.5, pivot=pivot, region=region)
    value, jacobian = value_and_jacobian(beam, blob(sigma, row, column), at)
    slope = -distance / sigma**2 * line
    assert_close(value[0, :, 0], line)
    assert_close(jacobian[0, :, 0], torch.stack([slope * width, slope * approach * step], -1))
    error = beam(disc(0.5, row, column), at)[0, :, 0] - through_disc(distance, 0.5)
    assert error.abs().max() <= 2 * math.sqrt(2) / beam.samples  # half a sample at either end


@EACH_REGION
def test_a_constant_is_seen_in_lengths_of_lines(region):
    angles = torch.deg2rad(torch.tensor([0.0, 20.0, 45.0, 70.0, 90.0, 135.0, 200.0]))
    at, pivot = grid(torch.linspace(-0.93, 0.93, 12), angles).requires_grad_(), (0.0, 0.0) if region == "square" else (0.3, 0.1)
    beam = ParallelBeam(samples=2, pivot=pivot, region=region)  # circle and strip go with the axis
    length = through(region, *at[0].unbind(-1))
    value, jacobian = value_and_jacobian(beam, ONE, at)
    assert_close(value[0, :, 0], length)
    assert_close(beam.of_constant(at), value)
    smooth = (2 * at[0, :, 1]).sin().abs() > 0.1  # at right angles the square's lengths have a kink
    assert_close(jacobian[0, smooth, 0], torch.autograd.grad(length.sum(), at)[0][0, smooth])


@EACH_REGION
def test_half_a_turn_flips_the_detector(region):
    field, beam, at = field_of(network("sine")), ParallelBeam(0.1, samples=20, region=region), anywhere()
    value, jacobian = value_and_jacobian(beam, field, at * torch.tensor([-1, 1]) + torch.tensor([0, math.pi]))
    assert_close((value, jacobian * torch.tensor([-1.0, 1.0])), value_and_jacobian(beam, field, at))


@EACH_BEAM
def test_turning_the_field_shifts_the_views(beam):
    field, angle, at = field_of(network("sine")), 0.7, anywhere()
    cosine, sine = math.cos(angle), math.sin(angle)
    turned = Field(lambda points: field(points @ torch.tensor([[cosine, sine], [-sine, cosine]])))
    assert_close(value_and_jacobian(beam(), turned, at), value_and_jacobian(beam(), field, at + torch.tensor([0, angle])))


@EACH_BEAM
def test_observations_are_linear_in_the_field(beam):
    one, other, at = field_of(network("sine")), field_of(network("fourier")), anywhere()
    fields = one, other, Field(lambda points: 2 * one(points) - 3 * other(points))
    for first, second, both in zip(*(value_and_jacobian(beam(), field, at) for field in fields), strict=True):
        assert_close(both, 2 * first - 3 * second)


@pytest.mark.parametrize("detector", [0.0, 1.5])
def test_a_fan_sees_along_the_lines_from_source_to_detector(detector):
    source, width, row, column = 2.5, 0.06, 0.2, -0.3
    at = grid(torch.linspace(-10, 10, 9), torch.linspace(0, 6, 11)).requires_grad_()
    bins, angle = at[0].split(1, -1)
    ahead, across = torch.cat([angle.cos(), angle.sin()], -1), torch.cat([-angle.sin(), angle.cos()], -1)  # (row, column)
    ray = torch.nn.functional.normalize((source + detector) * ahead + width * (bins - 0.5) * across, dim=-1)
    centre = torch.tensor([row, column]) + source * ahead  # seen from the source
    distance = centre[:, 0] * ray[:, 1] - centre[:, 1] * ray[:, 0]
    fan = FanBeam(source, detector, bin_width=width, samples=2000, centre=0.5)
    value, jacobian = value_and_jacobian(fan, blob(0.1, row, column), at)
    line = through_blob(distance, 0.1)
    assert_close(value[0, :, 0], line)
    assert_close(jacobian[0, :, 0], torch.autograd.grad(line.sum(), at, retain_graph=True)[0][0])
    seen = fan(disc(0.5, row, column), at)[0, :, 0]
    assert (seen - through_disc(distance, 0.5)).abs().max() <= 2 / fan.samples


def test_a_far_source_sends_parallel_beams():
    field, at, options = field_of(network("sine")), anywhere(), {"samples": 20, "centre": 0.3, "pivot": (0.1, 0.0)}
    parallel = value_and_jacobian(ParallelBeam(0.1, **options), field, at)
    assert_close(value_and_jacobian(FanBeam(1e8, bin_width=0.1, **options), field, at), parallel, rtol=0, atol=1e-6)
    near = FanBeam(2.0, 0.0, bin_width=0.1, **options), FanBeam(2.0, 1.0, bin_width=0.15, **options)  # magnified by 3 / 2
    assert_close(*(value_and_jacobian(fan, field, at) for fan in near))


@pytest.mark.parametrize(("beam", "region", "model"), list(product(BEAMS, REGIONS, ["sine", "relu", "fourier", "nid_moe"])))
def test_jacobian_equals_double_backward_and_central_differences(beam, region, model):
    field, at = field_of(model := network(model)), anywhere()
    beam = BEAMS[beam](bin_width=0.1, samples=8, pivot=(0.1, -0.05), region=region, jitter=True)
    beam = beam.within(angles=torch.tensor(ANGLES), randomness=StepRandomness(0, 2, 0, 7, 7))
    assert_derivatives_are_exact(beam, model, field, at, step=1e-7)
    value, jacobian = value_and_jacobian(beam, field, at)
    assert_close(value_and_jacobian(beam, field, at, along=[0]), (value, jacobian * torch.tensor([1.0, 0.0])))


@EACH_BEAM
def test_views_move_by_the_central_difference_of_their_angles(beam):
    angles, bins = torch.tensor(ANGLES), torch.linspace(-5, 5, 7)
    at, turned = (torch.stack([bins, views], -1)[None] for views in (torch.arange(7.0), angles))
    turns = torch.stack([angles[1] - angles[0], *(angles[2:] - angles[:-2]) / 2, angles[-1] - angles[-2]])
    value, slopes = value_and_jacobian(beam(), WAVES, turned)
    expected = value, slopes * torch.stack([torch.ones(7), turns], -1)[:, None]
    for scan in (beam(angles=ANGLES), beam(angles=[9.0]).within(angles=angles)):
        assert_close(value_and_jacobian(scan, WAVES, at), expected)
    even = beam(angles=[0.3 * view for view in range(7)]), beam(view_step=0.3)
    assert_close(*(value_and_jacobian(scan, WAVES, at + 0.3) for scan in even))


@pytest.mark.parametrize(("pivot", "dtype"), list(product([(0.0, 0.0), (0.3, -0.1)], [torch.float32, torch.float64])))
def test_lines_at_or_beyond_the_rim_see_nothing(pivot, dtype):
    model, beam = network("relu").to(dtype), ParallelBeam(2 / 64, math.pi / 180, samples=8, centre=32.0, pivot=pivot)
    at = grid(torch.tensor([0.0, 64.0, -1.0, 90.0]), torch.arange(180.0)).to(dtype)
    value, jacobian = value_and_jacobian(beam, field_of(model), at)
    assert torch.count_nonzero(value) == torch.count_nonzero(jacobian) == 0
    (value.sum() + (jacobian - 0.1).square().sum()).backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize(("beam", "region"), list(product(BEAMS, REGIONS)))
def test_the_midpoint_rule_converges_at_second_order(beam, region):
    at, beams = anywhere(), [BEAMS[beam](bin_width=0.1, samples=samples, region=region) for samples in (16, 32, 4096)]
    for coarse, fine, exact in zip(*(value_and_jacobian(one, WAVES, at) for one in beams), strict=True):
        assert ((coarse - exact).norm() / (fine - exact).norm()).item() == pytest.approx(4, rel=0.05)


@EACH_BEAM
def test_jitter_keeps_the_mean_and_depends_on_step_and_row_alone(beam):
    at, steps, still, jittered = anywhere(), 400, beam(samples=4), beam(samples=4, jitter=True)

    def at_step(step, first=0, last=7):
        return jittered.within(randomness=StepRandomness(0, step, first, last, 7))(WAVES, at[:, first:last])

    drawn = torch.cat([at_step(step) for step in range(steps)])
    bias = drawn.mean(0) - beam(samples=4096)(WAVES, at)
    assert (bias / drawn.std(0)).abs().max() < 4 / math.sqrt(steps)
    assert drawn.diff(dim=0).all()
    assert torch.equal(at_step(3), drawn[3:4])
    assert torch.equal(torch.cat([at_step(3, 0, 4), at_step(3, 4, 7)], 1), drawn[3:4])
    for plain in (jittered, still.within(randomness=StepRandomness(0, 3, 0, 7, 7))):
        assert torch.equal(plain(WAVES, at), still(WAVES, at))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"samples": 1}, "samples >= 2, got samples=1"),
        ({"bin_width": math.nan}, "finite and positive, got bin_width=nan"),
        ({"region": "cube"}, "one of circle, square, strip, got region=cube"),
        ({"angles": []}, r"at least one view, got angles=\[\]"),
        ({"source": 1.0}, "outside the slice and detector >= 0, got 1.0 and 0.0"),
        ({"detector": -1.0}, "got 3.0 and -1.0"),
    ],
)
def test_options_outside_their_range_are_refused(options, line):
    with pytest.raises(InputError, match=line):
        FanBeam(**options)


def test_line_integrals_must_say_which_lines_they_see():
    with pytest.raises(TypeError, match=r"abstract method '?lines"):
        LineIntegrals()


@pytest.mark.parametrize("angle", [0.0, math.pi / 2, math.pi])
def test_lines_along_a_side_of_the_square_have_finite_slopes(angle):
    beam = ParallelBeam(1.0, samples=5, angles=[angle], region="square")
    value, jacobian = value_and_jacobian(
        beam.float(), Field(torch.ones_like), torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]]).float()
    )
    assert (value <= 2).all()
    assert (jacobian.abs() < 2).all()


def over_bins(integral, place, width):
    """The mean of a profile over bins around places, from its integral."""
    return (integral(place + width / 2) - integral(place - width / 2)) / width


def integral_of_disc(x, radius):
    inside = x.clamp(-radius, radius)
    return inside * (radius**2 - inside.square()).sqrt() + radius**2 * (inside / radius).asin()


def test_wide_bins_see_the_mean_of_a_blob_and_of_a_disc():
    sigma, radius, width, bins = 0.1, 0.3, 0.06, torch.linspace(-4, 4, 9)
    beam = ParallelBeam(width, 0.4, samples=400, region="square", width=1.0, rays=400)
    at = grid(bins, torch.tensor([0.0, 1.0]))
    blurred = over_bins(lambda x: math.pi * sigma**2 * torch.erf(x / math.sqrt(2) / sigma), width * bins, width)
    assert_close(beam(blob(sigma, 0.0, 0.0), at).reshape(9, 2), blurred[:, None].expand(9, 2), rtol=0, atol=1e-6)
    shadow = over_bins(partial(integral_of_disc, radius=radius), width * bins, width)
    assert_close(beam(disc(radius, 0.0, 0.0), at).reshape(9, 2), shadow[:, None].expand(9, 2), rtol=0, atol=2e-3)


def test_wide_bins_see_the_edge_of_a_rectangle_in_part():
    beam = ParallelBeam(0.1, 1.0, samples=400, region="square", width=1.0, rays=200)
    # along the columns from -0.33, a third into bin -3, to 0.4; along the rows 0.5 long
    rectangle = Field(lambda p: ((p[..., 1:] > -0.33) & (p[..., 1:] < 0.4) & (p[..., :1].abs() < 0.25)).to(p))
    seen = beam(rectangle, grid(torch.arange(-5.0, 6), torch.zeros(1)))[0, :, 0]
    shares = torch.tensor([0, 0, 0.8, 1, 1, 1, 1, 1, 1, 0.5, 0])
    assert_close(seen, 0.5 * shares, rtol=0, atol=5e-3)


@pytest.mark.parametrize("beam", BEAMS.values(), ids=BEAMS)
def test_the_mean_of_rays_converges_at_second_order_and_a_resolving_scanner_takes_enough(beam):
    at, field = grid(torch.linspace(-3, 3, 5), torch.linspace(0, 3, 4)), blob(0.2, 0.1, -0.2)
    seen = [beam(bin_width=0.2, samples=200, width=1.0, rays=rays)(field, at) for rays in (2, 4, 128)]
    errors = [(one - seen[-1]).norm() for one in seen[:-1]]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)
    coarse = beam(bin_width=0.2, samples=10, width=1.0)
    finer = coarse.resolving(0.01)
    assert (coarse.samples, coarse.rays, finer.samples, coarse.resolving(1.0).samples) == (10, 1, 200, 10)
    assert 0.01001 > finer.bin_at_axis / finer.rays > 0.009
    assert finer.rays == {ParallelBeam: 20}.get(beam, 15)
    field.spacing = 0.01
    assert_close(observe_at(coarse, field, at, {"value"})["value"], finer(field, at))


@EACH_BEAM
def test_derivatives_of_wide_bins_are_exact(beam):
    model = network("sine")
    assert_derivatives_are_exact(beam(angles=ANGLES, width=1.0, rays=3), model, field_of(model), anywhere(), step=1e-7)


def test_a_pixel_is_the_mean_over_its_square():
    square = Field(lambda points: points.square().sum(-1, keepdim=True))
    at = torch.cartesian_prod(torch.arange(2.0, 6), torch.arange(1.0, 4))[None]
    middle, mean = (Pixels((9, 7), "square", width=1.0, side=side)(square, at) for side in (1, 50))
    # of x^2 over a square of side h around m it is m^2 + h^2 / 12, along both axes
    assert_close(mean - middle, torch.full_like(mean, 2 * 0.25**2 / 12), rtol=1e-3, atol=0)
    assert_close(Pixels((9, 7), "square").resolving(0.01)(square, at), middle)  # without width there is but the middle
    assert Pixels((9, 7), "square", width=1.0).resolving(0.125).side == 2
