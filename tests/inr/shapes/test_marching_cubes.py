import math

import numpy as np
import pytest
import torch

from inr.errors import InputError
from inr.shapes.marching_cubes import march, march_volume, near_surface


class Asked:
    """A field that remembers how it was asked."""

    def __init__(self, field):
        self.field, self.counts, self.outermost = field, [], 0.0

    def __call__(self, points):
        assert points.dtype == torch.float32
        self.counts.append(len(points))
        self.outermost = max(self.outermost, points.abs().max().item())
        return self.field(points)


def sphere(points, radius=0.7, centre=(0.03, -0.02, 0.01)):
    return (points - points.new_tensor(centre)).norm(dim=-1) - radius


def torus(points):
    return (points[:, :2].norm(dim=-1) - 0.6).hypot(points[:, 2]) - 0.25


def two_thin_bodies(points):
    """A plate thinner than a cell of 33 samples, and a needle far from it."""
    plate = (points - points.new_tensor([-0.5, 0.01, 0.0])).abs() - points.new_tensor([0.04, 0.6, 0.7])
    needle = (points - points.new_tensor([0.55, 0.0, 0.02]))[:, :2].norm(dim=-1) - 0.05
    outside = plate.clamp(min=0).norm(dim=-1) + plate.amax(-1).clamp(max=0)
    return outside.minimum(needle.maximum(points[:, 2].abs() - 0.8))


FIELDS = [sphere, torus, two_thin_bodies]


def lattice(*sizes):
    axes = [torch.linspace(-1, 1, size) for size in sizes]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def volume_of(field, *sizes):
    return field(lattice(*sizes).reshape(-1, 3)).reshape(sizes)


def enclosed(mesh):
    one, two, three = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    return (one * np.cross(two, three)).sum() / 6


def is_closed(mesh):
    """Whether every edge is passed once in either direction: no hole, and one orientation throughout."""
    edges = np.concatenate([mesh.faces[:, [side, (side + 1) % 3]] for side in range(3)])
    forth, counts = np.unique(edges, axis=0, return_counts=True)
    return (counts == 1).all() and np.array_equal(forth, np.unique(edges[:, ::-1], axis=0))


def equal(one, other):
    return np.array_equal(one.vertices, other.vertices) and np.array_equal(one.faces, other.faces)


@pytest.mark.parametrize("sizes", [(21, 21, 21), (41, 41, 41), (30, 41, 52)])
def test_a_sphere_is_closed_faces_outward_and_errs_by_the_square_of_a_voxel(sizes):
    mesh = march_volume(volume_of(sphere, *sizes))
    voxel = 2 / (min(sizes) - 1)
    assert mesh.vertices.dtype == np.float64
    assert mesh.faces.dtype == np.int64
    assert is_closed(mesh)
    assert sphere(torch.from_numpy(mesh.vertices)).abs().max() < voxel**2 / (8 * 0.6)  # the sagitta of a chord, and a little
    assert enclosed(mesh) == pytest.approx(4 / 3 * math.pi * 0.7**3, rel=1.5 * voxel**2)
    centroid = mesh.vertices.mean(0)
    np.testing.assert_allclose(centroid, [0.03, -0.02, 0.01], atol=voxel / 5)


def test_the_error_is_of_second_order():
    exact = 2 * math.pi**2 * 0.6 * 0.25**2
    coarse, fine = (exact - enclosed(march_volume(volume_of(torus, *[size] * 3))) for size in (33, 65))
    assert coarse / fine == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("block", [1, 2, 3, 5, 8, 12, 64])
@pytest.mark.parametrize("resolution", [2, 17, 30, 41])
@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.__name__)
def test_marching_near_the_surface_is_marching_all_samples(field, resolution, block):
    asked = Asked(field)
    whole = march_volume(volume_of(field, *[resolution] * 3))
    assert equal(march(asked, resolution, chunk=1000, block=block), whole)
    assert max(asked.counts) <= 1000
    assert asked.outermost <= 1
    assert sum(asked.counts) <= 1.5 * resolution**3


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("place", [(4, 4, 4), (12, 20, 4), (13, 22, 27), (29, 29, 29)])
def test_no_bubble_of_a_single_sample_is_lost(place, sign):
    def bubble(points):
        centre = points.new_tensor(place) * 2 / 29 - 1
        return sign * ((points - centre).norm(dim=-1) - 0.03)

    mesh = march(bubble, 30, slope=1.0)
    assert len(mesh.faces) > 0
    assert equal(mesh, march_volume(volume_of(bubble, 30, 30, 30)))


@pytest.mark.parametrize("steepness", [0.5, 2.0, 4.0])
def test_steeper_fields_need_their_slope(steepness):
    def steep(points):
        return steepness * two_thin_bodies(points)

    whole = march_volume(volume_of(steep, 49, 49, 49))
    assert equal(march(steep, 49, slope=steepness), whole)


def test_evaluations_grow_like_the_square_of_the_resolution():
    evaluated = []
    for resolution in (65, 129):
        asked = Asked(torus)
        near_surface(asked, resolution)
        evaluated.append(sum(asked.counts))
    assert 3 < evaluated[1] / evaluated[0] < 5
    assert evaluated[1] < 0.25 * 129**3


def test_samples_of_exactly_zero_break_nothing():
    cube = volume_of(lambda points: points.abs().amax(-1) - 0.5, 17, 17, 17)
    assert (cube == 0).any()
    for samples in (cube, cube.clamp(min=0)):  # zero is inside
        mesh = march_volume(samples)
        assert is_closed(mesh)
        assert np.isfinite(mesh.vertices).all()
        assert enclosed(mesh) == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_a_field_without_a_surface_gives_no_triangle(value):
    for mesh in (march(lambda points: 0 * points[:, 0] + value, 20), march_volume(np.full((4, 5, 6), value))):
        assert mesh.vertices.shape == (0, 3)
        assert mesh.faces.shape == (0, 3)


def test_a_mask_drops_the_cubes_outside_it():
    volume = volume_of(sphere, 25, 25, 25)
    mask = lattice(25, 25, 25)[..., 0] > 0
    whole, half = march_volume(volume), march_volume(volume, mask)
    assert equal(march_volume(volume, torch.ones_like(mask)), whole)
    assert half.vertices[:, 0].min() == pytest.approx(0, abs=1e-6)
    assert 0.4 < len(half.faces) / len(whole.faces) < 0.6
    assert len(march_volume(volume, torch.zeros_like(mask)).faces) == 0


def test_what_cannot_be_marched_is_refused():
    volume = volume_of(sphere, 9, 9, 9)
    volume[4, 4, 4] = math.nan
    with pytest.raises(InputError, match="finite distances, got samples from nan to nan"):
        march_volume(volume)
    with pytest.raises(InputError, match="finite distances"):
        march(lambda points: points[:, 0].log(), 30)
    for options in ({"resolution": 1}, {"block": 0}, {"chunk": 0}, {"slope": 0.0}):
        with pytest.raises(InputError, match=r"Marching needs resolution >= 2, .*, got resolution="):
            march(sphere, **({"resolution": 9} | options))
