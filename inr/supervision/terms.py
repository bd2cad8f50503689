"""Terms of the supervision: each compares one quantity of one part of a batch with the data."""

import copy
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from inr.distributed import global_sum, ranks
from inr.errors import InputError

CHANNEL_AXES = {
    "value": 1,
    "jacobian": 2,
    "differences": 2,
}  # axes of a quantity behind (signals, points): channels[, sensor axes]


class Part(Protocol):
    """Data of a part of a batch: targets by quantity, and weights (1|signals, points), one where missing."""

    targets: dict[str, Tensor]
    weights: dict[str, Tensor]


def weighted_mean(error: Tensor, weights: Tensor | None) -> Tensor:
    """Return sum(w e) / sum(w) over signals and points; over all processes together once gradients are averaged.

    Shapes: error and weights (signals, points); no weights means all one, no weight at all gives zero.
    """
    weights = torch.ones_like(error) if weights is None else weights.expand_as(error)
    # The smallest normal number in place of no mass: 0 / tiny = 0, with gradients that are 0 and not nan.
    mass = global_sum(weights.sum()).clamp_min(torch.finfo(error.dtype).tiny)
    # Gradients are averaged over R processes: (1/R) sum over r of (R s_r / mass) = (sum over r of s_r) / mass.
    return (weights * error).sum() * ranks() / mass


def sum_of_means(error: Tensor, weights: Tensor | None) -> Tensor:
    """Return the sum over the signals of the weighted mean of each over its points.

    Shapes: as of `weighted_mean`.
    """
    weights = torch.ones_like(error) if weights is None else weights.expand_as(error)
    mass = global_sum(weights.sum(-1)).clamp_min(torch.finfo(error.dtype).tiny)
    return ((weights * error).sum(-1) * ranks() / mass).sum()


class Term:
    """One named term of the supervision: reads a quantity of a part, compares, reduces, weighs.

    part: the part of the batch, `data` or another one that the data offer.
    quantity: value, jacobian, or the differences between the nodes of a lattice on which a sensor sees the field.
    weight: factor of the term in the loss.
    reduction: mean over channels (and axes), or sum_axes; both average over points.
    axes: columns of the jacobian; None: all.
    target: None for a term that needs no data.
    apart: signals are fitted independently, each as if it were alone: the term is the sum of theirs.
    Shapes: prediction and target (signals, points, channels[, axes]).
    Raises: InputError for an unknown quantity or reduction, a negative weight, or shapes that differ.
    """

    # No dataclass: OmegaConf takes instances of those for configuration when Hydra hands them on.

    apart = False

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
        self.part, self.quantity = part, quantity
        self.weight, self.reduction = weight, reduction
        self.axes = None if axes is None else list(axes)
        self.target = target

    def error(self, difference: Tensor) -> Tensor:
        """Return the error of each entry."""
        # not abstract: a term that compares otherwise than by a difference overrides `compare` and needs none
        raise NotImplementedError(f"{type(self).__name__} must define error(difference).")

    def compare(self, prediction: Tensor, target: Tensor | None) -> Tensor:
        """Return the error of each entry of a prediction; without a target, of the prediction itself."""
        return self.error(prediction if target is None else prediction - target)

    def __call__(self, prediction: Tensor, target: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """Return the weighted term, a scalar."""
        if target is not None and prediction.shape != target.shape:
            rule = f"{self.quantity}: prediction {tuple(prediction.shape)} and target {tuple(target.shape)}"
            raise InputError(f"{rule} must have equal shapes; no broadcasting.")
        if self.axes is not None:
            prediction = prediction[..., self.axes]
            target = None if target is None else target[..., self.axes]
        error, over = self.compare(prediction, target), tuple(range(-CHANNEL_AXES[self.quantity], 0))
        reduce = sum_of_means if self.apart else weighted_mean
        return self.weight * reduce(error.mean(over) if self.reduction == "mean" else error.sum(over), weights)


class Supervision:
    """Named terms; each reads one quantity (value or jacobian) of one part of the batch and carries one weight.

    Raises: InputError without terms, if a part is missing, or if it has no target that a term needs.
    """

    def __init__(self, terms: Mapping[str, Term]) -> None:
        if not terms:
            raise InputError("Supervision needs at least one term, got none.")
        self.terms = dict(terms)

    def quantities(self, part: str) -> frozenset[str]:
        """Return the quantities of a part that have to be predicted."""
        return frozenset(term.quantity for term in self.terms.values() if term.part == part)

    def fixes_constant(self) -> bool:
        """Return True if the terms determine the signal, False if they do so up to a constant per channel."""
        return any(term.quantity == "value" and term.weight > 0 and term.target for term in self.terms.values())

    def axes(self, part: str) -> list[int] | None:
        """Return the axes along which the jacobian of a part is read; None: all."""
        named = [term.axes for term in self.terms.values() if term.part == part and term.quantity == "jacobian"]
        # Every axis costs a tangent through the network, so only those that some term reads are followed.
        return None if None in named else sorted({axis for axes in named for axis in axes or ()})

    def along(self, part: str, axes: Sequence[int]) -> "Supervision":
        """Restrict terms on the jacobian of a part to some axes, unless they name their own; this object stays as it is."""
        terms = {name: copy.copy(term) for name, term in self.terms.items()}
        for term in terms.values():
            if term.part == part and term.quantity == "jacobian" and term.axes is None:
                term.axes = list(axes)
        return Supervision(terms)

    def apart(self) -> "Supervision":
        """Return the same supervision of signals that are fitted independently; this object stays as it is."""
        terms = {name: copy.copy(term) for name, term in self.terms.items()}
        for term in terms.values():
            term.apart = True
        return Supervision(terms)

    def __call__(self, predictions: Mapping[str, dict[str, Tensor]], parts: Mapping[str, Part]) -> dict[str, Tensor]:
        """Return the weighted terms by name, each a scalar; predictions by part and quantity."""
        losses = {}
        for name, term in self.terms.items():
            if term.part not in parts:
                raise InputError(f"Term {name} reads the part {term.part}; this data has {', '.join(parts)}.")
            part, quantity = parts[term.part], term.quantity
            if term.target is not None and quantity not in part.targets:
                has = ", ".join(part.targets) or "none"
                raise InputError(f"Term {name} needs a target {quantity}; part {term.part} has {has}.")
            target = None if term.target is None else part.targets[quantity]
            losses[name] = term(predictions[term.part][quantity], target, part.weights.get(quantity))
        return losses
