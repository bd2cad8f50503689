"""Regime `fit`: the codes of new signals in a dictionary, which itself stays as it is, to the bit."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from torch import Tensor

from inr.convex.problem import ConvexSolver
from inr.dictionary.coders import Coder
from inr.dictionary.network import NeuralDictionary
from inr.errors import InputError
from inr.metrics.figures import Metric
from inr.saved.runs import below, build, load_weights, read_checkpoint
from tasks.dictionary.checks import dictionary_of
from tasks.dictionary.encode import Encode, Task, task_of


class Fit(Encode):
    """Freeze trunk and experts of a dictionary; the shown signals get codes in it.

    Closed-form solvers take no steps. With `refine`, or by solver=adam, gradient steps follow on what is the signals' own.
    dictionary: the run whose dictionary is used.
    refine: what the steps change: None: codes; head: what signals add to their heads; all: to every weight.
    snapshots: steps after which reconstructions are remembered for table and pictures.
    Raises: InputError without a dictionary.
    """

    def __init__(
        self,
        solver: ConvexSolver | None = None,
        dictionary: str | None = None,
        refine: str | None = None,
        snapshots: Sequence[int] = (0, 1, 3, 10),
    ) -> None:
        super().__init__(solver)
        self.dictionary, self.refine = dictionary, refine
        self.snapshots = list(snapshots)
        self.learned: Tensor | None = None  # codes that the dictionary was learned with

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Take trunk and experts over and freeze them; a resumed fit has them already."""
        super().setup(trainer, pl_module, stage)
        network = dictionary_of(task_of(pl_module))
        network.freeze()
        if stage != "fit" or trainer.ckpt_path is not None:
            return
        if self.dictionary is None:
            raise InputError("regime=fit encodes signals in a dictionary, got dictionary=null; add dictionary=RUN.")
        checkpoint = read_checkpoint(self.dictionary)
        state = below("network.", checkpoint["state_dict"])
        self.adopt(network, state, self.dictionary)
        self.result.figures["seen"] = seen_before(checkpoint["signals"], network.coder)
        if "coder.codes" in state:
            self.learned = state["coder.codes"]
        else:
            self.encoder = self.load_encoder(checkpoint["config"]["model"]["coder"], state, self.dictionary)
            self.result.encodes = True

    def adopt(self, network: NeuralDictionary, state: Mapping[str, Tensor], source: str) -> None:
        """Put the dictionary's trunk and experts into the network, and keep as many gates as the solver's codes have."""
        shared = {name: value for name, value in state.items() if name == "experts" or name.startswith("trunk.")}
        load_weights(network, network.state_dict() | shared, source)
        gates = self.solver.active_gates(int(state["_extra_state"])) or len(network.experts)
        network.active_gates = min(gates, len(network.experts))

    @staticmethod
    def load_encoder(config: dict[str, Any], state: Mapping[str, Tensor], source: str) -> Coder:
        """Rebuild the encoder that the dictionary was learned with."""
        encoder = build(config)
        load_weights(encoder, below("coder.", state), source)
        assert isinstance(encoder, Coder)
        return encoder

    def codes(self, task: Task) -> Tensor:
        """Return the codes in the dictionary's checkpoint."""
        return super().codes(task) if self.learned is None else self.learned.to(task.device)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Solve for the codes, unless they come from a checkpoint."""
        if trainer.ckpt_path is not None:
            return
        task = task_of(pl_module)
        if self.encoder is not None:
            self.encoder = self.encoder.to(task.device).eval()
        codes = dictionary_of(task).coder.codes
        codes.data.copy_(self.encode(task, len(codes)))
        if self.solver.closed_form and self.refine is None:
            trainer.fit_loop.epoch_loop.max_steps = 0
        elif 0 in self.snapshots:
            self.snapshot(task, 0)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: object, **kwargs: object) -> None:
        """Remember what some of the steps made of the signals."""
        if trainer.global_step in self.snapshots:
            self.snapshot(task_of(pl_module), trainer.global_step)

    def snapshot(self, task: Task, step: int) -> None:
        """Reconstruct all signals as the codes are now."""
        self.result.snapshots[f"after {step} steps"] = task.reconstruct()


def seen_before(trained: Sequence[str], coder: Coder) -> Metric:
    """Count the signals with the name of one that the dictionary was trained on."""
    known = set(trained) & set(coder.names)
    return Metric(len(known), "1", "signals with the name of one that the dictionary was trained on; 0: all are new to it")
