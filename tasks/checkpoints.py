"""Checkpoints of a run: the last state and the best one, each written whole or not at all."""

import io
import math
import os
from collections.abc import Mapping
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from datamodules.common.files import require
from inr.errors import InputError
from tasks.trainer import Trainer

LAST = "last.ckpt"
BEST = "best.ckpt"


def write_whole(target: Path, content: bytes | memoryview) -> None:
    """Write a file beside its place and move it there, so that a full disk or a kill leaves the earlier one whole.

    Raises: InputError if there is no room.
    """
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # on the disk before it takes the other's place, should the power fail
        os.replace(unfinished, target)  # one step for the file system: no moment without a checkpoint
    except OSError as error:
        raise InputError(f"A checkpoint must find room at {target}: {error}; an earlier one there is unharmed.") from error
    finally:
        unfinished.unlink(missing_ok=True)  # also after a signal in the middle


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write checkpoints whole or not at all."""

    def save_checkpoint(self, checkpoint: Mapping[str, object], path: str | Path, storage_options: object = None) -> None:
        """Save, or raise InputError and leave what was there."""
        buffer = io.BytesIO()  # in memory first: torch tells a full disk by an error that hides the reason
        torch.save(checkpoint, buffer)
        write_whole(Path(path), buffer.getbuffer())


class Checkpoints(Checkpoint):
    """Save `last.ckpt` regularly and at the end, `best.ckpt` whenever a validation improves.

    Lightning's ModelCheckpoint saves before a validation that falls on the same step, whose figures a resumed run would miss.
    every: steps between two saves of the last state
    monitor: logged figure that says which state is best
    mode: max or min, the better end of that figure
    """

    def __init__(self, folder: str, every: int = 100, monitor: str = "val/psnr", mode: str = "max") -> None:
        super().__init__()
        require("callbacks.checkpoints.every", every >= 1, "counts steps and must be at least 1", every)
        self.folder, self.every = Path(folder), every
        self.monitor, self.sign = monitor, 1 if mode == "max" else -1
        self.best, self.saved = -math.inf, -1

    def save_last(self, trainer: L.Trainer) -> None:
        """Save the last state, once a step."""
        if self.saved != trainer.global_step:
            trainer.save_checkpoint(self.folder / LAST)
        self.saved = trainer.global_step

    def is_due(self, trainer: L.Trainer) -> bool:
        """Return True at every so many steps, and at the last one of this training, by its number or by a signal.

        A state that is saved once the training is over would go on as a second epoch, with curves of its own.
        """
        assert isinstance(trainer, Trainer)
        ends = trainer.global_step == trainer.max_steps or trainer.should_stop or trainer.stopping
        return ends or trainer.global_step % self.every == 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Save the last state if it is due; where a validation follows, after it, so that a resume has its figures."""
        assert isinstance(trainer, Trainer)
        interval = trainer.val_check_batch
        batches = trainer.fit_loop.total_batch_idx + 1  # `batch_idx` begins anew with an epoch
        validates = trainer.enable_validation and interval is not None and batches % interval == 0
        if self.is_due(trainer) and (not validates or trainer.stopping):
            self.save_last(trainer)

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Save the state that a signal ends, without the figures of this validation, should there be no time for them."""
        assert isinstance(trainer, Trainer)
        if trainer.stopping:
            self.save_last(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the last state if it is due or the best one, and that as a copy: a run without `last.ckpt` cannot go on."""
        assert isinstance(trainer, Trainer)
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        figure = trainer.callback_metrics.get(self.monitor)
        reached = -math.inf if figure is None else self.sign * float(figure)
        improves = reached > self.best
        self.best = max(self.best, reached)
        if improves or self.is_due(trainer):
            self.saved = -1  # what was saved before had not these figures
            self.save_last(trainer)
        if improves and trainer.is_global_zero:
            write_whole(self.folder / BEST, (self.folder / LAST).read_bytes())

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the final state of a fit that took no step."""
        self.save_last(trainer)

    def state_dict(self) -> dict[str, float]:
        """Return the best figure so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: Mapping[str, float]) -> None:
        """Go on from the best figure so far."""
        self.best = state_dict["best"]
