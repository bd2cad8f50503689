"""Derivatives of observations by sensor coordinates, in forward mode."""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from inr.field import Field
from inr.measurements.measurement import Measurement


def value_and_jacobian(
    measurement: Measurement, field: Field, coordinates: Float[Tensor, "shared points axes"], along: Sequence[int] | None = None
) -> tuple[Float[Tensor, "signals points channels"], Float[Tensor, "signals points channels axes"]]:
    """Return a sensor's observations and their derivative by its coordinates, exact and without a graph of autograd.

    Works under `no_grad`, and can be differentiated by the parameters once more. With `along` only these axes are followed,
    and the columns of the others are zero.
    Units:  observation per step of the sensor index (pixel, sample, bin, view).
    """
    axes = coordinates.shape[-1]
    followed = list(range(axes) if along is None else along)
    rows = torch.eye(axes, dtype=coordinates.dtype, device=coordinates.device)
    basis = torch.stack([rows[axis] for axis in followed]).reshape(-1, 1, 1, axes)  # a list as index would wait for a GPU
    value, jacobian = measurement.along(field, coordinates, basis, followed)
    if len(basis) < axes:
        jacobian = torch.tensordot(basis[:, 0, 0].to(jacobian).T, jacobian, 1)  # back to all axes, zeros for those left out
    return value, jacobian.movedim(0, -1)


def slope_along(
    jacobian: Float[Tensor, "signals points channels axes"], direction: Float[Tensor, "#signals points axes"]
) -> Float[Tensor, "signals points channels 1"]:
    """Return the derivative along a direction at each point: jacobian @ direction."""
    return (jacobian * direction[..., None, :]).sum(-1, keepdim=True)  # no matrix product, which autocast would round


def value_and_slope(
    measurement: Measurement,
    field: Field,
    coordinates: Float[Tensor, "shared points axes"],
    direction: Float[Tensor, "#shared points axes"],
    along: Sequence[int] | None = None,
) -> tuple[Float[Tensor, "signals points channels"], Float[Tensor, "signals points channels 1"]]:
    """Return a sensor's observations and their derivative along one direction at each point, for the price of one tangent.

    With `along` the directions lie within these axes.
    Units:  observation per length of the direction [steps of the sensor index].
    """
    within = range(coordinates.shape[-1]) if along is None else along
    value, slope = measurement.along(field, coordinates, direction[None], within)
    return value, slope.movedim(0, -1)


def observe_at(
    measurement: Measurement,
    field: Field,
    coordinates: Float[Tensor, "shared points axes"],
    quantities: Collection[str],
    along: Sequence[int] | None = None,
    direction: Float[Tensor, "#shared points axes"] | None = None,
) -> dict[str, Tensor]:
    """Predict `value`, `jacobian`, `differences`, and `slope`, the derivative along a `direction` at each point.

    Other quantities are `Measurement.observe`'s.
    along: axes of the jacobian that are followed, and within which directions lie; None: all.
    """
    measurement, field = measurement.prepare(field, coordinates)
    seen = {"differences": measurement.differences(field)} if "differences" in quantities else {}
    if "jacobian" in quantities:
        value, jacobian = value_and_jacobian(measurement, field, coordinates, along)
        slope = {} if direction is None else {"slope": slope_along(jacobian, direction)}
        return seen | {"value": value, "jacobian": jacobian} | slope
    if direction is not None:
        value, one = value_and_slope(measurement, field, coordinates, direction, along)
        return seen | {"value": value, "slope": one}
    return seen | {"value": measurement(field, coordinates)}
