"""PointNet: the code of a shape from points on its surface, in whatever order they come."""

import math

from jaxtyping import Float
from torch import Tensor

from inr.dictionary.coders import Coder
from inr.errors import InputError
from inr.field import Signals
from inr.networks.linear import Linear


class PointNetCoder(Coder):
    """code = perceptron(maximum over the points of a perceptron that all points share).

    width: features of the first layer; the later ones are multiples.
    features: numbers of each point: its place and its normal.
    Shapes: signals.observations (signals, points, features) -> codes (signals, experts + channels).
    Raises: InputError for a width below 1, and for observations that are not points.
    Source: Qi et al., PointNet (CVPR 2017), section 4.2, without its transformers; normalised by layer instead of by batch.
    """

    reads = "points"
    sees = "points on the surface with their normals, through PointNet"

    def __init__(self, experts: int, channels: int, width: int = 64, features: int = 6) -> None:
        super().__init__()
        from torch_geometric.nn import MLP, global_max_pool  # here, since it takes seconds and only this coder needs it

        if width < 1:
            raise InputError(f"The first layer of PointNet needs a feature or more, got width={width}; the usual one is 64.")
        # The default mode normalises over all points together: a code would depend on the other signals of the batch.
        options = {"norm": "layer_norm", "norm_kwargs": {"mode": "node"}, "plain_last": False}
        self.features = features
        self.each = MLP([features, width, 2 * width, 16 * width], **options)
        self.pool = global_max_pool
        self.all = MLP([16 * width, 8 * width, 4 * width], **options)
        self.last = Linear(4 * width, experts + channels, exact=True)
        self.scale = 1 / math.sqrt(experts)  # codes as large as those of a codebook

    def forward(self, signals: Signals) -> Float[Tensor, "signals codes"]:
        """Compute the codes of the signals."""
        seen = signals.observations
        if seen is None or seen.ndim != 3 or seen.shape[-1] != self.features:
            rule = f"PointNet reads (signals, points, {self.features}), got {'none' if seen is None else tuple(seen.shape)}"
            raise InputError(f"{rule}; choose data of shapes, or another model/coder.")
        return self.scale * self.last(self.all(self.pool(self.each(seen), None)))
