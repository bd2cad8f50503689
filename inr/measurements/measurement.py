"""The base of all sensor models."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from inr.errors import InputError
from inr.field import Field
from inr.randomness import StepRandomness
from inr.tangents import linearise

Sensor = TypeVar("Sensor", bound="Measurement")  # the class itself; not Self, which run-time type checkers do not know


class SamplePoints(NamedTuple):
    """Points at which the field is evaluated for an observation, and the numbers needed to sum its values up.

    Shapes: points (1|signals, points, *samples, dims); quadrature: tensors such as distances or step lengths.
    """

    points: Tensor
    quadrature: tuple[Tensor, ...] = ()


class Measurement(nn.Module, ABC):
    """Turns a field into a sensor's observations: `integrate(field(locate(coordinates)))`.

    Both halves are plain, deterministic functions of tensors, so tangents pass through them by `torch.func.jvp`; what is
    random is drawn before, when the measurement is bound to a batch.
    Shapes: coordinates (1|signals, points, axes) -> observations (signals, points, channels).
    Units:  coordinates in steps of the sensor's index; `locate` alone converts to the field's [-1, 1].
    """

    context: dict[str, Tensor] = {}
    linear = True  # in the values of the field
    directions = False  # points come with a direction of view
    further: tuple[str, ...] = ()  # quantities beside the value that `observe` returns

    def within(self: Sensor, **context: Tensor | StepRandomness) -> Sensor:
        """Bind the measurement to the context of a batch: tensors such as poses, and while training the step's `randomness`.

        Raises: TypeError for random numbers under another name, which nothing would draw from.
        """
        if not context:
            return self
        random = {name: entry for name, entry in context.items() if isinstance(entry, StepRandomness)}
        if random.keys() - {"randomness"}:
            raise TypeError(f"Random numbers of a step are the context `randomness`, got the name {', '.join(random)}.")
        given = {name: entry for name, entry in context.items() if not isinstance(entry, StepRandomness)}
        for randomness in random.values():
            given |= self.random_context(randomness, given)
        if not given and not self.context:
            return self
        bound = copy.copy(self)
        bound.context = given
        return bound

    def random_context(self, randomness: StepRandomness, context: dict[str, Tensor]) -> dict[str, Tensor]:
        """Draw the random numbers of a training step (jitter, noise), which join the context. Override if there are any."""
        return {}

    def resolving(self: Sensor, spacing: float) -> Sensor:
        """Return a sensor that does not miss details of a field so far apart. Override where a quadrature stands for a mean.

        Units: spacing in those of the field's points.
        """
        return self

    def centred(self: Sensor) -> tuple[Sensor, Float[Tensor, " axes"] | None]:
        """Return a sensor whose coordinates are steps from a place, and that place in float64. None: they are as they were.

        Override where coordinates may lie so far from 0 that float32 would round them.
        """
        return self, None

    def one_by_one(self) -> "Measurement":
        """Return the sensor whose observations depend on samples of their own each: this, unless it sees all at once."""
        return self

    def prepare(self, field: Field, coordinates: Float[Tensor, "shared points axes"]) -> tuple["Measurement", Field]:
        """Return the (measurement, field) to use instead of this one: it resolves the nodes of a lattice.

        Override when sample positions depend on the field otherwise, as in importance sampling. Runs without gradient.
        """
        return self if field.spacing is None else self.resolving(field.spacing), field

    @abstractmethod
    def locate(self, coordinates: Float[Tensor, "shared points axes"]) -> SamplePoints:
        """Return the points of the field that an observation at these coordinates depends on."""

    def locate_along(
        self, coordinates: Float[Tensor, "shared points axes"], basis: Float[Tensor, "along #shared #points axes"]
    ) -> tuple[SamplePoints, SamplePoints]:
        """Return the samples, and their motion along directions of the coordinates; a constant motion may keep size 1."""
        return linearise(self.locate, (coordinates,), (basis.expand(len(basis), *coordinates.shape),))

    @abstractmethod
    def integrate(self, values: Tensor, quadrature: tuple[Tensor, ...]) -> Tensor:
        """Return the observations, from the field's values at the located points."""

    def along(
        self,
        field: Field,
        coordinates: Float[Tensor, "shared points axes"],
        basis: Float[Tensor, "along #shared #points axes"],
        axes: Sequence[int],
    ) -> tuple[Tensor, Tensor]:
        """Return the observations, and their derivatives along directions of the coordinates, one more axis in front.

        axes: those within which all directions lie.

        Override where the field is evaluated at points that do not move.
        """
        # The observation is I(v, q) with v = f(x), and points x and quadrature q functions of the coordinate c, so
        # dI/dc = (dI/dv) (df/dx) (dx/dc) + (dI/dq) (dq/dc), taken from the right: one tangent per axis of c. The field alone
        # may take its factor from the left, backward through the network, where that is less work.
        located, motion = self.locate_along(coordinates, basis)
        values, slopes = field.pushforward(located.points, motion.points)
        slopes = slopes.expand(len(basis), *values.shape)
        return linearise(self.integrate, (values, located.quadrature), (slopes, motion.quadrature))

    def differences(self, field: Field) -> Float[Tensor, "signals nodes channels axes"]:
        """Return the differences of the field between neighbours, of sensors that see it on a lattice.

        Raises: InputError for any other.
        """
        rule = "Differences between the nodes of a lattice need one on which the field is evaluated (task=ct data.points=null)"
        raise InputError(f"{rule}, got {type(self).__name__}.")

    def forward(self, field: Field, coordinates: Float[Tensor, "shared points axes"]) -> Tensor:
        """Observe the field, once it is prepared."""
        located = self.locate(coordinates)
        return self.integrate(field(located.points), located.quadrature)

    def observe(self, field: Field, coordinates: Float[Tensor, "shared points axes"]) -> dict[str, Tensor]:
        """Prepare and observe the field: `value`, and all `further` quantities (signals, points, ...) from the same pass."""
        sensor, field = self.prepare(field, coordinates)
        return {"value": sensor(field, coordinates)}

    def of_constant(self, coordinates: Float[Tensor, "shared points axes"]) -> Tensor:
        """Return the observations (1|signals, points, 1) of a field that is 1 everywhere.

        A sensor that is not linear has no such response: there it is 1, and the constant is one of the observations.
        """
        if not self.linear:
            return torch.ones_like(coordinates[..., :1])
        located = self.locate(coordinates)
        return self.integrate(torch.ones_like(located.points[..., :1]), located.quadrature)


Sensors = Mapping[str, Measurement]  # by part of a batch
