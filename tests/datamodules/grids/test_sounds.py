import numpy as np
import pytest
import soundfile
import torch
from numpy.testing import assert_allclose, assert_array_equal

from datamodules.grids.audio import AudioData
from datamodules.grids.sounds import SoundCollection
from inr.errors import InputError

RATE = 1000
random = np.random.default_rng(0)
SOUNDS = [
    random.uniform(-loudest, loudest, (length, 2)).astype(np.float32)
    for loudest, length in ((0.2, 120), (0.6, 130), (0.4, 125))
]


def write(path, sound, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate, subtype="FLOAT")


@pytest.fixture
def folder(tmp_path):
    for place, sound in enumerate(SOUNDS):
        write(tmp_path / "inner" / f"{place}.wav", sound)
    return tmp_path


def load(root, **options):
    data = SoundCollection(root=root and str(root), **options)
    data.setup()
    return data


def test_sounds_are_cut_to_the_shortest_and_share_one_scale(folder):
    data = load(folder, held_out=2)
    assert data.shape == (120,)
    assert data.names == ["inner/1.wav", "inner/2.wav"]
    for image in (0, 1):
        assert_array_equal(data.truth(image).truth.numpy(), SOUNDS[1 + image][:120])
    loudest = max(np.abs(sound[:120]).max() for sound in SOUNDS)
    assert data.units.peak == data.units.scale == pytest.approx(loudest)
    (batch,) = data.training_batches(torch.device("cpu"))
    assert_allclose(batch.parts["data"].targets["value"][0].numpy(), SOUNDS[0] / loudest, rtol=1e-6)


@pytest.mark.parametrize(("start", "duration", "excerpt"), [(0.02, None, slice(20, 120)), (0.01, 0.05, slice(10, 60))])
def test_start_and_duration_cut_every_sound(folder, start, duration, excerpt):
    data = load(folder, start=start, duration=duration, held_out=0)
    for image, sound in enumerate(SOUNDS):
        assert_array_equal(data.truth(image).truth.numpy(), sound[excerpt])


def test_patches_of_several_sounds_are_merged(folder):
    data = load(folder, patch_size=40, held_out=1)
    assert data.trained.names == [f"inner/{sound}.wav#{place}" for sound in (0, 1) for place in range(3)]
    (batch,) = data.observation_batches(torch.arange(3), torch.device("cpu"))
    merged = data.merge(batch.parts["data"].targets["value"])
    assert_allclose(data.restore(merged)[0].numpy(), SOUNDS[2][:120], rtol=1e-5, atol=1e-7)


def test_excerpts_of_one_sound_are_split(folder):
    data = load(folder / "inner" / "1.wav", patch_size=12, held_out=3, tuning=2)
    assert data.names == ["1.wav#7", "1.wav#8", "1.wav#9"]
    assert len(data.trained.names) == 5
    assert data.tuned.names == ["1.wav#5", "1.wav#6"]
    for place in range(3):
        assert_array_equal(data.truth(place).truth.numpy(), SOUNDS[1][12 * (7 + place) : 12 * (8 + place)])
    assert load(folder / "inner" / "1.wav").trained.names == ["1.wav"]


def test_time_is_stretched_as_for_one_sound(folder):
    data, one = load(folder, duration=0.05), AudioData(path=str(folder / "inner" / "0.wav"), duration=0.05)
    assert (data.rate, data.describe()["input_scale"]) == (one.rate, one.describe()["input_scale"])


def third(sound, **options):
    return lambda at: write(at / "inner" / "3.wav", sound, **options)


BAD = {
    "rates": (third(SOUNDS[0], rate=500), {}, ["one rate", "1000 Hz", "3.wav has 500 Hz"]),
    "channels": (third(SOUNDS[0][:, :1]), {}, ["number of channels", "3.wav has 1000 Hz and 1"]),
    "too long": (None, {"duration": 0.125}, ["must lie in every sound", "inner/0.wav has 0.120 s", "data.duration=0.125"]),
    "too late": (None, {"start": 0.12}, ["must lie in every sound", "data.start=0.12"]),
    "start": (None, {"start": -1.0}, ["data.start must not be negative", "got -1.0 and null"]),
    "duration": (None, {"duration": 0.0}, ["data.duration positive", "0.0"]),
    "nan": (third(SOUNDS[0] * np.nan), {}, ["whole and finite", "3.wav", "replace it"]),
    "none": (None, {"root": None}, ["data.root must be an existing file, got null"]),
    "nowhere": (None, {"root": "nowhere"}, ["data.root must be an existing file, got nowhere"]),
    "empty": (lambda at: [file.unlink() for file in (at / "inner").iterdir()], {}, ["must hold sounds"]),
    "text": (lambda at: (at / "3.wav").write_text("text"), {}, ["a file of a known kind", "3.wav"]),
    "patch": (None, {"patch_size": 7}, ["does not divide 120", "6 and 8"]),
    "silence": (lambda at: [write(at / "inner" / f"{i}.wav", 0 * SOUNDS[0]) for i in range(3)], {}, ["must not all be silent"]),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_sounds_and_options_end_in_one_sentence(case, folder):
    spoil, options, words = BAD[case]
    if spoil:
        spoil(folder)
    with pytest.raises(InputError) as error:
        load(**{"root": folder} | options).describe()
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value)


def test_an_excerpt_longer_than_the_sound_is_refused(folder):
    with pytest.raises(InputError, match="1 to 120, got 121"):
        load(folder / "inner" / "0.wav", patch_size=121)
