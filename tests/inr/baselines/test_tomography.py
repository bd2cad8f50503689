import math

import numpy as np
import pytest
import torch
from skimage.transform import iradon, radon
from torch.testing import assert_close

from inr.baselines.tomography import WINDOWS, fewest_edges, filtered_back_projection, sart, to_parallel, view_weights
from inr.errors import InputError
from inr.measurements.radon import FanBeam, ParallelBeam
from inr.networks.sampled import bilinear_field

pytestmark = pytest.mark.usefixtures("float64")
BLOBS = [(4.0, 6.0, 3.0, 1.0), (-7.0, 2.0, 2.0, 0.6)]  # right of the axis, below it, sigma, peak
GRID = {"shape": (40, 50), "pivot": (18.3, 26.0), "pixel": 0.8}
BINS, WIDTH, CENTRE = 160, 0.5, 75.25  # the axis in the middle of neither the slice nor the detector
SOURCE, DETECTOR = 40.0, 20.0  # so that every view sees every pixel
FAN_WIDTH = WIDTH * (SOURCE + DETECTOR) / SOURCE
FAN = {"source": SOURCE, "detector": DETECTOR, "bin_width": FAN_WIDTH}


def phantom():
    row, column = (GRID["pixel"] * (torch.arange(size) - at) for size, at in zip(GRID["shape"], GRID["pivot"], strict=True))
    return sum(
        peak * torch.exp(-((column - right).square() + (row[:, None] - down).square()) / (2 * sigma**2))
        for right, down, sigma, peak in BLOBS
    )


def lines(offsets, angles):
    """The exact integrals of the phantom along lines."""
    return sum(
        peak * sigma * math.sqrt(math.tau) * torch.exp(-(offsets - foot).square() / (2 * sigma**2))
        for right, down, sigma, peak in BLOBS
        for foot in [right * angles.cos() - down * angles.sin()]
    )


def parallel(angles, centre=CENTRE):
    return lines(WIDTH * (torch.arange(BINS) - centre)[:, None], angles)


def fan(angles, detector=DETECTOR, centre=CENTRE):
    width = WIDTH * (SOURCE + detector) / SOURCE
    tilt = torch.atan(width * (torch.arange(BINS) - centre) / (SOURCE + detector))[:, None]
    return lines(SOURCE * tilt.sin(), angles + tilt)


def even(views, span):
    return span * torch.arange(views) / views


def invert(sinogram, angles, **options):
    return filtered_back_projection(sinogram[None], angles, **{"bin_width": WIDTH, "centre": CENTRE} | GRID | options)[0]


def error(image):
    return float((image - phantom()).abs().max())


def test_parallel_beams_give_the_slice_where_it_is():
    angles = even(90, math.pi)
    assert error(invert(parallel(angles), angles)) < 0.01
    assert error(invert(parallel(angles, 88.4), angles, centre=88.4)) < 0.01


@pytest.mark.parametrize("detector", [0.0, DETECTOR])
def test_a_fan_gives_the_slice_where_it_is(detector):
    angles, width = even(240, math.tau) + 0.3, WIDTH * (SOURCE + detector) / SOURCE
    assert error(invert(fan(angles, detector), angles, source=SOURCE, detector=detector, bin_width=width)) < 0.01


def test_a_fan_from_far_away_is_parallel():
    angles = even(60, math.tau)
    far = {"source": 1e9, "detector": 3.0, "bin_width": WIDTH * (1 + 3e-9)}
    assert_close(invert(parallel(angles), angles, **far), invert(parallel(angles), angles), rtol=0, atol=1e-7)


def test_errors_fall_with_the_square_of_the_bin_width():
    def error_at(width, bins):
        offsets, angles = width * (torch.arange(bins) - bins // 2)[:, None], even(120, math.pi)
        return error(invert(lines(offsets, angles), angles, bin_width=width, centre=bins // 2))

    assert error_at(1.0, 64) / error_at(0.5, 128) == pytest.approx(4, rel=0.2)


@pytest.mark.parametrize("window", WINDOWS)
def test_windows_are_those_of_scikit_image(window):
    size = 61
    distance = np.hypot(*(np.mgrid[:size, :size] - size // 2))
    degrees = np.arange(0, 180, 4.0)
    sinogram = radon(np.random.default_rng(0).random((size, size)) * (distance < size // 2 - 1), degrees)
    theirs = iradon(sinogram, degrees, filter_name=window)
    places = {"shape": (size, size), "pivot": (size // 2, size // 2), "pixel": 1.0, "bin_width": 1.0, "centre": size // 2}
    ours = invert(torch.from_numpy(sinogram), torch.from_numpy(np.deg2rad(degrees)), window=window, **places)
    difference = np.abs(ours.numpy() - theirs)[distance <= size // 2].max()
    assert difference < (1e-12 if window == "ramp" else 2e-3)  # their windows are shifted by a part of a frequency


def test_the_unit_of_length_cancels():
    angles, scaled = even(30, math.tau), {"bin_width": 3 * FAN_WIDTH, "source": 3 * SOURCE, "detector": 3 * DETECTOR}
    assert_close(invert(3 * fan(angles), angles, pixel=3 * GRID["pixel"], **scaled), invert(fan(angles), angles, **FAN))
    angles = even(30, math.pi)
    tripled = sart(3 * parallel(angles), angles, **GRID | {"pixel": 3 * GRID["pixel"]}, bin_width=3 * WIDTH, centre=CENTRE)
    assert_close(tripled, sart(parallel(angles), angles, **GRID, bin_width=WIDTH, centre=CENTRE))


def test_signals_are_inverted_apart_and_keep_their_type():
    angles = even(20, math.pi)
    sinograms = torch.rand(3, BINS, 20)
    together = filtered_back_projection(sinograms, angles, **GRID, bin_width=WIDTH, centre=CENTRE)
    assert_close(together, torch.stack([invert(one, angles) for one in sinograms]))
    single = filtered_back_projection(sinograms.float(), angles.float(), **GRID, bin_width=WIDTH, centre=CENTRE)
    assert single.dtype == torch.float32
    assert_close(single.double(), together, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_whole_turn_of_parallel_beams_says_nothing_new(dtype):
    turn, half, middle = even(180, math.tau).to(dtype), even(90, math.pi), (BINS - 1) / 2
    whole = invert(parallel(turn.double(), middle), turn, centre=middle)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    assert_close(whole, invert(parallel(half, middle), half, centre=middle), rtol=0, atol=tolerance)


def test_repeated_views_share_their_weight_and_order_does_not_matter():
    angles, repeats = even(40, math.pi), torch.tensor([0, 0, 0, 7, 39, 39])
    more = torch.cat([torch.arange(40), repeats])[torch.randperm(46)]
    assert_close(invert(parallel(angles)[:, more], angles[more]), invert(parallel(angles), angles))


def test_weights_sum_to_the_angle_that_was_scanned():
    for angles in (7 * torch.rand(50), torch.tensor([1.0]), torch.tensor([0.0, 0.1, 1.5, 1.6, 3.0])):
        assert_close(view_weights(angles, math.tau).sum(), torch.tensor(math.tau))
    two_densities = torch.cat([even(45, math.pi / 2), math.pi / 2 + even(9, math.pi / 2)])
    assert_close(view_weights(two_densities, math.pi).sum(), torch.tensor(math.pi))
    hole = view_weights(even(60, 2.0) + 2.5, math.pi)
    assert_close(hole, torch.full((60,), 2.0 / 60))


def test_beyond_the_detector_is_nothing():
    image = invert(torch.ones(11, 1), torch.zeros(1), pivot=(0.0, 0.0), shape=(3, 20), pixel=0.1, bin_width=0.1, centre=0.0)
    assert (image[:, :11] != 0).all()
    assert (image[:, 11:] == 0).all()


@pytest.mark.parametrize("centre", [79.5, 80.0, CENTRE])
def test_sart_gives_the_slice_where_it_is(centre):
    angles = even(90, math.pi)
    one, three = (
        sart(parallel(angles, centre), angles, **GRID, bin_width=WIDTH, centre=centre, iterations=iterations)
        for iterations in (1, 3)
    )
    assert error(three) < 0.01
    assert error(three) < error(one)
    assert three.min() >= 0


@pytest.mark.parametrize("centre", [CENTRE, 20.0])  # with the axis near one end, most lines are seen one way only
def test_a_rebinned_fan_is_the_sinogram_of_parallel_beams(centre):
    angles = (even(360, math.tau) + 0.1)[torch.randperm(360)]
    sinogram, turned, width, same = to_parallel(fan(angles, centre=centre), angles, FAN_WIDTH, centre, SOURCE, DETECTOR)
    assert_close(turned, even(180, math.pi))
    assert (width, same) == (pytest.approx(WIDTH), centre)
    assert_close(sinogram, parallel(turned, centre), rtol=0, atol=0.005 * float(sinogram.max()))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": "square"}, "must be one of ramp, shepp-logan, cosine, hamming, hann, got square"),
        ({"source": 20.0}, "farther from the axis than any pixel, .*, got 20.0"),
    ],
)
def test_what_cannot_be_inverted_is_refused(options, words):
    angles = even(4, math.tau)
    with pytest.raises(InputError, match=words):
        invert(fan(angles), angles, **options)


def test_part_of_a_turn_is_no_sinogram_of_parallel_beams():
    angles = even(200, math.radians(200))
    with pytest.raises(InputError, match="only over a full turn, got 200 degrees"):
        to_parallel(fan(angles), angles, FAN_WIDTH, CENTRE, SOURCE, DETECTOR)


@pytest.mark.parametrize("shape", [(20, 20), (20, 15), (14, 20)])
@pytest.mark.parametrize("kind", [ParallelBeam, FanBeam])
def test_total_variation_finds_the_slice_where_it_is_from_few_views(kind, shape):
    truth = torch.zeros(1, *shape)
    truth[:, shape[0] // 4 : shape[0] // 2, shape[1] // 2 : -4] = 1
    views = 8 if kind is ParallelBeam else 16
    options = {"bin_width": 0.12, "view_step": (math.pi if kind is ParallelBeam else math.tau) / views, "centre": 11.3}
    beam = kind(**options, samples=80, region="square", pivot=(0.05, -0.1))
    field = bilinear_field(truth)
    places = torch.cartesian_prod(torch.arange(24.0), torch.arange(float(views)))[None]
    sinograms = beam(field, places).reshape(1, 24, views).float()
    found = fewest_edges(torch.cat([sinograms, 2 * sinograms]), beam, shape)
    assert found.shape == (2, *shape)
    assert float((found[0] - truth[0]).square().mean().sqrt()) < 0.12
    assert float((found[1] - 2 * truth[0]).square().mean().sqrt()) < 0.24
    assert float(found.min()) >= 0
