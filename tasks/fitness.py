"""What a model, its data and a solver must be for the regimes of a dictionary."""

from typing import Any

from inr.dictionary.solvers import Solver
from inr.errors import InputError
from inr.networks.nid_moe import NeuralDictionary
from tasks.base import INRTask


def refuse_unfit(task: INRTask, solver: Solver) -> None:
    """Raise InputError for what has no codes, and for a solver or a coder that the observations do not suit."""
    network: Any = task.network
    if not isinstance(network, NeuralDictionary):
        raise InputError(
            f"The regimes dictionary and fit need a model with codes, got {type(network).__name__}; choose model=nid_moe,"
            " or regime=single."
        )
    if not hasattr(task.data, "train_names"):
        raise InputError("The regimes dictionary and fit need a collection of signals; choose data=images, sounds or scenes.")
    nonlinear = [type(sensor).__name__ for sensor in task.measurements.values() if not sensor.linear]
    if solver.closed_form and nonlinear:
        given = f"solver={type(solver).__name__} and {nonlinear[0]}"
        raise InputError(f"Closed-form codes need observations linear in the field, got {given}; choose solver=adam.")
    if network.coder.encodes and not task.data.encodable:
        raise InputError("An encoder needs signals on a grid, got photographs of scenes; choose model/coder=codebook.")
