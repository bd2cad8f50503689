import math

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from inr.errors import InputError
from inr.shapes.ray_tracing import normals, orthographic, trace

CENTRE, RADIUS, TOLERANCE = (0.1, -0.2, 0.15), 0.6, 1e-3


def sphere(points):
    return (points - points.new_tensor(CENTRE)).norm(dim=-1) - RADIUS


def squares(points):
    """Zero on the same sphere, but no distance: its slope runs from 0 to over 3."""
    return (points - points.new_tensor(CENTRE)).square().sum(-1) - RADIUS**2


def torus(points):
    return (points[:, :2].norm(dim=-1) - 0.6).hypot(points[:, 2]) - 0.25


def crossings(origins, directions):
    """How far from its line the centre of the sphere is, and the two places where rays cross the sphere, else nan."""
    to_centre = origins - origins.new_tensor(CENTRE)
    middle = -(to_centre * directions).sum(-1)
    miss = (to_centre + middle[:, None] * directions).norm(dim=-1)
    half = (RADIUS**2 - miss.square()).sqrt()
    return miss, *(origins + (middle + sign * half)[:, None] * directions for sign in (-1, 1))


@pytest.fixture(params=[(0.0, 0.0, "y"), (30.0, 20.0, "y"), (200.0, -65.0, "z")], ids=str)
def rays(request):
    azimuth, elevation, up = request.param
    return orthographic(48, azimuth, elevation, up=up)


@pytest.mark.parametrize("field", [sphere, squares])
def test_rays_meet_a_sphere_where_they_should(rays, field):
    slope = 1.0 if field is sphere else 3.2
    hits = trace(field, *rays, tolerance=TOLERANCE, slope=slope)
    miss, first, _ = crossings(*rays)
    assert hits.reached[miss < RADIUS].all()
    assert not hits.reached[miss > RADIUS + TOLERANCE].any()
    assert sphere(hits.points[hits.reached]).abs().max() < TOLERANCE
    steep = miss < 0.8 * RADIUS  # met at an angle whose cosine is over 0.6
    assert (hits.points - first)[steep].norm(dim=-1).max() < TOLERANCE / 0.6


def test_crossings_are_refined_where_the_field_is_steeper_than_said(rays):
    hits = trace(squares, *rays, slope=1.5, tolerance=1e-6)
    miss, first, _ = crossings(*rays)
    steep = miss < 0.8 * RADIUS
    assert hits.reached[steep].all()
    assert_close(hits.points[steep], first[steep], atol=2e-6, rtol=0)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_a_scaled_field_with_its_slope_is_the_same_field(rays, scale):
    one = trace(torus, *rays, tolerance=TOLERANCE)
    other = trace(lambda points: scale * torus(points), *rays, tolerance=scale * TOLERANCE, slope=scale)
    assert torch.equal(one.points, other.points)
    assert torch.equal(one.reached, other.reached)


def test_a_hit_on_a_torus_is_the_first(rays):
    origins, directions = rays
    hits = trace(torus, origins, directions, tolerance=TOLERANCE)
    lengths = torch.linspace(0, 4, 1001)
    values = torus((origins[:, None] + lengths[:, None] * directions[:, None]).reshape(-1, 3)).reshape(-1, 1001)
    before = lengths < (hits.points - origins).norm(dim=-1)[:, None]
    assert hits.reached[(values < 0).any(-1)].all()
    assert torus(hits.points[hits.reached]).abs().max() < TOLERANCE
    assert values[before].min() > 0
    assert values[~hits.reached].min() > 0


def test_a_ray_from_within_ends_where_it_leaves_the_body():
    generator = torch.Generator().manual_seed(0)
    directions = F.normalize(torch.randn(200, 3, generator=generator), dim=-1)
    offsets = F.normalize(torch.randn(200, 3, generator=generator), dim=-1) * 0.5 * torch.rand(200, 1, generator=generator)
    origins = offsets + offsets.new_tensor(CENTRE)
    hits = trace(sphere, origins, directions, tolerance=1e-5)
    assert hits.reached.all()
    assert_close(hits.points, crossings(origins, directions)[2], atol=3e-5, rtol=0)


def test_the_field_is_asked_in_the_cube_only_and_never_for_more_than_a_chunk(rays):
    counts = []

    def asked(points):
        assert points.abs().max() <= 1 + 1e-6
        counts.append(len(points))
        return points[:, 0] + points[:, 1] + points[:, 2] - 2.9  # a plane that cuts off a corner

    hits = trace(asked, *rays, slope=3**0.5, chunk=100)
    normals(asked, torch.ones(150, 3), chunk=100)
    assert 0 < max(counts) <= 100
    away = rays[1].sum(-1) > 0  # the body is all of the cube but its corner: most rays start in it
    assert hits.reached.sum() < len(away) / 10


def test_a_ray_is_done_when_it_leaves_the_cube(rays):
    counts = []

    def nothing(points):
        counts.append(len(points))
        return torch.full((len(points),), 10.0)

    assert not trace(nothing, *rays).reached.any()
    assert len(counts) == 2
    assert counts[0] == counts[1]


def test_rays_that_miss_the_cube_or_run_out_end_without_a_hit():
    origins = torch.tensor([[3.0, 0.0, 2.0], [0.0, 0.0, 2.0], [0.1, -0.2, 2.0], [0.1, -0.2, -2.0], [1.0, 0.5, 2.0]])
    directions = torch.tensor([[0.0, 0.0, -1.0]]).expand(5, 3)  # the last within a face
    hits = trace(sphere, origins, directions)
    assert hits.reached.tolist() == [False, True, True, False, False]
    assert_close(hits.points[[0, 3, 4]], torch.tensor([[3.0, 0.0, 2.0], [0.1, -0.2, -2.0], [1.0, 0.5, 2.0]]))
    assert not trace(sphere, origins, directions, far=1.1).reached.any()
    assert not trace(sphere, origins, directions, steps=1).reached.any()
    assert len(trace(sphere, origins[:0], directions[:0]).points) == 0


@pytest.mark.parametrize("field", [sphere, squares])
def test_normals_point_outward(field):
    generator = torch.Generator().manual_seed(0)
    exact = F.normalize(torch.randn(100, 3, generator=generator), dim=-1)
    points = (RADIUS * exact + exact.new_tensor(CENTRE)).clamp(-1, 1)
    assert_close(normals(field, points), exact, atol=1e-3, rtol=0)
    faces = torch.tensor([[1.0, 0.3, 0.2], [-0.4, -1.0, 1.0]])  # on the cube's own faces
    assert_close(normals(field, faces), F.normalize(faces - faces.new_tensor(CENTRE), dim=-1), atol=2e-3, rtol=0)


def test_pictures_are_upright():
    origins, directions = orthographic(4, 0, 0, width=2.0)
    assert_close(directions, torch.tensor([[0.0, 0.0, -1.0]]).expand(16, 3))
    assert_close(origins[:2], torch.tensor([[-0.75, 0.75, 2.0], [-0.25, 0.75, 2.0]]))
    assert_close(origins[-1], torch.tensor([0.75, -0.75, 2.0]))
    beside, above = orthographic(3, 90, 0)[1][0], orthographic(3, 0, 90)[1][0]
    assert_close(torch.stack([beside, above]), torch.tensor([[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]))


@pytest.mark.parametrize(("azimuth", "elevation"), [(0.0, 0.0), (37.0, 24.0), (250.0, -80.0)])
def test_parallel_rays_look_at_the_origin_from_a_square(azimuth, elevation):
    origins, directions = orthographic(5, azimuth, elevation, width=2.0)
    assert_close(directions.norm(dim=-1), torch.ones(25))
    assert_close(origins.mean(0), -2 * directions[0])
    assert_close(origins @ directions[0], torch.full((25,), -2.0))
    square = origins.reshape(5, 5, 3)
    right, down = square.diff(dim=1)[0, 0] / 0.4, square.diff(dim=0)[0, 0] / 0.4
    assert_close(torch.linalg.cross(right, down), directions[0])
    assert right[1] == 0
    assert down[1].item() == pytest.approx(-math.cos(math.radians(elevation)), abs=1e-6)
    turned = orthographic(5, azimuth, elevation, width=2.0, up="z")
    assert_close(turned[0].roll(-1, -1), origins)
    assert_close(turned[1].roll(-1, -1), directions)


def test_what_cannot_be_traced_is_refused():
    with pytest.raises(InputError, match="must be y or z, got x"):
        orthographic(4, 0, 0, up="x")
    with pytest.raises(InputError, match=r"slope > 0 and tolerance > 0, got slope=0\.0, tolerance=0\.001"):
        trace(sphere, torch.zeros(1, 3), torch.eye(3)[:1], slope=0.0)
