"""Distances between a prediction and its target, and penalties on the prediction alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from inr.distributed import ranks
from inr.errors import InputError
from inr.supervision.terms import Term

SMOOTH = 1e-4  # gradients below it count by their square, which has a derivative at zero


def smooth_length(gradient: Tensor) -> Tensor:
    """Return sqrt(|gradient|^2 + SMOOTH^2) over the last axis, which stays with size 1."""
    # d|g|/dg = g / |g| is nan at zero; of the smooth length it is g / sqrt(|g|^2 + SMOOTH^2), which is 0 there.
    return (gradient.square().sum(-1, keepdim=True) + SMOOTH**2).sqrt()


class SquaredError(Term):
    """(prediction - target)^2."""

    squared = True

    def error(self, difference: Tensor) -> Tensor:
        """Return the squared difference."""
        return difference.square()


class AbsoluteError(Term):
    """|prediction - target|."""

    def error(self, difference: Tensor) -> Tensor:
        """Return the absolute difference."""
        return difference.abs()


class TotalVariation(Term):
    """Length of each channel's gradient: the mean of the total variation of the field over the points.

    quantity: jacobian, or the differences between the nodes of a lattice where the sensor has one.
    Source: Rudin, Osher & Fatemi, Nonlinear total variation based noise removal algorithms (1992).
    """

    # kornia's and torchmetrics' total variation sum differences of neighbouring pixels; here points lie anywhere.

    def __init__(
        self, part: str = "data", weight: float = 1.0, axes: Sequence[int] | None = None, quantity: str = "jacobian"
    ) -> None:
        super().__init__(part, quantity, weight, "mean", axes, target=None)

    def error(self, difference: Tensor) -> Tensor:
        """Return the length over the axes, smooth below `SMOOTH`."""
        return smooth_length(difference).expand_as(difference)  # for each axis, since the reduction averages over them


class RampWeightedError(Term):
    """(prediction - target)^2 of whole views, each frequency along the detector weighted by its share of the highest, + plain.

    A slice shows in its projections as 1 / frequency, so that errors of coarse and fine detail count alike here.
    views: of the scan, all bins of which are in a batch, those of one bin after the other.
    plain: share of the unweighted square, without which nothing fixes the mean.
    Raises: InputError without whole views, for a negative share, and several processes, which cut views up.
    """

    def __init__(self, views: int | None, part: str = "data", weight: float = 1.0, plain: float = 0.1) -> None:
        super().__init__(part, "value", weight)
        if views is None:
            rule = "The ramp along the detector (supervision=ramp) needs whole views in every step"
            raise InputError(f"{rule}, got none; use it with task=ct data.points=null, or choose supervision=val.")
        if not 0 <= plain < float("inf"):
            raise InputError(f"plain must be finite and not negative, got plain={plain}.")
        self.views, self.plain = views, plain

    def error(self, difference: Tensor) -> Tensor:
        """Return each residual times what the weights of the frequencies make of its view."""
        views = difference.to(torch.promote_types(difference.dtype, torch.float32)).unflatten(1, (-1, self.views))
        bins = views.shape[1]
        # By Parseval the sum of r (h * r) is that of |frequency| |R|^2, so never negative. Twice as many bins, or the filter
        # would reach round the end of the detector to its beginning.
        ramp = torch.linspace(0, 1, bins + 1, device=views.device)[:, None, None]
        filtered = torch.fft.irfft(ramp * torch.fft.rfft(views, 2 * bins, dim=1), 2 * bins, dim=1)[:, :bins]
        return (views * (filtered + self.plain * views)).flatten(1, 2)

    def __call__(self, prediction: Tensor, target: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """Return the weighted term; weights go into the residual by their root, before it is filtered."""
        if ranks() > 1:
            raise InputError(f"The ramp along the detector needs whole views, got {ranks()} processes; use one.")
        if weights is None or target is None:
            return super().__call__(prediction, target)
        mass = (weights.mean(-1, keepdim=True) if self.apart else weights.mean()).clamp_min(torch.finfo(weights.dtype).tiny)
        root = (weights / mass if self.apart else weights).sqrt()[..., None]
        weighted = super().__call__(root * prediction, root * target)
        return weighted if self.apart else weighted / mass


class Negativity(Term):
    """Square of values below zero."""

    def __init__(self, part: str = "data", weight: float = 1.0) -> None:
        super().__init__(part, "value", weight, target=None)

    def error(self, difference: Tensor) -> Tensor:
        """Return the squared negative part."""
        return difference.clamp(max=0).square()


class Misalignment(Term):
    """1 - cosine of the angle between each channel's gradient and its target, such as the normal of a surface.

    The options are those of `Term`.
    Raises: InputError for another quantity than the jacobian, or without a target.
    Source: Sitzmann et al., Implicit Neural Representations with Periodic Activation Functions (2020), equation 6.
    """

    def __init__(
        self,
        part: str = "data",
        quantity: str = "jacobian",
        weight: float = 1.0,
        reduction: str = "mean",
        axes: Sequence[int] | None = None,
        target: str | None = "data",
    ) -> None:
        super().__init__(part, quantity, weight, reduction, axes, target)
        if quantity != "jacobian" or target is None:
            raise InputError(f"Angles are between a jacobian and its target, got quantity={quantity}, target={target}.")

    def compare(self, prediction: Tensor, target: Tensor | None) -> Tensor:
        """Return one minus the cosine over the axes."""
        assert target is not None
        return 1 - torch.cosine_similarity(prediction, target, -1)[..., None]  # an axis of one, for the reduction


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
        """Return the error of the length over the axes; smooth at length zero."""
        return (smooth_length(difference) - 1).abs() ** self.power  # one entry per channel: the sum over axes is the mean


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
        """Return the nearness of each value to zero, 1 at zero."""
        return (-self.sharpness * difference.abs()).exp()
