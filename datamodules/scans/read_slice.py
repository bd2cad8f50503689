"""A slice to be scanned: a picture, an array or a DICOM file as attenuation per length, and how to show it again."""

import logging
import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from skimage.transform import resize

from datamodules.common.files import existing_file, one_line, refuse_infinite, require
from datamodules.common.pictures import DAMAGE, read_image
from inr.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

MU_WATER = 0.0193  # attenuation of water per mm at 70 keV, about the mean energy of a scanner's rays at 120 kV
WINDOW = (-1000.0, 1000.0)  # [HU] of files that name none
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
SQUARE = 1.01  # ratio of the sides of a pixel up to which it is square
HOUNSFIELD = 1000  # Hounsfield units from air to water


@dataclass(frozen=True)
class Slice:
    """A slice to be scanned, and the relation of its values to the numbers of the file: number = scale * value + offset.

    Shapes: values (rows, columns), float32.
    """

    values: np.ndarray  # attenuation per length, zero where there is air, or black
    pixel: float  # side of a pixel [length]
    length: str  # mm or pixel
    unit: str  # of the file's numbers
    scale: float
    offset: float
    window: tuple[float, float]  # the two that a picture shows as black and as white
    peak: float  # their range, the largest signal of a PSNR


def numbers(tags: "Dataset", name: str) -> list[float]:
    """Return all numbers of a tag; none if it is missing or empty."""
    value = tags.get(name)
    return [] if value is None or value == "" else np.atleast_1d(np.array(value, float)).tolist()


def lift(tags: "Dataset") -> None:
    """Put the tags that an enhanced file keeps in groups for its frame beside the others."""
    for name in GROUPS:
        for group in (tags.get(name) or [])[:1]:
            for element in group:
                if element.VR == "SQ" and element.value:
                    tags.update(element.value[0])


def decode(tags: "Dataset", path: Path) -> np.ndarray:
    """Return the stored numbers (rows, columns) of a DICOM file of one grey picture."""
    if "PixelData" not in tags:
        raise InputError(f"A slice needs pixel data, the DICOM file {path} has none or ends before them; choose another.")
    kind = tags.get("PhotometricInterpretation")
    frames = numbers(tags, "NumberOfFrames")
    if kind != "MONOCHROME2":
        raise InputError(f"A slice must be grey with white above black, MONOCHROME2, {path} is {kind}; convert it.")
    if frames and frames[0] > 1:
        raise InputError(f"A slice is one frame, {path} has {frames[0]:.0f}; save the one as a file of its own.")
    syntax = tags.file_meta.TransferSyntaxUID
    try:
        return tags.pixel_array
    except RuntimeError as error:
        if not syntax.is_compressed:
            raise
        rule = f"A compressed DICOM file must be whole and have a decoder, {path} of {syntax.name} fails"
        raise InputError(f"{rule}: {one_line(error)}; pip install 'pylibjpeg[all]', or save it uncompressed.") from error


def is_hounsfield(tags: "Dataset") -> bool:
    """Tell whether rescaled numbers are Hounsfield units: by their type if it is named, otherwise if the file is of a CT."""
    named = tags.get("RescaleType") or "US"
    if named != "US":  # unspecified
        return named == "HU"
    return tags.get("Modality") == "CT" or (not tags.get("Modality") and bool(numbers(tags, "RescaleIntercept")))


def padding(tags: "Dataset", stored: np.ndarray) -> np.ndarray:
    """Return the mask of stored numbers that lie outside of the picture."""
    value = numbers(tags, "PixelPaddingValue")[:1]
    limit = numbers(tags, "PixelPaddingRangeLimit")[:1]
    if not value:
        return np.zeros(stored.shape, bool)
    ends = np.array(value + limit, np.int64).astype(stored.dtype)  # wraps: some files write negative ones as unsigned
    return (stored >= ends.min()) & (stored <= ends.max())


def side(tags: "Dataset", path: Path) -> tuple[float, str]:
    """Return the side of a pixel and its unit: 1 pixel if the file does not know it in mm."""
    spacing = numbers(tags, "PixelSpacing") or numbers(tags, "ImagerPixelSpacing")
    if not spacing:
        return 1.0, "pixel"
    low = min(spacing)
    high = max(spacing)
    if len(spacing) != 2 or not 0 < low <= high <= SQUARE * low < math.inf:
        raise InputError(f"Pixels must be square to 1 %, those of {path} have sides of {spacing} mm; resample it.")
    return math.sqrt(low * high), "mm"  # the square of the same area, so that masses stay


def proposed_window(tags: "Dataset") -> tuple[float, float] | None:
    """Return the first window that a file proposes, from black to white; None if there is none."""
    centre = numbers(tags, "WindowCenter")
    width = numbers(tags, "WindowWidth")
    return (centre[0] - width[0] / 2, centre[0] + width[0] / 2) if centre and width and width[0] > 0 else None


def from_dicom(tags: "Dataset", path: Path) -> Slice:
    """Make the slice of a DICOM file: its rescaled numbers as they are, or attenuation per mm if they are Hounsfield units."""
    lift(tags)
    stored = decode(tags, path)
    slope = (numbers(tags, "RescaleSlope") or [1.0])[0]
    intercept = (numbers(tags, "RescaleIntercept") or [0.0])[0]
    rescaled = slope * stored.astype(float) + intercept
    hounsfield = is_hounsfield(tags)
    # HU = 1000 (value / water - 1), solved for the value. Noise takes air below -1000, where nothing could attenuate.
    values = (MU_WATER * (1 + rescaled / HOUNSFIELD)).clip(0) if hounsfield else rescaled
    values = np.where(padding(tags, stored), 0, values).astype(np.float32)
    pixel, length = side(tags, path)
    window = proposed_window(tags)
    if hounsfield:
        scale = HOUNSFIELD / MU_WATER
        peak = scale * float(np.ptp(values))
        return Slice(values, pixel, length, "HU", scale, -1000.0, window or WINDOW, peak)
    return Slice(values, pixel, length, array_unit(values), 1.0, 0.0, window or bounds(values), float(np.ptp(values)))


def read_dicom(path: Path) -> Slice:
    """Read the slice of a DICOM file.

    Raises: InputError if pydicom is missing, or the file is broken or not one grey picture of square pixels.
    """
    try:
        from pydicom import dcmread
        from pydicom.errors import BytesLengthException, InvalidDicomError
    except ImportError as error:
        rule = "DICOM files are read by pydicom, of the extra ct"
        raise InputError(f"{rule}, which is not there for {path}; pip install pydicom.") from error
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # what it finds wrong is raised, too, or does not matter
    try:
        with warnings.catch_warnings(action="ignore"), np.errstate(over="ignore", invalid="ignore"):
            return from_dicom(dcmread(path), path)
    except InputError:
        raise
    except (*DAMAGE, AttributeError, ArithmeticError, BytesLengthException, InvalidDicomError) as error:
        raise InputError(f"A DICOM file must be whole, {path} is not: {one_line(error)}; copy it anew.") from error


def bounds(values: np.ndarray) -> tuple[float, float]:
    """Return black and white of a picture that names neither: 0, or the lowest number below it, and the highest."""
    return min(0.0, float(values.min())), float(values.max())


def array_unit(values: np.ndarray) -> str:
    """Name the unit of numbers of which only their range is known."""
    return f"array value ({values.min():g}..{values.max():g})"


def read_plain(path: Path, frame: int | None) -> Slice:
    """Read the slice of a picture or an array: its numbers as they are, pixels of side 1."""
    image = read_image(path, frame, background="black")
    channels = image.shape[2]
    if channels not in (1, 3) or not all(np.array_equal(image[..., 0], image[..., c], equal_nan=True) for c in range(channels)):
        raise InputError(f"A slice must have one channel, or three equal ones, {path} has {channels} others; make it grey.")
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
        values = image[..., 0].astype(np.float32)
    is_picture = image.dtype in (np.uint8, np.uint16)
    unit = f"{8 * image.itemsize}-bit value (0..{np.iinfo(image.dtype).max})" if is_picture else array_unit(values)
    peak = float(np.iinfo(image.dtype).max if is_picture else np.ptp(values))
    return Slice(values, 1.0, "pixel", unit, 1.0, 0.0, bounds(values), peak)


def check_values(values: np.ndarray, path: Path) -> None:
    """Raise InputError if there is something infinite, or nothing to see."""
    refuse_infinite(values)
    if values.min() == values.max():
        raise InputError(f"A slice must show something, {path} has the same value everywhere; choose another.")


def is_dicom(path: Path) -> bool:
    """Tell whether a file is DICOM by its ending or, as many have none, by its first bytes."""
    with path.open("rb") as file:
        return path.suffix.lower() == ".dcm" or file.read(132)[128:] == b"DICM"  # after a preamble of 128 bytes


def read_slice(
    path: Path, window: tuple[float, float] | None = None, size: int | None = None, frame: int | None = None
) -> Slice:
    """Read the slice in a file: DICOM, or a picture or an array that `read_image` knows.

    Hounsfield units become attenuation, none below air: value = 0.0193 per mm * (1 + HU / 1000); padding is air. Other
    numbers stay as they are, transparency is black. A DICOM file without spacing counts a pixel as 1.

    window: what a picture shows as black and as white [number of the file; DICOM: HU]; None: what the file proposes.
    size: rows and columns to resize to; None: not at all. What is not square is stretched, and the side of a pixel is then the
        geometric mean of its two, so that the area stays.
    frame: one of several pictures in a file.

    Raises: InputError for broken files, colours, several frames, pixels that are not square, and values that are infinite
            or all the same.
    Source: Hubbell & Seltzer, Tables of X-Ray Mass Attenuation Coefficients, NIST (1995), for water at 70 keV.
    """
    path = existing_file("data.path", str(path))
    if window is not None:
        ascends = len(window) == 2 and -math.inf < window[0] < window[1] < math.inf
        require("data.window", ascends, "must be [low, high] with low < high, in the numbers of the file", list(window))
    require("data.size", size is None or size >= 2, "must be at least 2 pixels, or null for those of the file", size)
    found = read_dicom(path) if is_dicom(path) else read_plain(path, frame)
    check_values(found.values, path)
    if size is not None:
        # Blurred first, so that details finer than the new pixels do not turn into false ones.
        values = resize(found.values, (size, size), order=1, anti_aliasing=True, preserve_range=True)
        found = replace(found, values=values, pixel=found.pixel * math.sqrt(found.values.size) / size)
    return found if window is None else replace(found, window=(float(window[0]), float(window[1])))
