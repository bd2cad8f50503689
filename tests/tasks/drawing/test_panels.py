import math

import numpy as np
import pytest
from matplotlib.colors import rgb_to_hsv
from numpy.testing import assert_allclose, assert_array_equal
from tiny.figures import colours_at, watched

from tasks.drawing import panels
from tasks.drawing.panels import direction_map, power, spectrograms, waveforms

RATE = 8000  # samples per second
TIME = np.arange(4 * RATE) / RATE


@pytest.fixture
def figures(monkeypatch):
    return watched(monkeypatch, panels)


@pytest.mark.parametrize("degrees", range(0, 360, 24))
def test_hue_is_the_direction_of_a_ramp_and_brightness_its_slope(degrees):
    rows, columns = np.mgrid[:9, :12]
    ramp = 3 * (math.sin(math.radians(degrees)) * rows + math.cos(math.radians(degrees)) * columns)
    for full_scale, value in ((6.0, 0.5), (3.0, 1.0), (1.0, 1.0)):
        hue, saturation, brightness = np.moveaxis(rgb_to_hsv(direction_map(np.stack(np.gradient(ramp), -1), full_scale)), -1, 0)
        assert_allclose((hue - degrees / 360 + 0.5) % 1, 0.5, atol=1e-9)
        assert_allclose(saturation, 1)
        assert_allclose(brightness, value)
    assert_array_equal(direction_map(np.zeros((2, 3, 2)), 0.0), np.zeros((2, 3, 3)))


@pytest.mark.parametrize("frequency", [500, 1234, 3000])
def test_a_tone_is_a_line_at_its_frequency(figures, frequency):
    tone = 0.5 * np.sin(2 * np.pi * frequency * TIME)
    window = 512
    level = power(tone, window)
    assert_allclose(level.argmax(0) * RATE / window, frequency, atol=RATE / window / 2)
    assert_allclose(power(2 * tone, window).max(), level.max() + 20 * math.log10(2), atol=1e-3)
    picture = spectrograms([("target", tone), ("reconstruction", 0 * tone)], RATE)
    axis, silent, _ = figures[0].axes
    heights = np.linspace(0.05, 0.95, 200) * RATE / 2
    column = colours_at(picture, axis, np.full(200, 2.0), heights).sum(-1)
    assert heights[column.argmax()] == pytest.approx(frequency, abs=RATE / 2 / 100)
    assert (colours_at(picture, silent, np.full(200, 2.0), heights) < 10).all()


def test_a_long_sound_has_no_more_columns_than_can_be_drawn():
    assert [power(np.zeros(samples), 512).shape[1] for samples in (512, 5120, 10**6)] == [2, 20, 1000]


def test_waveforms_show_what_is_missing(figures):
    target = np.stack([np.sin(TIME), np.cos(TIME)], -1)
    waveforms(TIME, target, 0.9 * target, slice(100, 200), "amplitude")
    for channel, (whole, zoomed, error) in enumerate(np.reshape(figures[0].axes, (3, 2)).T):
        for axis, part in ((whole, slice(None)), (zoomed, slice(100, 200))):
            drawn = [line.get_ydata() for line in axis.lines]
            assert_allclose(drawn, np.stack([target, 0.9 * target])[:, part, channel])
        assert_allclose(error.lines[0].get_ydata(), -0.1 * target[:, channel])


def test_panels_show_images_as_they_are_and_errors_up_to_their_outliers(figures):
    image = np.random.default_rng(0).random((6, 8, 3))
    error = np.linspace(0, 1, 48).reshape(6, 8)
    error[0, 0] = 1000
    picture = panels.panels([[("image", image), ("error", error)]])
    left, right, bar = figures[0].axes
    assert (left.get_title(), right.get_title()) == ("image", "error")
    rows, columns = np.mgrid[:6, :8].reshape(2, -1)
    assert_allclose(colours_at(picture, left, columns, rows), (255 * image).reshape(-1, 3), atol=1)
    assert right.images[0].get_clim() == (0, pytest.approx(np.quantile(error, 0.998)))
    assert bar.get_ylim()[1] == pytest.approx(right.images[0].get_clim()[1])
