"""Least squares with total variation within bounds: the convex problem of a field with few edges, and its certificate."""

# scikit-image's and kornia's total variation know images that are seen directly; here the field is seen through a matrix.

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from inr.convex.choice import choose, hide
from inr.convex.least_squares import smooth_fit
from inr.convex.problem import ConvexSolver, Problem, Solution, gradient, gradient_adjoint
from inr.errors import InputError
from inr.metrics.figures import Metric

CHECKED = 10  # steps from one look at the gap to the next
RELAXED = 1.8  # of each step, above 1 and below 2: fewer steps are needed
TINY = 1e-30  # a length, or a sum of a row or column, that divides
SMOOTH = 1e-3  # ridge weight of the fit that the steps start from
STARTING = 20  # conjugate gradients of that fit
TRIED = 30  # steps for each weight that is tried
BRIGHT = 0.3  # of the largest value, above which it is solid
MIDDLE = 0.6  # quantile of what is solid: half of it is blurred with air, little of it overshoots
FIRST = 3e-3  # weight that is tried first, in deviations of noise


def lengths(z: Float[Tensor, "dims *lattice signals"]) -> Float[Tensor, "*lattice signals"]:
    """Return the length of each gradient."""
    return z.square().sum(0).sqrt()


class PrimalDual:
    """The steps of Chambolle and Pock towards the minimum of 1/2 |W^(1/2) (A c - b)|^2 + weight TV(c), lower <= c <= upper.

    TV(c) is the sum over nodes of the length t of the gradient, of each signal apart; with `huber` lengths below it count
    t^2 / (2 huber), those above it t - huber / 2.
    State: c (nodes, signals); the dual of the observations y (rows, signals), and of the gradient z (dims, *lattice, signals).
    Source: Chambolle & Pock, A First-Order Primal-Dual Algorithm (2011), section 6.2.1; the diagonal steps by Pock & Chambolle,
            Diagonal preconditioning for first order primal-dual algorithms (2011), lemma 2, and relaxation by Condat, A
            primal-dual splitting method (2013); the balance by Applegate et al., Practical Large-Scale Linear Programming
            using PDHG (2021), section 3.3.
    """

    def __init__(self, problem: Problem, lower: float | None, upper: float | None, huber: float = 0.0) -> None:
        self.problem, self.huber = problem, huber
        self.lower = -math.inf if lower is None else lower
        self.upper = math.inf if upper is None else upper
        rows, columns = problem.matrix.absolute_sums()
        # Steps are 1 / sum of magnitudes of each row and column of [A; g D], the gradient D having 2 entries in a row and 2
        # per axis in a column. With g = mean column sum / (2 axes) both blocks have the same say on the field.
        axes = len(problem.lattice)
        self.g = max(float(columns.mean()) / (2 * axes), TINY)
        self.rows = rows.clamp_min(TINY)
        self.columns = columns + 2 * axes * self.g

    def start(self, coefficients: Float[Tensor, "nodes signals"], weight: float) -> None:
        """Begin at some coefficients."""
        problem, self.weight = self.problem, weight
        self.c = coefficients.clamp(self.lower, self.upper)
        self.y = problem.weights * problem.residual(self.c)
        self.z = torch.zeros_like(gradient(problem.on_lattice(self.c)))
        self.pull = problem.matrix.adjoint(self.y)
        # The steps of primal and dual are as long as the way that each has to go, as far as anybody knows.
        ball = torch.full_like(self.z, self.ball)
        self.balance = self.dual_norm(self.y, ball) / max(self.primal_norm(self.c), TINY) or 1.0
        self.origin = self.c, self.y, self.z

    @property
    def ball(self) -> float:
        """The radius that no dual of a gradient exceeds."""
        return self.weight / self.g

    def primal_norm(self, c: Tensor) -> float:
        """Return the length of a change of the coefficients, by the steps that they take."""
        return float((self.columns * c.square()).sum().double().sqrt())

    def dual_norm(self, y: Tensor, z: Tensor) -> float:
        """Return the length of a change of the duals, by the steps that they take."""
        return float(((self.rows * y.square()).sum() + 2 * self.g * z.square().sum()).double().sqrt())

    def projected(self, z: Tensor) -> Tensor:
        """Return the nearest dual of the gradient inside the ball."""
        return z * (self.ball / lengths(z).clamp_min(TINY)).clamp(max=1)

    def step(self) -> None:
        """Take one step of all three."""
        problem, w = self.problem, self.problem.weights
        divergence = self.g * gradient_adjoint(self.z).reshape(self.c.shape)
        c = (self.c - (self.pull + divergence) / (self.balance * self.columns)).clamp(self.lower, self.upper)
        ahead = 2 * c - self.c
        # min over y of y^2 / (2 w) + b y - (A c) y, plus the distance from the last y; without weight there is only y = 0.
        sigma = self.balance / self.rows
        y = w * (self.y + sigma * problem.residual(ahead)) / (w + sigma)
        # With Huber's rule the dual also pays huber g^2 |z|^2 / (2 weight), which shrinks it.
        sigma_z = self.balance / (2 * self.g)
        z = self.z + sigma_z * self.g * gradient(problem.on_lattice(ahead))
        z = self.projected(z / (1 + sigma_z * self.huber * self.g**2 / max(self.weight, TINY)))
        self.c = self.c + RELAXED * (c - self.c)
        self.y = self.y + RELAXED * (y - self.y)
        self.z = self.z + RELAXED * (z - self.z)
        self.pull = problem.matrix.adjoint(self.y)

    def rebalance(self) -> None:
        """Bring the steps of primal and dual closer to the ratio of the ways that they have gone."""
        c, y, z = self.origin
        primal, dual = self.primal_norm(self.c - c), self.dual_norm(self.y - y, self.z - z)
        if primal > 0 and dual > 0:
            self.balance = math.sqrt(self.balance * dual / primal)

    @property
    def coefficients(self) -> Float[Tensor, "nodes signals"]:
        """The coefficients, within their bounds."""
        return self.c.clamp(self.lower, self.upper)

    def objective(self) -> float:
        """Return what is to be minimised."""
        c = self.coefficients
        fit = (self.problem.weights * self.problem.residual(c).double().square()).sum() / 2
        length = lengths(gradient(self.problem.on_lattice(c))).double()
        edges = length if self.huber == 0 else huber_length(length, self.huber)
        return float(fit + self.weight * edges.sum())

    def dual_objective(self) -> float:
        """Return a bound that no field within the bounds falls below, from the duals at hand.

        Where there are no bounds, of fields that leave the range of this one by no more than its width.
        """
        w, z = self.problem.weights, self.projected(self.z)
        # min over c of 1/2 |W^(1/2) (A c - b)|^2 + weight TV(c) >= -y^2 / (2 w) - b y - huber g^2 z^2 / (2 weight) + min over c
        # of q c with q = A^T y + g D^T z; the last is at a bound, node by node.
        q = (self.pull + self.g * gradient_adjoint(z).reshape(self.c.shape)).double()
        low, high = float(self.c.min()), float(self.c.max())
        width = max(high - low, TINY)
        lower = self.lower if math.isfinite(self.lower) else low - width
        upper = self.upper if math.isfinite(self.upper) else high + width
        linear = float(torch.where(q > 0, lower * q, upper * q).sum() - (self.y * self.problem.targets).double().sum())
        paid = self.y.double().square() / w.clamp_min(TINY) * (w > 0)
        huber = self.huber * self.g**2 / max(self.weight, TINY) * z.double().square().sum()
        square = float(paid.sum() + huber)
        # Smaller duals of the same shape are allowed, too: the best share s of them maximises s linear - s^2 / 2 square.
        share = min(max(linear / max(square, TINY), 0.0), 1.0)
        return share * linear - share**2 / 2 * square

    def gap(self) -> float:
        """Return by how much the objective may exceed the minimum at most, as a share of the objective."""
        objective = self.objective()
        return max(objective - self.dual_objective(), 0.0) / max(objective, TINY)

    def run(self, iterations: int, tolerance: float) -> tuple[float, int]:
        """Take steps until the gap is small enough, or so many; return the gap and the number of steps."""
        gap = math.inf
        for done in range(1, iterations + 1):
            self.step()
            if done % CHECKED == 0 or done == iterations:
                gap = self.gap()
                if gap <= tolerance:
                    return gap, done
                self.rebalance()
        return gap, iterations


def huber_length(length: Tensor, huber: float) -> Tensor:
    """Return the square of small lengths and the length of large ones, joined smoothly."""
    return torch.where(length < huber, length.square() / (2 * huber), length - huber / 2)


def level_of(coefficients: Tensor) -> float:
    """Return the level of a body of one material from a blurred picture of it: a quantile of what is solid."""
    bright = coefficients[coefficients >= BRIGHT * coefficients.max()]
    return float(bright.kthvalue(math.ceil(MIDDLE * len(bright))).values)


class TotalVariation(ConvexSolver):
    """Coefficients with few edges: 1/2 |W^(1/2) (A c - b)|^2 + weight TV(c) at its minimum, each signal and channel apart.

    weight: of the total variation; None: the largest with which a fit to nine tenths of the observations predicts the rest
        as well as with any.
    lower, upper: bounds of the coefficients; None: none. An upper bound `auto` is for a body of one material, whose level the
        solution without it tells: it bounds a second one, which knows from it where data are missing what is solid.
    huber: length of a gradient below which it counts by its square, so that slopes stay smooth; 0: edges alone.
    tolerance: gap between the objective and its bound at which the steps end, as a share of the objective.
    iterations: steps at most.
    Units:  lower, upper and huber in fitted numbers, huber from node to node; weight in squared observations per coefficient.
    Raises: InputError for options outside their range.
    Source: Rudin, Osher & Fatemi, Nonlinear total variation based noise removal algorithms (1992).
    """

    def __init__(
        self,
        weight: float | None = None,
        lower: float | None = None,
        upper: float | Literal["auto"] | None = None,
        huber: float = 0.0,
        tolerance: float = 0.01,
        iterations: int = 150,
        seed: int = 0,
    ) -> None:
        rules = {
            "weight": (
                weight is None or 0 <= weight < math.inf,
                "must be finite and not negative, or null to choose it",
                weight,
            ),
            "upper": (not isinstance(upper, str) or upper == "auto", "must be a number, auto, or null", upper),
            "lower": (lower is None or not isinstance(upper, float) or lower < upper, "must be below solver.upper", lower),
            "huber": (0 <= huber < math.inf, "must be finite and not negative", huber),
            "tolerance": (tolerance >= 0, "must not be negative", tolerance),
            "iterations": (iterations >= 1, "must be at least 1", iterations),
        }
        for option, (holds, rule, value) in rules.items():
            if not holds:
                raise InputError(f"solver.{option} {rule}, got {value}.")
        self.weight, self.huber = weight, huber
        self.lower = lower
        self.upper = None if isinstance(upper, str) else upper
        self.one_material = upper == "auto"
        self.tolerance, self.iterations = tolerance, iterations
        self.seed = seed

    @torch.no_grad()
    def coefficients(self, problem: Problem) -> Solution:
        """Solve a problem; the gap tells how close to the minimum."""
        steps = PrimalDual(problem, self.lower, self.upper, self.huber)
        if self.weight is None:
            self.choose(steps, *hide(problem, self.seed))
            origin = "chosen on a hidden tenth of the observations"
        else:
            steps.start(smooth_fit(problem, SMOOTH, STARTING), self.weight)
            origin = "as given"
        gap, count = steps.run(self.iterations, self.tolerance)
        level = {}
        if self.one_material:
            steps.upper = level_of(steps.coefficients)
            gap, count = steps.run(self.iterations, self.tolerance)
            level["level"] = Metric(steps.upper, "1", "upper bound of the fitted numbers, from a solution without it")
        text = "the objective exceeds the least possible by no more than this share of it, by its dual"
        figures = {
            "gap": Metric(gap, "1", f"{text}; after {count} steps of the solver"),
            "tv_weight": Metric(steps.weight, "1", f"weight of the total variation, {origin}"),
        }
        return Solution(steps.coefficients, figures | level)

    @staticmethod
    def choose(steps: PrimalDual, fitted: Problem, judged: Problem) -> None:
        """Give the steps the weight that cross-validation finds, and let them go on from there with all observations."""
        whole, steps.problem = steps.problem, fitted
        start = smooth_fit(fitted, SMOOTH, STARTING)
        # Noise of the observations reaches a coefficient through A^T W with this deviation, beside which all weights that are
        # worth a try are small; the misfit is noise and more.
        mean = whole.weights.mean(-1, keepdim=True)
        noise = math.sqrt(judged.misfit(start) * float(mean.mean()) * float(whole.matrix.squares(mean).mean()))
        steps.start(start, FIRST * max(noise, TINY))

        def fit(weight: float) -> Tensor:
            steps.weight = weight
            steps.run(TRIED, 0.0)
            return steps.coefficients

        steps.weight = choose(judged, fit, steps.weight)
        steps.problem = whole
