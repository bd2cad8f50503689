"""Least squares with a smoothness penalty, by conjugate gradients."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from inr.convex.choice import choose, hide
from inr.convex.problem import Problem, Solution, gradient, gradient_adjoint
from inr.metrics.figures import Metric

ITERATIONS = 300  # conjugate gradients at most
FIRST = 1e-4  # ridge weight that is tried first
EXACT = 1e-30  # squared residual that is as good as zero, and divides


def conjugate_gradients(
    product: Callable[[Tensor], Tensor],
    diagonal: Float[Tensor, "nodes 1"],
    right: Float[Tensor, "nodes signals"],
    start: Float[Tensor, "nodes signals"],
    iterations: int,
    tolerance: float = 1e-6,
) -> Float[Tensor, "nodes signals"]:
    """Solve product(x) = right for every column, product being symmetric and positive, with a diagonal near this one.

    tolerance: residual, as a share of the right side, at which all columns are done, both divided by the root of the diagonal:
        nodes that hardly count are not done before the others.
    Source: Saad, Iterative Methods for Sparse Linear Systems (2003), algorithm 9.1.
    """
    # scipy's takes one right side at a time, on a CPU
    x = start
    residual = right - product(x)
    enough = tolerance**2 * (right.square() / diagonal).sum(0)
    scaled = residual / diagonal
    direction = scaled
    size = (residual * scaled).sum(0)
    for _ in range(iterations):
        if (size <= enough).all():
            break
        image = product(direction)
        step = size / (direction * image).sum(0).clamp_min(EXACT)
        x = x + step * direction
        residual = residual - step * image
        scaled = residual / diagonal
        before, size = size, (residual * scaled).sum(0)
        direction = scaled + size / before.clamp_min(EXACT) * direction
    return x


def smooth_fit(
    problem: Problem, ridge: float, iterations: int, start: Float[Tensor, "nodes signals"] | None = None
) -> Float[Tensor, "nodes signals"]:
    """Minimise the weighted squares of the residual + ridge x s x squared differences of neighbouring coefficients.

    s is the mean sum of squares of a column of the matrix, so that the ridge weight has no unit. Nodes that nothing is
    known of lie smoothly between the others.
    """
    matrix, weights = problem.matrix, problem.weights
    squares = matrix.squares(weights.mean(-1, keepdim=True))
    scale = ridge * float(squares.mean())

    def product(x: Tensor) -> Tensor:
        rough = gradient_adjoint(gradient(problem.on_lattice(x))).reshape(x.shape)
        return matrix.adjoint(weights * matrix(x)) + scale * rough

    right = matrix.adjoint(weights * problem.targets)
    # an inner node has two neighbours along each axis; nodes that nothing is known of have nothing but these
    diagonal = (squares + 2 * len(problem.lattice) * scale).clamp_min(EXACT)
    start = torch.zeros_like(right) if start is None else start
    return conjugate_gradients(product, diagonal, right, start, iterations)


def ridge_solution(problem: Problem, ridge: float | None) -> Solution:
    """Minimise the squares of the residual with a smoothness penalty of this weight, or of the one that predicts best."""
    if ridge is None:
        fitted, judged = hide(problem)
        chosen = choose(judged, lambda weight: smooth_fit(fitted, weight, ITERATIONS), FIRST)
        origin = "chosen on a hidden tenth of the observations"
    else:
        chosen = ridge
        origin = "as given"
    text = f"weight of the squared differences of neighbouring coefficients, {origin}"
    return Solution(smooth_fit(problem, chosen, ITERATIONS), {"ridge": Metric(chosen, "1", text)})
