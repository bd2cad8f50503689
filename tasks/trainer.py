"""Lightning's trainer, within the bounds that this project needs."""

from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback

from datamodules.common.files import require
from inr.errors import InputError

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
POSITIVE = ("val_check_interval", "log_every_n_steps", "accumulate_grad_batches", "gradient_clip_val")  # or left out


class Trainer(L.Trainer):
    """Lightning's trainer with its options; coordinates stay in float32, so precisions that convert the inputs are refused.

    Raises: InputError for another precision, numbers out of range, and devices that this machine does not have.
    """

    callbacks: list[Callback]  # set by Lightning, which does not declare it

    def __init__(self, precision: str = "32-true", **options: Any) -> None:
        if precision not in PRECISIONS:
            rule = f"trainer.precision must be one of {', '.join(PRECISIONS)}"
            raise InputError(f"{rule}, got {precision}: coordinates need all of float32.")
        for name in POSITIVE:
            value = options.get(name)
            positive = not isinstance(value, int | float) or value > 0
            require(f"trainer.{name}", positive, "must be positive", value, "leave it out for the default")
        try:
            super().__init__(**options | {"precision": precision})
        except (MisconfigurationException, ValueError) as error:
            given = ", ".join(f"trainer.{name}={options[name]}" for name in ("accelerator", "devices") if name in options)
            rule = f"The trainer's options must fit each other and this machine, which has {torch.cuda.device_count()} GPUs"
            reason = str(error).rstrip(".!")
            raise InputError(f"{rule}, got {given}: {reason}. Ask for what there is, or use trainer=cpu.") from error
