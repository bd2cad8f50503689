"""What a signal adds to the dictionary, which itself stays as it is."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from inr.errors import InputError
from inr.networks.mlp import MLP

KINDS = ("head", "all")


class Along(nn.Module):
    """The pushforward of a trunk as a module, so that it can be called with other weights."""

    def __init__(self, trunk: MLP) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, points: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """Features and their tangents."""
        return self.trunk.pushforward(points, tangents)


class Own(nn.Module):
    """Additions of every signal to its head, and with kind `all` to every weight of the trunk; zero at first.

    Raises: InputError for an unknown kind, or without a codebook that says how many signals there are.
    """

    def __init__(self, kind: str, trunk: MLP, head: Sequence[int], signals: int) -> None:
        super().__init__()
        if kind not in KINDS:
            raise InputError(f"fit.refine must be null or one of {', '.join(KINDS)}, got {kind}.")
        if signals < 1:
            raise InputError("Additions of every signal's own need a codebook, which counts them; choose model.coder=codebook.")
        self.heads = nn.Parameter(torch.zeros(signals, *head))
        self.along = [Along(trunk)]  # in a list: its parameters belong to the dictionary
        named = list(trunk.named_parameters()) if kind == "all" else []
        self.names = [name for name, _ in named]
        self.weights = nn.ParameterList([torch.zeros(signals, *parameter.shape) for _, parameter in named])

    def weights_of(self, index: Tensor) -> tuple[Tensor, ...]:
        """The trunk's weights of each signal, parameter by parameter; nothing if all share the trunk's own."""
        parameters = dict(self.along[0].trunk.named_parameters())
        return tuple(parameters[name] + own[index] for name, own in zip(self.names, self.weights, strict=True))

    def trunk(self, points: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Features (signals, ..., features) of every signal's own trunk."""

        def features(own: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self.along[0].trunk, own, (x,))

        points = points.expand(len(weights[0]), *points.shape[1:])
        return vmap(features)(dict(zip(self.names, weights, strict=True)), points)

    def pushforward(self, points: Tensor, tangents: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Features, and their tangents (axes, signals, ..., features), of every signal's own trunk."""

        def features(own: dict[str, Tensor], x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
            return functional_call(self.along[0], own, (x, dx))

        signals = len(weights[0])
        named = {f"trunk.{name}": own for name, own in zip(self.names, weights, strict=True)}
        points = points.expand(signals, *points.shape[1:])
        tangents = tangents.expand(len(tangents), signals, *tangents.shape[2:])
        return vmap(features, (0, 0, 1), (0, 1))(named, points, tangents)
