import math
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from PIL import Image
from scipy.io import savemat
from skimage.filters import threshold_otsu
from skimage.transform import resize
from tiny.matlab import write_hdf5

from datamodules.scans.sinogram import SinogramData

SOURCE, DETECTOR, BIN = 410.66, 553.74, 0.8  # [mm]: of the source from axis and detector, and the width of a bin
DEGREES = np.arange(75.0, 166.0, 15)
BALL = 9.0, 4.0  # (row, column) of a small ball from the axis [mm]


def helsinki():
    """The struct of a file of Helsinki whose every view sees one small ball."""
    bins = np.arange(81) - 40
    down, right = BALL
    angles = np.deg2rad(DEGREES)
    # At 0 the source stands below the slice and the first bin sees the first column, at 90 on the right, and the lowest row.
    ahead = down * np.cos(angles) + right * np.sin(angles)
    across = right * np.cos(angles) - down * np.sin(angles)
    places = DETECTOR * across / (SOURCE - ahead) / BIN
    sinogram = np.exp(-0.5 * (bins - places[:, None]) ** 2)
    lengths = {"distanceSourceOrigin": SOURCE, "distanceSourceDetector": DETECTOR, "pixelSizePost": BIN, "pixelSize": 0.05}
    parameters = {name: np.array([[length]]) for name, length in lengths.items()}
    return {"type": "2d", "sinogram": sinogram, "parameters": {**parameters, "angles": DEGREES[None], "scanner": "a"}}


@pytest.mark.parametrize("name", ["five.mat", "seven.mat"])
def test_a_scan_of_helsinki_is_read_with_its_geometry(tmp_path, name):
    scan = helsinki()
    if name == "five.mat":
        savemat(tmp_path / name, {"CtDataLimited": scan})
    else:
        parameters = {key: value for key, value in scan["parameters"].items() if key != "scanner"}
        write_hdf5(tmp_path / name, CtDataLimited={"sinogram": scan["sinogram"], "parameters": parameters})
    data = SinogramData(path=str(tmp_path / name), background=0, bad_views=[])
    scanner, half = data.scanner, data.scanner.half_width
    assert_allclose((scanner.source * half, scanner.detector * half), (SOURCE, DETECTOR - SOURCE))
    assert_allclose(scanner.bin_width * half, BIN)
    assert scanner.centre == 40
    assert len(scanner.angles) == len(DEGREES)
    back = data.evaluated.back_projected("hann")[0, ..., 0].numpy()
    row, column = np.unravel_index(back.argmax(), back.shape)
    assert math.dist(np.array([row - 40, column - 40]) * BIN * SOURCE / DETECTOR, BALL) < BIN


@pytest.mark.skipif("INR_DATA" not in os.environ, reason="needs INR_DATA")
@pytest.mark.parametrize("name", ["tb_90", "ta_30", "ta_30_hdf5"])
def test_published_scans_lie_as_their_truths(name):
    folder = Path(os.environ["INR_DATA"], "ct", "htc")
    data = SinogramData(path=str(folder / f"{name}.mat"), background=0, bad_views=[], size=140)
    back = data.evaluated.back_projected("hann")[0, ..., 0].numpy()
    # as many pixels as bins are as wide as those of the truth
    shown = resize(back, (560, 560), order=1)[24:-24, 24:-24]
    solid = np.asarray(Image.open(folder / f"truth_{name[:2]}.png").convert("L")) > 0
    seen = shown > threshold_otsu(shown)
    # of two sets Matthews correlation is Pearson's
    right, *others = (np.corrcoef(solid.ravel(), turned.ravel())[0, 1] for turned in (seen, seen[::-1], seen[:, ::-1], seen.T))
    assert right > 0.3
    assert right > max(others) + 0.05
