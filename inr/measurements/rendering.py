"""The camera of neural radiance fields: densities and colours along a ray, composited to a pixel."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from inr.errors import InputError
from inr.field import Field
from inr.measurements.measurement import Measurement, SamplePoints
from inr.measurements.rays import Rays, box_interval, camera_rays, check_range, ndc_depth, propose, spaced, strata, to_ndc
from inr.randomness import StepRandomness

THINNER = 2.0  # taken off a raw density before softplus: a fresh field, about 0, is thin whatever the scale
ENDLESS = 1e10  # length of an open interval, as published
DENSITIES: dict[str, Callable[[Tensor], Tensor]] = {"softplus": lambda raw: F.softplus(raw - THINNER), "relu": F.relu}


class VolumeRendering(Measurement):
    """Colours of pixels from a field of raw (red, green, blue, density), by the emission-absorption model.

    near, far:  depths between which rays are sampled [scene units].
    samples:    distances along each ray, at random in its stratum while training. A sample stands for the cell that reaches
                half-way to its neighbours, the first from near, the last to far.
    importance: further samples where a first pass (of the field's `coarse` one) finds weight; constants of the ray.
    spacing:    "depth" or "disparity" (1 / depth), in which samples are even.
    density:    "softplus" of the raw number less 2, or its "relu".
    scale:      factor of the density [1 / scene unit].
    noise:      standard deviation of gaussian noise on the raw density while training.
    background: colour of what is not absorbed.
    ndc:        slopes (s_y, s_x) of `to_ndc`, to sample in normalised device coordinates (near 0, far 1).
    box:        sample inside [-1, 1]^3 alone.
    directions: append the unit direction of view to each point.
    open_end:   the published quadrature: a sample stands for the interval to the next one, the last has no end.
    proposal:   observe the field's `coarse` one.
    Context: poses (1|signals, points|1, 3, 4), intrinsics (1|signals, points|1, 4|11) as `camera_rays` takes them;
             `distances` fixes the samples; jitter, fine jitter and noise are drawn while training.
    Shapes: coordinates (1|signals, points, 2) = (row, column) -> observations (signals, points, 3) in 0..1.
    Units:  coordinates in pixels; colours after a sigmoid.
    Raises: InputError for options outside their range, and open ends without relu.
    Source: Mildenhall et al., NeRF (ECCV 2020), equation 3 and section 5.2.
    """

    linear = False
    further = ("depth", "opacity")
    background: Tensor

    def __init__(
        self,
        near: float = 0.0,
        far: float = 1.0,
        samples: int = 64,
        importance: int = 0,
        spacing: str = "depth",
        density: str = "softplus",
        scale: float = 10.0,
        noise: float = 0.0,
        background: Sequence[float] = (0.0, 0.0, 0.0),
        ndc: Sequence[float] | None = None,
        box: bool = False,
        directions: bool = False,
        open_end: bool = False,
        proposal: bool = False,
    ) -> None:
        super().__init__()
        check_range(near, far, spacing)
        rules = {
            "samples": (samples >= 2, "must be at least 2", samples),
            "importance": (importance >= 0, "must not be negative", importance),
            "density": (density in DENSITIES, f"must be one of {', '.join(DENSITIES)}", density),
            "scale": (0 < scale < float("inf"), "must be finite and positive", scale),
            "noise": (0 <= noise < float("inf"), "must be finite and not negative", noise),
            "open_end": (not open_end or density == "relu", "makes every ray opaque unless density=relu", open_end),
            "box": (not box or ndc is None, "is for rays of the scene, not for those in ndc", box),
        }
        for option, (holds, rule, value) in rules.items():
            if not holds:
                raise InputError(f"{option} {rule}, got {option}={value}.")
        self.near, self.far = near, far
        self.samples, self.importance = samples, importance
        self.spacing = spacing
        self.density = DENSITIES[density]
        self.scale, self.noise = scale, noise
        self.ndc, self.box = ndc, box
        self.directions, self.open_end = directions, open_end
        self.proposal = proposal
        self.register_buffer("background", torch.tensor([float(channel) for channel in background]), persistent=False)

    def random_context(self, randomness: StepRandomness, context: dict[str, Tensor]) -> dict[str, Tensor]:
        """Draw the places of samples in their strata, and the noise of their densities."""
        device = context["poses"].device
        drawn = {"jitter": randomness.uniform("jitter", self.samples, device)}
        if self.importance:
            drawn["fine_jitter"] = randomness.uniform("fine jitter", self.importance, device)
        if self.noise:
            drawn["noise"] = self.noise * randomness.normal("noise", self.samples + self.importance, device)
        return drawn

    def rays(self, coordinates: Float[Tensor, "shared points 2"]) -> Rays:
        """Return the rays of the scene that arrive at the pixels."""
        if "poses" not in self.context:
            raise InputError("Rendering needs a camera: bind it with within(poses=(1, 1, 3, 4), intrinsics=(1, 1, 4)).")
        dtype = coordinates.dtype
        return camera_rays(coordinates, self.context["poses"].to(dtype), self.context["intrinsics"].to(dtype))

    def interval(self, rays: Rays) -> tuple[Tensor | float, Tensor | float]:
        """Return the distances between which rays are sampled."""
        return box_interval(*rays, self.near, self.far) if self.box else (self.near, self.far)

    def locate(self, coordinates: Float[Tensor, "shared points 2"]) -> SamplePoints:
        """Return points along the rays; quadrature: their distances and the lengths of their cells."""
        scene = self.rays(coordinates)
        rays = scene if self.ndc is None else to_ndc(scene, self.ndc)
        near, far = self.interval(rays)
        distances = self.context.get("distances")  # of `prepare`, which do not move with the pixel
        if distances is None:
            fractions = strata(self.samples, self.context.get("jitter"), coordinates, self.open_end)
            distances = spaced(fractions, near, far, self.spacing).expand(*coordinates.shape[:-1], self.samples)
        points = rays.at(distances)
        length = rays.directions.norm(dim=-1, keepdim=True)  # of a unit of distance: directions are a depth of 1 long
        if self.directions:
            views = scene.directions / scene.directions.norm(dim=-1, keepdim=True)
            points = torch.cat([points, views[..., None, :].expand_as(points)], -1)
        return SamplePoints(points, (distances, self.lengths(distances, near, far) * length))

    def lengths(self, distances: Tensor, near: Tensor | float, far: Tensor | float) -> Tensor:
        """Return the stretch of the ray that each sample stands for, in units of its direction."""
        if self.open_end:  # the last cell absorbs all that is left, if there is any density in it
            return torch.cat([distances.diff(dim=-1), torch.full_like(distances[..., :1], ENDLESS)], -1)
        return cell_edges(distances, near, far).diff(dim=-1)

    def composite(self, values: Tensor, lengths: Tensor) -> Float[Tensor, "*batch samples"]:
        """Return the weight of each sample: the share of light that is absorbed in its cell and in none before it.

        Shapes: values (..., samples, 4), lengths (..., samples).
        """
        noise, raw = self.context.get("noise"), values[..., 3]
        raw = raw if noise is None else raw + noise[..., : raw.shape[-1]]
        # With a constant density s in every cell of length l the transmittance falls by exp(-s l), so the weight is
        # exp(-sum of s l before) (1 - exp(-s l)); expm1 keeps the digits of thin cells.
        depth = self.scale * self.density(raw) * lengths
        before = F.pad(depth, (1, 0))[..., :-1].cumsum(-1)  # not the sum minus itself: an open interval is huge
        return (-before).exp() * -torch.expm1(-depth)

    def integrate(self, values: Tensor, quadrature: tuple[Tensor, ...]) -> Tensor:
        """Return the colours of the pixels."""
        return self.colour(values, self.composite(values, quadrature[1]))

    def colour(self, values: Tensor, weights: Tensor) -> Float[Tensor, "*batch 3"]:
        """Blend the colours of samples by their weights, over the background."""
        foreground = (weights[..., None] * values[..., :3].sigmoid()).sum(-2)
        return foreground + (1 - weights.sum(-1, keepdim=True)) * self.background.to(foreground)

    def prepare(self, field: Field, coordinates: Tensor) -> tuple["VolumeRendering", Field]:
        """Bind distances that a first pass proposes, if `importance`; exchange the field for its coarse one, if `proposal`."""
        if self.proposal:
            return self, field.coarse
        if not self.importance:
            return self, field
        with torch.no_grad():  # constants of the ray, as published: gradients do not go into where one looks
            first = self.locate(coordinates)
            distances, lengths = first.quadrature
            weights = self.composite(field.coarse(first.points), lengths)
            near, far = self.interval(self.rays(coordinates))  # the whole range unless box, which excludes ndc
            edges = cell_edges(distances, near, far).expand(*weights.shape[:-1], -1)
            fine = propose(weights, edges, strata(self.importance, self.context.get("fine_jitter"), weights))
            distances = torch.cat([distances.expand(*fine.shape[:-1], -1), fine], -1).sort(-1).values
        return self.within(**self.context, distances=distances), field

    def observe(self, field: Field, coordinates: Float[Tensor, "shared points 2"]) -> dict[str, Tensor]:
        """Return colours as `value`, with `depth` along the optical axis and `opacity`, (signals, points, 1) each.

        Units:  depth in scene units, the mean over where the ray ends inside the scene; `far` for rays that end nowhere.
        """
        sensor, field = self.prepare(field, coordinates)
        located = sensor.locate(coordinates)
        distances, lengths = located.quadrature
        values = field(located.points)
        weights = sensor.composite(values, lengths)
        opacity = weights.sum(-1, keepdim=True)
        # A weighted mean of distances with a very light one at far: no division by zero where there is nothing else.
        lightest = torch.finfo(opacity.dtype).eps
        depth = ((weights * distances).sum(-1, keepdim=True) + lightest * self.far) / (opacity + lightest)
        if self.ndc is not None:
            depth = ndc_depth(self.rays(coordinates), depth)
        return {"value": self.colour(values, weights), "depth": depth, "opacity": opacity}


def cell_edges(distances: Float[Tensor, "*batch samples"], near: Tensor | float, far: Tensor | float) -> Tensor:
    """Return the ends of the cells of samples: near, half-way between neighbours, far.

    Shapes: near and far (..., 1) or numbers -> (..., samples + 1).
    """
    # Half-way: in the middle of its cell where samples are even, a sample's value is exact to second order.
    first, middle = distances[..., :1], (distances[..., 1:] + distances[..., :-1]) / 2
    return torch.cat([torch.zeros_like(first) + near, middle, torch.zeros_like(first) + far], -1)
