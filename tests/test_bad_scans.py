"""Sinograms that scanners really leave: a dead view, an axis off the middle, radians, photons, a background.

Each is reconstructed as if nothing were wrong, with one warning that says what was done, or refused in one line. What goes
wrong in all its forms lies beside the modules that find it (`datamodules/scans/test_bad_views.py`, `test_axis.py`, ...).
"""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from running import QUICK, metrics, run
from tiny.sinograms import DEGREES, SEEN, WIDTH, sinogram

from datamodules.scans.phantoms import random_phantom, rasterise
from datamodules.scans.read_slice import read_slice
from datamodules.scans.sinogram import SinogramData
from inr.errors import InputError

CASES = Path(os.environ.get("INR_DATA", "nowhere")) / "cases" / "ct"
BINS = 65
GOLDEN = np.arange(90) * 180 * (np.sqrt(5) - 1) / 2
FAN = {"beam": "fan", "bin_width": 2.0, "source": 75.0, "detector": 75.0}  # as wide at the axis as parallel bins
PER_BIN = 2 / 150


@pytest.fixture
def read(tmp_path):
    """The data of a sinogram, saved with its angles."""

    def read(values, angles=DEGREES, **options):
        np.savez(tmp_path / "scan.npz", sinogram=values.astype(np.float32), angles=angles)
        data = SinogramData(path=str(tmp_path / "scan.npz"), **options)
        data.setup()
        return data

    return read


def decibels(data, shift=0.0, scale=1.0):
    """PSNR of the filtered back-projection against the head that was scanned, in bins of the axis from the middle."""
    side = round(2 / WIDTH) + 1
    truth = np.zeros(data.slice_shape)
    start = (data.slice_shape[0] - side) // 2 + round(shift)
    truth[start : start + side, start : start + side] = scale * SEEN * WIDTH * rasterise(random_phantom(3, 1), side)
    found = data.restore(data.evaluated.back_projected("ramp"))[0, ..., 0].numpy()
    return 10 * np.log10(truth.max() ** 2 / np.square((found - truth)[data.disc.numpy()]).mean())


def spoiled(values, *places, factor=0.0):
    values = values.copy()
    values[:, places] *= factor
    return values


@pytest.mark.parametrize(
    ("factor", "words"),
    [(0.0, "are the same in every bin"), (np.nan, "are the same in every bin"), (1.4, "are unlike their neighbours")],
    ids=["zero", "not a number", "stronger"],
)
@pytest.mark.parametrize("fan", [{}, FAN], ids=["parallel", "fan"])
@pytest.mark.parametrize("order", [DEGREES.argsort(), np.random.default_rng(0).permutation(90)], ids=["sorted", "mixed"])
def test_a_bad_view_is_neither_trained_on_nor_scored(read, factor, words, fan, order):
    degrees = (2 * DEGREES if fan else DEGREES)[order]
    clean = sinogram(BINS, degrees, per_bin=PER_BIN if fan else 0.0)
    rest = np.delete(np.arange(90), [11, 60])
    with pytest.warns(
        UserWarning, match=rf"2 of 90 views {words} and count for nothing \(11, 60 in the file\); data.bad_views="
    ):
        found = read(spoiled(clean, 11, 60, factor=factor), degrees, **fan)
    without, whole = read(clean[:, rest], degrees[rest], **fan), read(clean, degrees, **fan)
    assert found.scanner == without.scanner
    assert torch.equal(found.trained.sinograms, without.trained.sinograms)
    assert found.trained.size == BINS * 88
    assert set(found.baselines()) == {"fbp", "fbp hann", "sart", "tv"}
    assert decibels(found) > decibels(whole) - 0.5
    assert read(spoiled(clean, 11, 60), degrees, bad_views=[], centre=32.0, **fan).trained.size == BINS * 90
    assert read(spoiled(clean, 11, 60), degrees, bad_views=[11, 60], **fan).scanner == without.scanner


@pytest.mark.parametrize("fan", [{}, FAN], ids=["parallel", "fan"])
def test_an_axis_off_the_middle_is_found_beside_a_dead_view(read, fan):
    degrees = 2 * DEGREES if fan else DEGREES
    values = spoiled(sinogram(75, degrees, centre=42, per_bin=PER_BIN if fan else 0.0), 10)
    with pytest.warns(UserWarning, match="1 of 90 views are the same"):
        data = read(values, degrees, **fan)
    assert data.axis_bin == pytest.approx(42, abs=0.1)
    assert decibels(data, shift=5) > 20


def test_an_axis_that_is_not_found_is_said_with_how_far_it_may_be_off(read):
    arc = np.arange(60) * 1.0
    words = r"not found and taken in the middle of the detector, bin 32; it may be off by [4-7].* bins: data.centre=BIN"
    with pytest.warns(UserWarning, match=words):
        assert read(sinogram(BINS, arc, centre=36), arc).axis_bin == 32
    turn = 2 * DEGREES
    with pytest.warns(UserWarning, match=r"opposite rays agree if the scan turns the other way, see data.clockwise"):
        assert read(sinogram(BINS, -turn, 30, PER_BIN), turn, **FAN).axis_bin == 32
    assert read(sinogram(BINS, -turn, 30, PER_BIN), turn, clockwise=True, **FAN).axis_bin == pytest.approx(30, abs=0.1)


@pytest.mark.parametrize("turn", [np.inf, 180, 360])
@pytest.mark.parametrize("options", [{}, {"angle_unit": "radians"}], ids=["auto", "radians"])
def test_golden_angles_in_radians_are_no_degrees(read, turn, options):
    angles = GOLDEN % turn if np.isfinite(turn) else GOLDEN
    data = read(sinogram(BINS, GOLDEN if turn != 180 else angles), np.deg2rad(angles), **options)
    assert decibels(data) > 22
    assert max(data.scanner.angles) < 2 * np.pi


def test_photons_and_a_background_are_told_from_line_integrals(read):
    values = sinogram(BINS) / 10
    expected = read(values)
    for kind, seen in (("transmission", np.exp(-values)), ("counts data.air=OPEN_BEAM", 5e4 * np.exp(-values))):
        with pytest.raises(InputError, match=rf"\A.*largest there, .*add data.kind={kind}, or =integrals if they are right.\Z"):
            read(seen)
    raised = 0.1 + values
    with pytest.warns(UserWarning, match=r"A background of 0.1 .*is subtracted"):
        found = [read(raised)]
    found += [read(np.exp(-values), kind="transmission"), read(5e4 * np.exp(-values), kind="counts", air=5e4)]
    for data in found:
        assert torch.allclose(data.trained.sinograms, expected.trained.sinograms, atol=1e-4)
    dead = spoiled(5e4 * np.exp(-values), 20)
    with pytest.warns(UserWarning, match="1 of 90 views are the same"):
        assert decibels(read(dead, kind="counts", air=5e4), scale=0.1) > 22


def test_options_of_the_file_are_checked(read):
    for options, words in (
        ({"bad_views": [90]}, r"data.bad_views must be places of views in the file, 0 .. 89, got \[90\]"),
        ({"bad_views": list(range(89))}, "two views or more, every=1 leaves 1"),
        ({"kind": "hounsfield"}, "data.kind must be null or one of integrals, transmission, counts, got hounsfield"),
        ({"air": 3.0}, "data.air must be positive, of data.kind=transmission or =counts, got 3"),
        ({"kind": "counts", "air": 0.0}, "data.air must be positive"),
    ):
        with pytest.raises(InputError, match=rf"\A.*{words}.*\Z"):
            read(sinogram(BINS), **options)
    with pytest.raises(InputError, match=r"two views or more, all but 1 are the same in every bin; choose another file"):
        read(spoiled(sinogram(BINS), *range(89)))


def test_a_source_stands_above_the_slice_at_angle_0_and_left_of_it_at_90_degrees(read):
    degrees = np.arange(72) * 5.0
    data = read(sinogram(BINS, degrees, per_bin=PER_BIN), degrees, **FAN)
    first, left = 0, 18
    beam = data.scanner.beam()
    for view, source in ((first, (-75, 0)), (left, (0, -75))):
        rays = beam.locate(torch.tensor([[[10.0, view], [54.0, view]]], dtype=torch.float64)).points[0]  # (row, column)
        start, step = rays[:, 0], rays[:, -1] - rays[:, 0]
        place = torch.tensor(source, dtype=torch.float64) / data.scanner.half_width
        away = (place - start)[:, 0] * step[:, 1] - (place - start)[:, 1] * step[:, 0]
        assert torch.allclose(away, torch.zeros(2, dtype=torch.float64), atol=1e-6)
        assert (step @ -place > 0).all()
    low, high = beam.locate(torch.tensor([[[10.0, first], [10.0, left]]], dtype=torch.float64)).points[0].mean(1)
    assert low[1] < 0 < high[0]  # the first bins see the first columns, then the last rows


def test_a_run_goes_around_a_dead_view(tmp_path):
    np.save(tmp_path / "scan.npy", spoiled(sinogram(BINS), 30))
    options = ("task=ct", "model=sine", "data=sinogram", f"data.path={tmp_path / 'scan.npy'}", *QUICK)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        figures = metrics(run(tmp_path / "run", *options))
    assert any("1 of 90 views" in str(one.message) for one in caught)
    assert figures["fbp/psnr_views"] > 30
    exported = np.load(tmp_path / "run" / "export" / "sinogram.npz")
    assert exported["sinogram"].shape == (BINS, 89)
    assert 60.0 not in exported["angles"].round(6)


@pytest.mark.skipif(not CASES.is_dir(), reason="needs INR_DATA")
@pytest.mark.filterwarnings("ignore:.*(are the same in every bin|taken as Hounsfield units)")
def test_collected_files_are_right():
    for name, options, axis in (
        ("shift5_dead.npy", {"angles": "shift5_dead_angles.npy"}, 45),
        ("golden.npy", {"angles": "golden_rad_angles.npy"}, 32),
        ("transmission.npy", {"angles": "transmission_angles.npy", "kind": "transmission"}, 32),
        ("plain.mat", {}, 32),
    ):
        files = {option: str(CASES / value) if option == "angles" else value for option, value in options.items()}
        data = SinogramData(path=str(CASES / name), **files)
        assert data.axis_bin == pytest.approx(axis, abs=0.05), name
    flat, volume = np.load(CASES / "hu_slice.npy"), np.load(CASES / "hu_volume.npy")
    for name, truth, frame in (
        ("mono1.dcm", flat, None),
        *((name, volume[place], place) for name in ("multi.dcm", "vol.nii.gz", "vol.nrrd") for place in range(4)),
    ):
        found = read_slice(CASES / name, frame=frame)
        np.testing.assert_allclose(found.scale * found.values.astype(float) + found.offset, truth, atol=1e-3)
        assert (found.pixel, found.length) == ((1.0, "pixel") if name == "vol.nrrd" else (pytest.approx(0.7), "mm"))
