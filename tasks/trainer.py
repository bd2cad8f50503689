"""Lightning's trainer, within the bounds that this project needs."""

from collections.abc import Sequence
from typing import Any, Literal

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback

from datamodules.common.files import require
from inr.errors import InputError
from tasks.callbacks import FitTimer, Plateau

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
POSITIVE = ("val_check_interval", "log_every_n_steps", "accumulate_grad_batches", "gradient_clip_val")  # or left out


class Trainer(L.Trainer):
    """Lightning's trainer with its options; coordinates stay in float32, so precisions that convert the inputs are refused.

    max_seconds: ends the training, earlier runs of a resumed one included; None: no limit.
    stop: `plateau` ends it once `patience` validations in a row have not gained `gain` [dB] of PSNR.
    Raises: InputError for another precision, numbers out of range, and devices that this machine does not have.
    """

    callbacks: list[Callback]  # set by Lightning, which does not declare it

    def __init__(
        self,
        precision: str = "32-true",
        max_seconds: float | None = None,
        stop: Literal["plateau"] | None = None,
        patience: int = 5,
        gain: float = 0.05,
        callbacks: Sequence[Callback] = (),
        **options: Any,
    ) -> None:
        if precision not in PRECISIONS:
            rule = f"trainer.precision must be one of {', '.join(PRECISIONS)}"
            raise InputError(f"{rule}, got {precision}: coordinates need all of float32.")
        for name in POSITIVE:
            value = options.get(name)
            positive = not isinstance(value, int | float) or value > 0
            require(f"trainer.{name}", positive, "must be positive", value, "leave it out for the default")
        seconds = max_seconds is None or max_seconds > 0
        require("trainer.max_seconds", seconds, "must be positive", max_seconds, "leave it out to end by steps")
        require("trainer.patience", patience > 0, "counts validations and must be positive", patience)
        require("trainer.gain", gain >= 0, "must not be negative", gain)
        found = list(callbacks) if any(isinstance(one, FitTimer) for one in callbacks) else [*callbacks, FitTimer()]
        for timer in (one for one in found if isinstance(one, FitTimer)):
            timer.limit(max_seconds)
        if stop == "plateau":
            found.append(Plateau(patience, gain))
        try:
            super().__init__(**options | {"precision": precision, "callbacks": found})
        except (MisconfigurationException, ValueError) as error:
            given = ", ".join(f"trainer.{name}={options[name]}" for name in ("accelerator", "devices") if name in options)
            rule = f"The trainer's options must fit each other and this machine, which has {torch.cuda.device_count()} GPUs"
            reason = str(error).rstrip(".!")
            raise InputError(f"{rule}, got {given}: {reason}. Ask for what there is, or use trainer=cpu.") from error
