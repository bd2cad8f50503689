"""Targets of many signals that share a grid."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.common.batch import Batch, Part, Units
from inr.field import Signals
from inr.supervision.differences import complete_at, jacobian_at


@dataclass(frozen=True)
class Observations:
    """Some signals as they were observed.

    Shapes: values (signals, *shape, channels) in file units; missing (signals, *shape), None if no sample is.
    """

    values: Tensor
    missing: Tensor | None

    def to(self, device: torch.device) -> "Observations":
        """Copy the signals to a device."""
        missing = None if self.missing is None else self.missing.to(device, non_blocking=True)
        return Observations(self.values.to(device, non_blocking=True), missing)

    def __getitem__(self, index: Tensor) -> "Observations":
        """Select some of them; all of them without a copy."""
        if len(index) == len(self.values) and torch.equal(index, torch.arange(len(index))):
            return self
        index = index.to(self.values.device)
        missing = None if self.missing is None else self.missing.index_select(0, index)
        return Observations(self.values.index_select(0, index), missing)


@dataclass(frozen=True)
class Targets:
    """The rule by which observations become targets, in the numbers that a network fits."""

    shape: tuple[int, ...]
    units: Units
    filter: str
    border: str

    def batch(self, seen: Observations, signals: Tensor, samples: Tensor, quantities: Iterable[str], encodes: bool) -> Batch:
        """Make the batch of these signals (signals,) at flat samples (points,), on the device of the observations.

        With `encodes` it also holds the whole observations, for an encoder.
        """
        device = seen.values.device
        samples = samples.to(device)
        indices = torch.stack(torch.unravel_index(samples, self.shape), -1)
        targets = {"value": self.units.normalise(seen.values.flatten(1, -2).index_select(1, samples))}
        if "jacobian" in quantities:
            targets["jacobian"] = self.jacobian(seen.values, indices)
        weights = {} if seen.missing is None else self.weights(~seen.missing, indices, targets)
        observations = self.units.normalise(seen.values) if encodes else None
        return Batch(Signals(signals.to(device), observations), {"data": Part(indices.float()[None], targets, weights)})

    def jacobian(self, values: Tensor, indices: Tensor) -> Tensor:
        """Return derivatives (signals, points, channels, axes) of fitted numbers by the sample index, at indices."""
        channels = [grid.movedim(0, -1) for grid in values.unbind(-1)]  # (*shape, signals) each, views without a copy
        jacobians = [jacobian_at(grid, indices, self.filter, self.border) for grid in channels]
        return torch.stack(jacobians, 2).movedim(1, 0) / self.units.scale

    def weights(self, known: Tensor, indices: Tensor, quantities: Iterable[str]) -> dict[str, Tensor]:
        """Return weights (signals, points) by quantity: 1 where all that its target is made of is known, else 0."""
        grid = known.movedim(0, -1)  # (*shape, signals)
        weights = {"value": grid[tuple(indices.T)].T.float()}
        if "jacobian" in quantities:
            # A stencil that touches a missing sample would make a derivative of what is not there.
            weights["jacobian"] = complete_at(grid, indices, self.filter, self.border).T.float()
        return weights
