"""A fitted signal as a plain function of sensor coordinates, in the units of its file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from inr.derivatives import observe_at
from inr.errors import InputError
from inr.field import Field, Network, Signals
from inr.measurements.measurement import Measurement


def into_scene(poses: Tensor, world: Tensor) -> Tensor:
    """Take poses (..., 3, 4) of cameras in the coordinates of a file to the scene from which a similarity leads there."""
    # x -> scale R x + t: positions p go back by R^T (p - t) / scale, axes of cameras by R^T alone. In float64, since files
    # may count metres from far away.
    exact = poses.double()
    world = world.to(poses.device)
    scale = torch.linalg.det(world[:3, :3]) ** (1 / 3)
    turn = world[:3, :3].T / scale
    position = turn @ (exact[..., 3:] - world[:3, 3:]) / scale
    return torch.cat([turn @ exact[..., :3], position], -1).to(poses)


@dataclass(eq=False, repr=False)
class FittedField:
    """A fitted field, callable at sensor coordinates: `field(c)`, `field.value(c)`, `field.jacobian(c)`.

    Evaluates `chunk` coordinates at a time, so memory does not grow with their number.
    Shapes: coordinates (..., axes) -> value (..., channels), jacobian (..., channels, axes), on the CPU.
    Units:  coordinates in steps of the sensor's index (pixel, sample), fractions welcome; values in `unit`.
    Raises: InputError if the last axis of the coordinates is not `axes` long.
    """

    network: Network
    measurement: Measurement
    axes: int
    scale: float = 1.0  # file value = scale * fitted value + offset
    offset: float = 0.0
    unit: str = ""
    constant: Tensor | None = None  # (channels,) added to the field
    signal: int = 0  # row among those of the network
    chunk: int = 65536
    world: Tensor | None = None  # similarity (4, 4) from the scene to the coordinates of the file; None: they are the same

    def within(self, **context: Tensor) -> "FittedField":
        """Return the field as a sensor in a context sees it: poses, in the file's coordinates, and intrinsics of a camera."""
        if self.world is not None and "poses" in context:
            context["poses"] = into_scene(context["poses"], self.world)
        return replace(self, measurement=self.measurement.within(**context))

    def observe(self, coordinates: Tensor | ArrayLike, quantity: str) -> Tensor:
        """Return a quantity (..., channels[, axes]) of the fitted numbers at coordinates (..., axes)."""
        if not isinstance(coordinates, Tensor):
            coordinates = torch.as_tensor(np.asarray(coordinates))  # of lists, too, in float64
        if not coordinates.ndim or coordinates.shape[-1] != self.axes:
            raise InputError(f"Coordinates end in an axis of {self.axes} sensor indices, got shape {tuple(coordinates.shape)}.")
        sensor, origin = self.measurement.centred()
        if origin is not None:  # before the network's precision rounds them
            return replace(self, measurement=sensor).observe(coordinates.cpu().double() - origin, quantity)
        parameter = next(self.network.parameters())
        chunks = coordinates.reshape(-1, self.axes).split(self.chunk)
        with torch.no_grad():
            field = self.network.field(Signals(torch.tensor([self.signal], device=parameter.device)))
            # each chunk leaves the device at once
            seen = [self.observe_chunk(field, chunk.to(parameter)[None], quantity)[0].cpu() for chunk in chunks]
        return torch.cat(seen).reshape(*coordinates.shape[:-1], *seen[0].shape[1:])

    def at_points(self, points: Float[Tensor, "points dims"]) -> Float[Tensor, "points channels"]:
        """Return the values in file units at points of the field itself, in [-1, 1]^dims, as no sensor sees them."""
        parameter = next(self.network.parameters())
        with torch.no_grad():
            field = self.network.field(Signals(torch.tensor([self.signal], device=parameter.device)))
            values = torch.cat([field(some.to(parameter)[None])[0].cpu() for some in points.split(self.chunk)])
        constant = 0.0 if self.constant is None else self.constant.to(values)
        return (values + constant) * self.scale + self.offset

    def observe_chunk(self, field: Field, coordinates: Tensor, quantity: str) -> Tensor:
        """Observe a field and its constant at coordinates (1, points, axes)."""
        seen = observe_at(self.measurement, field, coordinates, {quantity})[quantity]
        if self.constant is None or quantity == "jacobian":
            return seen
        return seen + self.measurement.of_constant(coordinates) * self.constant.to(seen)

    def value(self, coordinates: Tensor | ArrayLike) -> Tensor:
        """Return values (..., channels) in file units."""
        return (self.observe(coordinates, "value") * self.scale + self.offset).float()

    def jacobian(self, coordinates: Tensor | ArrayLike) -> Tensor:
        """Return derivatives (..., channels, axes) in file units per step of the sensor's index."""
        return (self.observe(coordinates, "jacobian") * self.scale).float()

    __call__ = value

    def rows(self, shape: Sequence[int], scale: float = 1.0) -> Iterator[Tensor]:
        """Yield the field on its grid, `scale` times as fine along every axis, in slabs along the first axis.

        First and last sample stay where they are: axis i is sampled at linspace(0, shape[i] - 1, round(scale shape[i])).
        """
        # In float64, so that the rounding of a fractional step does not add up along an axis.
        axes = [torch.linspace(0, size - 1, max(round(scale * size), 1), dtype=torch.float64) for size in shape]
        per_row = int(np.prod([len(axis) for axis in axes[1:]], initial=1))
        for first in axes[0].split(max(self.chunk // per_row, 1)):
            yield self.value(torch.stack(torch.meshgrid(first, *axes[1:], indexing="ij"), -1))
