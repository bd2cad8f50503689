import math
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from signals import every_signal, network
from skimage.transform import radon
from torch.testing import assert_close

from inr.derivatives import observe_at, value_and_jacobian
from inr.errors import InputError
from inr.field import Field
from inr.measurements.radon import REGIONS, FanBeam, LineIntegrals, ParallelBeam
from inr.randomness import Rows
from inr.raster import raster

pytestmark = pytest.mark.usefixtures("float64")

BEAMS = {"parallel": ParallelBeam, "fan": partial(FanBeam, source=3.0, detector=1.0)}
ANGLES = [-0.2, 0.1, 0.5, 0.6, 1.3, 2.0, 3.5]
ONE = Field(lambda points: torch.ones_like(points[..., :1]))
WAVES = Field(lambda points: torch.stack([torch.cos(3 * points[..., 0] + 1), torch.exp(points.sum(-1) / 2)], -1))


def blob(sigma=0.1, row=0.0, column=0.0):
    return Field(lambda p: torch.exp(-(p - torch.tensor([row, column]).to(p)).square().sum(-1, keepdim=True) / (2 * sigma**2)))


def disc(radius, row=0.0, column=0.0):
    return Field(lambda p: ((p - torch.tensor([row, column])).norm(dim=-1, keepdim=True) < radius).to(p))


def line_through_blob(distance, sigma=0.1):
    return math.sqrt(math.tau) * sigma * torch.exp(-distance.square() / (2 * sigma**2))


def field_of(model, channels=2):
    model = network(model, 2, channels)
    return model, model.field(every_signal(model))


def observe(beam, field, at):
    return observe_at(beam, field, at, {"value"})["value"]


def anywhere(points=7, bins=6.0):
    """Bins around the middle of the detector, and views of `ANGLES` with their fractions, the jumps half-way left out."""
    views = torch.arange(points) % len(ANGLES) + 0.8 * (torch.rand(points) - 0.5)
    return torch.stack([bins * (2 * torch.rand(points) - 1), views], -1)[None]


@pytest.mark.parametrize("region", ["circle", "square"])
def test_sinogram_of_a_round_blob(region):
    sigma, bin_width = 0.15, 0.05
    bins, views = torch.linspace(-4, 4, 9), torch.linspace(0, 3, 9)
    line = line_through_blob(bin_width * bins, sigma)
    beam = ParallelBeam(bin_width, samples=257, region=region)
    value, jacobian = value_and_jacobian(beam, blob(sigma), torch.stack([bins, views], -1)[None])
    assert_close(value[0, :, 0], line)
    assert_close(jacobian[0, :, 0, 0], -bins * bin_width**2 / sigma**2 * line)  # along the detector
    assert_close(jacobian[0, :, 0, 1], torch.zeros_like(views))  # no preferred direction


@pytest.mark.parametrize(("region", "pivot"), list(product(REGIONS, [(0.0, 0.0), (0.1, -0.05)])))
def test_sinogram_of_a_blob_aside(region, pivot):
    sigma, row, column, width, step = 0.1, 0.2, -0.15, 0.04, 0.3
    at = torch.cartesian_prod(torch.linspace(-9, 9, 10), torch.linspace(-4, 16, 11))[None]
    offset, angle = width * (at[0, :, 0] - 0.5), step * at[0, :, 1]
    down, right = row - pivot[0], column - pivot[1]
    aside = offset - right * angle.cos() + down * angle.sin()
    line = line_through_blob(aside, sigma)
    beam = ParallelBeam(width, step, samples=200, centre=0.5, pivot=pivot, region=region)
    value, jacobian = value_and_jacobian(beam, blob(sigma, row, column), at)
    assert_close(value[0, :, 0], line)
    assert_close(jacobian[0, :, 0, 0], -aside / sigma**2 * line * width)
    turned = right * angle.sin() + down * angle.cos()  # how fast the blob leaves the line
    assert_close(jacobian[0, :, 0, 1], -aside / sigma**2 * line * turned * step)


@pytest.mark.parametrize("region", REGIONS)
def test_a_disc_has_its_chords(region):
    radius, samples, at = 0.6, 2000, torch.cartesian_prod(torch.linspace(-12, 12, 25), torch.arange(7.0))[None]
    chords = 2 * (radius**2 - (0.06 * at[0, :, 0]).square()).clamp(min=0).sqrt()
    value = observe(ParallelBeam(0.06, 0.5, samples, region=region), disc(radius), at)
    assert (value[0, :, 0] - chords).abs().max() <= 2 * math.sqrt(2) / samples  # half a sample at either end


def chord(region, offset, angle):
    """How long a line is within a region around the axis."""
    if region == "strip":
        return torch.full_like(offset, 2.0)
    if region == "circle":
        return 2 * (1 - offset.square()).sqrt()
    wide, tall = angle.cos().abs(), angle.sin().abs()
    return torch.minimum(2 / torch.maximum(wide, tall), ((wide + tall - offset.abs()) / (wide * tall)).clamp(min=0))


@pytest.mark.parametrize("region", REGIONS)
def test_a_constant_is_seen_in_lengths_of_lines(region):
    degrees = torch.tensor([0.0, 20.0, 45.0, 70.0, 90.0, 135.0, 200.0])
    at = torch.cartesian_prod(torch.linspace(-0.93, 0.93, 12), torch.deg2rad(degrees))[None].requires_grad_()
    beam = ParallelBeam(samples=2, region=region)
    expected = chord(region, *at[0].unbind(-1))
    value, jacobian = value_and_jacobian(beam, ONE, at)
    assert_close(value[0, :, 0], expected)
    assert_close(beam.of_constant(at), value)
    if region != "strip":
        oblique = (at[0, :, 1] % (math.pi / 2) - math.pi / 4).abs() < 0.7  # at right angles the length has a kink
        (slopes,) = torch.autograd.grad(expected.sum(), at)
        assert_close(jacobian[0, oblique, 0], slopes[0, oblique])
    else:
        assert_close(jacobian, torch.zeros_like(jacobian))


@pytest.mark.parametrize(("field", "region", "mass"), [(blob(0.1, 0.3, -0.2), "circle", math.tau * 0.01), (ONE, "square", 4.0)])
def test_every_projection_has_the_same_mass(field, region, mass):
    width, angles = 0.02, torch.tensor([0.0, 0.3, 0.8, math.pi / 4, 1.9, 3.0])
    at = torch.cartesian_prod(torch.arange(-80, 80) + 0.5, angles)[None]
    value, jacobian = value_and_jacobian(ParallelBeam(width, samples=100, region=region), field, at)
    mass_by_view = width * value.reshape(160, len(angles)).sum(0)
    assert_close(mass_by_view, torch.full_like(angles, mass), rtol=1e-3, atol=0)
    assert_close(jacobian[..., 0].reshape(160, len(angles)).sum(0), torch.zeros_like(angles))


@pytest.mark.parametrize("region", REGIONS)
def test_half_a_turn_flips_the_detector(region):
    _, field = field_of("sine")
    beam, at = ParallelBeam(0.1, samples=20, region=region), anywhere()
    behind = at * torch.tensor([-1, 1]) + torch.tensor([0, math.pi])
    (value, jacobian), (other, flipped) = (value_and_jacobian(beam, field, place) for place in (at, behind))
    assert_close(value, other)
    assert_close(jacobian, flipped * torch.tensor([-1.0, 1.0]))


def test_turning_the_field_shifts_the_views():
    _, field = field_of("sine")
    angle, beam, at = 0.7, ParallelBeam(0.1, samples=20), anywhere()
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[cosine, sine], [-sine, cosine]])  # (row, column) -> where the turned field looks
    turned = Field(lambda points: field(points @ turn))
    assert_close(value_and_jacobian(beam, turned, at), value_and_jacobian(beam, field, at + torch.tensor([0, angle])))


@pytest.mark.parametrize("beam", BEAMS.values(), ids=BEAMS)
def test_observations_are_linear_in_the_field(beam):
    (_, one), (_, other) = field_of("sine"), field_of("fourier")
    both, at = Field(lambda points: 2 * one(points) - 3 * other(points)), anywhere()
    parts = [value_and_jacobian(beam(bin_width=0.1, samples=20), field, at) for field in (one, other, both)]
    for first, second, together in zip(*parts, strict=True):
        assert_close(together, 2 * first - 3 * second)


def test_rasters_are_seen_as_scikit_image_sees_them():
    n, degrees = 65, np.array([0.0, 25.0, 45.0, 90.0, 140.0, 200.0])
    row, column = np.mgrid[:n, :n] / 32 - 1
    image = sum(
        peak * np.clip(1 - ((row - down) ** 2 + (column - right) ** 2) / 0.3, 0, None) ** 3
        for down, right, peak in [(-0.3, 0.1, 1.0), (0.2, 0.35, 0.5)]
    )
    expected = torch.tensor(radon(image, degrees)) * 2 / (n - 1)
    beam = ParallelBeam(2 / (n - 1), samples=400, centre=(n - 1) / 2, angles=np.radians(degrees).tolist())
    at = torch.cartesian_prod(torch.arange(n), torch.arange(len(degrees))).to(expected)[None]
    value = observe(beam, raster(torch.tensor(image)[None]), at).reshape(expected.shape)
    assert (value - expected).abs().max() < 1e-3 * expected.max()


@pytest.mark.parametrize("detector", [0.0, 1.5])
def test_a_fan_sees_along_the_lines_from_source_to_detector(detector):
    source, width, centre, row, column = 2.5, 0.06, 0.5, 0.2, -0.3
    at = torch.cartesian_prod(torch.linspace(-10, 10, 9), torch.linspace(0, 6, 11))[None].requires_grad_()
    u, beta = width * (at[0, :, 0] - centre), at[0, :, 1]
    ahead, across = (torch.stack(axis, -1) for axis in ([beta.cos(), beta.sin()], [-beta.sin(), beta.cos()]))  # (row, column)
    start = -source * ahead
    ray = torch.nn.functional.normalize(detector * ahead + u[:, None] * across - start, dim=-1)
    along = torch.tensor([row, column]) - start
    distance = along[:, 0] * ray[:, 1] - along[:, 1] * ray[:, 0]
    fan = FanBeam(source, detector, bin_width=width, samples=2000, centre=centre)
    value, jacobian = value_and_jacobian(fan, blob(0.1, row, column), at)
    expected = line_through_blob(distance)
    assert_close(value[0, :, 0], expected)
    assert_close(jacobian[0, :, 0], torch.autograd.grad(expected.sum(), at)[0][0])
    chords = 2 * (0.5**2 - distance.square()).clamp(min=0).sqrt()
    assert (observe(fan, disc(0.5, row, column), at)[0, :, 0] - chords).abs().max() <= 2 / 2000


def test_a_far_source_sends_parallel_beams():
    _, field = field_of("sine")
    options, at = {"bin_width": 0.1, "samples": 20, "centre": 0.3, "pivot": (0.1, 0.0)}, anywhere()
    parallel = value_and_jacobian(ParallelBeam(**options), field, at)
    assert_close(value_and_jacobian(FanBeam(1e8, 0.0, **options), field, at), parallel, rtol=0, atol=1e-6)
    behind, through = FanBeam(2.0, 1.0, **options | {"bin_width": 0.15}), FanBeam(2.0, 0.0, **options)
    assert_close(value_and_jacobian(behind, field, at), value_and_jacobian(through, field, at))  # magnified by 3 / 2


@pytest.mark.parametrize(
    ("beam", "region", "model"),
    [*product(BEAMS, REGIONS, ["sine", "nid_moe"]), *product(BEAMS, ["circle"], ["relu", "fourier"])],
)
def test_jacobian_equals_double_backward_and_central_differences(beam, region, model):
    model, field = field_of(model)
    beam, at = BEAMS[beam](bin_width=0.1, samples=8, pivot=(0.1, -0.05), region=region, jitter=True), anywhere()
    beam = beam.within(angles=torch.tensor(ANGLES), rows=Rows(0, 2, 0, 7, 7))
    value, jacobian = value_and_jacobian(beam, field, at)
    own = at.repeat(len(value), 1, 1).requires_grad_()
    rows = [torch.autograd.grad(observe(beam, field, own)[..., c].sum(), own, create_graph=True)[0] for c in range(2)]
    reverse, step = torch.stack(rows, -2), 1e-6
    assert_close(value, observe(beam, field, at))
    assert_close(jacobian, reverse, rtol=1e-10, atol=1e-10)
    for axis, shift in enumerate(step * torch.eye(2)):
        difference = (observe(beam, field, at + shift) - observe(beam, field, at - shift)) / (2 * step)
        assert_close(difference, jacobian[..., axis], rtol=1e-4, atol=1e-6)
    same, first = value_and_jacobian(beam, field, at, along=[0])
    assert_close((same, first), (value, jacobian * torch.tensor([1.0, 0.0])))
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    losses = ((slopes - 0.1).square().sum() for slopes in (jacobian, reverse))
    forward, backward = (torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True) for loss in losses)
    assert_close(forward, backward, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("beam", BEAMS.values(), ids=BEAMS)
def test_views_move_by_the_central_difference_of_their_angles(beam):
    options, angles, views = {"bin_width": 0.1, "samples": 20}, torch.tensor(ANGLES), torch.arange(7.0)
    at, turned = (torch.stack([torch.linspace(-5, 5, 7), place], -1)[None] for place in (views, angles))
    value, jacobian = value_and_jacobian(beam(angles=ANGLES, **options), WAVES, at)
    expected, slopes = value_and_jacobian(beam(**options), WAVES, turned)
    turns = torch.cat([angles[1:2] - angles[:1], (angles[2:] - angles[:-2]) / 2, angles[-1:] - angles[-2:-1]])
    assert_close(value, expected)
    assert_close(jacobian, slopes * torch.stack([torch.ones(7), turns], -1)[:, None])
    replaced = beam(angles=[9.0], **options).within(angles=angles)
    assert_close(value_and_jacobian(replaced, WAVES, at), (value, jacobian))
    even = beam(angles=[0.3 * view for view in range(7)], **options), beam(view_step=0.3, **options)
    assert_close(*(value_and_jacobian(one, WAVES, anywhere().roll(1, 1) * 0 + at + 0.3) for one in even))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("pivot", [(0.0, 0.0), (0.3, -0.1)])
def test_lines_at_or_beyond_the_rim_see_nothing(pivot, dtype):
    model, field = field_of("relu")
    model.to(dtype)
    at = torch.cartesian_prod(torch.tensor([0.0, 64.0, -1.0, 90.0]), torch.arange(180.0)).to(dtype)[None]
    beam = ParallelBeam(2 / 64, math.pi / 180, samples=8, centre=32.0, pivot=pivot)
    value, jacobian = value_and_jacobian(beam, field, at)
    assert_close((value, jacobian), (torch.zeros_like(value), torch.zeros_like(jacobian)), rtol=0, atol=0)
    (value.sum() + (jacobian - 0.1).square().sum()).backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


def test_a_projection_approaches_that_of_the_raster_at_second_order():
    field, at = blob(0.2, 0.1, -0.2), torch.cartesian_prod(torch.linspace(-5, 5, 7), torch.arange(5.0))[None]
    beam, errors = ParallelBeam(0.1, samples=1000), []
    for n in (33, 65):
        axis = torch.linspace(-1, 1, n)
        pixels = field(torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)[None])[..., 0]
        errors.append((observe(beam, raster(pixels), at) - observe(beam, field, at)).abs().max().item())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize(("beam", "region"), list(product(BEAMS, REGIONS)))
def test_the_midpoint_rule_converges_at_second_order(beam, region):
    at, beam = anywhere(), partial(BEAMS[beam], bin_width=0.1, region=region)
    coarse, fine, exact = (torch.cat([v[..., None], j], -1) for v, j in map(seen_with(beam, at), (16, 32, 4096)))
    ratio = (coarse - exact).norm() / (fine - exact).norm()
    assert ratio.item() == pytest.approx(4, rel=0.05)


def seen_with(beam, at):
    return lambda samples: value_and_jacobian(beam(samples=samples), WAVES, at)


@pytest.mark.parametrize("beam", BEAMS.values(), ids=BEAMS)
def test_jitter_keeps_the_mean(beam):
    at, steps = anywhere(9), 400
    still, beam = beam(bin_width=0.1, samples=4), beam(bin_width=0.1, samples=4, jitter=True)

    def at_step(step, first=0, last=9):
        return observe(beam.within(rows=Rows(0, step, first, last, 9)), WAVES, at[:, first:last])

    drawn = torch.cat([at_step(step) for step in range(steps)])
    exact = observe(still.__class__(**{"bin_width": 0.1, "samples": 4096}), WAVES, at)
    assert ((drawn.mean(0) - exact) / drawn.std(0)).abs().max() < 5 / math.sqrt(steps)
    assert (drawn.diff(dim=0) != 0).all()
    assert torch.equal(at_step(7), at_step(7))
    assert_close(torch.cat([at_step(7, 0, 4), at_step(7, 4, 9)], 1), at_step(7))
    assert_close(observe(beam, WAVES, at), observe(still, WAVES, at))
    assert_close(observe(still.within(rows=Rows(0, 1, 0, 9, 9)), WAVES, at), observe(still, WAVES, at))


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: ParallelBeam(samples=1), "samples >= 2, got samples=1"),
        (lambda: ParallelBeam(0.0), "finite and positive, got bin_width=0.0"),
        (lambda: ParallelBeam(math.nan), "finite and positive, got bin_width=nan"),
        (lambda: ParallelBeam(region="cube"), "one of circle, square, strip, got region=cube"),
        (lambda: ParallelBeam(angles=[]), r"at least one view, got angles=\[\]"),
        (lambda: FanBeam(1.0), "source outside the slice and detector >= 0, got 1.0 and 0.0"),
        (lambda: FanBeam(3.0, -1.0), "got 3.0 and -1.0"),
    ],
)
def test_options_outside_their_range_are_refused(make, line):
    with pytest.raises(InputError, match=line):
        make()


def test_line_integrals_must_say_which_lines_they_see():
    with pytest.raises(NotImplementedError, match="define lines"):
        LineIntegrals().locate(torch.zeros(1, 1, 2))
