"""Derivatives of observations by sensor coordinates, in forward mode."""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from inr.field import Field
from inr.measurements.measurement import Measurement
from inr.tangents import linearise


def value_and_jacobian(
    measurement: Measurement,
    field: Field,
    coordinates: Float[Tensor, "shared points axes"],
    along: Sequence[int] | None = None,
) -> tuple[Float[Tensor, "signals points channels"], Float[Tensor, "signals points channels axes"]]:
    """What the sensor observes at the coordinates, and its derivative by them.

    Tangents of the coordinates go through `locate`, through the field's own pushforward (which may go backward through the
    network where that is less work), through `integrate`; so the result is exact, needs no graph of autograd, works under
    `no_grad`, and can be differentiated by the parameters once more.
    With `along` only these axes are followed, and the columns of the others are zero.

    Shapes: coordinates (1|signals, points, axes) -> value (signals, points, channels), jacobian (..., channels, axes).
    Units:  observation per step of the sensor index (pixel, sample, bin, view).
    """
    axes = coordinates.shape[-1]
    basis = torch.eye(axes, dtype=coordinates.dtype, device=coordinates.device)
    basis = (basis if along is None else basis[list(along)]).reshape(-1, 1, 1, axes)
    samples, steps = measurement.locate_along(coordinates, basis)
    values, slopes = field.pushforward(samples.points, steps.points)
    slopes = slopes.expand(len(basis), *values.shape)
    value, jacobian = linearise(measurement.integrate, (values, samples.quadrature), (slopes, steps.quadrature))
    if len(basis) < axes:
        jacobian = torch.tensordot(basis[:, 0, 0].to(jacobian).T, jacobian, 1)
    return value, jacobian.movedim(0, -1)


def observe_at(
    measurement: Measurement,
    field: Field,
    coordinates: Float[Tensor, "shared points axes"],
    quantities: Collection[str],
    along: Sequence[int] | None = None,
) -> dict[str, Tensor]:
    """Predictions of the quantities asked for: `value`, `jacobian` or both.

    Shapes: as in `value_and_jacobian`. The jacobian is computed only if it is asked for, and only `along` these axes.
    """
    measurement, field = measurement.prepare(field, coordinates)
    if "jacobian" in quantities:
        value, jacobian = value_and_jacobian(measurement, field, coordinates, along)
        return {"value": value, "jacobian": jacobian}
    samples = measurement.locate(coordinates)
    return {"value": measurement.integrate(field(samples.points), samples.quadrature)}
