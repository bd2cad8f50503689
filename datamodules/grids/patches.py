"""Signals cut into a grid of equal blocks, and put together again."""

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor

from inr.errors import InputError


def neighbours(size: int, side: int) -> list[int]:
    """Return the divisors of a size next to a side that is none."""
    divisors = [divisor for divisor in range(1, size + 1) if size % divisor == 0]
    smaller = max(divisor for divisor in divisors if divisor < side or divisor == 1)
    larger = min((divisor for divisor in divisors if divisor > side), default=size)
    return sorted({smaller, larger})


class Patches:
    """The grid that cuts a signal of the shape `whole` into equal blocks.

    Options:
        whole: samples of the signal along each axis
        patch_size: samples of a block along each axis, one number for all of them; None: the signal stays whole

    Raises: InputError if the size does not divide the signal, with the nearest sizes that do.
    """

    def __init__(self, whole: Sequence[int], patch_size: int | Sequence[int] | None = None) -> None:
        axes = len(whole)
        sides = [patch_size] * axes if isinstance(patch_size, int) else whole if patch_size is None else list(patch_size)
        if len(sides) != axes or min(sides) < 1:
            raise InputError(f"data.patch_size must be one positive number per axis, {axes} in all, got {patch_size}.")
        for size, side in zip(whole, sides, strict=True):
            if size % side:  # samples left over would never be learned
                rule = f"Patches must fill the signal, data.patch_size={side} does not divide {size}"
                raise InputError(f"{rule}; the nearest sizes that do are {' and '.join(map(str, neighbours(size, side)))}.")
        self.whole = tuple(whole)
        self.shape = tuple(int(side) for side in sides)
        self.counts = [size // side for size, side in zip(whole, sides, strict=True)]
        self.count = math.prod(self.counts)
        # Of a picture: "(n0 s0) (n1 s1) c" is the whole and "(n0 n1) s0 s1 c" are its patches, row by row.
        self.cells = " ".join(f"n{axis}" for axis in range(axes))
        self.sides = " ".join(f"s{axis}" for axis in range(axes))
        self.axes = " ".join(f"(n{axis} s{axis})" for axis in range(axes))
        self.lengths = {f"n{axis}": count for axis, count in enumerate(self.counts)}

    def cut(self, values: Tensor) -> Tensor:
        """Cut a signal (*whole, channels) into patches (patches, *shape, channels) in row-major order."""
        return rearrange(values, f"{self.axes} c -> ({self.cells}) {self.sides} c", **self.lengths)

    def merge(self, values: Tensor) -> Tensor:
        """Merge consecutive patches (signals, *shape, channels) into the signals (images, *whole, channels) they make up."""
        return rearrange(values, f"(i {self.cells}) {self.sides} c -> i {self.axes} c", **self.lengths)

    def names(self, name: str) -> list[str]:
        """Name the patches of a signal: its name, then row and column of the patch."""
        if self.count == 1:
            return [name]
        cells = torch.cartesian_prod(*map(torch.arange, self.counts)).reshape(-1, len(self.whole))
        return [f"{name}#{','.join(map(str, cell))}" for cell in cells.tolist()]
