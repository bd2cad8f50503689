"""Pools of samples of several shapes, and the batches that are drawn from them."""

from collections.abc import Collection, Sequence
from functools import cached_property, lru_cache

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from datamodules.common.batch import Batch, Part
from datamodules.shapes.shape import Sampling, Shape, lattice
from inr.baselines.interpolation import scattered
from inr.field import Signals
from inr.randomness import key

ENCODED = 1024  # points of a surface that an encoder gets to see at most
TRUTHS = 64  # lattices that are kept


class Pools:
    """As many samples of each of some shapes, made once: points, distances, gradients, and whether these are certain.

    Shapes: `points` (signals, samples, 3), `distance` (signals, samples, 1), `gradient` (signals, samples, 1, 3), `certain`
            (signals, samples).
    """

    def __init__(self, shapes: Sequence[Shape], count: int, sampling: Sampling, seed: int) -> None:
        self.shapes, self.seed, self.count, self.sampling = shapes, seed, count, sampling
        self.kept: dict[torch.device, tuple[Tensor, ...]] = {}
        self.truth = lru_cache(maxsize=TRUTHS)(self.find_truth)
        self.probes = lru_cache(maxsize=None)(self.find_probes)

    def __len__(self) -> int:
        """How many shapes there are."""
        return len(self.shapes)

    @property
    def names(self) -> list[str]:
        """Names of the shapes."""
        return [shape.name for shape in self.shapes]

    @cached_property
    def samples(self) -> tuple[Tensor, ...]:
        """The samples of all shapes, of each as many as of the one that has the fewest."""
        drawn = [shape.samples(self.size, key(self.seed, "samples", shape.name), self.sampling) for shape in self.shapes]
        points, distance, gradient, certain = (torch.stack(parts) for parts in zip(*drawn, strict=True))
        return points, distance[..., None], gradient[..., None, :], certain.float()

    @property
    def size(self) -> int:
        """Samples of a shape."""
        return min((shape.most(self.count) for shape in self.shapes), default=0)

    def on(self, device: torch.device) -> tuple[Tensor, ...]:
        """The samples on a device."""
        if device not in self.kept:
            self.kept[device] = tuple(part.to(device) for part in self.samples)
        return self.kept[device]

    @cached_property
    def clouds(self) -> Tensor:
        """What an encoder gets to see: points of the surfaces and their normals (signals, points, 6)."""
        count = min(ENCODED, self.count)
        seen = [shape.cloud(count, key(self.seed, "encoded", shape.name)) for shape in self.shapes]
        few = min(len(cloud.points) for cloud in seen)
        return torch.from_numpy(np.stack([np.concatenate([c.points[:few], c.normals[:few]], -1) for c in seen])).float()

    def find_truth(self, signal: int, resolution: int) -> Tensor:
        """The true distances (resolution, resolution, resolution) of a shape on the lattice of the cube."""
        return self.shapes[signal].distances(lattice(resolution)).reshape((resolution,) * 3)

    def find_probes(self, signal: int, count: int) -> tuple[Tensor, Tensor]:
        """Points (points, 3) that a validation looks at of a shape, and what is known there (points, 1)."""
        points, distance = self.shapes[signal].probes(count, self.seed)
        return points, distance[:, None]

    def interpolated(self, resolution: int, most: int) -> Tensor:
        """Distances (signals, resolution^3) that interpolation makes of at most so many samples of each shape."""
        few = min(self.size, most)
        points, distance = (part[:, :few] for part in self.samples[:2])
        rows = [scattered(*pair, lattice(resolution)) for pair in zip(points, distance[..., 0], strict=True)]
        return torch.stack(rows)

    def part(
        self,
        signals: Int[Tensor, " signals"],
        places: Int[Tensor, " samples"],
        quantities: Collection[str],
        device: torch.device,
    ) -> Part:
        """The part of a batch that looks at samples at these places of the pools of some shapes."""
        points, distance, gradient, certain = (part[signals.to(device)[:, None], places] for part in self.on(device))
        targets, weights = {"value": distance}, {}
        if "jacobian" in quantities:
            targets["jacobian"], weights["jacobian"] = gradient, certain
        return Part(points, targets, weights)

    def batch(self, signals: Int[Tensor, " signals"], parts: dict[str, Part], encodes: bool) -> Batch:
        """A batch of these shapes; encoders get to see points of their surfaces."""
        device = next(iter(parts.values())).coordinates.device
        observations = self.clouds[signals.cpu()].to(device) if encodes else None
        return Batch(Signals(signals.to(device), observations), parts)
