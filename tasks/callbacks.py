"""Around every step: the check of the loss, the progress bar, the time, the end of a training that has nothing left to gain."""

import math
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, Timer, TQDMProgressBar
from torch import Tensor

from datamodules.common.files import require
from inr.errors import InputError
from tasks.base import INRTask
from tasks.evaluation import EvaluatedTask


class FiniteLoss(Callback):
    """Stop as soon as a term of the loss is NaN or infinite, before anything is saved.

    every: steps on a GPU that are checked together, since reading a number there waits for all that is queued; on a CPU each
           is checked at once.
    """

    def __init__(self, every: int = 10) -> None:
        require("callbacks.finite.every", every >= 1, "counts steps, at least 1", every)
        self.every = every
        self.pending: list[tuple[int, Mapping[str, Tensor]]] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Check this step, or on a GPU the last few once there are enough of them."""
        assert isinstance(outputs, Mapping)
        self.pending.append((trainer.global_step, outputs))
        if pl_module.device.type == "cpu" or len(self.pending) == self.every:
            self.check()

    def check(self) -> None:
        """Raise InputError if a pending step has a term that is not finite."""
        pending, self.pending = self.pending, []
        terms = [(step, name, value) for step, outputs in pending for name, value in outputs.items()]
        numbers = torch.stack([value.detach() for *_, value in terms]).tolist() if terms else []  # waits for the GPU, once
        broken = [
            (step, name, value) for (step, name, _), value in zip(terms, numbers, strict=True) if not math.isfinite(value)
        ]
        if not broken:
            return
        first = broken[0][0]
        named = [f"{name} is {value}" for step, name, value in broken if step == first and name != "loss"]
        rule = f"Every term of the loss must stay finite; {', '.join(named) or 'their sum is not'} at step {first}"
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
