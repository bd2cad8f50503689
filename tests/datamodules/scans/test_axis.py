"""The axis of rotation is found from what projections have in common, or not at all."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from tiny.slices import projected_head

from datamodules.scans.axis import find_centre, find_opposite_centre, likely_error
from datamodules.scans.phantoms import random_phantom, rasterise
from datamodules.scans.scanner import Scanner, even_angles
from datamodules.scans.simulated import project

VIEWS = 40
DEGREES = np.arange(VIEWS) * 180 / VIEWS
RADIANS = np.deg2rad(DEGREES)
FAN = {"source": 3.0, "detector": 1.5}
BINS = 64


def scanner(views=90, arc=360.0, shift=0.0, **fan):
    """A scan whose axis is so many bins off the middle of the detector."""
    width = 3.0 / (BINS - 1) * (1.5 if fan else 1)
    angles = even_angles(views, arc, 20)
    return Scanner(angles=angles, bins=BINS, bin_width=width, centre=(BINS - 1) / 2 + shift, half_width=1.0, samples=64, **fan)


@cache
def head():
    return torch.from_numpy(rasterise(random_phantom(3, 1), 48))[None]


def seen(scan, noise=0.0):
    """The sinogram (bins, views) of a head, with noise of a share of its largest integral."""
    values = project(head(), scan)[0].numpy()
    return values + noise * values.max() * np.random.default_rng(0).normal(size=values.shape)


def per_bin(scan):
    return scan.bin_width / (scan.source + scan.detector) if scan.source else 0.0


# the centres of mass


@pytest.mark.parametrize("size", [48, 49])
@pytest.mark.parametrize("arc", [slice(None), slice(5, 37), slice(None, None, 4)], ids=["all", "144 degrees", "ten"])
def test_the_centre_is_where_the_slice_was_turned(size, arc):
    sinogram, angles = projected_head(size)[:, arc], RADIANS[arc]
    centre = find_centre(sinogram, angles)
    assert centre == pytest.approx(size // 2, abs=0.05)
    assert find_centre(-3 * sinogram, angles + 1) == pytest.approx(centre, abs=1e-4)
    assert find_centre(np.pad(sinogram, ((5, 2), (0, 0))), angles) == pytest.approx(centre + 5, abs=1e-4)


@pytest.mark.parametrize(
    ("sinogram", "angles"),
    [
        (projected_head()[:, ::6], RADIANS[::6]),
        (projected_head()[:, :26], RADIANS[:26]),
        (projected_head()[8:24], RADIANS),
        (projected_head() * np.linspace(1, 2, VIEWS), RADIANS),
        (projected_head() * np.where(np.arange(VIEWS) % 2, 1, -1), RADIANS),
        (projected_head()[:, ::-1], RADIANS**2),
        (projected_head(), np.arange(VIEWS) * 2 * np.pi),
    ],
    ids=["few views", "short arc", "truncated", "unequal masses", "both signs", "other angles", "the same view"],
)
def test_a_centre_that_projections_do_not_show_is_none(sinogram, angles):
    assert find_centre(sinogram, angles) is None


# lines that are seen both ways


@pytest.mark.parametrize("shift", [0.0, 0.5, -3.3, 9.0])
@pytest.mark.parametrize("fan", [{}, FAN], ids=["parallel", "fan"])
@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_a_whole_turn_shows_the_axis_by_its_opposite_rays(shift, fan, noise):
    scan = scanner(shift=shift, **fan)
    found = find_opposite_centre(seen(scan, noise), scan.angles, per_bin(scan))
    assert found == pytest.approx(scan.centre, abs=0.1)


@pytest.mark.parametrize(
    ("views", "fan"),
    [(91, FAN), (75, FAN), (60, FAN), (75, {})],
    ids=["with its end", "300 degrees", "short scan", "parallel over 300 degrees"],
)
def test_a_turn_with_its_end_or_less_than_one_is_enough_where_lines_are_seen_twice(views, fan):
    scan = replace(scanner(shift=2.4, **fan), angles=tuple(np.deg2rad(20 + 4.0 * np.arange(views))))
    assert find_opposite_centre(seen(scan), scan.angles, per_bin(scan)) == pytest.approx(scan.centre, abs=0.1)


def test_views_may_be_missing_and_the_detector_too_short():
    scan = scanner(shift=1.7, **FAN)
    values = seen(scan)
    rest = np.delete(np.arange(90), [11, 40, 41])
    angles = tuple(scan.angles[view] for view in rest)
    assert find_opposite_centre(values[:, rest], angles, per_bin(scan)) == pytest.approx(scan.centre, abs=0.1)
    cut = find_opposite_centre(values[18:50], scan.angles, per_bin(scan))
    assert cut == pytest.approx(scan.centre - 18, abs=0.2)


def test_where_lines_are_seen_once_or_disagree_there_is_no_axis():
    half, turn = scanner(45, 180), scanner(shift=2.0, **FAN)
    assert find_opposite_centre(seen(half), half.angles) is None
    assert find_opposite_centre(seen(turn)[:, ::-1], turn.angles, per_bin(turn)) is None
    assert find_opposite_centre(np.random.default_rng(0).normal(size=(BINS, 90)), turn.angles) is None


@pytest.mark.parametrize("shift", [0.0, -4.0, 7.0])
def test_the_likely_error_covers_the_axis(shift):
    for scan in (scanner(6, 180, shift), scanner(30, 100, shift), scanner(90, 360, shift, **FAN)):
        error = likely_error(seen(scan), scan.angles)
        assert abs(shift) - 1 <= error <= abs(shift) + 3
    scan = scanner(6, 180)
    assert likely_error(np.zeros((BINS, 6)), scan.angles) == (BINS - 1) / 2
    assert likely_error(seen(scan)[:, :2], replace(scan, angles=scan.angles[:2]).angles) == (BINS - 1) / 2
