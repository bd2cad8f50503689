import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLSLossless
from tiny.slices import write_dicom

from datamodules.scans.attenuation import MU_WATER
from datamodules.scans.read_slice import read_slice
from inr.errors import InputError

RANDOM = np.random.default_rng(0)
STORED = RANDOM.integers(0, 3000, (7, 9)).astype(np.int16)


def shown(found):
    return found.scale * found.values.astype(float) + found.offset


@pytest.fixture
def scan(tmp_path):
    return lambda stored=STORED, **tags: write_dicom(tmp_path / "slice.dcm", stored, **tags)


@pytest.mark.parametrize("number", ["int16", "uint16"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (0.5, -500), (2, 0), (None, None)])
def test_hounsfield_units_are_kept_down_to_air(scan, number, slope, intercept):
    found = read_slice(scan(STORED.astype(number), slope=slope, intercept=intercept))
    units = (slope or 1) * STORED.astype(float) + (intercept or 0)
    assert_allclose(shown(found), units.clip(-1000), atol=1e-3)
    assert found.values.dtype == np.float32
    assert found.values.min() >= 0
    assert (found.pixel, found.length, found.unit, found.window) == (0.5, "mm", "HU", (0.0, 80.0))


def test_water_attenuates_as_water_and_air_does_not(scan):
    found = read_slice(scan(np.array([[24, 1024], [0, 2024]], np.int16)))
    assert_allclose(found.values, [[0, MU_WATER], [0, 2 * MU_WATER]], rtol=1e-6)


@pytest.mark.parametrize("stored", [STORED, STORED.astype(np.uint16)], ids=["signed", "unsigned"])
def test_padding_is_air(scan, stored):
    value, limit = stored[0, 0], 2000
    outside = (stored >= min(value, limit)) & (stored <= max(value, limit))
    bare, one, many = (
        read_slice(scan(stored, **tags)).values
        for tags in ({}, {"padding": int(value)}, {"padding": int(value), "PixelPaddingRangeLimit": limit})
    )
    assert_array_equal(one, np.where(stored == value, 0, bare))
    assert_array_equal(many, np.where(outside, 0, bare))


def test_negative_padding_may_be_written_as_unsigned(scan):
    padded = np.where(STORED > 1500, np.int16(-2000), STORED)
    file = scan(padded, slope=-1, intercept=0, padding=-2000)
    file.write_bytes(file.read_bytes().replace(b"\x28\x00\x20\x01SS", b"\x28\x00\x20\x01US"))
    assert (read_slice(file).values[STORED > 1500] == 0).all()


def test_the_side_of_a_pixel_is_the_spacing(scan):
    unknown, imager = {"spacing": None}, {"spacing": None, "ImagerPixelSpacing": [0.2, 0.2]}
    for tags, side in (({}, (0.5, "mm")), (imager, (0.2, "mm")), (unknown, (1.0, "pixel"))):
        found = read_slice(scan(**tags))
        assert (found.pixel, found.length) == side


def test_the_window_is_the_first_or_the_one_asked_for(scan):
    first, whole = (0.0, 80.0), (-1000.0, 1000.0)
    for written, window in (((40, 80), first), (([40, 600], [80, 2000]), first), (None, whole), ((40, 0), whole)):
        found = [read_slice(scan(window=written), option).window for option in (None, (-15, 85))]
        assert found == [window, (-15.0, 85.0)]


@pytest.mark.parametrize("tags", [{"Modality": None}, {"Modality": "OT", "RescaleType": "HU"}, {"RescaleType": "US"}], ids=str)
def test_tags_that_mean_hounsfield_units(scan, tags):
    assert read_slice(scan(**tags)).unit == "HU"


@pytest.mark.parametrize("tags", [{"Modality": "MR"}, {"Modality": None, "intercept": None}, {"RescaleType": "MGML"}], ids=str)
def test_only_hounsfield_units_become_attenuation(scan, tags):
    found, numbers = read_slice(scan(window=None, **tags)), STORED - (0.0 if "intercept" in tags else 1024.0)
    assert_array_equal(found.values, numbers)
    assert (found.window, found.peak) == ((min(0, numbers.min()), numbers.max()), np.ptp(numbers))
    assert found.unit == f"array value ({numbers.min():g}..{numbers.max():g})"


def test_enhanced_files_are_read_like_others(scan):
    group, rescale, measures = Dataset(), Dataset(), Dataset()
    rescale.RescaleSlope, rescale.RescaleIntercept, measures.PixelSpacing = 1, -1024, [0.5, 0.5]
    group.PixelValueTransformationSequence, group.PixelMeasuresSequence = [rescale], [measures]
    plain = read_slice(scan())
    grouped = read_slice(scan(STORED[None], slope=None, intercept=None, spacing=None, SharedFunctionalGroupsSequence=[group]))
    assert_array_equal(grouped.values, plain.values)
    assert grouped.pixel == plain.pixel


def test_a_dicom_file_needs_no_ending(scan, tmp_path):
    file = scan()
    assert_array_equal(read_slice(file.rename(tmp_path / "IM0001")).values, read_slice(scan()).values)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"PixelData": None}, "needs pixel data"),
        ({"PixelData": STORED.tobytes()[:-2]}, "must be whole, .* less than expected"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "MONOCHROME1 or MONOCHROME2, .* is PALETTE COLOR"),
        ({"spacing": (0.5, 0.6)}, r"square to 1 %, .*\[0.5, 0.6\] mm"),
        ({"spacing": 0}, r"sides of \[0.0, 0.0\]"),
        ({"stored": np.stack([STORED, STORED])}, "one frame, .* has 2; choose one with data.frame=0"),
        *(({"stored": stored}, "the same value everywhere") for stored in (0 * STORED, STORED % 20)),
    ],
)
def test_broken_dicom_files_are_refused(scan, tags, words):
    with pytest.raises(InputError, match=words):
        read_slice(scan(**tags))


def test_a_dicom_file_cut_anywhere_is_refused_in_one_line(scan):
    file = scan()
    whole = file.read_bytes()
    for length in range(0, len(whole), 5):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"\A.*\Z"):
            read_slice(file)


def test_what_is_missing_can_be_installed(scan, monkeypatch):
    file = scan()
    dataset = dcmread(file)
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    dataset.save_as(file)
    with pytest.raises(InputError, match=r"JPEG-LS Lossless.*; pip install 'pylibjpeg\[all\]'"):
        read_slice(file)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(InputError, match="pip install pydicom"):
        read_slice(file)


@pytest.mark.parametrize("number", ["uint8", "uint16"])
@pytest.mark.parametrize("ending", ["png", "tif", "npy"])
def test_pictures_keep_their_numbers(tmp_path, number, ending):
    picture = RANDOM.integers(1, 200, (5, 8)).astype(number)
    file = tmp_path / f"slice.{ending}"
    np.save(file, picture) if ending == "npy" else Image.fromarray(picture).save(file)
    found = read_slice(file)
    assert_array_equal(shown(found), picture)
    bits = 8 * picture.itemsize
    assert (found.unit, found.peak) == (f"{bits}-bit value (0..{2**bits - 1})", 2**bits - 1)
    assert (found.pixel, found.length, found.window) == (1.0, "pixel", (0.0, picture.max()))


def test_equal_colours_are_one(tmp_path):
    grey = RANDOM.integers(0, 256, (5, 8, 1), np.uint8)
    for name, picture in (("grey.png", grey[..., 0]), ("equal.png", grey.repeat(3, -1)), ("own.png", grey - [[[0, 1, 0]]])):
        Image.fromarray(picture.astype(np.uint8)).save(tmp_path / name)
    assert_array_equal(read_slice(tmp_path / "equal.png").values, read_slice(tmp_path / "grey.png").values)
    with pytest.raises(InputError, match=r"one channel, .*own.png has 3 others; make it grey"):
        read_slice(tmp_path / "own.png")


def test_arrays_may_be_negative_but_not_infinite(tmp_path):
    array = RANDOM.normal(size=(6, 5))
    np.save(tmp_path / "slice.npy", array)
    found = read_slice(tmp_path / "slice.npy")
    assert_array_equal(shown(found), array.astype(np.float32))
    assert (found.window, found.peak) == ((found.values.min(), found.values.max()), np.ptp(found.values))
    for broken, words in ((np.nan, "got nan"), (1e39, "got inf")):
        array[3, 2] = broken
        np.save(tmp_path / "slice.npy", array)
        with pytest.raises(InputError, match=rf"finite in float32, {words} at \[3, 2\] and 1 such numbers in all"):
            read_slice(tmp_path / "slice.npy")


@pytest.mark.parametrize("size", [16, 21, 64])
@pytest.mark.parametrize("shape", [(32, 32), (32, 48)], ids=["square", "wide"])
def test_resizing_keeps_the_area_and_the_mass_in_it(tmp_path, shape, size):
    rows, columns = (np.linspace(-4, 4, count) for count in shape)
    np.save(tmp_path / "slice.npy", np.exp(-(rows[:, None] ** 2) - columns**2))
    whole, found = read_slice(tmp_path / "slice.npy"), read_slice(tmp_path / "slice.npy", size=size)
    assert found.values.shape == (size, size)
    assert found.values.dtype == np.float32
    assert (found.pixel * size) ** 2 == pytest.approx(whole.values.size)
    assert found.values.mean() == pytest.approx(whole.values.mean(), rel=5e-3)


@pytest.mark.parametrize("option", [*({"window": pair} for pair in [(1, 1), (2, 1), (1,), (0, np.nan)]), {"size": 1}])
def test_wrong_options_are_refused(scan, option):
    with pytest.raises(InputError, match=f"data.{next(iter(option))} must be .* got "):
        read_slice(scan(), **option)


def test_a_folder_is_refused_with_what_it_holds(scan):
    with pytest.raises(InputError, match=r"must be a file, got the folder .*slice\.dcm"):
        read_slice(scan().parent)
