import sys

import numpy as np
import pytest
import SimpleITK
import tifffile
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless, RLELossless
from scipy.io import savemat
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


# frames, and DICOM of all ages

VOLUME = np.stack([STORED, STORED[::-1], 3000 - STORED])


@pytest.mark.parametrize("frame", range(3))
def test_a_frame_of_several_is_read_in_hounsfield_units(scan, frame):
    found = read_slice(scan(VOLUME), frame=frame)
    assert_allclose(shown(found), (VOLUME[frame] - 1024.0).clip(-1000), atol=1e-3)
    assert (found.pixel, found.unit) == (0.5, "HU")
    for beyond in (3, -1):
        with pytest.raises(InputError, match=r"data.frame must be in 0 .. 2, the frames of .*slice.dcm"):
            read_slice(scan(VOLUME), frame=beyond)


def test_frames_may_be_compressed(scan):
    dataset = dcmread(scan(VOLUME))
    dataset.compress(RLELossless, generate_instance_uid=False)
    file = scan()
    dataset.save_as(file)
    assert_allclose(shown(read_slice(file, frame=1)), (VOLUME[1] - 1024.0).clip(-1000), atol=1e-3)


def test_a_frame_has_its_own_rescaling_and_spacing(scan):
    def group(slope, spacing):
        rescale, measures, frame = Dataset(), Dataset(), Dataset()
        rescale.RescaleSlope, rescale.RescaleIntercept, measures.PixelSpacing = slope, -1000 * slope, [spacing] * 2
        frame.PixelValueTransformationSequence, frame.PixelMeasuresSequence = [rescale], [measures]
        return frame

    groups = [group(1 + place, 0.5 + place) for place in range(3)]
    file = scan(VOLUME, slope=None, intercept=None, spacing=None, PerFrameFunctionalGroupsSequence=groups)
    for place in range(3):
        found = read_slice(file, frame=place)
        assert found.pixel == 0.5 + place
        assert_allclose(shown(found), (1 + place) * (VOLUME[place] - 1000.0).clip(-1000 / (1 + place)), atol=2e-3)


@pytest.mark.parametrize("number", ["int16", "uint16"])
def test_hounsfield_units_are_the_same_whatever_is_white(scan, number):
    inverted = {"PhotometricInterpretation": "MONOCHROME1"}
    plain = read_slice(scan(STORED.astype(number)))
    assert_array_equal(read_slice(scan(STORED.astype(number), **inverted)).values, plain.values)
    turned = read_slice(scan((3000 - STORED).astype(number), slope=-1, intercept=3000 - 1024, **inverted))
    assert_array_equal(turned.values, plain.values)
    assert turned.window == plain.window


def test_other_numbers_become_larger_where_they_are_white(scan):
    padded = np.where(STORED < 100, -2000, STORED).astype(np.int16)
    tags = {"PhotometricInterpretation": "MONOCHROME1", "Modality": "OT", "intercept": 0, "window": (1000, 500)}
    with pytest.warns(UserWarning, match=r"slice.dcm shows low numbers as white.*: number x became \d+ - x"):
        found = read_slice(scan(padded, padding=-2000, **tags))
    outside = padded == -2000
    low, high = int(padded[~outside].min()), int(padded.max())
    assert_array_equal(found.values, np.where(outside, 0, low + high - padded))
    assert found.window == (low + high - 1250, low + high - 750)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("meta", [False, True])
@pytest.mark.parametrize("name", ["bare.dcm", "bare", "IM.ima"])
def test_a_preamble_is_not_needed(scan, tmp_path, syntax, meta, name):
    dataset = dcmread(scan())
    plain = read_slice(scan())
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset["PixelData"].VR = "OW"
    dataset.save_as(tmp_path / "whole.dcm", enforce_file_format=True)
    content = (tmp_path / "whole.dcm").read_bytes()[132:]  # preamble and magic word
    length = int.from_bytes(content[8:12], "little")
    (tmp_path / name).write_bytes(content if meta else content[12 + length :])
    found = read_slice(tmp_path / name)
    assert_array_equal(found.values, plain.values)
    assert (found.pixel, found.unit) == (plain.pixel, "HU")


def test_a_table_of_values_stands_for_slope_and_intercept(scan):
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [3000, 0, 16], "HU"
    table.LUTData = np.arange(3000, dtype=np.uint16)[::-1].tobytes()
    table["LUTData"].VR = "OW"
    stored = STORED.astype(np.uint16)
    found = read_slice(scan(stored, slope=None, intercept=None, ModalityLUTSequence=[table]), hounsfield=False)
    assert_array_equal(found.values, 2999 - STORED)


def test_numbers_may_be_floats(scan):
    values = RANDOM.normal(size=(7, 9)).astype(np.float32)
    tags = {"PixelData": None, "FloatPixelData": values.tobytes(), "BitsAllocated": 32, "Modality": "OT"}
    bare = dict.fromkeys(("BitsStored", "HighBit", "PixelRepresentation", "slope", "intercept", "window"))
    assert_array_equal(read_slice(scan(values, **tags, **bare)).values, values)


# volumes

HU = (RANDOM.integers(0, 2000, (3, 7, 9)) - 1000).astype(np.int16)
HU[:, 0, 0] = -1000
FOUR_AXES = {"spacing": (1, 1, 1, 1), "isVector": False}


@pytest.fixture
def volume(tmp_path):
    """Write a volume (slices, rows, columns) as SimpleITK does."""

    def write(name, array=HU, spacing=(0.7, 0.7, 1.5), **options):
        image = SimpleITK.GetImageFromArray(array, **options)
        image.SetSpacing(spacing[: image.GetDimension()])
        SimpleITK.WriteImage(image, tmp_path / name.lower(), "gz" in name or "packed" in name)
        return (tmp_path / name.lower()).rename(tmp_path / name)

    return write


FILES = ["scan.nii", "scan.nii.gz", "SCAN.NII", "scan.nrrd", "packed.nrrd", "scan.nhdr", "scan.mha", "packed.mha", "scan.mhd"]


@pytest.mark.parametrize("number", ["int16", "float64"])
@pytest.mark.parametrize("name", FILES)
def test_slices_of_volumes_keep_their_place_spacing_and_hounsfield_units(volume, name, number):
    file = volume(name, HU.astype(number))
    for frame in range(3):
        with pytest.warns(UserWarning, match=r"reaches down to -1000, .* taken as Hounsfield units; data.hounsfield=true or"):
            found = read_slice(file, frame=frame)
        assert_allclose(shown(found), HU[frame], atol=1e-3)
        assert (found.pixel, found.length, found.unit) == (pytest.approx(0.7), "mm", "HU")
        assert_array_equal(read_slice(file, frame=frame, hounsfield=True).values, found.values)
    assert_array_equal(read_slice(file, frame=1, hounsfield=False).values, HU[1])
    with pytest.raises(InputError, match=r"one frame, .* has 3; choose one with data.frame=0"):
        read_slice(file)


def test_a_nifti_file_is_rescaled_as_it_says(volume):
    file = volume("scan.nii", (HU + 1024).astype(np.int16))
    content = bytearray(file.read_bytes())
    content[112:120] = np.array([1, -1024], "<f4").tobytes()  # slope and intercept
    file.write_bytes(content)
    assert_allclose(shown(read_slice(file, frame=2, hounsfield=True)), HU[2], atol=1e-3)


def test_a_volume_of_one_slice_or_a_picture_needs_no_frame(volume):
    for name, array in (("scan.mha", HU[:1]), ("flat.mha", HU[0]), ("scan.nii", HU[:1])):
        assert_allclose(shown(read_slice(volume(name, array), hounsfield=True)), HU[0], atol=1e-3)


def test_a_volume_without_spacing_counts_pixels(volume, tmp_path):
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 9 7 3\nendian: little\nencoding: raw\n\n"
    (tmp_path / "bare.nrrd").write_bytes(header.encode() + HU.astype("<i2").tobytes())
    found = read_slice(tmp_path / "bare.nrrd", frame=1, hounsfield=True)
    assert (found.pixel, found.length) == (1.0, "pixel")
    assert_allclose(shown(found), HU[1], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "array", "options", "words"),
    [
        ("scan.mha", HU, {"spacing": (0.5, 0.8, 1)}, r"square to 1 %, .*\[0.8, 0.5\] mm"),
        (
            "scan.nii",
            np.stack([HU, HU]),
            {"spacing": (1, 1, 1, 1), "isVector": False},
            r"\(slices, rows, columns\), .* \(2, 3, 7, 9\)",
        ),
        ("scan.nrrd", np.stack([HU] * 3, -1), {"isVector": True}, "one channel, .* has 3; save one"),
        ("scan.nrrd", 0 * HU, {}, "the same value everywhere"),
    ],
)
def test_volumes_that_hold_no_slices_are_refused(volume, name, array, options, words):
    with pytest.raises(InputError, match=rf"\A.*{words}.*\Z"):
        read_slice(volume(name, array, **options), frame=0)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.nrrd", "scan.mha"])
def test_a_volume_cut_anywhere_is_refused_in_one_line(volume, name):
    file = volume(name)
    whole = file.read_bytes()
    for length in range(0, len(whole), 29):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"\A.*\Z"):
            read_slice(file, frame=0, hounsfield=True)


def test_arrays_hold_volumes_and_hounsfield_units_too(tmp_path):
    np.save(tmp_path / "scan.npy", HU)
    np.savez(tmp_path / "scan.npz", slice=HU, more=1)
    savemat(tmp_path / "scan.mat", {"image": np.moveaxis(HU, 0, -1), "more": 1})
    for name in ("scan.npy", "scan.npz", "scan.mat"):
        with pytest.warns(UserWarning, match="taken as Hounsfield units"):
            assert_allclose(shown(read_slice(tmp_path / name, frame=1)), HU[1], atol=1e-3)
        with pytest.raises(InputError, match=r"one frame, .* has 3; choose one with data.frame=0"):
            read_slice(tmp_path / name)
    savemat(tmp_path / "flat.mat", {"head": HU[0]})
    tifffile.imwrite(tmp_path / "flat.tif", HU[0])
    for name in ("flat.mat", "flat.tif"):
        assert_allclose(shown(read_slice(tmp_path / name, hounsfield=True)), HU[0], atol=1e-3)
