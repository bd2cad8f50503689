"""Options of a scan that are refused by its constructor or as its geometry is made, in one sentence."""

import numpy as np
import pytest

from datamodules.scans.sinogram import SinogramData
from datamodules.scans.slices import SliceFolder, SliceScan
from inr.errors import InputError

FAN = {"beam": "fan", "detector": 8.0}

SLICES = [
    ({"finer": 0}, "data.finer must be at least 1, .*got 0"),
    ({"rays": 0}, "data.rays must be at least 1, got 0"),
    ({"views": 0}, "data.views must be at least 1, .*got 0"),
    ({"bins": 2}, "data.bins must be at least 3, .*got 2"),
    ({"region": "disc"}, "data.region .*circle, square, strip, got disc"),
    ({"samples": 1}, "data.samples must be at least 2, .*got 1"),
    ({"photons": -1}, "data.photons must be positive, .*got -1"),
    ({"source": 90.0}, "data.source is for beam=fan; leave it out, got 90"),
    ({"size": 20, "source": 9.0, **FAN}, "source must be outside the slice, farther than 13.435 .*got 9 and 8"),
]
SINOGRAMS = [
    ({"path": None}, "data.path must name the file of a sinogram, .*got null"),
    ({"every": 16}, "two views or more, every=16 leaves 1; take more"),
    ({"water": -1}, "data.water must be positive, .*0.0193 per mm.*got -1"),
    ({"window": [2, 1]}, r"data.window must be \[low, high\], got \[2, 1\]"),
    (FAN, "data.source goes with beam=fan, which needs it, got null"),
    ({"source": 1.0, **FAN}, "data.source must be outside the slice, above .*got 1"),
    *(({"centre": centre}, f"data.centre must be a bin of the detector, 0 .. 19, got {centre}") for centre in (-0.5, 20.5)),
]


@pytest.fixture
def scan(tmp_path) -> str:
    """A file of 16 projections of a disc."""
    bins, angles = np.arange(20.0)[:, None], np.pi * np.arange(16) / 16
    np.save(tmp_path / "scan.npy", np.exp(-((bins - 9.5 - 3 * np.cos(angles)) ** 2) / 8))
    return str(tmp_path / "scan.npy")


@pytest.mark.parametrize(
    ("kind", "options", "message"), [(SliceScan, *row) for row in SLICES] + [(SinogramData, *row) for row in SINOGRAMS]
)
def test_a_bad_option_is_refused_in_one_sentence(kind, options, message, scan):
    given = options if kind is SliceScan else {"path": scan} | options
    with pytest.raises(InputError, match=rf"\A.*{message}.*\Z"):
        kind(**given).describe()


def test_a_folder_without_slices_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"must hold two slices or more .*\.dcm.* has 0"):
        SliceFolder(root=str(tmp_path)).describe()
