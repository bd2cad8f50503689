import pytest
import torch
from torch.testing import assert_close

from inr.baselines.principal_components import Components, conjugate_gradients


def components(signals=9, numbers=30, seed=0):
    training = torch.randn(signals, numbers, generator=torch.Generator().manual_seed(seed))
    return training, Components(training)


@pytest.mark.parametrize(("signals", "numbers"), [(9, 30), (30, 30), (60, 12), (1, 5), (2, 3)])
def test_components_are_orthonormal_and_strongest_first(signals, numbers):
    training, found = components(signals, numbers)
    rank = min(signals - 1, numbers)
    assert found.basis.shape == (rank, numbers)
    assert_close(found.basis @ found.basis.T, torch.eye(rank), rtol=0, atol=1e-5)
    assert_close(found.mean, training.mean(0))
    strength = ((training - found.mean) @ found.basis.T).square().sum(0)
    assert (strength.diff() <= 1e-4).all()
    expected = torch.linalg.svdvals((training - found.mean).double())[:rank].square().float()
    assert_close(strength, expected, rtol=1e-4, atol=1e-4)


def test_signals_that_are_all_the_same_have_no_components():
    same = Components(torch.ones(4, 6))
    assert same.basis.shape == (0, 6)
    assert_close(same.fit(torch.rand(2, 6), None, 3), torch.ones(2, 6))
    assert_close(same.fit(torch.rand(2, 6), torch.rand(2, 6) < 0.5, 3), torch.ones(2, 6))


@pytest.mark.parametrize("known", [None, torch.ones(9, 30, dtype=torch.bool)])
def test_all_components_reproduce_training_signals(known):
    training, found = components()
    assert_close(found.fit(training, known, 9), training, rtol=0, atol=1e-4)


@pytest.mark.parametrize("count", [1, 4, 8])
def test_projection_onto_known_numbers_is_plain_where_all_are_known(count):
    _, found = components()
    signals = torch.randn(5, 30, generator=torch.Generator().manual_seed(1))
    plain = found.fit(signals, None, count)
    assert_close(found.fit(signals, torch.ones(5, 30, dtype=torch.bool), count), plain, rtol=1e-4, atol=1e-5)
    assert_close(found.fit(plain, None, count), plain, rtol=1e-4, atol=1e-5)
    some = torch.rand(5, 30) < 0.7
    some[2] = True  # signals do not matter to each other
    assert_close(found.fit(signals, some, count)[2], plain[2], rtol=1e-4, atol=1e-4)


def test_unknown_numbers_do_not_matter_and_are_found_from_the_known_ones():
    training, found = components(40, 200)
    known = torch.rand(40, 200, generator=torch.Generator().manual_seed(2)) < 0.7
    seen = torch.where(known, training, 100.0)
    fitted = found.fit(seen, known, 39)
    assert torch.equal(fitted, found.fit(torch.where(known, training, -5.0), known, 39))
    error, spread = (fitted - training)[~known].std(), training[~known].std()
    assert error < 0.02 * spread


def test_conjugate_gradients_solve_a_system_for_every_row():
    generator = torch.Generator().manual_seed(0)
    roots = torch.randn(4, 20, 20, generator=generator)
    systems = roots @ roots.mT + torch.eye(20)
    right = torch.randn(4, 20, generator=generator)
    right[3] = 0
    found = conjugate_gradients(lambda x: torch.einsum("sij,sj->si", systems, x), right)
    assert_close(found, torch.linalg.solve(systems, right), rtol=1e-3, atol=1e-3)
