"""Lightning's trainer, within the bounds that this project needs."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, get_args

import lightning as L
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import PassThroughProfiler

from datamodules.common.files import require
from inr.errors import InputError
from tasks.callbacks import FitTimer, Plateau

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
PARTIAL = ("fast_dev_run", "overfit_batches", "limit_val_batches", "limit_test_batches")
POSITIVE = ("val_check_interval", "log_every_n_steps", "accumulate_grad_batches", "gradient_clip_val")  # or left out


class Unprofiled(PassThroughProfiler):
    """No profiler: Lightning's own makes a context anew for each of the 40 hooks of a step, this one has one for all."""

    nothing = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[None]:  # type: ignore[override]
        """Return a context that does nothing."""
        return self.nothing


class Trainer(L.Trainer):
    """Lightning's trainer with its options; coordinates stay in float32, so precisions that convert the inputs are refused.

    max_seconds: ends the training, earlier runs of a resumed one included; None: no limit.
    stop: `plateau` ends it once `patience` validations in a row have not gained `gain` [dB] of PSNR.
    Raises: InputError for another precision, numbers out of range, and devices that this machine does not have.
    """

    callbacks: list[Callback]  # set by Lightning, which does not declare it
    stopping = False  # true once a signal has asked for the end of the training after the step at work

    def __init__(
        self,
        precision: Precision = "32-true",
        max_seconds: float | None = None,
        stop: Literal["plateau"] | None = None,
        patience: int = 5,
        gain: float = 0.05,
        callbacks: Sequence[Callback] = (),
        **options: Any,
    ) -> None:
        if precision not in get_args(Precision):
            rule = f"trainer.precision must be one of {', '.join(get_args(Precision))}"
            raise InputError(f"{rule}, got {precision}: coordinates need all of float32.")
        for name in PARTIAL:
            value = options.get(name)
            whole = value is None or (isinstance(value, float) and value == 1) or (not value and name != "limit_test_batches")
            rule = "would evaluate a part of a signal, which has no figures"
            require(f"trainer.{name}", whole, rule, value, "try debug=limit")
        own = [("max_seconds", max_seconds), ("patience", patience)]
        for name, value in [*own, *((name, options.get(name)) for name in POSITIVE)]:
            positive = not isinstance(value, int | float) or value > 0
            require(f"trainer.{name}", positive, "must be positive", value, "leave it out for the default")
        if SLURMEnvironment.detect():
            # by itself Lightning would requeue the job, save into the current directory, and begin with what it finds there
            options["plugins"] = [*options.get("plugins", []), SLURMEnvironment(auto_requeue=False)]
        options["profiler"] = options.get("profiler") or Unprofiled()
        require("trainer.gain", gain >= 0, "must not be negative", gain)
        require("trainer.stop", stop in (None, "plateau"), "must be plateau, or null", stop)
        plateau = [] if stop is None else [Plateau(patience, gain)]
        options |= {"precision": precision, "callbacks": [*limited(callbacks, max_seconds), *plateau]}
        try:
            super().__init__(**options)
        except (MisconfigurationException, ValueError) as error:
            given = ", ".join(f"trainer.{name}={options[name]}" for name in ("accelerator", "devices") if name in options)
            rule = f"The trainer's options must fit each other and this machine, which has {torch.cuda.device_count()} GPUs"
            reason = str(error).rstrip(".!")
            raise InputError(f"{rule}, got {given}: {reason}. Ask for what there is, or use trainer=cpu.") from error


def limited(callbacks: Sequence[Callback], seconds: float | None) -> list[Callback]:
    """Return callbacks with a timer among them, which ends the training after so many seconds; None: never."""
    timers = [one for one in callbacks if isinstance(one, FitTimer)]
    added = [] if timers else [FitTimer()]
    for timer in [*timers, *added]:
        timer.limit(seconds)
    return [*callbacks, *added]
