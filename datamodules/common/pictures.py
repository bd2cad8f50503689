"""A picture of any kind as an array: (rows, columns, channels), the number type of the file, upright, without transparency.

Pillow and tifffile are called directly, as imageio hides what decides how to read a file: its frames, a transparent colour,
the meaning of its axes. PNG with 16 bits per channel is read by pypng: Pillow and imageio cut colours to 8, silently.
"""

import logging
import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile

import numpy as np
import png
import tifffile
from PIL import Image, ImageOps

from datamodules.common.files import existing_file, file_in
from inr.errors import InputError

BACKGROUNDS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "grey": (0.5, 0.5, 0.5)}
# colour spaces of Pillow that are no plain channels, and what they become
PLAIN_MODES = {"1": "L", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB", "LAB": "RGB", "PA": "RGBA"}
ARRAYS = (".npy", ".npz")
TIFFS = (".tif", ".tiff")
FORMATS = (TokenError, struct.error, zlib.error, BadZipFile, png.Error, tifffile.TiffFileError, Image.DecompressionBombError)
# what the readers raise over files that are broken or of another kind
DAMAGE = (OSError, EOFError, SyntaxError, TypeError, ValueError, LookupError, RuntimeError, *FORMATS)


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


def is_deep_png(path: Path) -> bool:
    """Tell a PNG with 16 bits per channel."""
    with path.open("rb") as file:
        start = file.read(25)
    # 8 bytes of signature, 8 of chunk length and kind, 4 each for columns and rows, then the bits per channel
    return start[1:4] == b"PNG" and len(start) == 25 and start[24] == 16


def read_array(path: Path) -> np.ndarray:
    """Return the one array of an .npy or .npz file; nothing is unpickled, which could run code."""
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = {path.stem: loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except DAMAGE as error:
        reason = str(error).split(". ")[0].rstrip(".")
        raise InputError(f"An array must be plain numbers saved by numpy, without objects, {path} is not: {reason}.") from error
    if len(arrays) != 1:
        raise InputError(f"An .npz file must hold one array, {path} has {', '.join(arrays) or 'none'}; save the one as .npy.")
    return next(iter(arrays.values()))


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


def read_picture(path: Path, frame: int | None) -> np.ndarray:
    """Return a picture that Pillow can read, upright; palettes and odd colour spaces become RGB."""
    with Image.open(path) as image:
        frames = getattr(image, "n_frames", 1)
        choose_frame(frames, frame, path)
        image.seek(frame or 0)
        upright = ImageOps.exif_transpose(image)
        # palettes, and rarely pictures, make one colour transparent instead of having a channel for it
        transparent = upright.mode in ("P", "RGB", "L") and "transparency" in upright.info
        mode = "RGBA" if transparent else PLAIN_MODES.get(upright.mode, upright.mode)
        array = np.asarray(upright if mode == upright.mode else upright.convert(mode))
    is_16_bit = mode == "I" and array.min() >= 0 and array.max() < 65536  # Pillow has 32 bits for some of them
    return array.astype(np.uint16) if is_16_bit else array


def choose_frame(frames: int, frame: int | None, path: Path) -> None:
    """Refuse a file of several frames unless one is chosen, and a frame that is not there."""
    if frames > 1 and frame is None:
        raise InputError(f"An image is one frame, {path} has {frames}; choose one with data.frame=0.")
    if not 0 <= (frame or 0) < frames:
        raise InputError(f"data.frame must be in 0 .. {frames - 1}, the frames of {path}, got {frame}; choose one of them.")


def read_tiff(path: Path, frame: int | None) -> np.ndarray:
    """Return a page of a TIFF file in its number type; pictures of 8 bits and less as Pillow reads them."""
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it finds wrong is raised, too
    with tifffile.TiffFile(path) as file:
        choose_frame(len(file.pages), frame, path)
        page = file.pages[frame or 0].aspage()
        if page.dtype in (np.bool_, np.uint8) and page.samplesperpixel <= 4:
            return read_picture(path, frame)  # which knows palettes, inverted greys, orientation and every compression
        array = page.asarray()
        return np.moveaxis(array, 0, -1) if page.axes == "SYX" else array  # S: channels, here as planes


def read_deep_png(path: Path, frame: int | None = None) -> np.ndarray:
    """Return a PNG with 16 bits per channel."""
    choose_frame(1, frame, path)
    with path.open("rb") as file:
        columns, rows, values, info = png.Reader(file=file).asDirect()
        array = np.vstack([np.asarray(row, dtype=np.uint16) for row in values]).reshape(rows, columns, info["planes"])
    # the chunk sBIT may say that fewer bits are significant, which pypng then gives as they are
    return (array * (65535 / (2 ** info["bitdepth"] - 1))).round().astype(np.uint16)


def colour_of(background: str | Sequence[float]) -> tuple[float, ...]:
    """Return a colour by its name or its red, green and blue."""
    colour = BACKGROUNDS.get(background, ()) if isinstance(background, str) else tuple(background)
    if len(colour) != 3 or not all(isinstance(channel, int | float) and 0 <= channel <= 1 for channel in colour):
        raise InputError(f"data.background must be one of {', '.join(BACKGROUNDS)}, or [r, g, b] in 0..1, got {background}.")
    return colour


def flatten_alpha(array: np.ndarray, background: str | Sequence[float]) -> np.ndarray:
    """Lay a picture with two or four channels over a background colour; others pass."""
    channels = array.shape[2]
    if channels not in (2, 4):
        return array
    colour = colour_of(background)
    peak = float(np.iinfo(array.dtype).max) if array.dtype.kind in "ui" else 1.0
    alpha = array[..., -1:] / peak
    behind = peak * np.asarray(colour if channels == 4 else [sum(colour) / 3])
    flat = alpha * array[..., :-1] + (1 - alpha) * behind  # "over": the file's colours are not premultiplied
    return flat.round().astype(array.dtype) if array.dtype.kind in "ui" else flat.astype(array.dtype)


def read_image(path: Path, frame: int | None = None, background: str | Sequence[float] = "white") -> np.ndarray:
    """Return the picture in a file: png, jpeg, tiff, webp, bmp, gif, and what else Pillow knows, or .npy and .npz.

    Shapes: (rows, columns, channels), with 1 or 3 channels for pictures; arrays keep theirs, none of which is transparency.
    Raises: InputError if the file is missing, unreadable, truncated, of several frames, or not a picture.
    """
    if path.suffix.lower() in ARRAYS:
        return check_array(read_array(path), path)
    reader = read_tiff if path.suffix.lower() in TIFFS else read_deep_png if is_deep_png(path) else read_picture
    try:
        with warnings.catch_warnings(action="ignore"):  # of damage, which is raised too, or does not matter
            array = reader(path, frame)
    except InputError:
        raise
    except DAMAGE as error:
        rule = "An image must be a whole file of a known kind (png, jpeg, tiff, webp, npy, ...)"
        raise InputError(f"{rule}, {path} is not: {error}; save it anew, or choose another.") from error
    return flatten_alpha(check_array(array, path), background)
