import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inr.randomness import StepRandomness, draw_indices, generator, key, permute

SEEDS = st.integers(0, 2**63 - 1)
quick = settings(max_examples=50, deadline=None, derandomize=True)


def every_draw(steps, points, size, seed, **rank):
    return torch.cat([draw_indices(step, points, size, seed, **rank) for step in range(steps)])


@quick
@given(size=st.integers(1, 3000), secret=SEEDS)
def test_permute_is_a_bijection(size, secret):
    assert permute(torch.arange(size), size, secret).sort().values.tolist() == list(range(size))


@quick
@given(size=st.integers(1, 2**40), secret=SEEDS, data=st.data())
def test_permute_needs_only_the_positions_asked_for(size, secret, data):
    positions = torch.tensor(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20, unique=True)))
    entries = permute(positions, size, secret)
    assert 0 <= entries.min() <= entries.max() < size
    assert len(entries.unique()) == len(positions)
    assert torch.equal(entries[-1:], permute(positions[-1:], size, secret))


@quick
@given(size=st.integers(1, 200), points=st.integers(1, 300), epochs=st.integers(1, 3), seed=SEEDS)
def test_every_epoch_covers_every_index_once(size, points, epochs, seed):
    drawn = every_draw(-(-epochs * size // points), points, size, seed)
    for epoch in drawn[: epochs * size].split(size):
        assert epoch.sort().values.tolist() == list(range(size))


@quick
@given(size=st.integers(1, 200), points=st.integers(1, 300), ranks=st.integers(1, 9), step=st.integers(0, 10**9), seed=SEEDS)
def test_the_slices_of_all_ranks_are_one_process_s_draw(size, points, ranks, step, seed):
    slices = [draw_indices(step, points, size, seed, rank, ranks) for rank in range(ranks)]
    assert torch.equal(torch.cat(slices), draw_indices(step, points, size, seed))
    assert max(map(len, slices)) - min(map(len, slices)) <= 1


def test_a_draw_depends_on_nothing_but_its_arguments():
    forward = [draw_indices(step, 30, 100, 7) for step in range(10)]
    torch.manual_seed(5)
    backward = [draw_indices(step, 30, 100, 7) for step in reversed(range(10))]
    assert all(map(torch.equal, forward, reversed(backward)))


def test_draws_differ_by_seed_step_and_epoch():
    drawn = [draw_indices(step, 100, 100, seed) for step, seed in itertools.product(range(4), range(4))]
    for one, other in itertools.combinations(drawn, 2):
        assert (one == other).float().mean() < 0.1


def chi_square(counted, categories, bins=10):
    """How far whole numbers 0 .. categories-1 are from equally frequent, over bins of them."""
    expected = len(counted) * torch.bincount(torch.arange(categories) * bins // categories, minlength=bins) / categories
    counts = torch.bincount(counted * bins // categories, minlength=bins)
    return ((counts - expected).square() / expected.clamp_min(1)).sum()


@pytest.mark.parametrize("size", [11, 97, 1000])
def test_permutations_are_uniform(size):
    drawn = torch.stack([permute(torch.arange(3), size, key("uniform", secret)) for secret in range(2000)])
    for landed in drawn.T:
        assert chi_square(landed, size) < 35  # nine degrees of freedom: by chance once in 16 000 times
    assert chi_square((drawn[:, 1] - drawn[:, 0]) % size - 1, size - 1) < 35  # neither does one entry tell the next


def test_generators_are_reproducible_and_apart():
    words = list(itertools.product((0, 1), (0, 1, 2), ("noise", "jitter")))
    numbers = [torch.rand(8, generator=generator(*word)) for word in words]
    assert all(torch.equal(one, torch.rand(8, generator=generator(*word))) for one, word in zip(numbers, words, strict=True))
    assert len(torch.stack(numbers).unique()) == 8 * len(words)


@pytest.mark.parametrize("distribution", [StepRandomness.uniform, StepRandomness.normal])
def test_two_processes_draw_the_numbers_of_one(distribution):
    whole, other = (StepRandomness(1, step, 0, 9, 9) for step in (7, 8))
    halves = [StepRandomness(1, 7, 0, 4, 9), StepRandomness(1, 7, 4, 9, 9)]
    one, two, *parts = (distribution(numbers, "jitter", 3, torch.device("cpu")) for numbers in (whole, other, *halves))
    assert torch.equal(one, torch.cat(parts))
    assert (one != two).all()


def test_drawing_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    draw_indices(3, 10, 100, 0)
    generator(0, 3, "noise")
    assert torch.equal(torch.get_rng_state(), before)


@quick
@given(
    words=st.lists(st.one_of(st.integers(), st.text()), max_size=4),
    others=st.lists(st.one_of(st.integers(), st.text()), max_size=4),
)
def test_keys_fit_and_tell_words_apart(words, others):
    assert 0 <= key(*words) < 2**63
    assert (key(*words) == key(*others)) == (words == others)
