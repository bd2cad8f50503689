"""Distances between a prediction and its target, with their reduction spelled out."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from inr.distributed import global_sum, ranks
from inr.errors import InputError

CHANNEL_AXES = {"value": 1, "jacobian": 2}
SMOOTH = 1e-4  # gradients below it count by their square, which has a derivative at zero


def weighted_mean(error: Tensor, weights: Tensor | None) -> Tensor:
    """sum(w e) / sum(w) over signals and points; over all processes together once gradients are averaged.

    Shapes: error and weights (signals, points); no weights means all one, no weight at all gives zero.
    """
    weights = torch.ones_like(error) if weights is None else weights.expand_as(error)
    mass = global_sum(weights.sum()).clamp_min(torch.finfo(error.dtype).tiny)
    return (weights * error).sum() * ranks() / mass


class Term:
    """One named term of the supervision: reads a quantity of a part, compares, reduces, weighs.

    `reduction="mean"` averages over channels (and axes), `"sum_axes"` sums over them; both average over points.
    `axes` selects columns of the jacobian. `target=None` is for a term that needs no data.

    Shapes: prediction and target (signals, points, channels[, axes]).
    Raises: InputError for an unknown quantity or reduction, a negative weight, or shapes that differ.
    """

    def __init__(
        self,
        part: str = "data",
        quantity: str = "value",
        weight: float = 1.0,
        reduction: str = "mean",
        axes: Sequence[int] | None = None,
        target: str | None = "data",
    ) -> None:
        if quantity not in CHANNEL_AXES:
            raise InputError(f"A term reads one of {', '.join(CHANNEL_AXES)}, got quantity={quantity}.")
        if reduction not in ("mean", "sum_axes"):
            raise InputError(f"reduction must be mean or sum_axes, got reduction={reduction}.")
        if not 0 <= weight < float("inf"):
            raise InputError(f"The weight of a term must be finite and not negative, got weight={weight}.")
        if axes is not None and quantity != "jacobian":
            raise InputError(f"axes selects columns of the jacobian; a {quantity} has none, got axes={list(axes)}.")
        self.part, self.quantity, self.weight, self.reduction, self.target = part, quantity, weight, reduction, target
        self.axes = None if axes is None else list(axes)

    def error(self, difference: Tensor) -> Tensor:
        """The error of each entry."""
        raise NotImplementedError(f"{type(self).__name__} must define error(difference).")

    def compare(self, prediction: Tensor, target: Tensor | None) -> Tensor:
        """The error of each entry of a prediction; without a target, of the prediction itself."""
        return self.error(prediction if target is None else prediction - target)

    def __call__(self, prediction: Tensor, target: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """The weighted term, a scalar."""
        if target is not None and prediction.shape != target.shape:
            raise InputError(
                f"{self.quantity}: prediction {tuple(prediction.shape)} and target {tuple(target.shape)} must have equal"
                " shapes; no broadcasting."
            )
        if self.axes is not None:
            prediction, target = prediction[..., self.axes], None if target is None else target[..., self.axes]
        over = tuple(range(-CHANNEL_AXES[self.quantity], 0))
        error = self.compare(prediction, target)
        error = error.mean(over) if self.reduction == "mean" else error.sum(over)
        return self.weight * weighted_mean(error, weights)


class SquaredError(Term):
    """(prediction - target)^2."""

    def error(self, difference: Tensor) -> Tensor:
        """The squared difference."""
        return difference.square()


class AbsoluteError(Term):
    """|prediction - target|."""

    def error(self, difference: Tensor) -> Tensor:
        """The absolute difference."""
        return difference.abs()


class TotalVariation(Term):
    """The length of each channel's gradient: the mean of the total variation of the field over the points.

    Source: Rudin, Osher & Fatemi, Nonlinear total variation based noise removal algorithms (1992).
    """

    def __init__(self, part: str = "data", weight: float = 1.0, axes: Sequence[int] | None = None) -> None:
        super().__init__(part, "jacobian", weight, "mean", axes, target=None)

    def error(self, difference: Tensor) -> Tensor:
        """The length over the axes, for each of them, since they are averaged; smooth below `SMOOTH`."""
        return (difference.square().sum(-1, keepdim=True) + SMOOTH**2).sqrt().expand_as(difference)


class Negativity(Term):
    """The square of what lies below zero."""

    def __init__(self, part: str = "data", weight: float = 1.0) -> None:
        super().__init__(part, "value", weight, target=None)

    def error(self, difference: Tensor) -> Tensor:
        """The squared negative part."""
        return difference.clamp(max=0).square()


class Misalignment(Term):
    """1 - cosine of the angle between each channel's gradient and its target, such as the normal of a surface.

    The options are those of `Term`.
    Raises: InputError for another quantity than the jacobian, or without a target.
    Source: Sitzmann et al., Implicit Neural Representations with Periodic Activation Functions (2020), equation 6.
    """

    def __init__(self, part: str = "data", quantity: str = "jacobian", weight: float = 1.0, **term: Any) -> None:
        super().__init__(part, quantity, weight, **term)
        if quantity != "jacobian" or self.target is None:
            raise InputError(f"Angles are between a jacobian and its target, got quantity={quantity}, target={self.target}.")

    def compare(self, prediction: Tensor, target: Tensor | None) -> Tensor:
        """One minus the cosine over the axes."""
        assert target is not None
        return 1 - torch.cosine_similarity(prediction, target, -1)[..., None]


class Eikonal(Term):
    """| |gradient| - 1 |^power: a distance grows by one per unit length.

    Raises: InputError unless power is at least 1.
    Source: Gropp et al., Implicit Geometric Regularization for Learning Shapes (ICML 2020), equation 2, with power 2;
            Sitzmann et al. (2020), equation 6, with power 1.
    """

    def __init__(self, part: str = "data", weight: float = 1.0, power: float = 2.0) -> None:
        super().__init__(part, "jacobian", weight, target=None)
        if not 1 <= power < float("inf"):
            raise InputError(f"The power of an eikonal term must be at least 1, got power={power}.")
        self.power = power

    def error(self, difference: Tensor) -> Tensor:
        """The error of the length over the axes; smooth at length zero."""
        length = (difference.square().sum(-1, keepdim=True) + SMOOTH**2).sqrt()
        return (length - 1).abs() ** self.power


class OffSurface(Term):
    """exp(-sharpness |value|): away from the points that are known to be on a surface, distances are not zero.

    Units:  sharpness per fitted number (normalised length).
    Raises: InputError unless sharpness is positive.
    Source: Sitzmann et al., Implicit Neural Representations with Periodic Activation Functions (2020), equation 6.
    """

    def __init__(self, part: str = "space", weight: float = 1.0, sharpness: float = 100.0) -> None:
        super().__init__(part, "value", weight, target=None)
        if not 0 < sharpness < float("inf"):
            raise InputError(f"The sharpness of an off-surface term must be positive, got sharpness={sharpness}.")
        self.sharpness = sharpness

    def error(self, difference: Tensor) -> Tensor:
        """How near each value is to zero."""
        return (-self.sharpness * difference.abs()).exp()
