import numpy as np
import pytest
from numpy.testing import assert_allclose
from tiny.solids import box

from inr.shapes.meshes import signed_distance
from inr.shapes.scattered_distances import slopes


def test_slopes_of_a_plane_are_exact():
    points = np.random.default_rng(0).uniform(-1, 1, (500, 3))
    normal = np.array([2.0, -1, 2]) / 3
    found, certain = slopes(points, points @ normal - 0.2, np.arange(100))
    assert certain.all()
    assert_allclose(found, np.tile(normal, (100, 1)), atol=1e-6)


@pytest.mark.parametrize("count", [3000, 24000])
def test_slopes_are_certain_but_at_kinks(count):
    points = np.random.default_rng(0).uniform(-1, 1, (count, 3))
    true = signed_distance(box(), points)
    found, certain = slopes(points, true.value, np.arange(count))
    cosine = (found * true.gradient).sum(1)
    assert certain.mean() > 0.7
    assert_allclose(np.linalg.norm(found[certain], axis=1), 1)
    assert cosine[certain].mean() > 0.98
    assert cosine[~certain].mean() < cosine[certain].mean()


def test_samples_in_a_plane_have_slopes_along_it():
    points = np.random.default_rng(0).uniform(-1, 1, (300, 3)) * [1, 1, 0]
    found, certain = slopes(points, points[:, 0], np.arange(300))
    assert certain.all()
    assert_allclose(found, np.tile([1.0, 0, 0], (300, 1)), atol=1e-6)
