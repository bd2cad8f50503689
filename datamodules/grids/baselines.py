"""What classical methods make of the observations that a dictionary encodes: mean, principal components, inpainting."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

FAINT = 1e-3  # weight of unknown numbers, which are taken to be the mean
LARGEST = 2**25  # numbers of training signals that principal components are taken of
PIXELS = 2**16  # of an image that is inpainted


class Components:
    """Mean and principal components of training signals.

    Shapes: training (signals, numbers); basis (components, numbers), orthonormal rows, the strongest first; variances
            (components,) of the training signals along them.
    """

    def __init__(self, training: Float[Tensor, "signals numbers"]) -> None:
        self.mean = training.mean(0)
        centred = (training - self.mean).double()
        few = len(centred) < centred.shape[1]  # signals than numbers; the smaller of the two grams has the same eigenvalues
        strength, vectors = torch.linalg.eigh(centred @ centred.T if few else centred.T @ centred)
        kept = strength > 1e-9 * strength[-1].clamp_min(1e-30)
        strongest = vectors[:, kept].T.flip(0)
        scaled = strongest / strength[kept, None].flip(0).sqrt()
        self.basis = (scaled @ centred if few else strongest).float()
        self.variances = strength[kept].flip(0) / len(centred)

    def fit(self, observed: Float[Tensor, "signals numbers"], known: Tensor | None, count: int) -> Tensor:
        """Signals from their first `count` components: by projection, or by least squares over the known numbers.

        The unknown ones, without which many components could not be told apart, count as the mean with the weight `FAINT`.
        """
        basis, centred = self.basis[:count], observed - self.mean
        if known is None:
            return self.mean + centred @ basis.T @ basis
        weights = known.to(basis).clamp_min(FAINT)
        codes = conjugate_gradients(lambda codes: (codes @ basis * weights) @ basis.T, (centred * known) @ basis.T)
        return self.mean + codes @ basis

    def infer(self, design: Tensor, offset: Tensor, observed: Tensor, noise: float) -> Tensor:
        """The likeliest signals of this mean and these variances, from what was observed linearly with noise of a variance.

        Shapes: design (components, observations) and offset (observations,) are what is observed of basis and mean.
        """
        design = design.double()
        gram = design @ design.T + noise * torch.diag(1 / self.variances)
        codes = torch.linalg.solve(gram, design @ (observed - offset).double().T).T
        return self.mean + codes.float() @ self.basis


def conjugate_gradients(
    operator: Callable[[Tensor], Tensor], right: Float[Tensor, "signals unknowns"], tolerance: float = 1e-5, steps: int = 500
) -> Tensor:
    """The solutions of operator(solution) = right, a symmetric positive definite system for every row."""
    solution, residual, direction = torch.zeros_like(right), right, right
    energy = right.square().sum(-1, keepdim=True)
    least = tolerance**2 * energy
    for _ in range(steps):
        if (energy <= least).all():
            break
        image = operator(direction)
        step = energy / (direction * image).sum(-1, keepdim=True).clamp_min(1e-30)
        solution, residual = solution + step * direction, residual - step * image
        before, energy = energy, residual.square().sum(-1, keepdim=True)
        direction = residual + energy / before.clamp_min(1e-30) * direction
    return solution


def biharmonic(observed: Tensor, missing: Tensor) -> Tensor:
    """Images (images, rows, columns, channels) whose missing pixels (images, rows, columns) are filled in smoothly.

    Source: Damelin and Hoang, On Surface Completion and Image Inpainting by Biharmonic Functions (2018).
    """
    filled = [
        inpaint_biharmonic(image.double().numpy(), mask.numpy(), channel_axis=-1)
        for image, mask in zip(observed, missing, strict=True)
    ]
    return torch.from_numpy(np.stack(filled)).float()


def references(
    training: Callable[[int], Tensor],
    observed: Tensor,
    missing: Tensor | None,
    corrupted: bool,
    counts: Sequence[int],
    merge: Callable[[Tensor], Tensor],
) -> dict[str, Callable[[], Tensor]]:
    """Reconstructions (images, *whole, channels) of the observed signals by name, made when they are called.

    Shapes: observed (signals, *shape, channels) in fitted numbers, missing (signals, *shape); `training` gives at most so
            many training signals, `merge` puts signals together to images. PCA by the numbers of components in `counts`, and
            by all there are.
    """
    flat, numbers = observed.flatten(1), observed[0].numel()
    known = None if missing is None else (~missing).repeat_interleave(observed.shape[-1], -1).flatten(1)
    components = Components(training(max(LARGEST // numbers, 1)).flatten(1))

    def by(count: int) -> Callable[[], Tensor]:
        return lambda: merge(components.fit(flat, known, count).reshape(observed.shape))

    most = len(components.basis)
    rows: dict[str, Callable[[], Tensor]] = {"input": lambda: merge(observed)} if corrupted else {}
    rows["mean"] = lambda: merge(components.mean.expand_as(flat).reshape(observed.shape))
    rows |= {f"pca {count}": by(count) for count in sorted({min(count, most) for count in [*counts, most]}) if count}
    if missing is not None and observed.ndim == 4:
        images, holes = merge(observed), merge(missing[..., None])[..., 0]  # a patch may be missing altogether
        if holes[0].numel() <= PIXELS:
            rows["biharmonic"] = lambda: biharmonic(images, holes)
    return rows
