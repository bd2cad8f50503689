"""DICOM files of one slice, written with any tags, and the projections of a head."""

from functools import cache

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from skimage.data import shepp_logan_phantom
from skimage.transform import radon, resize

UID = "2.25.1"


def write_dicom(path, stored, slope=1, intercept=-1024, spacing=0.5, window=(40, 80), padding=None, **tags):
    """A slice of 16 bits; what is None is left out, and `tags` add to or replace the others.

    Shapes: stored (rows, columns), int16 or uint16; more axes in front are frames.
    Units:  spacing [mm], one or (between rows, between columns); window (centre, width), each one or several.
    """
    usual = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": UID,
        "Modality": "CT",
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": stored.shape[-2],
        "Columns": stored.shape[-1],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(stored.dtype == np.int16),
        "NumberOfFrames": len(stored) if stored.ndim == 3 else None,
        "RescaleSlope": slope,
        "RescaleIntercept": intercept,
        "PixelSpacing": None if spacing is None else np.broadcast_to(spacing, 2).tolist(),
        "WindowCenter": None if window is None else window[0],
        "WindowWidth": None if window is None else window[1],
        "PixelPaddingValue": padding,
        "PixelData": stored.tobytes(),
    }
    dataset = Dataset()
    for name, value in (usual | tags).items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    return path


@cache
def projected_head(size=32, views=40):
    """A head with a bright disc on one side, as scikit-image projects it over half a turn: (bins, views)."""
    rows, columns = np.mgrid[:size, :size] - size // 2
    disc = np.hypot(rows - 0.25 * size, columns + 0.15 * size) < 0.09 * size
    head = resize(shepp_logan_phantom(), (size, size), anti_aliasing=True)
    inside = np.hypot(rows, columns) <= size // 2
    return radon(inside * (head + 1.5 * disc), np.arange(views) * 180 / views, circle=True).astype(np.float32)
