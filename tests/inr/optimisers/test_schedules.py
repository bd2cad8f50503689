import itertools
import math

import pytest

from inr.errors import InputError
from inr.optimisers.schedules import Constant, Cosine, Exponential


def test_a_constant_stays():
    assert {Constant()(step) for step in (0, 1, 10**9)} == {1.0}


@pytest.mark.parametrize("floor", [0.0, 0.2])
@pytest.mark.parametrize("warmup", [0, 10])
def test_a_cosine_rises_to_one_and_falls_to_its_floor(warmup, floor):
    schedule = Cosine(steps=110, warmup=warmup, floor=floor)
    factors = [schedule(step) for step in range(200)]
    rise = [(step + 1) / (warmup + 1) for step in range(warmup)]
    assert factors[:warmup] == pytest.approx(rise)
    assert factors[warmup] == 1
    assert schedule((warmup + 110) // 2) == pytest.approx((1 + floor) / 2)
    assert set(factors[110:]) == {floor}
    fall = factors[warmup:111]
    assert all(earlier > later for earlier, later in itertools.pairwise(fall))
    for step in range(warmup, 110):  # symmetric about its middle, as half a cosine is
        assert schedule(step) + schedule(110 + warmup - step) == pytest.approx(1 + floor)
        assert (schedule(step) - floor) / (1 - floor) == pytest.approx(
            math.cos(math.pi / 2 * (step - warmup) / (110 - warmup)) ** 2
        )


def test_an_exponential_decays_by_its_factor_every_decay_steps():
    schedule = Exponential(decay=0.3, decay_steps=50)
    assert schedule(0) == 1
    assert schedule(50) == pytest.approx(0.3)
    for step in (0, 7, 123):
        assert schedule(step + 50) == pytest.approx(0.3 * schedule(step))
        assert schedule(step + 1) / schedule(step) == pytest.approx(0.3 ** (1 / 50))


@pytest.mark.parametrize("options", [{"steps": 10, "warmup": 10}, {"steps": 0}, {"steps": 5, "warmup": 9}])
def test_a_cosine_needs_steps_after_its_warmup(options):
    with pytest.raises(InputError, match=f"more steps than its warmup of .* got steps={options['steps']}"):
        Cosine(**options)


@pytest.mark.parametrize("options", [{"decay": 0.0}, {"decay": -0.5}, {"decay": 1.5}, {"decay_steps": 0}])
def test_a_decay_is_a_fraction_over_at_least_a_step(options):
    with pytest.raises(InputError, match=r"0\.\.1 over at least one step"):
        Exponential(**options)


def test_a_cosine_follows_the_clock_and_of_two_limits_the_nearer():
    by_clock, by_both = Cosine(steps=-1, seconds=60.0), Cosine(steps=100, seconds=60.0)
    by_steps = Cosine(steps=100)
    for step, elapsed in itertools.product((0, 10, 99), (0.0, 20.0, 60.0)):
        assert by_clock(step, elapsed) == pytest.approx((1 + math.cos(math.pi * elapsed / 60)) / 2)
        assert by_both(step, elapsed) == min(by_clock(step, elapsed), by_steps(step, elapsed))
    assert by_clock(10**6, 61.0) == 0
    warming = Cosine(steps=-1, warmup=3, floor=0.1, seconds=60.0)
    assert [warming(step, 0.0) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    assert warming(3, 60.0) == pytest.approx(0.1)


def test_schedules_without_an_end_do_not_look_at_the_clock():
    for schedule in (Constant(), Exponential(0.5, 10), Cosine(steps=20)):
        assert schedule(7, 1e9) == schedule(7, 0.0) == schedule(7)


@pytest.mark.parametrize("options", [{}, {"seconds": 0.0}, {"seconds": -1.0}, {"steps": 3, "warmup": 3, "seconds": 60.0}])
def test_a_cosine_has_an_end(options):
    with pytest.raises(InputError, match=r"max_seconds must be positive|give trainer.max_steps or trainer.max_seconds"):
        Cosine(**{"steps": -1} | options)
