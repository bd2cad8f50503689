"""Line integrals are told from what a detector counts, and from a background."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from tiny.sinograms import DEGREES, sinogram

from datamodules.scans.intensities import find_background, to_integrals
from inr.errors import InputError

RANDOM = np.random.default_rng(0)
INTEGRALS = (sinogram() / 5).astype(np.float32)  # 1 at most
OPEN = 20000.0
LOOKS = {
    "transmission": (np.exp(-INTEGRALS), "data.kind=transmission"),
    "transmission of something thin": (RANDOM.normal(np.exp(-0.05 * INTEGRALS), 0.003), "data.kind=transmission"),
    "counts": (RANDOM.poisson(OPEN * np.exp(-INTEGRALS)).astype(np.float32), "data.kind=counts data.air=OPEN_BEAM"),
    "percent": (100 * np.exp(-INTEGRALS), "data.kind=counts data.air=OPEN_BEAM"),
    "without its minus sign": (-INTEGRALS, "save them with the other sign"),
}
RIGHT = {
    "noise": RANDOM.normal(INTEGRALS, 0.05),
    "cut off": INTEGRALS[16:48],
    "fan": sinogram(per_bin=0.04 / 3),
    "negative contrast": INTEGRALS - 2 * sinogram(centre=38) / 50,
    "axis off": sinogram(centre=44),
}


@pytest.mark.parametrize("name", LOOKS)
def test_what_is_largest_in_air_is_no_line_integral(name):
    values, remedy = LOOKS[name]
    with pytest.raises(InputError, match=rf"\A.*zero in air.*{remedy}.*\Z"):
        to_integrals(values, None, None, None)
    assert to_integrals(values, "integrals", None, 0.0) is values


@pytest.mark.parametrize("name", RIGHT)
def test_line_integrals_stay_as_they_are(name):
    assert to_integrals(RIGHT[name], None, None, None) is RIGHT[name]


@pytest.mark.parametrize(
    ("kind", "values", "air"),
    [
        ("transmission", np.exp(-INTEGRALS), None),
        ("counts", OPEN * np.exp(-INTEGRALS), OPEN),
        ("transmission", 100 * np.exp(-INTEGRALS), 100),
    ],
    ids=["transmission", "counts", "percent"],
)
def test_photons_that_arrive_become_line_integrals(kind, values, air):
    assert_allclose(to_integrals(values, kind, air, None), INTEGRALS, atol=1e-5)
    assert to_integrals(values, kind, air, None).dtype == np.float32


def test_open_beams_are_those_of_the_rim_with_a_word():
    with pytest.warns(UserWarning, match=r"Open beams are taken to have .* counts.*data.air=COUNTS"):
        found = to_integrals(LOOKS["counts"][0], "counts", None, None)
    assert_allclose(found, INTEGRALS, atol=0.15)
    with pytest.warns(UserWarning, match=r"A background of 0.1054 .*is subtracted; data.background=0 keeps it"):
        assert_allclose(to_integrals(0.9 * np.exp(-INTEGRALS), "transmission", None, None), INTEGRALS, atol=1e-5)


def test_rays_that_nothing_came_through_count_as_the_weakest():
    values = OPEN * np.exp(-INTEGRALS)
    values[30:33, 5] = [0, -4, 0]
    with pytest.warns(UserWarning, match=r"3 of 5760 rays have no counts above 0 and count as the weakest, "):
        found = to_integrals(values, "counts", OPEN, None)
    assert_allclose(np.delete(found, 5, 1), np.delete(INTEGRALS, 5, 1), atol=1e-5)
    assert_allclose(found[30:33, 5], found.max())


@pytest.mark.parametrize("kind", ["transmission", "counts"])
def test_line_integrals_are_no_photons(kind):
    with pytest.raises(InputError, match=rf"\A.*open beam at the rim of the detector, .*data.kind={kind}, got 0 there.*\Z"):
        to_integrals(INTEGRALS, kind, None, None)
    with pytest.raises(InputError, match="numbers above 0 where rays arrive"):
        to_integrals(-INTEGRALS, kind, 1.0, None)


@pytest.mark.parametrize("level", [0.05, 0.4, 5.0, -0.3])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_background_is_subtracted_with_a_word_or_kept(level, noise):
    values = RANDOM.normal(INTEGRALS, noise).astype(np.float32)
    with pytest.warns(UserWarning, match=r"A background of .* of the largest, and is subtracted; data.background=0 keeps it"):
        assert_allclose(to_integrals(values + level, None, None, None), values, atol=0.02)
    assert_allclose(to_integrals(values + level, None, None, level), values, atol=1e-6)
    assert_allclose(to_integrals(values + level, None, None, 0.0), values + level)


def test_a_background_is_found_beside_bad_views():
    values = INTEGRALS + 0.2
    values[:, 7] *= 1e4
    values[:, 30:33] = 0
    assert find_background(values) == pytest.approx(0.2)


def disc(radius, bins=64):
    """The chords of a disc that may be wider than the detector, the same from all sides."""
    return np.sqrt(np.maximum(radius**2 - (np.arange(bins)[:, None] - (bins - 1) / 2) ** 2, 0)) * np.ones(len(DEGREES))


@pytest.mark.parametrize("radius", [20, 33, 36, 40, 64, 200])
@pytest.mark.parametrize("bins", [32, 64])
def test_a_slice_that_is_wider_than_the_detector_is_no_background(radius, bins):
    assert find_background(disc(radius, bins)) == 0
    assert find_background(sinogram(bins=24)) == 0
