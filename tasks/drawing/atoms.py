"""Pictures of a dictionary: its strongest atoms, and the use of its experts."""

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from inr.derivatives import observe_at
from inr.dictionary.network import NeuralDictionary
from tasks.drawing.panels import pixels
from tasks.evaluation import EvaluatedTask

ATOMS = 64  # drawn at most
COLUMNS = 8  # of their picture


@torch.no_grad()
def draw_atoms(network: NeuralDictionary, task: EvaluatedTask[Any]) -> np.ndarray:
    """Draw the experts that the signals use most, each as a signal by itself, scaled to its largest value."""
    part, axes = task.small_grid()
    coordinates = torch.cartesian_prod(*axes).reshape(1, -1, len(axes)).to(network.experts.device)
    strength = network.coder.codes[:, : len(network.experts)].abs().mean(0)
    strongest = strength.topk(min(ATOMS, len(strength))).indices
    units = torch.eye(network.unknowns, device=strength.device)[strongest]  # a unit code has one gate, and no bias
    atoms = observe_at(task.sensors[part], network.field_of(units), coordinates, {"value"})["value"].mean(-1).float()
    shape = [len(axis) for axis in axes if len(axis) > 1]
    atoms = (atoms / atoms.abs().amax(-1, keepdim=True).clamp_min(1e-12)).cpu().reshape(-1, *shape)
    rows = -(-len(atoms) // COLUMNS)  # rounded up
    figure = Figure(figsize=(COLUMNS, rows), dpi=110, layout="constrained")
    for axis, atom in zip(figure.subplots(rows, COLUMNS, squeeze=False).flat, atoms, strict=False):
        if atom.ndim == 1:
            axis.plot(atom.numpy(), linewidth=0.5)
        else:
            axis.imshow(atom.numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
    for axis in figure.axes:
        axis.set_axis_off()
    return pixels(figure)


def draw_usage(network: NeuralDictionary) -> np.ndarray:
    """Draw the share of signals that use each expert and the mean magnitude of its gate, both in descending order."""
    gates = network.coder.codes.detach()[:, : len(network.experts)].cpu()
    bars = {"share of signals with a gate": (gates != 0).float().mean(0), "mean |gate|": gates.abs().mean(0)}
    figure = Figure(figsize=(8, 4), dpi=110, layout="constrained")
    for axis, (name, heights) in zip(figure.subplots(2, 1), bars.items(), strict=True):
        axis.bar(np.arange(len(heights)), heights.sort(descending=True).values.numpy(), width=1.0)
        axis.set_ylabel(name, fontsize=8)
    figure.axes[-1].set_xlabel("experts, the most used first")
    return pixels(figure)
