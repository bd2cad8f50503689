import math
from itertools import product

import pytest
import torch
from tiny.signals import ANYWHERE, every_signal, network
from torch.testing import assert_close

from inr.derivatives import observe_at, value_and_jacobian
from inr.errors import InputError
from inr.field import Field
from inr.measurements.rays import Rays, camera_rays, in_cube, ndc_depth, propose, strata, to_ndc
from inr.measurements.rendering import VolumeRendering
from inr.randomness import Rows

pytestmark = pytest.mark.usefixtures("float64")
CPU = torch.device("cpu")

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


@pytest.mark.parametrize("rows", [None, Rows(0, 3, 0, 1, 1)])
@pytest.mark.parametrize("background", [0.0, 1.0])
def test_fog_has_its_closed_form(rows, background):
    near, far, raw, colour = 1.0, 3.0, 0.4, 0.7
    rate = 2.5 * math.log1p(math.exp(raw - 2))
    lens = VolumeRendering(near, far, samples=4000, scale=2.5, background=[background] * 3)
    lens = lens.within(poses=FORWARD, intrinsics=INTRINSICS, **({} if rows is None else {"rows": rows}))
    seen = lens.look(fog(raw), AHEAD)
    opacity = 1 - math.exp(-rate * (far - near))
    depth = near + 1 / rate - (far - near) * (1 - opacity) / opacity
    assert_close(seen.opacity.item(), opacity, rtol=1e-12, atol=0)
    assert_close(seen.colour, torch.full((1, 1, 3), colour * opacity + background * (1 - opacity)), rtol=1e-6, atol=0)
    assert_close(seen.depth.item(), depth, rtol=1e-3, atol=0)


def test_fog_is_thicker_along_slanted_rays():
    lens, at = camera(near=1.0, far=3.0, samples=16), torch.tensor([[[0.0, 0.0]]])
    length = camera_rays(at, FORWARD, INTRINSICS).directions.norm()
    rate = 10 * math.log1p(math.exp(0.4 - 2))
    assert length > 1.1
    assert_close(lens.look(fog(0.4), at).opacity.squeeze(), 1 - (-2 * rate * length).exp())


def test_opacity_of_fog_has_its_closed_form_inside_the_cube():
    rays = Rays(torch.tensor([[0.3, 0.2, 4.0]]), torch.tensor([[0.0, 0.0, -1.0]]))
    enters, leaves = in_cube(rays, 0.1, 100.0)
    assert_close(torch.cat([enters, leaves], -1), torch.tensor([[3.0, 5.0]]))
    beside = in_cube(Rays(rays.origins + 2, rays.directions), 0.1, 100.0)
    assert_close(*beside)
    inside = in_cube(Rays(rays.origins * 0, rays.directions), 0.1, 100.0)
    assert_close(torch.cat(inside, -1), torch.tensor([[0.1, 1.0]]))


@pytest.mark.parametrize("spacing", ["depth", "disparity"])
def test_a_thin_opaque_slab_is_hit_at_its_depth(spacing):
    slab = Field(
        lambda points: torch.cat(
            [torch.zeros_like(points), torch.where((points[..., 2:] + 2).abs() < 0.02, 1e4, -50.0).to(points)], -1
        )
    )
    lens = camera(near=1.0, far=4.0, samples=64, importance=64, spacing=spacing, background=[1.0, 1.0, 1.0])
    seen = lens.look(slab, AHEAD)
    assert_close(seen.depth.item(), 2.0, rtol=0, atol=0.03)
    assert_close(seen.opacity.item(), 1.0)
    assert_close(seen.colour, torch.full((1, 1, 3), 0.5))


@pytest.mark.parametrize(("open_end", "importance"), list(product([False, True], [0, 16])))
def test_weights_sum_to_at_most_one(open_end, importance):
    options = {"density": "relu", "noise": 1.0} if open_end else {}
    lens = VolumeRendering(0.5, 2.0, samples=16, importance=importance, open_end=open_end, **options)
    lens = lens.within(poses=turned(), intrinsics=INTRINSICS, rows=Rows(0, 1, 0, 5, 5))
    field = Field(lambda points: 30 * torch.sin(7 * points.sum(-1, keepdim=True)).expand(*points.shape[:-1], 4))
    weights = lens.look(field, pixels()).weights
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
    lens = lens.within(poses=turned(), intrinsics=INTRINSICS, rows=Rows(0, 2, 0, at.shape[1], at.shape[1]))
    return lens.prepare(field, at)[0]


CASES = [*product(LENSES, ["sine", "relu"]), *product(["box"], ANYWHERE), ("directions", "radiance")]


@pytest.mark.parametrize(("name", "model"), [case for case in CASES if (case[0] == "directions") == (case[1] == "radiance")])
def test_jacobian_equals_double_backward_and_central_differences(name, model):
    model = network(model, 3, 4)
    field, at = model.field(every_signal(model)), pixels()
    lens = bound(name, field, at)
    value, jacobian = value_and_jacobian(lens, field, at)
    signals = len(value)

    def observe(where):
        return observe_at(lens.within(**lens.context), field, where, {"value"})["value"]

    frozen = VolumeRendering(samples=6, **(LENSES[name] | {"importance": 0}))
    lens = frozen.within(**lens.context)  # observe must not propose again
    own = at.repeat(signals, 1, 1).requires_grad_()
    reverse = torch.stack([torch.autograd.grad(observe(own)[..., c].sum(), own, create_graph=True)[0] for c in range(3)], -2)
    assert_close(value, observe(at))
    assert_close(jacobian, reverse, rtol=1e-10, atol=1e-10)
    step = 1e-6
    for axis in range(2):
        shift = step * torch.eye(2)[axis]
        assert_close((observe(at + shift) - observe(at - shift)) / (2 * step), jacobian[..., axis], rtol=1e-4, atol=1e-6)
    one, other = ((j - 0.1).square().sum() for j in (jacobian, reverse))
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = [torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True) for loss in (one, other)]
    for forward, backward in zip(*gradients, strict=True):
        if forward is not None and backward is not None:
            assert_close(forward, backward, rtol=1e-9, atol=1e-10)


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
    field, at = model.field(every_signal(model)), pixels()
    shared = camera(turned(), near=0.5, far=2.0, samples=8)
    own = VolumeRendering(0.5, 2.0, samples=8).within(poses=turned().repeat(3, 5, 1, 1), intrinsics=INTRINSICS.repeat(3, 5, 1))
    for one, other in zip(
        value_and_jacobian(shared, field, at), value_and_jacobian(own, field, at.repeat(3, 1, 1)), strict=True
    ):
        assert_close(one, other)


def test_two_processes_draw_what_one_would():
    whole = Rows(1, 7, 0, 9, 9)
    halves = [Rows(1, 7, 0, 4, 9), Rows(1, 7, 4, 9, 9)]
    for draw in ("uniform", "normal"):
        one = getattr(whole, draw)("jitter", 3, CPU)
        assert torch.equal(one, torch.cat([getattr(half, draw)("jitter", 3, CPU) for half in halves]))
    assert not torch.equal(whole.uniform("jitter", 3, CPU), Rows(1, 8, 0, 9, 9).uniform("jitter", 3, CPU))


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
    with pytest.raises(InputError, match="needs a camera"):
        VolumeRendering().locate(pixels())
