"""Signals cut into a grid of equal blocks, and put together again."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from inr.errors import InputError


class Patches:
    """How a signal of the shape `whole` is cut; `patch_size` null leaves it as it is, one number counts for every axis.

    Raises: InputError if the size does not divide the signal, with the nearest sizes that do.
    """

    def __init__(self, whole: Sequence[int], patch_size: int | Sequence[int] | None = None) -> None:
        self.whole, axes = tuple(whole), len(whole)
        sides = [patch_size] * axes if isinstance(patch_size, int) else whole if patch_size is None else list(patch_size)
        if len(sides) != axes or min(sides) < 1:
            raise InputError(f"data.patch_size must be one positive number per axis, {axes} in all, got {patch_size}.")
        for size, side in zip(whole, sides, strict=True):
            if size % side:
                fits = [divisor for divisor in range(1, size + 1) if size % divisor == 0]
                nearest = {
                    max(fit for fit in fits if fit < side or fit == 1),
                    min((fit for fit in fits if fit > side), default=size),
                }
                raise InputError(
                    f"Patches must fill the signal, data.patch_size={side} does not divide {size}; the nearest sizes that do"
                    f" are {' and '.join(map(str, sorted(nearest)))}."
                )
        self.shape = tuple(int(side) for side in sides)
        self.counts = [size // side for size, side in zip(whole, sides, strict=True)]
        self.count = math.prod(self.counts)

    def cut(self, values: Tensor) -> Tensor:
        """The patches (patches, *shape, channels) of a signal (*whole, channels), in row-major order."""
        axes = range(len(self.whole))
        sides = [size for pair in zip(self.counts, self.shape, strict=True) for size in pair]
        order = [2 * axis for axis in axes] + [2 * axis + 1 for axis in axes] + [2 * len(axes)]
        return values.reshape(*sides, -1).permute(order).reshape(self.count, *self.shape, -1)

    def merge(self, values: Tensor) -> Tensor:
        """The signals (images, *whole, channels) that consecutive patches (signals, *shape, channels) make up."""
        axes = range(len(self.whole))
        order = [0] + [1 + axis + half for axis in axes for half in (0, len(axes))] + [1 + 2 * len(axes)]
        return (
            values.reshape(-1, *self.counts, *self.shape, values.shape[-1])
            .permute(order)
            .reshape(-1, *self.whole, values.shape[-1])
        )

    def names(self, name: str) -> list[str]:
        """Names of the patches of a signal: its own, then row and column of the patch."""
        if self.count == 1:
            return [name]
        cells = torch.cartesian_prod(*map(torch.arange, self.counts)).reshape(-1, len(self.whole))
        return [f"{name}#{','.join(map(str, cell))}" for cell in cells.tolist()]
