"""Pictures of a dictionary: its strongest atoms, and how much each expert is used."""

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from inr.derivatives import observe_at
from tasks.drawing.panels import rasterise

SHOWN, COLUMNS, SAMPLES = 64, 8, 2**16


@torch.no_grad()
def draw_atoms(network: Any, task: Any) -> np.ndarray:
    """The experts that the shown signals use most, each as a signal of its own, scaled to its largest value."""
    part, axes = task.small_grid()
    coordinates = torch.cartesian_prod(*axes).reshape(1, -1, len(axes)).to(network.experts.device)
    strength = network.coder.codes[:, : len(network.experts)].abs().mean(0)
    strongest = strength.topk(min(SHOWN, len(strength))).indices
    units = torch.eye(network.unknowns, device=strength.device)[strongest]
    atoms = observe_at(task.measurements[part], network.field_of(units), coordinates, {"value"})["value"].mean(-1).float()
    shape = [len(axis) for axis in axes if len(axis) > 1]
    atoms = (atoms / atoms.abs().amax(-1, keepdim=True).clamp_min(1e-12)).cpu().reshape(-1, *shape)
    rows = -(-len(atoms) // COLUMNS)
    figure = Figure(figsize=(COLUMNS, rows), dpi=110, layout="constrained")
    for axis, atom in zip(figure.subplots(rows, COLUMNS, squeeze=False).flat, atoms, strict=False):
        if atom.ndim == 1:
            axis.plot(atom.numpy(), linewidth=0.5)
        else:
            axis.imshow(atom.numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
    for axis in figure.axes:
        axis.set_axis_off()
    return rasterise(figure)


def draw_usage(network: Any) -> np.ndarray:
    """How many of the shown signals use each expert, and with which mean magnitude, experts in order of use."""
    gates = network.coder.codes.detach()[:, : len(network.experts)].cpu()
    used, size = (gates != 0).float().mean(0), gates.abs().mean(0)
    figure = Figure(figsize=(8, 4), dpi=110, layout="constrained")
    for axis, figure_of, name in zip(
        figure.subplots(2, 1), (used, size), ("share of signals with a gate", "mean |gate|"), strict=True
    ):
        axis.bar(np.arange(len(gates.T)), figure_of.sort(descending=True).values.numpy(), width=1.0)
        axis.set_ylabel(name, fontsize=8)
    figure.axes[-1].set_xlabel("experts, the most used first")
    return rasterise(figure)
