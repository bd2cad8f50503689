"""Around every step: the check of the loss, the progress bar, the time."""

import math
from collections.abc import Mapping

import lightning as L
from lightning.pytorch.callbacks import Callback, Timer, TQDMProgressBar
from torch import Tensor

from inr.errors import InputError


class FiniteLoss(Callback):
    """Stop as soon as a term of the loss is NaN or infinite, before anything is saved.

    On a GPU the check of a step waits until the next one is under way: reading a number there waits for all that is queued.
    """

    def __init__(self) -> None:
        self.pending: tuple[int, Mapping[str, Tensor]] | None = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Check the step before, or on the CPU this one."""
        assert isinstance(outputs, Mapping)
        if pl_module.device.type != "cpu":
            self.check()
        self.pending = trainer.global_step, outputs
        if pl_module.device.type == "cpu":
            self.check()

    def check(self) -> None:
        """Raise InputError if the pending step has a term that is not finite."""
        if self.pending is None:  # before the first step, or checked already
            return
        step, terms = self.pending
        self.pending = None
        values = {name: value.item() for name, value in terms.items()}  # waits for the GPU
        broken = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value) and name != "loss"]
        if broken or not math.isfinite(values["loss"]):
            rule = f"Every term of the loss must stay finite; {', '.join(broken) or 'their sum is not'} at step {step}"
            raise InputError(f"{rule}. Lower optimizer.lr, or go on from the last checkpoint.")

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: Mapping[str, object]) -> None:
        """Never save a state that came out of a broken loss."""
        self.check()


class Progress(TQDMProgressBar):
    """A bar over the steps of the whole training, with loss, PSNR and steps per second."""

    @property
    def total_train_batches(self) -> int | float:
        """All steps, since the data have no end."""
        return self.trainer.max_steps if self.trainer.max_steps > 0 else math.inf

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """End the lines of the bars, so that a message begins one of its own."""
        for bar in (self._train_progress_bar, self._val_progress_bar, self._test_progress_bar):
            if bar is not None:
                bar.close()


class FitTimer(Timer):
    """Lightning's timer, running from the start to the end of a fit, validations included, summed over resumed runs.

    Lightning's own begins with the first step, but closed-form solvers do all their work before it and take none.
    """

    def on_fit_start(self, trainer: L.Trainer, *args: object, **kwargs: object) -> None:
        """Start."""
        super().on_train_start(trainer, trainer.lightning_module)
        super().on_fit_start(trainer)  # ends a resumed run whose time is up

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on: the time runs since the fit began."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop."""
        super().on_train_end(trainer, pl_module)
