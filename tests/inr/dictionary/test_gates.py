import math

import pytest
import torch
from torch.testing import assert_close

from inr.dictionary.gates import expected_load, strongest
from inr.dictionary.penalties import Balance, Sparsity, Usage

SIGNALS, EXPERTS = 4, 10


pytestmark = pytest.mark.usefixtures("float64")


def variation(x):
    return (x - x.mean()).square().mean() / x.mean() ** 2


@pytest.mark.parametrize("count", [1, 3, EXPERTS])
def test_exactly_the_strongest_are_kept(count):
    size = torch.rand(SIGNALS, EXPERTS)
    kept = strongest(size, count)
    assert kept.sum(-1).tolist() == [count] * SIGNALS
    for row, mask in zip(size, kept, strict=True):
        assert set(row[mask].tolist()) == set(row.sort(descending=True).values[:count].tolist())


def test_ties_do_not_keep_more():
    assert strongest(torch.ones(SIGNALS, EXPERTS), 3).sum(-1).tolist() == [3] * SIGNALS


@pytest.mark.parametrize("noise", [0.3, 1.0])
@pytest.mark.parametrize("count", [1, 4, EXPERTS - 1])
def test_the_expected_load_is_what_drawing_an_expert_s_noise_again_gives(count, noise):
    draws, gates = 20000, torch.randn(SIGNALS, EXPERTS)
    noisy = gates + noise * torch.randn(SIGNALS, EXPERTS)
    observed = torch.zeros(EXPERTS)
    for expert in range(EXPERTS):
        again = noisy.repeat(draws, 1, 1)
        again[..., expert] = gates[:, expert] + noise * torch.randn(draws, SIGNALS)
        observed[expert] = strongest(again.abs(), count)[..., expert].sum() / draws
    load = expected_load(gates, noisy, count, noise)
    assert (load - observed).abs().max() < 5 * (SIGNALS * 0.25 / draws) ** 0.5  # five standard deviations, at most


def test_the_expected_load_can_be_differentiated():
    gates = torch.randn(SIGNALS, EXPERTS, requires_grad=True)
    noisy = gates.detach() + 0.3 * torch.randn(SIGNALS, EXPERTS)
    assert torch.autograd.gradcheck(lambda x: expected_load(x, noisy, 3, 0.3), gates)
    gradient = torch.autograd.grad(expected_load(gates, gates + (noisy - gates.detach()), 3, 0.3).square().sum(), gates)[0]
    assert (gradient != 0).float().mean() > 0.5


def test_without_noise_the_load_is_a_count():
    gates = torch.randn(SIGNALS, EXPERTS)
    load = expected_load(gates, gates, 3, 0.0)
    assert torch.equal(load, (gates * strongest(gates.abs(), 3) != 0).sum(0).double())
    assert load.sum() == 3 * SIGNALS


@pytest.mark.parametrize("published", [False, True])
def test_balance_is_the_squared_coefficient_of_variation(published):
    gates, load = torch.randn(SIGNALS, EXPERTS), 1 + torch.rand(EXPERTS)
    gates[torch.rand(SIGNALS, EXPERTS) < 0.3] = 0
    importance = gates.sum(0) if published else gates.abs().sum(0)
    used = (gates != 0).double().sum(0) if published else load
    expected = 0.7 * variation(importance) + 0.2 * variation(used)
    assert_close(Balance(0.7, 0.2, published)(Usage(gates, load)), expected, rtol=1e-6, atol=0)


def test_even_use_is_balanced_whatever_the_signs():
    signs = torch.where(torch.rand(SIGNALS, EXPERTS) < 0.5, -1.0, 1.0)
    even = Usage(0.3 * signs, torch.full((EXPERTS,), 4.0))
    assert_close(Balance(1.0, 1.0)(even), torch.tensor(0.0), rtol=0, atol=1e-12)
    assert Balance(1.0, 1.0, published=True)(even) > 0.1  # which sums the signs
    uneven = Usage(0.3 * signs * torch.arange(1, EXPERTS + 1), torch.full((EXPERTS,), 4.0))
    assert Balance(1.0, 1.0)(uneven) > 0.1


def test_the_published_load_has_no_gradient():
    gates = torch.randn(SIGNALS, EXPERTS, requires_grad=True)
    noisy = gates + 0.5 * torch.randn(SIGNALS, EXPERTS)
    usage = Usage(gates * strongest(noisy.abs(), 3), expected_load(gates, noisy, 3, 0.5))
    ours = torch.autograd.grad(Balance(0.0, 1.0)(usage), gates, retain_graph=True)[0]
    assert ours.norm() > 1e-3
    both, importance = (
        torch.autograd.grad(Balance(1.0, load, published=True)(usage), gates, retain_graph=True)[0] for load in (1.0, 0.0)
    )
    assert importance.norm() > 1e-3
    assert torch.equal(both, importance)


@pytest.mark.parametrize(("experts", "base"), [(5, 1.0), (30, 2.0), (400, 10.0), (2000, 1.005)])
def test_sparsity_weighs_experts_by_their_rank(experts, base):
    gates = torch.randn(3, experts)
    weights = torch.tensor([math.exp(min(rank * math.log(base), math.log(1e6))) for rank in range(experts)])
    expected = 0.3 * (weights * gates.abs()).mean()
    assert_close(Sparsity(0.3, base)(Usage(gates, torch.ones(experts), dense=True, warm=True)), expected)


def test_balance_rests_in_the_warm_up_and_sparsity_after_it():
    gates, load = torch.randn(SIGNALS, EXPERTS), torch.rand(EXPERTS)
    terms = {"balance": Balance(), "sparsity": Sparsity(), "always": Sparsity(always=True)}
    usages = [Usage(gates, load, dense, dense) for dense in (True, False)]
    dense, chosen = ({name: term(usage) for name, term in terms.items()} for usage in usages)
    assert {name for name, penalty in dense.items() if penalty > 0} == {"sparsity", "always"}
    assert {name for name, penalty in chosen.items() if penalty > 0} == {"balance", "always"}
    assert torch.equal(dense["always"], chosen["always"])
