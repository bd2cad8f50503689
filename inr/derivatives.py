"""Derivatives of observations by sensor coordinates, in forward mode."""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from inr.field import Field
from inr.measurements.measurement import Measurement
from inr.tangents import linearise


def value_and_jacobian(
    measurement: Measurement, field: Field, coordinates: Float[Tensor, "shared points axes"], along: Sequence[int] | None = None
) -> tuple[Float[Tensor, "signals points channels"], Float[Tensor, "signals points channels axes"]]:
    """Return a sensor's observations and their derivative by its coordinates, exact and without a graph of autograd.

    Works under `no_grad`, and can be differentiated by the parameters once more. With `along` only these axes are followed,
    and the columns of the others are zero.
    Units:  observation per step of the sensor index (pixel, sample, bin, view).
    """
    axes = coordinates.shape[-1]
    basis = torch.eye(axes, dtype=coordinates.dtype, device=coordinates.device)
    basis = (basis if along is None else basis[list(along)]).reshape(-1, 1, 1, axes)
    # The observation is I(v, q) with v = f(x), and points x and quadrature q functions of the coordinate c, so
    # dI/dc = (dI/dv) (df/dx) (dx/dc) + (dI/dq) (dq/dc), taken from the right: one tangent per axis of c. The field alone may
    # take its factor from the left, backward through the network, where that is less work.
    located, motion = measurement.locate_along(coordinates, basis)
    values, slopes = field.pushforward(located.points, motion.points)
    slopes = slopes.expand(len(basis), *values.shape)
    value, jacobian = linearise(measurement.integrate, (values, located.quadrature), (slopes, motion.quadrature))
    if len(basis) < axes:
        jacobian = torch.tensordot(basis[:, 0, 0].to(jacobian).T, jacobian, 1)  # back to all axes, zeros for those left out
    return value, jacobian.movedim(0, -1)


def observe_at(
    measurement: Measurement,
    field: Field,
    coordinates: Float[Tensor, "shared points axes"],
    quantities: Collection[str],
    along: Sequence[int] | None = None,
) -> dict[str, Tensor]:
    """Predict `value`, `jacobian` (`along` some axes) or both, as asked; other quantities are `Measurement.observe`'s."""
    measurement, field = measurement.prepare(field, coordinates)
    if "jacobian" not in quantities:
        return {"value": measurement(field, coordinates)}
    return dict(zip(("value", "jacobian"), value_and_jacobian(measurement, field, coordinates, along), strict=True))
