"""The code of a new signal is a linear problem: with the trunk frozen, what a sensor observes is linear in the code.

An expert is the field of a unit code, so observing all unit codes gives the design matrix, for values, jacobians and any
measurement that is linear in the field. All of them are linear in the features of the trunk, so these alone are observed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from inr.convex.equations import Batch
from inr.derivatives import observe_at
from inr.dictionary.network import NeuralDictionary
from inr.distributed import global_sum
from inr.errors import InputError
from inr.measurements.measurement import Measurement
from inr.supervision.terms import CHANNEL_AXES, Part, Supervision, Term

FLOOR = 1e-12  # of the mean of a gram's diagonal, so that it can always be factorised
LIGHTEST = 1e-30  # a sum of weights that divides; without any weight the sums above it are zero
CACHED = 2**29  # bytes of equations that are stored for solvers that read them more than once


class Equations(NamedTuple):
    """A block of equations of one term of the supervision: targets = design @ code, each of the given weight.

    `importance` is the weight of the term's mean square over all its equations.
    Shapes: design (equations, unknowns), the same for all signals; targets (signals, equations); weights alike or None.
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
    batches: starts a pass over what was observed.
    cached: the equations, once a pass has found them to be few.
    Raises: InputError for signals that do not share their coordinates, and without a term that compares with data.
    """

    network: NeuralDictionary
    measurements: Mapping[str, Measurement]
    supervision: Supervision
    batches: Callable[[], Iterable[Batch]]
    cached: list[Equations] | None = None

    def equations(self) -> Iterator[Equations]:
        """Yield all equations; they are computed anew unless they are cached."""
        if self.cached is not None:
            yield from self.cached
            return
        cached: list[Equations] | None = []
        size = 0
        for block in self.observe():
            size += sum(tensor.nbytes for tensor in block[1:4] if tensor is not None)
            cached = [*cached, block] if cached is not None and size <= CACHED else None
            yield block
        self.cached = cached  # only after a whole pass: a solver may stop in the middle of one

    @torch.no_grad()
    def observe(self) -> Iterator[Equations]:
        """Yield the equations of one pass over the observations."""
        if not any(term.weight > 0 and term.target for term in self.supervision.terms.values()):
            raise InputError("A code is solved for from terms that compare with data, got none of positive weight.")
        for batch in self.batches():
            for part_name, part in batch.parts.items():
                terms = {name: term for name, term in self.supervision.terms.items() if term.part == part_name and term.target}
                if not terms:
                    continue
                if len(part.coordinates) != 1:
                    rule = "Closed-form solvers need coordinates that all signals share"
                    raise InputError(f"{rule}, got {len(part.coordinates)}.")
                measurement = self.measurements[part_name].within(**part.context)
                quantities = self.supervision.quantities(part_name)
                with torch.autocast(part.coordinates.device.type, enabled=False):
                    seen = observe_at(measurement, self.network.features(), part.coordinates, quantities)
                for name, term in terms.items():
                    observed, atoms_of = seen[term.quantity], self.network.atoms
                    atoms = atoms_of(observed) if term.quantity == "value" else atoms_of(observed.mT).mT
                    yield equations_of(name, term, atoms, part)


def equations_of(name: str, term: Term, atoms: Tensor, part: Part) -> Equations:
    """Return the equations of a term from the observed atoms (unknowns, points, channels[, axes]) and its targets."""
    target, weights = part.targets[term.quantity], part.weights.get(term.quantity)
    if term.axes is not None:
        atoms, target = atoms[..., term.axes], target[..., term.axes]
    repeats = target[0, 0].numel()  # equations of a point
    if weights is not None:
        weights = weights.expand(len(target), -1).repeat_interleave(repeats, -1)
    assert atoms.ndim == 2 + CHANNEL_AXES[term.quantity]
    importance = term.weight * (1 if term.reduction == "mean" else repeats)  # sums count each channel and axis
    return Equations(name, atoms.flatten(1).T, target.flatten(1), weights, importance)


class NormalEquations:
    """gram @ code = moment for every signal, in float64, from one pass over the equations and summed over all processes.

    Every term counts as importance x weighted mean over its own equations. Signals share one gram, and so one
    factorisation, unless their weights differ.
    Shapes: gram (1|signals, unknowns, unknowns), moment (signals, unknowns).
    """

    # A gram squares the condition of its design, hence float64; torch.linalg.lstsq would need all equations at once.

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        sums: dict[str, list[Tensor]] = {}
        importance: dict[str, float] = {}
        for block in problem.equations():
            importance[block.term] = block.importance
            new = [*grams(block), moments(block, block.targets)]
            before = sums.get(block.term, [torch.zeros_like(one) for one in new])
            sums[block.term] = [total + one for total, one in zip(before, new, strict=True)]
        totals = {term: over_processes(*one) for term, one in sums.items()}
        # With D, t of a term and W its weights: minimise sum over terms of importance |D code - t|_W^2 / sum(W).
        self.shares = {term: importance[term] / mass.clamp_min(LIGHTEST) for term, (_, mass, _) in totals.items()}
        self.gram = reduce(torch.add, [share[..., None] * totals[term][0] for term, share in self.shares.items()])
        self.moment = reduce(torch.add, [share * totals[term][2] for term, share in self.shares.items()])

    def moment_of(self, targets: Callable[[Equations], Tensor]) -> Tensor:
        """Return the moments (signals, unknowns) that other targets (signals, equations) would have."""
        total = torch.zeros_like(self.moment)
        for block in self.problem.equations():
            total += self.shares[block.term] * moments(block, targets(block))
        return global_sum(total)

    def solver(self, ridge: float, centre: Float[Tensor, "#signals unknowns"]) -> Callable[[Tensor], Tensor]:
        """Return the function from moments (signals, unknowns) to codes, (gram + ridge) code = moment + ridge centre."""
        # Codes minimise the weighted mean square + ridge |code - centre|^2.
        identity = torch.eye(self.gram.shape[-1], dtype=self.gram.dtype, device=self.gram.device)
        floor = FLOOR * self.gram.diagonal(dim1=-2, dim2=-1).mean(-1)
        factor = torch.linalg.cholesky(self.gram + (ridge + floor)[:, None, None] * identity)
        pull = ridge * centre.to(self.gram)

        def solve(moment: Tensor) -> Tensor:
            if len(factor) == 1:  # all signals as columns of one right side
                return torch.cholesky_solve((moment + pull).T, factor[0]).T
            return torch.cholesky_solve((moment + pull)[..., None], factor)[..., 0]

        return solve


def over_processes(gram: Tensor, mass: Tensor, moment: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sum over all processes, each signal with a gram of its own if any process saw their weights differ."""
    if global_sum(gram.new_tensor(float(len(gram) > 1))) > 0:
        gram, mass = gram.expand(len(moment), -1, -1), mass.expand(len(moment), -1)
    return global_sum(gram), global_sum(mass), global_sum(moment)


def grams(block: Equations) -> tuple[Tensor, Tensor]:
    """Return design^T W design (1|signals, unknowns, unknowns) and the sums of the weights (1|signals, 1)."""
    design = block.design.double()
    if block.weights is None:
        return (design.T @ design)[None], design.new_full((1, 1), len(design))
    alike = bool((block.weights == block.weights[:1]).all())
    weights = (block.weights[:1] if alike else block.weights).double()
    return torch.stack([(design * weight[:, None]).T @ design for weight in weights]), weights.sum(-1, keepdim=True)


def moments(block: Equations, targets: Tensor) -> Tensor:
    """Return design^T W targets (signals, unknowns)."""
    weighted = targets if block.weights is None else block.weights * targets
    return weighted.double() @ block.design.double()
