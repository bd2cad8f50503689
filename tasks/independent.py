"""Regime `single` on several signals: each is fitted by a network of its own in one run, as if it were alone."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from datamodules.common.batch import Batch
from datamodules.common.files import require
from datamodules.common.signal_data import Wanted
from inr.derivatives import observe_at
from inr.errors import InputError
from inr.field import Field
from inr.metrics.figures import Metric
from inr.networks.stacked import Stacked
from tasks.base import Objective
from tasks.evaluation import EvaluatedTask

VALUES = Wanted({"data": frozenset({"value"})})
TRAINS = -1  # in place of the number of steps after which a signal's fit ended


class Independent(Callback):
    """Fit all signals that are shown side by side, and end the fit of each once it is good enough; the run ends with the last.

    target: PSNR [dB] of what trains, at which the fit of a signal ends; None: every fit takes all steps.
    every: steps between two looks at that.
    group: signals that a core works on at a time, few enough for their features to stay in its caches; a GPU takes all at once.
    signals: positions of those of a collection that are asked for; other data have but one.
    Raises: InputError for a choice of signals where there is one, and options of the training that would tie signals together.
    """

    def __init__(
        self,
        target: float | None = None,
        every: int = 10,
        group: int = 16,
        signals: Sequence[int] | str | None = None,
    ) -> None:
        require("regime.callbacks.independent.every", every >= 1, "counts steps and must be at least 1", every)
        require("regime.callbacks.independent.group", group >= 1, "counts signals and must be at least 1", group)
        self.target, self.every, self.group = target, every, group
        self.signals = signals
        self.ends: list[int] = []  # the step after which the fit of each signal ended
        self.kept: list[Tensor] = []  # their rows of each parameter; none of a single signal, with which the training ends

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Let the task take the gradients of each signal by itself where there are several."""
        assert isinstance(pl_module, EvaluatedTask)
        if not pl_module.data.collects and self.signals not in (None, [0]):
            rule = f"{type(pl_module.data).__name__} has one signal"
            raise InputError(
                f"{rule}, got regime.signals={self.signals}; leave it out, or choose a collection, such as images."
            )
        if self.target is not None and not pl_module.supervision.fixes_constant():
            rule = "regime.target is a PSNR of values, which this supervision does not determine"
            raise InputError(f"{rule}, got {self.target}; use supervision=val or val_der, or leave it out.")
        self.task, self.trainer = pl_module, trainer
        self.ends = self.ends or [TRAINS] * len(pl_module.data.trained)
        if isinstance(pl_module.network, Stacked):
            refuse_ties(trainer, pl_module.network)
            pl_module.supervision = pl_module.supervision.apart()
            pl_module.regime.objective = self.objective

    @property
    def network(self) -> Stacked:
        """The stack of networks."""
        assert isinstance(self.task.network, Stacked)
        return self.task.network

    def rows(self, trains: bool) -> Tensor:
        """Return the signals (signals,) whose fits go on, or are at their end."""
        return torch.tensor([row for row, end in enumerate(self.ends) if (end == TRAINS) == trains], dtype=torch.long)

    def objective(self, batch: Batch) -> Objective:
        """Return the mean of each loss over the signals whose fits go on, and the number whose gradients are each one's own."""
        if len(batch.signals.index) != len(self.ends):
            rule = f"regime=single shows each of {len(self.ends)} signals at every step"
            raise InputError(f"{rule}, got {len(batch.signals.index)}; use data.batch_signals=null.")
        rows = self.rows(trains=True)
        few = self.group if self.task.device.type == "cpu" else len(rows)

        def losses(index: Tensor, field: Field) -> dict[str, Tensor]:
            return self.task.losses(batch.of(index), field)

        return self.network.descend(rows.to(self.task.device).split(few), losses)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on from the state of a checkpoint: what is at its end stays so."""
        self.keep()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: object, **kwargs: object) -> None:
        """Undo what the step did to fits that are at their end, and look for others that are."""
        self.restore()
        step = trainer.global_step
        if self.target is None or step % self.every or step == 0:
            return
        rows = self.rows(trains=True)
        found = training_psnr(self.task, rows).cpu()
        ended = rows[found >= self.target].tolist()
        self.ends = [step if row in set(ended) else end for row, end in enumerate(self.ends)]
        if ended:
            self.keep()

    def keep(self) -> None:
        """Keep the weights of fits that are at their end; end the training if all are."""
        ended = self.rows(trains=False)
        if len(self.ends) > 1:
            here = ended.to(self.task.device)
            self.kept = [stack.detach().index_select(0, here) for stack in self.network.parameters()]
        self.trainer.should_stop = self.trainer.should_stop or len(ended) == len(self.ends)

    @torch.no_grad()
    def restore(self) -> None:
        """Put these weights back: optimisers with momentum move what has no gradient, too."""
        ended = self.rows(trains=False).to(self.task.device)
        if len(ended) and self.kept:
            for stack, kept in zip(self.network.parameters(), self.kept, strict=True):
                stack.index_copy_(0, ended, kept)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report how good each fit is on what it was fitted to, and how many steps it took."""
        task = self.task
        if len(self.ends) == 1 and self.target is None:
            return
        steps = [max(trainer.global_step, task.steps) if end == TRAINS else end for end in self.ends]
        task.regime.columns["steps"] = steps
        if len(steps) > 1 and task.supervision.fixes_constant():
            task.regime.columns["psnr_train"] = found = training_psnr(task, torch.arange(len(steps))).tolist()
            text = f"PSNR of what was observed and fitted, mean over {len(found)} signals"
            task.regime.figures["psnr_train"] = Metric(statistics.fmean(found), "dB", text)
        if self.target is not None:
            goal = f"steps until a signal reached {self.target:g} dB of psnr_train, {sum(map(TRAINS.__ne__, self.ends))} did"
            task.regime.figures["steps_mean"] = Metric(statistics.fmean(steps), "1", f"{goal}; mean")
            task.regime.figures["steps_median"] = Metric(statistics.median(steps), "1", f"{goal}; median")

    def state_dict(self) -> dict[str, Any]:
        """Return the ends, and the target that they are of."""
        return {"ends": self.ends, "target": self.target}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from the ends of the same target; for another one every fit goes on."""
        if state_dict["target"] == self.target:
            self.ends = list(state_dict["ends"])


@torch.no_grad()
def training_psnr(task: EvaluatedTask[Any], signals: Tensor) -> Tensor:
    """Return the PSNR [dB] of all that was observed of some signals (signals,) that train."""
    total = mass = torch.zeros(len(signals), device=task.device)
    for batch in task.data.trained.whole_pass(signals, task.data.chunk, VALUES, task.device, shared=False):
        part = batch.parts["data"]
        with task.trainer.precision_plugin.forward_context():
            field = task.network.field(batch.signals)
            value = observe_at(task.within("data", part), field, part.coordinates, {"value"})["value"].float()
        errors = task.errors(value, part.targets["value"], signals)
        weights = part.weights.get("value", torch.ones_like(errors))
        total, mass = total + (weights * errors).sum(-1), mass + weights.sum(-1)
    return -10 * torch.log10(total / mass)


def refuse_ties(trainer: L.Trainer, network: Stacked) -> None:
    """Raise InputError for what would tie signals together, or lose their gradients."""
    if trainer.precision == "16-mixed":
        raise InputError(
            "regime=single on several signals needs gradients that no loss scale saves from zero, got "
            "trainer.precision=16-mixed; use bf16-mixed."
        )
    if trainer.gradient_clip_val is not None:
        rule = f"trainer.gradient_clip_val={trainer.gradient_clip_val} would clip by the gradients of all"
        raise InputError(f"{rule} {network.signals} signals together; leave it out, or fit one signal.")
