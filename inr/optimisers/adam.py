"""Adam, with a rate of its own for tables."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from inr.errors import InputError
from inr.optimisers.parameters import Parameters

FUSED = ("cpu", "cuda")  # devices on which one pass over all parameters is implemented


class Adam(torch.optim.Adam):
    """torch's Adam, all parameters in one pass (`fused`), in a group per kind; tables may have a rate of their own.

    lr: rate of all parameters, but
    tables_lr: that of tables of explicit fields; None: lr.
    Source: Kingma & Ba, Adam (2015).
    """

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 2.5e-4,
        tables_lr: float | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        self.start(parameters, {"tables": {"lr": lr if tables_lr is None else tables_lr}}, lr, betas, eps)

    def start(
        self,
        parameters: Parameters,
        options: Mapping[str, Mapping[str, float]],
        lr: float,
        betas: tuple[float, float],
        eps: float,
    ) -> None:
        """Make a group of each kind, with the options that are the kind's own."""
        groups: dict[str, list[nn.Parameter]] = {}
        for parameter, kind in zip(parameters, parameters.kinds, strict=True):
            groups.setdefault(kind, []).append(parameter)
        given = [{"params": group, "kind": kind, **options.get(kind, {})} for kind, group in groups.items()]
        # On a CPU 3 times as fast as a loop over a network's layers, and 4 times over a large table.
        fused = all(parameter.device.type in FUSED and parameter.is_floating_point() for parameter in parameters)
        super().__init__(given, lr=lr, betas=betas, eps=eps, fused=fused or None)
        for group in self.param_groups:
            if not group["lr"] >= 0:
                raise InputError(f"Learning rates must not be negative, got {group['lr']}.")
        # A fused step could undo the scaling of gradients of 16-mixed itself; then nobody else could clip or change them.
        self._step_supports_amp_scaling = False

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state, of whatever device: a fused step wants its count where the parameters are."""
        here = [group["fused"] for group in self.param_groups]
        saved = [{**group, "fused": fused} for group, fused in zip(state_dict["param_groups"], here, strict=False)]
        super().load_state_dict(state_dict | {"param_groups": saved})
