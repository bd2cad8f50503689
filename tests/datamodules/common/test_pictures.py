"""Pictures of other kinds than TIFF: told by their content, in their own depth, upright; or named with the way out."""

import io
import os
import struct
import sys
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import png
import pytest
import scipy.io
import tifffile
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from tiny.matlab import write_hdf5

from datamodules.common.pictures import read_image
from datamodules.grids.image import ImageData
from datamodules.scans.read_slice import read_slice
from inr.errors import InputError

CASES = Path(os.environ.get("INR_DATA", "nowhere")) / "cases" / "image"
ROWS, COLUMNS = 6, 5
random = np.random.default_rng(0)
BYTES = random.integers(0, 256, (ROWS, COLUMNS, 3), np.uint8)
DEEP = random.integers(0, 65536, (ROWS, COLUMNS, 3), np.uint16)
REAL = random.uniform(0, 1, (ROWS, COLUMNS, 3)).astype(np.float32)
TURNS = {6: lambda picture: np.rot90(picture, -1), 3: lambda picture: np.rot90(picture, 2), 2: lambda picture: picture[:, ::-1]}


# orientation


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def says(orientation):
    """Chunks of PNG that hold an orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    rdf = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
    inside = f'<rdf:RDF {rdf}><rdf:Description tiff:Orientation="{orientation}"/></rdf:RDF>'
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{inside}</x:xmpmeta>'
    raw = f"\nexif\n{len(exif.tobytes()):8d}\n{exif.tobytes().hex()}\n"
    return {
        "exif": chunk(b"eXIf", exif.tobytes()[6:]),
        "xmp": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp.encode()),
        "raw profile": chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw.encode())),
    }


@pytest.mark.parametrize("at", [33, -12], ids=["before", "after"])  # the header, or the end
@pytest.mark.parametrize("place", says(1))
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [8, 16])
def test_png_is_turned_upright_wherever_it_says_so(tmp_path, bits, channels, place, at):
    picture = (BYTES if bits == 8 else DEEP)[..., :channels]
    plain = io.BytesIO()
    png.Writer(COLUMNS, ROWS, greyscale=channels == 1, bitdepth=bits).write(plain, picture.reshape(ROWS, -1).tolist())
    content = plain.getvalue()
    for orientation, turned in TURNS.items():
        (tmp_path / "a.png").write_bytes(content[:at] + says(orientation)[place] + content[at:])
        found = read_image(tmp_path / "a.png")
        assert found.dtype == picture.dtype
        assert_array_equal(found, turned(picture))


# depth


@pytest.mark.parametrize("highest", [255, 4095, 65535])
def test_portable_maps_keep_their_depth(tmp_path, highest):
    number, full = (">u2", 65535) if highest > 255 else ("u1", 255)
    given = random.integers(0, highest + 1, (ROWS, COLUMNS, 3))
    expected = (given * (full / highest)).round().astype(number[-2:])
    words = " ".join(map(str, given.ravel())).encode()
    files = {
        "P6": given.astype(number).tobytes(),
        "P3": b"# a comment\n" + words,
        "P5": given[..., :1].astype(number).tobytes(),
    }
    for magic, content in files.items():
        (tmp_path / "a.ppm").write_bytes(f"{magic}\n# made by hand\n{COLUMNS} {ROWS}\n{highest}\n".encode() + content)
        assert_array_equal(read_image(tmp_path / "a.ppm"), expected[..., :1] if magic == "P5" else expected)


@pytest.mark.parametrize(("picture", "bits"), [(BYTES, 8), (DEEP, 16), (DEEP // 16, 12), (DEEP[..., :1], 16)])
def test_jpeg_2000_keeps_its_depth(tmp_path, picture, bits):
    content = imagecodecs.jpeg2k_encode(picture.squeeze(), level=0, bitspersample=bits, codecformat="jp2")
    (tmp_path / "a.jp2").write_bytes(content)
    full = np.iinfo(picture.dtype).max
    assert_array_equal(read_image(tmp_path / "a.jp2"), (picture * (full / (2**bits - 1))).round().astype(picture.dtype))


# several pictures


def test_a_photograph_with_others_behind_it_is_the_first_with_a_note(tmp_path):
    smooth = np.stack(np.meshgrid(np.linspace(20, 230, 32), np.linspace(200, 60, 24)), -1)
    smooth = np.concatenate([smooth, smooth[..., :1]], -1).astype(np.uint8)
    one, other = Image.fromarray(smooth), Image.fromarray(255 - smooth)
    one.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[other], quality=100)
    with pytest.warns(UserWarning, match=r"a\.jpg: the first of its 2 pictures is read; data\.frame chooses another"):
        found = read_image(tmp_path / "a.jpg")
    assert_allclose(found.astype(int), smooth, atol=9)
    for frame, expected in enumerate((smooth, 255 - smooth)):
        assert_allclose(read_image(tmp_path / "a.jpg", frame).astype(int), expected, atol=9)


def test_later_frames_of_16_bits_are_refused(tmp_path):
    plain = io.BytesIO()
    png.Writer(COLUMNS, ROWS, greyscale=False, bitdepth=16).write(plain, DEEP.reshape(ROWS, -1).tolist())
    head, data, end = plain.getvalue()[:33], plain.getvalue()[33:-12], plain.getvalue()[-12:]
    control = struct.pack(">IIIIHHBB", COLUMNS, ROWS, 0, 0, 1, 1, 0, 0)
    first, second = (chunk(b"fcTL", struct.pack(">I", place) + control) for place in (0, 1))
    again = chunk(b"fdAT", struct.pack(">I", 2) + data[8:-4])
    (tmp_path / "a.png").write_bytes(head + chunk(b"acTL", struct.pack(">II", 2, 0)) + first + data + second + again + end)
    assert_array_equal(read_image(tmp_path / "a.png", 0), DEEP)
    for frame, message in ((None, "has 2; choose one"), (1, "frames of 16 bits behind the first cannot be read")):
        with pytest.raises(InputError, match=message):
            read_image(tmp_path / "a.png", frame)


# tensors of other programs


def float_map(order, channels):
    magic, scale = "PF" if channels == 3 else "Pf", "-1.0" if order == "<" else "1.0"
    return f"{magic}\n{COLUMNS} {ROWS}\n{scale}\n".encode() + REAL[::-1, :, :channels].astype(f"{order}f4").tobytes()


def exr(channels):
    def write(path):
        pytest.importorskip("OpenEXR").File({}, channels).write(str(path))

    return write


def torch_file(content, **options):
    return lambda path: torch.save(content, path, **options)


def matlab(**content):
    return lambda path: scipy.io.savemat(str(path), content, appendmat=False)


def content(data):
    return lambda path: path.write_bytes(data)


def as_npy(array):
    def write(path):
        with path.open("wb") as file:
            np.save(file, array)

    return write


SHARED = np.ldexp(random.integers(128, 256, (ROWS, COLUMNS, 3)), -4).astype(np.float32)  # three numbers of one exponent
ALPHA = random.uniform(0, 1, (ROWS, COLUMNS, 1)).astype(np.float32)
TENSORS = {
    **{
        f"float map {order} {channels}": (content(float_map(order, channels)), REAL[..., :channels])
        for order in "<>"
        for channels in (1, 3)
    },
    "radiance": (content(imagecodecs.rgbe_encode(SHARED)), SHARED),
    "exr": (exr({"RGB": REAL}), REAL),
    "exr half": (exr({"RGB": REAL.astype(np.float16)}), REAL.astype(np.float16)),
    "exr luma": (exr({"Y": REAL[..., 0].copy()}), REAL[..., :1]),
    "exr alpha": (exr({"RGBA": np.concatenate([REAL * ALPHA, ALPHA], -1)}), REAL * ALPHA + 1 - ALPHA),
    "torch": (torch_file(torch.from_numpy(REAL)), REAL),
    "torch dictionary": (torch_file({"picture": torch.from_numpy(BYTES)}), BYTES),
    "matlab": (matlab(picture=DEEP), DEEP),
    "matlab grey": (matlab(picture=REAL[..., 0]), REAL[..., :1]),
    "numpy": (as_npy(REAL), REAL),
    "tiff": (lambda path: tifffile.imwrite(path, DEEP, photometric="rgb"), DEEP),
    "png": (lambda path: Image.fromarray(BYTES).save(path, format="png"), BYTES),
}


@pytest.mark.parametrize("ending", [".tif", ".png", ".npy", ".dat"])
@pytest.mark.parametrize("kind", TENSORS)
def test_files_are_told_by_their_content(tmp_path, kind, ending):
    write, expected = TENSORS[kind]
    write(tmp_path / f"a{ending}")
    found = read_image(tmp_path / f"a{ending}")
    assert found.dtype == expected.dtype
    assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_older_files_are_told_by_their_ending(tmp_path):
    torch.save(torch.from_numpy(REAL), tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    assert_array_equal(read_image(tmp_path / "a.pt"), REAL)
    scipy.io.savemat(str(tmp_path / "a.mat"), {"picture": REAL[..., 0]}, format="4")
    assert_array_equal(read_image(tmp_path / "a.mat")[..., 0], REAL[..., 0])


@pytest.mark.parametrize("array", [REAL, REAL[..., 0], (255 * REAL).astype(np.uint8)], ids=["colours", "grey", "bytes"])
def test_matrices_of_matlab_7_3_lie_as_those_of_older_versions(tmp_path, array):
    write_hdf5(tmp_path / "a.mat", picture=array)
    scipy.io.savemat(str(tmp_path / "b.mat"), {"picture": array})
    found = read_image(tmp_path / "a.mat")
    assert found.dtype == array.dtype
    assert_array_equal(found, read_image(tmp_path / "b.mat"))
    assert_array_equal(found.reshape(array.shape), array)


# named, with the way out

BOX = b"\0\0\0\x18ftyp"
STRANGERS = {
    "heic": (content(BOX + b"heic" + bytes(99)), "is HEIC, .*convert it to png, jpeg or tiff"),
    "film": (content(BOX + b"isom" + bytes(99)), "is a film; data=video takes films"),
    "matlab 7.3": (content(b"MATLAB 7.3 MAT-file" + bytes(99)), "must be a whole file"),
    "hdf": (content(b"\x89HDF\r\n\x1a\n" + bytes(99)), "is HDF5; save the one array as .npy"),
    "dicom": (content(bytes(128) + b"DICM"), "is DICOM; task=ct data=slice takes it"),
    "pdf": (content(b"%PDF-1.4"), "is a PDF; convert it"),
    "svg": (content(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "is a drawing of lines .svg.; convert it"),
    "canon": (content(b"II*\0\x10\0\0\0CR\2\0" + bytes(99)), "is a camera's raw photograph .*develop it"),
    "olympus": (content(b"IIRO" + bytes(99)), "is a camera's raw photograph; develop it"),
    "exr of depths": (
        exr({"Z": REAL[..., 0].copy(), "N": REAL[..., 1].copy()}),
        "R, G, B or Y, .* has N, Z; save those .* as .npy",
    ),
    "tensors": (
        torch_file({"a": torch.zeros(2), "b": torch.zeros(2)}),
        "must hold one array, .* has a, b; save the one as .npy",
    ),
    "planes": (
        torch_file(torch.from_numpy(REAL.transpose(2, 0, 1).copy())),
        r"Channels come last, .*\(3, 6, 5\): transpose it",
    ),
    "module": (torch_file(torch.nn.Linear(2, 2)), "must be a whole file .*Weights only load failed"),
    "parameters": (torch_file({"a": 3}), "must hold a tensor, .* has a int"),
    "matrices": (matlab(a=REAL, b=REAL), "must hold one array, .* has a, b"),
    "half a float map": (content(float_map("<", 3)[:60]), "must be a whole file"),
    "half a portable map": (content(b"P6\n5 6\n65535\n" + bytes(99)), "must be a whole file"),
    "nothing": (content(b""), "must be a whole file"),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_files_that_are_no_pictures_are_named_with_the_way_out(tmp_path, kind):
    write, message = STRANGERS[kind]
    write(tmp_path / "a.png")
    with pytest.raises(InputError, match=message) as error:
        read_image(tmp_path / "a.png")
    assert "\n" not in str(error.value)


def test_openexr_that_is_not_installed_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    (tmp_path / "a.exr").write_bytes(b"v/1\x01" + bytes(99))
    with pytest.raises(InputError, match=r"a\.exr; pip install OpenEXR"):
        read_image(tmp_path / "a.exr")


def test_slices_are_read_by_the_same_reader(tmp_path):
    grey = DEEP[..., 0]
    options = {"photometric": "miniswhite", "extratags": [(274, "H", 1, 6, True)]}
    tifffile.imwrite(tmp_path / "a.tif", 65535 - grey, **options)
    assert_array_equal(read_slice(tmp_path / "a.tif").values, np.rot90(grey, -1))


# size


WRITERS = {
    "a.png": lambda path: Image.fromarray(BYTES).save(path),
    "deep.png": lambda path: Image.fromarray(DEEP[..., 0]).save(path),
    "a.tif": lambda path: tifffile.imwrite(path, BYTES, photometric="rgb", tile=(16, 16), compression="zlib"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_pictures_beyond_the_limit_have_to_be_meant(tmp_path, monkeypatch, name):
    WRITERS[name](tmp_path / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", ROWS * COLUMNS // 2 - 1)
    with pytest.raises(InputError, match=r"meant to be so large, .*; add data\.large=true"):
        read_image(tmp_path / name)
    data = ImageData(path=str(tmp_path / name), large=True)
    data.setup()
    assert data.shape == (ROWS, COLUMNS)
    assert_array_equal(data.trained.samples.numpy(), DEEP[..., :1].astype(np.float32) if name == "deep.png" else BYTES)
    assert ROWS * COLUMNS // 2 - 1 == Image.MAX_IMAGE_PIXELS  # as before


# real files


@pytest.mark.skipif(not CASES.is_dir(), reason="needs INR_DATA")
def test_files_that_people_have_are_read_as_they_were_meant():
    truth = np.load(CASES / "truth.npz")
    grey, colour = truth["g16"][..., None], truth["rgb16"]
    expected = {
        "cmyk16.tif": colour,
        "g16_miniswhite.tif": grey,
        "rgb16_exif6.png": np.rot90(colour, -1),
        "g8_orient6.tif": np.rot90(truth["grey"], -1)[..., None],
        "rgb16_orient6.tif": np.rot90(colour, -1),
        "png_named.tif": truth["rgb"],
    }
    for name, picture in expected.items():
        assert_array_equal(read_image(CASES / name), picture, err_msg=name)
    bands = read_image(CASES / "rgbnir16.tif")
    assert_array_equal(bands[..., :3], colour)
    assert bands.shape[2] == 4
    assert bands[0, 0, :3].tolist() == [65535, 0, 0]
    flow = read_image(CASES / "flow2_f32.tif")
    assert_allclose([flow.min((0, 1)), flow.max((0, 1))], [[-6.67, -6], [6.33, 5.5]], atol=0.005)
    with pytest.warns(UserWarning, match="first of its 2 pictures"):
        assert read_image(CASES / "phone_mpo.jpg").shape == (24, 40, 3)
