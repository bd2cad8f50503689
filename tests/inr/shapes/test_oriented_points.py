import numpy as np
import pytest
from numpy.testing import assert_allclose
from tiny.solids import ball, box

from inr.shapes.meshes import signed_distance
from inr.shapes.oriented_points import OrientedPoints, merged
from inr.shapes.surface_metrics import cloud_of


def points(count=3000, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3))


@pytest.mark.parametrize("count", [2000, 8000])
def test_distances_from_points_of_a_ball_are_those_of_the_ball(count):
    cloud, at = OrientedPoints(*cloud_of(ball(0.6, 5), count, 0)), points()
    radius = np.linalg.norm(at, axis=1)
    found = cloud.signed_distance(at)
    assert cloud.spacing == pytest.approx(np.sqrt(4 * np.pi * 0.36 / count), rel=0.1)
    assert_allclose(found.value, radius - 0.6, atol=2 * cloud.spacing)
    assert abs(found.value - radius + 0.6).mean() < 0.3 * cloud.spacing
    assert (np.sign(found.value) == np.sign(radius - 0.6))[abs(radius - 0.6) > cloud.spacing].all()
    cosine = (found.gradient * at).sum(1) / radius
    assert cosine[found.certain].mean() > 0.98
    assert found.certain.mean() > 0.97


def test_winding_numbers_of_points_are_those_of_the_surface():
    cloud = OrientedPoints(*cloud_of(box(), 8000, 0))
    at = points()
    inside = (abs(at) < 0.5).all(1)
    clear = abs(signed_distance(box(), at).value) > 3 * cloud.spacing
    assert cloud.winding(at)[inside & clear].min() > 0.75
    assert abs(cloud.winding(at)[~inside & clear]).max() < 0.25


def test_near_its_points_the_surface_is_their_planes():
    normals = np.tile([0.0, 0, 1], (100, 1))
    flat = np.stack([*np.meshgrid(np.arange(10.0), np.arange(10.0)), np.zeros((10, 10))], -1).reshape(-1, 3)
    at = np.array([[4.3, 5.4, 0.7], [4.3, 5.4, -0.7]])
    found = OrientedPoints(flat, normals).signed_distance(at)
    assert_allclose(found.value, [0.7, -0.7])
    assert_allclose(found.gradient, normals[:2])


def test_holes_leave_the_sign_in_doubt_far_from_the_points():
    whole = cloud_of(ball(0.6), 8000, 0)
    kept = whole.points[:, 1] < 0.35
    cloud = OrientedPoints(whole.points[kept], whole.normals[kept])
    at = points(20000)
    doubtful = ~cloud.signed_distance(at).certain
    assert 0 < doubtful.mean() < 0.1
    assert at[doubtful][:, 1].min() > 0


def test_equal_points_are_one_with_the_mean_of_their_normals():
    normals = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1], [1, 0, 0]])
    points = np.array([[0.5, 0, 0], [0.5, 0, 1e-12], [0, 0, 0.5], [0, 0, 0.5], [0, 0.2, 0]])
    at, along = merged(points, normals)
    assert_allclose(at, points[[0, 4]], atol=1e-9)
    assert_allclose(along, [[0.5**0.5, 0.5**0.5, 0], [1, 0, 0]])
    apart = points + np.arange(5)[:, None]
    assert merged(apart, normals)[0] is apart


def test_enclosure_tells_bodies_from_sheets_and_outward_from_inward():
    cloud = cloud_of(ball(0.6), 3000, 0)
    assert OrientedPoints(*cloud).enclosure() == pytest.approx(1, abs=0.1)
    assert OrientedPoints(cloud.points, -cloud.normals).enclosure() == pytest.approx(-1, abs=0.1)
    flat = np.concatenate([np.random.default_rng(0).uniform(-1, 1, (1000, 2)), np.zeros((1000, 1))], 1)
    assert OrientedPoints(flat, np.tile([0.0, 0, 1], (1000, 1))).enclosure() == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("solid", [ball(0.6), box()], ids=["ball", "box"])
def test_normals_against_those_around_them_are_found_each(solid):
    cloud = cloud_of(solid, 4000, 0)
    assert not OrientedPoints(*cloud).against_neighbours().any()
    wrong = np.random.default_rng(7).random(4000) < 0.2
    found = OrientedPoints(cloud.points, np.where(wrong[:, None], -cloud.normals, cloud.normals)).against_neighbours()
    assert (found == wrong).mean() > 0.99
