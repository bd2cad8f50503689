"""A slice to be scanned: a picture, an array, a volume or DICOM as attenuation per length, and how to show it again."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from skimage.transform import resize

from datamodules.common.files import existing_file, one_line, refuse_infinite, require
from datamodules.common.pictures import ARRAYS, DAMAGE, check_array, choose_frame, read_image
from datamodules.scans.attenuation import Slice, number_slice
from datamodules.scans.read_arrays import MATLAB, has_ending, load_arrays, pick
from datamodules.scans.read_dicom import is_dicom, read_dicom
from datamodules.scans.read_volume import VOLUMES, read_volume
from inr.errors import InputError

SLICES = ("slice", "image")  # names of arrays


def choose_slice(volume: np.ndarray, frame: int | None, path: Path) -> np.ndarray:
    """Return a slice (rows, columns) of a volume (slices, rows, columns), or of several axes of which the first are 1.

    Raises: InputError for other axes, or if there are several slices and none is chosen.
    """
    shape = volume.shape
    if volume.ndim < 2 or not volume.size or any(size > 1 for size in shape[:-3]):
        raise InputError(f"A volume must be (slices, rows, columns), {path} has the shape {shape}; save one part of it.")
    stack = volume.reshape(-1, *shape[-2:])
    choose_frame(len(stack), frame, path)
    return stack[frame or 0]


def one_channel(image: np.ndarray, path: Path) -> np.ndarray:
    """Return the numbers (rows, columns) of a picture (rows, columns, channels).

    Raises: InputError if it has colours.
    """
    channels = image.shape[2]
    if channels not in (1, 3) or not all(np.array_equal(image[..., 0], image[..., c], equal_nan=True) for c in range(channels)):
        raise InputError(f"A slice must have one channel, or three equal ones, {path} has {channels} others; make it grey.")
    return image[..., 0]


def read_array(path: Path, frame: int | None) -> np.ndarray:
    """Read the slice (rows, columns) of an array of numpy or MATLAB: of a picture, or of a volume.

    Volumes are (slices, rows, columns), those of MATLAB (rows, columns, slices).
    """
    array = pick(load_arrays("data.path", str(path), (*ARRAYS, *MATLAB)), SLICES, path)
    if has_ending(path, MATLAB) and array.ndim == 3:
        array = np.moveaxis(array, -1, 0)
    elif array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3) and frame is None):
        return one_channel(check_array(array, path), path)
    if array.dtype.kind not in "buif":
        raise InputError(f"A slice must hold real numbers, {path} has {array.dtype}; save integers or floats.")
    return choose_slice(array, frame, path)


def read_volume_slice(path: Path, frame: int | None, hounsfield: bool | None) -> Slice:
    """Read a slice of a volume of medical imaging."""
    try:
        volume, spacing = read_volume(path)
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(f"A volume must be a whole file, {path} is not: {one_line(error)}; copy it anew.") from error
    return number_slice(choose_slice(volume, frame, path), spacing, path, hounsfield)


def read_plain(path: Path, frame: int | None, hounsfield: bool | None) -> Slice:
    """Read the slice of a picture or an array: its numbers as they are, pixels of side 1."""
    if has_ending(path, (*ARRAYS, *MATLAB)):
        return number_slice(read_array(path, frame), [], path, hounsfield)
    return number_slice(one_channel(read_image(path, frame, background="black"), path), [], path, hounsfield)


def check_values(values: np.ndarray, path: Path) -> None:
    """Raise InputError if there is something infinite, or nothing to see."""
    refuse_infinite(values)
    if values.min() == values.max():
        raise InputError(f"A slice must show something, {path} has the same value everywhere; choose another.")


def resized(found: Slice, size: int) -> Slice:
    """Return a slice in so many rows and columns; the side of a pixel is such that the area stays."""
    # Blurred first, so that details finer than the new pixels do not turn into false ones.
    values = resize(found.values, (size, size), order=1, anti_aliasing=True, preserve_range=True)
    return replace(found, values=values, pixel=found.pixel * math.sqrt(found.values.size) / size)


def read_slice(
    path: Path,
    window: tuple[float, float] | None = None,
    size: int | None = None,
    frame: int | None = None,
    hounsfield: bool | None = None,
) -> Slice:
    """Read the slice in a file: DICOM, NIfTI, NRRD, MetaImage, MATLAB, or a picture or an array that `read_image` knows.

    Hounsfield units become attenuation, none below air: value = 0.0193 per mm * (1 + HU / 1000); padding is air. Other
    numbers stay as they are, transparency is black. A file without spacing counts a pixel as 1.

    window: what a picture shows as black and as white [number of the file; DICOM: HU]; None: what the file proposes.
    size: rows and columns to resize to; None: not at all. What is not square is stretched, and the side of a pixel is then the
        geometric mean of its two, so that the area stays.
    frame: one of several pictures in a file, or of the slices of a volume.
    hounsfield: whether the numbers are Hounsfield units; None: in DICOM as the tags say, elsewhere if they go below -900.

    Raises: InputError for broken files, colours, several frames of which none is chosen, pixels that are not square, and
            values that are infinite or all the same.
    Source: Hubbell & Seltzer, Tables of X-Ray Mass Attenuation Coefficients, NIST (1995), for water at 70 keV.
    """
    path = existing_file("data.path", str(path))
    if window is not None:
        ascends = len(window) == 2 and -math.inf < window[0] < window[1] < math.inf
        require("data.window", ascends, "must be [low, high] with low < high, in the numbers of the file", list(window))
    require("data.size", size is None or size >= 2, "must be at least 2 pixels, or null for those of the file", size)
    read = read_dicom if is_dicom(path) else read_volume_slice if has_ending(path, VOLUMES) else read_plain
    found = read(path, frame, hounsfield)
    check_values(found.values, path)
    found = found if size is None else resized(found, size)
    return found if window is None else replace(found, window=(float(window[0]), float(window[1])))
