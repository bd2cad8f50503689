import math

import numpy as np
import pytest
import soundfile
import torch
from numpy.testing import assert_array_equal
from torch.testing import assert_close

from datamodules.grids.audio import AudioData

RATE, SAMPLES = 1000, 240
BITS = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
STORED = {"wav": ("PCM_U8", "PCM_16", "PCM_24", "PCM_32"), "flac": ("PCM_S8", "PCM_16", "PCM_24")}
WHOLE = [(ending, kind) for ending, kinds in STORED.items() for kind in kinds]
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
    """The header promised what was read, fitted numbers lie in [-1, 1], and a second is equally wide in all excerpts."""
    described, samples = data.describe(), data.trained.samples
    sizes = [described["in_features"], *described["shape"], described["out_features"]]
    assert sizes == [1, *samples.shape]
    assert described["input_scale"] == pytest.approx(100 / 7 * len(samples) / data.rate)
    assert data.normalise(samples).abs().max() == 1
    assert data.units.peak == samples.abs().max()


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("ending", "kind"), WHOLE)
def test_whole_numbers_are_read_exactly(load, random, ending, kind, channels):
    steps = 2 ** (BITS[kind] - 1)
    sound = random.integers(-steps, steps, (SAMPLES, channels))
    data = load((sound * 2 ** (32 - BITS[kind])).astype(np.int32), ending, kind)
    assert_array_equal(data.trained.samples.numpy(), (sound / steps).astype(np.float32))
    assert_consistent(data)


@pytest.mark.parametrize("channels", [(), (1,), (2,)])  # one channel needs no axis
@pytest.mark.parametrize("loudest", [1e-4, 1.0, 3.7])
@pytest.mark.parametrize(("ending", "kind"), REAL)
def test_real_numbers_are_read_as_they_are_however_loud(load, random, ending, kind, loudest, channels):
    sound = loudest * random.uniform(-1, 1, (SAMPLES, *channels))
    data = load(sound, ending, kind)
    assert_array_equal(data.trained.samples.numpy(), sound.astype(np.float32).reshape(SAMPLES, -1))
    assert_consistent(data)


def test_both_channels_share_one_scale(load, random):
    sound = random.uniform(-1, 1, (SAMPLES, 2)) * [0.5, 0.1]
    data = load(sound)
    loudest = np.abs(sound).max(0)
    assert data.normalise(data.trained.samples).abs().amax(0).tolist() == pytest.approx(loudest / loudest[0], rel=1e-5)


@pytest.mark.parametrize("start", [0.0, 0.1, 0.1004])
@pytest.mark.parametrize("duration", [None, 0.05, 0.0496, 9.0])
@pytest.mark.parametrize(("ending", "kind"), [("wav", "PCM_16"), ("flac", "PCM_24"), ("wav", "FLOAT")])
def test_start_and_duration_cut_the_excerpt(load, random, ending, kind, start, duration):
    first, length = round(start * RATE), SAMPLES if duration is None else round(duration * RATE)
    sound = random.uniform(-1, 1, (SAMPLES, 2))
    whole = load(sound, ending, kind).trained.samples
    data = load(sound, ending, kind, start=start, duration=duration)
    assert torch.equal(data.trained.samples, whole[first : first + length])
    assert_consistent(data)


def test_without_a_file_the_chord_leaves_something_to_score():
    data = AudioData()
    data.setup()
    assert_consistent(data)
    assert (data.shape, len(data.train_samples)) == ((16000,), 3200)
    spectrum = torch.fft.rfft(data.trained.samples[:, 0]).abs()
    loudest = spectrum.topk(40).indices / 2.0  # [Hz], after two seconds
    for pitch in (220, 277.18, 329.63):
        assert (loudest - pitch).abs().min() < 1


def test_the_slopes_of_a_tone_are_those_of_the_tone(load):
    turn = 2 * math.pi * 3 / SAMPLES
    tone = np.arange(SAMPLES) * turn
    data = load(0.5 * np.sin(tone), border="periodic")
    slopes = data.trained.batch(torch.arange(SAMPLES), ("value", "jacobian")).parts["data"].targets["jacobian"][0, :, 0, 0]
    assert_close(slopes, torch.from_numpy(np.cos(tone) * math.sin(turn)).float(), rtol=0, atol=1e-5)
