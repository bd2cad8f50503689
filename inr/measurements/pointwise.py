"""Sensors that see the field itself: pixels, sound samples, distances."""

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from inr.errors import InputError
from inr.measurements.measurement import Measurement, SamplePoints


class Affine(Measurement):
    """Observe the field at points that are an affine function of the coordinates: `scaled(coordinates - centre)`."""

    centre: Tensor

    @abstractmethod
    def scaled(self, steps: Float[Tensor, "*batch axes"]) -> Float[Tensor, "*batch axes"]:
        """Turn steps of the sensor into steps of the field, linearly."""

    def locate(self, coordinates: Float[Tensor, "shared points axes"]) -> SamplePoints:
        """Return the point of the field that lies under each coordinate."""
        return SamplePoints(self.scaled(coordinates - self.centre.to(coordinates)))

    def locate_along(
        self, coordinates: Float[Tensor, "shared points axes"], basis: Float[Tensor, "along #shared #points axes"]
    ) -> tuple[SamplePoints, SamplePoints]:
        """Return the points, and their steps along the directions."""
        # An affine map has the same derivative everywhere, so axes keep size 1 through the network's first layer.
        return self.locate(coordinates), SamplePoints(self.scaled(basis))

    def integrate(self, values: Tensor, quadrature: tuple[Tensor, ...]) -> Tensor:
        """Return the values themselves."""
        return values


class Pointwise(Affine):
    """Observe the field at the coordinate: sample 0 .. n-1 of each axis lies at linspace(-1, 1, n).

    shape:  samples of the full grid along each axis.
    aspect: "stretch" maps every axis to the whole of [-1, 1]; "keep" scales all axes by the longest one, so that a pixel
            stays square and the shorter axes are centred.
    Units:  coordinates in samples of the full grid; observations are the field's values.
    Raises: InputError for an unknown aspect or an empty axis.
    """

    scale: Tensor

    def __init__(self, shape: Sequence[int], aspect: str = "stretch") -> None:
        super().__init__()
        if aspect not in ("stretch", "keep"):
            raise InputError(f"aspect must be stretch or keep, got aspect={aspect}.")
        if not shape or min(shape) < 1:
            raise InputError(f"A grid needs at least one sample along every axis, got shape={list(shape)}.")
        spans = [max(samples - 1, 1) for samples in shape]  # from the first sample to the last; a lone one has none
        if aspect == "keep":
            spans = [max(spans)] * len(spans)
        self.register_buffer("scale", torch.tensor([2 / span for span in spans]), persistent=False)
        self.register_buffer("centre", torch.tensor([(samples - 1) / 2 for samples in shape]), persistent=False)

    def scaled(self, steps: Float[Tensor, "*batch axes"]) -> Float[Tensor, "*batch axes"]:
        """Scale each axis."""
        return steps * self.scale.to(steps)


class Points(Affine):
    """Observe the field at points of space, which lie at rotation (x - centre) / scale in [-1, 1]^axes.

    Without options coordinates are the field's own, and derivatives are by its unit.
    Shapes: rotation (axes, axes), its rows the field's axes; None: the identity.
    Units:  coordinates, centre and scale in one length; observations are the field's values.
    Raises: InputError for a scale that is not positive.
    """

    turn: Tensor

    def __init__(
        self, centre: Sequence[float] = (0.0, 0.0, 0.0), scale: float = 1.0, rotation: Sequence[Sequence[float]] | None = None
    ) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise InputError(f"The scale of a space must be positive and finite, got scale={scale}.")
        self.scale = scale
        self.rotation = rotation
        self.origin = torch.tensor(centre, dtype=torch.float64)
        axes = torch.eye(len(centre)) if rotation is None else torch.tensor(rotation, dtype=torch.float32)
        self.register_buffer("centre", torch.tensor(centre, dtype=torch.float32), persistent=False)
        self.register_buffer("turn", axes.T / scale, persistent=False)  # transposed: coordinates are rows

    def scaled(self, steps: Float[Tensor, "*batch axes"]) -> Float[Tensor, "*batch axes"]:
        """Turn and scale."""
        # no matrix product, which autocast would round to bf16: 1/512 of the space
        return (steps[..., None] * self.turn.to(steps)).sum(-2)

    def centred(self) -> "tuple[Points, Tensor | None]":
        """Return the same about 0, and the centre: of coordinates of 5e6, float32 knows no more than halves."""
        if not self.origin.any():
            return self, None
        return Points((0.0,) * len(self.origin), self.scale, self.rotation), self.origin
