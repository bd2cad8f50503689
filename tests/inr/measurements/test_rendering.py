import math
from itertools import product

import pytest
import torch
from tiny.laws import assert_derivatives_are_exact
from tiny.signals import ANYWHERE, field_of, network
from torch.testing import assert_close

from inr.derivatives import value_and_jacobian
from inr.errors import InputError
from inr.field import Field
from inr.measurements.rays import camera_rays, ndc_depth, propose, strata, to_ndc
from inr.measurements.rendering import VolumeRendering
from inr.randomness import StepRandomness

pytestmark = pytest.mark.usefixtures("float64")
ROWS, COLUMNS, FOCAL = 12, 16, 14.0
INTRINSICS = torch.tensor([[[FOCAL, FOCAL + 1, ROWS / 2, COLUMNS / 2]]], dtype=torch.float64)
FORWARD = torch.eye(4, dtype=torch.float64)[None, None, :3]  # at the origin, looking along -z
AHEAD = torch.tensor([[[ROWS / 2, COLUMNS / 2]]], dtype=torch.float64)  # the optical axis


def turned(angle: float = 0.3, at: tuple[float, float, float] = (0.2, -0.1, 0.4)) -> torch.Tensor:
    """A pose that looks a little aside."""
    cosine, sine = math.cos(angle), math.sin(angle)
    rotation = torch.tensor([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    return torch.cat([rotation, torch.tensor(at)[:, None]], -1)[None, None]


def pixels(points: int = 5) -> torch.Tensor:
    return torch.rand(1, points, 2) * torch.tensor([ROWS - 1, COLUMNS - 1])


def camera(pose: torch.Tensor = FORWARD, **options) -> VolumeRendering:
    return VolumeRendering(**options).double().within(poses=pose, intrinsics=INTRINSICS)


def fog(raw: float, colour: float = 0.7) -> Field:
    """The same density and colour everywhere."""
    channels = torch.tensor([math.log(colour / (1 - colour))] * 3 + [raw], dtype=torch.float64)
    return Field(lambda points: channels.expand(*points.shape[:-1], 4))


@pytest.mark.parametrize("drawn", [{}, {"randomness": StepRandomness(0, 3, 0, 1, 1)}], ids=["even", "jittered"])
@pytest.mark.parametrize("background", [0.0, 1.0])
def test_fog_has_its_closed_form(drawn, background):
    near, far, raw, colour = 1.0, 3.0, 0.4, 0.7
    rate = 2.5 * math.log1p(math.exp(raw - 2))
    lens = VolumeRendering(near, far, samples=4000, scale=2.5, background=[background] * 3)
    seen = lens.within(poses=FORWARD, intrinsics=INTRINSICS, **drawn).observe(fog(raw), AHEAD)
    opacity = 1 - math.exp(-rate * (far - near))
    depth = near + 1 / rate - (far - near) * (1 - opacity) / opacity
    assert_close(seen["opacity"].item(), opacity, rtol=1e-12, atol=0)
    assert_close(seen["value"], torch.full((1, 1, 3), colour * opacity + background * (1 - opacity)), rtol=1e-6, atol=0)
    assert_close(seen["depth"].item(), depth, rtol=1e-3, atol=0)


def test_fog_is_thicker_along_slanted_rays():
    lens, at = camera(near=1.0, far=3.0, samples=16), torch.tensor([[[0.0, 0.0]]])
    length = camera_rays(at, FORWARD, INTRINSICS).directions.norm()
    rate = 10 * math.log1p(math.exp(0.4 - 2))
    assert length > 1.1
    assert_close(lens.observe(fog(0.4), at)["opacity"].squeeze(), 1 - (-2 * rate * length).exp())


def test_fog_in_the_box_is_as_thick_as_the_box():
    lens = camera(
        torch.cat([torch.eye(3), torch.tensor([[0.3], [0.2], [4.0]])], -1)[None, None], far=100.0, samples=4, box=True
    )
    seen = lens.observe(fog(0.4), AHEAD)
    opacity = 1 - math.exp(-2 * 10 * math.log1p(math.exp(0.4 - 2)))
    assert_close(seen["opacity"].item(), opacity)
    assert 3 < seen["depth"] < 5
    beside = camera(torch.cat([torch.eye(3), torch.tensor([[1.3], [0.2], [4.0]])], -1)[None, None], far=100.0, box=True)
    seen = beside.observe(fog(0.4), AHEAD)
    assert_close((seen["opacity"].item(), seen["depth"].item()), (0.0, 100.0))


@pytest.mark.parametrize("spacing", ["depth", "disparity"])
def test_a_thin_opaque_slab_is_hit_at_its_depth(spacing):
    slab = Field(
        lambda points: torch.cat(
            [torch.zeros_like(points), torch.where((points[..., 2:] + 2).abs() < 0.02, 1e4, -50.0).to(points)], -1
        )
    )
    lens = camera(near=1.0, far=4.0, samples=64, importance=64, spacing=spacing, background=[1.0, 1.0, 1.0])
    seen = lens.observe(slab, AHEAD)
    assert_close(seen["depth"].item(), 2.0, rtol=0, atol=0.03)
    assert_close(seen["opacity"].item(), 1.0)
    assert_close(seen["value"], torch.full((1, 1, 3), 0.5))


@pytest.mark.parametrize(("open_end", "importance"), list(product([False, True], [0, 16])))
def test_weights_sum_to_at_most_one(open_end, importance):
    options = {"density": "relu", "noise": 1.0} if open_end else {}
    lens = VolumeRendering(0.5, 2.0, samples=16, importance=importance, open_end=open_end, **options)
    lens = lens.within(poses=turned(), intrinsics=INTRINSICS, randomness=StepRandomness(0, 1, 0, 5, 5))
    field = Field(lambda points: 30 * torch.sin(7 * points.sum(-1, keepdim=True)).expand(*points.shape[:-1], 4))
    lens = lens.prepare(field, at := pixels())[0]
    located = lens.locate(at)
    weights = lens.composite(field(located.points), located.quadrature[1])
    assert weights.shape == (1, 5, 16 + importance)
    assert (weights >= 0).all()
    assert (weights.sum(-1) <= 1 + 1e-12).all()


def test_rays_in_device_coordinates_hit_the_same_points():
    rays, slopes = camera_rays(pixels(9), turned(), INTRINSICS), (2 * FOCAL / ROWS, 2 * FOCAL / COLUMNS)
    warped, fractions = to_ndc(rays, slopes), torch.linspace(0, 0.99, 7).expand(1, 9, 7)
    depth = ndc_depth(rays, fractions)
    x, y, z = rays.at(depth).unbind(-1)
    expected = torch.stack([-slopes[1] * x / z, -slopes[0] * y / z, 1 + 2 / z], -1)
    assert_close(warped.at(fractions), expected)
    assert_close(rays.at(depth)[..., 0, 2], -torch.ones(1, 9))  # from the plane at depth 1
    assert_close(warped.at(torch.ones(1, 9, 1))[..., 2], torch.ones(1, 9, 1))  # to infinity


def test_the_centre_of_a_picture_is_seen_along_the_optical_axis():
    rays = camera_rays(AHEAD, turned(), INTRINSICS)
    assert_close(rays.directions[0, 0], -turned()[0, 0, :, 2])
    right, down = (camera_rays(AHEAD + torch.tensor(step), FORWARD, INTRINSICS).directions for step in ([0.0, 1.0], [1.0, 0.0]))
    assert_close(right[0, 0], torch.tensor([1 / (FOCAL + 1), 0.0, -1.0]))
    assert_close(down[0, 0], torch.tensor([0.0, -1 / FOCAL, -1.0]))


def test_proposed_distances_follow_the_weights():
    edges, fractions = torch.linspace(2, 6, 9)[None], strata(1000, None, edges_like := torch.zeros(()))
    assert edges_like.dtype == torch.float64
    uniform = propose(torch.ones(1, 8), edges, fractions)
    assert_close(uniform[0], 2 + 4 * fractions)
    peaked = propose(torch.eye(8)[3:4], edges, fractions)
    assert ((peaked > edges[0, 3]) & (peaked < edges[0, 4])).double().mean() > 0.999
    assert (peaked.diff() >= 0).all()
    assert_close(propose(torch.zeros(1, 8), edges, fractions), uniform)


LENSES = {
    "box": {"near": 0.2, "far": 5.0, "box": True, "background": [1.0, 1.0, 1.0]},
    "disparity": {"near": 0.5, "far": 3.0, "spacing": "disparity"},
    "ndc": {"ndc": (2 * FOCAL / ROWS, 2 * FOCAL / COLUMNS)},
    "directions": {"near": 0.5, "far": 2.0, "directions": True, "background": [1.0, 1.0, 1.0]},
    "importance": {"near": 0.5, "far": 2.0, "importance": 6, "background": [1.0, 1.0, 1.0]},
    "published": {"ndc": (1.8, 1.2), "density": "relu", "noise": 1.0, "open_end": True},
}


def bound(name: str, field: Field, at: torch.Tensor) -> VolumeRendering:
    """A camera with jitter and noise drawn, and importance samples frozen."""
    lens = VolumeRendering(samples=6, **LENSES[name])
    lens = lens.within(poses=turned(), intrinsics=INTRINSICS, randomness=StepRandomness(0, 2, 0, at.shape[1], at.shape[1]))
    return lens.prepare(field, at)[0]


CASES = [*product(LENSES, ["sine", "relu"]), *product(["box"], ANYWHERE), ("directions", "radiance")]


@pytest.mark.parametrize(("name", "model"), [case for case in CASES if (case[0] == "directions") == (case[1] == "radiance")])
def test_jacobian_equals_double_backward_and_central_differences(name, model):
    model, at = network(model, 3, 4), pixels()
    assert_derivatives_are_exact(bound(name, field_of(model), at), model, field_of(model), at)


@pytest.mark.parametrize("raw", [-80.0, 80.0])
@pytest.mark.parametrize("options", [{}, {"density": "relu", "open_end": True}, {"box": True}])
def test_gradients_stay_finite_for_empty_and_for_opaque_rays(raw, options):
    channels = torch.full((4,), raw, dtype=torch.float32, requires_grad=True)
    field = Field(lambda points: channels * (1 + 0.1 * points.sum(-1, keepdim=True)))
    lens = VolumeRendering(0.5, 4.0, samples=32, **options)
    poses = turned(0.0, (0.0, 0.0, 40.0 if options.get("box") else 3.0)).float()
    lens = lens.within(poses=poses, intrinsics=INTRINSICS.float())
    value, jacobian = value_and_jacobian(lens, field, pixels().float())
    (value.sum() + jacobian.square().sum()).backward()
    for tensor in (value, jacobian, channels.grad):
        assert torch.isfinite(tensor).all()


def test_a_shared_camera_equals_one_for_each_signal():
    model = network("nid_moe", 3, 4)
    field, at = field_of(model), pixels()
    shared = camera(turned(), near=0.5, far=2.0, samples=8)
    own = VolumeRendering(0.5, 2.0, samples=8).within(poses=turned().repeat(3, 5, 1, 1), intrinsics=INTRINSICS.repeat(3, 5, 1))
    assert_close(value_and_jacobian(shared, field, at), value_and_jacobian(own, field, at.repeat(3, 1, 1)))


def test_published_strata_surround_evenly_spaced_points():
    even = strata(5, None, torch.zeros(()), open_end=True)
    assert_close(even, torch.linspace(0, 1, 5))
    for jitter in (0.0, 1.0):
        drawn = strata(5, torch.full((5,), jitter), torch.zeros(()), open_end=True)
        assert (drawn - even).abs().max() <= 1 / 8


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"near": 2.0, "far": 1.0}, "near must be at least 0 and below far, got near=2.0 and far=1.0"),
        ({"spacing": "even"}, "spacing must be one of depth, disparity"),
        ({"spacing": "disparity"}, "needs near above 0, got near=0.0"),
        ({"samples": 1}, "samples must be at least 2"),
        ({"importance": -1}, "importance must not be negative"),
        ({"density": "exp"}, "density must be one of softplus, relu"),
        ({"scale": 0.0}, "scale must be finite and positive"),
        ({"noise": -1.0}, "noise must be finite and not negative"),
        ({"open_end": True}, "unless density=relu"),
        ({"box": True, "ndc": (1.0, 1.0)}, "not for those in ndc"),
    ],
)
def test_options_outside_their_range_are_refused(options, line):
    with pytest.raises(InputError, match=line):
        VolumeRendering(**options)


def test_a_camera_that_is_not_bound_is_named():
    with pytest.raises(InputError, match=r"needs a camera: bind it with within\(poses="):
        VolumeRendering().locate(pixels())
