"""Rows of the table that classical methods give from a grid of samples, or from corrupted observations."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from inr.baselines.inpainting import biharmonic
from inr.baselines.interpolation import Interpolation, hermite, interpolate
from inr.baselines.principal_components import Components

Merge = Callable[[Tensor], Tensor]
LARGEST = 2**25  # numbers of training signals that principal components are taken of
PIXELS = 2**16  # of an image that is inpainted, by a sparse system of as many unknowns as are missing


def references(
    training: Callable[[int], Tensor], observed: Tensor, missing: Tensor | None, counts: Sequence[int], merge: Merge
) -> dict[str, Callable[[], Tensor]]:
    """Return reconstructions (images, *whole, channels) of the observed signals by name, made when they are called.

    training: gives at most so many training signals; without any there are no rows learned from them.
    counts: numbers of principal components; a row each, and one by all there are.
    merge: puts signals together to images.

    Shapes: observed (signals, *shape, channels) in fitted numbers, missing (signals, *shape).
    """
    known_signals = training(max(LARGEST // observed[0].numel(), 1))
    rows = learned(known_signals, observed, missing, counts, merge) if len(known_signals) else {}
    if missing is not None:
        rows |= inpainted(merge(observed), merge(missing[..., None])[..., 0])  # a patch may be missing altogether
    return rows


def learned(
    training: Tensor, observed: Tensor, missing: Tensor | None, counts: Sequence[int], merge: Merge
) -> dict[str, Callable[[], Tensor]]:
    """Return what mean and principal components of training signals make of the observed ones."""
    flat = observed.flatten(1)
    known = None if missing is None else (~missing).repeat_interleave(observed.shape[-1], -1).flatten(1)
    components = Components(training.flatten(1))

    def fitted(count: int) -> Callable[[], Tensor]:
        return lambda: merge(components.fit(flat, known, count).reshape(observed.shape))

    most = len(components.basis)
    rows = {"mean": lambda: merge(components.mean.expand_as(flat).reshape(observed.shape))}
    return rows | {f"pca {count}": fitted(count) for count in sorted({min(count, most) for count in [*counts, most]}) if count}


def inpainted(observed: Tensor, missing: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Return inpaintings (images, *shape, channels) by name of images with missing (images, *shape); none of other signals."""
    if observed.ndim != 4 or missing[0].numel() > PIXELS:
        return {}
    return {"biharmonic": lambda: biharmonic(observed, missing)}


def interpolated(
    samples: np.ndarray, slopes: np.ndarray, where: tuple[Sequence[int], int, int], rules: Mapping[str, Interpolation]
) -> dict[str, Callable[[], Tensor]]:
    """Return interpolations (1, *shape, channels) of a coarse grid by name, those of the rules and Hermite's.

    where: the whole shape, the stride and the offset of the grid in it.
    Shapes: samples (*coarse, channels), slopes (*coarse, channels, axes).
    """

    def by_channel(reconstruct: Callable[[slice], np.ndarray]) -> Callable[[], Tensor]:
        channels = range(samples.shape[-1])
        return lambda: torch.cat([torch.from_numpy(reconstruct(slice(c, c + 1))).float() for c in channels], -1)[None]

    def by(along: Interpolation) -> Callable[[], Tensor]:
        return by_channel(lambda c: interpolate(samples[..., c], *where, along))

    rows = {name: by(along) for name, along in rules.items()}
    return rows | {"hermite": by_channel(lambda c: hermite(samples[..., c], slopes[..., c, :], *where))}
