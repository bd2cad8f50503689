"""Networks side by side: each is evaluated, and fitted, as if it were alone."""

import copy
from collections.abc import Callable

import pytest
import torch
from tiny.signals import TRUNKS, network
from torch import nn
from torch.testing import assert_close

from inr.derivatives import value_and_jacobian
from inr.errors import InputError
from inr.field import Field, Network, Signals
from inr.measurements.pointwise import Points
from inr.networks.stacked import Stacked, stack
from inr.optimisers.adam import Adam
from inr.optimisers.muon import Muon
from inr.optimisers.parameters import Parameters
from inr.supervision.losses import SquaredError
from inr.supervision.terms import Supervision

pytestmark = pytest.mark.usefixtures("float64")

SIGNALS, POINTS, CHANNELS = 3, 8, 3
SINGLES = [*TRUNKS, "spline"]
OPTIMISERS = {
    "adam": Adam,
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.1),
    "muon": Muon,
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=1e-3, momentum=0.9),
}


class Seen:
    """Targets of some signals, of which samples are missing, and slopes more."""

    def __init__(self, signals: int = SIGNALS) -> None:
        random = torch.Generator().manual_seed(1)
        self.targets = {
            "value": torch.rand(signals, POINTS, CHANNELS, generator=random),
            "jacobian": torch.rand(signals, POINTS, CHANNELS, 2, generator=random),
        }
        known = torch.rand(signals, POINTS, generator=random)
        known[-1] = 0  # nothing of the last
        self.weights = {"value": (known > 0.3).double()}

    def of(self, rows: torch.Tensor) -> "Seen":
        few = copy.copy(self)
        few.targets = {name: target[rows] for name, target in self.targets.items()}
        few.weights = {name: weight[rows] for name, weight in self.weights.items()}
        return few


def supervision() -> Supervision:
    return Supervision({"value": SquaredError(), "jacobian": SquaredError(quantity="jacobian", weight=0.01)})


def losses_of(seen: Seen, points: torch.Tensor, compare: Supervision, field: Field) -> dict[str, torch.Tensor]:
    value, jacobian = value_and_jacobian(Points((0.0, 0.0)), field, points)
    return compare({"data": {"value": value, "jacobian": jacobian}}, {"data": seen})


def fit(made: Network, optimiser: str, step: Callable[[Network], torch.Tensor], steps: int = 4) -> None:
    """Take some steps."""
    chosen = OPTIMISERS[optimiser](Parameters(made))
    for _ in range(steps):
        chosen.zero_grad()
        step(made).backward()
        chosen.step()


def fit_together(single: Network, optimiser: str, seen: Seen, points: torch.Tensor, group: int) -> dict[str, torch.Tensor]:
    """The parameters (signals, ...) after some steps of all signals."""
    made, apart = Stacked(single, SIGNALS), supervision().apart()

    def step(made: Network) -> torch.Tensor:
        groups = torch.arange(SIGNALS).split(group)
        return made.descend(groups, lambda rows, field: losses_of(seen.of(rows), points, apart, field))[1]

    fit(made, optimiser, step)
    return dict(made.single.named_parameters())


def stacked(single: Network) -> Stacked:
    """A stack whose networks differ."""
    made = Stacked(single, SIGNALS)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(1 + 0.2 * torch.rand_like(parameter))
    return made


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
@pytest.mark.parametrize("model", SINGLES)
def test_side_by_side_networks_equal_networks_alone(model, shared):
    single = network(model)
    alone, made = copy.deepcopy(single), stacked(single)
    points, tangents = 2 * torch.rand(1 if shared else SIGNALS, POINTS, 2) - 1, torch.rand(2, 1, 1, 2)
    index = torch.tensor([2, 0, 1])
    field = made.field(Signals(index))
    value, derivatives = field.pushforward(points, tangents)
    assert_close(field(points), value)
    for place, signal in enumerate(index):
        alone.load_state_dict(alone.state_dict() | {name: rows[signal] for name, rows in made.single.named_parameters()})
        expected = alone.pushforward(points[[0 if shared else place]], tangents)
        assert_close((value[[place]], derivatives[:, [place]]), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("model", SINGLES)
def test_signals_fitted_together_are_fitted_as_each_alone(model, optimiser):
    single, points, seen = network(model), 2 * torch.rand(1, POINTS, 2) - 1, Seen()
    begun = copy.deepcopy(single)
    found = fit_together(single, optimiser, seen, points, group=2)
    for signal in range(SIGNALS):
        alone, rows = copy.deepcopy(begun), torch.tensor([signal])

        def step(made: Network, rows: torch.Tensor = rows) -> torch.Tensor:
            losses = losses_of(seen.of(rows), points, supervision(), made.field(Signals(torch.tensor([0]))))
            return torch.stack(list(losses.values())).sum()

        fit(alone, optimiser, step)
        for name, parameter in alone.named_parameters():
            assert_close(found[name][signal], parameter, rtol=1e-9, atol=1e-11)
        assert not any(torch.equal(found[name][0], parameter) for name, parameter in begun.named_parameters())


class Plain(Network):
    """A network without a pushforward of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 9), nn.Tanh(), nn.Linear(9, CHANNELS))

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return self.layers(points)


@pytest.mark.parametrize("model", [*SINGLES, "plain"])
def test_threads_find_what_one_finds(model):
    single, points, seen = Plain() if model == "plain" else network(model), 2 * torch.rand(1, POINTS, 2) - 1, Seen()
    once = fit_together(copy.deepcopy(single), "adam", seen, points, group=1)
    try:
        torch.set_num_threads(2)
        again = fit_together(single, "adam", seen, points, group=1)
    finally:
        torch.set_num_threads(1)
    assert_close(again, once, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_what_another_signal_looks_like_does_not_change_a_fit(optimiser):
    single, points, seen, changed = network("sine"), 2 * torch.rand(1, POINTS, 2) - 1, Seen(), Seen()
    changed.targets["value"][1] = 1e3
    one, other = (fit_together(copy.deepcopy(single), optimiser, each, points, group=3) for each in (seen, changed))
    for name, rows in one.items():
        assert_close(other[name][[0, 2]], rows[[0, 2]], rtol=0, atol=1e-15)
        assert not torch.equal(other[name][1], rows[1])


def test_losses_are_means_and_gradients_each_signals_own():
    single, points, seen = network("relu"), 2 * torch.rand(1, POINTS, 2) - 1, Seen()
    made, apart = Stacked(single, SIGNALS), supervision().apart()
    rows = torch.tensor([0, 2])

    def losses(index, field):
        return losses_of(seen.of(index), points, apart, field)

    means, loss = made.descend(rows.split(1), losses)
    each = [made.descend([row[None]], losses) for row in rows]
    assert_close(means, {name: (each[0][0][name] + each[1][0][name]) / 2 for name in means})
    assert_close(loss, sum(means.values()))
    (2 * loss).backward()
    for parameter in made.parameters():
        assert parameter.grad[1].abs().max() == 0
    gradients = [parameter.grad.clone() for parameter in made.parameters()]
    made.zero_grad()
    sum(one for _, one in each).backward()
    assert_close(gradients, [2 * parameter.grad for parameter in made.parameters()])


def test_a_parameter_that_no_loss_reads_has_no_gradient():
    made, points = Stacked(network("sine"), SIGNALS), torch.rand(1, POINTS, 2)
    slopes = Supervision({"jacobian": SquaredError(quantity="jacobian")}).apart()
    _, loss = made.descend(
        torch.arange(SIGNALS).split(2), lambda rows, field: losses_of(Seen().of(rows), points, slopes, field)
    )
    loss.backward()
    without = [name for name, parameter in made.single.named_parameters() if parameter.grad is None]
    assert without == [list(dict(made.single.named_parameters()))[-1]]  # the last bias


@pytest.mark.parametrize("model", SINGLES)
def test_stacks_are_sorted_for_optimisers_as_their_network_is(model):
    single = network(model)
    sizes = {kind: [parameter.shape for parameter in group] for kind, group in single.groups().items()}
    groups = Stacked(single, SIGNALS).groups()
    assert {kind: [parameter.shape[1:] for parameter in group] for kind, group in groups.items()} == sizes
    assert all(len(parameter) == SIGNALS for group in groups.values() for parameter in group)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.parametrize("model", ["sine", "wire", "fourier"])
def test_a_compiled_stack_equals_an_eager_one(model):
    made, points, tangents = stacked(network(model)), torch.rand(1, POINTS, 2), torch.rand(2, 1, 1, 2)
    field = made.field(Signals(torch.arange(SIGNALS)))
    expected = field(points), field.pushforward(points, tangents)
    names = list(made.state_dict())
    made.compile_functions("aot_eager")
    assert list(made.state_dict()) == names
    assert_close((field(points), field.pushforward(points, tangents)), expected)


def test_one_signal_needs_no_stack_and_a_dictionary_gets_none():
    single = network("sine")
    assert stack(single, 1) is single
    with pytest.raises(InputError, match=r"a network of one field, got NeuralDictionary; choose another model, or regime=dict"):
        stack(network("nid_moe"), 2)
    with pytest.raises(InputError, match="at least one signal, got signals=0"):
        Stacked(single, 0)
