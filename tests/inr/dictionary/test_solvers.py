import itertools

import pytest
import torch
from tiny.signals import EXPERTS, SIGNALS, network
from torch.testing import assert_close

from datamodules.common.batch import Batch, Part
from inr.derivatives import observe_at
from inr.dictionary import normal_equations
from inr.dictionary.normal_equations import NormalEquations, Problem
from inr.dictionary.solvers import L1, MAD, RIDGES, Adam, Ridge, TopK
from inr.field import Signals
from inr.measurements.pointwise import Pointwise
from inr.supervision.losses import SquaredError
from inr.supervision.terms import Supervision

SHAPE, CHANNELS = (9, 8), 2
POINTS, UNKNOWNS = 72, EXPERTS + CHANNELS
SENSOR = {"data": Pointwise(SHAPE)}
SIZES = {"value": (CHANNELS,), "jacobian": (CHANNELS, 2)}
SUPERVISIONS = {
    "val": {"value": SquaredError(weight=0.7)},
    "val summed": {"value": SquaredError(weight=0.7, reduction="sum_axes")},
    "der": {"jacobian": SquaredError(quantity="jacobian", weight=1.3, reduction="sum_axes")},
    "der mean": {"jacobian": SquaredError(quantity="jacobian", weight=1.3)},
    "der along one axis": {"jacobian": SquaredError(quantity="jacobian", reduction="sum_axes", axes=[0])},
    "val_der": {"value": SquaredError(), "jacobian": SquaredError(quantity="jacobian", weight=2.0, reduction="sum_axes")},
}
WEIGHTS = ("none", "shared", "each", "each of the jacobian", "light")


pytestmark = pytest.mark.usefixtures("float64")


def dictionary(experts=EXPERTS):
    return network("nid_moe", out_features=CHANNELS, experts=experts, parts={"trunk": "sine"}).requires_grad_(False)


def weights_of(kind):
    """Weights of the points by quantity, of which a third is zero."""

    def some(signals):
        return torch.rand(signals, POINTS) * (torch.rand(signals, POINTS) > 1 / 3)

    each = {quantity: some(SIGNALS) for quantity in SIZES}
    return {
        "none": {},
        "shared": {quantity: some(1) for quantity in SIZES},
        "alike": {quantity: weights[:1].repeat(SIGNALS, 1) for quantity, weights in each.items()},
        "each": each,
        "each of the jacobian": {"jacobian": each["jacobian"]},
        "light": {quantity: 1e-6 * weights for quantity, weights in each.items()},
    }[kind]


def data(weights="none", **targets):
    """A part that shows all points of every signal; targets are random unless given."""
    grid = torch.cartesian_prod(*(torch.arange(float(size)) for size in SHAPE))[None]
    random = {quantity: torch.randn(SIGNALS, POINTS, *size) for quantity, size in SIZES.items()}
    return Part(grid, random | targets, weights_of(weights) if isinstance(weights, str) else weights)


def cut(part, signals=slice(None), points=slice(None)):
    """Some of the signals and points of a part."""
    targets = {quantity: target[signals, points] for quantity, target in part.targets.items()}
    weights = {
        quantity: weights[signals if len(weights) > 1 else slice(None), points] for quantity, weights in part.weights.items()
    }
    return Part(part.coordinates[:, points], targets, weights)


def problem(model, part, supervision="val", chunk=POINTS):
    signals = len(part.targets["value"])

    def batches():
        for start in range(0, POINTS, chunk):
            piece = cut(part, points=slice(start, start + chunk))
            yield Batch(Signals(torch.arange(signals)), {"data": piece})

    return Problem(model, SENSOR, Supervision(SUPERVISIONS[supervision]), batches)


def solve(solver, problem, centre, ridge):
    """The codes in float64."""
    *_, codes = solver.path(problem, centre, solver.ladder(ridge))
    return codes


def training_loss(model, part, supervision, code):
    """The loss of the training step for a part of one signal."""
    terms = Supervision(SUPERVISIONS[supervision])
    predictions = {"data": observe_at(SENSOR["data"], model.field_of(code), part.coordinates, terms.quantities("data"))}
    return sum(terms(predictions, {"data": part}).values())


def gradients(model, part, supervision, codes, centre, ridge):
    """Of each signal's training loss + ridge |code - centre|^2 by its code."""
    for row in range(len(codes)):
        code = codes[row : row + 1].clone().requires_grad_()
        pull = (code - centre[row if len(centre) > 1 else 0]).square().sum()
        loss = training_loss(model, cut(part, slice(row, row + 1)), supervision, code) + ridge * pull
        yield torch.autograd.grad(loss, code)[0][0]


def designs(model):
    """The equations of the values: design (equations, unknowns) by hand, from the fields of unit codes."""
    points = SENSOR["data"].locate(data().coordinates).points
    return model.field_of(torch.eye(UNKNOWNS))(points).flatten(1).T


@pytest.mark.parametrize("centres", [1, SIGNALS])
@pytest.mark.parametrize(("supervision", "weights"), list(itertools.product(SUPERVISIONS, WEIGHTS)))
def test_ridge_minimises_the_training_loss_and_the_distance_to_the_centre(supervision, weights, centres):
    model, part, centre, ridge = dictionary(), data(weights), torch.randn(centres, UNKNOWNS), 0.03
    codes = solve(Ridge(), problem(model, part, supervision), centre, ridge)
    assert codes.shape == (SIGNALS, UNKNOWNS)
    there = gradients(model, part, supervision, codes, centre, ridge)
    start = gradients(model, part, supervision, centre.expand(SIGNALS, -1), centre, ridge)
    for at_solution, at_centre in zip(there, start, strict=True):  # convex: where the gradient vanishes is the minimum
        assert at_solution.norm() < 1e-9 * at_centre.norm()


@pytest.mark.parametrize(
    ("supervision", "weights", "size"),
    [
        ("val_der", "none", 1),
        ("val_der", "shared", 1),
        ("val_der", "alike", 1),
        ("val_der", "each", 3),
        ("val_der", "each of the jacobian", 3),
        ("val", "each", 3),
        ("val", "each of the jacobian", 1),
    ],
)
def test_signals_of_equal_weights_share_one_factorisation(supervision, weights, size):
    model, part, centre = dictionary(), data(weights), torch.randn(1, UNKNOWNS)
    together = problem(model, part, supervision)
    assert len(NormalEquations(together).gram) == size
    codes = solve(Ridge(), together, centre, 1e-3)
    for row in range(SIGNALS):
        alone = problem(model, cut(part, slice(row, row + 1)), supervision)
        assert_close(solve(Ridge(), alone, centre, 1e-3)[0], codes[row], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("cached", [2**29, 0])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("solver", [Ridge(), TopK(3, 2), L1(iterations=2)], ids=lambda solver: type(solver).__name__)
def test_a_pass_in_pieces_is_a_pass_at_once(solver, weights, cached, monkeypatch):
    model, part, centre = dictionary(), data(weights), torch.randn(1, UNKNOWNS)
    expected = solve(solver, problem(model, part, "val_der"), centre, 1e-2)
    monkeypatch.setattr(normal_equations, "CACHED", cached)
    pieces = problem(model, part, "val_der", chunk=17)
    assert_close(solve(solver, pieces, centre, 1e-2), expected, rtol=1e-8, atol=1e-9)
    assert (pieces.cached is None) == (cached == 0)


def test_equations_that_are_few_are_observed_once():
    part, passes = problem(dictionary(), data()), []
    observe = part.observe
    part.observe = lambda: passes.append(1) or observe()
    first, second = list(part.equations()), list(part.equations())
    assert len(passes) == 1
    assert all(one.design is other.design for one, other in zip(first, second, strict=True))


def test_signals_without_any_observation_get_the_centre():
    weights, centre = torch.rand(SIGNALS, POINTS), torch.randn(1, UNKNOWNS)
    weights[1] = 0
    for solver in (Ridge(), L1(iterations=2)):
        codes = solve(solver, problem(dictionary(), data({"value": weights})), centre, 1e-3)
        assert_close(codes[1:2], centre)
        assert codes.isfinite().all()
        assert (codes - centre).norm(dim=-1).count_nonzero() >= 2


@pytest.mark.parametrize("weights", ["none", "each"])
@pytest.mark.parametrize("k", [1, 3, EXPERTS])
def test_topk_is_the_ridge_of_its_own_k_gates(k, weights):
    model, part, centre, ridge = dictionary(), data(weights), torch.randn(1, UNKNOWNS), 1e-2
    codes = solve(TopK(k), problem(model, part, "val_der"), centre, ridge)
    used = codes != 0
    assert used[:, :EXPERTS].sum(-1).tolist() == [k] * SIGNALS
    assert used[:, EXPERTS:].all()
    there = gradients(model, part, "val_der", codes, centre, ridge)
    start = gradients(model, part, "val_der", used * centre, centre, ridge)
    for mask, at_solution, at_centre in zip(used, there, start, strict=True):
        assert at_solution[mask].norm() < 1e-9 * at_centre[mask].norm()
        assert k == EXPERTS or at_solution[~mask].norm() > 1e-6  # the other gates were not free


def test_topk_in_one_stage_keeps_the_gates_whose_atoms_are_largest():
    model, part, centre = dictionary(), data(), torch.zeros(1, UNKNOWNS)
    model.experts.data *= torch.logspace(-1, 1, EXPERTS)[:, None, None]
    ridge = solve(Ridge(), problem(model, part), centre, 1e-2)
    strength = (ridge[:, :EXPERTS] * designs(model).norm(dim=0)[:EXPERTS]).abs()
    expected = strength >= strength.sort(descending=True).values[:, 2:3]
    codes = solve(TopK(3, stages=1), problem(model, part), centre, 1e-2)
    assert torch.equal(codes[:, :EXPERTS] != 0, expected)
    assert not torch.equal(expected, ridge[:, :EXPERTS].abs() >= ridge[:, :EXPERTS].abs().sort().values[:, -3:-2])


def spoiled(model, codes, share=0.2):
    """The values of some codes, a share of them replaced by gross outliers."""
    values = (codes @ designs(model).T).unflatten(-1, (POINTS, CHANNELS))
    outliers = torch.rand(values.shape) < share
    return torch.where(outliers, values + 5 + 5 * torch.rand(values.shape), values)


def test_l1_is_not_led_astray_by_outliers():
    model, exact, centre = dictionary(), torch.randn(SIGNALS, UNKNOWNS), torch.zeros(1, UNKNOWNS)
    part = data(value=spoiled(model, exact))
    values = exact @ designs(model).T

    def error(solver):
        codes = solve(solver, problem(model, part), centre, 1e-7)
        return (codes @ designs(model).T - values).norm() / values.norm()

    assert error(Ridge()) > 0.3
    assert error(L1(cutoff=2.0, iterations=20)) < 1e-4
    codes = solve(L1(cutoff=2.0, iterations=20), problem(model, part), centre, 1e-10)
    assert_close(codes, exact, rtol=1e-3, atol=1e-3)


def test_l1_equals_reweighted_least_squares():
    """Weights on the equations instead of the targets: other iterations, the same fixed point."""
    model, centre, ridge, cutoff = dictionary(), torch.randn(1, UNKNOWNS), 1e-2, 1.5
    part = data(value=spoiled(model, torch.randn(SIGNALS, UNKNOWNS)) + 0.1 * torch.randn(SIGNALS, POINTS, CHANNELS))
    codes = solve(L1("l1", cutoff, iterations=200), problem(model, part), centre, ridge)
    design, share = designs(model), 0.7 / (POINTS * CHANNELS)
    for row, target in enumerate(part.targets["value"].flatten(1)):
        code = centre[0].clone()
        for _ in range(500):
            size = (target - design @ code).abs()
            weights = (cutoff * MAD * size.sort().values[(len(size) - 1) // 2] / size).clamp_max(1.0)
            gram = share * (design.T * weights) @ design + ridge * torch.eye(UNKNOWNS)
            code = torch.linalg.solve(gram, share * design.T @ (weights * target) + ridge * centre[0])
        assert (weights < 1).sum() > 10
        assert_close(codes[row], code, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("solver", [Ridge(), TopK(3), L1("l1"), L1()], ids=["ridge", "topk", "l1", "geman_mcclure"])
def test_points_without_weight_do_not_count(solver):
    model, centre = dictionary(), torch.zeros(1, UNKNOWNS)
    weights = (torch.rand(SIGNALS, POINTS) > 0.6).double()
    values = spoiled(model, torch.randn(SIGNALS, UNKNOWNS))
    hidden = torch.where(weights[..., None] == 0, 1e3, values)
    first, second = (solve(solver, problem(model, data({"value": weights}, value=x)), centre, 1e-3) for x in (values, hidden))
    assert_close(first, second, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("coordinates", [1, SIGNALS])
def test_adam_starts_at_the_centre(coordinates):
    model, part, centre = dictionary(), data(), torch.randn(1, UNKNOWNS)
    part.coordinates = part.coordinates.repeat(coordinates, 1, 1)  # it asks no signal to share them
    codes = Adam()(problem(model, part), centre, 0.0)
    assert torch.equal(codes, centre.expand(SIGNALS, -1).float())


@pytest.mark.parametrize("solver", [Ridge(), TopK(3), L1(iterations=3)], ids=lambda solver: type(solver).__name__)
def test_a_chosen_weight_is_solved_for_as_it_was_tried(solver):
    model, part, centre = dictionary(), data("each"), torch.randn(1, UNKNOWNS)
    tried = solver.path(problem(model, part), centre, RIDGES)
    for ridge, codes in zip(RIDGES, tried, strict=True):
        assert_close(solve(solver, problem(model, part), centre, ridge), codes, rtol=1e-9, atol=1e-9)


def test_codes_of_a_float32_dictionary_are_float32():
    model, part, centre = dictionary(), data(), torch.randn(1, UNKNOWNS)
    expected = solve(Ridge(), problem(model, part), centre, 1e-2)
    single = Part(part.coordinates.float(), {quantity: target.float() for quantity, target in part.targets.items()})
    for solver in (Ridge(), TopK(EXPERTS)):
        codes = solver(problem(model.float(), single), centre.float(), 1e-2)
        assert codes.dtype == torch.float32
        assert_close(codes.double(), expected, rtol=1e-3, atol=1e-3)


def gaps(kind):
    """Weights (signals, points) of tuning signals: which samples are known."""
    known = (torch.rand(SIGNALS, POINTS) > 0.8).double()
    return {"nothing said": None, "all known": torch.ones(SIGNALS, POINTS), "all lack some": known}.get(
        kind, torch.cat([known[:1], torch.ones(SIGNALS - 1, POINTS)])
    )


def brute_force(model, tuning, clean, known, centre):
    """The weight of the highest mean PSNR, of missing samples where there are any."""
    points, scores = SENSOR["data"].locate(clean.coordinates).points, []
    for ridge in RIDGES:
        errors = (model.field_of(solve(Ridge(), tuning, centre, ridge))(points) - clean.targets["value"]).square().mean(-1)
        total = 0.0
        for row, error in enumerate(errors):
            lacking = torch.zeros(POINTS, dtype=torch.bool) if known is None else known[row] == 0
            total += -10 * (error[lacking] if lacking.any() else error).mean().log10()
        scores.append(total / SIGNALS)
    return RIDGES[int(torch.stack(scores).argmax())]


@pytest.mark.parametrize("kind", ["nothing said", "all known", "all lack some", "one lacks some"])
@pytest.mark.parametrize("supervision", ["val", "val_der"])
def test_the_weight_is_chosen_that_reconstructs_best(supervision, kind):
    model, centre, known = dictionary(24), torch.zeros(1, 24 + CHANNELS), gaps(kind)
    points = SENSOR["data"].locate(data().coordinates).points
    exact = model.field_of(0.5 * torch.randn(SIGNALS, 24 + CHANNELS))(points)
    clean = data(value=exact)
    noisy = data({} if known is None else {"value": known, "jacobian": known}, value=exact + 0.7 * torch.randn(exact.shape))
    tuning, truth = problem(model, noisy, supervision), problem(model, clean, "val")
    chosen = brute_force(model, tuning, clean, known, centre)
    assert Ridge().choose([(tuning, truth, centre)]) == chosen
    assert chosen not in (RIDGES[0], RIDGES[-1])
