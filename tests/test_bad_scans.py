"""A scan that cannot be simulated or read ends in one line, as in `test_bad_inputs`, before anything is fitted."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import QUICK
from tiny.slices import write_dicom

SINOGRAM, SLICE = "data=sinogram data.path={bad}/", "data=slice data.path={bad}/"
FAN = " data.beam=fan data.detector=8 "

SINOGRAMS = {  # words of the command after task=ct, then what the line must say
    "no path": ("data=sinogram", "data.path must name the file of a sinogram", "got null"),
    "missing path": (SINOGRAM + "nothing.npy", "must be an existing file", "nothing.npy", "its folder holds"),
    "picture": (SINOGRAM + "colour.png", "data.path must be a file that ends in .npy", "colour.png", "convert it"),
    "nan": (SINOGRAM + "nan.npy", "must be finite", "got nan at [3, 2]", "replace"),
    "nothing to see": (SINOGRAM + "constant.npy", "must show something", "constant.npy", "choose another"),
    "transposed": (SINOGRAM + "transposed.npy", "so they look transposed", "data.order=views_bins", "or =bins_views"),
    "other order": (SINOGRAM + "named.npz data.order=views_bins", "20 rows and 16 columns", "data.order=bins_views"),
    "number of angles": (SINOGRAM + "scan.npy data.angles=[0,1,2]", "got 3 angles for 20 rows and 16 columns", "correct"),
    "angles in words": (SINOGRAM + "scan.npy data.angles=[0,x]", "must be a file or a list of numbers", "got [0, 'x']"),
    "radians without unit": (SINOGRAM + "radians.npz", "look like radians", "span of 2.95", "add data.angle_unit=radians"),
    "degrees called radians": (SINOGRAM + "named.npz data.angle_unit=radians", "look like degrees", "span of 168.8"),
    "arc beside angles": (SINOGRAM + "named.npz data.arc=90", "16 angles are given", "got 90", "leave it out"),
    "arc": (SINOGRAM + "scan.npy data.arc=400", "data.arc must be above 0 and at most 360", "got 400"),
    "centre": (SINOGRAM + "scan.npy data.centre=20", "data.centre must be a bin of the detector, 0 .. 19", "got 20"),
    "fan without source": (SINOGRAM + "scan.npy" + FAN, "data.source goes with beam=fan", "which needs it", "got null"),
    "source inside": (SINOGRAM + "scan.npy data.source=1" + FAN, "data.source must be outside the slice", "got 1"),
    "every": (SINOGRAM + "scan.npy data.every=16", "two views or more", "every=16 leaves 1", "take more"),
    "water": (SINOGRAM + "scan.npy data.water=-1", "data.water must be positive", "0.0193 per mm", "got -1"),
    "window": (SINOGRAM + "scan.npy data.window=[2,1]", "data.window must be [low, high]", "got [2, 1]"),
}

SLICES = {
    "constant": (SLICE + "constant.npy", "must show something", "constant.npy", "choose another"),
    "colours": (SLICE + "colour.png", "must have one channel", "colour.png has 3", "make it grey"),
    "no pixels": (SLICE + "bare.dcm", "needs pixel data", "bare.dcm has none", "choose another"),
    "size": ("data=slice data.size=1", "size", "at least 2", "got 1"),
    "views": ("data=slice data.views=0", "data.views must be at least 1", "got 0"),
    "arc": ("data=slice data.arc=400", "data.arc must be above 0 and at most 360", "got 400"),
    "bins": ("data=slice data.bins=2", "data.bins must be at least 3", "got 2"),
    "region": ("data=slice data.region=disc", "circle, square, strip", "got disc"),
    "photons": ("data=slice data.photons=-1", "data.photons must be positive", "got -1"),
    "samples": ("data=slice data.samples=1", "data.samples must be at least 2", "got 1"),
    "source of parallel beams": ("data=slice data.source=90", "data.source is for beam=fan", "got 90", "leave it out"),
    "source inside": ("data=slice data.size=20 data.source=9" + FAN, "must be outside the slice, farther than 13.435", "got 9"),
}

COLLECTIONS = {
    "no folder": ("data=slices", "data.root must be an existing folder", "got null"),
    "folder without slices": ("data=slices data.root={bad}/none", "must hold two slices or more", ".dcm", "none has 0"),
    "all held out": (
        "regime=dictionary model=nid_moe data=phantoms data.count=4 data.held_out=4",
        "needs signals to show",
        "hold out fewer",
    ),
    "model without codes": ("regime=dictionary model=sine data=phantoms", "need a model with codes", "model=nid_moe"),
    "one slice": (
        "regime=dictionary model=nid_moe data=slice",
        "learns from two signals or more, got 1",
        "choose a collection",
    ),
}


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> Path:
    """A folder of files that are no scans, and of one that is."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "none").mkdir()
    (folder / "none" / "notes.txt").write_text("hello")
    bins, degrees = np.arange(20.0)[:, None], np.arange(16) * 11.25
    scan = np.exp(-((bins - 9.5 - 3 * np.cos(np.deg2rad(degrees))) ** 2) / 8)
    np.save(folder / "scan.npy", scan)
    np.save(folder / "nan.npy", np.where((bins == 3) & (np.arange(16) == 2), np.nan, scan))
    np.save(folder / "constant.npy", np.ones((20, 16)))
    np.save(folder / "transposed.npy", np.exp(-((bins - 9.5 - 3 * np.cos(np.pi * bins.T / 20)) ** 2) / 8).T)
    np.savez(folder / "named.npz", sinogram=scan, angles=degrees)
    np.savez(folder / "radians.npz", sinogram=scan, angles=np.deg2rad(degrees))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)).save(folder / "colour.png")
    write_dicom(folder / "bare.dcm", np.zeros((8, 8), np.int16), PixelData=None)
    return folder


@pytest.mark.parametrize(("cases", "name"), [(cases, name) for cases in (SINOGRAMS, SLICES, COLLECTIONS) for name in cases])
def test_a_bad_scan_is_refused_in_one_line(cases, name, refusal, bad, tmp_path):
    words, *phrases = (text.format(bad=bad) for text in cases[name])
    (line,) = refusal("task=ct", *QUICK[1:], *words.split())
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert line.startswith("error: ")
    for phrase in phrases:
        assert phrase in line
