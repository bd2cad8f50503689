"""Per-signal residual weights on top of a frozen dictionary (`fit.refine`)."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor, nn

from inr.errors import InputError
from inr.field import HiddenMatrices
from inr.networks.mlp import MLP
from inr.networks.stacked import SideBySide

KINDS = ("head", "all")


class ResidualWeights(nn.Module, HiddenMatrices):
    """Weights that each signal adds to its head, and with kind `all` to every weight of the trunk; zero at first.

    head: shape of a head (channels, features).
    signals: number of signals, as many as codes.
    Raises: InputError for an unknown kind, or without a codebook that says how many signals there are.
    """

    def __init__(self, kind: str, trunk: MLP, head: Sequence[int], signals: int) -> None:
        super().__init__()
        if kind not in KINDS:
            raise InputError(f"fit.refine must be null or one of {', '.join(KINDS)}, got {kind}.")
        if signals < 1:
            raise InputError("Additions of every signal's own need a codebook, which counts them; choose model.coder=codebook.")
        # Zero, so that refining starts from the solver's reconstruction.
        self.heads = nn.Parameter(torch.zeros(signals, *head))
        self.trunks = SideBySide(trunk)
        named = list(trunk.named_parameters()) if kind == "all" else []
        self.names = [name for name, _ in named]
        self.weights = nn.ParameterList([torch.zeros(signals, *parameter.shape) for _, parameter in named])

    def hidden_matrices(self) -> list[Tensor]:
        """Return stacks, a matrix per signal, of what is added to the hidden matrices of the trunk."""
        hidden = {id(matrix) for matrix in self.trunks.network.groups()["hidden"]}
        named = dict(self.trunks.network.named_parameters())
        return [residual for name, residual in zip(self.names, self.weights, strict=True) if id(named[name]) in hidden]

    def weights_of(self, index: Int[Tensor, " signals"]) -> tuple[Tensor, ...]:
        """Return the trunk's weights (signals, ...) with the residuals of some signals; nothing if all share the trunk's."""
        shared = dict(self.trunks.network.named_parameters())
        return tuple(shared[name] + residual[index] for name, residual in zip(self.names, self.weights, strict=True))

    def trunk(self, points: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Return features (signals, ..., features) of the trunks of these weights (signals, ...), one per signal."""
        return self.trunks.values(points, dict(zip(self.names, weights, strict=True)))

    def pushforward(self, points: Tensor, tangents: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the same features, and their tangents (axes, signals, ..., features)."""
        return self.trunks.pushforward(points, tangents, dict(zip(self.names, weights, strict=True)))
