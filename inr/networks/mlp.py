"""The multilayer perceptron that stands behind every single-signal model."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr.errors import InputError
from inr.field import Network
from inr.networks.activations import Activation
from inr.networks.encoding import Encoding
from inr.networks.linear import Chain, SkipConnection
from inr.tangents import contract


class MLP(Network):
    """encoding -> hidden_layers x (linear, activation) -> linear: a field for one signal.

    in_features:     axes of the points.
    out_features:    channels; None leaves the last layer out, for a trunk whose features others combine.
    activation:      nonlinearity; it also makes and initialises the layers that feed it.
    encoding:        features of the points that the first layer sees; None: the points themselves.
    input_scale:     stretches the points before anything else sees them.
    skip:            number of hidden layers after which the encoded points enter once more; None: never.
    Shapes: points (..., in_features) in [-1, 1] -> values (..., out_features).
    Raises: InputError for a width or depth below 1, and a skip that is not between two hidden layers.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int | None,
        activation: Activation,
        encoding: Encoding | None = None,
        hidden_features: int = 256,
        hidden_layers: int = 4,
        input_scale: float = 1.0,
        skip: int | None = None,
    ) -> None:
        super().__init__()
        if hidden_features < 1 or hidden_layers < 1:
            raise InputError(f"A network needs hidden_features and hidden_layers >= 1, got {hidden_features}, {hidden_layers}.")
        if skip is not None and not 1 <= skip < hidden_layers:
            raise InputError(f"skip must be in 1 .. hidden_layers - 1 = {hidden_layers - 1}, or null, got skip={skip}.")
        if skip is not None and activation.complex_valued:
            raise InputError(f"The points cannot enter again among complex features, got skip={skip}; use skip=null.")
        self.input_scale, self.hidden_features = input_scale, hidden_features
        self.out_features = out_features
        features = encoded = in_features if encoding is None else encoding.out_features
        modules: list[nn.Module] = []
        for index in range(hidden_layers):
            if index == skip:
                modules = [SkipConnection(Chain(*modules))]
                features = hidden_features + encoded
            position = "hidden" if index else "first"
            modules += [activation.layer(features, hidden_features, position), activation]
            features = hidden_features
        before = [] if encoding is None else [encoding]  # in front of the skip, so that it hands encoded points on
        head = [] if out_features is None else [activation.layer(features, out_features, "last")]
        self.layers = Chain(*before, *modules, *head)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Sort the parameters: the layers that read tables learn as fast as they do, and count as such."""
        groups = super().groups()
        return {"hidden": [], "tables": list(self.parameters()), "rest": []} if groups["tables"] else groups

    def forward(self, points: Float[Tensor, "*batch dims"]) -> Float[Tensor, "*batch channels"]:
        """Evaluate the network at the points."""
        return self.layers(self.input_scale * points)

    def pushforward(self, points: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the network at the points, and its derivatives along the tangents (axes, ..., in_features)."""
        if self.out_features is None or self.out_features >= len(tangents):
            return self.layers.pushforward(self.input_scale * points, self.input_scale * tangents)
        # A pass through the layers per tangent, or one per channel: of fewer channels the gradients return, and each tangent
        # is contracted with them at no cost. A distance in space takes two passes in all, not four.
        values, pull = self.pullback(points)
        channels = torch.eye(self.out_features, dtype=values.dtype, device=values.device)
        return values, contract(pull(channels.reshape(-1, *[1] * (values.ndim - 1), self.out_features)), tangents)

    def pullback(self, points: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Evaluate the network at the points, and pull cotangents (outputs, ..., out_features) back to the points."""
        values, pull = self.layers.pullback(self.input_scale * points)
        return values, lambda cotangents: self.input_scale * pull(cotangents)
