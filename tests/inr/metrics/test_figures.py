import math

import numpy as np
import pytest
import skimage.data
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from inr.metrics.figures import MeanOverImages, luma, psnr, snr, ssim


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def pair(*shape):
    target = torch.rand(*shape, dtype=torch.float64)
    return target + 0.1 * torch.randn(*shape, dtype=torch.float64), target


@pytest.mark.parametrize("peak", [1.0, 255.0])
def test_psnr_of_a_known_error(peak):
    target = torch.rand(5, 6, dtype=torch.float64)
    assert psnr(target + 0.01 * peak, target, peak) == pytest.approx(40)
    assert psnr(target - 0.1 * peak, target, peak) == pytest.approx(20)
    prediction, target = pair(5, 6, 3)
    expected = peak_signal_noise_ratio(target.numpy(), prediction.numpy(), data_range=peak)
    assert psnr(prediction, target, peak) == pytest.approx(expected)


def test_a_mask_hides_the_other_samples():
    prediction, target = pair(5, 6, 3)
    mask = torch.rand(5, 6) < 0.5
    for figure in (psnr, snr):
        expected = figure(prediction[mask], target[mask])
        assert expected != pytest.approx(figure(prediction, target))
        prediction[~mask] = math.nan
        assert figure(prediction, target, mask=mask) == pytest.approx(expected)
        prediction[~mask] = 0.0


@pytest.mark.parametrize("figure", [psnr, snr])
def test_limits(figure):
    _, target = pair(8)
    assert figure(target, target) == math.inf
    assert figure(target + math.inf, target) == -math.inf
    assert math.isnan(figure(target * math.nan, target))
    assert math.isnan(figure(target, target, mask=torch.zeros(8, dtype=torch.bool)))


def test_snr_compares_energies():
    time = torch.arange(1000, dtype=torch.float64)
    tone, hum = ((2 * math.pi * turns * time / 1000).sin() for turns in (30, 7))
    assert snr(tone + 0.01 * hum, tone) == pytest.approx(40)
    for gain in (1e-3, 1e3):
        assert snr(gain * (tone + 0.1 * hum), gain * tone) == pytest.approx(20)
    assert snr(tone, 0 * tone) == -math.inf


def test_luma_is_that_of_bt601():
    image = torch.rand(4, 5, 3, dtype=torch.float64)
    red, green, blue = 0.299, 0.587, 0.114
    scaled = (219 / 255) * (image @ torch.tensor([red, green, blue], dtype=torch.float64))
    torch.testing.assert_close(luma(image), scaled, atol=1e-4, rtol=0)
    for channels in (1, 2, 5):
        image = torch.rand(4, 5, channels)
        torch.testing.assert_close(luma(image), image.mean(-1))


@pytest.mark.parametrize("shape", [(11, 11), (11, 40), (60, 37), (128, 128)])
def test_ssim_is_that_of_wang_over_the_windows_inside(shape):
    target = skimage.data.camera()[100 : 100 + shape[0], 200 : 200 + shape[1]] / 255
    prediction = (target + 0.1 * np.random.default_rng(0).normal(size=shape)).clip(0, 1)
    for peak in (1.0, 2.0):
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": peak}
        expected = structural_similarity(target, prediction, **options)  # its mean leaves a window's half out at the border
        assert 0 < expected < 0.99
        assert ssim(torch.from_numpy(prediction), torch.from_numpy(target), peak) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shape", [(10, 64), (64, 10), (1, 1)])
def test_ssim_needs_a_window(shape):
    assert math.isnan(ssim(torch.rand(shape), torch.rand(shape)))


@pytest.mark.parametrize("figure", [psnr, snr])
def test_the_mean_over_images_is_that_of_the_figures_to_the_last_digit_and_starts_anew(figure):
    mean = MeanOverImages(figure)
    for images in (3, 7):
        pairs = [(*pair(5, 6, 3), torch.rand(5, 6) < 0.5) for _ in range(images)]
        for prediction, target, mask in pairs:
            mean.update(prediction, target, mask=mask)
        figures = [figure(prediction, target, mask=mask) for prediction, target, mask in pairs]
        assert mean.mean() == sum(figures) / len(figures)
        assert mean.compute() == torch.tensor(mean.mean())
        mean.reset()
        assert math.isnan(mean.mean())


def test_one_exact_image_makes_the_mean_infinite():
    mean, (prediction, target) = MeanOverImages(psnr), pair(8)
    mean.update(prediction, target)
    mean.update(target, target)
    assert mean.compute() == math.inf
