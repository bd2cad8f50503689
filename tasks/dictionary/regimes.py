"""Regimes of a neural dictionary: learn it from many signals, or find the codes of new ones in it."""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from datamodules.common.batch import Batch
from inr.derivatives import observe_at
from inr.dictionary.normal_equations import Problem
from inr.dictionary.solvers import FALLBACK, Solver
from inr.distributed import global_sum
from inr.errors import InputError
from inr.metrics.figures import Metric, decibels
from inr.saved.runs import build, load_weights, read_checkpoint
from tasks.base import INRTask
from tasks.dictionary.checks import comparing, refuse_unfit
from tasks.drawing.atoms import draw_atoms, draw_usage

GROUP = 256  # signals that are solved for at a time
GRAMS = 2**27  # numbers in the equations of signals that do not share them


class Encode(Callback):
    """What both regimes do: find the codes of signals with a solver, and report how.

    Raises: InputError for a model without codes, or data of a single signal.
    """

    def __init__(self, solver: Solver) -> None:
        self.solver = solver
        self.encoder: Any = None
        self.figures: dict[str, Metric] = {}

    def state_dict(self) -> dict[str, Any]:
        """How codes were found, so that an evaluation of the checkpoint can say it."""
        return {name: tuple(figure) for name, figure in self.figures.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """How codes were found."""
        self.figures = {name: Metric(*figure) for name, figure in state_dict.items()}

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add how codes were found to the figures, and what they use of the dictionary to the pictures."""
        assert isinstance(pl_module, INRTask)
        pl_module.extra |= self.figures
        network: Any = pl_module.evaluated
        if not network.coder.encodes and all(measurement.linear for measurement in pl_module.measurements.values()):
            pl_module.drawings["atoms"] = lambda: draw_atoms(network, pl_module)
            pl_module.drawings["usage"] = lambda: draw_usage(network)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what has no codes; name the codes after the signals; let encoders see observations."""
        assert isinstance(pl_module, INRTask)
        network: Any = pl_module.network
        refuse_unfit(pl_module, self.solver)
        if network.coder.encodes:
            self.encoder = network.coder
        else:
            network.coder.names = pl_module.data.train_names
        pl_module.data.encodes = self.encoder is not None

    def encode(self, task: INRTask, signals: int) -> Tensor:
        """The codes (signals, unknowns) of the first evaluated signals, from one pass over what was observed of them."""
        ridge, chosen = self.weight(task)
        begin = time.perf_counter()
        groups = torch.arange(signals).split(self.group(task))
        passes = [partial(task.data.observation_batches, group, task.device) for group in groups]
        codes = torch.cat([self.solve(task, batches, ridge) for batches in passes])
        if codes.is_cuda:
            torch.cuda.synchronize()
        coder: Any = self.encoder or task.network.coder
        how = f"{type(self.solver).__name__} ({chosen})" if self.solver.closed_form else "nothing but the coder"
        seen = f"{coder.sees}, {task.data.encoded_as}" if self.encoder else coder.sees
        text = (
            f"wall-clock time to find the codes of {signals} signals together by {how}; the {type(coder).__name__} saw {seen}"
        )
        self.figures["encode_seconds"] = Metric(time.perf_counter() - begin, "s", text)
        return codes

    @staticmethod
    def group(task: INRTask) -> int:
        """How many signals are solved for at a time: fewer where weights give each its own equations; one of own points."""
        network: Any = task.network
        if not task.data.shared_points:
            return 1
        batch = next(iter(task.data.observation_batches(torch.zeros(1, dtype=torch.long), task.device)))
        weighted = any(part.weights for part in batch.parts.values())
        return max(1, min(GROUP, GRAMS // network.unknowns**2)) if weighted else GROUP

    def solve(self, task: INRTask, batches: Callable[[], Iterable[Batch]], ridge: float) -> Tensor:
        """The codes of one group of signals."""
        problem = self.problem(task, batches)
        codes = self.solver(problem, self.centre(task, batches), ridge)
        if problem.supervision.fixes_constant() or not task.measurements["data"].linear:
            return codes
        return self.with_constant(task, batches, codes)

    def problem(self, task: INRTask, batches: Callable[[], Iterable[Batch]]) -> Problem:
        """The equations of some signals."""
        network: Any = task.network
        supervision = comparing(task.supervision, batches)
        return Problem(network, task.measurements, supervision, batches)  # type: ignore[arg-type]

    @torch.no_grad()
    def centre(self, task: INRTask, batches: Callable[[], Iterable[Batch]]) -> Tensor:
        """What codes are pulled to: the mean of the dictionary's codes, or what its encoder makes of each signal."""
        if self.encoder is None:
            return self.codes(task).mean(0, keepdim=True)
        return self.encoder(next(iter(batches())).signals)

    def codes(self, task: INRTask) -> Tensor:
        """The codes (signals, unknowns) that the dictionary was learned with."""
        network: Any = task.network
        return network.coder.codes.detach()

    @torch.no_grad()
    def with_constant(self, task: INRTask, batches: Callable[[], Iterable[Batch]], codes: Tensor) -> Tensor:
        """Codes whose biases fit the mean of the observed values, where derivatives alone leave them open."""
        network: Any = task.network
        field, total, mass = network.field_of(codes), torch.zeros(()), torch.zeros(())
        for batch in batches():
            part = batch.parts["data"]
            sensor = task.within("data", part)
            error = part.targets["value"] - observe_at(sensor, field, part.coordinates, {"value"})["value"]
            weights = part.weights.get("value", torch.ones_like(error[..., 0]))[..., None]
            response = sensor.of_constant(part.coordinates)
            total, mass = total + (weights * error).sum(1), mass + (weights * response).sum(1)
        constant = global_sum(total) / global_sum(mass).clamp_min(1.0)
        return codes + torch.nn.functional.pad(constant, (network.experts.shape[0], 0))

    def weight(self, task: INRTask) -> tuple[float, str]:
        """The ridge weight and in words where it comes from: given, chosen on the tuning signals, or a fallback."""
        if self.solver.ridge is not None or not self.solver.closed_form:
            return self.solver.ridge or 0.0, f"ridge {self.solver.ridge}"
        tuning = task.data.tuning_signals
        if not tuning:
            return FALLBACK, f"ridge {FALLBACK:g}, the fallback without tuning signals"

        def problems(signals: Tensor) -> tuple[Problem, Problem, Tensor]:
            observed, clean = (partial(task.data.tuning_batches, signals, task.device, altered) for altered in (True, False))
            truth = Problem(task.network, task.measurements, comparing(task.supervision, clean, "value"), clean)  # type: ignore[arg-type]
            return self.problem(task, observed), truth, self.centre(task, observed)

        ridge = self.solver.choose(problems(group) for group in torch.arange(tuning).split(self.group(task)))
        return ridge, f"ridge {ridge:g}, chosen on {tuning} tuning signals"


class Learn(Encode):
    """Regime `dictionary`: all experts for `warmup` steps, then top-k; validations and the test encode held-out signals."""

    def __init__(self, solver: Solver, warmup: int = 0, seed: int = 0) -> None:
        super().__init__(solver)
        if warmup < 0:
            raise InputError(f"regime.callbacks.dictionary.warmup counts steps and must not be negative, got {warmup}.")
        self.warmup, self.seed = warmup, seed

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Also refuse a single signal, and a solver that would leave held-out ones at the mean code."""
        super().setup(trainer, pl_module, stage)
        if len(pl_module.data.train_names) < 2:  # type: ignore[union-attr, arg-type]
            raise InputError("regime=dictionary learns from two signals or more, got 1; choose a collection, such as phantoms.")
        if self.encoder is None and not self.solver.closed_form and pl_module.data.holds_out:  # type: ignore[union-attr]
            raise InputError(
                "regime=dictionary encodes held-out signals in closed form, got solver=adam; choose ridge, topk or l1, or an"
                " encoder (model/coder=conv)."
            )

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int) -> None:
        """Tell the network how far the training is."""
        network: Any = pl_module.network
        network.at_step(trainer.global_step, self.seed, self.warmup)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Encode the signals that a validation looks at."""
        assert isinstance(pl_module, INRTask)
        self.show(pl_module, pl_module.data.validation_signals)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Encode the signals that the test looks at."""
        assert isinstance(pl_module, INRTask)
        if self.encoder is not None:
            pl_module.snapshots["encoder alone"] = pl_module.reconstruct()
        self.show(pl_module, pl_module.data.test_signals)
        super().on_test_start(trainer, pl_module)
        if pl_module.data.holds_out:
            pl_module.extra |= self.training_figure(pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Back to the signals that are trained on."""
        assert isinstance(pl_module, INRTask)
        pl_module.encoded = None

    def show(self, task: Any, images: int | None) -> None:
        """Evaluate with codes of the held-out signals; where none is held out, with those that were trained."""
        if task.data.holds_out:
            codes = self.encode(task, task.data.swept(images))
            task.encoded = task.network.with_codes(codes)

    @torch.no_grad()
    def training_figure(self, task: Any) -> dict[str, Metric]:
        """PSNR of some training signals with the codes that they were trained with."""
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


class Fit(Encode):
    """Regime `fit`: trunk and experts of a dictionary stay as they are, to the bit; the shown signals get codes in it.

    Closed-form solvers take no steps. With `refine`, or by solver=adam, gradient steps follow on what is the signals' own:
    their codes, with `head` what they add to their heads, with `all` what they add to every weight. Reconstructions after
    `snapshots` steps are kept for table and pictures.
    """

    def __init__(
        self,
        solver: Solver,
        dictionary: str | None = None,
        refine: str | None = None,
        snapshots: Sequence[int] = (0, 1, 3, 10),
    ) -> None:
        super().__init__(solver)
        self.dictionary, self.refine, self.snapshots = dictionary, refine, list(snapshots)
        self.learned: Tensor | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Take trunk and experts over and freeze them; a resumed fit has them already."""
        super().setup(trainer, pl_module, stage)
        network: Any = pl_module.network
        network.freeze()
        if stage != "fit" or trainer.ckpt_path is not None:
            return
        if self.dictionary is None:
            raise InputError("regime=fit encodes signals in a dictionary, got dictionary=null; add dictionary=RUN.")
        checkpoint = read_checkpoint(self.dictionary)
        state = {name.removeprefix("network."): value for name, value in checkpoint["state_dict"].items()}
        kept = {name: value for name, value in state.items() if name == "experts" or name.startswith("trunk.")}
        load_weights(network, network.state_dict() | kept, self.dictionary)
        known = set(checkpoint["signals"]) & set(network.coder.names)
        text = "signals with the name of one that the dictionary was trained on; 0: all are new to it"
        self.figures["seen"] = Metric(len(known), "1", text)
        coder = checkpoint["config"]["model"]["coder"]
        if "coder.codes" in state:
            self.learned = state["coder.codes"]
        else:
            self.encoder = build(coder)
            load_weights(
                self.encoder,
                {name.removeprefix("coder."): v for name, v in state.items() if name.startswith("coder.")},
                self.dictionary,
            )
            pl_module.data.encodes = True  # type: ignore[union-attr]
        experts = len(network.experts)
        network.active_gates = min(self.solver.active_gates(int(state["_extra_state"])) or experts, experts)

    def codes(self, task: INRTask) -> Tensor:
        """The codes in the dictionary's checkpoint."""
        return super().codes(task) if self.learned is None else self.learned.to(task.device)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Solve for the codes, unless they come from a checkpoint."""
        if trainer.ckpt_path is not None:
            return
        assert isinstance(pl_module, INRTask)
        if self.encoder is not None:
            self.encoder = self.encoder.to(pl_module.device).eval()
        network: Any = pl_module.network
        network.coder.codes.data.copy_(self.encode(pl_module, len(network.coder.codes)))
        if self.solver.closed_form and self.refine is None:
            trainer.fit_loop.epoch_loop.max_steps = 0
        elif 0 in self.snapshots:
            self.snapshot(pl_module, 0)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep what some of the steps made of the signals."""
        if trainer.global_step in self.snapshots:
            assert isinstance(pl_module, INRTask)
            self.snapshot(pl_module, trainer.global_step)

    @staticmethod
    def snapshot(task: INRTask, step: int) -> None:
        """Reconstruct all signals as the codes are now."""
        task.snapshots[f"after {step} steps"] = task.reconstruct()
