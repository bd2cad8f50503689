"""The weight of a penalty by cross-validation: the one whose fit predicts observations best that it has not seen."""

from collections.abc import Callable

import torch
from torch import Tensor

from inr.convex.problem import Problem
from inr.randomness import generator

HIDDEN = 0.1  # share of the observations
FACTOR = 10**0.5  # from one weight to the next
MOST = 12  # weights that are tried at most
HARDLY = 1.01  # of the least error, up to which errors are as good
CLEARLY = 1.1  # of the least error, beyond which it has been passed


def hide(problem: Problem, seed: int = 0) -> tuple[Problem, Problem]:
    """Split the equations at random: most to fit, some to judge by."""
    device = problem.targets.device
    hidden = (torch.rand(len(problem.targets), 1, generator=generator(seed, 0, "hidden")) < HIDDEN).to(device)
    return problem.of_rows(~hidden), problem.of_rows(hidden)


def choose(judged: Problem, fit: Callable[[float], Tensor], first: float) -> float:
    """Return the largest weight whose coefficients, fit(weight), miss the judged equations hardly more than the best ones do.

    Weights go up a ladder from the first, which should be too small, until they miss clearly more. Every fit may start from
    the last one: from detailed to smooth takes fewer steps than back, since a large weight lets news travel far.
    """
    errors: list[float] = []
    while len(errors) < MOST and (not errors or errors[-1] <= CLEARLY * min(errors)):
        errors.append(judged.misfit(fit(first * FACTOR ** len(errors))))
    good = max(place for place, error in enumerate(errors) if error <= HARDLY * min(errors))
    return first * FACTOR**good
