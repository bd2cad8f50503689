"""Views that show nothing of the slice are found, and only those."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from tiny.sinograms import DEGREES, WIDTH, sinogram

from datamodules.scans.bad_views import constant_views, odd_views
from datamodules.scans.phantoms import Ellipses, line_integrals

RANDOM = np.random.default_rng(0)
GOLDEN = np.sort(np.arange(90) * 111.246 % 360)
FAN = 0.04 / 3
ARC = np.arange(61) * 1.5
SCANS = {
    "half turn": (sinogram(), DEGREES),
    "golden": (sinogram(degrees=GOLDEN), GOLDEN),
    "fan": (sinogram(degrees=2 * DEGREES, per_bin=FAN), 2 * DEGREES),
    "short": (sinogram(degrees=ARC, per_bin=FAN), ARC),
    "cut off": (sinogram()[20:44], DEGREES),
    "noisy": (RANDOM.normal(sinogram(), 0.3), DEGREES),
}
NOISE = RANDOM.normal(size=64)
BAD = {
    "weaker": lambda view: 0.6 * view,
    "stronger": lambda view: 1.5 * view,
    "raised": lambda view: view + 3,
    "half of it missing": lambda view: np.where(np.arange(len(view)) < len(view) / 2, 0, view),
    "noise": lambda view: view.mean() + view.std() * NOISE[: len(view)],
    "infinite counts": lambda view: 1e4 * view,
    "noise of the detector alone": lambda view: 0.002 * NOISE[: len(view)],
}


def spoiled(name, bad, places):
    values, degrees = SCANS[name]
    values = values.copy()
    for place in places:
        values[:, place] = BAD[bad](values[:, place])
    return values, tuple(np.deg2rad(degrees))


@pytest.mark.parametrize("name", SCANS)
def test_good_views_are_left_alone(name):
    values, degrees = SCANS[name]
    assert not len(odd_views(values, tuple(np.deg2rad(degrees))))
    assert not len(constant_views(values))


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", ["half turn", "golden", "fan", "short", "noisy"])
def test_views_unlike_their_neighbours_are_found(name, bad):
    for places in ([0], [17], [59, 60], [5, 40, 41, 42, 43]):
        assert_array_equal(odd_views(*spoiled(name, bad, places)), places)


@pytest.mark.parametrize("level", [0.0, 7.0, -1.0])
@pytest.mark.parametrize("name", SCANS)
def test_constant_views_are_found_however_many(name, level):
    values = SCANS[name][0].copy()
    values[:, 3:50] = level
    assert_array_equal(constant_views(values), np.arange(3, 50))
    values[:] = level
    assert len(constant_views(values)) == values.shape[1]


def test_a_slice_that_is_cut_off_from_one_side_makes_no_bad_views():
    long = Ellipses(np.ones(1), np.array([[1.9, 0.2]]), np.zeros((1, 2)), np.deg2rad([40.0]))
    seen = line_integrals(long, (np.arange(64)[:, None] - 31.5) * WIDTH, np.deg2rad(DEGREES))
    assert seen.sum(0).min() < 0.8 * np.median(seen.sum(0))
    assert not len(odd_views(seen, tuple(np.deg2rad(DEGREES))))


def test_few_views_and_many_odd_ones_are_no_exception():
    values, angles = spoiled("half turn", "weaker", [4])
    assert not len(odd_views(values[:, :12], angles[:12]))
    assert not len(odd_views(*spoiled("half turn", "weaker", range(30))))


def test_a_plate_that_lies_along_the_rays_of_one_view_is_no_bad_view():
    plate = Ellipses(np.ones(1), np.array([[0.9, 0.03]]), np.array([[0.1, 0.2]]), np.deg2rad([40.0]))
    fine = (np.arange(512)[:, None] - 255.5) * WIDTH / 8
    seen = line_integrals(plate, fine, np.deg2rad(DEGREES)).reshape(64, 8, -1).mean(1)
    assert seen.max() > 5 * np.median(seen.max(0))
    for values in (seen, seen + sinogram() / 10):
        assert not len(odd_views(values, tuple(np.deg2rad(DEGREES))))
