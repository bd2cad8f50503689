"""Photographs of scenes are the bytes that lie in their files, whatever the files' depth, colours and orientation."""

import imageio.v3 as imageio
import numpy as np
import png
import pytest
import tifffile
from numpy.testing import assert_array_equal
from PIL import ExifTags, Image

from datamodules.scenes.photograph_files import PhotographFiles, read_mask

ROWS, COLUMNS = 4, 6
BYTES = np.random.default_rng(0).integers(0, 256, (ROWS, COLUMNS, 3), dtype=np.uint8)
DEEP = np.random.default_rng(1).integers(0, 2**16, (ROWS, COLUMNS, 3), dtype=np.uint16)
TURN = 274  # the number of the tag


def turned_tiff(compression):
    def write(path, orientation):
        tifffile.imwrite(path, BYTES, photometric="rgb", compression=compression, extratags=[(TURN, 3, 1, orientation, True)])

    return write


def turned_png(path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(BYTES).save(path, "PNG", exif=exif)


TURNED = {"plain tiff": turned_tiff(None), "packed tiff": turned_tiff("lzw"), "png": turned_png}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", TURNED)
def test_pixels_stay_where_they_are_stored(tmp_path, kind, orientation):
    file = tmp_path / f"a.{kind.split()[-1]}"
    TURNED[kind](file, orientation)
    photographs = PhotographFiles((file,))
    assert photographs.frame == (ROWS, COLUMNS)
    assert_array_equal(photographs(0), BYTES)
    assert photographs(0).flags.writeable  # as tensors want it


def deep_png(path):
    with path.open("wb") as file:
        png.Writer(COLUMNS, ROWS, bitdepth=16, greyscale=False).write(file, DEEP.reshape(ROWS, -1).tolist())


DEEPS = {
    "colour.png": (deep_png, DEEP),
    "colour.tif": (lambda path: tifffile.imwrite(path, DEEP, photometric="rgb"), DEEP),
    "grey.png": (lambda path: imageio.imwrite(path, DEEP[..., 0]), DEEP[..., :1]),
    "grey.tif": (lambda path: tifffile.imwrite(path, DEEP[..., 0]), DEEP[..., :1]),
}


@pytest.mark.parametrize("name", DEEPS)
def test_photographs_of_16_bits_are_rounded_to_bytes(tmp_path, name):
    write, deep = DEEPS[name]
    write(tmp_path / name)
    expected = np.broadcast_to((deep / 257).round().astype(np.uint8), BYTES.shape)
    assert_array_equal(PhotographFiles((tmp_path / name,))(0), expected)


@pytest.mark.parametrize("brightest", [1, 255, 65535])
def test_masks_lie_as_their_photographs_do(tmp_path, brightest):
    shown = BYTES[..., 0] > 99
    file = tmp_path / "mask.tif"
    kind = np.uint16 if brightest > 255 else np.uint8
    tifffile.imwrite(file, (brightest * shown).astype(kind), extratags=[(TURN, 3, 1, 6, True)])
    assert_array_equal(read_mask(file, (ROWS, COLUMNS)), shown)
