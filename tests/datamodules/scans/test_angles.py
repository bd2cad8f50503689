"""Units of angles are told apart by the steps from view to view."""

import logging
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from datamodules.scans.angles import to_radians
from inr.errors import InputError

GOLDEN = (111.2461, 137.5078, 68.7539, 222.4922)  # degrees
EVEN = {
    "half turn": np.linspace(0, 180, 90, endpoint=False),
    "half turn with its end": np.linspace(0, 180, 91),
    "whole turn": np.linspace(0, 360, 721, endpoint=False),
    "whole turn with its end": np.linspace(0, 360, 361),
    "negative": np.linspace(-90, 90, 60, endpoint=False),
    "backward": np.linspace(180, 0, 60),
    "ten turns": np.arange(360) * 10.0,
    "few": np.arange(4) * 45.0,
    "mixed": np.random.default_rng(0).permutation(90) * 2.0,
    **{f"golden {step:g}": np.arange(90) * step for step in GOLDEN},
    **{f"golden {step:g} within {turn}": np.arange(90) * step % turn for step in GOLDEN for turn in (180, 360)},
}
SHORT = {
    "short": np.arange(100) * 1.2,
    "2.4 degrees": np.arange(100) * 2.4,
    "limited": np.arange(61) * 0.5 - 15,
    "odd": np.arange(90) * 1.37,
    "few within": np.arange(5) * 1.0,
    "uneven": np.sort(np.random.default_rng(1).uniform(0, 180, 50)),
}


@pytest.mark.parametrize("name", EVEN)
def test_regular_views_are_known_in_both_units(name, caplog):
    degrees = EVEN[name]
    radians = np.deg2rad(degrees)
    assert_allclose(to_radians(degrees, "auto"), radians)
    assert not caplog.text
    with caplog.at_level(logging.WARNING):
        assert_allclose(to_radians(radians, "auto"), radians)
    assert "taken as radians" in caplog.text
    assert_allclose(to_radians(radians, "radians"), radians)
    assert_allclose(to_radians(radians.astype(np.float32).astype(float), "auto"), radians, rtol=1e-6)


@pytest.mark.parametrize("name", SHORT)
def test_other_views_are_in_degrees(name, caplog):
    assert_allclose(to_radians(SHORT[name], "auto"), np.deg2rad(SHORT[name]))
    assert not caplog.text


@pytest.mark.parametrize("name", ["short", "odd", "uneven"])
def test_what_looks_like_radians_but_is_irregular_is_refused(name):
    radians = np.deg2rad(SHORT[name])
    with pytest.raises(InputError, match=r"\A.*look like radians; add data.angle_unit=radians, or =degrees if it is so\.\Z"):
        to_radians(radians, "auto")
    assert_allclose(to_radians(radians, "radians"), radians)
    assert_allclose(to_radians(radians, "degrees"), np.deg2rad(radians))
    if name != "short":  # steps of 1.2, which as radians are golden
        with pytest.raises(InputError, match=r"look like degrees; add data.angle_unit=degrees"):
            to_radians(SHORT[name], "radians")


def test_radians_rounded_to_four_digits_are_still_radians():
    radians = np.round(np.arange(60) * math.pi / 60, 4)
    assert_allclose(to_radians(radians, "auto"), radians)
