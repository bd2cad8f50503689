import math
from dataclasses import replace

import pytest
import torch
from hydra.utils import instantiate
from torch.testing import assert_close

from datamodules.scans.scanner import FEWEST, MOST, REACH, Scanner, even_angles, samples_per_line
from datamodules.scans.scans import Scans
from datamodules.scans.slices import SliceScan
from inr.errors import InputError
from inr.supervision.differences import FILTERS, jacobian_at

SIGMA, RIGHT, DOWN = 0.15, 0.3, -0.2  # of a blob off the axis
FAN = {"source": 3.0, "detector": 1.5}
SHIFTS = [0.0, 0.5, -2.0, 0.3]  # of the axis from the middle of the detector [bins]
SCANS = {"half turn": (180, {}), "whole turn": (360, {}), "limited": (120, {}), "fan": (360, FAN), "limited fan": (200, FAN)}


def scanner(bins=41, arc=180, shift=0.0, **fan):
    width = 2.4 / (bins - 1) * (1.5 if fan else 1)
    angles = even_angles(math.ceil(bins * math.radians(arc) / 2), arc, 10)
    centre = (bins - 1) / 2 + shift
    return Scanner(angles=angles, bins=bins, bin_width=width, centre=centre, half_width=1.0, samples=16, **fan)


def line(scan, bins, views):
    """The exact integral of the blob along the line of each bin and view, fractions and views beyond the ends welcome."""
    offset, angle = scan.bin_width * (bins - scan.centre), scan.angles[0] + scan.view_step * views
    if scan.source is not None:
        tilt = torch.atan(offset / (scan.source + scan.detector))
        offset, angle = scan.source * tilt.sin(), angle + tilt
    away = offset - RIGHT * angle.cos() + DOWN * angle.sin()
    return math.sqrt(math.tau) * SIGMA * torch.exp(-away.square() / (2 * SIGMA**2))


def rays(scan):
    """The bin and the view of every ray, (bins, views) each."""
    return torch.stack(torch.meshgrid(torch.arange(float(scan.bins)), torch.arange(float(scan.views)), indexing="ij"))


def targets(scan, filter="central"):
    """Values and derivatives (bins, views) that training compares with."""
    sinograms = line(scan, *rays(scan))[None]
    scans = Scans(scanner=scan, shape=(9, 9), names=["blob"], sinograms=sinograms, filter=filter)
    part = scans.part(torch.tensor([0]), torch.arange(scans.size), ("value", "jacobian"), {})
    assert torch.equal(part.coordinates[0].long(), torch.cartesian_prod(torch.arange(scan.bins), torch.arange(scan.views)))
    value, jacobian = part.targets["value"][0, :, 0], part.targets["jacobian"][0, :, 0]
    return [one.reshape(scan.bins, scan.views) for one in (value, *jacobian.T)]


# the views before the first and after the last


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("name", ["half turn", "whole turn", "fan"])
def test_views_that_close_are_surrounded_by_their_own(name, shift):
    arc, fan = SCANS[name]
    scan = scanner(81, arc, shift, **fan)
    bins, beyond = torch.arange(81.0)[:, None], torch.tensor([-1.0, scan.views])
    flips = scan.half_turns == 1 and (2 * shift) % 1
    play = 9 / 128 * (scan.bin_width / SIGMA) ** 4 * math.sqrt(math.tau) * SIGMA if flips else 0.0  # of a cubic between bins
    around = scan.surrounded(line(scan, *rays(scan))[None])
    assert around.shape == (1, 81, scan.views + 2)
    assert_close(around[0, :, 1:-1], line(scan, *rays(scan)))
    assert_close(around[0][:, [0, -1]], line(scan, bins, beyond), rtol=0, atol=play + 1e-5)


def test_a_flipped_view_is_zero_where_the_detector_does_not_reach():
    view = torch.rand(2, 7, 1)
    scan = replace(scanner(), bins=7, centre=2.0)
    assert torch.equal(scan.flipped(view)[:, :5], view[:, :5].flip(1))
    assert not scan.flipped(view)[:, 5:].any()
    scan = replace(scan, centre=3.25)
    padded = torch.nn.functional.pad(view, (0, 0, 1, 1))
    cubic = (9 * (padded[:, 1:-2] + padded[:, 2:-1]) - padded[:, :-3] - padded[:, 3:]) / 16
    assert_close(scan.flipped(view)[:, 1:], cubic.flip(1))


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("views", [3, 20])
def test_central_differences_between_views_that_do_not_close_are_one_sided_at_the_ends(views, filter):
    scan = replace(scanner(arc=120), angles=even_angles(views, 20, 0), bins=9)
    sinogram = torch.rand(1, 9, views)
    places = torch.cartesian_prod(torch.arange(9), torch.arange(views))
    grid, around = sinogram[0, ..., None], scan.surrounded(sinogram)[0, ..., None]
    expected = jacobian_at(grid, places)
    assert scan.half_turns == 0
    assert_close(jacobian_at(around, places + torch.tensor([0, 1])), expected)
    first = grid[:, :3, 0] @ torch.tensor([-1.5, 2, -0.5])
    assert_close(expected[:, 0, 1].reshape(9, views)[:, 0], first)


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("name", SCANS)
def test_derivative_targets_approach_the_exact_ones_at_second_order_at_every_view(name, shift):
    arc, fan = SCANS[name]
    errors = []
    for bins in (41, 81):
        scan = scanner(bins, arc, shift, **fan)
        point, still = tuple(rays(scan)), torch.zeros(scan.bins, scan.views)
        value, *found = targets(scan)
        assert torch.equal(value, line(scan, *point))
        exact = [
            torch.func.jvp(lambda *at, of=scan: line(of, *at), point, way)[1]
            for way in ((still + 1, still), (still, still + 1))
        ]
        steps = scan.bin_width, scan.view_step
        off = torch.stack([(seen - true) / step for seen, true, step in zip(found, exact, steps, strict=True)]).abs()
        errors.append(torch.stack([off[0].max(), off[1].max(), off[1, :, 0].max(), off[1, :, -1].max()]))
    assert (errors[1] < 0.3 * errors[0]).all(), errors[1] / errors[0]


# angles, samples


@pytest.mark.parametrize("size", [16, 33, 64])
@pytest.mark.parametrize("arc", [None, 100.0])
@pytest.mark.parametrize("beam", ["parallel", "fan"])
@pytest.mark.parametrize("region", ["circle", "square"])
def test_without_a_number_of_views_they_are_just_enough_to_move_the_rim_by_a_bin(size, arc, beam, region):
    data = SliceScan(size=size, arc=arc, beam=beam, region=region)
    fewer = replace(data.scanner, angles=even_angles(data.scanner.views - 1, data.degrees, data.first))
    assert data.scanner.rim_step <= 1 < fewer.rim_step
    assert data.derivative_axes == [0, 1]
    assert SliceScan(size=size, arc=arc, beam=beam, region=region, views=fewer.views).derivative_axes == [0]


def test_views_close_after_half_turns_to_a_tenth_of_a_step():
    arcs = {0: [(30, 179), (30, 170), (30, 200), (1, 180)], 1: [(30, 180), (30, 179.5), (2, 180)], 2: [(31, 360)]}
    for fan, expected in (({}, arcs), (FAN, {0: [(30, 180)], 2: [(30, 360)]})):
        for turns, arc in [(turns, arc) for turns, some in expected.items() for arc in some]:
            assert replace(scanner(**fan), angles=even_angles(*arc, 25)).half_turns == turns, arc


@pytest.mark.parametrize(("views", "arc"), [(4, 180), (7, 180), (9, 360), (5, 50.5), (1, 180)])
def test_views_share_an_arc_without_its_end(views, arc):
    angles = torch.tensor(even_angles(views, arc, -30), dtype=torch.float64)
    assert_close(torch.cat([angles, angles[:1] + math.radians(arc)]).diff(), torch.full_like(angles, math.radians(arc / views)))
    assert angles[0] == math.radians(-30)
    assert len((angles % math.pi).round(decimals=9).unique()) == views  # nothing at 180 degrees that is at 0 already


@pytest.mark.parametrize(("views", "arc", "words"), [(0, 180, "views must be"), (3, 0, "arc must be"), (3, 361, "got 361")])
def test_views_that_cannot_share_an_arc_are_refused(views, arc, words):
    with pytest.raises(InputError, match=words):
        even_angles(views, arc, 0)


@pytest.mark.parametrize("region", REACH)
def test_samples_along_the_longest_line_are_as_dense_as_bins(region):
    for width in (0.1, 0.031, 0.0101):
        samples = samples_per_line(width, region)
        assert 2 * REACH[region] / samples <= width < 2 * REACH[region] / (samples - 1)
    assert samples_per_line(1.0, region) == FEWEST
    assert samples_per_line(1e-4, region) == MOST


@pytest.mark.parametrize("fan", [{}, FAN])
def test_the_described_measurement_looks_along_the_same_lines(fan):
    scan = replace(scanner(shift=0.3, **fan), pivot=(0.1, -0.2), region="square")
    places = torch.cartesian_prod(torch.arange(41.0), torch.arange(float(scan.views)))[None]
    described, finer = instantiate(scan.describe()).locate(places), scan.beam(2).locate(places)
    assert_close(described.points, scan.beam().locate(places).points)
    assert finer.points.shape[2] == 2 * described.points.shape[2]
    assert_close(finer.points.unflatten(2, (-1, 2)).mean(3), described.points)
