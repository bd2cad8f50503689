"""Slices of DICOM files: one grey frame, its rescaled numbers, and the tags that say what they mean."""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datamodules.common.files import not_installed, one_line
from datamodules.common.pictures import DAMAGE, choose_frame
from datamodules.scans.attenuation import Slice, array_unit, bounds, from_hounsfield, hounsfield_slice, side
from datamodules.scans.read_arrays import has_ending
from inr.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

DICOM = (".dcm", ".dicom", ".ima")  # endings, without which others are found by their first bytes
GREYS = ("MONOCHROME1", "MONOCHROME2")  # low numbers are white, high ones are
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def is_bare_dicom(path: Path) -> bool:
    """Tell a DICOM file that begins with its first tags, without preamble, as old ones do."""
    with path.open("rb") as file:
        start = file.read(132)
    # Group 2 or 8 and an element below 33, low byte first; then two letters of its kind, or four bytes of a small length.
    tagged = start[:2] in (b"\x02\x00", b"\x08\x00") and start[2:3] <= b"\x20" and start[3:4] == b"\x00"
    return start[128:] != b"DICM" and tagged and (start[4:6].isalpha() or start[6:8] == b"\x00\x00")


def is_dicom(path: Path) -> bool:
    """Tell whether a file is DICOM by its ending or, as many have none, by its first bytes."""
    with path.open("rb") as file:
        marked = file.read(132)[128:] == b"DICM"  # after a preamble of 128 bytes
    return marked or has_ending(path, DICOM) or is_bare_dicom(path)


def numbers(tags: "Dataset", name: str) -> list[float]:
    """Return all numbers of a tag; none if it is missing or empty."""
    value = tags.get(name)
    return [] if value is None or value == "" else np.atleast_1d(np.array(value, float)).tolist()


def lift(tags: "Dataset", frame: int) -> None:
    """Put the tags that an enhanced file keeps in groups for a frame beside the others."""
    shared = (tags.get("SharedFunctionalGroupsSequence") or [])[:1]
    for group in [*shared, *(tags.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1]]:
        for element in group:
            if element.VR == "SQ" and element.value:
                tags.update(element.value[0])


def know_syntax(tags: "Dataset") -> None:
    """Name the encoding of a file without a preamble, which says it nowhere, as it was found by reading."""
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in tags.file_meta:
        implicit, _ = tags.original_encoding
        tags.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian


def decode(tags: "Dataset", path: Path, frame: int) -> np.ndarray:
    """Return the stored numbers (rows, columns) of a frame of a grey DICOM file."""
    from pydicom.pixels import pixel_array

    if not any(name in tags for name in PIXELS):
        raise InputError(f"A slice needs pixel data, the DICOM file {path} has none or ends before them; choose another.")
    kind = tags.get("PhotometricInterpretation")
    if kind not in GREYS:
        raise InputError(f"A slice must be grey, {' or '.join(GREYS)}, {path} is {kind}; convert it.")
    know_syntax(tags)
    syntax = tags.file_meta.TransferSyntaxUID
    try:
        return pixel_array(tags, index=frame)
    except RuntimeError as error:
        if not syntax.is_compressed:
            raise
        rule = f"A compressed DICOM file must be whole and have a decoder, {path} of {syntax.name} fails"
        raise InputError(f"{rule}: {one_line(error)}; pip install 'pylibjpeg[all]', or save it uncompressed.") from error


def rescale(tags: "Dataset", stored: np.ndarray) -> np.ndarray:
    """Return the numbers that stored ones stand for, by the file's table or slope and intercept."""
    from pydicom.pixels import apply_modality_lut

    if "ModalityLUTSequence" in tags:
        return apply_modality_lut(stored, tags).astype(float)
    slope = (numbers(tags, "RescaleSlope") or [1.0])[0]
    intercept = (numbers(tags, "RescaleIntercept") or [0.0])[0]
    return slope * stored.astype(float) + intercept


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


def proposed_window(tags: "Dataset") -> tuple[float, float] | None:
    """Return the first window that a file proposes, from black to white; None if there is none."""
    centre = numbers(tags, "WindowCenter")
    width = numbers(tags, "WindowWidth")
    return (centre[0] - width[0] / 2, centre[0] + width[0] / 2) if centre and width and width[0] > 0 else None


def from_dicom(tags: "Dataset", path: Path, frame: int | None, hounsfield: bool | None) -> tuple[Slice, str]:
    """Make the slice of a DICOM file: its rescaled numbers as they are, or attenuation per mm if they are Hounsfield units.

    Also returns a warning of it, or nothing.
    """
    choose_frame(int((numbers(tags, "NumberOfFrames") or [1])[0]), frame, path)
    lift(tags, frame or 0)
    stored = decode(tags, path, frame or 0)
    rescaled = rescale(tags, stored)
    outside = padding(tags, stored)
    pixel, length = side(numbers(tags, "PixelSpacing") or numbers(tags, "ImagerPixelSpacing"), path)
    window = proposed_window(tags)
    if is_hounsfield(tags) if hounsfield is None else hounsfield:
        return hounsfield_slice(np.where(outside, 0, from_hounsfield(rescaled)), pixel, length, window), ""
    note = ""
    if tags.PhotometricInterpretation == "MONOCHROME1":
        total = float(rescaled[~outside].min() + rescaled[~outside].max())
        rescaled = total - rescaled
        window = window and (total - window[1], total - window[0])
        note = f"{path.name} shows low numbers as white, and they are no Hounsfield units: number x became {total:g} - x."
    values = np.where(outside, 0, rescaled).astype(np.float32)
    return Slice(values, pixel, length, array_unit(values), 1.0, 0.0, window or bounds(values), float(np.ptp(values))), note


def read_dicom(path: Path, frame: int | None = None, hounsfield: bool | None = None) -> Slice:
    """Read the slice of a DICOM file.

    Raises: InputError if pydicom is missing, or the file is broken or not one grey picture of square pixels.
    """
    try:
        from pydicom import dcmread
        from pydicom.errors import BytesLengthException, InvalidDicomError
    except ImportError as error:
        raise not_installed("DICOM files", "pydicom", "ct", path) from error
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # what it finds wrong is raised, too, or does not matter
    try:
        with warnings.catch_warnings(action="ignore"), np.errstate(over="ignore", invalid="ignore"):
            found, note = from_dicom(dcmread(path, force=is_bare_dicom(path)), path, frame, hounsfield)
    except InputError:
        raise
    except (*DAMAGE, AttributeError, ArithmeticError, BytesLengthException, InvalidDicomError) as error:
        raise InputError(f"A DICOM file must be whole, {path} is not: {one_line(error)}; copy it anew.") from error
    if note:
        warnings.warn(note, stacklevel=2)
    return found
