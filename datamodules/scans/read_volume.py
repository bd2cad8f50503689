"""Volumes of medical imaging, NIfTI, NRRD and MetaImage, as SimpleITK reads them."""

import gzip
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datamodules.common.files import not_installed
from inr.errors import InputError

if TYPE_CHECKING:
    import SimpleITK

VOLUMES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
CHUNK = 2**20  # bytes read at a time
HEADER = 4096  # bytes of a text header, within which spacings are given
SPACED = (b"spacing", b"space directions", b"elementsize")  # words of NRRD and MetaImage, in small letters


def read_volume(path: Path) -> tuple[np.ndarray, list[float]]:
    """Read all slices of a volume in the numbers of the file, rescaled if it says so, rows and columns as they are stored.

    Shapes: (slices, rows, columns); (rows, columns) of a picture; one axis more for time.
    Units:  also distances of the pixels, by row and by column [mm]; none if the file does not know them.
    Raises: InputError if SimpleITK is missing, or for colours; RuntimeError or EOFError for broken files.
    """
    try:
        import SimpleITK
    except ImportError as error:
        raise not_installed("NIfTI, NRRD and MetaImage files", "SimpleITK", "ct", path) from error
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # what it finds wrong is raised, too
    image = SimpleITK.ReadImage(str(path))
    check_length(image, path)
    channels = image.GetNumberOfComponentsPerPixel()
    if channels > 1:
        raise InputError(f"A volume must have one channel, {path} has {channels}; save one of them.")
    column, row = image.GetSpacing()[:2]
    return SimpleITK.GetArrayFromImage(image), [row, column] if knows_spacing(path) else []


def check_length(image: "SimpleITK.Image", path: Path) -> None:
    """Raise EOFError if a NIfTI file ends early: SimpleITK takes what is missing for zeros."""
    if "vox_offset" not in image.GetMetaDataKeys():
        return
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        length = sum(map(len, iter(partial(file.read, CHUNK), b"")))
    numbers = image.GetNumberOfPixels() * image.GetNumberOfComponentsPerPixel() * int(image.GetMetaData("bitpix")) // 8
    if length < float(image.GetMetaData("vox_offset")) + numbers:
        raise EOFError(f"it ends after {length} bytes")


def knows_spacing(path: Path) -> bool:
    """Tell whether a file gives the distance of its pixels: NIfTI always does, and SimpleITK has 1 mm for the others."""
    with path.open("rb") as file:
        header = file.read(HEADER).lower()
    return ".nii" in path.name.lower() or any(word in header for word in SPACED)
