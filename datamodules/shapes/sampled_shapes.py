"""Samples of several shapes, made once, and the batches that look at them."""

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from datamodules.common.batch import Batch, DeviceCache, Part
from datamodules.common.signal_data import Observed, Wanted
from datamodules.shapes.shape import Sampling, Shape, lattice
from inr.baselines.interpolation import scattered
from inr.field import Signals
from inr.randomness import key

ENCODED = 1024  # points of a surface that an encoder gets to see at most
LATTICES = 64  # true lattices that stay in memory: of 64^3 samples 1 MiB each, but of 256^3 64 MiB


@dataclass(eq=False)
class SampledShapes(Observed):
    """Shapes and equally many samples of each, made once; batches of these have the part `data`."""

    shapes: Sequence[Shape]
    count: int  # samples of each, as far as they are available
    sampling: Sampling
    seed: int
    resolution: int  # samples along each axis of the lattice that results are scored on
    validation_points: int  # samples of `truth`, in space

    def __post_init__(self) -> None:
        self.names = [shape.name for shape in self.shapes]
        self.cache = DeviceCache[Part]()
        self.lattice_distances = lru_cache(maxsize=LATTICES)(self.measure_lattice)

    @property
    def size(self) -> int:
        """Samples of each shape: as many as of the one that has the fewest, since a batch is a rectangle."""
        return min((shape.available(self.count) for shape in self.shapes), default=0)

    @cached_property
    def samples(self) -> Part:
        """The samples of all shapes; the weight of a jacobian is 1 where the gradient is certain, else 0."""
        # The seed goes with the name: a shape has the same samples whatever other shapes are chosen beside it.
        drawn = [shape.samples(self.size, key(self.seed, "samples", shape.name), self.sampling) for shape in self.shapes]
        points, distance, gradient, certain = (torch.stack(column) for column in zip(*drawn, strict=True))
        targets = {"value": distance[..., None], "jacobian": gradient[..., None, :]}
        return Part(points, targets, {"jacobian": certain.float()})

    @cached_property
    def clouds(self) -> Tensor:
        """Points of the surfaces and their normals (signals, points, 6), for an encoder."""
        count = min(ENCODED, self.count)  # an encoder knows no more of a shape than a solver
        drawn = [shape.cloud(count, key(self.seed, "encoded", shape.name)) for shape in self.shapes]
        fewest = min(len(cloud.points) for cloud in drawn)
        rows = [np.concatenate([cloud.points[:fewest], cloud.normals[:fewest]], -1) for cloud in drawn]
        return torch.from_numpy(np.stack(rows)).float()

    @cached_property
    def truth(self) -> "ValidationSamples":
        """The same shapes at points anywhere in the cube."""
        return ValidationSamples(self)

    def measure_lattice(self, signal: int) -> Tensor:
        """Return the true distances (resolution, resolution, resolution) of a shape on the lattice of the cube."""
        return self.shapes[signal].distances(lattice(self.resolution)).reshape((self.resolution,) * 3)

    def interpolated(self, most: int) -> Tensor:
        """Interpolate at most so many samples of each shape on the lattice: distances (signals, resolution^3)."""
        points = self.samples.coordinates[:, :most]  # the first ones are as good as any: samples are in random order
        distances = self.samples.targets["value"][:, :most, 0]
        rows = [scattered(*pair, lattice(self.resolution)) for pair in zip(points, distances, strict=True)]
        return torch.stack(rows)

    def part(self, signals: Tensor, samples: Tensor, quantities: Set[str], device: torch.device) -> Part:
        """Make the part that looks at some samples (samples,) of some shapes (signals,); values always come along."""
        # All samples lie on the device once; what a step shows is gathered there, without a copy from memory.
        known = self.cache.on(device, lambda: self.copied(device))
        rows = signals.to(device)[:, None], samples.to(device)
        names = {*quantities, "value"}
        targets = {name: target[rows] for name, target in known.targets.items() if name in names}
        weights = {name: weight[rows] for name, weight in known.weights.items() if name in names}
        return Part(known.coordinates[rows], targets, weights)

    def copied(self, device: torch.device) -> Part:
        """Copy all samples to a device."""
        targets = {name: target.to(device) for name, target in self.samples.targets.items()}
        weights = {name: weight.to(device) for name, weight in self.samples.weights.items()}
        return Part(self.samples.coordinates.to(device), targets, weights)

    def batch(self, signals: Tensor, parts: dict[str, Part], encodes: bool) -> Batch:
        """Make the batch of some parts of these shapes (signals,); encoders get to see points of their surfaces."""
        device = next(iter(parts.values())).coordinates.device
        observations = self.clouds[signals.cpu()].to(device) if encodes else None
        return Batch(Signals(signals.to(device), observations), parts)

    def batches(self, signals: Tensor, chunks: Iterable[Tensor], wanted: Wanted, device: torch.device) -> Iterator[Batch]:
        """Yield a batch for each chunk of samples."""
        for samples in chunks:
            part = self.part(signals, samples, wanted.of("data"), device)
            yield self.batch(signals, {"data": part}, wanted.observations)


class ValidationSamples(Observed):
    """Points anywhere in the cube and the distances there, of a cloud some of its points; batches have the part `space`."""

    def __init__(self, sampled: SampledShapes) -> None:
        self.sampled = sampled
        self.names = sampled.names
        self.samples_of = cache(self.draw)  # exact distances take a while, and few of many shapes are asked for

    @property
    def size(self) -> int:
        """Samples of each shape: a cloud may have fewer points than are asked for."""
        return len(self.samples_of(0)[0])

    def draw(self, signal: int) -> tuple[Tensor, Tensor]:
        """Draw points (points, 3) and distances (points, 1) of a shape."""
        points, distances = self.sampled.shapes[signal].validation_samples(self.sampled.validation_points, self.sampled.seed)
        return points, distances[:, None]

    def batches(self, signals: Tensor, chunks: Iterable[Tensor], wanted: Wanted, device: torch.device) -> Iterator[Batch]:
        """Yield a batch for each chunk of samples."""
        pairs = [self.samples_of(signal) for signal in signals.tolist()]
        points, distances = (torch.stack(column) for column in zip(*pairs, strict=True))  # (signals, points, 3 and 1)
        for samples in chunks:
            part = Part(points[:, samples].to(device), {"value": distances[:, samples].to(device)})
            yield self.sampled.batch(signals, {"space": part}, wanted.observations)
