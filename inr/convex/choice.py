"""The weight of a penalty by cross-validation: the one whose fit predicts observations best that it has not seen."""

from collections.abc import Callable

import torch
from torch import Tensor

from inr.convex.problem import Problem
from inr.randomness import generator

HIDDEN = 0.1  # share of the observations
FACTOR = 10**0.5  # from one weight to the next
MOST = 10  # weights that are tried at most
HARDLY = 0.8  # of an error that another one must be to count as smaller: it comes from few equations


def hide(problem: Problem, seed: int = 0) -> tuple[Problem, Problem]:
    """Split the equations at random: most to fit, some to judge by."""
    device = problem.targets.device
    hidden = (torch.rand(len(problem.targets), 1, generator=generator(seed, 0, "hidden")) < HIDDEN).to(device)
    return problem.of_rows(~hidden), problem.of_rows(hidden)


def choose(judged: Problem, fit: Callable[[float], Tensor], first: float) -> float:
    """Return the largest weight whose coefficients, fit(weight), miss the judged equations hardly more than the best ones do.

    Weights become smaller from the first on as long as that helps; if it does not, larger as long as it hardly hurts. Every
    fit may start from the last one.
    """
    errors = [judged.misfit(fit(first)), judged.misfit(fit(first / FACTOR))]
    down = errors[1] < HARDLY * errors[0]
    best = min(errors)
    place = 1 if down else 0
    while place < MOST:
        place += 1
        error = judged.misfit(fit(first * FACTOR ** (-place if down else place)))
        if HARDLY * error > best or (down and error > HARDLY * best):
            return first * FACTOR ** (1 - place if down else place - 1)
        best = min(best, error)
    return first * FACTOR ** (-place if down else place)
