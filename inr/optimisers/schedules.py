"""Learning-rate schedules: the factor at a step, a pure function, so that a resumed run may have more steps.

A training may also be limited by a clock: what depends on its length then follows the seconds that it has taken so far.
"""

# torch's schedulers keep the number of steps in their state, so that a run that goes on longer keeps the old end.

import math

from inr.errors import InputError


class Constant:
    """Factor 1."""

    def __call__(self, step: int, elapsed: float = 0.0) -> float:
        """Return the factor at a step, after so many seconds."""
        return 1.0


class Cosine:
    """From 1 down to `floor` along half a cosine over the whole training, after a linear rise over `warmup` steps.

    steps, seconds: length of the training; steps -1 or seconds None: not limited by them. Of two limits, the nearer counts.
    Raises: InputError unless there are more steps than the warmup has, or seconds above zero.
    """

    def __init__(self, steps: int, warmup: int = 0, floor: float = 0.0, seconds: float | None = None) -> None:
        if steps <= warmup and (steps >= 0 or seconds is None):
            rule = f"A cosine schedule needs to know its end, and more steps than its warmup of {warmup}, got steps={steps}"
            raise InputError(f"{rule}; give trainer.max_steps or trainer.max_seconds, or choose scheduler=constant.")
        if seconds is not None and not seconds > 0:
            rule = "trainer.max_seconds must be positive for a cosine schedule along the clock"
            raise InputError(f"{rule}, got {seconds}; leave it out, or choose scheduler=constant.")
        self.steps, self.warmup = steps, warmup
        self.floor = floor
        self.seconds = math.inf if seconds is None else seconds

    def __call__(self, step: int, elapsed: float = 0.0) -> float:
        """Return the factor at a step, after so many seconds."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)  # the first step moves, too, and step `warmup` is the first at 1
        of_steps = (step - self.warmup) / (self.steps - self.warmup) if self.steps >= 0 else 0.0
        progress = min(max(of_steps, elapsed / self.seconds), 1.0)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * progress)) / 2


class Exponential:
    """decay^(step / decay_steps). Raises: InputError for a decay outside 0..1, or over less than a step."""

    def __init__(self, decay: float = 0.1, decay_steps: int = 250000) -> None:
        if not 0 < decay <= 1 or decay_steps < 1:
            raise InputError(f"A decay is in 0..1 over at least one step, got decay={decay}, decay_steps={decay_steps}.")
        self.decay, self.decay_steps = decay, decay_steps

    def __call__(self, step: int, elapsed: float = 0.0) -> float:
        """Return the factor at a step; it has no end, so the clock does not matter."""
        return self.decay ** (step / self.decay_steps)


CONSTANT = Constant()  # the default of a task: stateless, so that one serves all
