"""Terms of the supervision: each compares one quantity of one part of a batch with the data."""

import copy
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Protocol, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from inr.derivatives import slope_along
from inr.distributed import global_sum, ranks
from inr.errors import InputError
from inr.randomness import StepRandomness

CHANNEL_AXES = {
    "value": 1,
    "jacobian": 2,
    "differences": 2,
}  # axes of a quantity behind (signals, points): channels[, sensor axes]
Directions = Literal["all", "random"]


class Part(Protocol):
    """Data of a part of a batch: targets by quantity, and weights (1|signals, points), one where missing.

    direction (1|signals, points, axes) is the one at each coordinate along which random directions are compared.
    """

    targets: dict[str, Tensor]
    weights: dict[str, Tensor]
    direction: Tensor | None


def weighted_mean(error: Tensor, weights: Tensor | None) -> Tensor:
    """Return sum(w e) / sum(w) over signals and points; over all processes together once gradients are averaged.

    Shapes: error and weights (signals, points); no weights means all one, no weight at all gives zero.
    """
    if weights is None and ranks() == 1 and error.numel():
        return error.mean()  # the same in one pass: of a small step every operation on a few numbers takes a hundredth
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


def columns(jacobian: Tensor, axes: Sequence[int]) -> Tensor:
    """Return some columns (..., axes) of a jacobian."""
    return torch.stack([jacobian[..., axis] for axis in axes], -1)  # a list as an index would be copied to the device


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

    squared: ClassVar[bool] = False  # the error of an entry is its square, so that random directions estimate the sum over axes

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
        self.refuse_other_shape(prediction, target)
        if self.axes is not None:
            prediction = columns(prediction, self.axes)
            target = None if target is None else columns(target, self.axes)
        return self.reduced(self.compare(prediction, target), weights)

    def estimate(self, slope: Tensor, target: Tensor | None, weights: Tensor | None, axes: int) -> Tensor:
        """Return the term of a jacobian of so many axes, estimated from one random unit direction at each point.

        Shapes: slope and target (signals, points, channels, 1).
        """
        # A row d of the jacobian's difference has (d . v)^2 = d^T (v v^T) d. Over all unit vectors v of R^k, E[v v^T] is the
        # same after every rotation, so a multiple of the identity, and has the trace E|v|^2 = 1: it is 1/k. Hence
        # E[(d . v)^2] = |d|^2 / k, the mean over axes; k times that is the sum. A mean over points keeps that, weighted or not.
        self.refuse_other_shape(slope, target)
        error = self.compare(slope, target)
        return self.reduced(error if self.reduction == "mean" else axes * error, weights)

    def refuse_other_shape(self, prediction: Tensor, target: Tensor | None) -> None:
        """Raise InputError for a target of another shape than the prediction."""
        if target is not None and prediction.shape != target.shape:
            rule = f"{self.quantity}: prediction {tuple(prediction.shape)} and target {tuple(target.shape)}"
            raise InputError(f"{rule} must have equal shapes; no broadcasting.")

    def reduced(self, error: Tensor, weights: Tensor | None) -> Tensor:
        """Return the weighted term from the error of each entry (signals, points, channels[, axes])."""
        reduce = sum_of_means if self.apart else weighted_mean
        over = tuple(range(-CHANNEL_AXES[self.quantity], 0))
        return self.weight * reduce(error.mean(over) if self.reduction == "mean" else error.sum(over), weights)


class Supervision:
    """Named terms; each reads one quantity (value or jacobian) of one part of the batch and carries one weight.

    directions: "random" replaces the sum over the axes of a jacobian by an unbiased estimate from one random direction at each
                point, anew in every step, where the error is squared; other errors, such as that of the gradient's length, are
                no sum over axes and stay whole. A part of which nothing else reads the jacobian takes one tangent. Solvers
                compare all axes.
    Raises: InputError without terms, if a part is missing, or if it has no target that a term needs; for random directions
            without a squared error of a jacobian, or with several on one part that differ in their axes.
    """

    def __init__(self, terms: Mapping[str, Term], directions: Directions = "all") -> None:
        if not terms:
            raise InputError("Supervision needs at least one term, got none.")
        if directions not in get_args(Directions):
            raise InputError(f"directions must be {' or '.join(get_args(Directions))}, got directions={directions}.")
        self.terms = dict(terms)
        self.directions: Directions = directions
        self.refuse_random()

    def refuse_random(self) -> None:
        """Raise InputError for random directions that no term can be estimated from, or that terms would have to share."""
        random = [term for term in self.terms.values() if self.estimates(term)]
        if self.directions == "random" and not random:
            rule = "directions=random needs a squared error of a jacobian, whose mean over directions is that over axes"
            found = ", ".join(f"{type(term).__name__} of a {term.quantity}" for term in self.terms.values())
            raise InputError(f"{rule}, got {found}; use SquaredError, or directions=all.")
        for part in {term.part for term in random}:
            axes = [term.axes for term in random if term.part == part]
            if any(one != axes[0] for one in axes):
                rule = f"Terms of the part {part} share their random directions and need the same axes"
                raise InputError(f"{rule}, got {' and '.join(map(str, axes))}; use directions=all.")

    def estimates(self, term: Term) -> bool:
        """Return True for a term that is estimated from random directions."""
        return self.directions == "random" and term.quantity == "jacobian" and term.squared

    def quantities(self, part: str) -> frozenset[str]:
        """Return the quantities of a part that have to be predicted."""
        return frozenset(term.quantity for term in self.terms.values() if term.part == part)

    def predicted(self, part: str) -> frozenset[str]:
        """Return the quantities of a part that a training step predicts: `slope` in place of a jacobian that is estimated."""
        terms = [term for term in self.terms.values() if term.part == part]
        return frozenset("slope" if self.estimates(term) else term.quantity for term in terms)

    def direction(
        self, part: str, coordinates: Float[Tensor, "shared points axes"], randomness: StepRandomness
    ) -> Float[Tensor, "1 points axes"] | None:
        """Draw the unit direction of a step at each coordinate of a part, within the axes of its terms; None: it needs none."""
        random = [term for term in self.terms.values() if term.part == part and self.estimates(term)]
        if not random:
            return None
        axes = range(coordinates.shape[-1]) if random[0].axes is None else random[0].axes
        unit = randomness.directions(f"direction of {part}", len(axes), coordinates.device)
        direction = coordinates.new_zeros(len(unit), coordinates.shape[-1])
        for column, axis in enumerate(axes):
            direction[:, axis] += unit[:, column].to(direction)
        return direction[None]

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
        return Supervision(terms, self.directions)

    def apart(self) -> "Supervision":
        """Return the same supervision of signals that are fitted independently; this object stays as it is."""
        terms = {name: copy.copy(term) for name, term in self.terms.items()}
        for term in terms.values():
            term.apart = True
        return Supervision(terms, self.directions)

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
            predicted, weights = predictions[term.part], part.weights.get(quantity)
            if self.estimates(term):
                assert part.direction is not None
                slope = None if target is None else slope_along(target, part.direction)
                axes = part.direction.shape[-1] if term.axes is None else len(term.axes)
                losses[name] = term.estimate(predicted["slope"], slope, weights, axes)
            else:
                losses[name] = term(predicted[quantity], target, weights)
        return losses
