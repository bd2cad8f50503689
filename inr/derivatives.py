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
    basis = torch.eye(axes, dtype=coordinates.dtype, device=coordinates.device)
    basis = (basis if along is None else basis[list(along)]).reshape(-1, 1, 1, axes)
    value, jacobian = measurement.along(field, coordinates, basis)
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
    """Predict `value`, `jacobian` (`along` some axes), `differences`; other quantities are `Measurement.observe`'s."""
    measurement, field = measurement.prepare(field, coordinates)
    seen = {"differences": measurement.differences(field)} if "differences" in quantities else {}
    if "jacobian" not in quantities:
        return seen | {"value": measurement(field, coordinates)}
    value, jacobian = value_and_jacobian(measurement, field, coordinates, along)
    return seen | {"value": value, "jacobian": jacobian}
