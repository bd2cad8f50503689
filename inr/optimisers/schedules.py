"""Learning-rate schedules: the factor at a step, a pure function, so that a resumed run may have more steps."""

# torch's schedulers keep the number of steps in their state, so that a run that goes on longer keeps the old end.

import math
from dataclasses import dataclass

from inr.errors import InputError


class Constant:
    """Factor 1."""

    def __call__(self, step: int) -> float:
        """Return the factor at a step."""
        return 1.0


@dataclass
class Cosine:
    """From 1 down to `floor` along half a cosine over `steps`, after a linear rise over `warmup` steps.

    Raises: InputError unless there are more steps than the warmup has.
    """

    steps: int
    warmup: int = 0
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.steps <= self.warmup:
            raise InputError(f"A cosine schedule needs more steps than its warmup of {self.warmup}, got steps={self.steps}.")

    def __call__(self, step: int) -> float:
        """Return the factor at a step."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)  # the first step moves, too, and step `warmup` is the first at 1
        progress = min((step - self.warmup) / (self.steps - self.warmup), 1.0)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * progress)) / 2


@dataclass
class Exponential:
    """decay^(step / decay_steps).

    Raises: InputError for a decay outside 0..1, or over less than a step.
    """

    decay: float = 0.1
    decay_steps: int = 250000

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1 or self.decay_steps < 1:
            options = f"decay={self.decay}, decay_steps={self.decay_steps}"
            raise InputError(f"A decay is in 0..1 over at least one step, got {options}.")

    def __call__(self, step: int) -> float:
        """Return the factor at a step."""
        return self.decay ** (step / self.decay_steps)


CONSTANT = Constant()  # the default of a task: stateless, so that one serves all
