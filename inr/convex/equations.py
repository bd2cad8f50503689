"""The equations of a field from batches of observations: every term of the supervision that compares with data gives some."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from inr.convex.problem import Problem
from inr.errors import InputError
from inr.field import Signals
from inr.measurements.measurement import Sensors
from inr.measurements.observation_matrix import blocks
from inr.measurements.sparse import stack
from inr.networks.lattice import LatticeNetwork
from inr.randomness import StepRandomness
from inr.supervision.terms import Part, Supervision, Term


class ObservedPart(Part, Protocol):
    """A part of a batch as a sensor saw it: coordinates (1|signals, points, axes) and what binds its measurement."""

    coordinates: Tensor

    @property
    def context(self) -> Mapping[str, Tensor | StepRandomness]:
        """Poses, views and the like, that the measurement is bound to."""


class Batch(Protocol):
    """Observations of some signals."""

    signals: Signals

    @property
    def parts(self) -> Mapping[str, ObservedPart]:
        """The parts by name."""


class Equations:
    """Rows of the matrix, targets and weights, collected from batches of observations.

    An equation counts as in training: with the weight of its term and of its point, and with its reduction; one of a value
    has the weight 1 unless they say otherwise.
    preferred: quantity whose terms alone give equations, if there are any; None: all terms do.
    Raises: InputError without a term that compares with data, and for signals that do not share their coordinates.
    """

    def __init__(
        self, field: LatticeNetwork, measurements: Sensors, supervision: Supervision, preferred: str | None = None
    ) -> None:
        self.field, self.measurements = field, measurements
        terms = [term for term in supervision.terms.values() if term.target and term.weight > 0]
        self.terms = [term for term in terms if term.quantity == preferred] or terms
        if not terms:
            raise InputError("A field is solved for from terms that compare with data, got none of positive weight.")
        self.targets: list[Tensor] = []
        self.weights: list[Tensor] = []

    def problem(self, batches: Iterable[Batch]) -> Problem:
        """Set up the equations of all observations in some batches."""
        nodes = torch.Size(self.field.lattice).numel()
        matrix = stack(self.rows(batches), nodes)
        targets = torch.cat(self.targets).float()
        columns = max(one.shape[1] for one in self.weights)  # one of all signals, unless some term knows them apart
        weights = torch.cat([one.expand(-1, columns) for one in self.weights]).float()
        return Problem(matrix.on(targets.device), targets, weights, self.field.lattice)

    def rows(self, batches: Iterable[Batch]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield blocks of nodes and weights, and note their targets."""
        for batch in batches:
            for name, part in batch.parts.items():
                if len(part.coordinates) != 1:
                    rule = "A field is solved for from coordinates that all signals share"
                    raise InputError(f"{rule}, got those of {len(part.coordinates)}; choose solver=adam.")
                for term in (term for term in self.terms if term.part == name):
                    axes = range(part.coordinates.shape[-1]) if term.axes is None else term.axes
                    along = None if term.quantity == "value" else list(axes)
                    self.note(term, part, along)
                    sensor = self.measurements[name].within(**part.context).one_by_one().resolving(self.field.spacing)
                    yield from blocks(self.field, sensor, part.coordinates, along)

    def note(self, term: Term, part: Part, along: list[int] | None) -> None:
        """Append targets (rows, signals x channels) and weights (rows, 1|signals x channels) of the equations of a term."""
        target = part.targets[term.quantity]
        signals, points, channels = target.shape[:3]
        target = target[..., None] if along is None else target[..., along]
        axes = target.shape[-1]
        # A mean over channels and axes is one over channels as for values, less what the axes make of it; a sum counts all.
        share = term.weight * (1 / axes if term.reduction == "mean" else channels)
        known = part.weights.get(term.quantity, torch.ones_like(target[:1, :, 0, 0]))
        by_column = known if len(known) == 1 else known.repeat_interleave(channels, 0)
        self.targets.append(target.permute(1, 3, 0, 2).reshape(points * axes, signals * channels))
        self.weights.append(share * by_column.T.repeat_interleave(axes, 0))


def coefficients_of(solution: Float[Tensor, "nodes columns"], channels: int) -> Float[Tensor, "signals nodes channels"]:
    """Sort the columns of a solution by signal."""
    return solution.unflatten(1, (-1, channels)).movedim(1, 0)
