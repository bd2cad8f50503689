"""The end of a run by a signal: the step at work is finished and saved, and one line says how to go on."""

import contextlib
import shlex
import signal
import sys
import threading
import time
from types import FrameType, TracebackType

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn

from inr.distributed import global_sum, is_distributed, rank
from inr.errors import Stopped
from tasks.checkpoints import Checkpoints
from tasks.trainer import Trainer

NAMES = (
    "SIGINT",  # Ctrl-C
    "SIGTERM",  # kill, scancel, the end of a SLURM job's time
    "SIGHUP",  # the terminal is gone
    "SIGUSR1",  # SLURM's --signal=USR1@90: the time is nearly over
    "SIGUSR2",
)
ENDING = [signal.Signals[name] for name in NAMES if name in signal.Signals.__members__]  # Windows has two of them
PAUSE = 1.0  # seconds within which a signal that comes again is the same one: a terminal sends it to all, and a sweep again


def begin_no_more(number: int, frame: FrameType | None) -> None:
    """Remember a signal that a process of a sweep gets between its jobs: it ignores further ones, and takes no job."""
    for one in ENDING:
        signal.signal(one, signal.SIG_IGN)


DEFAULTS = (signal.SIG_DFL, signal.default_int_handler, begin_no_more)


class Interruption(Callback):
    """Let a signal end the run after the step at work; outside of training, and when it comes again, at once.

    A context around the whole run, and a callback of its trainer. Signals that are ignored (nohup) or that another library
    handles (submitit) stay as they are. Lightning's own handlers would save under SLURM into the current directory.
    folder: of the run
    Raises: Stopped.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.received: signal.Signals | None = None
        self.at = 0.0  # [s] when it came first
        self.training = False
        self.trainer: Trainer | None = None
        self.earlier = {one: signal.getsignal(one) for one in ENDING if signal.getsignal(one) in DEFAULTS}

    def __enter__(self) -> "Interruption":
        """Handle the signals."""
        self.take()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave the signals as they were, and say the line."""
        if isinstance(error, Stopped) and error.line:
            with contextlib.suppress(OSError):  # of a terminal that is gone
                sys.stderr.write(f"{error.line}\n")
        if threading.current_thread() is threading.main_thread():
            for one, handler in self.earlier.items():
                signal.signal(one, handler)

    def take(self) -> None:
        """Set the handlers, which Python allows in its main thread alone."""
        if threading.current_thread() is threading.main_thread():
            for one in self.earlier:
                signal.signal(one, self.handle)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note the signal, or stop at once."""
        now = time.monotonic()
        again = self.received is not None and now - self.at > PAUSE
        self.received, self.at = signal.Signals(number), now if self.received is None else self.at
        if again or not self.training:
            raise self.stopped()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Know the trainer."""
        assert isinstance(trainer, Trainer)
        self.trainer = trainer

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From here on a signal waits for the end of the step; Lightning has just set a handler of its own."""
        self.take()
        self.training = True

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: object, batch_idx: int) -> None:
        """Stop, now that the step before is saved and logged."""
        assert isinstance(trainer, Trainer)
        if trainer.stopping:
            raise self.stopped()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Let the checkpoint callback, which comes after this one, save the step if a process of the training got a signal."""
        assert isinstance(trainer, Trainer)
        asked = self.received is not None and (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if is_distributed():  # all have to stop at the same step, or they would wait for each other
            asked = bool(global_sum(torch.tensor(float(asked), device=pl_module.device)) > 0)
        trainer.stopping = asked

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Let the checkpoint callback save at once: a validation may take longer than a cluster's patience."""
        self.on_validation_end(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let the checkpoint callback save the step with the figures of its validation."""
        assert isinstance(trainer, Trainer)
        if self.training and not is_distributed():  # of several processes all find out after the next step
            trainer.stopping = self.received is not None

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop after the last step, too."""
        self.training = False
        if self.received is not None:
            raise self.stopped()

    def stopped(self) -> Stopped:
        """Return the end of the run with its line, which one process of several says."""
        received = self.received or signal.SIGTERM  # another process of this training got it
        return Stopped(128 + received, "" if rank() else f"Stopped by {received.name}{self.remedy()}")

    def remedy(self) -> str:
        """Return the end of the line: the saved step, and the command that goes on from it."""
        callbacks = self.trainer.callbacks if self.trainer else []
        saved = max((callback.saved for callback in callbacks if isinstance(callback, Checkpoints)), default=-1)
        if self.trainer is None or saved < 0:
            return " before a step was saved; start again."
        over = self.trainer.state.fn != TrainerFn.FITTING or saved == self.trainer.max_steps
        go_on = ["python", "train.py", *(["train=false"] if over else []), f"ckpt_path={self.folder}"]
        return f"; {'all steps are' if over else f'step {saved} is'} saved, go on with: {shlex.join(go_on)}"
