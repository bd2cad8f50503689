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
CLEAR = np.where(INDICES[..., None] == 2, 255, COLOURS[INDICES])
SIX = np.concatenate([RGB, RGB], -1)
SHOWN = {"result": "data", "whole_views": None, "smoothed": {"part": "data", "quantity": "jacobian"}}  # to the other groups


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
    image = Image.fromarray(INDICES, "P")
    image.putpalette(COLOURS.flatten().tolist())
    return lambda path: image.save(path, **options)


def animation(path):
    first, second = Image.fromarray(np.full_like(RGB, 40)), Image.fromarray(RGB // 128 * 255)
    first.save(path, save_all=True, append_images=[second])


def numpy_file(array):
    return lambda path: (np.save if path.suffix == ".npy" else np.savez)(path, array)


def cat(*parts):
    return np.concatenate(parts, -1)


FILES = {
    "grey.png": (pillow(GREY), GREY),
    **{f"colour.{ending}": (pillow(RGB), RGB) for ending in ("png", "bmp")},
    "lossless.webp": (pillow(RGB, lossless=True), RGB),
    **{f"bits.{ending}": (pillow(BITS), BITS * np.uint8(255)) for ending in ("png", "tif")},
    **{f"palette.{ending}": (palette(), COLOURS[INDICES]) for ending in ("png", "gif", "tif")},
    **{f"transparent.{ending}": (palette(transparency=2), CLEAR) for ending in ("png", "gif")},
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
    **{f"{wide.shape[-1]}_channels.npy": (numpy_file(wide), wide) for wide in (SIX[..., :2], SIX[..., :4], SIX[..., :5])},
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
    assert (data.trained.samples.dtype == torch.uint8) == (expected.dtype == np.uint8)  # bytes stay bytes
    described = data.describe()
    assert [*described["shape"], described["out_features"]] == list(expected.shape)
    fitted = data.normalise(data.trained.samples)
    if expected.dtype in (np.uint8, np.uint16):  # the range of the type is [-1, 1]
        assert data.units.peak == np.iinfo(expected.dtype).max
        assert_close(data.normalise(torch.tensor([0.0, data.units.peak])), torch.tensor([-1.0, 1.0]))
    else:  # the range of the values is
        assert [fitted.min().item(), fitted.max().item()] == pytest.approx([-1, 1])


@pytest.mark.parametrize(
    ("background", "colour"),
    [("white", (1, 1, 1)), ("black", (0, 0, 0)), ("grey", (0.5, 0.5, 0.5)), ([0.2, 0.9, 0.4], (0.2, 0.9, 0.4))],
)
def test_transparency_is_laid_over_the_background(load, background, colour):
    index = np.where(INDICES[..., None] == 1, 255 * np.array(colour), COLOURS[INDICES])
    expected = [(palette(transparency=1), index)]
    for array, alpha, write in ((RGB, ALPHA, pillow), (DEEP, DEEP_ALPHA, deep_png)):
        expected.append((write(cat(array, alpha)), laid(colour, array, alpha)))
        expected.append((write(cat(array[..., :1], alpha)), laid([sum(colour) / 3], array[..., :1], alpha)))
    for write, pixels in expected:
        found = load(write, "picture.png", background=background).trained.samples.numpy()
        assert_allclose(found, pixels, rtol=0, atol=0.501)


TURNED = {1: RGB, 2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1]}  # those of 5..8 have rows and columns swapped
TURNED |= {turned + 4: TURNED[source].transpose(1, 0, 2) for turned, source in ((1, 1), (2, 4), (3, 3), (4, 2))}


@pytest.mark.parametrize("name", ["turned.png", "turned.tif", "turned.webp"])
@pytest.mark.parametrize("orientation", TURNED)
def test_pictures_are_turned_upright(load, orientation, name):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = load(pillow(RGB, exif=exif, **({"lossless": True} if name.endswith("webp") else {})), name)
    assert_array_equal(data.trained.samples.numpy(), TURNED[orientation])


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
    pages = np.stack([DEEP, DEEP[::-1]])
    found = load(tiff(pages, photometric="rgb"), "pages.tif", frame=frame)
    assert_array_equal(found.trained.samples.numpy(), pages[frame])


def test_a_folder_and_a_name_mean_the_file(tmp_path):
    pillow(RGB)(tmp_path / "bird.png")
    pillow(255 - RGB)(tmp_path / "baby.png")
    for name in ("bird", "bird.png"):
        data = ImageData(root=str(tmp_path), name=name)
        data.setup()
        assert_array_equal(data.trained.samples.numpy(), RGB)


def test_without_a_file_the_astronaut_leaves_something_to_score():
    data = ImageData()
    sizes = {"in_features": 2, "out_features": 3, "shape": [512, 512], "training_shape": [128, 128]}
    assert data.describe() == sizes | {"signals": 1, "input_scale": 1.0} | SHOWN
    assert len(data.train_samples) == 128**2
