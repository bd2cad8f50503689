"""The camera of neural radiance fields: densities and colours along a ray, composited to a pixel."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from inr.errors import InputError
from inr.field import Field
from inr.measurements.measurement import Measurement, Samples
from inr.measurements.rays import Rays, camera_rays, check_range, in_cube, ndc_depth, propose, spaced, strata, to_ndc
from inr.randomness import Rows

THIN = 2.0  # taken off before softplus, so that a fresh field is thin whatever its scale

ENDLESS = 1e10  # length of an open interval, as published


def softplus(raw: Tensor) -> Tensor:
    """log(1 + exp(raw - 2))."""
    return F.softplus(raw - THIN)


DENSITIES: dict[str, Callable[[Tensor], Tensor]] = {"softplus": softplus, "relu": F.relu}


class Rendering(NamedTuple):
    """What a camera sees, and how far away.

    Shapes: colour (signals, points, 3), depth and opacity (signals, points, 1), weights (signals, points, samples).
    Units:  colour 0..1; depth along the optical axis, in scene units, mean over where the ray ends inside the scene.
    """

    colour: Tensor
    depth: Tensor
    opacity: Tensor
    weights: Tensor


class VolumeRendering(Measurement):
    """Colours of pixels from a field of raw (red, green, blue, density), by the emission-absorption model.

    Each ray is sampled at `samples` distances between depths `near` and `far`, evenly in depth or disparity (`spacing`),
    each at random in its stratum while training. A sample stands for the cell that reaches half-way to its neighbours, the
    first from near, the last to far. With `importance` so many further samples are drawn where the first pass (of the
    field's `proposal`, else of the field itself) finds weight; they are constants of the ray. `proposal` observes that
    field. Density is `scale` x softplus of the raw number less 2, or its relu; gaussian `noise` is added to it while
    training. Colour is a sigmoid; what is not absorbed sees the `background`. `ndc` sends rays through normalised device
    coordinates (near 0, far 1), `box` samples them inside [-1, 1]^3 alone. `directions` appends the unit direction of view.
    `open_end` is the published quadrature: a sample stands for the interval to the next one, the last has no end.

    Context: poses (1|signals, points|1, 3, 4), intrinsics (1|signals, points|1, 4) as `camera_rays` takes them; while
             training `rows`, from which jitter and noise are drawn; `distances` fixes the samples.
    Shapes: coordinates (1|signals, points, 2) = (row, column) -> observations (signals, points, 3) in 0..1.
    Units:  coordinates in pixels; depths in scene units, densities and their scale per scene unit.
    Raises: InputError for options outside their range, and open ends without relu.
    Source: Mildenhall et al., NeRF (ECCV 2020), equation 3 and section 5.2.
    """

    linear = False
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
        self.near, self.far, self.samples, self.importance, self.spacing = near, far, samples, importance, spacing
        self.density, self.scale, self.noise, self.ndc, self.box = DENSITIES[density], scale, noise, ndc, box
        self.directions, self.open_end, self.proposal = directions, open_end, proposal
        self.register_buffer("background", torch.tensor([float(part) for part in background]), persistent=False)

    def within(self, **context: Any) -> Measurement:
        """Bound to cameras; random numbers of a training step are drawn here, so that `locate` is a plain function."""
        rows: Rows | None = context.pop("rows", None)
        if rows is not None:
            device = context["poses"].device
            context["jitter"] = rows.uniform("jitter", self.samples, device)
            if self.importance:
                context["fine jitter"] = rows.uniform("fine jitter", self.importance, device)
            if self.noise:
                context["noise"] = self.noise * rows.normal("noise", self.samples + self.importance, device)
        return super().within(**context)

    def rays(self, coordinates: Float[Tensor, "shared points 2"]) -> Rays:
        """The rays of the scene that arrive at the pixels."""
        if "poses" not in self.context:
            raise InputError("Rendering needs a camera: bind it with within(poses=(1, 1, 3, 4), intrinsics=(1, 1, 4)).")
        dtype = coordinates.dtype
        return camera_rays(coordinates, self.context["poses"].to(dtype), self.context["intrinsics"].to(dtype))

    def locate(self, coordinates: Float[Tensor, "shared points 2"]) -> Samples:
        """Points along the rays; quadrature: their distances and the lengths of their cells."""
        rays = scene = self.rays(coordinates)
        if self.ndc is not None:
            rays = to_ndc(scene, self.ndc)
        near, far = in_cube(rays, self.near, self.far) if self.box else (self.near, self.far)
        distances = self.context.get("distances")
        if distances is None:
            fractions = strata(self.samples, self.context.get("jitter"), coordinates, self.open_end)
            distances = spaced(fractions, near, far, self.spacing)
            distances = distances.expand(*coordinates.shape[:-1], self.samples)
        points, length = rays.at(distances), rays.directions.norm(dim=-1, keepdim=True)
        if self.directions:
            views = scene.directions / scene.directions.norm(dim=-1, keepdim=True)
            points = torch.cat([points, views[..., None, :].expand_as(points)], -1)
        return Samples(points, (distances, self.lengths(distances, near, far) * length))

    def lengths(self, distances: Tensor, near: Tensor | float, far: Tensor | float) -> Tensor:
        """How much of the ray each sample stands for, in units of its direction."""
        if self.open_end:
            return torch.cat([distances.diff(dim=-1), torch.full_like(distances[..., :1], ENDLESS)], -1)
        return cell_edges(distances, near, far).diff(dim=-1)

    def composite(self, values: Tensor, lengths: Tensor) -> Float[Tensor, "*batch samples"]:
        """The weight of each sample: the share of light that is absorbed in its cell and in none before it.

        Shapes: values (..., samples, 4), lengths (..., samples).
        """
        noise = self.context.get("noise")
        raw = values[..., 3]
        raw = raw if noise is None else raw + noise[..., : raw.shape[-1]]
        depth = self.scale * self.density(raw) * lengths
        before = F.pad(depth, (1, 0))[..., :-1].cumsum(-1)  # not the sum minus itself: an open interval is huge
        return (-before).exp() * -torch.expm1(-depth)

    def integrate(self, values: Tensor, quadrature: tuple[Tensor, ...]) -> Tensor:
        """The colours of the pixels."""
        _, lengths = quadrature
        return self.colour(values, self.composite(values, lengths))

    def colour(self, values: Tensor, weights: Tensor) -> Float[Tensor, "*batch 3"]:
        """Weighted colours over the background."""
        seen = (weights[..., None] * values[..., :3].sigmoid()).sum(-2)
        return seen + (1 - weights.sum(-1, keepdim=True)) * self.background.to(seen)

    def prepare(self, field: Field, coordinates: Tensor) -> tuple[Measurement, Field]:
        """With `importance`: bound to distances that a first pass proposes, without gradient."""
        if self.proposal:
            return self, field.coarse
        if not self.importance:
            return self, field
        with torch.no_grad():
            samples = self.locate(coordinates)
            distances, lengths = samples.quadrature
            weights = self.composite(field.coarse(samples.points), lengths)
            near, far = in_cube(self.rays(coordinates), self.near, self.far) if self.box else (self.near, self.far)
            edges = cell_edges(distances, near, far).expand(*weights.shape[:-1], -1)
            fractions = strata(self.importance, self.context.get("fine jitter"), weights)
            fine = propose(weights, edges, fractions)
            distances = torch.cat([distances.expand(*fine.shape[:-1], -1), fine], -1).sort(-1).values
        return super().within(**self.context, distances=distances), field

    def observe(self, field: Field, coordinates: Float[Tensor, "shared points 2"]) -> dict[str, Tensor]:
        """Colour, depth and opacity."""
        seen = self.look(field, coordinates)
        return {"value": seen.colour, "depth": seen.depth, "opacity": seen.opacity}

    def look(self, field: Field, coordinates: Float[Tensor, "shared points 2"]) -> Rendering:
        """Colour, depth and opacity of pixels; rays that end nowhere have depth `far`."""
        prepared, field = self.prepare(field, coordinates)
        samples = prepared.locate(coordinates)
        distances, lengths = samples.quadrature
        values = field(samples.points)
        weights = prepared.composite(values, lengths)  # type: ignore[operator]
        opacity = weights.sum(-1, keepdim=True)
        empty = torch.finfo(opacity.dtype).eps
        depth = ((weights * distances).sum(-1, keepdim=True) + empty * self.far) / (opacity + empty)
        if self.ndc is not None:
            depth = ndc_depth(self.rays(coordinates), depth)
        return Rendering(self.colour(values, weights), depth, opacity, weights)


def cell_edges(distances: Float[Tensor, "*batch samples"], near: Tensor | float, far: Tensor | float) -> Tensor:
    """Where the cells of samples end: near, half-way between neighbours, far.

    Shapes: near and far (..., 1) or numbers -> (..., samples + 1).
    """
    first, middle = distances[..., :1], (distances[..., 1:] + distances[..., :-1]) / 2
    return torch.cat([torch.zeros_like(first) + near, middle, torch.zeros_like(first) + far], -1)
