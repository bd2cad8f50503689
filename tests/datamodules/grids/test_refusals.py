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

IMAGES = [  # options, what the sentence says
    ({"path": "nowhere/a.png"}, "must be an existing file, got .*nowhere/a.png, .*nor is there a folder"),
    ({"path": ""}, "must be a file, got the folder .*name one of them"),
    ({"root": "nowhere", "name": "a"}, "must be an existing folder .*nowhere; correct it"),
    ({"root": "", "name": "nobody"}, "must name one file .*got nobody; there are .*alpha.png"),
    ({"root": "", "name": "half"}, "must name one file .*half.tif, half.wav: add the ending"),
    ({"name": "baby"}, "names a file in data.root, .*data.name=baby; add data.root"),
    ({"path": "text.png"}, "must be a whole file of a known kind .*text.png is not.*save it anew, or choose another"),
    ({"path": "half.png"}, "must be a whole file .*truncated"),
    ({"path": "half16.png"}, "must be a whole file .*too short"),
    ({"path": "half.tif"}, "must be a whole file .*half.tif"),
    ({"path": "text.tif"}, "must be a whole file .*cannot identify"),
    *(({"path": several}, "is one frame, .*has 3; .*data.frame=0") for several in ("frames.gif", "pages.tif")),
    ({"path": "frames.gif", "frame": 3}, "must be in 0 .. 2, .*got 3; choose one"),
    ({"path": "alpha.png", "background": [0, 0, 2]}, r"white, black, grey, .*got \[0, 0, 2\]"),
    ({"path": "nan.npy"}, r"must be finite in float32, got nan at \[3, 2, 0\] and 1 such .*replace"),
    ({"path": "huge.npy"}, "must be finite in float32, got inf .*64 such numbers"),
    ({"path": "complex.npy"}, "must hold real numbers, .*complex64; save integers or floats"),
    ({"path": "objects.npy"}, "plain numbers .*objects.npy is not: Object arrays cannot be loaded"),
    ({"path": "first.npy"}, r"Channels come last, .*\(3, 8, 8\): transpose it"),
    ({"path": "line.npy"}, r"\(rows, columns\) .*\(8,\): reshape it"),
    ({"path": "none.npy"}, r"none of them 0; .*\(0, 8, 3\): reshape it"),
    ({"path": "half.npy"}, "saved by numpy, .*half.npy is not: Failed to read"),
    ({"path": "half.npz"}, "saved by numpy, .*half.npz is not"),
    ({"path": "two.npz"}, "must hold one array, .*one, other; save the one as .npy"),
    ({"path": "good.png", "factor": 8}, r"at least two .*of \[8, 8\]; use a smaller data.factor"),
    ({"path": "good.png", "factor": 0}, "data.factor must be at least 1, got 0"),
    ({"path": "good.png", "factor": 4, "offset": 4}, "data.offset must be between 0 and factor - 1 = 3, got 4"),
    ({"path": "good.png", "train_pixels": "some"}, "grid, stencil, all, random, got some"),
    ({"path": "good.png", "points": 0}, "data.points must be at least 1, or null for all samples, got 0"),
    ({"path": "good.png", "chunk": 0}, "data.chunk must be at least 1, got 0"),
]
SOUNDS = [
    ({"path": "empty.wav"}, "must have samples, .*empty.wav has none; choose another"),
    ({"path": "silent.wav"}, "must not be silent, .*silent.wav is zero throughout; choose another"),
    ({"path": "half.wav"}, "must be whole, .*half.wav is truncated: of 800 bytes 378 are there; copy it anew"),
    ({"path": "half.flac"}, "half.flac .*copy it anew"),
    ({"path": "text.png"}, "must be a file of a known kind .*text.png is not"),
    ({"path": "good.wav", "start": 2.0}, "must lie in the 0.050 s .*data.start=2.*start earlier"),
    ({"path": "good.wav", "duration": 0.0}, "data.duration positive, or null for all; got 0.0 and 0"),
]


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> Path:
    """A folder of good files, and of broken ones."""
    bad = tmp_path_factory.mktemp("bad")
    for name in ("text.png", "text.tif"):
        (bad / name).write_text("hello")
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (3, 8, 8, 3), np.uint8)
    frames = [Image.fromarray(picture) for picture in pictures]
    frames[0].save(bad / "good.png")
    frames[0].save(bad / "frames.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(random.integers(0, 256, (8, 8, 4), np.uint8)).save(bad / "alpha.png")
    Image.fromarray(random.integers(0, 65536, (8, 8), np.uint16)).save(bad / "deep.png")
    tifffile.imwrite(bad / "pages.tif", pictures, photometric="rgb")
    numbers = random.random((8, 8, 3), np.float32)
    arrays = {"first": numbers.transpose(2, 0, 1), "line": numbers[0, :, 0], "none": numbers[:0], "nan": numbers.copy()}
    arrays |= {"complex": numbers * 1j, "objects": np.full((8, 8), None), "huge": np.full((8, 8), 1e300)}
    arrays["nan"][3, 2, 0] = np.nan
    for name, array in arrays.items():
        np.save(bad / f"{name}.npy", array, allow_pickle=True)
    np.savez(bad / "two.npz", one=numbers, other=numbers)
    tone = np.sin(np.arange(400) / 3).astype(np.float32)
    for name, sound in {"good.wav": tone, "good.flac": tone, "silent.wav": 0 * tone, "empty.wav": tone[:0]}.items():
        soundfile.write(bad / name, sound, 8000)
    for whole in ("good.png", "pages.tif", "nan.npy", "two.npz", "good.wav", "good.flac", "deep.png"):
        content, half = (bad / whole).read_bytes(), "half16.png" if whole == "deep.png" else f"half{Path(whole).suffix}"
        (bad / half).write_bytes(content[: len(content) // 2])
    return bad


def read(kind, options):
    data = kind(**options)
    data.describe()
    data.setup("fit")


@pytest.mark.parametrize(
    ("kind", "options", "message"), [(ImageData, *row) for row in IMAGES] + [(AudioData, *row) for row in SOUNDS]
)
def test_a_bad_file_or_option_is_refused_in_one_sentence(kind, options, message, bad):
    places = {name: str(bad / options[name]) for name in ("path", "root") if name in options}
    with pytest.raises(InputError, match=rf"\A.*{message}.*\Z"):
        read(kind, options | places)
