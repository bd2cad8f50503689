"""Learning-rate schedules: the factor at a step, a pure function, so that a resumed run may have more steps."""

# torch's schedulers keep the number of steps in their state, so that a run that goes on longer keeps the old end.

import math

from inr.errors import InputError


class Constant:
    """Factor 1."""

    def __call__(self, step: int) -> float:
        """Return the factor at a step."""
        return 1.0


class Cosine:
    """From 1 down to `floor` along half a cosine over `steps`, after a linear rise over `warmup` steps.

    Raises: InputError unless there are more steps than the warmup has.
    """

    def __init__(self, steps: int, warmup: int = 0, floor: float = 0.0) -> None:
        if steps <= warmup:
            raise InputError(f"A cosine schedule needs more steps than its warmup of {warmup}, got steps={steps}.")
        self.steps, self.warmup = steps, warmup
        self.floor = floor

    def __call__(self, step: int) -> float:
        """Return the factor at a step."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)  # the first step moves, too, and step `warmup` is the first at 1
        progress = min((step - self.warmup) / (self.steps - self.warmup), 1.0)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * progress)) / 2


class Exponential:
    """decay^(step / decay_steps). Raises: InputError for a decay outside 0..1, or over less than a step."""

    def __init__(self, decay: float = 0.1, decay_steps: int = 250000) -> None:
        if not 0 < decay <= 1 or decay_steps < 1:
            raise InputError(f"A decay is in 0..1 over at least one step, got decay={decay}, decay_steps={decay_steps}.")
        self.decay, self.decay_steps = decay, decay_steps

    def __call__(self, step: int) -> float:
        """Return the factor at a step."""
        return self.decay ** (step / self.decay_steps)


CONSTANT = Constant()  # the default of a task: stateless, so that one serves all
