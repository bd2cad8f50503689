"""The code of a new signal is a linear problem: with the trunk frozen, what a sensor observes is linear in the code.

An expert is the field of a unit code, so observing all unit codes gives the design matrix, for values, jacobians and any
measurement that is linear in the field. All of them are linear in the features of the trunk, so these alone are observed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from inr.derivatives import observe_at
from inr.dictionary.network import NeuralDictionary
from inr.distributed import global_sum
from inr.errors import InputError
from inr.supervision.losses import CHANNEL_AXES, Term
from inr.supervision.terms import Supervision

FLOOR = 1e-12  # of the mean of a gram's diagonal, so that it can always be factorised
LIGHTEST = 1e-30  # a sum of weights that divides; without any weight the sums above it are zero
KEPT = 2**29  # bytes of rows that are kept for solvers that read them more than once


class Rows(NamedTuple):
    """Some equations of one term of the supervision: targets = design @ code, each of the given weight.

    `importance` is the weight of the term's mean square over all its equations.

    Shapes: design (rows, unknowns), the same for all signals; targets (signals, rows); weights (signals, rows) or None.
    """

    term: str
    design: Tensor
    targets: Tensor
    weights: Tensor | None
    importance: float


@dataclass
class Problem:
    """All equations of some signals, read as often as a solver wants.

    Observations of a term enter with its weight and reduction, and with the weights of the points, as in training.
    Raises: InputError for signals that do not share their coordinates, and without a term that compares with data.
    """

    network: NeuralDictionary
    measurements: Mapping[str, Any]
    supervision: Supervision
    batches: Callable[[], Iterable[Any]]
    kept: list[Rows] | None = None

    def rows(self) -> Iterator[Rows]:
        """One pass over the equations; computed anew unless they were few enough to keep."""
        if self.kept is not None:
            yield from self.kept
            return
        kept: list[Rows] | None = []
        size = 0
        for rows in self.observe():
            size += sum(tensor.nbytes for tensor in rows[1:4] if tensor is not None)
            kept = [*kept, rows] if kept is not None and size <= KEPT else None
            yield rows
        self.kept = kept

    @torch.no_grad()
    def observe(self) -> Iterator[Rows]:
        """One pass over the observations."""
        network = self.network
        if not any(term.weight > 0 and term.target for term in self.supervision.terms.values()):
            raise InputError("A code is solved for from terms that compare with data, got none of positive weight.")
        for batch in self.batches():
            for part_name, part in batch.parts.items():
                if not self.terms(part_name):
                    continue
                if len(part.coordinates) != 1:
                    raise InputError(
                        f"Closed-form solvers need coordinates that all signals share, got {len(part.coordinates)}."
                    )
                measurement = self.measurements[part_name].within(**part.context)
                quantities = self.supervision.quantities(part_name)
                with torch.autocast(part.coordinates.device.type, enabled=False):
                    seen = observe_at(measurement, network.features(), part.coordinates, quantities)
                for name, term in self.terms(part_name):
                    target, weights = part.targets[term.quantity], part.weights.get(term.quantity)
                    observed = seen[term.quantity]
                    atoms = network.atoms(observed) if term.quantity == "value" else network.atoms(observed.mT).mT
                    yield flatten(name, term, atoms, target, weights)

    def terms(self, part: str) -> list[tuple[str, Term]]:
        """The terms that compare this part with data."""
        return [(name, term) for name, term in self.supervision.terms.items() if term.part == part and term.target]


def flatten(name: str, term: Term, atoms: Tensor, target: Tensor, weights: Tensor | None) -> Rows:
    """The equations of a term from the observed atoms (unknowns, points, channels[, axes]) and its targets."""
    if term.axes is not None:
        atoms, target = atoms[..., term.axes], target[..., term.axes]
    repeats = target[0, 0].numel()
    if weights is not None:
        weights = weights.expand(len(target), -1).repeat_interleave(repeats, -1)
    assert atoms.ndim == 2 + CHANNEL_AXES[term.quantity]
    importance = term.weight * (1 if term.reduction == "mean" else repeats)  # sums count each channel and axis
    return Rows(name, atoms.flatten(1).T, target.flatten(1), weights, importance)


class NormalEquations:
    """gram @ code = moment for every signal, in float64, from one pass over the equations and summed over all processes.

    Every term counts as importance x weighted mean over its own equations. Signals share one gram, and so one
    factorisation, unless their weights differ.

    Shapes: gram (1|signals, unknowns, unknowns), moment (signals, unknowns).
    """

    gram: Tensor
    moment: Tensor

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        sums: dict[str, list[Tensor]] = {}
        importance: dict[str, float] = {}
        for rows in problem.rows():
            importance[rows.term] = rows.importance
            parts = [*grams(rows), moments(rows, rows.targets)]
            before = sums.get(rows.term, [torch.zeros_like(part) for part in parts])
            sums[rows.term] = [total + part for total, part in zip(before, parts, strict=True)]
        totals = {term: over_processes(*parts) for term, parts in sums.items()}
        self.shares = {term: importance[term] / mass.clamp_min(LIGHTEST) for term, (_, mass, _) in totals.items()}
        self.gram = sum(share[..., None] * totals[term][0] for term, share in self.shares.items())  # type: ignore[assignment]
        self.moment = sum(share * totals[term][2] for term, share in self.shares.items())  # type: ignore[assignment]

    def moment_of(self, targets: Callable[[Rows], Tensor]) -> Tensor:
        """The moments (signals, unknowns) that other targets (signals, rows) would have."""
        total = torch.zeros_like(self.moment)
        for rows in self.problem.rows():
            total += self.shares[rows.term] * moments(rows, targets(rows))
        return global_sum(total)

    def solver(self, ridge: float, centre: Float[Tensor, "#signals unknowns"]) -> Callable[[Tensor], Tensor]:
        """From moments (signals, unknowns) to the codes that minimise the weighted mean square + ridge |code - centre|^2."""
        identity = torch.eye(self.gram.shape[-1], dtype=self.gram.dtype, device=self.gram.device)
        floor = FLOOR * self.gram.diagonal(dim1=-2, dim2=-1).mean(-1)
        factor = torch.linalg.cholesky(self.gram + (ridge + floor)[:, None, None] * identity)
        pull = ridge * centre.to(self.gram)

        def solve(moment: Tensor) -> Tensor:
            if len(factor) == 1:
                return torch.cholesky_solve((moment + pull).T, factor[0]).T
            return torch.cholesky_solve((moment + pull)[..., None], factor)[..., 0]

        return solve


def over_processes(gram: Tensor, mass: Tensor, moment: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The sums over all processes, each signal with a gram of its own if any process saw their weights differ."""
    if global_sum(gram.new_tensor(float(len(gram) > 1))) > 0:
        gram, mass = gram.expand(len(moment), -1, -1), mass.expand(len(moment), -1)
    return global_sum(gram), global_sum(mass), global_sum(moment)


def grams(rows: Rows) -> tuple[Tensor, Tensor]:
    """design^T W design (1|signals, unknowns, unknowns) and the sums of the weights (1|signals, 1)."""
    design = rows.design.double()
    if rows.weights is None:
        return (design.T @ design)[None], design.new_full((1, 1), len(design))
    alike = bool((rows.weights == rows.weights[:1]).all())
    weights = (rows.weights[:1] if alike else rows.weights).double()
    return torch.stack([(design * weight[:, None]).T @ design for weight in weights]), weights.sum(-1, keepdim=True)


def moments(rows: Rows, targets: Tensor) -> Tensor:
    """design^T W targets (signals, unknowns)."""
    weighted = targets if rows.weights is None else rows.weights * targets
    return weighted.double() @ rows.design.double()
