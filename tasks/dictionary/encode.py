"""The codes of signals in a dictionary: found by a solver from what was observed, and how they were found."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import lightning as L
import torch
from torch import Tensor

from datamodules.common.batch import Batch
from inr.convex.problem import ConvexSolver
from inr.dictionary.coders import Coder
from inr.dictionary.network import NeuralDictionary
from inr.dictionary.normal_equations import Problem
from inr.dictionary.solvers import FALLBACK
from inr.metrics.figures import Metric
from inr.supervision.constant import UnknownConstant
from tasks.base import RegimeCallback
from tasks.dictionary.checks import comparing, dictionary_of, of_codes, refuse_unfit
from tasks.drawing.atoms import draw_atoms, draw_usage
from tasks.evaluation import EvaluatedTask

GROUP = 256  # signals that are solved for at a time
GRAMS = 2**27  # numbers in the equations of signals that do not share them: 1 GiB in float64

Task = EvaluatedTask[Any]
Batches = Callable[[], Iterable[Batch]]


def task_of(module: L.LightningModule) -> Task:
    """Return the module that a callback is called with as the task that it is."""
    assert isinstance(module, EvaluatedTask)
    return module


class Encode(RegimeCallback):
    """The part that the regimes dictionary and fit have in common: find codes of signals with a solver, and report how.

    solver: the rule that finds codes; None: ridge.
    Raises: InputError for a model without codes, data of a single signal, and a solver of something else than codes.
    """

    def __init__(self, solver: ConvexSolver | None = None) -> None:
        super().__init__()
        self.solver = of_codes(solver)
        self.encoder: Coder | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what has no codes; name the codes after the signals; let encoders see observations."""
        task = task_of(pl_module)
        refuse_unfit(task, self.solver)
        coder = dictionary_of(task).coder
        if coder.encodes:
            self.encoder = coder
        else:
            coder.names = list(task.data.trained.names)
        self.result.encodes = self.encoder is not None
        task.regime = self.result

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add what the codes use of the dictionary to the pictures."""
        task = task_of(pl_module)
        network = task.scored_network
        assert isinstance(network, NeuralDictionary)
        if not network.coder.encodes and all(measurement.linear for measurement in task.sensors.values()):
            self.result.drawings |= {"atoms": lambda: draw_atoms(network, task), "usage": lambda: draw_usage(network)}

    def encode(self, task: Task, signals: int) -> Tensor:
        """Find the codes (signals, unknowns) of the first evaluated signals, from one pass over what was observed of them."""
        ridge, chosen = self.weight(task)
        begin = time.perf_counter()
        groups = torch.arange(signals).split(self.group(task))
        passes = [partial(task.data.observation_batches, group, task.device) for group in groups]
        codes = torch.cat([self.solve(task, batches, ridge) for batches in passes])
        if codes.is_cuda:
            torch.cuda.synchronize()  # or the clock would stop before the work does
        seconds = time.perf_counter() - begin
        coder = self.encoder or dictionary_of(task).coder
        how = f"{type(self.solver).__name__} ({chosen})" if self.solver.closed_form else "nothing but the coder"
        seen = f"{coder.sees}, {task.data.encoded_as}" if self.encoder else coder.sees
        text = f"wall-clock time to find the codes of {signals} signals together by {how}"
        self.result.figures["encode_seconds"] = Metric(seconds, "s", f"{text}; the {type(coder).__name__} saw {seen}")
        return codes

    @staticmethod
    def group(task: Task) -> int:
        """Return the number of signals to solve for at a time: one of own points, few where weights give each own equations."""
        if not task.data.shared_points:
            return 1
        batch = next(iter(task.data.observation_batches(torch.zeros(1, dtype=torch.long), task.device)))
        weighted = any(part.weights for part in batch.parts.values())
        return max(1, min(GROUP, GRAMS // dictionary_of(task).unknowns ** 2)) if weighted else GROUP

    def solve(self, task: Task, batches: Batches, ridge: float) -> Tensor:
        """Find the codes of one group of signals."""
        problem = self.problem(task, batches)
        codes = self.solver(problem, self.centre(task, batches), ridge)
        if problem.supervision.fixes_constant() or not task.sensors["data"].linear:
            return codes
        return self.with_constant(task, batches, codes)

    def problem(self, task: Task, batches: Batches) -> Problem:
        """Set up the equations of some signals."""
        return Problem(dictionary_of(task), task.sensors, comparing(task.supervision, batches), batches)

    @torch.no_grad()
    def centre(self, task: Task, batches: Batches) -> Tensor:
        """Return what codes are pulled to: the mean of the dictionary's codes, or what its encoder makes of each signal."""
        return self.codes(task).mean(0, keepdim=True) if self.encoder is None else self.encoder(next(iter(batches())).signals)

    def codes(self, task: Task) -> Tensor:
        """Return the codes (signals, unknowns) that the dictionary was learned with."""
        return dictionary_of(task).coder.codes.detach()

    @torch.no_grad()
    def with_constant(self, task: Task, batches: Batches, codes: Tensor) -> Tensor:
        """Add to the biases of codes what fits the mean of the observed values, where derivatives alone leave them open."""
        network = dictionary_of(task)
        field, rows = network.field_of(codes), torch.arange(len(codes), device=codes.device)
        constant = UnknownConstant(len(codes), network.experts.shape[1]).to(codes)
        residuals = (task.residuals(batch, field)._replace(signals=rows) for batch in batches())
        constant.estimate(residuals, over_processes=True)
        return codes + torch.nn.functional.pad(constant.value, (network.experts.shape[0], 0))

    def weight(self, task: Task) -> tuple[float, str]:
        """Return the ridge weight and in words where it comes from: given, chosen on the tuning signals, or a fallback."""
        if self.solver.ridge is not None or not self.solver.closed_form:
            return self.solver.ridge or 0.0, f"ridge {self.solver.ridge}"
        tuning = task.data.tuning_signals
        if not tuning:
            return FALLBACK, f"ridge {FALLBACK:g}, the fallback without tuning signals"

        def problems(signals: Tensor) -> tuple[Problem, Problem, Tensor]:
            observed, clean = (partial(task.data.tuning_batches, signals, task.device, altered) for altered in (True, False))
            truth = Problem(dictionary_of(task), task.sensors, comparing(task.supervision, clean, "value"), clean)
            return self.problem(task, observed), truth, self.centre(task, observed)

        ridge = self.solver.choose(problems(group) for group in torch.arange(tuning).split(self.group(task)))
        return ridge, f"ridge {ridge:g}, chosen on {tuning} tuning signals"
