import math

import numpy as np
import pytest
import soundfile
import torch
from numpy.testing import assert_array_equal
from torch.testing import assert_close

from datamodules.grids.audio import AudioData
from inr.supervision.differences import BORDERS, FILTERS, jacobian_at

RATE, SAMPLES = 1000, 240
BITS = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
WHOLE = [("wav", kind) for kind in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32")] + [
    ("flac", kind) for kind in ("PCM_S8", "PCM_16", "PCM_24")
]
REAL = [("wav", "FLOAT"), ("wav", "DOUBLE")]


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def load(tmp_path):
    """Audio data of a sound that is written first; whole numbers are of 32 bits, of which a file keeps the highest."""

    def load(sound, ending="wav", kind="FLOAT", **options):
        soundfile.write(tmp_path / f"sound.{ending}", sound, RATE, subtype=kind)
        data = AudioData(path=str(tmp_path / f"sound.{ending}"), **options)
        data.setup()
        return data

    return load


def assert_consistent(data):
    """The header promised what was read, and fitted numbers lie in [-1, 1] and lead back to the file's."""
    described = data.describe()
    assert described["in_features"] == 1
    assert described["shape"] == list(data.shape)
    assert described["out_features"] == data.trained.samples.shape[-1]
    fitted = data.normalise(data.trained.samples)
    assert fitted.abs().max() == 1
    assert data.units.peak == data.trained.samples.abs().max()
    assert_close(data.restore(fitted), data.trained.samples, rtol=1e-6, atol=0)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("ending", "kind"), WHOLE)
def test_whole_numbers_are_read_exactly(load, random, ending, kind, channels):
    steps = 2 ** (BITS[kind] - 1)
    sound = random.integers(-steps, steps, (SAMPLES, channels))
    data = load((sound * 2 ** (32 - BITS[kind])).astype(np.int32), ending, kind)
    assert_array_equal(data.trained.samples.numpy(), (sound / steps).astype(np.float32))
    assert_consistent(data)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("loudest", [1e-4, 1.0, 3.7])
@pytest.mark.parametrize(("ending", "kind"), REAL)
def test_real_numbers_are_read_as_they_are_however_loud(load, random, ending, kind, loudest, channels):
    sound = loudest * random.uniform(-1, 1, (SAMPLES, channels))
    data = load(sound, ending, kind)
    assert_array_equal(data.trained.samples.numpy(), sound.astype(np.float32))
    assert_consistent(data)


def test_one_channel_without_an_axis_is_one_channel(load, random):
    sound = random.uniform(-1, 1, SAMPLES)
    assert_array_equal(load(sound).trained.samples.numpy(), sound.astype(np.float32)[:, None])


def test_both_channels_share_one_scale(load, random):
    sound = random.uniform(-1, 1, (SAMPLES, 2)) * [0.5, 0.1]
    data = load(sound)
    loudest = data.normalise(data.trained.samples).abs().amax(0)
    assert loudest[0] == 1
    assert loudest[1].item() == pytest.approx(np.abs(sound[:, 1]).max() / np.abs(sound[:, 0]).max(), rel=1e-5)


@pytest.mark.parametrize(
    ("start", "duration", "excerpt"),
    [
        (0.0, None, slice(0, 240)),
        (0.1, None, slice(100, 240)),
        (0.0, 0.05, slice(0, 50)),
        (0.1, 0.05, slice(100, 150)),
        (0.1004, 0.0496, slice(100, 150)),
        (0.2, 9.0, slice(200, 240)),
    ],
)
@pytest.mark.parametrize(("ending", "kind"), [("wav", "PCM_16"), ("flac", "PCM_24"), ("wav", "FLOAT")])
def test_start_and_duration_cut_the_excerpt(load, random, ending, kind, start, duration, excerpt):
    sound = random.uniform(-1, 1, (SAMPLES, 2))
    whole = load(sound, ending, kind).trained.samples
    data = load(sound, ending, kind, start=start, duration=duration)
    assert torch.equal(data.trained.samples, whole[excerpt])
    assert_consistent(data)


def test_a_second_is_equally_wide_whatever_the_excerpt(load, random):
    sound = random.uniform(-1, 1, SAMPLES)
    for duration in (0.03, 0.1, 0.24):
        data = load(sound, duration=duration)
        assert data.describe()["input_scale"] == pytest.approx(100 / 7 * duration)


def test_without_a_file_the_chord_leaves_something_to_score():
    data = AudioData()
    data.setup()
    assert_consistent(data)
    assert data.shape == (16000,)
    assert len(data.train_samples) == 3200
    spectrum = torch.fft.rfft(data.trained.samples[:, 0]).abs()
    loudest = spectrum.topk(40).indices / 2.0  # [Hz], after two seconds
    for pitch in (220, 277.18, 329.63):
        assert (loudest - pitch).abs().min() < 1


WAVE = np.random.default_rng(0).uniform(-1, 1, (SAMPLES, 2))
GRIDS = [(1, 0), (2, 0), (5, 3), (7, 6)]


@pytest.mark.parametrize("train_pixels", ["grid", "stencil", "all", "random"])
@pytest.mark.parametrize(("factor", "offset"), GRIDS)
def test_train_pixels_choose_the_samples(load, train_pixels, factor, offset):
    data = load(WAVE, factor=factor, offset=offset, train_pixels=train_pixels)
    grid = [index for index in range(SAMPLES) if index % factor == offset]
    near = {index + step for index in grid for step in (-1, 0, 1)} & set(range(SAMPLES))
    if 0 in grid:
        near |= {2}  # a one-sided difference reads a second neighbour
    if SAMPLES - 1 in grid:
        near |= {SAMPLES - 3}
    chosen = data.train_samples.tolist()
    if train_pixels == "random" and factor > 1:
        assert len(set(chosen)) == len(grid)
        assert chosen != grid
    else:
        expected = {"grid": grid, "stencil": sorted(near)}.get(train_pixels, list(range(SAMPLES)))
        assert chosen == (expected if factor > 1 else list(range(SAMPLES)))
    everything = set(range(SAMPLES))
    masks = [data.unseen(), data.unread()]
    expected = [everything - set(grid), everything - near] if factor > 1 else [everything] * 2
    assert [set(mask.nonzero().flatten().tolist()) for mask in masks] == expected


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("border", BORDERS)
def test_a_batch_holds_the_fitted_numbers_and_their_derivatives(load, border, filter):
    data = load(WAVE, filter=filter, border=border, factor=5)
    part = data.trained.batch(data.train_samples, ("value", "jacobian")).parts["data"]
    fitted = data.normalise(data.trained.samples)
    assert torch.equal(part.coordinates[0, :, 0], data.train_samples.float())
    assert_close(part.targets["value"][0], fitted[::5])
    assert_close(part.targets["jacobian"][0], jacobian_at(fitted, data.training_grid, filter, border), rtol=1e-5, atol=1e-6)


def test_the_slopes_of_a_tone_are_those_of_the_tone(load):
    turn = 2 * math.pi * 3 / SAMPLES
    tone = np.arange(SAMPLES) * turn
    data = load(0.5 * np.sin(tone), border="periodic")
    slopes = data.trained.batch(torch.arange(SAMPLES), ("value", "jacobian")).parts["data"].targets["jacobian"][0, :, 0, 0]
    assert_close(slopes, torch.from_numpy(np.cos(tone) * math.sin(turn)).float(), rtol=0, atol=1e-5)


def test_limit_and_validation_points_count_samples(load):
    data = load(WAVE, factor=5, limit=9, validation_points=17, chunk=10)
    assert len(data.train_samples) == 9
    assert set(data.train_samples.tolist()) < set(range(0, SAMPLES, 5))
    assert [len(draw.samples) for draw in data.val_dataloader()] == [10, 7]
    assert [len(draw.samples) for draw in data.test_dataloader()] == [10] * 24
