from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from inr.errors import InputError
from inr.supervision.losses import AbsoluteError, SquaredError
from inr.supervision.terms import Supervision, Term

SHAPES = {"value": (2, 5, 3), "jacobian": (2, 5, 3, 4)}
POWERS = {SquaredError: lambda difference: difference**2, AbsoluteError: torch.abs}


pytestmark = pytest.mark.usefixtures("float64")


def part(**weights):
    return SimpleNamespace(targets={quantity: torch.randn(shape) for quantity, shape in SHAPES.items()}, weights=weights)


def predictions():
    return {quantity: torch.randn(shape) for quantity, shape in SHAPES.items()}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum_axes"])
@pytest.mark.parametrize("quantity", SHAPES)
@pytest.mark.parametrize("distance", POWERS)
def test_reductions(distance, quantity, reduction, weighted):
    prediction, target = torch.randn(SHAPES[quantity]), torch.randn(SHAPES[quantity])
    weights = torch.rand(2, 5) if weighted else torch.ones(2, 5)
    error = POWERS[distance](prediction - target).flatten(2)
    entries = 1 / error.shape[-1] if reduction == "mean" else 1
    expected = 0.7 * entries * torch.einsum("spe,sp->", error, weights) / weights.sum()
    term = distance(quantity=quantity, weight=0.7, reduction=reduction)
    assert_close(term(prediction, target, weights if weighted else None), expected)
    assert term(prediction, target).shape == ()


@pytest.mark.parametrize("axes", [[0], [3, 1], (2,)])
def test_axes_select_columns_of_the_jacobian(axes):
    prediction, target = torch.randn(SHAPES["jacobian"]), torch.randn(SHAPES["jacobian"])
    some = SquaredError(quantity="jacobian", axes=axes)(prediction, target)
    assert_close(some, SquaredError(quantity="jacobian")(prediction[..., list(axes)], target[..., list(axes)]))


def test_the_scale_of_the_weights_does_not_matter_and_one_row_of_weights_serves_all_signals():
    prediction, target, weights = torch.randn(2, 5, 3), torch.randn(2, 5, 3), torch.rand(1, 5)
    expected = SquaredError()(prediction, target, weights.repeat(2, 1))
    assert_close(SquaredError()(prediction, target, weights), expected)
    assert_close(SquaredError()(prediction, target, 1e6 * weights), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_weight_at_all_gives_zero_and_finite_gradients(dtype):
    prediction = torch.randn(2, 5, 3, dtype=dtype, requires_grad=True)
    term = SquaredError()(prediction, torch.randn(2, 5, 3, dtype=dtype), torch.zeros(2, 5, dtype=dtype))
    term.backward()
    assert term.item() == 0
    assert torch.equal(prediction.grad, torch.zeros_like(prediction))


def test_averaged_over_processes_a_term_is_that_of_all_points(monkeypatch):
    prediction, target, weights = torch.randn(1, 6, 3), torch.randn(1, 6, 3), torch.rand(1, 6)
    expected = SquaredError()(prediction, target, weights)
    monkeypatch.setattr("inr.supervision.terms.ranks", lambda: 2)
    monkeypatch.setattr("inr.supervision.terms.global_sum", lambda share: weights.sum())
    shares = (slice(0, 2), slice(2, 6))
    terms = [SquaredError()(prediction[:, share], target[:, share], weights[:, share]) for share in shares]
    assert_close(sum(terms) / 2, expected)


def test_without_a_target_the_prediction_itself_is_penalised():
    supervision = Supervision({"flat": AbsoluteError(quantity="jacobian", target=None, weight=3.0)})
    predicted = predictions()
    losses = supervision({"data": predicted}, {"data": SimpleNamespace(targets={}, weights={})})
    assert_close(losses["flat"], 3 * predicted["jacobian"].abs().mean())


def test_a_term_reads_its_own_part_quantity_and_weights():
    terms = {
        "value": SquaredError(),
        "jacobian": SquaredError(quantity="jacobian", reduction="sum_axes", weight=0.1),
        "surface": AbsoluteError(part="surface"),
    }
    parts = {"data": part(jacobian=torch.rand(2, 5)), "surface": part(value=torch.rand(2, 5))}
    predicted = {name: predictions() for name in parts}
    losses = Supervision(terms)(predicted, parts)
    assert list(losses) == list(terms)
    for name, term in terms.items():
        read, quantity = parts[term.part], term.quantity
        expected = term(predicted[term.part][quantity], read.targets[quantity], read.weights.get(quantity))
        assert_close(losses[name], expected)
    assert len({loss.item() for loss in losses.values()}) == 3


def test_quantities_are_what_the_terms_of_a_part_read():
    supervision = Supervision({
        "value": SquaredError(),
        "again": AbsoluteError(),
        "flat": SquaredError(part="free", quantity="jacobian", target=None),
    })  # fmt: skip
    assert supervision.quantities("data") == {"value"}
    assert supervision.quantities("free") == {"jacobian"}
    assert supervision.quantities("elsewhere") == frozenset()


@pytest.mark.parametrize(
    ("term", "fixes"),
    [
        (SquaredError(), True),
        (AbsoluteError(), True),
        (SquaredError(quantity="jacobian"), False),
        (SquaredError(weight=0.0), False),
        (SquaredError(target=None), False),
        (SquaredError(part="elsewhere"), True),
    ],
)
def test_values_of_any_part_fix_the_constant_and_nothing_else_does(term, fixes):
    slopes = SquaredError(quantity="jacobian")
    assert Supervision({"slopes": slopes, "term": term}).fixes_constant() == fixes
    prediction, target = torch.randn(SHAPES[term.quantity]), torch.randn(SHAPES[term.quantity])
    if term.quantity == "value" and fixes:
        assert term(prediction + 1, target) != term(prediction, target)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantity": "hessian"}, "one of value, jacobian, differences, got quantity=hessian"),
        ({"reduction": "sum"}, "mean or sum_axes, got reduction=sum"),
        ({"weight": -1.0}, "not negative, got weight=-1.0"),
        ({"weight": float("nan")}, "finite and not negative, got weight=nan"),
        ({"weight": float("inf")}, "finite and not negative, got weight=inf"),
        ({"axes": [0]}, "a value has none, got axes="),
    ],
)
def test_terms_refuse_what_has_no_meaning(options, message):
    with pytest.raises(InputError, match=message):
        SquaredError(**options)


def test_supervision_needs_terms_and_their_data():
    with pytest.raises(InputError, match="at least one term"):
        Supervision({})
    with pytest.raises(InputError, match="Term edge reads the part edges; this data has data"):
        Supervision({"edge": SquaredError(part="edges")})({"data": predictions()}, {"data": part()})
    valueless = SimpleNamespace(targets={"jacobian": torch.randn(SHAPES["jacobian"])}, weights={})
    with pytest.raises(InputError, match="Term v needs a target value; part data has jacobian"):
        Supervision({"v": SquaredError()})({"data": predictions()}, {"data": valueless})


@pytest.mark.parametrize("shape", [(1, 5, 3), (2, 5, 1), (2, 5), (2, 3, 5)])
def test_shapes_must_be_equal(shape):
    with pytest.raises(InputError) as refusal:
        SquaredError()(torch.zeros(2, 5, 3), torch.zeros(shape))
    assert str(refusal.value) == f"value: prediction (2, 5, 3) and target {shape} must have equal shapes; no broadcasting."


def test_a_new_distance_must_say_what_it_is():
    with pytest.raises(NotImplementedError, match=r"define error\(difference\)"):
        Term()(torch.zeros(1, 1, 1))


def test_terms_that_do_not_name_their_axes_can_be_restricted():
    terms = {
        "some": SquaredError(quantity="jacobian"),
        "one": SquaredError(quantity="jacobian", axes=[1]),
        "value": SquaredError(),
    }
    whole = Supervision(terms)
    assert whole.axes("data") is None
    restricted = whole.along("data", [0])
    assert [term.axes for term in restricted.terms.values()] == [[0], [1], None]
    assert restricted.axes("data") == [0, 1]
    assert whole.terms["some"].axes is None
    assert whole.along("other", [0]).axes("data") is None
