import numpy as np
import png
import pytest
import tifffile
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from torch.testing import assert_close

from datamodules.grids.image import ImageData

ROWS, COLUMNS = 9, 7
random = np.random.default_rng(0)
RGB = random.integers(0, 256, (ROWS, COLUMNS, 3), dtype=np.uint8)
ALPHA = random.integers(0, 256, (ROWS, COLUMNS, 1), dtype=np.uint8)
DEEP = random.integers(0, 65536, (ROWS, COLUMNS, 3), dtype=np.uint16)
DEEP_ALPHA = random.integers(0, 65536, (ROWS, COLUMNS, 1), dtype=np.uint16)
REAL = random.normal(size=(ROWS, COLUMNS, 3)).astype(np.float32)
GREY, DEEP_GREY, REAL_GREY = RGB[..., :1], DEEP[..., :1], REAL[..., :1]
BITS = GREY > 100
INDICES = random.integers(0, 5, (ROWS, COLUMNS), dtype=np.uint8)
COLOURS = random.integers(0, 256, (5, 3), dtype=np.uint8)


def laid(colour, picture, alpha):
    """The picture over a background colour."""
    peak = np.iinfo(picture.dtype).max
    share = alpha / peak
    return share * picture + (1 - share) * peak * np.asarray(colour)


def over(colour, picture, alpha):
    """The same in the picture's number type."""
    return laid(colour, picture, alpha).round().astype(picture.dtype)


def pillow(array, **options):
    return lambda path: Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array).save(path, **options)


def deep_png(array, bits=16):
    rows, columns, channels = array.shape

    def write(path):
        writer = png.Writer(columns, rows, greyscale=channels < 3, alpha=channels in (2, 4), bitdepth=bits)
        with path.open("wb") as file:
            writer.write(file, array.reshape(rows, -1))

    return write


def tiff(array, **options):
    return lambda path: tifffile.imwrite(path, array, **options)


def palette(**options):
    def write(path):
        image = Image.fromarray(INDICES, "P")
        image.putpalette(COLOURS.flatten().tolist())
        image.save(path, **options)

    return write


def animation(path):
    first, second = Image.fromarray(np.full_like(RGB, 40)), Image.fromarray(RGB // 128 * 255)
    first.save(path, save_all=True, append_images=[second])


def numpy_file(array):
    def write(path):
        if path.suffix == ".npy":
            np.save(path, array)
        else:
            np.savez(path, array)

    return write


def cat(*parts):
    return np.concatenate(parts, -1)


FILES = {
    "grey.png": (pillow(GREY), GREY),
    "colour.png": (pillow(RGB), RGB),
    "colour.bmp": (pillow(RGB), RGB),
    "lossless.webp": (pillow(RGB, lossless=True), RGB),
    "bits.png": (pillow(BITS), BITS * np.uint8(255)),
    "palette.png": (palette(), COLOURS[INDICES]),
    "palette.gif": (palette(), COLOURS[INDICES]),
    "transparent_index.png": (palette(transparency=2), np.where(INDICES[..., None] == 2, 255, COLOURS[INDICES])),
    "transparent_index.gif": (palette(transparency=2), np.where(INDICES[..., None] == 2, 255, COLOURS[INDICES])),
    "grey_alpha.png": (pillow(cat(GREY, ALPHA)), over([1], GREY, ALPHA)),
    "colour_alpha.png": (pillow(cat(RGB, ALPHA)), over([1, 1, 1], RGB, ALPHA)),
    "deep_grey.png": (deep_png(DEEP_GREY), DEEP_GREY),
    "deep_grey_of_pillow.png": (pillow(DEEP_GREY), DEEP_GREY),
    "deep_colour.png": (deep_png(DEEP), DEEP),
    "deep_grey_alpha.png": (deep_png(cat(DEEP_GREY, DEEP_ALPHA)), over([1], DEEP_GREY, DEEP_ALPHA)),
    "deep_colour_alpha.png": (deep_png(cat(DEEP, DEEP_ALPHA)), over([1, 1, 1], DEEP, DEEP_ALPHA)),
    "twelve_bits.png": (deep_png(DEEP // 16, 12), (DEEP // 16 * (65535 / 4095)).round().astype(np.uint16)),
    "colour.tif": (tiff(RGB), RGB),
    "colour_lzw.tiff": (pillow(RGB, compression="tiff_lzw"), RGB),
    "bits.tif": (pillow(BITS), BITS * np.uint8(255)),
    "palette.tif": (palette(), COLOURS[INDICES]),
    "inverted.tif": (tiff(255 - GREY[..., 0], photometric="miniswhite"), GREY),
    "planes.tif": (tiff(RGB.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"), RGB),
    "alpha.tif": (tiff(cat(RGB, ALPHA), photometric="rgb", extrasamples=["unassalpha"]), over([1, 1, 1], RGB, ALPHA)),
    "deep_grey.tif": (tiff(DEEP_GREY[..., 0]), DEEP_GREY),
    "deep_colour.tif": (tiff(DEEP, photometric="rgb"), DEEP),
    "deep_planes.tif": (tiff(DEEP.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"), DEEP),
    "deep_bigendian.tif": (tiff(DEEP.astype(">u2"), byteorder=">", photometric="rgb"), DEEP),
    "real_grey.tif": (tiff(REAL_GREY[..., 0]), REAL_GREY),
    "real_colour.tif": (tiff(REAL, photometric="rgb"), REAL),
    "flat.npy": (numpy_file(GREY[..., 0]), GREY),
    "flat.npz": (numpy_file(REAL[..., 0]), REAL_GREY),
    "bytes.npy": (numpy_file(RGB), RGB),
    "deep.npy": (numpy_file(DEEP), DEEP),
    "deep_bigendian.npy": (numpy_file(DEEP.astype(">u2")), DEEP),
    "real.npy": (numpy_file(REAL), REAL),
    "real_double.npz": (numpy_file(REAL.astype(np.float64)), REAL),
    "real_half.npy": (numpy_file(REAL.astype(np.float16)), REAL.astype(np.float16)),
    "whole.npy": (numpy_file(DEEP.astype(np.int32) - 40000), DEEP.astype(np.int32) - 40000),
    "bits.npy": (numpy_file(BITS[..., 0]), BITS * np.uint8(255)),
    "five_channels.npy": (numpy_file(cat(RGB, RGB[..., :2])), cat(RGB, RGB[..., :2])),
}


@pytest.fixture
def load(tmp_path):
    """Image data of a file that is written first."""

    def load(write, name="picture.npy", **options):
        write(tmp_path / name)
        data = ImageData(path=str(tmp_path / name), **options)
        data.setup()
        return data

    return load


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_is_read_as_it_was_meant(load, name):
    write, expected = FILES[name]
    data = load(write, name)
    assert_array_equal(data.trained.samples.numpy(), expected.astype(np.float32))
    described = data.describe()
    assert described["shape"] == list(data.shape) == [ROWS, COLUMNS]
    assert described["out_features"] == data.trained.samples.shape[-1] == expected.shape[-1]
    fitted = data.normalise(data.trained.samples)
    assert_close(data.restore(fitted), data.trained.samples.float(), rtol=1e-6, atol=1e-6 * data.units.peak)
    if expected.dtype in (np.uint8, np.uint16):  # the range of the type is [-1, 1]
        assert data.units.peak == np.iinfo(expected.dtype).max
        assert_close(data.normalise(torch.tensor([0.0, data.units.peak])), torch.tensor([-1.0, 1.0]))
    else:  # the range of the values is
        assert [fitted.min().item(), fitted.max().item()] == pytest.approx([-1, 1])


def test_bytes_stay_bytes(load):
    assert load(pillow(RGB), "colour.png").trained.samples.dtype == torch.uint8


@pytest.mark.parametrize(
    ("background", "colour"),
    [("white", (1, 1, 1)), ("black", (0, 0, 0)), ("grey", (0.5, 0.5, 0.5)), ([0.2, 0.9, 0.4], (0.2, 0.9, 0.4))],
)
def test_transparency_is_laid_over_the_background(load, background, colour):
    for array, write in ((RGB, pillow), (DEEP, deep_png)):
        alpha = ALPHA if array is RGB else DEEP_ALPHA
        coloured = load(write(cat(array, alpha)), "colour.png", background=background)
        assert_allclose(coloured.trained.samples.numpy(), laid(colour, array, alpha), rtol=0, atol=0.501)
        grey = load(write(cat(array[..., :1], alpha)), "grey.png", background=background)
        assert_allclose(grey.trained.samples.numpy(), laid([sum(colour) / 3], array[..., :1], alpha), rtol=0, atol=0.501)
    index = load(palette(transparency=1), "palette.png", background=background)
    expected = np.where(INDICES[..., None] == 1, 255 * np.array(colour), COLOURS[INDICES])
    assert_allclose(index.trained.samples.numpy(), expected, rtol=0, atol=0.501)


def test_arrays_keep_their_channels(load):
    for channels in (2, 4):
        array = cat(RGB, RGB)[..., :channels]
        assert_allclose(load(numpy_file(array), background="black").trained.samples.numpy(), array)


TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("name", ["turned.png", "turned.tif", "turned.webp"])
@pytest.mark.parametrize("orientation", TURNED)
def test_pictures_are_turned_upright(load, orientation, name):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = load(pillow(RGB, exif=exif, **({"lossless": True} if name.endswith("webp") else {})), name)
    assert_array_equal(data.trained.samples.numpy(), TURNED[orientation](RGB))


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "L"])
def test_jpegs_are_close_to_what_was_written(load, mode):
    smooth = np.stack(np.meshgrid(np.linspace(20, 230, 48), np.linspace(200, 60, 32), indexing="xy"), -1)
    picture = cat(smooth, smooth[..., :1]).astype(np.uint8)
    data = load(lambda path: Image.fromarray(picture).convert(mode).save(path, quality=100, subsampling=0), "smooth.jpg")
    expected = picture if mode != "L" else np.asarray(Image.fromarray(picture).convert("L"))[..., None]
    assert data.trained.samples.shape == expected.shape
    assert np.abs(data.trained.samples.numpy() - expected.astype(float)).max() <= 4


@pytest.mark.parametrize(("frame", "expected"), [(0, np.full_like(RGB, 40)), (1, RGB // 128 * 255)])
def test_a_frame_of_several_is_chosen(load, frame, expected):
    assert_array_equal(load(animation, "moving.gif", frame=frame).trained.samples.numpy(), expected)
    pages = tiff(np.stack([np.full_like(DEEP, 40), DEEP // 128 * 255]), photometric="rgb")
    expected = np.full_like(DEEP, 40) if frame == 0 else DEEP // 128 * 255
    assert_array_equal(load(pages, "pages.tif", frame=frame).trained.samples.numpy(), expected)


def test_a_folder_and_a_name_mean_the_file(tmp_path):
    pillow(RGB)(tmp_path / "bird.png")
    pillow(255 - RGB)(tmp_path / "baby.png")
    for name in ("bird", "bird.png"):
        data = ImageData(root=str(tmp_path), name=name)
        data.setup()
        assert_array_equal(data.trained.samples.numpy(), RGB)


def test_without_a_file_the_astronaut_leaves_something_to_score():
    data = ImageData()
    assert data.describe() == {
        "in_features": 2,
        "out_features": 3,
        "shape": [512, 512],
        "training_shape": [128, 128],
        "signals": 1,
        "input_scale": 1.0,
        "result": "data",
    }
    data.setup()
    assert len(data.train_samples) == 128**2
