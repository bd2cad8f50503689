import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny.slices import write_dicom
from torch.testing import assert_close

from datamodules.common.signal_data import Wanted
from datamodules.scans.attenuation import MU_WATER
from datamodules.scans.phantoms import line_integrals, shepp_logan
from datamodules.scans.simulated import project
from datamodules.scans.slices import Phantoms, SliceFolder, SliceScan
from inr.derivatives import observe_at
from inr.errors import InputError
from inr.measurements.radon import REGIONS
from inr.metrics.figures import psnr
from inr.networks.sampled import bilinear_field

CPU = torch.device("cpu")
ROWS, COLUMNS = np.mgrid[-1:1:33j, -1:1:33j]
DISC = (np.hypot(ROWS, COLUMNS) < 0.8).astype(np.float32)
BRAIN = (1024 + 60 * DISC - 1000 * (DISC == 0)).astype(np.int16)  # 60 HU in air


def scan(cls=SliceScan, on_slice=(), encodes=False, **options):
    data = cls(**options)
    data.setup()
    data.serve(Wanted({"data": frozenset({"value", "jacobian"}), "result": frozenset(on_slice)}, encodes))
    return data


def heads(**options):
    return scan(Phantoms, **{"count": 8, "size": 13, "held_out": 3, "tuning": 1} | options)


def take(data, count):
    return [data.training_batch(draw, CPU) for draw in itertools.islice(data.training_draws(0), count)]


def save(folder, values, name="slice.npy"):
    np.save(folder / name, values)
    return str(folder / name)


@pytest.mark.parametrize("options", [{}, {"arc": 120, "first": 30}, {"beam": "fan"}, {"region": "square"}], ids=str)
def test_the_sinogram_of_the_raster_approaches_that_of_the_ellipses(options):
    errors = []
    for size in (33, 65):
        data = scan(size=size, **options)
        places = torch.cartesian_prod(torch.arange(data.scanner.bins), torch.arange(data.scanner.views)).double()
        offset, angle = (line[0, :, 0].numpy() for line in data.scanner.beam().lines(places[None]))
        exact = torch.from_numpy(line_integrals(shepp_logan(), offset, angle)).reshape(data.scanner.bins, -1)
        found = data.trained.sinograms[0]
        errors.append((found - exact).norm() / exact.norm())
        assert errors[-1] < 0.8 * (found.flip(0) - exact).norm() / exact.norm()
    assert errors[1] < min(0.07, 0.7 * errors[0])


@pytest.mark.parametrize("region", REGIONS)
def test_the_detector_reaches_just_across_the_region(region):
    reach = math.sqrt(2) if region == "square" else 1.0
    for options in ({}, {"beam": "fan"}, {"beam": "fan", "source": 40.0, "detector": 10.0, "bins": 50}):
        scanner = SliceScan(size=17, region=region, **options).scanner
        ends = torch.tensor([[[0.0, 0.0], [scanner.bins - 1.0, 0.0]]])
        assert_close(scanner.beam().lines(ends)[0].flatten(), torch.tensor([-reach, reach]))
        assert scanner.bins == options.get("bins", math.ceil(17 * reach))


def test_a_fan_is_placed_in_the_units_of_the_pixels(tmp_path):
    paths = {mm: str(write_dicom(tmp_path / f"{mm}.dcm", BRAIN, spacing=mm)) for mm in (0.5, 1.0)}
    near, far = (scan(path=path, beam="fan", source=40 * mm, detector=20 * mm) for mm, path in paths.items())
    assert (near.scanner.source, near.scanner.detector, near.scanner.half_width) == (2.5, 1.25, 8.0)
    assert far.scanner == replace(near.scanner, half_width=16.0)
    assert_close(near.trained.sinograms, far.trained.sinograms)
    through = near.trained.sinograms[0, 16].mean() * near.unit_attenuation * near.scanner.half_width
    assert through == pytest.approx(1.06 * MU_WATER * 1.6 * 8, rel=0.02)


@pytest.mark.parametrize("beam", ["parallel", "fan"])
def test_classical_references_resemble_the_slice(beam):
    data = scan(size=33, beam=beam, views=60)
    truth = data.trained.slices[..., None]
    for name, method in data.baselines().items():
        shots = {step: psnr(method().roll(step, (1, 2)), truth, 1.0) for step in ((0, 0), (0, 1), (1, 0))}
        assert shots[0, 0] > 20 + (name == "fbp"), name
        assert shots[0, 0] == max(shots.values())


def test_a_source_just_outside_the_corners_is_far_enough_for_references():
    data = scan(size=33, beam="fan", source=23.0, detector=5.0, views=60)
    assert all(torch.isfinite(method()[:, data.disc]).all() for method in data.baselines().values())


def test_a_deep_png_keeps_its_numbers(tmp_path):
    pixels = (40000 * DISC + 100).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    data = scan(path=str(tmp_path / "deep.png"))
    assert (data.units.peak, data.unit_attenuation, data.display_window) == (65535, 65535, (0, 40100))
    assert_close(data.restore(data.trained.slices[0]).numpy(), pixels.astype(np.float32))
    assert_close(data.normalise(data.truth(0).truth), data.trained.slices[0, ..., None])


def test_a_dicom_file_keeps_its_hounsfield_units(tmp_path):
    data = scan(path=str(write_dicom(tmp_path / "head.dcm", BRAIN, window=(40, 80))))
    assert_close(data.restore(data.trained.slices[0]).numpy(), BRAIN.astype(np.float32) - 1024, atol=1e-3, rtol=0)
    assert (data.units.unit, data.units.peak, data.display_window) == ("HU", pytest.approx(1060), (0, 80))
    assert data.unit_attenuation == pytest.approx(1.06 * MU_WATER)


@pytest.mark.parametrize(("corner", "region"), [(0.0, "circle"), (5e-4, "circle"), (0.5, "square"), (-0.5, "square")])
def test_lines_go_through_the_square_where_the_slice_fills_it(tmp_path, corner, region):
    values = DISC.copy()
    values[0, 0] = corner
    path = save(tmp_path, values)
    assert SliceScan(path=path).scanner.region == region
    assert SliceScan(path=path, region="strip").scanner.region == "strip"


@pytest.mark.parametrize("kind", ["array", "dicom"])
def test_photons_scatter_attenuation_as_poisson_counts_do(tmp_path, kind):
    path = save(tmp_path, 3 * DISC) if kind == "array" else str(write_dicom(tmp_path / "a.dcm", BRAIN, spacing=4.0))
    seen = scan(path=path, photons=3e5, views=400).trained
    per = 4.0 / seen.exact.max() if kind == "array" else 1.06 * MU_WATER * 16 * 4.0
    expected, attenuation = (per * one.double() for one in (seen.exact, seen.sinograms))
    variance = torch.exp(expected) / 3e5
    for low in range(math.floor(expected.max())):  # thicker and thicker stretches
        some = (expected >= low) & (expected < low + 1)
        scores = (attenuation - expected)[some] / variance[some].sqrt()
        assert abs(scores.mean()) < 4 / math.sqrt(len(scores)) + 0.02
        assert scores.var() == pytest.approx(1, abs=6 / math.sqrt(len(scores)))


@pytest.mark.parametrize("options", [{"photons": 1e4}, {"noise": 0.02}], ids=str)
def test_noise_depends_on_the_seed_and_the_name_alone(options):
    one, other = (heads(spread=0.0, **options).scan([2, 3]) for _ in range(2))
    first, second = one.sinograms - one.exact
    assert torch.equal(one.exact[0], one.exact[1])
    assert torch.equal(one.sinograms, other.sinograms)
    assert torch.equal(heads(spread=0.0, **options).scan([3]).sinograms[0], one.sinograms[1])
    assert abs(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1]) < 0.25
    assert not torch.equal(heads(spread=0.0, seed=1, **options).scan([2]).sinograms[0], one.sinograms[0])


def test_gaussian_noise_has_its_standard_deviation():
    seen = scan(size=33, noise=0.03, views=300).trained
    noise = seen.sinograms - seen.exact
    assert noise.std() == pytest.approx(0.03 * seen.exact.max().item(), rel=0.03)
    assert abs(noise.mean()) < 4 * noise.std() / math.sqrt(noise.numel())


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("test_signals", [1, None])
def test_training_never_meets_what_is_held_out(monkeypatch, shuffle, test_signals):
    options = {"count": 8, "size": 9, "held_out": 3, "tuning": 2, "shuffle": shuffle, "test_signals": test_signals}
    positions, known, calls = Phantoms(**options).positions, Phantoms.scanned, []
    assert sorted(itertools.chain(*positions.values())) == list(range(8))
    assert {name: len(places) for name, places in positions.items()} == {"train": 3, "tuning": 2, "held_out": 3}
    held_out = set(positions["held_out"])

    def poisoned(self, places):
        calls.append(set(places))
        return known(self, places) * torch.tensor([math.nan if place in held_out else 1.0 for place in places])[:, None, None]

    monkeypatch.setattr(Phantoms, "scanned", poisoned)
    data = scan(Phantoms, points=20, batch_signals=2, noise=0.01, on_slice=("value",), encodes=True, **options)
    tuned = (data.tuning_batches(torch.arange(data.tuning_signals), CPU, altered) for altered in (True, False))
    for batch in itertools.chain(take(data, 5), data.training_batches(CPU), *tuned):
        targets = [target for part in batch.parts.values() for target in part.targets.values()]
        assert all(torch.isfinite(one).all() for one in (*targets, batch.signals.observations))
    assert torch.isfinite(data.baselines()["mean"]()).all()
    assert all(call <= held_out or not call & held_out for call in calls)
    assert held_out & set().union(*calls) == {*positions["held_out"][:test_signals]}


def test_a_batch_looks_along_the_same_rays_of_all_its_signals():
    data = heads(points=30, batch_signals=3)
    for batch in take(data, 4):
        part, signals = batch.parts["data"], batch.signals.index
        bins, views = part.coordinates[0].long().T
        assert torch.equal(part.targets["value"][..., 0], data.trained.sinograms[signals][:, bins, views])


@pytest.mark.parametrize("jitter", [False, True])
def test_samples_of_a_line_are_drawn_anew_in_every_step_if_asked(jitter):
    data = scan(size=13, points=None, jitter=jitter)
    parts = [batch.parts["data"] for batch in take(data, 2)]
    one, other = (data.scanner.beam().within(**part.context).locate(part.coordinates).points for part in parts)
    assert torch.equal(one, other) != jitter


def test_terms_on_the_slice_get_its_pixels_and_their_numbers_only_where_it_is_not_evaluated():
    terms = ("value", "jacobian")
    options = {"slice_points": 40, "on_slice": terms}
    for data, known in ((heads(**options), set(terms)), (scan(size=13, **options), set())):
        part, slices = take(data, 1)[0].parts["result"], data.trained.slices
        rows, columns = part.coordinates[0].long().T
        assert part.coordinates.shape == (1, 40, 2)
        assert set(part.targets) == known
        assert not known or torch.equal(part.targets["value"][..., 0], slices[:, rows, columns])


def test_encoders_see_back_projections_of_what_was_measured():
    data = heads(photons=1e4, batch_signals=2, encodes=True)
    data.trained.slices.fill_(math.nan)
    data.trained.exact.fill_(math.nan)
    for batch in take(data, 3):
        expected = data.scanner.back_project(data.trained.sinograms[batch.signals.index], data.shape, "hann")
        assert_close(batch.signals.observations, expected[..., None])


def test_a_pass_over_the_observations_is_the_sinogram_ray_by_ray():
    data = heads(chunk=50)
    batches = list(data.observation_batches(torch.arange(3), CPU))
    seen = torch.cat([batch.parts["data"].targets["value"] for batch in batches], 1)
    assert torch.equal(seen.reshape(3, data.scanner.bins, -1), data.evaluated.sinograms)
    assert all(batch.parts["data"].coordinates.shape[1] * data.scanner.samples <= 50 for batch in batches)


def test_a_collection_may_hold_out_all_of_its_slices():
    data = heads(shown="held_out", held_out=8)
    assert data.names == data.trained.names == data.labels
    assert all(torch.isfinite(method()).all() for method in data.baselines().values())


@pytest.mark.parametrize("other", ["spacing", "unit"])
def test_a_folder_of_several_kinds_of_slices_is_refused(tmp_path, other):
    write_dicom(tmp_path / "a.dcm", BRAIN)
    write_dicom(tmp_path / "b.dcm", BRAIN)
    assert scan(SliceFolder, root=str(tmp_path), size=16, held_out=1).trained.names == ["a.dcm"]
    write_dicom(tmp_path / "b.dcm", BRAIN, spacing=1.0) if other == "spacing" else save(tmp_path, DISC, "b.npy")
    with pytest.raises(InputError, match=r"must be of one kind; b.* the first that trains HU and 1.03125 mm: sort them"):
        scan(SliceFolder, root=str(tmp_path), size=16, held_out=0)


@pytest.mark.parametrize("options", [{}, {"beam": "fan"}, {"region": "square"}, {"region": "strip", "bins": 20}], ids=str)
def test_the_same_pixels_and_bins_without_width_are_scanned_as_published(options):
    data = scan(size=17, views=9, finer=1, rays=1, **options)
    places = torch.cartesian_prod(torch.arange(float(data.scanner.bins)), torch.arange(9.0))[None]
    field = bilinear_field(torch.from_numpy(data.template.values)[None])
    expected = observe_at(data.scanner.beam(2), field, places, {"value"})["value"]
    assert torch.equal(data.trained.sinograms.reshape(1, -1, 1), expected)
    assert data.scanner.width == 0


@pytest.mark.parametrize("beam", ["parallel", "fan"])
def test_a_finer_scan_comes_closer_to_a_round_blob_at_second_order(beam):
    size, sigma = 24, 0.2
    scanner = SliceScan(size=size, views=5, beam=beam, bins=20).scanner
    errors = []
    for finer in (2, 4, 8):
        middles = 2 / (size - 1) / finer * (torch.arange(size * finer) - (size * finer - 1) / 2)
        blob = torch.exp(-(middles[:, None].square() + middles.square()) / (2 * sigma**2))
        found = project(blob[None], scanner, finer, rays=4 * finer)[0]
        edges = scanner.bin_width * (torch.arange(21.0) - 0.5 - scanner.centre)
        if scanner.source is not None:
            lines = scanner.beam().lines(torch.stack([torch.linspace(-0.5, 19.5, 20001), torch.zeros(20001)], -1)[None])
            profile = math.sqrt(math.tau) * sigma * torch.exp(-lines[0][0, :, 0].square() / (2 * sigma**2))
            exact = profile[:-1].reshape(20, 1000).mean(1)
        else:
            integral = math.pi * sigma**2 * torch.erf(edges / math.sqrt(2) / sigma)
            exact = integral.diff() / scanner.bin_width
        errors.append(float((found - exact[:, None]).norm()))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.3)


def test_the_slice_that_is_looked_for_is_the_mean_of_the_scanned_one(tmp_path):
    pixels = np.random.default_rng(0).random((32, 24)).astype(np.float32)
    path = save(tmp_path, pixels)
    whole = scan(path=path)
    assert (whole.finer_pixels, whole.scanner.half_width) == (2, 15.5)
    assert_close(whole.restore(whole.trained.slices[0]).numpy(), pixels)
    for size, finer in ((16, 2), (10, 4), (4, 4)):  # of 32, 3.2 and 8 pixels of the file for each
        small = scan(path=path, size=size)
        assert small.finer_pixels == finer
        means = small.scanned([0]).reshape(size, finer, size, finer).mean((1, 3))
        assert_close(small.restore(small.trained.slices[0]), means)
        side = math.sqrt(32 * 24) / size
        assert small.scanner.half_width == pytest.approx((size - 1) / 2 * side)
    assert scan(path=path, size=16, finer=1).template.values.shape == (16, 16)


def test_many_slices_are_scanned_a_few_at_a_time(monkeypatch):
    together = heads(spread=1.0).scan([0, 1, 2])
    monkeypatch.setattr("datamodules.scans.simulated.PIXELS", 1)
    apart = heads(spread=1.0).scan([0, 1, 2])
    assert torch.equal(together.slices, apart.slices)
    assert_close(together.sinograms, apart.sinograms)
    assert_close(together.between, apart.between)
