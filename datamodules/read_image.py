"""Any picture as an array: (rows, columns, channels), the number type of the file, upright, without transparency."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import png
import tifffile
from PIL import Image, ImageOps, UnidentifiedImageError

from inr.errors import InputError

BACKGROUNDS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "grey": (0.5, 0.5, 0.5)}
PLAIN_MODES = {"1": "L", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB", "LAB": "RGB", "PA": "RGBA"}
ARRAYS = (".npy", ".npz")
TIFFS = (".tif", ".tiff")


def find(path: str | None, root: str | None, name: str | None) -> Path | None:
    """The file meant by `path`, or by a folder and a name without ending; None if nothing is given."""
    if path is None and root is None:
        return None
    if path is not None:
        file = Path(path).expanduser()
        if not file.is_file():
            raise InputError(f"data.path must be an existing file, got {path}.")
        return file
    folder = Path(str(root)).expanduser()
    if not folder.is_dir():
        raise InputError(f"data.root must be an existing folder, got {root}.")
    files = sorted(file for file in folder.iterdir() if file.is_file())
    matches = [file for file in files if name in (file.name, file.stem)]
    if len(matches) != 1:
        names = ", ".join(file.name for file in files[:8])
        raise InputError(f"data.name must name one file in {root}, got {name} with {len(matches)} matches; there are: {names}.")
    return matches[0]


def is_deep_png(path: Path) -> bool:
    """Whether the file is a PNG with 16 bits per channel: byte 24 of its header says so."""
    with path.open("rb") as file:
        start = file.read(25)
    return start[1:4] == b"PNG" and len(start) == 25 and start[24] == 16


def read_array(path: Path) -> np.ndarray:
    """The one array of an .npy or .npz file, without unpickling anything."""
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path} must be a plain numeric array; numpy says: {error}.") from error
    if isinstance(loaded, np.ndarray):
        return loaded
    names = loaded.files
    if len(names) != 1:
        raise InputError(f"An .npz file must hold one array, {path} has {', '.join(names) or 'none'}; save the one as .npy.")
    return loaded[names[0]]


def check_array(array: np.ndarray, path: Path) -> np.ndarray:
    """An array as (rows, columns, channels) of a real number type."""
    if array.dtype.kind not in "buif":
        raise InputError(f"{path} must hold real numbers, got {array.dtype}.")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or 0 in array.shape:
        raise InputError(f"An image array must be (rows, columns) or (rows, columns, channels), {path} has {array.shape}.")
    if array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 2, 3, 4):
        raise InputError(f"Channels come last, (rows, columns, channels); {path} has {array.shape}: transpose it.")
    return array.astype(np.uint8) * 255 if array.dtype == bool else array


def read_picture(path: Path, frame: int | None) -> np.ndarray:
    """A picture that Pillow can read, upright; palettes and odd colour spaces become RGB."""
    with Image.open(path) as image:
        frames = getattr(image, "n_frames", 1)
        choose_frame(frames, frame, path)
        image.seek(frame or 0)
        upright = ImageOps.exif_transpose(image)
        transparent = upright.mode in ("P", "RGB", "L") and "transparency" in upright.info
        mode = "RGBA" if transparent else PLAIN_MODES.get(upright.mode, upright.mode)
        array = np.asarray(upright if mode == upright.mode else upright.convert(mode))
    return array.astype(np.uint16) if mode == "I" and array.min() >= 0 and array.max() < 65536 else array


def choose_frame(frames: int, frame: int | None, path: Path) -> None:
    """Refuse a file of several frames unless one is chosen, and a frame that is not there."""
    if frames > 1 and frame is None:
        raise InputError(f"An image is one frame, {path} has {frames}; choose one with data.frame=0.")
    if not 0 <= (frame or 0) < frames:
        raise InputError(f"data.frame must be between 0 and {frames - 1}, got {frame}.")


def read_tiff(path: Path, frame: int | None) -> np.ndarray:
    """A page of a TIFF file in its own number type."""
    with tifffile.TiffFile(path) as file:
        choose_frame(len(file.pages), frame, path)
        return file.pages[frame or 0].asarray()


def read_deep_png(path: Path) -> np.ndarray:
    """A PNG with 16 bits per channel, which Pillow would cut to 8 where it has colours."""
    columns, rows, values, info = png.Reader(filename=str(path)).asDirect()
    return np.vstack([np.asarray(row, dtype=np.uint16) for row in values]).reshape(rows, columns, info["planes"])


def flatten_alpha(array: np.ndarray, background: str | Sequence[float]) -> np.ndarray:
    """Lay a picture with two or four channels over a background colour; others pass."""
    channels = array.shape[2]
    if channels not in (2, 4):
        return array
    colour = BACKGROUNDS.get(background) if isinstance(background, str) else tuple(background)
    if colour is None or len(colour) != 3 or not all(0 <= part <= 1 for part in colour):
        choices = ", ".join(BACKGROUNDS)
        raise InputError(f"data.background must be one of {choices}, or three numbers in 0..1, got {background}.")
    peak = float(np.iinfo(array.dtype).max) if array.dtype.kind in "ui" else 1.0
    alpha = array[..., -1:] / peak
    below = peak * np.asarray(colour if channels == 4 else [sum(colour) / 3])
    flat = alpha * array[..., :-1] + (1 - alpha) * below
    return flat.round().astype(array.dtype) if array.dtype.kind in "ui" else flat.astype(array.dtype)


def read_image(path: Path, frame: int | None = None, background: str | Sequence[float] = "white") -> np.ndarray:
    """The picture in a file: png, jpeg, tiff, webp, bmp, gif, and what else Pillow knows, or .npy and .npz.

    Shapes: (rows, columns, channels), with 1 or 3 channels for pictures and any number for arrays.
    Raises: InputError if the file is missing, unreadable, truncated, of several frames, or not a picture.
    """
    if path.suffix.lower() in ARRAYS:
        return flatten_alpha(check_array(read_array(path), path), background)
    try:
        if path.suffix.lower() in TIFFS:
            array = read_tiff(path, frame)
        elif is_deep_png(path):
            array = read_deep_png(path)
        else:
            array = read_picture(path, frame)
    except (UnidentifiedImageError, OSError, EOFError, SyntaxError, ValueError, png.Error, tifffile.TiffFileError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} must be a readable image (png, jpeg, tiff, webp, npy, ...): {error}.") from error
    return flatten_alpha(check_array(array, path), background)
