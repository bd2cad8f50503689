import itertools
import math

import kornia
import pytest
import torch
from torch.testing import assert_close

from inr.errors import InputError
from inr.supervision.differences import BORDERS, FILTERS, complete_at, footprint, jacobian_at

SHAPES = [(7,), (5, 6), (4, 3, 5)]


pytestmark = pytest.mark.usefixtures("float64")


def every_index(shape):
    return torch.cartesian_prod(*[torch.arange(size) for size in shape]).reshape(-1, len(shape))


def jacobian(grid, filter, border):
    """The jacobian at all samples (*shape, channels, axes)."""
    shape = grid.shape[:-1]
    return jacobian_at(grid, every_index(shape), filter, border).reshape(*shape, grid.shape[-1], len(shape))


def wave(positions):
    """A smooth function of positions (..., axes) without symmetry between them, and its jacobian."""
    rates = torch.arange(1, positions.shape[-1] + 1) * 0.7
    phase = (positions * rates).sum(-1) + 0.3
    return phase.sin()[..., None], (phase.cos()[..., None] * rates)[..., None, :]


@pytest.mark.parametrize(("filter", "mode"), [("central", "diff"), ("sobel", "sobel")])
def test_replicated_borders_equal_kornia(filter, mode):
    image = torch.rand(9, 7, 3)
    columns, rows = kornia.filters.spatial_gradient(image.movedim(-1, 0)[None], mode=mode, normalized=True)[0].unbind(1)
    assert_close(jacobian(image, filter, "replicate"), torch.stack([rows, columns], -1).movedim(0, 2), rtol=0, atol=1e-14)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("filter", FILTERS)
def test_one_sided_borders_converge_at_second_order_everywhere(filter, axes):
    errors = []
    for samples in (17, 33, 65) if axes == 3 else (33, 65, 129):
        step = 1 / (samples - 1)
        nodes = every_index((samples,) * axes)
        edges = nodes[((nodes == 0) | (nodes == samples - 1)).any(-1)]
        inner = torch.randint(1, samples - 1, (300, axes))
        indices = torch.cat([edges[:: max(len(edges) // 500, 1)], inner])
        value, _ = wave(step * nodes)
        estimate = jacobian_at(value.reshape(*[samples] * axes, 1), indices, filter) / step
        difference = (estimate - wave(step * indices)[1]).abs()
        errors.append(torch.stack([difference[: -len(inner)].max(), difference[-len(inner) :].max()]))
    for coarse, fine in itertools.pairwise(errors):
        assert_close(coarse / fine, torch.full((2,), 4.0), rtol=0.15, atol=0)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_central_one_sided_differences_are_exact_on_quadratics(axes):
    shape = (3, 5, 4)[:axes]
    curvature, slope = torch.rand(axes, axes), torch.rand(axes)
    indices = every_index(shape)
    at = indices.double()
    value = torch.einsum("pi,ij,pj->p", at, curvature, at) + at @ slope + 1.7
    exact = at @ (curvature + curvature.T) + slope
    assert_close(jacobian_at(value.reshape(*shape, 1), indices)[:, 0], exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_periodic_borders_commute_with_shifts(shape, filter):
    grid, axes = torch.rand(*shape, 2), tuple(range(len(shape)))
    by = tuple(range(1, len(shape) + 1))
    shifted = jacobian(grid.roll(by, axes), filter, "periodic")
    assert torch.equal(shifted, jacobian(grid, filter, "periodic").roll(by, axes))


@pytest.mark.parametrize("filter", FILTERS)
def test_the_periodic_filters_multiply_a_wave_by_their_transfer_function(filter):
    samples, turns = 12, (2, 3)
    turn = [2 * math.pi * count / samples for count in turns]
    phase = (every_index((samples, samples)) * torch.tensor(turn)).sum(-1).reshape(samples, samples, 1)
    smoothing = [(1 + math.cos(turn[1])) / 2, (1 + math.cos(turn[0])) / 2] if filter == "sobel" else [1, 1]
    expected = torch.stack([math.sin(t) * s * phase.cos() for t, s in zip(turn, smoothing, strict=True)], -1)
    assert_close(jacobian(phase.sin(), filter, "periodic"), expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("border", BORDERS)
def test_the_number_type_of_the_grid_does_not_matter(border, filter, dtype):
    grid = torch.randint(0, 256, (6, 5, 3))
    expected = jacobian(grid.double(), filter, border)
    assert expected.min() < 0
    assert torch.equal(jacobian(grid.to(dtype), filter, border), expected)


@pytest.mark.parametrize("filter", FILTERS)
def test_axes_are_treated_alike(filter):
    grid = torch.rand(5, 6, 2)
    turned = jacobian(grid.transpose(0, 1), filter, "one_sided").transpose(0, 1).flip(-1)
    assert_close(jacobian(grid, filter, "one_sided"), turned)


@pytest.mark.parametrize("filter", FILTERS)
def test_one_sided_differences_need_three_samples(filter):
    with pytest.raises(InputError, match="three samples along an axis, got 2; use border=replicate"):
        jacobian(torch.rand(5, 2, 1), filter, "one_sided")
    assert_close(jacobian(torch.tensor([[1.0], [3.0]]), filter, "replicate"), torch.ones(2, 1, 1))


def test_unknown_filters_and_borders_are_refused():
    with pytest.raises(InputError, match="one of central, sobel, got prewitt"):
        jacobian(torch.rand(5, 1), "prewitt", "replicate")
    with pytest.raises(InputError, match="one of one_sided, replicate, periodic, got wrap"):
        footprint((5,), torch.zeros(1, 1, dtype=torch.long), "sobel", "wrap")


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_footprint_is_what_values_and_derivatives_depend_on(shape, border, filter):
    grid = torch.rand(*shape, 1)
    for indices in (every_index(shape)[torch.randperm(math.prod(shape))[:2]], every_index(shape)[[0, -1]]):
        before = jacobian_at(grid, indices, filter, border)
        read = torch.zeros(shape, dtype=torch.bool)
        for sample in map(tuple, every_index(shape).tolist()):
            moved = grid.clone()
            moved[sample] += 1
            changed = not torch.equal(jacobian_at(moved, indices, filter, border), before)
            read[sample] = changed or list(sample) in indices.tolist()
        assert torch.equal(footprint(shape, indices, filter, border), read)


@pytest.mark.parametrize("filter", FILTERS)
def test_rows_do_not_depend_on_which_others_are_asked_for(filter):
    grid = torch.rand(6, 5, 3)
    some = torch.tensor([[5, 4], [0, 2], [0, 2], [3, 3]])
    assert torch.equal(jacobian_at(grid, some, filter), jacobian(grid, filter, "one_sided")[some[:, 0], some[:, 1]])


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_jacobian_is_complete_where_unknown_samples_do_not_change_it(shape, border, filter):
    known, indices = torch.rand(*shape, 3) < 0.8, every_index(shape)
    complete = complete_at(known, indices, filter, border)
    grid = torch.rand(*shape, 3)
    moved = torch.where(known, grid, grid + 1 + torch.rand(*shape, 3))
    before, after = (jacobian_at(values, indices, filter, border) for values in (grid, moved))
    assert complete.any()
    assert not complete.all()
    assert torch.equal(complete, (before == after).all(-1))
    assert complete_at(known.new_ones(*shape, 1), indices, filter, border).all()
