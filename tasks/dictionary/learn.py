"""Regime `dictionary`: learn trunk, experts and codes from many signals, and encode held-out ones to see how good they are."""

import lightning as L
import torch

from datamodules.common.batch import Batch
from datamodules.common.draws import Purpose
from inr.convex.problem import ConvexSolver
from inr.derivatives import observe_at
from inr.errors import InputError
from inr.metrics.figures import Metric, decibels
from tasks.dictionary.checks import dictionary_of
from tasks.dictionary.encode import Encode, Task, task_of


class Learn(Encode):
    """All experts for `warmup` steps, then top-k; validations and the test encode held-out signals.

    Raises: InputError for a single signal, and for a solver that would leave held-out ones at the mean code.
    """

    def __init__(self, solver: ConvexSolver | None = None, warmup: int = 0, seed: int = 0) -> None:
        super().__init__(solver)
        if warmup < 0:
            raise InputError(f"regime.callbacks.dictionary.warmup counts steps and must not be negative, got {warmup}.")
        self.warmup, self.seed = warmup, seed

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what nothing is learned from."""
        super().setup(trainer, pl_module, stage)
        data = task_of(pl_module).data
        if len(data.trained) < 2:
            raise InputError("regime=dictionary learns from two signals or more, got 1; choose a collection, such as phantoms.")
        if self.encoder is None and not self.solver.closed_form and data.holds_out:
            rule = "regime=dictionary encodes held-out signals in closed form"
            raise InputError(f"{rule}, got solver=adam; choose ridge, topk or l1, or an encoder (model/coder=conv).")

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int) -> None:
        """Tell the network how far the training is."""
        dictionary_of(task_of(pl_module)).at_step(trainer.global_step, self.seed, self.warmup)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Encode the signals that a validation looks at."""
        self.encode_first(task_of(pl_module), "validate")

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Encode the signals that the test looks at."""
        task = task_of(pl_module)
        if self.encoder is not None:
            self.result.snapshots["encoder alone"] = task.reconstruct()
        self.encode_first(task, "test")
        super().on_test_start(trainer, pl_module)
        if task.data.holds_out:
            self.result.figures |= self.training_figure(task)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go back to the signals that are trained on."""
        self.result.network = None

    def encode_first(self, task: Task, purpose: Purpose) -> None:
        """Evaluate with codes of the first held-out items; where none is held out, with those that were trained."""
        if task.data.holds_out:
            self.result.network = dictionary_of(task).with_codes(self.encode(task, task.data.signals_of(purpose)))

    @torch.no_grad()
    def training_figure(self, task: Task) -> dict[str, Metric]:
        """Return the PSNR of some training signals with the codes that they were trained with."""
        errors = []
        for batch in task.data.training_batches(task.device):
            ((name, part),) = batch.parts.items()
            field = task.network.field(batch.signals)
            value = observe_at(task.within(name, part), field, part.coordinates, {"value"})["value"]
            error = task.brightness(value.float()) - task.brightness(part.targets["value"])
            errors.append(error.square().reshape(*value.shape[:2], -1).mean(-1))
        figures = [decibels(1.0, error) for error in torch.cat(errors, -1).mean(-1).tolist()]
        text = f"PSNR of {len(figures)} training signals with their own codes, peak 1 as of psnr; mean"
        return {"psnr_train": Metric(sum(figures) / len(figures), "dB", text)}
