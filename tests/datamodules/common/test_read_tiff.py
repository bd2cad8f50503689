"""TIFF files of every kind of colour, depth and layout, written by their tags and read back."""

import numpy as np
import pytest
import skimage.color
import tifffile
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageCms

from datamodules.common.pictures import read_image
from inr.errors import InputError

ROWS, COLUMNS = 6, 5
SIZE = (COLUMNS, ROWS)
TYPES = ("u1", "u2", "u4", "i2", "f2", "f4", "f8")
COUNTED = ("u1", "u2", "u4", "f4")  # types with a number that means full
random = np.random.default_rng(0)
UPRIGHT = {
    1: lambda picture: picture,
    2: lambda picture: picture[:, ::-1],
    3: lambda picture: np.rot90(picture, 2),
    4: lambda picture: picture[::-1],
    5: lambda picture: picture.swapaxes(0, 1),
    6: lambda picture: np.rot90(picture, -1),
    7: lambda picture: np.rot90(picture, 2).swapaxes(0, 1),
    8: lambda picture: np.rot90(picture, 1),
}


def draw(number, channels):
    """Random numbers over the range of a type."""
    number = np.dtype(number)
    if number.kind == "f":
        return random.uniform(0, 1, (ROWS, COLUMNS, channels)).astype(number)
    ends = np.iinfo(number)
    return random.integers(ends.min, ends.max, (ROWS, COLUMNS, channels), number, endpoint=True)


def peak(array):
    return np.iinfo(array.dtype).max if array.dtype.kind in "ui" else 1.0


def as_type(values, number):
    return values.round().astype(number) if np.dtype(number).kind in "ui" else values.astype(number)


def planes(array):
    return np.moveaxis(array, -1, 0)


@pytest.fixture
def stored(tmp_path):
    """Write a TIFF and read it back."""

    def stored(array, *, read=(), **options):
        tifffile.imwrite(tmp_path / "a.tif", array, **options)
        return read_image(tmp_path / "a.tif", **dict(read))

    return stored


def equals(found, expected):
    assert found.dtype == expected.dtype
    assert_allclose(found, expected, rtol=0, atol=1e-6 if expected.dtype.kind == "f" else 0)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("number", TYPES)
def test_bands_keep_their_numbers_in_every_layout(stored, number, tile, compression):
    layout = {"tile": tile, "compression": compression}
    for channels in (1, 2, 3, 5):
        bands = draw(number, channels)
        equals(stored(bands.squeeze(), photometric="minisblack", planarconfig="contig", **layout), bands)
    colours = draw(number, 4)  # the fourth is no transparency: near infrared
    options = {"photometric": "rgb", "extrasamples": ["unspecified"], **layout}
    equals(stored(colours, planarconfig="contig", **options), colours)
    equals(stored(planes(colours), planarconfig="separate", **options), colours)


@pytest.mark.parametrize("number", COUNTED)
def test_min_is_white_is_turned_round(stored, number):
    grey = draw(number, 1)
    equals(stored(as_type(peak(grey) - grey[..., 0], number), photometric="miniswhite"), grey)


@pytest.mark.parametrize("bits", [1, 2, 4, 10, 12, 14])
def test_few_bits_are_stretched_to_the_range_of_their_type(stored, bits):
    number = np.uint8 if bits < 8 else np.uint16
    steps = random.integers(0, 2**bits, (ROWS, COLUMNS, 1)).astype(number)
    full = (steps * (np.iinfo(number).max / (2**bits - 1))).round().astype(number)
    given = steps[..., 0].astype(bool) if bits == 1 else steps[..., 0]
    equals(stored(given, photometric="minisblack", bitspersample=bits), full)
    equals(stored(given, photometric="miniswhite", bitspersample=bits), np.iinfo(number).max - full)


@pytest.mark.parametrize("number", COUNTED)
def test_inks_become_colours(stored, number):
    inks = draw(number, 4)
    light = peak(inks) - inks.astype(float)
    expected = as_type(light[..., :3] * light[..., 3:] / peak(inks), number)  # (1 - C) (1 - K)
    equals(stored(inks, photometric="separated", planarconfig="contig"), expected)
    equals(stored(planes(inks), photometric="separated", planarconfig="separate"), expected)


@pytest.mark.parametrize("index", ["u1", "u2"])
def test_palettes_are_looked_up_in_their_own_depth(stored, index):
    entries = np.iinfo(index).max + 1
    places, colours = draw(index, 1)[..., 0], random.integers(0, 65536, (3, entries), np.uint16)
    equals(stored(places, photometric="palette", colormap=colours), colours.T[places])
    high = colours >> 8
    for bytes_as in (high, high * 256, high * 257):
        equals(stored(places, photometric="palette", colormap=bytes_as), high.T[places].astype(np.uint8))


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("number", COUNTED)
def test_transparency_is_what_the_tag_declares(stored, number, channels, kind):
    colours, alpha, band = draw(number, channels), draw(number, 1), draw(number, 1)
    share = alpha / peak(alpha)
    premultiplied = kind == "assocalpha"
    given = as_type(share * colours, number) if premultiplied else colours
    behind = peak(alpha) * (1 - share) * (np.array([0.2, 0.9, 0.4]) if channels == 3 else 0.5)
    expected = np.concatenate([given + behind if premultiplied else share * colours + behind, band], -1)
    photometric = "rgb" if channels == 3 else "minisblack"
    read = {"background": [0.2, 0.9, 0.4]}
    options = {"photometric": photometric, "extrasamples": ["unspecified", kind], "read": read}
    for array, layout in ((np.concatenate([given, band, alpha], -1), "contig"), (None, "separate")):
        given_as = planes(np.concatenate([given, band, alpha], -1)) if array is None else array
        found = stored(given_as, planarconfig=layout, **options)
        assert found.dtype == number
        assert_allclose(found, expected, rtol=1e-6, atol=1e-6 if number == "f4" else 1)


def test_a_fourth_sample_of_no_declared_kind_stays_with_a_note(stored, tmp_path):
    colours = draw("u2", 4)
    tifffile.imwrite(tmp_path / "b.tif", colours, photometric="rgb", extrasamples=["unspecified"])
    content = (tmp_path / "b.tif").read_bytes()
    tag = b"\x52\x01\x03\x00"  # 338, ExtraSamples, of shorts; renamed to a tag that nobody knows
    assert content.count(tag) == 1
    (tmp_path / "b.tif").write_bytes(content.replace(tag, b"\xe8\xfd\x03\x00"))
    with pytest.warns(UserWarning, match=r"b\.tif: does not declare its last sample as transparency"):
        equals(read_image(tmp_path / "b.tif"), colours)


def test_bands_beyond_grey_are_not_laid_over_a_background(stored):
    grey, bands, alpha = draw("u1", 1), draw("u1", 2), np.zeros((ROWS, COLUMNS, 1), np.uint8)
    kinds = ["unspecified", "unspecified", "unassalpha"]
    given = np.concatenate([grey, bands, alpha], -1)
    found = stored(given, photometric="minisblack", planarconfig="contig", extrasamples=kinds)
    assert_array_equal(found, np.concatenate([np.full_like(grey, 255), bands], -1))


def test_pixels_without_data_are_counted(stored):
    heights = draw("f4", 1)[..., 0]
    heights[:2, 1:3] = -9999
    with pytest.warns(UserWarning, match=r"a\.tif: has 4 pixels without data, .* -9999 that marks them: replace them"):
        equals(stored(heights, extratags=[(42113, "s", 6, "-9999", True)]), heights[..., None])
    equals(stored(heights[2:], extratags=[(42113, "s", 6, "-9999", True)]), heights[2:, :, None])


@pytest.mark.parametrize("kind", ["cielab", "icclab"])
def test_lab_becomes_what_a_colour_engine_makes_of_it(stored, kind):
    lab = skimage.color.rgb2lab(np.random.default_rng(1).uniform(0.4, 0.8, (ROWS, COLUMNS, 3)))
    lab = np.concatenate([(lab[..., :1] * 2.55).round() / 2.55, lab[..., 1:].round()], -1)  # what 8 bits hold
    light, opponents = lab[..., :1] / 100, lab[..., 1:]
    bytes_of = np.concatenate([light * 255, opponents], -1).round().astype(np.int16).astype(np.uint8)
    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    engine = ImageCms.buildTransform(*profiles, "LAB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)
    expected = np.asarray(ImageCms.applyTransform(Image.frombytes("LAB", SIZE, bytes_of.tobytes()), engine))
    if kind == "icclab":
        given = {1: bytes_of + np.array([0, 128, 128], np.uint8)}
        given[2] = np.concatenate([light * 65280, opponents * 256 + 32768], -1).round().astype(np.uint16)
    else:
        deep = np.concatenate([(light * 65535).round(), opponents * 256], -1).astype(np.int32).astype(np.uint16)
        given = {1: bytes_of, 2: deep, 4: lab.astype(np.float32)}
    for size, array in given.items():
        found = stored(array, photometric=kind)
        assert found.dtype == array.dtype
        assert_allclose(found / peak(found), expected / 255, atol=0.02, err_msg=f"{size} bytes")  # of the engine's tables


SMOOTH = np.stack(np.meshgrid(np.linspace(20, 230, 32), np.linspace(200, 60, 24), indexing="xy"), -1)
SMOOTH = np.concatenate([SMOOTH, SMOOTH[..., :1]], -1).astype(np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "YCbCr"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits", "jpeg"])
def test_brightness_and_differences_of_colour_become_colours(tmp_path, compression, mode):
    Image.fromarray(SMOOTH).convert(mode).save(tmp_path / "a.tif", compression=compression)
    assert_allclose(read_image(tmp_path / "a.tif").astype(int), SMOOTH, atol=8 if compression == "jpeg" else 4)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "raw"])
def test_faxes_are_read(tmp_path, compression, orientation):
    bits = draw("u1", 1)[..., 0] > 100
    Image.fromarray(bits).save(tmp_path / "a.tif", compression=compression, tiffinfo={274: orientation})
    assert_array_equal(read_image(tmp_path / "a.tif"), UPRIGHT[orientation](bits * np.uint8(255))[..., None])


@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize(("number", "channels"), [("u1", 1), ("u1", 3), ("u2", 1), ("u2", 3), ("f4", 2)])
@pytest.mark.parametrize("orientation", [0, *UPRIGHT, 9])
def test_pages_are_turned_upright(stored, orientation, number, channels, compression):
    picture = draw(number, channels)
    options = {"photometric": "rgb" if channels == 3 else "minisblack", "planarconfig": "contig", "compression": compression}
    tag = [(274, "H", 1, orientation, True)]
    found = stored(picture[..., 0] if channels == 1 else picture, extratags=tag, **options)
    equals(found, UPRIGHT.get(orientation, UPRIGHT[1])(picture))


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_both_orders_of_bytes_and_large_files_are_read(stored, bigtiff, byteorder, large):
    picture = draw("u2", 3)
    equals(stored(picture, photometric="rgb", byteorder=byteorder, bigtiff=bigtiff, read={"large": large}), picture)


@pytest.mark.parametrize("layout", [{}, {"tile": (16, 16), "compression": "zlib"}])
def test_large_pages_are_mapped_and_not_read(stored, layout):
    picture = draw("u1", 3)
    found = stored(picture, photometric="rgb", read={"large": True}, **layout)
    equals(found, picture)
    assert isinstance(found, np.memmap)


def test_previews_are_no_frames(tmp_path):
    picture = draw("u2", 3)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(picture, photometric="rgb")
        file.write(picture[::2, ::2], photometric="rgb", subfiletype=1)
    equals(read_image(tmp_path / "a.tif"), picture)


REFUSED = {
    "raw": ({"photometric": 32803}, "is of the kind CFA; save it as RGB"),
    "preview": ({"subfiletype": 1}, "camera's raw photograph and holds previews alone; develop it"),
    "stack": ({"truncate": True}, r"is a stack \(4, 6, 5\) in one page; save every picture as a page"),
    "volume": ({"volumetric": True, "tile": (16, 16, 16)}, "its axes are ZYX"),
    "inks": ({"photometric": "separated", "extratags": [(332, "H", 1, 2, True)]}, "inks that are not cyan"),
    "signed": ({"photometric": "miniswhite"}, "int16 that count from white have no black"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_pages_that_are_no_plain_pictures_are_refused_by_their_kind(stored, case):
    options, message = REFUSED[case]
    channels = {"stack": 4, "volume": 16, "inks": 4}.get(case, 1)
    array = draw("i2" if case == "signed" else "u2", channels)
    given = planes(array).copy() if case in ("stack", "volume") else array.squeeze()
    with pytest.raises(InputError, match=message):
        stored(given, **{"photometric": "minisblack"} | options)
