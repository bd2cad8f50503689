"""A fitted signal as a plain function of sensor coordinates, in the units of its file."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from inr.derivatives import observe_at
from inr.errors import InputError
from inr.field import Signals
from inr.measurements.measurement import Measurement

Coordinates = Tensor | np.ndarray | Sequence[Any]


class FittedField:
    """A fitted field, callable at sensor coordinates: `field(c)`, `field.value(c)`, `field.jacobian(c)`.

    Evaluates `chunk` coordinates at a time, so memory does not grow with their number.

    Shapes: coordinates (..., axes) -> value (..., channels), jacobian (..., channels, axes), on the CPU.
    Units:  coordinates in steps of the sensor's index (pixel, sample), fractions welcome; values in `unit`.
    Raises: InputError if the last axis of the coordinates is not `axes` long.
    """

    def __init__(
        self,
        network: nn.Module,
        measurement: Measurement,
        axes: int,
        scale: float = 1.0,
        offset: float = 0.0,
        unit: str = "",
        constant: Tensor | None = None,
        signal: int = 0,
        chunk: int = 65536,
        config: dict[str, Any] | None = None,
    ) -> None:
        self.network, self.measurement, self.axes = network, measurement, axes
        self.scale, self.offset, self.unit, self.constant = scale, offset, unit, constant
        self.signal, self.chunk, self.config = signal, chunk, config or {}

    def within(self, **context: Any) -> "FittedField":
        """The same field seen by a sensor in a context: the pose and the intrinsics of a camera (`VolumeRendering`)."""
        bound = copy.copy(self)
        bound.measurement = self.measurement.within(**context)
        return bound

    def observe(self, coordinates: Coordinates, quantity: str, finish: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
        """Chunks of a quantity at flat coordinates (points, axes)."""
        parameter = next(self.network.parameters())
        flat = torch.as_tensor(coordinates).reshape(-1, self.axes)
        with torch.no_grad():
            field = self.network.field(Signals(torch.tensor([self.signal], device=parameter.device)))  # type: ignore[operator]
            for part in flat.split(self.chunk):
                observed = observe_at(self.measurement, field, part.to(parameter)[None], {quantity})
                yield finish(observed[quantity][0]).float().cpu()

    def check(self, coordinates: Coordinates) -> tuple[int, ...]:
        """The leading shape of the coordinates, once their last axis is right."""
        shape = tuple(torch.as_tensor(coordinates).shape)
        if not shape or shape[-1] != self.axes:
            raise InputError(f"Coordinates end in an axis of {self.axes} sensor indices, got shape {shape}.")
        return shape[:-1]

    def value(self, coordinates: Coordinates) -> Tensor:
        """Values (..., channels) in file units."""
        shape = self.check(coordinates)

        def finish(value: Tensor) -> Tensor:
            corrected = value if self.constant is None else value + self.constant.to(value)
            return corrected * self.scale + self.offset

        flat = torch.cat(list(self.observe(coordinates, "value", finish)))
        return flat.reshape(*shape, flat.shape[-1])

    def jacobian(self, coordinates: Coordinates) -> Tensor:
        """Derivatives (..., channels, axes) in file units per step of the sensor's index."""
        shape = self.check(coordinates)
        flat = torch.cat(list(self.observe(coordinates, "jacobian", lambda jacobian: jacobian * self.scale)))
        return flat.reshape(*shape, *flat.shape[-2:])

    __call__ = value

    def rows(self, shape: Sequence[int], scale: float = 1.0) -> Iterator[Tensor]:
        """The field on its grid, `scale` times as fine along every axis, in slabs along the first axis.

        First and last sample stay where they are: axis i is sampled at linspace(0, shape[i] - 1, round(scale shape[i])).
        """
        axes = [torch.linspace(0, size - 1, max(round(scale * size), 1), dtype=torch.float64) for size in shape]
        per_row = int(np.prod([len(axis) for axis in axes[1:]], initial=1))
        for first in axes[0].split(max(self.chunk // per_row, 1)):
            yield self.value(torch.stack(torch.meshgrid(first, *axes[1:], indexing="ij"), -1))
