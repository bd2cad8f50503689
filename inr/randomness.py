"""Randomness as a pure function of (seed, step, stream): no state to save, the same draws after a resume."""

import hashlib
import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


def key(*words: int | str) -> int:
    """A 63-bit number that depends on all of the words."""
    digest = hashlib.blake2b(repr(words).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, step: int, stream: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator for one purpose (the stream) at one step."""
    return torch.Generator(device).manual_seed(key(seed, step, stream))


def scramble(x: Tensor, secret: int) -> Tensor:
    """A hash of integers, non-negative: multiply and shift, twice."""
    for _ in range(2):
        x = (x ^ secret) * -7046029254386353131
        x = x ^ ((x >> 29) & (2**35 - 1))
    return x & (2**62 - 1)


def permute(positions: Int[Tensor, " points"], size: int, secret: int) -> Int[Tensor, " points"]:
    """Entries of a random permutation of 0 .. size-1 at the given positions, without storing the permutation.

    A Feistel network over the smallest rectangle that holds `size` cells, walked on where it leaves them.
    Source: Black and Rogaway, Ciphers with Arbitrary Finite Domains (2002), sections 3 and 4.
    """
    rows = math.isqrt(size - 1) + 1
    columns = -(-size // rows)

    def shuffle(x: Tensor) -> Tensor:
        row, column = x // columns, x % columns
        for turn in range(0, 8, 2):
            row = (row + scramble(column, key(secret, turn))) % rows
            column = (column + scramble(row, key(secret, turn + 1))) % columns
        return row * columns + column

    drawn = shuffle(positions)
    while (outside := drawn >= size).any():
        drawn = torch.where(outside, shuffle(drawn), drawn)
    return drawn


def draw(step: int, points: int, size: int, seed: int, rank: int = 0, ranks: int = 1) -> Int[Tensor, " points"]:
    """The indices of a training step: the next `points` entries of endless permutations, one per epoch of `size`.

    Every rank takes its own slice, empty if there are fewer points than ranks, and the slices of all ranks together are
    what one process would draw.
    """
    start, stop = points * rank // ranks, points * (rank + 1) // ranks
    positions = step * points + torch.arange(start, stop)
    epochs = positions // size
    pieces = [
        permute(positions[epochs == epoch] % size, size, key(seed, epoch, "epoch"))
        for epoch in epochs.unique_consecutive().tolist()
    ]
    return torch.cat([positions[:0], *pieces])


class Rows(NamedTuple):
    """Random numbers for the points of a step: rows `first` .. `last` - 1 of what one process would draw for all of them."""

    seed: int
    step: int
    first: int
    last: int
    points: int

    def uniform(self, stream: str, columns: int, device: torch.device) -> Float[Tensor, "rows columns"]:
        """Numbers in [0, 1)."""
        drawn = torch.rand(self.points, columns, generator=generator(self.seed, self.step, stream, device), device=device)
        return drawn[self.first : self.last]

    def normal(self, stream: str, columns: int, device: torch.device) -> Float[Tensor, "rows columns"]:
        """Numbers of the standard normal distribution."""
        drawn = torch.randn(self.points, columns, generator=generator(self.seed, self.step, stream, device), device=device)
        return drawn[self.first : self.last]
