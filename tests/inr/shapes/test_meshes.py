import math

import numpy as np
import pytest
import torch
import trimesh
from numpy.testing import assert_allclose
from tiny.solids import ball, box, joined, mesh_of, moved

from inr.shapes.meshes import Mesh, sample_shape, sample_surface, signed_distance, winding


def points(count=2000, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3))


def test_distances_of_a_torus_and_their_gradients():
    ring = trimesh.creation.torus(0.6, 0.25, major_sections=160, minor_sections=80)
    at = points()
    from_axis = np.linalg.norm(at[:, :2], axis=1)
    across = np.stack([from_axis - 0.6, at[:, 2]], -1)
    found = signed_distance(mesh_of(ring), at)
    assert_allclose(found.value, np.linalg.norm(across, axis=1) - 0.25, atol=1e-3)  # of the facets
    outward = across / np.linalg.norm(across, axis=1, keepdims=True)
    expected = np.concatenate([outward[:, :1] * at[:, :2] / from_axis[:, None], outward[:, 1:]], -1)
    far = (abs(found.value) > 0.05) & (from_axis > 0.05) & (found.value > -0.2)
    assert (found.gradient * expected).sum(1)[far].min() > 0.99
    assert found.certain.all()


def test_distances_of_a_cube_are_exact_also_from_edges_and_corners():
    at = points()
    beyond = abs(at) - 0.5
    outside = np.linalg.norm(beyond.clip(0), axis=1)
    found = signed_distance(box(), at)
    assert_allclose(found.value, outside + beyond.max(1).clip(max=0), atol=1e-12)
    assert_allclose(np.linalg.norm(found.gradient, axis=1), 1, atol=1e-12)


def test_gradients_are_central_differences_of_the_distance():
    solid, at, step = box(), points(300), 1e-6
    found = signed_distance(solid, at)
    axes = step * np.eye(3)
    slopes = [(signed_distance(solid, at + axis).value - signed_distance(solid, at - axis).value) / (2 * step) for axis in axes]
    assert_allclose(found.gradient, np.stack(slopes, -1), atol=1e-5)


def test_points_on_the_surface_have_no_certain_direction():
    on, _ = sample_surface(box(), 100, np.random.default_rng(0))
    found = signed_distance(box(), on)
    assert not found.certain.any()
    assert (found.gradient == 0).all()
    assert not signed_distance(box(), on * (1 + 1e-7)).certain.any()
    assert len(signed_distance(box(), np.zeros((0, 3))).value) == 0


def test_the_sign_of_an_open_surface_is_uncertain_about_its_hole_alone():
    whole = ball()
    middles = whole.vertices[whole.faces].mean(1)
    opened = Mesh(whole.vertices, whole.faces[middles[:, 1] < 0.5])  # without its cap
    at = points(20000)
    doubtful = ~signed_distance(opened, at).certain
    assert 0 < doubtful.mean() < 0.1
    assert at[doubtful][:, 1].min() > 0.2
    centre = np.array([[0.0, -0.1, 0.0]])
    assert signed_distance(opened, centre).value < 0
    assert 0.5 < winding(opened, centre)[0] < 1


def test_points_are_spread_evenly_over_the_area():
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 0, 0], [8, 0, 0], [5, 1, 0], [9, 9, 9]], np.float64)
    faces = np.array([[6, 6, 6], [0, 1, 2], [3, 5, 4]])  # none, 1/2, 3/2 in area, the last one from behind
    at, normals = sample_surface(Mesh(corners, faces), 40000, np.random.default_rng(0))
    first = at[:, 0] < 2
    assert first.mean() == pytest.approx(0.25, abs=0.01)
    assert_allclose(normals[first], [[0, 0, 1]] * first.sum())
    assert_allclose(normals[~first], [[0, 0, -1]] * (~first).sum())
    assert_allclose(at[first].mean(0), [1 / 3, 1 / 3, 0], atol=0.01)
    assert (at[first][:, :2].sum(1) <= 1).all()


def test_samples_have_the_shares_asked_for_and_the_same_mix_everywhere():
    samples = sample_shape(ball(), 20000, 3, surface=0.2, near=0.6, sigmas=(0.005, 0.05))
    on = samples.distance == 0
    assert on.float().mean().item() == pytest.approx(0.2, abs=1e-6)
    expected = 0.6 * np.mean([math.erf(0.02 / sigma / math.sqrt(2)) for sigma in (0.005, 0.05)]) + 0.8 * 0.9 * 0.022
    assert (samples.distance[~on].abs() < 0.02).float().sum().item() / 20000 == pytest.approx(expected, abs=0.03)
    assert on[:2000].float().mean().item() == pytest.approx(0.2, abs=0.03)
    assert_allclose(samples.gradient[on], samples.points[on] / 0.6, atol=0.06)
    assert samples.points.abs().max() <= 1
    assert samples.certain.float().mean() > 0.999
    again, other = (sample_shape(ball(), 20000, seed, 0.2, 0.6, (0.005, 0.05)) for seed in (3, 4))
    assert all(torch.equal(*pair) for pair in zip(samples, again, strict=True))
    assert not torch.equal(samples.points, other.points)


def test_shares_that_leave_nothing_may_round_up():
    for count in range(1, 8):
        assert len(sample_shape(box(), count, 0, surface=0.5, near=0.5).points) == count


def test_samples_anywhere_fill_the_cube_and_those_near_a_side_stay_in_it():
    anywhere = sample_shape(box(), 4000, 0, surface=0, near=0).points
    assert_allclose(anywhere.mean(0), 0, atol=0.05)
    assert_allclose(anywhere.var(0), 1 / 3, atol=0.02)
    assert sample_shape(box(2.0), 1000, 0, surface=0, near=1).points.abs().max() == 1


def test_samples_near_a_hole_are_uncertain():
    whole = ball()
    opened = Mesh(whole.vertices, whole.faces[whole.vertices[whole.faces].mean(1)[:, 1] < 0.5])
    doubtful = ~sample_shape(opened, 20000, 0, surface=0, near=0.5).certain
    assert 0 < doubtful.float().mean() < 0.1


def test_normals_on_inner_walls_have_no_weight_and_those_of_solids_inside_out_are_turned():
    both = joined(box(), moved(box(), 0.3, 0.3, 0.3))
    samples = sample_shape(both, 4000, 0, surface=1, near=0)
    at = samples.points.double().numpy()
    within = [(abs(at - middle) < 0.5 - 2e-3).all(1) for middle in (0, 0.3)]
    inner = torch.from_numpy(within[0] | within[1])  # on one box, inside of the other
    assert 0.05 < inner.float().mean() < 0.5
    assert not samples.certain[inner].any()
    assert (samples.gradient[~samples.certain] == 0).all()
    assert samples.certain[~inner].float().mean() > 0.99
    hollow = joined(ball(0.8), Mesh(ball(0.4).vertices, ball(0.4).faces[:, ::-1]))
    shell = sample_shape(hollow, 2000, 0, surface=1, near=0)
    radius = shell.points.norm(dim=-1)
    assert (((shell.gradient * shell.points).sum(-1) > 0) == (radius > 0.6)).all()  # into the cavity, too, is outside
