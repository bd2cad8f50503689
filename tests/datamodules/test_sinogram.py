import logging
import math
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from skimage.data import shepp_logan_phantom
from skimage.transform import radon, resize
from slices import write_dicom
from torch.testing import assert_close

from datamodules.read_slice import MU_WATER
from datamodules.sinogram import SinogramData
from datamodules.slices import SliceScan
from inr.errors import InputError
from tasks.ct import CTTask

CPU = torch.device("cpu")
DEGREES = np.arange(60) * 3.0
MOVES = {
    "upside down": lambda image: image.flip(0),
    "mirrored": lambda image: image.flip(1),
    "turned": lambda image: image.flip(0, 1),
    "transposed": lambda image: image.T,
    "down": lambda image: image.roll(1, 0),
    "up": lambda image: image.roll(-1, 0),
    "right": lambda image: image.roll(1, 1),
    "left": lambda image: image.roll(-1, 1),
}


@cache
def head(size):
    """A head with a bright disc on one side, in the circle that scikit-image looks at."""
    rows, columns = np.mgrid[:size, :size] - size // 2
    disc = np.hypot(rows - 0.25 * size, columns + 0.15 * size) < 0.09 * size
    picture = resize(shepp_logan_phantom(), (size, size), anti_aliasing=True) + 1.5 * disc
    return picture * (np.hypot(rows, columns) <= size // 2)


@cache
def projected(size=40, sign=1):
    return radon(head(size), sign * DEGREES, circle=True).astype(np.float32)


@pytest.fixture
def read(tmp_path):
    """The data of a sinogram, saved with angles [degrees]; one of degrees that ascend unless others are given."""

    def read(sinogram, degrees=DEGREES, **options):
        path = tmp_path / "scan.npz"
        np.savez(path, sinogram=sinogram, angles=degrees)
        data = SinogramData(path=str(path), **options)
        data.setup()
        return data

    return read


def back_projected(data):
    return data.restore(data.displayed.back_projected(data.shape, "ramp"))[0, ..., 0]


def check_place(image, truth, share=0.75):
    """The image is nearer to the truth than to what it becomes if it is flipped, turned or shifted by a pixel."""
    truth = torch.as_tensor(truth, dtype=image.dtype)
    error = (image - truth).norm()
    for name, move in MOVES.items():
        assert error < share * (move(image) - truth).norm(), name
    return error / truth.norm()


@pytest.mark.parametrize("size", [40, 41])
def test_a_sinogram_of_scikit_image_gives_its_slice_upright_and_in_place(read, size):
    data = read(projected(size))
    assert data.axis == pytest.approx(size // 2, abs=0.05)
    assert data.shape == (size, size)
    assert check_place(back_projected(data), head(size)) < 0.25
    assert check_place(back_projected(read(projected(size), centre=size // 2)), head(size)) < 0.25
    assert check_place(back_projected(read(projected(size).T, order="views_bins")), head(size)) < 0.25


@pytest.mark.parametrize("options", [{}, {"region": "square"}, {"beam": "fan", "source": 60.0, "detector": 30.0}], ids=str)
@pytest.mark.parametrize("kind", ["array", "dicom"])
def test_an_exported_scan_read_back_is_the_same_scan(tmp_path, options, kind):
    pixel, water, path = (0.5, MU_WATER, tmp_path / "a.dcm") if kind == "dicom" else (1.0, None, tmp_path / "a.npy")
    if kind == "dicom":
        write_dicom(path, (600 * head(32)).astype(np.int16), spacing=pixel)
    else:
        np.save(path, head(32))
    scan = SliceScan(path=str(path), views=50, **options)
    scan.setup()
    CTTask.write_sinograms(SimpleNamespace(data=scan), tmp_path, 1.0)
    width, size = scan.scanner.width * scan.scanner.half_width, {"size": 32} if options.get("region") else {}
    given = {name: value for name, value in options.items() if name != "detector"} | {"detector": options.get("detector")}
    data = SinogramData(path=str(tmp_path / "sinogram.npz"), bin_width=width, water=water, **given | size)
    data.setup()
    places = torch.cartesian_prod(torch.arange(data.scanner.bins), torch.arange(data.scanner.views)).double()[None]
    for one, other in zip(scan.scanner.beam().lines(places), data.scanner.beam().lines(places), strict=True):
        assert_close(one * (scan.scanner.half_width if one is not other else 1), other, check_dtype=False)
