"""Pictures, sounds and options of one signal that are refused: by the reader itself, in one sentence."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import tifffile
from PIL import Image

from datamodules.grids.audio import AudioData
from datamodules.grids.image import ImageData
from inr.errors import InputError

IMAGES = [  # file, options, what the sentence says
    ("nothing.png", {}, "must be an existing file", "{bad}/nothing.png", "its folder holds"),
    ("nowhere/a.png", {}, "must be an existing file", "nowhere/a.png", "nor is there a folder"),
    ("", {}, "must be a file", "got the folder {bad}", "name one of them"),
    (None, {"root": "{bad}/nowhere", "name": "a"}, "must be an existing folder", "{bad}/nowhere", "correct it"),
    (None, {"root": "{bad}", "name": "nobody"}, "must name one file", "got nobody", "there are", "alpha.png"),
    (None, {"root": "{bad}", "name": "truncated"}, "must name one file", "truncated.wav", "add the ending"),
    (None, {"name": "baby"}, "names a file in data.root", "data.name=baby", "add data.root"),
    ("empty.png", {}, "must be a whole file", "empty.png", "choose another"),
    ("truncated.png", {}, "must be a whole file", "truncated", "save it anew"),
    ("truncated16.png", {}, "must be a whole file", "too short", "save it anew"),
    ("truncated.tif", {}, "must be a whole file", "truncated.tif", "save it anew"),
    ("text.png", {}, "must be a whole file of a known kind", "text.png", "choose another"),
    ("text.tif", {}, "must be a whole file", "not a TIFF file", "choose another"),
    ("good.wav", {}, "must be a whole file of a known kind", "good.wav", "choose another"),
    ("frames.gif", {}, "is one frame", "has 3", "data.frame=0"),
    ("pages.tif", {}, "is one frame", "has 3", "data.frame=0"),
    ("frames.gif", {"frame": 3}, "must be in 0 .. 2", "got 3", "choose one"),
    ("alpha.png", {"background": "pink"}, "white, black, grey", "got pink"),
    ("good.png", {"background": [0, 0, 2]}, "white, black, grey", "got [0, 0, 2]"),
    ("nan.npy", {}, "must be finite", "got nan at [3, 2, 0]", "replace"),
    ("inf.npy", {}, "must be finite", "got -inf at [3, 2, 0]", "replace"),
    ("huge.npy", {}, "must be finite in float32", "64 such", "rescale"),
    ("strings.npy", {}, "real numbers", "<U1", "save integers or floats"),
    ("objects.npy", {}, "plain numbers", "objects.npy", "Object arrays cannot be loaded"),
    ("complex.npy", {}, "real numbers", "complex64", "save integers or floats"),
    ("first.npy", {}, "Channels come last", "(3, 8, 8)", "transpose it"),
    ("line.npy", {}, "(rows, columns)", "(8,)", "reshape it"),
    ("none.npy", {}, "none of them 0", "(0, 8, 3)", "reshape it"),
    ("truncated.npy", {}, "saved by numpy", "truncated.npy", "Failed to read"),
    ("truncated.npz", {}, "saved by numpy", "truncated.npz"),
    ("text.npy", {}, "saved by numpy", "text.npy"),
    ("two.npz", {}, "must hold one array", "one, other", "save the one as .npy"),
    ("good.png", {"factor": 8}, "at least two", "of [8, 8]", "smaller data.factor"),
    ("good.png", {"factor": 0}, "data.factor must be at least 1", "got 0"),
    ("good.png", {"factor": 4, "offset": 4}, "data.offset must be between 0 and factor - 1 = 3", "got 4"),
    ("good.png", {"train_pixels": "some"}, "grid, stencil, all, random", "got some"),
    ("good.png", {"points": 0}, "data.points must be at least 1, or null", "got 0"),
    ("good.png", {"chunk": 0}, "data.chunk must be at least 1", "got 0"),
    ("good.png", {"filter": "scharr"}, "must be one of central, sobel", "got scharr"),
    ("good.png", {"border": "mirror"}, "one_sided, replicate, periodic", "got mirror"),
]

SOUNDS = [
    ("nothing.wav", {}, "must be an existing file", "nothing.wav", "its folder holds"),
    ("empty.wav", {}, "must have samples", "empty.wav", "choose another"),
    ("silent.wav", {}, "must not be silent", "silent.wav", "choose another"),
    ("truncated.wav", {}, "must be whole", "truncated.wav", "of 800 bytes 378", "copy it anew"),
    ("truncated.flac", {}, "truncated.flac", "copy it anew"),
    ("text.wav", {}, "must be a file of a known kind", "text.wav", "choose another"),
    ("nan.wav", {}, "must be finite", "got nan at [7, 0]", "replace"),
    ("good.wav", {"start": 2.0}, "must lie in the 0.050 s", "data.start=2", "start earlier"),
    ("good.wav", {"duration": 0.0}, "data.duration positive", "got 0.0 and 0", "null for all"),
]


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> Path:
    """A folder of good files, and of broken ones."""
    bad = tmp_path_factory.mktemp("bad")
    (bad / "empty.png").touch()
    for name in ("text.png", "text.tif", "text.npy", "text.wav"):
        (bad / name).write_text("hello")
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (3, 8, 8, 3), np.uint8)
    frames = [Image.fromarray(picture) for picture in pictures]
    frames[0].save(bad / "good.png")
    frames[0].save(bad / "frames.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(random.integers(0, 256, (8, 8, 4), np.uint8)).save(bad / "alpha.png")
    Image.fromarray(random.integers(0, 65536, (8, 8), np.uint16)).save(bad / "16.png")
    tifffile.imwrite(bad / "pages.tif", pictures, photometric="rgb")
    numbers = random.random((8, 8, 3), np.float32)
    place = np.arange(192).reshape(8, 8, 3) == np.ravel_multi_index((3, 2, 0), (8, 8, 3))
    arrays = {"nan": np.where(place, np.nan, numbers), "inf": np.where(place, -np.inf, numbers), "huge": np.full((8, 8), 1e300)}
    arrays |= {"strings": np.full((8, 8), "a"), "objects": np.full((8, 8), None), "complex": numbers[..., 0] * 1j}
    arrays |= {"first": numbers.transpose(2, 0, 1), "line": numbers[0, :, 0], "none": numbers[:0]}
    for name, array in arrays.items():
        np.save(bad / f"{name}.npy", array, allow_pickle=True)
    np.savez(bad / "two.npz", one=numbers, other=numbers)
    tone = np.sin(np.arange(400) / 3).astype(np.float32)
    for name, sound in {"good.wav": tone, "good.flac": tone, "silent.wav": 0 * tone, "empty.wav": tone[:0]}.items():
        soundfile.write(bad / name, sound, 8000)
    soundfile.write(bad / "nan.wav", np.where(np.arange(400) == 7, np.nan, tone), 8000, subtype="FLOAT")
    halves = {"good.png": "truncated.png", "16.png": "truncated16.png", "pages.tif": "truncated.tif"}
    halves |= {f"{whole}.{ending}": f"truncated.{ending}" for whole, ending in (("nan", "npy"), ("two", "npz"))}
    for whole, half in (halves | {"good.wav": "truncated.wav", "good.flac": "truncated.flac"}).items():
        content = (bad / whole).read_bytes()
        (bad / half).write_bytes(content[: len(content) // 2])
    return bad


@pytest.mark.parametrize(
    ("kind", "file", "options", "phrases"),
    [
        (kind, file, options, phrases)
        for kind, rows in ((ImageData, IMAGES), (AudioData, SOUNDS))
        for file, options, *phrases in rows
    ],
)
def test_a_bad_file_or_option_is_refused_in_one_sentence(kind, file, options, phrases, bad):
    given = {name: value.format(bad=bad) if isinstance(value, str) else value for name, value in options.items()}
    with pytest.raises(InputError, match=r"\A.+\Z") as caught:
        data = kind(path=None if file is None else str(bad / file), **given)
        data.describe()
        data.setup("fit")
    for phrase in phrases:
        assert phrase.format(bad=bad) in str(caught.value)
