"""Randomness as a pure function of (seed, step, stream): no state to save, the same draws after a resume."""

import hashlib
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

MULTIPLIER = -7046029254386353131  # odd, so multiplication is a bijection of 64 bits: 2^64 / golden ratio, as in SplitMix64
ROUNDS = 8  # half-rounds of the Feistel network, four for either coordinate


def key(*words: int | str) -> int:
    """Hash the words to a number of 63 bits."""
    digest = hashlib.blake2b(repr(words).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # torch's seeds are signed


def generator(seed: int, step: int, stream: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a fresh generator for one purpose (the stream) at one step."""
    return torch.Generator(device).manual_seed(key(seed, step, stream))


def scramble(x: Tensor, secret: int) -> Tensor:
    """Hash integers to non-negative ones: multiply and shift, twice."""
    for _ in range(2):
        x = (x ^ secret) * MULTIPLIER  # the top bits depend on all below ...
        x = x ^ ((x >> 29) & (2**35 - 1))  # ... and are brought down; the mask clears copies of the sign
    return x & (2**62 - 1)


def permute(positions: Int[Tensor, " points"], size: int, secret: int) -> Int[Tensor, " points"]:
    """Return the entries of a random permutation of 0 .. size-1 at some positions, without storing the permutation.

    A Feistel network over the smallest rectangle that holds `size` cells, walked on where it leaves them.
    Source: Black and Rogaway, Ciphers with Arbitrary Finite Domains (2002), sections 3 and 4.
    """
    rows = math.isqrt(size - 1) + 1
    columns = -(-size // rows)

    def shuffle(x: Tensor) -> Tensor:
        # Every half-round adds to one coordinate a hash of the other, which stays and so allows to subtract it again:
        # a bijection of the rectangle, whatever the hash.
        row, column = x // columns, x % columns
        for turn in range(0, ROUNDS, 2):
            row = (row + scramble(column, key(secret, turn))) % rows
            column = (column + scramble(row, key(secret, turn + 1))) % columns
        return row * columns + column

    entries = shuffle(positions)
    # Cycle walking: the cycle of a bijection that starts inside returns inside, and no two starts meet on the way, so this
    # is a bijection of 0 .. size-1. Fewer than `rows` cells are outside, so steps are few.
    while (outside := entries >= size).any():
        entries = torch.where(outside, shuffle(entries), entries)
    return entries


def draw_indices(step: int, points: int, size: int, seed: int, rank: int = 0, ranks: int = 1) -> Int[Tensor, " points"]:
    """Draw the indices of a training step: the next `points` entries of endless permutations, one per epoch of `size`.

    Every rank takes its own slice, empty if there are fewer points than ranks, and the slices of all ranks together are
    those of one process.
    """
    start, stop = points * rank // ranks, points * (rank + 1) // ranks
    positions = step * points + torch.arange(start, stop)
    epochs = positions // size
    visited = epochs.unique_consecutive().tolist()
    pieces = [permute(positions[epochs == epoch] % size, size, key(seed, epoch, "epoch")) for epoch in visited]
    return torch.cat([positions[:0], *pieces])  # of no points, an empty tensor of integers


class StepRandomness(NamedTuple):
    """Random numbers for the points of a training step, of which this process has `first` .. `last` - 1.

    All `points` rows are drawn and the process's own are cut out, so that they do not depend on the number of processes.
    """

    seed: int
    step: int
    first: int
    last: int
    points: int

    def uniform(self, stream: str, columns: int, device: torch.device) -> Float[Tensor, "rows columns"]:
        """Draw numbers in [0, 1)."""
        random = generator(self.seed, self.step, stream, device)
        return torch.rand(self.points, columns, generator=random, device=device)[self.first : self.last]

    def directions(self, stream: str, columns: int, device: torch.device) -> Float[Tensor, "rows columns"]:
        """Draw unit vectors, all directions alike."""
        # The density of independent normal numbers depends on their length alone.
        return F.normalize(self.normal(stream, columns, device), dim=-1)

    def normal(self, stream: str, columns: int, device: torch.device) -> Float[Tensor, "rows columns"]:
        """Draw numbers of the standard normal distribution."""
        random = generator(self.seed, self.step, stream, device)
        return torch.randn(self.points, columns, generator=random, device=device)[self.first : self.last]
