import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from tiny.solids import ball, box, joined, moved

from inr.shapes.meshes import Mesh
from inr.shapes.surface_metrics import Cloud, cloud_of, compare_surfaces, iou, mean_angle

NONE = Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))


def inside_out(mesh):
    return Mesh(mesh.vertices, mesh.faces[:, ::-1])


def test_a_surface_agrees_with_itself_whatever_the_count():
    for count in (10, 1000):
        assert_allclose(compare_surfaces(box(), box(), 0.01, count), (0, 1, 1), atol=1e-9)


def test_concentric_balls_are_apart_by_the_difference_of_their_radii():
    found = compare_surfaces(ball(0.6), ball(0.5), threshold=0.09)
    assert found.chamfer == pytest.approx(0.1, abs=2e-3)
    assert found.f_score == 0
    assert found.normal_consistency > 0.99
    assert compare_surfaces(ball(0.6), ball(0.5), threshold=0.11).f_score == 1


def test_a_surface_inside_out_has_opposite_normals():
    found = compare_surfaces(ball(), inside_out(ball()), 0.02)
    assert found.normal_consistency == pytest.approx(-1, abs=0.01)
    assert found.chamfer == pytest.approx(0, abs=1e-9)


def test_the_f_score_weighs_what_is_missing_and_what_is_too_much():
    one, both = ball(0.3), joined(ball(0.3), moved(ball(0.3), 2.0, 0.0, 0.0))
    apart = 2.0 + 0.3**2 / (3 * 2.0) - 0.3  # the mean distance of a sphere from another one, two centres apart
    for pair in ((one, both), (both, one)):
        assert compare_surfaces(*pair, threshold=0.02).chamfer == pytest.approx(
            apart / 4, abs=0.01
        )  # half of the points, one way
        assert compare_surfaces(*pair, threshold=0.02).f_score == pytest.approx(2 / 3, abs=0.02)  # 2 x 1 x 1/2 / (1 + 1/2)


def test_a_cloud_is_met_at_its_nearest_points():
    points = cloud_of(ball(0.6), 4000, 5)
    found = compare_surfaces(ball(0.6), points, 0.1)
    assert 0 < found.chamfer < 0.02  # half of it, since points lie apart
    assert found.normal_consistency > 0.99
    nearer = Cloud(points.points * 0.5 / 0.6, points.normals)
    assert compare_surfaces(ball(0.6), nearer, 0.1).chamfer == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("pair", [(NONE, ball()), (ball(), NONE), (NONE, NONE)])
def test_nothing_agrees_with_nothing(pair):
    assert all(math.isnan(figure) for figure in compare_surfaces(*pair, 0.02))


def test_overlap_counts_points():
    one, other = torch.tensor([True, True, True, False]), torch.tensor([False, True, True, True])
    assert iou(one, other) == 0.5
    assert iou(one, other, torch.tensor([True, True, False, False])) == 0.5
    assert iou(one, other, torch.tensor([False, True, True, False])) == 1
    assert math.isnan(iou(one, other, torch.zeros(4, dtype=torch.bool)))


def test_angles_are_those_of_turned_vectors_whatever_their_length():
    random = np.random.default_rng(0)
    normals = random.standard_normal((50, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    aside = np.cross(normals, random.standard_normal((50, 3)))
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    for degrees in (0.0, 1e-4, 40.0, 180.0):
        turned = np.cos(np.radians(degrees)) * normals + np.sin(np.radians(degrees)) * aside
        assert mean_angle(random.uniform(0.1, 9, (50, 1)) * turned, normals) == pytest.approx(degrees, abs=1e-9)
