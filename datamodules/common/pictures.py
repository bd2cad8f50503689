"""A picture of any kind as an array: (rows, columns, channels), the number type of the file, upright, without transparency.

Files are told by their content, as endings are often wrong. Pillow, tifffile and others are called directly, as imageio hides
what decides how to read a file: its frames, a transparent colour, the meaning of its samples.
"""

import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from tokenize import TokenError
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import png
import scipy.io
import tifffile
from PIL import Image

from datamodules.common.decoded import Decoded, allow_large, choose_frame, colour_of
from datamodules.common.files import existing_file, file_in, one_line
from datamodules.common.named_arrays import load_numpy, only
from datamodules.common.read_pillow import read_picture
from datamodules.common.read_tensors import read_exr, read_float_map, read_matlab, read_radiance, read_torch
from datamodules.common.read_tiff import read_tiff
from inr.errors import InputError

Reader = Callable[[Path, int | None], Decoded]
ARRAYS = (".npy", ".npz")
TIFFS = (".tif", ".tiff")
TENSORS = (".pt", ".pth")
DEEP_TO_BYTES = 257  # 65535 / 255
ZIP = b"PK\x03\x04"
FORMATS = (TokenError, struct.error, zlib.error, BadZipFile, png.Error, tifffile.TiffFileError, Image.DecompressionBombError)
OBJECTS = (UnpicklingError, scipy.io.matlab.MatReadError)
# what the readers raise over files that are broken or of another kind
DAMAGE = (OSError, EOFError, SyntaxError, TypeError, ValueError, LookupError, RuntimeError, *FORMATS, *OBJECTS)


class Stranger(NamedTuple):
    """A kind of file that is no picture here: the bytes by which it is told, and the way out."""

    start: int  # of the bytes in the file
    content: bytes
    kind: str
    remedy: str


RECODE = "convert it to png, jpeg or tiff"
FILM = "data=video takes films"
STRANGERS = (
    *(Stranger(8, brand, "HEIC, as telephones save it", RECODE) for brand in (b"heic", b"heix", b"heim", b"hevc", b"mif1")),
    *(Stranger(8, brand, "a film", FILM) for brand in (b"isom", b"mp42", b"qt  ", b"M4V ", b"avc1", b"AVI ")),
    Stranger(0, b"\x89HDF", "HDF5", "save the one array as .npy"),
    Stranger(128, b"DICM", "DICOM", "task=ct data=slice takes it, or convert it to tiff"),
    Stranger(0, b"%PDF", "a PDF", RECODE),
    Stranger(0, b"<svg", "a drawing of lines (svg)", RECODE),
    Stranger(0, b"<?xml", "a drawing of lines or other text (xml)", RECODE),
    Stranger(0, b"\xff\x0a", "JPEG XL", RECODE),
    Stranger(4, b"JXL ", "JPEG XL", RECODE),
    *(
        Stranger(0, magic, "a camera's raw photograph", "develop it, and save it as tiff or png")
        for magic in (b"IIU\0", b"IIRO")
    ),
)
STARTS: dict[bytes, Reader] = {
    b"v/1\x01": read_exr,
    b"#?": read_radiance,
    b"PF": read_float_map,
    b"Pf": read_float_map,
    b"MATLAB": read_matlab,
}
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # both orders of bytes, and those of BigTIFF


def find(path: str | None, root: str | None, name: str | None) -> Path | None:
    """Return the file meant by `path`, or by a folder and a name without ending; None if nothing is given.

    Raises: InputError if it is not there, or if a name comes without its folder.
    """
    if path is not None:
        return existing_file("data.path", path)
    if root is not None:
        return file_in(root, name)
    if name is not None:
        rule = "data.name names a file in data.root, which is not given"
        raise InputError(f"{rule}, got data.name={name}; add data.root=FOLDER.")
    return None


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file by name, or the one of an .npy file, named ''.

    Raises: InputError if the file is broken or of another kind.
    """
    try:
        return load_numpy(path)
    except DAMAGE as error:
        rule = "An array must be plain numbers saved by numpy, without objects"
        raise InputError(f"{rule}, {path} is not: {one_line(error)}; save it anew with numpy.save.") from error


def read_array(path: Path) -> np.ndarray:
    """Return the one array of an .npy or .npz file.

    Raises: InputError if the file is broken or of another kind, or has several.
    """
    return only(read_arrays(path), "An .npz file", path)


def check_array(array: np.ndarray, path: Path) -> np.ndarray:
    """Return an array as (rows, columns, channels) of a real number type."""
    if array.dtype.kind not in "buif":
        raise InputError(f"An array must hold real numbers, {path} has {array.dtype}; save integers or floats.")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or 0 in array.shape:
        rule = "An image array must be (rows, columns) or (rows, columns, channels)"
        raise InputError(f"{rule}, none of them 0; {path} has {array.shape}: reshape it.")
    if array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 2, 3, 4):
        raise InputError(f"Channels come last, (rows, columns, channels); {path} has {array.shape}: transpose it.")
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    return array.astype(array.dtype.newbyteorder("="), copy=False)  # torch knows the byte order of the machine only


def bytes_of(array: np.ndarray, kind: str, path: Path) -> np.ndarray:
    """Bring a picture (rows, columns, channels) to 8 bits; 16 are rounded to them.

    Raises: InputError for numbers of another type, or channels that are neither grey nor colour.
    """
    if array.dtype not in (np.uint8, np.uint16) or array.shape[-1] not in (1, 3):
        rule = f"{kind} must be grey or colour of 8 or 16 bits"
        raise InputError(f"{rule}, {path} has {array.shape[-1]} channels of {array.dtype}; convert it.")
    return array if array.dtype == np.uint8 else (array / DEEP_TO_BYTES).round().astype(np.uint8)


def read_numpy(path: Path, frame: int | None) -> Decoded:
    """Return the one array of an .npy or .npz file."""
    choose_frame(1, frame, path)
    return Decoded(read_array(path))


def reader_of(path: Path, large: bool) -> Reader:
    """Return the reader of a file by its content; where that says nothing by its ending.

    Raises: InputError for kinds of files that are known to be no pictures here.
    """
    with path.open("rb") as file:
        start = file.read(132)
    for stranger in STRANGERS:
        if start[stranger.start :].startswith(stranger.content) and b"avif" not in start:
            rule = "An image must be of a kind that is read here (png, jpeg, tiff, webp, npy, ...)"
            raise InputError(f"{rule}, {path} is {stranger.kind}; {stranger.remedy}.")
    if start.startswith(TIFF_STARTS):
        return partial(read_tiff, large=large)
    ending = path.suffix.lower()
    # torch saves a zip archive whose first file is the pickle, older versions a bare pickle
    if b"/data.pkl" in start or (ending in TENSORS and not start.startswith(ZIP)):
        return read_torch
    if start.startswith((b"\x93NUMPY", ZIP)):
        return read_numpy
    by_content = next((reader for magic, reader in STARTS.items() if start.startswith(magic)), None)
    return by_content or (read_matlab if ending == ".mat" else read_picture)


def read_image(
    path: Path, frame: int | None = None, background: str | Sequence[float] = "white", large: bool = False
) -> np.ndarray:
    """Return the picture in a file (png, jpeg, tiff, what else Pillow knows, exr, hdr, pfm) or the array (npy, npz, pt, mat).

    large: read pictures beyond Pillow's limit too, and map TIFF into memory.

    Shapes: (rows, columns, channels): 1 or 3 of pictures, and their further bands; arrays keep theirs, none of which is
            transparency.
    Raises: InputError if the file is missing, unreadable, truncated, of several frames, too large, or not a picture.
    """
    reader = reader_of(path, large)
    try:
        with allow_large(large), warnings.catch_warnings(action="ignore"):  # of damage, which is raised too, or does not matter
            decoded = reader(path, frame)
            array = decoded.shown(colour_of(background))
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        rule = "An image must be meant to be so large"
        raise InputError(
            f"{rule}, {path} is not: {one_line(error)}; add data.large=true to data=image, or shrink it."
        ) from error
    except DAMAGE as error:
        rule = "An image must be a whole file of a known kind (png, jpeg, tiff, webp, npy, ...)"
        raise InputError(f"{rule}, {path} is not: {one_line(error)}; save it anew, or choose another.") from error
    if decoded.note is not None:
        warnings.warn(f"{path}: {decoded.note}.", stacklevel=2)
    return check_array(array, path)
