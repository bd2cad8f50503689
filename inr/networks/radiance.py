"""Networks of radiance fields: colours that depend on the direction of view, and a coarse network beside a fine one."""

import torch
from jaxtyping import Float
from torch import Tensor

from inr.errors import InputError
from inr.field import Field, Network, Signals
from inr.networks.activations import Activation
from inr.networks.encoding import Encoding
from inr.networks.linear import Chain, Linear
from inr.networks.mlp import MLP
from inr.tangents import pushforward

SPACE = 3  # axes of position, and of direction


class RadianceField(Network):
    """Density from the position, colour from the position's features and the encoded direction of view.

    position -> trunk -> density; (linear(trunk), encoding(direction)) -> linear -> activation -> linear -> colour.
    out_features:    channels of colour, and one of density.
    trunk:           perceptron of positions without a head (`out_features` None).
    activation:      nonlinearity between the two layers of colours.
    hidden_features: width of the layer of colours.
    Shapes: points (..., 6) = position in [-1, 1]^3 and unit direction -> values (..., 4) = raw colour and density.
    Raises: InputError for a trunk with a head, and other than three axes.
    Source: Mildenhall et al., NeRF (ECCV 2020), appendix A: a trunk of 8 x 256 with a skip after 5, `hidden_features` 128.
    """

    directions = True

    def __init__(
        self,
        in_features: int,
        out_features: int,
        trunk: MLP,
        activation: Activation,
        encoding: Encoding,
        hidden_features: int = 128,
    ) -> None:
        super().__init__()
        if in_features != SPACE:
            raise InputError(f"model=radiance is for scenes (task=nerf), with {SPACE} axes, got {in_features}; choose another.")
        last = trunk.layers[-1]
        if not isinstance(last, Activation) or activation.complex_valued:
            rule = "The trunk of a radiance field must end in its activation (out_features: null), and the colours' activation"
            raise InputError(f"{rule} be real, got {type(last).__name__} and {type(activation).__name__}.")
        width = trunk.hidden_features * (2 if last.complex_valued else 1)
        self.trunk, self.encoding = trunk, encoding
        self.density = Linear(width, 1, exact=True)  # its errors add up along a ray
        self.features = Linear(width, trunk.hidden_features)
        first = activation.layer(trunk.hidden_features + encoding.out_features, hidden_features, "hidden")
        self.colour = Chain(first, activation, activation.layer(hidden_features, out_features - 1, "last"))

    def forward(self, points: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch channels"]:
        """Return raw colour and density at the points."""
        position, direction = points.split(SPACE, -1)
        features = self.trunk(position)
        joined = torch.cat([self.features(features), self.encoding(direction)], -1)
        return torch.cat([self.colour(joined), self.density(features)], -1)

    def pushforward(self, points: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """Return raw colour and density, and their derivatives along the tangents (axes, ..., 6)."""
        # Forward always: of a pixel's two axes tangents are fewer than the four channels that would return.
        position, direction = points.split(SPACE, -1)
        dposition, ddirection = tangents.split(SPACE, -1)
        features, dfeatures = self.trunk.pushforward(position, dposition)
        mixed, dmixed = self.features.pushforward(features, dfeatures)
        encoded, dencoded = pushforward(self.encoding, direction, ddirection)
        joined, djoined = torch.cat([mixed, encoded], -1), torch.cat([dmixed, dencoded], -1)
        colour, dcolour = self.colour.pushforward(joined, djoined)
        density, ddensity = self.density.pushforward(features, dfeatures)
        return torch.cat([colour, density], -1), torch.cat([dcolour, ddensity], -1)


class Cascade(Network):
    """Two networks of one scene: the field is that of `fine`, and `coarse` proposes where it is worth sampling.

    Source: Mildenhall et al., NeRF (ECCV 2020), section 5.2.
    """

    def __init__(self, coarse: Network, fine: Network) -> None:
        super().__init__()
        self.coarse, self.fine = coarse, fine
        self.directions = fine.directions

    def field(self, signals: Signals) -> Field:
        """Return the fine field, with the coarse one beside it."""
        fine = self.fine.field(signals)
        return Field(fine.function, fine.penalties, self.coarse.field(signals))
