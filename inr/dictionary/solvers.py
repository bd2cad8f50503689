"""Solvers: the codes of new signals from what was observed of them, with trunk and experts as they are; and splines."""

# scikit-learn's ridge, robust and sparse regressions fit one signal at a time, from all its equations at once, on a CPU.

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from inr.convex.least_squares import ITERATIONS, ridge_solution, smooth_fit
from inr.convex.problem import ConvexSolver, Solution
from inr.convex.problem import Problem as FieldProblem
from inr.dictionary.normal_equations import FLOOR, Equations, NormalEquations, Problem
from inr.distributed import global_sum, ranks
from inr.errors import InputError

RIDGES = (1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5, 1e-6, 1e-7)  # tried on tuning signals
FALLBACK = 1e-4  # the weight without tuning signals
GATHERED = 2**26  # numbers of the equations that are cut out of a gram at a time
MAD = 1.4826  # standard deviation of a normal distribution / its median absolute deviation
EXACT = 1e-12  # a mean squared error as good as none, whose logarithm is finite
SHARPEST = 1e-6  # scale of residuals: of an exact fit, the median is zero and would divide


class Solver(ConvexSolver):
    """Codes that minimise the supervision's weighted mean square + ridge |code - centre|^2.

    `ridge=None` is chosen on tuning signals, which the dictionary has not seen, under the same corruption: the weight whose
    reconstructions have the highest mean PSNR.
    Units:  ridge in mean-square error (of fitted numbers) per squared code.
    Raises: InputError for a negative ridge.
    """

    def __init__(self, ridge: float | None = None) -> None:
        if ridge is not None and not 0 <= ridge < float("inf"):
            raise InputError(f"solver.ridge must be finite and not negative, or null to choose it, got {ridge}.")
        self.ridge = ridge

    def coefficients(self, problem: FieldProblem) -> Solution:
        """Solve for the coefficients of a spline, where the ridge weight is that of the differences of its neighbours."""
        rule = f"solver={type(self).__name__} finds codes in a dictionary"
        raise InputError(f"{rule}; for the coefficients of a spline choose solver=tv, ridge or l1.")

    @abstractmethod
    def path(self, problem: Problem, centre: Tensor, ridges: Sequence[float]) -> Iterator[Float[Tensor, "signals unknowns"]]:
        """Yield the codes for each of the weights, from the largest to the smallest."""

    def ladder(self, ridge: float) -> list[float]:
        """Return the weights that lead to the one asked for, which is the last."""
        return [ridge]

    def active_gates(self, top_k: int | None) -> int | None:
        """Return the number of gates that a network uses of these codes, given that of training; None: all."""
        return None

    def __call__(self, problem: Problem, centre: Tensor, ridge: float) -> Tensor:
        """Return the codes (signals, unknowns), in float32."""
        *_, codes = self.path(problem, centre, self.ladder(ridge))
        return codes.float()

    def choose(self, problems: Iterable[tuple[Problem, Problem, Tensor]]) -> float:
        """Return the weight whose codes come closest to the truth, of groups (as observed, as they are, centre of codes)."""
        return RIDGES[int(torch.stack([self.errors(*problem) for problem in problems]).sum(0).argmin())]

    def errors(self, tuning: Problem, truth: Problem, centre: Tensor) -> Float[Tensor, " ridges"]:
        """Return the log of the mean squared error, summed over some signals, for each of `RIDGES`.

        Of signals with missing samples these alone are compared; the others are known anyway. The sum of logs is the mean
        PSNR up to sign and factor.
        """
        # The terms that the truth has, too: their equations are those of the truth, one for one.
        matching = (block for block in tuning.equations() if block.term in truth.supervision.terms)
        counted = compared(matching) or [torch.ones(()) for _ in truth.equations()]
        scores = []
        for codes in self.path(tuning, centre, RIDGES):
            total, mass = torch.zeros(()), torch.zeros(())
            for block, weights in zip(truth.equations(), counted, strict=True):
                error = residual(block, codes).square()
                weights = weights.expand_as(error)
                total, mass = total + (weights * error).sum(-1), mass + weights.sum(-1)
            errors = global_sum(total) / global_sum(mass).clamp_min(1.0)
            scores.append(errors.clamp_min(EXACT).log().sum().cpu())
        return torch.stack(scores)


def compared(observed: Iterable[Equations]) -> list[Tensor]:
    """Return weights (signals, equations) of what solutions are judged by: a signal's missing samples, all if it lacks none."""
    masks = [torch.ones_like(block.targets) if block.weights is None else block.weights for block in observed]
    if not masks:
        return []
    missing = [(mask == 0).to(mask.dtype) for mask in masks]
    lacking = global_sum(torch.stack([gaps.sum(-1, keepdim=True) for gaps in missing]).sum(0)) > 0
    return [torch.where(lacking, gaps, 1.0) for gaps in missing]


def residual(block: Equations, codes: Tensor) -> Tensor:
    """Return targets minus predictions (signals, equations) of codes (signals, unknowns)."""
    return block.targets - codes.to(block.design) @ block.design.T


class Ridge(Solver):
    """The closed form: one pass, one factorisation for all signals of equal weights."""

    def path(self, problem: Problem, centre: Tensor, ridges: Sequence[float]) -> Iterator[Tensor]:
        """Yield the solution of each weight: one factorisation each, all from the same pass."""
        normal = NormalEquations(problem)
        for ridge in ridges:
            yield normal.solver(ridge, centre)(normal.moment)

    def coefficients(self, problem: FieldProblem) -> Solution:
        """Solve for the coefficients of a spline; without a ridge weight, with the one that predicts hidden observations."""
        return ridge_solution(problem, self.ridge)


class TopK(Solver):
    """Codes of `k` gates: the closed form, then drop the weakest gates and solve again, `stages` times.

    The strength of a gate is its magnitude times the norm of its atom.
    Raises: InputError for k or stages below 1, and for a k above the number of experts.
    """

    def __init__(self, k: int = 128, stages: int = 6, ridge: float | None = None) -> None:
        super().__init__(ridge)
        if k < 1 or stages < 1:
            raise InputError(f"solver.k and solver.stages must be at least 1, got k={k}, stages={stages}.")
        self.k, self.stages = k, stages

    def active_gates(self, top_k: int | None) -> int | None:
        """Return as many gates as the codes have."""
        return self.k

    def path(self, problem: Problem, centre: Tensor, ridges: Sequence[float]) -> Iterator[Tensor]:
        """Yield the end of a sequence of eliminations for each weight, all from the same pass."""
        normal = NormalEquations(problem)
        experts = problem.network.experts.shape[0]
        if self.k > experts:
            raise InputError(f"solver.k must be at most the number of experts, {experts}, got {self.k}.")
        for ridge in ridges:
            codes = normal.solver(ridge, centre)(normal.moment)
            # In stages, since gates compete: without the weakest ones the others change, and with them their order.
            for stage in range(1, self.stages + 1):
                gates = experts - (experts - self.k) * stage // self.stages
                codes = restrict(normal, codes, gates, experts, ridge, centre)
            yield codes


def restrict(normal: NormalEquations, codes: Tensor, gates: int, experts: int, ridge: float, centre: Tensor) -> Tensor:
    """Solve anew for codes on their strongest gates, so many of them, and the biases; the other gates are zero."""
    signals, unknowns = codes.shape
    norms = normal.gram.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()  # of atoms, weighted as the supervision weighs
    strongest = (codes * norms)[:, :experts].abs().topk(gates, -1).indices
    biases = torch.arange(experts, unknowns, device=codes.device).expand(signals, -1)
    support = torch.cat([strongest, biases], -1)  # (signals, gates + channels)
    moment = (normal.moment + ridge * centre.to(codes)).gather(1, support)
    gram = normal.gram.expand(signals, -1, -1)
    few = max(1, GATHERED // unknowns**2)  # signals whose equations are cut out at a time
    groups = zip(gram.split(few), moment.split(few), support.split(few), strict=True)
    return torch.zeros_like(codes).scatter(1, support, torch.cat([solve_on(*group, ridge) for group in groups]))


def solve_on(gram: Tensor, moment: Tensor, support: Tensor, ridge: float) -> Tensor:
    """Solve for the unknowns of a support, from their rows and columns of grams, and their moments.

    Shapes: gram (signals, unknowns, unknowns), moment and support (signals, chosen) -> (signals, chosen).
    """
    rows = gram.gather(1, support[:, :, None].expand(-1, -1, gram.shape[-1]))
    gram = rows.gather(2, support[:, None, :].expand(-1, support.shape[-1], -1))
    floor = FLOOR * gram.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
    identity = torch.eye(support.shape[-1], dtype=gram.dtype, device=gram.device)
    factor = torch.linalg.cholesky(gram + (ridge + floor) * identity)
    return torch.cholesky_solve(moment[..., None], factor)[..., 0]


class L1(Solver):
    """Robust codes, for outliers in unknown places: iteratively reweighted, from a large ridge down to the one asked for.

    Residuals r of a signal have the scale s = `cutoff` x 1.4826 x their median magnitude. `loss` gives their weights:
    `l1` min(1, s / |r|), least absolute deviations beyond s; `geman_mcclure` 1 / (1 + (r / s)^2)^2, which forgets outliers
    altogether, but of few equations it may also forget what fits.
    Raises: InputError for an unknown loss, and for iterations or a cutoff that are not positive.
    Source: Geman and Yang, Nonlinear Image Recovery with Half-Quadratic Regularization (1995), the additive form; graduated
            from smooth to detailed as in Blake and Zisserman, Visual Reconstruction (1987).
    """

    losses = ("geman_mcclure", "l1")

    def __init__(self, loss: str = losses[0], cutoff: float = 1.5, iterations: int = 10, ridge: float | None = None) -> None:
        super().__init__(ridge)
        if loss not in self.losses:
            raise InputError(f"solver.loss must be one of {', '.join(self.losses)}, got {loss}.")
        if iterations < 1 or not cutoff > 0:
            raise InputError(f"solver.iterations and solver.cutoff must be positive, got {iterations} and {cutoff}.")
        self.loss, self.cutoff = loss, cutoff
        self.iterations = iterations

    def ladder(self, ridge: float) -> list[float]:
        """Return all larger weights first: a smooth fit tells outliers from detail, which the next one starts from."""
        return [*(larger for larger in RIDGES if larger > ridge), ridge]

    def weights(self, ratio: Tensor) -> Tensor:
        """Return the weights of residuals, given as multiples of their scale."""
        return (1 + ratio.square()) ** -2 if self.loss == "geman_mcclure" else 1 / ratio.abs().clamp_min(1.0)

    def path(self, problem: Problem, centre: Tensor, ridges: Sequence[float]) -> Iterator[Tensor]:
        """Yield the codes after `iterations` for each of the weights, starting where the larger one ended."""
        # Half-quadratic minimisation, the additive form: weights act on the targets, t - (1 - w) r, so that the residual r
        # becomes w r. The gram stays, all iterations share one factorisation, and the fixed points are those of weights on
        # the equations, since design^T (w r) = 0 in both.
        normal = NormalEquations(problem)
        moment = normal.moment
        for ridge in ridges:
            solve = normal.solver(ridge, centre)
            for _ in range(self.iterations):
                moment = normal.moment_of(self.cleaned(problem, solve(moment)))
            yield solve(moment)

    def coefficients(self, problem: FieldProblem) -> Solution:
        """Solve for the coefficients of a spline by weights on its equations, from a smooth fit on."""
        known = problem.weights > 0
        solution = Solution(smooth_fit(problem, RIDGES[0], ITERATIONS))
        for _ in range(self.iterations):
            size = problem.residual(solution.coefficients).abs()
            scale = size.masked_fill(~known, torch.nan).nanmedian(0).values
            trust = self.weights(size / (self.cutoff * MAD * scale).clamp_min(SHARPEST))
            solution = ridge_solution(replace(problem, weights=problem.weights * trust), self.ridge)
        return solution

    def scales(self, problem: Problem, codes: Tensor) -> dict[str, Tensor]:
        """Return the scale (signals, 1) of each term's residuals."""
        sizes: dict[str, list[Tensor]] = {}
        for block in problem.equations():
            size = residual(block, codes).abs()
            size = size if block.weights is None else size.masked_fill(block.weights == 0, torch.nan)
            sizes.setdefault(block.term, []).append(size)
        medians = {term: torch.cat(found, -1).nanmedian(-1, keepdim=True).values for term, found in sizes.items()}
        # The mean of the medians of all processes, which saw shares of the same signals; nan where one saw nothing.
        sums = {term: global_sum(median.nan_to_num()) for term, median in medians.items()}
        return {term: (self.cutoff * MAD * total / ranks()).clamp_min(SHARPEST) for term, total in sums.items()}

    def cleaned(self, problem: Problem, codes: Tensor) -> Callable[[Equations], Tensor]:
        """Return the function that gives targets (signals, equations) with residuals of these codes weighted down."""
        scales = self.scales(problem, codes)

        def targets(block: Equations) -> Tensor:
            error = residual(block, codes)
            return block.targets - (1 - self.weights(error / scales[block.term])) * error

        return targets


class Adam(Solver):
    """No closed form: codes start at the centre, and the optimiser's steps do the rest, with top-k as in training.

    Source: Neural Implicit Dictionary Learning (ICML 2022), section 4.
    """

    closed_form = False

    def active_gates(self, top_k: int | None) -> int | None:
        """Return as many gates as in training."""
        return top_k

    def path(self, problem: Problem, centre: Tensor, ridges: Sequence[float]) -> Iterator[Tensor]:
        """Yield the centre."""
        signals = len(next(iter(problem.batches())).signals.index)
        for _ in ridges:
            yield centre.expand(signals, -1)
