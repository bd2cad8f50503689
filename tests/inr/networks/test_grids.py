import math

import pytest
import torch
from tiny.laws import assert_derivatives_are_exact
from torch.testing import assert_close

from inr.errors import InputError
from inr.field import Field, Signals
from inr.measurements.pointwise import Pointwise
from inr.networks.activations import Sine
from inr.networks.grids import GridEncoding
from inr.networks.interpolation import KERNELS, WeightedSum, polynomial
from inr.networks.mlp import MLP
from inr.networks.spline import Spline

pytestmark = pytest.mark.usefixtures("float64")
SHAPES = [(9,), (9, 12), (7, 5, 6)]


def filled(module, seed=0):
    """The module with random features."""
    random = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data.normal_(generator=random)
    return module


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("rows", [2**19, 7], ids=["dense", "hashed"])
@pytest.mark.parametrize("shape", SHAPES, ids=len)
@pytest.mark.parametrize("channels", [1, 4])
def test_derivatives_of_a_network_on_a_grid_are_exact(kernel, rows, shape, channels):
    grid = filled(GridEncoding(len(shape), shape, kernel, rows=rows, coarsest=3))
    assert (grid.dense < len(grid.lattices)) == (rows == 7)
    network = MLP(len(shape), channels, Sine(3.0), grid, hidden_features=8, hidden_layers=1)
    at = 1 + 0.7 * torch.rand(1, 9, len(shape)) * (min(shape) - 3)
    assert_derivatives_are_exact(Pointwise(shape), network, Field(network), at)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", SHAPES, ids=len)
def test_derivatives_of_a_spline_are_exact(kernel, shape):
    spline = filled(Spline(len(shape), 2, shape, kernel, fineness=0.8))
    at = 1 + 0.7 * torch.rand(1, 9, len(shape)) * (min(shape) - 3)
    assert_derivatives_are_exact(Pointwise(shape), spline, spline.field(Signals(torch.tensor([0]))), at)


@pytest.mark.parametrize("name", KERNELS)
def test_weights_are_those_of_the_published_kernels(name):
    kernel, place = KERNELS[name], torch.linspace(0, 1, 11)
    weights = torch.stack(kernel.weights(place), -1)
    assert_close(weights, torch.stack([polynomial(place, one) for one in kernel.coefficients], -1))
    assert_close(weights.sum(-1), torch.ones(11))
    assert weights.min() >= 0
    if name == "smoothstep":
        assert_close(weights[:, 1], place**2 * (3 - 2 * place))
        return
    # a B-spline is the box convolved with itself: the truncated powers sum_k (-1)^k C(n, k) (x + n/2 - k)_+^(n-1) / (n-1)!
    order = kernel.taps
    # distance of each node from the point, both in cells
    nodes = torch.arange(order) - (order // 2 - 1 if not kernel.shift else 1) + (0.5 if kernel.shift else 0)
    x = place[:, None] - nodes
    terms = [(-1) ** k * math.comb(order, k) * (x + order / 2 - k).clamp_min(0) ** (order - 1) for k in range(order + 1)]
    assert_close(weights, sum(terms) / math.factorial(order - 1), atol=1e-12, rtol=0)


def nearest_to_a_wave(kernel, cells, at):
    """The spline of so many cells that comes closest to sin(4 x) at some points."""
    spline = Spline(1, 1, [cells + 1], kernel)
    rows, weights = spline.stencil(at)
    design = torch.zeros(len(at), *spline.lattice).scatter_add_(1, rows.long(), weights)
    spline.coefficients.data = torch.linalg.lstsq(design, (4 * at).sin()).solution
    return spline


@pytest.mark.parametrize(("kernel", "order"), [("smoothstep", 1), ("linear", 2), ("quadratic", 3), ("cubic", 4)])
def test_splines_come_closer_with_the_order_of_their_kernel(kernel, order):
    at = torch.linspace(-1, 1, 401)[:, None]
    errors = []
    for cells in (20, 40):
        spline = nearest_to_a_wave(kernel, cells, at)
        errors.append(float((spline(at) - (4 * at).sin()).detach().abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.5)


@pytest.mark.parametrize("cells", [10, 20])
def test_smoothstep_misses_a_straight_line_by_a_share_of_its_step_and_all_of_its_slope(cells):
    # the line rises by h in a cell, so the error is h (3 t^2 - 2 t^3 - t) = -h t (1 - t) (1 - 2 t): at most h sqrt(3) / 18,
    # at t = 1/2 -+ sqrt(3) / 6, and its slope is that of the line at the nodes, whatever h
    spline = Spline(1, 1, [cells + 1], "smoothstep")
    spline.coefficients.data = torch.linspace(-1, 1, cells + 1)[:, None]
    start = torch.linspace(-1, 1, cells + 1)[:-1, None]
    worst = start + 2 / cells * (0.5 - 3**0.5 / 6)
    assert_close(worst - spline(worst), torch.full_like(worst, 2 / cells * 3**0.5 / 18))
    at = torch.linspace(-1, 1, 40 * cells + 1)[:, None]
    assert (spline(at) - at).abs().max() <= 2 / cells * 3**0.5 / 18 + 1e-12
    assert_close(spline.pushforward(start, torch.ones(1, 1, 1))[1], torch.zeros(1, cells, 1), rtol=0, atol=1e-10)
    middle = start + 1 / cells
    assert_close(spline.pushforward(middle, torch.ones(1, 1, 1))[1], torch.full((1, cells, 1), 1.5))


@pytest.mark.parametrize(("kernel", "order"), [("smoothstep", 0), ("linear", 1), ("quadratic", 2), ("cubic", 3)])
def test_slopes_of_splines_come_closer_by_one_order_less(kernel, order):
    at = torch.linspace(-1, 1, 401)[:, None]
    errors = []
    for cells in (20, 40):
        spline = nearest_to_a_wave(kernel, cells, at)
        slopes = spline.pushforward(at, torch.ones(1, 1, 1))[1][0, 20:-20]  # at the ends there is less to go by
        errors.append(float((slopes - 4 * (4 * at[20:-20]).cos()).detach().abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.5)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("rows", [2**19, 7], ids=["dense", "hashed"])
@pytest.mark.parametrize("shape", SHAPES, ids=len)
def test_equal_features_are_constant_on_every_level_and_have_no_slope(kernel, rows, shape):
    grid = GridEncoding(len(shape), shape, kernel, rows=rows, coarsest=3)
    grid.table.data.fill_(2.0)
    points, axes = 3 * torch.rand(2, 20, len(shape)) - 1.5, torch.eye(len(shape))
    value, slopes = grid.pushforward(points, axes[:, None, None])
    assert_close(value, torch.full((2, 20, grid.out_features), 2.0))
    assert_close(slopes, torch.zeros(len(shape), 2, 20, grid.out_features))


@pytest.mark.parametrize("shape", SHAPES, ids=len)
def test_points_of_each_signal_are_seen_as_if_alone_along_any_tangents(shape):
    grid = filled(GridEncoding(len(shape), shape, "quadratic", rows=40, coarsest=3))
    points = 2 * torch.rand(3, 20, len(shape)) - 1
    for count in (1, len(shape), 5):  # fewer tangents than axes are contracted before the sum, others behind it
        tangents = torch.randn(count, 3, 20, len(shape))
        value, slopes = grid.pushforward(points, tangents)
        alone = [grid.pushforward(one, along) for one, along in zip(points, tangents.unbind(1), strict=True)]
        assert_close(value, torch.stack([one for one, _ in alone]))
        assert_close(slopes, torch.stack([along for _, along in alone], 1))
        assert_close(slopes, torch.func.vmap(lambda dx: grid.pushforward(points, dx[None])[1][0])(tangents))


def test_levels_are_finer_between_samples_that_are_shown():
    def finest(**options):
        return GridEncoding(2, (65, 65), "linear", fineness=None, **options).lattices[-1]

    assert finest() == (65, 65)
    assert finest(whole=(65, 65)) == (65, 65)
    assert finest(whole=(257, 257)) == (129, 129)


@pytest.mark.parametrize("kernel", KERNELS)
def test_equal_coefficients_are_a_constant_everywhere_and_beyond(kernel):
    spline = Spline(2, 1, (6, 9), kernel)
    spline.coefficients.data.fill_(3.0)
    assert_close(spline(3 * torch.rand(50, 2) - 1.5), torch.full((50, 1), 3.0))


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_field_goes_on_beyond_its_ends_as_it_is_there(kernel):
    spline = filled(Spline(2, 1, (6, 9), kernel))
    outside = torch.tensor([[1.5, 0.3], [-2.0, 0.3]])
    value, slopes = spline.pushforward(outside, torch.eye(2)[:, None])
    assert_close(value, spline(outside.clamp(-1, 1)))
    assert_close(slopes[0], torch.zeros(2, 1))
    assert_close(slopes[1], spline.pushforward(outside.clamp(-1, 1), torch.eye(2)[:, None])[1][1])


def test_every_node_has_a_row_of_its_own_until_rows_run_out():
    grid = GridEncoding(2, (40, 30), "cubic", rows=500, coarsest=8)
    points = torch.cartesian_prod(torch.linspace(-1, 1, 100), torch.linspace(-1, 1, 100))
    _, rows = grid.stencil(points)
    kept = [min(math.prod(lattice), 500) for lattice in grid.lattices]
    assert len(grid.table) == sum(kept)
    assert 0 < grid.dense < len(kept)
    for level, (start, count) in enumerate(zip(grid.starts.flatten().tolist(), kept, strict=True)):
        used = rows[:, level].unique()
        assert start <= used.min() <= used.max() < start + count
        # a random hash would leave a share exp(-nodes / rows) of the rows to nobody; neighbours in a row do not collide
        share = 1.0 if level < grid.dense else 1 - math.exp(-math.prod(grid.lattices[level]) / count)
        assert len(used) / count > share - 0.05


def test_a_weighted_sum_and_its_gradients_are_those_of_indexing():
    table, weights = torch.randn(20, 3, requires_grad=True), torch.rand(2, 30, 4, requires_grad=True)
    index = torch.randint(20, (30, 4))

    def losses(sums):
        by_table, by_weights = torch.autograd.grad(sums.square().sum(), (table, weights), create_graph=True)
        second = torch.autograd.grad(by_table.square().sum() + by_weights.sin().sum(), (table, weights))
        return sums, by_table, by_weights, *second

    plain = (table[index] * weights[..., None]).sum(-2)
    assert_close(losses(WeightedSum.apply(table, index, weights)), losses(plain))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kernel": "cubical"}, "linear, smoothstep, quadratic, cubic"),
        ({"in_features": 4}, "1 to 3 axes"),
        ({"features": 0}, "features=0"),
        ({"growth": 1.0}, "growth=1.0"),
        ({"fineness": math.nan}, "fineness=nan"),
        ({"shape": (10**5, 10**5), "rows": 2**40}, "at most 2147483647 nodes, got"),
    ],
)
def test_impossible_grids_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        GridEncoding(**{"in_features": 2, "shape": (8, 8), **options})
