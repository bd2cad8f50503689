import math

import numpy as np
import pytest
import scipy.sparse
import torch
from skimage.restoration import denoise_tv_chambolle
from torch.testing import assert_close

from inr.convex.choice import FACTOR, hide
from inr.convex.least_squares import conjugate_gradients, ridge_solution, smooth_fit
from inr.convex.problem import Problem, gradient, gradient_adjoint
from inr.convex.total_variation import PrimalDual, TotalVariation
from inr.dictionary.solvers import L1, Ridge, TopK
from inr.errors import InputError
from inr.measurements.sparse import SparseMatrix

SHAPE = (16, 12)


def picture(noise=0.1, shape=SHAPE, seed=0):
    """A step with noise."""
    places = np.stack(np.meshgrid(*(np.arange(size) / size for size in shape), indexing="ij")).mean(0)
    return torch.from_numpy((places > 0.5) + noise * np.random.default_rng(seed).standard_normal(shape)).float()


def seen(image, weights=None, rows=None):
    """The problem of a picture (*shape) whose pixels are seen as they are, or through some rows."""
    matrix = scipy.sparse.eye_array(image.numel(), dtype=np.float32, format="csr") if rows is None else rows
    operator = SparseMatrix(matrix)
    targets = operator(image.reshape(-1, 1))
    return Problem(operator, targets, torch.ones_like(targets) if weights is None else weights, tuple(image.shape))


def blurred(image, count=90):
    """The problem of fewer random sums of pixels than there are pixels."""
    rows = scipy.sparse.random_array((count, image.numel()), density=0.2, dtype=np.float32, rng=0)
    return seen(image, rows=rows.tocsr())


def solve(problem, **options):
    return TotalVariation(**{"weight": 0.2, "tolerance": 1e-5, "iterations": 1500} | options).coefficients(problem)


@pytest.mark.parametrize("shape", [(9,), (4, 5), (3, 4, 5)], ids=len)
def test_the_adjoint_of_the_gradient_is_exact(shape, float64):
    x, z = torch.randn(*shape, 2), torch.randn(len(shape), *shape, 2)
    assert_close((gradient(x) * z).sum(), (x * gradient_adjoint(z)).sum())
    assert torch.equal(gradient(torch.ones(*shape, 1)), torch.zeros(len(shape), *shape, 1))


@pytest.mark.parametrize("weight", [0.05, 0.3])
@pytest.mark.parametrize("shape", [SHAPE, (6, 7, 8)], ids=len)
def test_of_pixels_seen_as_they_are_it_is_scikit_images(shape, weight):
    image = picture(shape=shape)
    theirs = denoise_tv_chambolle(image.double().numpy(), weight=weight, eps=1e-12, max_num_iter=4000)
    ours = solve(seen(image), weight=weight).coefficients
    assert_close(ours.reshape(shape).double(), torch.from_numpy(theirs), rtol=0, atol=2e-3)


@pytest.mark.parametrize("bounds", [{}, {"lower": 0.1, "upper": 0.7}, {"lower": 0.0}])
@pytest.mark.parametrize("huber", [0.0, 0.05])
@pytest.mark.parametrize("set_up", [seen, blurred])
def test_the_gap_closes_around_the_minimum(set_up, huber, bounds):
    steps = PrimalDual(set_up(picture()), bounds.get("lower"), bounds.get("upper"), huber)
    steps.start(torch.full((math.prod(SHAPE), 1), 0.5), 0.2)
    gaps, bests, bounded = [], [], []
    for count in (30, 300, 2000):
        gaps.append(steps.run(count, 0.0)[0])
        bests.append(steps.objective())
        bounded.append(steps.dual_objective())
    assert gaps[0] > gaps[2]
    assert gaps[2] < 1e-3
    assert all(low <= bests[2] * (1 + 1e-5) for low in bounded)  # no bound is above what was reached
    assert bests[2] >= bests[0] * (1 - gaps[0])


def test_bounds_hold():
    c = solve(seen(picture(0.5)), lower=0.1, upper=0.7).coefficients
    assert float(c.min()) == pytest.approx(0.1)
    assert float(c.max()) == pytest.approx(0.7)


def with_holes(side=24):
    """A body of one material with two holes, and its sums along lines of a few similar directions."""
    body = torch.zeros(side, side)
    body[4:20, 3:21] = 1
    body[8:12, 6:10] = body[10:16, 13:18] = 0
    row, column = np.mgrid[:side, :side]
    offsets = [np.round(row + slope * column) for slope in (-0.6, -0.3, 0.0, 0.3, 0.6)]
    lines = [(offset == line).ravel() for offset in offsets for line in np.unique(offset)]
    return body, seen(body, rows=scipy.sparse.csr_array(np.array(lines, np.float32)))


def test_the_level_of_one_material_is_found_and_helps_where_data_are_missing():
    body, few = with_holes()
    free, bounded = (solve(few, weight=0.05, lower=0.0, upper=upper, iterations=600) for upper in (None, "auto"))
    level = bounded.figures["level"].value
    assert level == pytest.approx(1.0, rel=0.02)
    assert float(free.coefficients.max()) > 1.1
    assert float(bounded.coefficients.max()) <= level
    errors = [(one.coefficients.reshape(body.shape) - body).square().mean() for one in (free, bounded)]
    assert errors[1] < 0.5 * errors[0]


def test_equations_without_weight_do_not_count():
    image, known = picture(), (torch.rand(math.prod(SHAPE), 1, generator=torch.Generator().manual_seed(0)) > 0.4).float()
    wrong = torch.where(known.reshape(SHAPE) > 0, image, 1e3)
    assert_close(solve(seen(image, known)).coefficients, solve(seen(wrong, known)).coefficients, rtol=0, atol=1e-3)
    few = seen(image, rows=scipy.sparse.eye_array(image.numel(), dtype=np.float32, format="csr")[known[:, 0].numpy() > 0])
    assert_close(solve(few).coefficients, solve(seen(image, known)).coefficients, rtol=0, atol=2e-2)


def test_twice_the_weight_is_the_same_equation_twice():
    image = picture()
    eye = scipy.sparse.eye_array(image.numel(), dtype=np.float32, format="csr")
    twice = seen(image, rows=scipy.sparse.vstack([eye, eye], format="csr"))
    once = seen(image, torch.full((image.numel(), 1), 2.0))
    assert_close(solve(twice).coefficients, solve(once).coefficients, rtol=0, atol=2e-3)


def test_signals_are_solved_apart():
    images = torch.stack([picture(seed=0), 3 * picture(seed=1)], -1)
    operator = seen(images[..., 0]).matrix
    together = Problem(operator, images.reshape(-1, 2), torch.ones(len(operator.matrix.indptr) - 1, 1), SHAPE)
    alone = torch.cat([solve(seen(one)).coefficients for one in images.unbind(-1)], 1)
    assert_close(solve(together).coefficients, alone, rtol=0, atol=5e-3)


def test_above_hubers_length_nothing_changes_and_far_below_it_edges_are_smooth():
    problem, huber = seen(picture()), 1e3
    smooth = solve(problem, weight=200.0, huber=huber).coefficients
    assert_close(smooth, smooth_fit(problem, 200.0 / huber, 500), rtol=0, atol=2e-3)  # weight t^2 / (2 huber) is a ridge
    assert_close(solve(problem, huber=1e-6).coefficients, solve(problem).coefficients, rtol=0, atol=2e-3)


def test_the_unit_of_the_numbers_cancels():
    problem = blurred(picture())
    scaled = Problem(problem.matrix, 1e4 * problem.targets, problem.weights, problem.lattice)
    once = TotalVariation(tolerance=1e-3).coefficients(problem)
    more = TotalVariation(tolerance=1e-3).coefficients(scaled)
    assert more.figures["tv_weight"].value == pytest.approx(1e4 * once.figures["tv_weight"].value, rel=1e-3)
    assert_close(more.coefficients / 1e4, once.coefficients, rtol=0, atol=1e-2)


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_the_weight_suits_the_noise(noise):
    truth, problem = picture(0.0, (32, 24)), seen(picture(noise, (32, 24)))

    def error(weight):
        return float((solve(problem, weight=weight, iterations=300).coefficients.reshape(32, 24) - truth).square().mean())

    chosen = solve(problem, weight=None).figures["tv_weight"].value
    best = min(error(noise * FACTOR**place) for place in range(-2, 2))
    assert error(chosen) < min(2.5 * best, 0.4 * noise**2)


def test_a_tenth_is_hidden_and_nothing_is_lost():
    problem = seen(picture(shape=(40, 50)))
    fitted, judged = hide(problem)
    assert torch.equal(fitted.weights + judged.weights, problem.weights)
    assert float(judged.weights.mean()) == pytest.approx(0.1, abs=0.03)
    assert torch.equal(hide(problem)[1].weights, judged.weights)


def test_conjugate_gradients_solve_every_column(float64):
    root = torch.randn(12, 12)
    matrix, right = root @ root.T + torch.eye(12), torch.randn(12, 3)
    found = conjugate_gradients(lambda x: matrix @ x, matrix.diagonal()[:, None], right, torch.zeros(12, 3), 60, 1e-12)
    assert_close(found, torch.linalg.solve(matrix, right))


def test_ridge_fills_holes_smoothly_and_l1_forgets_outliers():
    slope = torch.linspace(0, 1, 40)[:, None].expand(40, 6).contiguous()
    known = (torch.rand(240, 1, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    filled = Ridge(1e-6).coefficients(seen(slope, known)).coefficients
    assert_close(filled.reshape(40, 6)[2:-2], slope[2:-2], rtol=0, atol=0.02)
    outliers = slope.flatten() + 5 * (torch.rand(240, generator=torch.Generator().manual_seed(2)) < 0.1)
    problem = seen(outliers.reshape(40, 6))
    robust, plain = (solver(ridge=0.01).coefficients(problem).coefficients for solver in (L1, Ridge))
    assert float((robust.reshape(40, 6) - slope).abs().max()) < 0.25
    assert float((plain.reshape(40, 6) - slope).abs().max()) > 0.5


def test_a_ridge_that_nobody_gave_suits_the_noise():
    waves = torch.sin(torch.arange(200) / 15)[:, None] + 0.3 * torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
    problem = Problem(seen(waves[:, 0]).matrix, waves, torch.ones(200, 1), (200,))
    solution = ridge_solution(problem, None)
    error = (solution.coefficients - torch.sin(torch.arange(200) / 15)[:, None]).square().mean()
    assert float(error) < 0.25 * 0.3**2
    assert "hidden tenth" in solution.figures["ridge"].definition


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -1.0}, "solver.weight must be finite and not negative, or null to choose it, got -1.0"),
        ({"lower": 1.0, "upper": 1.0}, "solver.lower must be below solver.upper, got 1.0"),
        ({"huber": math.inf}, "solver.huber must be finite and not negative, got inf"),
        ({"tolerance": -0.1}, "solver.tolerance must not be negative, got -0.1"),
        ({"iterations": 0}, "solver.iterations must be at least 1, got 0"),
    ],
)
def test_options_outside_their_range_are_refused(options, message):
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        TotalVariation(**options)


def test_solvers_of_codes_find_no_splines():
    with pytest.raises(InputError, match=r"solver=TopK finds codes in a dictionary; .* choose solver=tv, ridge or l1"):
        TopK().coefficients(seen(picture()))
