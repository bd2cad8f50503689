"""Principal components of training signals, and new signals in them from all or some of their samples."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

FAINT = 1e-3  # weight of unknown numbers, which are taken to be the mean
NEGLIGIBLE = 1e-9  # of the largest variance: smaller ones are rounding
TINY = 1e-30  # a divisor in place of zero, where the numerator is zero, too


class Components:
    """Mean and principal components of training signals.

    Shapes: training (signals, numbers); basis (components, numbers), orthonormal rows, the strongest first; variances
            (components,) of the training signals along them.
    """

    # torch.pca_lowrank is a randomised estimate of a few components, which neither repeats nor gives all there are.

    def __init__(self, training: Float[Tensor, "signals numbers"]) -> None:
        self.mean = training.mean(0)
        centred = (training - self.mean).double()
        # X = U S V^T: X X^T = U S^2 U^T and X^T X = V S^2 V^T have the same eigenvalues, so the smaller of the two is
        # factorised. Of the first, V^T = S^-1 U^T X.
        few = len(centred) < centred.shape[1]
        strength, vectors = torch.linalg.eigh(centred @ centred.T if few else centred.T @ centred)
        significant = strength > NEGLIGIBLE * strength[-1].clamp_min(TINY)
        strongest = vectors[:, significant].T.flip(0)
        scaled = strongest / strength[significant, None].flip(0).sqrt()
        self.basis = (scaled @ centred if few else strongest).float()
        self.variances = strength[significant].flip(0) / len(centred)

    def fit(
        self, observed: Float[Tensor, "signals numbers"], known: Bool[Tensor, "signals numbers"] | None, count: int
    ) -> Float[Tensor, "signals numbers"]:
        """Fit signals by their first `count` components: by projection, or by least squares over the known numbers."""
        basis, centred = self.basis[:count], observed - self.mean
        if known is None:
            return self.mean + centred @ basis.T @ basis
        weights = known.to(basis).clamp_min(FAINT)  # without unknown ones many components could not be told apart
        # Normal equations B W B^T code = B W (x - mean), in which unknown numbers have x = mean and so add nothing.
        codes = conjugate_gradients(lambda codes: (codes @ basis * weights) @ basis.T, (centred * known) @ basis.T)
        return self.mean + codes @ basis

    def infer(
        self,
        design: Float[Tensor, "components observations"],
        offset: Float[Tensor, " observations"],
        observed: Float[Tensor, "signals observations"],
        noise: float,
    ) -> Float[Tensor, "signals numbers"]:
        """Return the likeliest signals of this mean and these variances, observed linearly with noise of a variance.

        Shapes: design (components, observations) and offset (observations,) are what is observed of basis and mean.
        """
        design = design.double()
        # Minimise |design^T code - (observed - offset)|^2 / noise + code^T diag(1 / variances) code.
        gram = design @ design.T + noise * torch.diag(1 / self.variances)
        codes = torch.linalg.solve(gram, design @ (observed - offset).double().T).T
        return self.mean + codes.float() @ self.basis


def conjugate_gradients(
    operator: Callable[[Tensor], Tensor], right: Float[Tensor, "signals unknowns"], tolerance: float = 1e-5, steps: int = 500
) -> Float[Tensor, "signals unknowns"]:
    """Solve operator(solution) = right, a symmetric positive definite system for every row.

    tolerance: norm of a residual over that of its right side, at which all systems stop.
    Source: Hestenes & Stiefel, Methods of Conjugate Gradients for Solving Linear Systems (1952).
    """
    # scipy.sparse.linalg.cg solves one system at a time; here all signals share every product with the basis.
    solution = torch.zeros_like(right)
    residual, direction = right, right
    energy = right.square().sum(-1, keepdim=True)
    least = tolerance**2 * energy
    for _ in range(steps):
        if (energy <= least).all():
            break
        image = operator(direction)
        step = energy / (direction * image).sum(-1, keepdim=True).clamp_min(TINY)
        solution, residual = solution + step * direction, residual - step * image
        before, energy = energy, residual.square().sum(-1, keepdim=True)
        direction = residual + energy / before.clamp_min(TINY) * direction
    return solution
