"""Line integrals of a slice: what a detector behind it sees of an X-ray, in parallel or fan beam geometry."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from inr.errors import InputError
from inr.measurements.measurement import Measurement, Samples
from inr.measurements.pointwise import Pointwise
from inr.measurements.rays import Rays, strata
from inr.randomness import Rows

RIM = 1e-5  # of the squared radius; what is nearer to the rim lies on it, or rounding would make slopes of any size
PARALLEL = 1e-6  # lines this parallel to a side of the square do not cross it
LONGEST = 2 * math.sqrt(2)  # the diagonal of the square, twice the way from its centre to a corner


def in_circle(lines: Rays, pivot: Tensor) -> tuple[Tensor, Tensor]:
    """Where lines, given by their feet, enter and leave the circle of radius 1 around the axis; twice the foot where they miss.

    The chord's slope is infinite at the rim, so lines at or beyond it have length zero and do not move.
    """
    distance = (lines.origins - pivot).square().sum(-1, keepdim=True)
    inside = distance < 1 - RIM
    half = torch.where(inside, 1 - distance, torch.ones_like(distance)).sqrt() * inside
    return -half, half


def in_square(lines: Rays, pivot: Tensor) -> tuple[Tensor, Tensor]:
    """Where lines enter and leave [-1, 1]^2; twice the same where they miss it, and where they run along a side."""
    level = lines.directions.abs() < PARALLEL
    directions = torch.where(level, torch.ones_like(lines.directions), lines.directions)
    sides = torch.stack([(-1 - lines.origins) / directions, (1 - lines.origins) / directions])
    far = torch.where(lines.origins.abs() < 1, LONGEST, -LONGEST)
    enters = torch.where(level, -far, sides.amin(0)).amax(-1, keepdim=True)
    leaves = torch.where(level, far, sides.amax(0)).amin(-1, keepdim=True)
    return enters, torch.maximum(enters, leaves)


def in_strip(lines: Rays, pivot: Tensor) -> tuple[Tensor, Tensor]:
    """A side of the square's length of every line, with its foot in the middle."""
    return -torch.ones_like(lines.origins[..., :1]), torch.ones_like(lines.origins[..., :1])


REGIONS = {"circle": in_circle, "square": in_square, "strip": in_strip}


class LineIntegrals(Measurement):
    """Integrate a field along straight lines in a plane, by the midpoint rule.

    Subclasses say which line belongs to a coordinate. A line of (offset s, angle a) is column = s cos a + t sin a,
    row = -s sin a + t cos a about the axis of rotation, which passes the slice at `pivot`. It is followed through `region`:
    the `circle` of radius 1 around the axis, the `square` [-1, 1]^2, or a `strip` of it of length 2 with its middle next to
    the axis (the published protocol). Outside there is nothing.

    `angles` of the views may be uneven; between two views they are interpolated, and the derivative by the view is that of
    their central difference. Without, view k has the angle k x `view_step`. While training with `jitter`, each of the
    `samples` lies anywhere in its stretch of the line.

    Shapes: coordinates (1|signals, points, 2) = (bin, view) -> observations (signals, points, channels).
    Units:  coordinates in detector bins and views; bin_width, pivot (row, column) in half-widths of the slice; angles [rad];
            observations [field value x half-width].
    Raises: InputError for fewer than two samples, a bin width that is not positive, an unknown region, or no angles.
    """

    angles: Tensor | None
    pivot: Tensor

    def __init__(
        self,
        bin_width: float = 1.0,
        view_step: float = 1.0,
        samples: int = 128,
        centre: float = 0.0,
        angles: Sequence[float] | None = None,
        pivot: Sequence[float] = (0.0, 0.0),
        region: str = "circle",
        jitter: bool = False,
    ) -> None:
        super().__init__()
        if samples < 2:
            raise InputError(f"A line integral needs samples >= 2, got samples={samples}.")
        if not 0 < bin_width < float("inf"):
            raise InputError(f"bin_width must be finite and positive, got bin_width={bin_width}.")
        if region not in REGIONS:
            raise InputError(f"region must be one of {', '.join(REGIONS)}, got region={region}.")
        if angles is not None and not len(angles):
            raise InputError("A scan needs at least one view, got angles=[].")
        self.bin_width, self.samples, self.centre, self.region, self.jitter = bin_width, samples, centre, region, jitter
        self.view_step = view_step
        known = None if angles is None else torch.tensor(list(angles), dtype=torch.float64)
        self.register_buffer("angles", known, persistent=False)
        self.register_buffer("pivot", torch.tensor(list(pivot), dtype=torch.float64), persistent=False)

    def within(self, **context: Any) -> Measurement:
        """The lines bound to other `angles` (views,) of the views; in training, with `rows`, to samples drawn anew."""
        rows: Rows | None = context.pop("rows", None)
        if rows is not None and self.jitter:
            context["fractions"] = rows.uniform("samples", self.samples, self.pivot.device)
        return super().within(**context)

    def lines(self, coordinates: Float[Tensor, "shared points 2"]) -> tuple[Tensor, Tensor]:
        """Offset from the axis [half-widths] and angle [rad] of each line, (1|signals, points, 1) each."""
        raise NotImplementedError(f"{type(self).__name__} must say which lines it sees: define lines(coordinates).")

    def view_angle(self, view: Tensor) -> Tensor:
        """The angle [rad] of views, fractions welcome."""
        angles: Tensor | None = self.context.get("angles", self.angles)
        if angles is None:
            return self.view_step * view
        turns = torch.gradient(angles)[0] if len(angles) > 1 else torch.zeros_like(angles)
        nearest = view.round().clamp(0, len(angles) - 1)
        place = nearest.long()
        return angles.to(view)[place] + turns.to(view)[place] * (view - nearest)

    def along(self, coordinates: Float[Tensor, "shared points 2"]) -> tuple[Rays, Tensor, Tensor]:
        """Each line with its foot as origin, and the distances from there at which it enters and leaves the region."""
        offset, angle = self.lines(coordinates)
        sine, cosine = angle.sin(), angle.cos()
        pivot = self.pivot.to(coordinates)
        foot = pivot + torch.cat([-offset * sine, offset * cosine], -1)
        lines = Rays(foot, torch.cat([cosine, sine], -1))
        return lines, *REGIONS[self.region](lines, pivot)

    def locate(self, coordinates: Float[Tensor, "shared points 2"]) -> Samples:
        """Points (1|signals, points, samples, 2) along each line, and the length of the line."""
        lines, enters, leaves = self.along(coordinates)
        fractions = strata(self.samples, self.context.get("fractions"), coordinates)
        return Samples(lines.at(enters + (leaves - enters) * fractions), (leaves - enters,))

    def integrate(self, values: Tensor, quadrature: tuple[Tensor, ...]) -> Tensor:
        """The mean of the values (signals, points, samples, channels) along each line, times its length."""
        (length,) = quadrature
        return values.mean(-2) * length

    def of_constant(self, coordinates: Float[Tensor, "shared points 2"]) -> Tensor:
        """The lengths of the lines."""
        _, enters, leaves = self.along(coordinates)
        return leaves - enters


class ParallelBeam(LineIntegrals):
    """Integrate a field along parallel lines: the two-dimensional Radon transform.

    Bin j lies `bin_width` x (j - `centre`) from the axis.

    Source: Kak & Slaney, Principles of Computerized Tomographic Imaging (1988), section 3.1.
    """

    def lines(self, coordinates: Float[Tensor, "shared points 2"]) -> tuple[Tensor, Tensor]:
        """Offsets are those of the bins, angles those of the views."""
        place, view = coordinates.split(1, -1)
        return self.bin_width * (place - self.centre), self.view_angle(view)


class FanBeam(LineIntegrals):
    """Integrate a field along lines from a point source to a flat detector, both turning around the axis.

    The source is at distance `source` before the axis, the detector at `detector` behind it, 0 for a detector through the
    axis itself; bins are `bin_width` apart on the detector.

    Units:  source and detector in half-widths of the slice.
    Raises: InputError also for a source inside the slice's circle or a negative distance of the detector.
    Source: Kak & Slaney, Principles of Computerized Tomographic Imaging (1988), section 3.4.2.
    """

    def __init__(self, source: float = 3.0, detector: float = 0.0, **parallel: Any) -> None:
        super().__init__(**parallel)
        if not (source > 1 and detector >= 0):
            raise InputError(f"A fan beam needs its source outside the slice and detector >= 0, got {source} and {detector}.")
        self.source, self.detector = source, detector

    def lines(self, coordinates: Float[Tensor, "shared points 2"]) -> tuple[Tensor, Tensor]:
        """Offset and angle of the parallel line that each ray lies on."""
        place, view = coordinates.split(1, -1)
        tilt = torch.atan(self.bin_width * (place - self.centre) / (self.source + self.detector))
        return self.source * tilt.sin(), self.view_angle(view) + tilt


class Pixels(Pointwise):
    """The slice itself, where rays look for it: zero outside the circle if that is their `region`; pixels are square.

    Shapes: coordinates (1|signals, points, 2) = (row, column) -> observations (signals, points, channels).
    Units:  coordinates in pixels; pivot (row, column) in half-widths of the slice.
    """

    pivot: Tensor

    def __init__(self, shape: Sequence[int], region: str = "circle", pivot: Sequence[float] = (0.0, 0.0)) -> None:
        super().__init__(shape, aspect="keep")
        self.region = region
        self.register_buffer("pivot", torch.tensor(list(pivot), dtype=torch.float64), persistent=False)

    def locate(self, coordinates: Float[Tensor, "shared points 2"]) -> Samples:
        """The point under each pixel, and whether rays go there."""
        points = super().locate(coordinates).points
        outside = (points - self.pivot.to(points)).square().sum(-1, keepdim=True) >= 1
        return Samples(points, (torch.ones_like(points[..., :1]).masked_fill(outside & (self.region == "circle"), 0.0),))

    def locate_along(
        self, coordinates: Float[Tensor, "shared points axes"], basis: Float[Tensor, "along 1 1 axes"]
    ) -> tuple[Samples, Samples]:
        """The points, and the one step by which all of them move along each axis."""
        located, (_, steps) = self.locate(coordinates), super().locate_along(coordinates, basis)
        return located, Samples(steps.points, (torch.zeros_like(located.quadrature[0]).expand(len(basis), -1, -1, -1),))

    def integrate(self, values: Tensor, quadrature: tuple[Tensor, ...]) -> Tensor:
        """The values inside."""
        (inside,) = quadrature
        return values * inside
