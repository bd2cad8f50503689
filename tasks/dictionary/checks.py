"""Checks of what a model, its data and a solver must be for the regimes of a dictionary."""

from collections.abc import Callable, Iterable
from typing import Any

from datamodules.common.batch import Batch
from inr.convex.problem import ConvexSolver
from inr.dictionary.network import NeuralDictionary
from inr.dictionary.solvers import Ridge, Solver
from inr.errors import InputError
from inr.supervision.losses import SquaredError
from inr.supervision.terms import Supervision
from tasks.base import INRTask


def dictionary_of(task: INRTask[Any]) -> NeuralDictionary:
    """Return the task's network, which must be a dictionary. Raises: InputError for a network without codes."""
    if not isinstance(task.network, NeuralDictionary):
        rule = "The regimes dictionary and fit need a model with codes"
        raise InputError(f"{rule}, got {type(task.network).__name__}; choose model=nid_moe, or regime=single.")
    return task.network


def of_codes(solver: ConvexSolver | None) -> Solver:
    """Return a solver of codes, by default ridge. Raises: InputError for one of something else."""
    if solver is None:
        return Ridge()
    if not isinstance(solver, Solver):
        rule = f"solver={type(solver).__name__} finds the coefficients of a spline (model=spline regime=single)"
        raise InputError(f"{rule}; for codes in a dictionary choose ridge, topk, l1 or adam.")
    return solver


def refuse_unfit(task: INRTask[Any], solver: Solver) -> None:
    """Raise InputError for what has no codes, and for a solver or a coder that the observations do not suit."""
    coder = dictionary_of(task).coder
    if not task.data.collects:
        raise InputError("The regimes dictionary and fit need a collection of signals; choose data=images, sounds or scenes.")
    nonlinear = [type(sensor).__name__ for sensor in task.sensors.values() if not sensor.linear]
    if solver.closed_form and nonlinear:
        given = f"solver={type(solver).__name__} and {nonlinear[0]}"
        raise InputError(f"Closed-form codes need observations linear in the field, got {given}; choose solver=adam.")
    if coder.encodes and coder.reads != task.data.encodable:
        rule = f"{type(coder).__name__} reads {coder.reads}, and these signals offer {task.data.encodable} to an encoder"
        raise InputError(f"{rule}; choose model/coder=codebook, for grids conv or resnet, for points pointnet.")


def comparing(supervision: Supervision, batches: Callable[[], Iterable[Batch]], preferred: str | None = None) -> Supervision:
    """Return the terms on what these batches show, those of the preferred quantity if there are any.

    Where the supervision looks at something else, such as slices while a dictionary is learned and rays once it is used, the
    squared error of values.
    """
    (part, *_) = next(iter(batches())).parts
    terms = {name: term for name, term in supervision.terms.items() if term.target and term.part == part}
    chosen = {name: term for name, term in terms.items() if term.quantity == preferred}
    return Supervision(chosen or terms or {f"value of {part}": SquaredError(part)})
