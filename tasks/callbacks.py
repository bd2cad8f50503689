"""Around every step: the check of the loss, the progress bar, the time, the end of a training that has nothing left to gain."""

import math
from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, EarlyStopping, Timer, TQDMProgressBar
from torch import Tensor

from inr.errors import InputError
from tasks.base import INRTask
from tasks.evaluation import EvaluatedTask


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

    def limit(self, seconds: float | None) -> None:
        """End the fit once it has taken so many seconds, the last step whole; None: never."""
        self._duration = seconds  # Lightning's own option has whole days, hours, minutes and seconds

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Tell the task the limit."""
        if isinstance(pl_module, INRTask):
            pl_module.limit = self._duration

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: object) -> None:
        """Start."""
        super().on_train_start(trainer, pl_module)
        super().on_fit_start(trainer)  # ends a resumed run whose time is up
        self.tell(trainer, pl_module)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on: the time runs since the fit began."""

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: object, batch_idx: int) -> None:
        """Tell the time before the step after which the learning rate is set anew."""
        self.tell(trainer, pl_module)

    def tell(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell the task the time, for its schedule to follow, where it is limited: the same time in all processes."""
        if self._duration is not None and isinstance(pl_module, INRTask):
            pl_module.seconds = trainer.strategy.broadcast(self.time_elapsed())

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop."""
        super().on_train_end(trainer, pl_module)


class Plateau(EarlyStopping):
    """End the training once validations have stopped improving: `val/psnr` has not gained `gain` [dB] in `patience` of them."""

    def __init__(self, patience: int, gain: float) -> None:
        options = {"check_finite": False, "check_on_train_epoch_end": False}  # a PSNR that is no number is no gain
        super().__init__("val/psnr", min_delta=gain, patience=patience, mode="max", **options)
        self.gain = gain

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting, by the patience of this run."""
        super().load_state_dict(state_dict | {"patience": self.patience})

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave a line under the table of figures if the training ended here."""
        if self.wait_count >= self.patience and isinstance(pl_module, EvaluatedTask):
            rule = f"its last {self.wait_count} validations did not gain {self.gain:g} dB on the best of those before"
            found = f"{float(self.best_score):.2f} dB"
            pl_module.notes = [*pl_module.notes, f"training ended after {trainer.global_step} steps: {rule}, {found}"]
