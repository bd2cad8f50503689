"""What every sensor model has in common."""

import copy
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr.field import Field
from inr.tangents import linearise


class Samples(NamedTuple):
    """Where the field is evaluated for an observation, and what is needed to sum the values up.

    Shapes: points (1|signals, points, *samples, dims); quadrature: tensors such as distances or step lengths.
    """

    points: Tensor
    quadrature: tuple[Tensor, ...] = ()


class Measurement(nn.Module):
    """Turns a field into what a sensor observes: `integrate(field(locate(coordinates)))`.

    Both halves are plain, deterministic functions of tensors, so tangents pass through them by `torch.func.jvp`.
    Shapes: coordinates (1|signals, points, axes) -> observations (signals, points, channels).
    Units:  coordinates in steps of the sensor's index; `locate` alone converts to the field's [-1, 1].
    """

    context: dict[str, Any] = {}
    linear = True  # in the values of the field
    directions = False  # whether points come with a direction of view

    def within(self, **context: Any) -> "Measurement":
        """The measurement bound to a batch's context (poses, views, jitter, noise), read back from `self.context`."""
        if not context:
            return self
        bound = copy.copy(self)
        bound.context = context
        return bound

    def prepare(self, field: Field, coordinates: Float[Tensor, "shared points axes"]) -> tuple["Measurement", Field]:
        """What observes in its place where that depends on the field itself, without gradient, and the field it looks at."""
        return self, field

    def locate(self, coordinates: Float[Tensor, "shared points axes"]) -> Samples:
        """Points of the field that an observation at these coordinates depends on."""
        raise NotImplementedError(f"{type(self).__name__} must say where it looks: define locate(coordinates).")

    def locate_along(
        self, coordinates: Float[Tensor, "shared points axes"], basis: Float[Tensor, "along 1 1 axes"]
    ) -> tuple[Samples, Samples]:
        """The samples, and how they move along each axis of the coordinates; a constant motion may keep size 1."""
        return linearise(self.locate, (coordinates,), (basis.expand(len(basis), *coordinates.shape),))

    def integrate(self, values: Tensor, quadrature: tuple[Tensor, ...]) -> Tensor:
        """Observations from the field's values at the located points."""
        raise NotImplementedError(f"{type(self).__name__} must say what it sees: define integrate(values, quadrature).")

    def observe(self, field: Field, coordinates: Float[Tensor, "shared points axes"]) -> dict[str, Tensor]:
        """Return the value that is observed, and what else the sensor sees (`further`)."""
        measurement, field = self.prepare(field, coordinates)
        samples = measurement.locate(coordinates)
        return {"value": measurement.integrate(field(samples.points), samples.quadrature)}

    def of_constant(self, coordinates: Float[Tensor, "shared points axes"]) -> Tensor:
        """What is observed (1|signals, points, 1) of a field that is 1 everywhere: 1, unless the sensor sums up."""
        return torch.ones_like(coordinates[..., :1])
