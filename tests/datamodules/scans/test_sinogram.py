import logging
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from skimage.data import shepp_logan_phantom
from skimage.transform import radon, resize
from tiny.slices import write_dicom
from torch.testing import assert_close

from datamodules.scans.attenuation import MU_WATER
from datamodules.scans.sinogram import SinogramData
from datamodules.scans.slices import SliceScan
from tasks.ct import CTTask

CPU = torch.device("cpu")
DEGREES = np.arange(60) * 3.0
FANS = pytest.mark.parametrize("fan", [{}, {"beam": "fan", "source": 60.0, "detector": 30.0}], ids=["parallel", "fan"])


@cache
def head(size):
    """A head with a bright disc on one side, inside the circle of every detector."""
    rows, columns = np.mgrid[:size, :size] - size // 2
    disc = np.hypot(rows - 0.25 * size, columns + 0.15 * size) < 0.09 * size
    picture = resize(shepp_logan_phantom(), (size, size), anti_aliasing=True) + 1.5 * disc
    return picture * (np.hypot(rows, columns) < 0.44 * size)


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
    return data.restore(data.trained.back_projected("ramp"))[0, ..., 0]


def check_place(image, truth, share=0.75):
    """The image is nearer to the truth than to what it becomes if it is flipped, turned or shifted by a pixel."""
    truth = torch.as_tensor(truth, dtype=image.dtype)
    error = (image - truth).norm()
    moves = {"upside down": image.flip(0), "mirrored": image.flip(1), "turned": image.flip(0, 1), "transposed": image.T}
    shifts = {f"by {step} along {axis}": image.roll(step, axis) for step in (-1, 1) for axis in (0, 1)}
    for name, moved in (moves | shifts).items():
        assert error < share * (moved - truth).norm(), name
    return error / truth.norm()


@pytest.mark.parametrize("size", [40, 41])
def test_a_sinogram_of_scikit_image_gives_its_slice_upright_and_in_place(read, size):
    data = read(projected(size))
    assert data.axis_bin == pytest.approx(size // 2, abs=0.05)
    assert data.shape == (size, size)
    assert check_place(back_projected(data), head(size)) < 0.25
    assert check_place(back_projected(read(projected(size), centre=size // 2)), head(size)) < 0.25
    assert check_place(back_projected(read(projected(size).T, order="views_bins")), head(size)) < 0.25


@pytest.mark.parametrize("shift", [0, 6])
@pytest.mark.parametrize("half", [0, 0.5])
def test_the_centre_is_found_or_given_and_the_slice_turns_about_it(read, shift, half, caplog):
    padded = np.pad(projected(41), ((shift, 1), (0, 0)))
    padded, known = padded * (1 - half) + np.roll(padded, 1, 0) * half, 20 + shift + half
    with caplog.at_level(logging.WARNING):
        found, given = read(padded), read(padded, centre=known)
    assert found.axis_bin == pytest.approx(known, abs=0.05)
    assert found.scanner.centre == found.axis_bin
    assert ("The projections turn about bin" in caplog.text) == (abs(known - (len(padded) - 1) / 2) > 0.25)
    truth = np.pad(head(41), ((shift, 1),) * 2)
    check_place(back_projected(given), truth * (1 - half) + np.roll(truth, 1, (0, 1)) * half, 0.95)
    assert_close(back_projected(found), back_projected(given), atol=0.1, rtol=0)


@pytest.mark.parametrize("size", [10, 40, 55])
@FANS
def test_the_slice_reaches_from_edge_to_edge_of_the_detector(read, size, fan):
    data = read(projected(), size=size, centre=17.3, bin_width=0.6, **fan)
    ends = np.array([-1, 1]) * size / (size - 1) - data.scanner.pivot[1]
    at_axis = 60 / 90 if fan else 1.0
    assert_allclose(data.scanner.half_width * ends, 0.6 * at_axis * (np.array([-0.5, 39.5]) - 17.3))


def test_clockwise_and_flip_undo_a_mirrored_angle_and_a_mirrored_detector(read):
    pairs = [
        (read(projected()[::-1], flip=True), read(projected())),
        (read(projected(sign=-1), clockwise=True), read(projected(sign=-1), -DEGREES)),
        (read(projected(sign=-1), -DEGREES, clockwise=True), read(projected(sign=-1))),
    ]
    for one, other in pairs:
        assert one.scanner == other.scanner
        assert torch.equal(one.trained.sinograms, other.trained.sinograms)
    check_place(back_projected(pairs[1][0]), head(40))
    with pytest.raises(AssertionError, match=r"upside down|mirrored"):
        check_place(back_projected(read(projected(sign=-1))), head(40))


def test_values_are_attenuation_per_length_or_hounsfield_units(read):
    plain, water = read(projected()), 0.8
    numbers = back_projected(plain)
    assert_close(back_projected(read(projected(), bin_width=0.5)), 2 * numbers)
    assert_close(back_projected(read(projected(), largest=7.0)), numbers)
    hounsfield = read(projected(), water=water, bin_width=0.5)
    assert hounsfield.units.unit == "HU"
    assert_close(back_projected(hounsfield), 1000 * (2 * numbers / water - 1), atol=1e-2, rtol=1e-5)
    for data in (plain, hounsfield):
        length = data.unit_attenuation * data.scanner.half_width
        assert_allclose(length * data.trained.sinograms[0], projected(), rtol=1e-5)
        assert data.trained.sinograms.abs().max() <= 1.0001
    assert plain.truth(0).masks == {}
    assert read(projected(), window=[0, 3]).display_window == (0, 3)
    low, high = plain.display_window
    assert low < numbers[plain.disc].median() < high < numbers.max()


@pytest.mark.parametrize("every", [2, 7])
def test_views_in_between_are_scored_and_never_shown(read, every):
    whole, some = read(projected()), read(projected(), every=every)
    measured = np.arange(0, 60, every)
    rest = np.setdiff1d(np.arange(60), measured)
    assert some.scanner.angles == tuple(whole.scanner.angles[view] for view in measured)
    assert some.trained.between_angles == tuple(whole.scanner.angles[view] for view in rest)
    assert torch.equal(some.trained.sinograms, whole.trained.sinograms[..., measured])
    assert torch.equal(some.trained.between, whole.trained.sinograms[..., rest])
    assert set(some.evaluated.compared_rays(10**6)) == {"views", "between"}
    assert set(whole.evaluated.compared_rays(10**6)) == {"views"}
    for data, truth in ((some, some.trained.between), (whole, whole.trained.sinograms)):
        data.chunk = 10**4
        parts = [data.transfer_batch_to_device(look, CPU, 0).parts["data"] for look in data.val_dataloader()]
        assert_close(torch.cat([part.coordinates for part in parts], 1), data.validation.coordinates)
        assert torch.equal(data.validation.truth, truth)
        ((seen, compared, _),) = data.validated(truth.reshape(-1, 1))
        assert torch.equal(seen, compared)
        assert compared.abs().max() * data.units.scale == pytest.approx(data.units.peak)


@FANS
@pytest.mark.parametrize("pixel", [None, 0.5])
def test_an_exported_scan_read_back_is_the_same_scan(tmp_path, fan, pixel):
    path = tmp_path / ("slice.dcm" if pixel else "slice.npy")
    write_dicom(path, (600 * head(32)).astype(np.int16), spacing=pixel) if pixel else np.save(path, head(32))
    scan = SliceScan(path=str(path), views=50, **fan)
    scan.setup()
    CTTask.write_sinograms(SimpleNamespace(data=scan), tmp_path, 1.0)
    options = fan | {"bin_width": scan.scanner.bin_width * scan.scanner.half_width, "water": MU_WATER if pixel else None}
    found, data = (
        SinogramData(path=str(tmp_path / "sinogram.npz"), centre=centre, **options) for centre in (None, scan.scanner.centre)
    )
    assert found.axis_bin == pytest.approx(scan.scanner.centre, abs=0.05)
    places = torch.cartesian_prod(torch.arange(data.scanner.bins), torch.arange(50)).double()[None]
    offset, angle = scan.scanner.beam().lines(places)
    same, turned = data.scanner.beam().lines(places)
    assert_close(offset * scan.scanner.half_width, same * data.scanner.half_width)
    assert_close(angle, turned)
    if not fan:
        assert_close(back_projected(data), back_projected(scan), atol=1e-2 if pixel else 1e-4, rtol=1e-4)
        assert check_place(back_projected(data), scan.truth(0).truth[..., 0], 0.8) < 0.25
