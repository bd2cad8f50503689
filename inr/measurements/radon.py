"""Line integrals of a slice: what a detector behind it sees of an X-ray, in parallel or fan beam geometry."""

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from inr.errors import InputError
from inr.measurements.measurement import Measurement, SamplePoints
from inr.measurements.pointwise import Pointwise
from inr.measurements.rays import Rays, box_interval, strata
from inr.randomness import StepRandomness

RIM = 1e-5  # of the squared radius; nearer to the rim lines lie on it, as rounding would make slopes of any size
REACH = {"circle": 1.0, "strip": 1.0, "square": math.sqrt(2)}  # farthest line of a region from the axis [half-widths]
ROUNDING = 1e-6  # of a length, by which it may exceed whole steps
LONGEST = 8.0  # half-widths from its foot that a line is followed: 2 sqrt(2) cross the square from anywhere in it


def circle_interval(lines: Rays, pivot: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distances at which lines enter and leave the circle of radius 1 around the axis; twice 0 if they miss."""
    # Half a chord at distance d from the axis is h = sqrt(1 - d^2), and dh = -d dd / h is infinite at the rim: there, and
    # beyond, lines have length zero and do not move. The root is taken of 1 where it is not used, for the gradient's sake.
    distance = (lines.origins - pivot).square().sum(-1, keepdim=True)
    inside = distance < 1 - RIM
    half = torch.where(inside, 1 - distance, torch.ones_like(distance)).sqrt() * inside
    return -half, half


def strip_interval(lines: Rays, pivot: Tensor) -> tuple[Tensor, Tensor]:
    """Return -1 and 1: of every line a side of the square's length, with its foot in the middle."""
    return -torch.ones_like(lines.origins[..., :1]), torch.ones_like(lines.origins[..., :1])


REGIONS: dict[str, Callable[[Rays, Tensor], tuple[Tensor, Tensor]]] = {
    "circle": circle_interval,
    "square": lambda lines, pivot: box_interval(*lines, -LONGEST, LONGEST),
    "strip": strip_interval,
}


def steps_across(length: float, spacing: float) -> int:
    """Return the number of steps, each of this length at most, that a length takes: at least one."""
    return max(1, math.ceil(length / spacing * (1 - ROUNDING)))


def midpoints(count: int, width: float, device: torch.device) -> Float[Tensor, " count"]:
    """Return the middles of so many equal parts of an interval of some width around 0, in float64."""
    return width * ((torch.arange(count, dtype=torch.float64, device=device) + 0.5) / count - 0.5)


Lines = TypeVar("Lines", bound="LineIntegrals")


class LineIntegrals(Measurement):
    """Integrate a field along straight lines in a plane, by the midpoint rule. Subclasses define `lines`.

    A line of (offset s, angle a) is column = s cos a + t sin a, row = -s sin a + t cos a about the axis of rotation.
    bin_width: from bin to bin of the detector [half-widths of the slice].
    view_step: angle from view to view [rad], if there are no `angles`: that of view k is k x view_step.
    samples:   points of the field on every line.
    centre:    bin that sees the axis.
    angles:    those of the views [rad], even or not. Between two views they are interpolated, and the derivative by the
               view is that of their central difference.
    pivot:     where the axis passes the slice, (row, column) [half-widths].
    region:    stretch of the line that counts; elsewhere is nothing. The `circle` of radius 1 around the axis, the `square`
               [-1, 1]^2, or a `strip` of length 2 with its middle next to the axis (the published protocol).
    jitter:    while training, each sample lies anywhere in its stretch of the line.
    width:     of a bin [bins], over which it sees the mean; 0: a line through its middle.
    rays:      lines spread evenly over the width, whose mean stands for that: the midpoint rule once more.
    Context: `angles` (views,) in place of those given.
    Shapes: coordinates (1|signals, points, 2) = (bin, view) -> observations (signals, points, channels).
    Units:  coordinates in detector bins and views; observations [field value x half-width].
    Raises: InputError for fewer than two samples, a bin width that is not positive, an unknown region, no angles, no rays, or
            a negative width.
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
        width: float = 0.0,
        rays: int = 1,
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
        self.bin_width, self.view_step = bin_width, view_step
        self.samples, self.centre = samples, centre
        self.region, self.jitter = region, jitter
        self.width, self.rays = width, rays
        if not (rays >= 1 and width >= 0):
            raise InputError(f"A bin needs rays >= 1 and width >= 0, got rays={rays} and width={width}.")
        known = None if angles is None else torch.tensor(list(angles), dtype=torch.float64)
        self.register_buffer("angles", known, persistent=False)
        self.register_buffer("pivot", torch.tensor(list(pivot), dtype=torch.float64), persistent=False)

    def resolving(self: Lines, spacing: float) -> Lines:
        """Return the same scanner with samples and rays at most so far apart [half-widths], and never fewer."""
        finer = copy.copy(self)
        finer.samples = max(self.samples, steps_across(2 * REACH[self.region], spacing))
        finer.rays = max(self.rays, steps_across(self.width * self.bin_at_axis, spacing))
        return finer

    @property
    def bin_at_axis(self) -> float:
        """The width of a bin, as the axis of rotation throws it on the detector [half-widths]."""
        return self.bin_width

    def random_context(self, randomness: StepRandomness, context: dict[str, Tensor]) -> dict[str, Tensor]:
        """Draw the place of each sample in its stretch, if lines are jittered."""
        return {"fractions": randomness.uniform("samples", self.samples, self.pivot.device)} if self.jitter else {}

    @abstractmethod
    def lines(self, coordinates: Float[Tensor, "shared points 2"]) -> tuple[Tensor, Tensor]:
        """Return offset from the axis [half-widths] and angle [rad] of each line, (1|signals, points, 1) each."""

    def view_angle(self, view: Tensor) -> Tensor:
        """Return the angle [rad] of views, fractions welcome."""
        angles: Tensor | None = self.context.get("angles", self.angles)
        if angles is None:
            return self.view_step * view
        # A straight line through the nearest view with the slope of the central difference, which is the derivative that
        # target sinograms have, too; the rounding has none.
        slopes = torch.gradient(angles)[0] if len(angles) > 1 else torch.zeros_like(angles)
        nearest = view.round().clamp(0, len(angles) - 1)
        index = nearest.long()
        return angles.to(view)[index] + slopes.to(view)[index] * (view - nearest)

    def locate(self, coordinates: Float[Tensor, "shared points 2"]) -> SamplePoints:
        """Return points (1|signals, points, rays x samples, 2), one line after the other, and the length of each line."""
        across = midpoints(self.rays, self.width, coordinates.device).to(coordinates)
        shifts = torch.stack([across, torch.zeros_like(across)], -1)
        offset, angle = self.lines((coordinates[..., None, :] + shifts).flatten(-3, -2))
        sine, cosine = angle.sin(), angle.cos()
        pivot = self.pivot.to(coordinates)
        # from its foot below the axis, and the distances at which it enters and leaves the region
        lines = Rays(pivot + torch.cat([-offset * sine, offset * cosine], -1), torch.cat([cosine, sine], -1))
        enters, leaves = REGIONS[self.region](lines, pivot)
        fractions = strata(self.samples, self.context.get("fractions"), coordinates)
        points = lines.at(enters + (leaves - enters) * fractions)  # (1|signals, points x rays, samples, 2)
        lengths = (leaves - enters).unflatten(-2, (-1, self.rays))  # (1|signals, points, rays, 1)
        return SamplePoints(points.unflatten(-3, (-1, self.rays)).flatten(-3, -2), (lengths,))

    def integrate(self, values: Tensor, quadrature: tuple[Tensor, ...]) -> Tensor:
        """Sum the values (signals, points, rays x samples, channels) along each line, and take the mean of the rays."""
        # Midpoint rule: every sample has the weight length / samples; the error falls with 1 / samples^2. Jittered, one
        # sample per stretch, it is an unbiased estimate instead.
        (lengths,) = quadrature
        return (values.unflatten(-2, (self.rays, -1)).mean(-2) * lengths).mean(-2)


class ParallelBeam(LineIntegrals):
    """Integrate a field along parallel lines: the two-dimensional Radon transform.

    Bin j lies `bin_width` x (j - `centre`) from the axis.
    Source: Kak & Slaney, Principles of Computerized Tomographic Imaging (1988), section 3.1.
    """

    def lines(self, coordinates: Float[Tensor, "shared points 2"]) -> tuple[Tensor, Tensor]:
        """Return the offsets of the bins and the angles of the views."""
        place, view = coordinates.split(1, -1)
        return self.bin_width * (place - self.centre), self.view_angle(view)


class FanBeam(LineIntegrals):
    """Integrate a field along lines from a point source to a flat detector, both turning around the axis.

    source:   its distance before the axis.
    detector: its distance behind the axis, 0 for a detector through the axis itself; bins are `bin_width` apart on it.
    parallel: options of `LineIntegrals`.
    Units:  source and detector in half-widths of the slice.
    Raises: InputError also for a source inside the slice's circle or a negative distance of the detector.
    Source: Kak & Slaney, Principles of Computerized Tomographic Imaging (1988), section 3.4.2.
    """

    def __init__(self, source: float = 3.0, detector: float = 0.0, **parallel: Any) -> None:
        super().__init__(**parallel)
        if not (source > 1 and detector >= 0):
            raise InputError(f"A fan beam needs its source outside the slice and detector >= 0, got {source} and {detector}.")
        self.source, self.detector = source, detector

    @property
    def bin_at_axis(self) -> float:
        """The width of a bin, smaller than on the detector by the ratio of their distances from the source."""
        return self.bin_width * self.source / (self.source + self.detector)

    def lines(self, coordinates: Float[Tensor, "shared points 2"]) -> tuple[Tensor, Tensor]:
        """Return offset and angle of the parallel line that each ray lies on."""
        # A ray to a bin is tilted by atan(distance on the detector / distance of the detector from the source) against the
        # one through the axis, so it is the line of a parallel view turned as far, at source x sin(tilt) from the axis.
        place, view = coordinates.split(1, -1)
        tilt = torch.atan(self.bin_width * (place - self.centre) / (self.source + self.detector))
        return self.source * tilt.sin(), self.view_angle(view) + tilt


class Pixels(Pointwise):
    """The slice itself, on the ground that rays cover: zero outside the circle if that is their `region`; pixels are square.

    width: of the square that a pixel is the mean over [pixels]; 0: the field in its middle.
    side:  points along each side of the square, whose mean stands for that.
    Shapes: coordinates (1|signals, points, 2) = (row, column) -> observations (signals, points, channels).
    Units:  coordinates in pixels; pivot (row, column) in half-widths of the slice.
    """

    pivot: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        region: str = "circle",
        pivot: Sequence[float] = (0.0, 0.0),
        width: float = 0.0,
        side: int = 1,
    ) -> None:
        super().__init__(shape, aspect="keep")
        self.region = region
        self.width, self.side = width, side
        self.register_buffer("pivot", torch.tensor(list(pivot), dtype=torch.float64), persistent=False)

    def resolving(self, spacing: float) -> "Pixels":
        """Return the same pixels with points at most so far apart, and never fewer."""
        finer = copy.copy(self)
        finer.side = max(self.side, steps_across(self.width * float(self.scale.max()), spacing))
        return finer

    def locate(self, coordinates: Float[Tensor, "shared points 2"]) -> SamplePoints:
        """Return points (1|signals, points, side^2, 2) in each pixel; quadrature: 1 if rays go to its middle, else 0."""
        middles = super().locate(coordinates).points
        outside = (middles - self.pivot.to(middles)).square().sum(-1, keepdim=True) >= 1
        covered = torch.ones_like(middles[..., :1]).masked_fill(outside & (self.region == "circle"), 0.0)
        shifts = torch.cartesian_prod(*[midpoints(self.side, self.width, middles.device)] * 2).to(middles)
        return SamplePoints(middles[..., None, :] + self.scaled(shifts), (covered,))

    def locate_along(
        self, coordinates: Float[Tensor, "shared points axes"], basis: Float[Tensor, "along #shared #points axes"]
    ) -> tuple[SamplePoints, SamplePoints]:
        """Return the points, and their steps along the directions; the mask does not change."""
        located, steps = self.locate(coordinates), self.scaled(basis)[..., None, :]
        return located, SamplePoints(steps, (torch.zeros_like(located.quadrature[0]).expand(len(basis), -1, -1, -1),))

    def integrate(self, values: Tensor, quadrature: tuple[Tensor, ...]) -> Tensor:
        """Return the mean values (signals, points, side^2, channels) of the pixels inside."""
        return values.mean(-2) * quadrature[0]
