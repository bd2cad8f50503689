"""Regime `single` with a solver: coefficients of a lattice that are solved for, not trained."""

import time
from typing import Any

import lightning as L
import torch
from torch import Tensor

from datamodules.common.draws import Draw
from inr.convex.equations import Equations
from inr.convex.problem import ConvexSolver
from inr.distributed import ranks
from inr.errors import InputError
from inr.metrics.figures import Metric
from inr.networks.lattice import LatticeNetwork
from inr.networks.stacked import Stacked
from tasks.base import INRTask, RegimeCallback
from tasks.evaluation import EvaluatedTask

FIRST = torch.zeros(1, dtype=torch.long)  # the one signal


class Solve(RegimeCallback):
    """Find the coefficients of a lattice, such as a spline's, from all that was observed; no training steps follow.

    solver: the rule that finds them; one that is no closed form: training steps instead, as for other networks.
    default: the rule for a spline where there is no `solver`; other networks are trained by steps then. None: splines, too.
    row: the classical row that the `default` computes anyway; None: there is none.
    quantity: that equations are made of where the supervision compares it, since targets of derivatives are differences of the
        same samples, whose error is no noise; None: equations of all terms.
    Raises: InputError for networks that are not linear in their parameters, sensors that are not linear in the field, and
        several processes.
    """

    def __init__(
        self,
        solver: ConvexSolver | None = None,
        default: ConvexSolver | None = None,
        row: str | None = None,
        quantity: str | None = "value",
    ) -> None:
        super().__init__()
        self.row = row
        self.quantity = quantity
        self.asked = solver
        self.default = default
        self.solver: ConvexSolver | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what is no linear problem."""
        assert isinstance(pl_module, EvaluatedTask)
        pl_module.regime = self.result
        network = pl_module.network.single if isinstance(pl_module.network, Stacked) else pl_module.network
        solver = self.asked or (self.default if isinstance(network, LatticeNetwork) else None)
        self.solver = solver if solver is not None and solver.closed_form else None
        if self.solver is not None:
            refuse_nonlinear(pl_module, self.solver)
            self.result.row = None if self.asked else self.row

    @torch.no_grad()
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Solve, unless the coefficients come from a checkpoint."""
        if self.solver is None or trainer.ckpt_path is not None:
            return
        assert isinstance(pl_module, EvaluatedTask)
        network = pl_module.network
        assert isinstance(network, LatticeNetwork)
        network.coefficients.copy_(self.solve(pl_module, network, self.solver))
        unseen = [name for name, term in pl_module.supervision.terms.items() if term.weight > 0 and not term.target]
        if unseen:
            rule = f"{type(self.solver).__name__} minimises an objective of its own, without {', '.join(unseen)}"
            pl_module.notes = [*pl_module.notes, f"{rule}, which count where steps are taken (solver=adam)"]
        trainer.fit_loop.epoch_loop.max_steps = 0

    def solve(self, task: INRTask[Any], network: LatticeNetwork, solver: ConvexSolver) -> Tensor:
        """Return the coefficients (nodes, channels), and note how they were found."""
        begin = time.perf_counter()
        # all samples of a step that shows everything: not those of a grid that are kept back to be scored
        batches = [task.data.training_batch(Draw(FIRST, None, "train"), task.device)]
        problem = Equations(network, task.sensors, task.supervision, self.quantity).problem(batches)
        set_up = time.perf_counter() - begin
        solution = solver.coefficients(problem)
        if solution.coefficients.is_cuda:
            torch.cuda.synchronize()  # or the clock would stop before the work does
        rows, nodes = problem.matrix.shape
        text = f"wall-clock time to solve {rows} equations of {nodes} unknowns by {type(solver).__name__}"
        seconds = Metric(time.perf_counter() - begin, "s", f"{text}, {set_up:.2g} s of it to set them up")
        self.result.figures |= solution.figures | {"solve_seconds": seconds}
        return solution.coefficients


def refuse_nonlinear(task: INRTask[Any], solver: ConvexSolver) -> None:
    """Raise InputError where the observations are not linear in what is free, or are spread over processes."""
    asked = f"solver={type(solver).__name__}"
    if len(task.data.trained) != 1:
        rule = f"{asked} with regime=single solves for one signal, got {len(task.data.trained)}"
        raise InputError(f"{rule}; choose one by regime.signals=[0], or solver=adam for steps.")
    if not isinstance(task.network, LatticeNetwork):
        rule = f"{asked} solves for a field that is linear in its parameters"
        raise InputError(f"{rule}, got {type(task.network).__name__}; choose model=spline, or leave solver out for steps.")
    nonlinear = [type(sensor).__name__ for sensor in task.sensors.values() if not sensor.linear]
    if nonlinear:
        raise InputError(f"{asked} needs observations linear in the field, got {nonlinear[0]}; leave solver out for steps.")
    if ranks() > 1:
        raise InputError(f"{asked} solves in one process, got {ranks()}; leave trainer.devices out.")
