"""Rays of cameras: from pixels to origins and directions, and where along them the field is sampled."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from inr.errors import InputError

SPACINGS = ("depth", "disparity")
PARALLEL = 1e-9  # a ray this parallel to a face of the cube does not cross it


class Rays(NamedTuple):
    """Straight lines origin + distance x direction; a direction is one unit of depth along the optical axis long.

    Shapes: (..., points, 3).
    """

    origins: Tensor
    directions: Tensor

    def at(self, distances: Float[Tensor, "*batch samples"]) -> Float[Tensor, "*batch samples 3"]:
        """Points at distances along each ray."""
        return self.origins[..., None, :] + distances[..., None] * self.directions[..., None, :]


def camera_rays(
    coordinates: Float[Tensor, "*batch points 2"], poses: Float[Tensor, "*#batch #points 3 4"], intrinsics: Tensor
) -> Rays:
    """The rays that arrive at pixels (row, column) of pinhole cameras.

    Shapes: coordinates (..., points, 2); poses (..., points|1, 3, 4) take the camera's axes (right, up, backwards) and its
            position to the scene; intrinsics (..., points|1, 4) = focal lengths and centre, (row, column) each.
    Units:  pixels; the centre in pixel indices.
    """
    focal, centre = intrinsics.split(2, -1)
    down, right = ((coordinates - centre) / focal).unbind(-1)
    seen = torch.stack([right, -down, -torch.ones_like(right)], -1)
    directions = (poses[..., :3] * seen[..., None, :]).sum(-1)  # not a matrix product: autocast would round it
    return Rays(poses[..., 3].expand_as(directions), directions)


def to_ndc(rays: Rays, slopes: Sequence[float]) -> Rays:
    """The same lines in normalised device coordinates, in which distances 0 .. 1 reach from depth 1 to infinity.

    A point (x, y, z) in front of a camera that looks along -z goes to (-s_x x / z, -s_y y / z, 1 + 2 / z).

    Shapes: slopes = (s_y, s_x), twice the focal length over the picture's height and width.
    Source: Mildenhall et al., NeRF (ECCV 2020), appendix C, near plane at depth 1.
    """
    nearest = -(1 + rays.origins[..., 2:]) / rays.directions[..., 2:]
    x, y, z = (rays.origins + nearest * rays.directions).unbind(-1)
    dx, dy, dz = rays.directions.unbind(-1)
    tall, wide = slopes
    origins = torch.stack([-wide * x / z, -tall * y / z, 1 + 2 / z], -1)
    directions = torch.stack([-wide * (dx / dz - x / z), -tall * (dy / dz - y / z), -2 / z], -1)
    return Rays(origins, directions)


def ndc_depth(rays: Rays, distances: Float[Tensor, "*batch samples"]) -> Float[Tensor, "*batch samples"]:
    """Depth of points on rays of the scene, from their distances along the rays in normalised device coordinates."""
    nearest = -(1 + rays.origins[..., 2:]) / rays.directions[..., 2:]
    start = rays.origins[..., 2:] + nearest * rays.directions[..., 2:]
    gone = distances.clamp(max=1 - 1e-5)
    return nearest + start / rays.directions[..., 2:] * gone / (1 - gone)


def in_cube(rays: Rays, near: float, far: float) -> tuple[Tensor, Tensor]:
    """Where each ray enters and leaves the cube [-1, 1]^3, within near .. far; twice the same where it misses it.

    Shapes: (..., points, 1) each.
    """
    slow = rays.directions.abs() < PARALLEL
    directions = torch.where(slow, torch.full_like(rays.directions, PARALLEL), rays.directions)
    faces = torch.stack([(-1 - rays.origins) / directions, (1 - rays.origins) / directions])
    enters = faces.amin(0).amax(-1, keepdim=True).clamp(min=near)
    leaves = faces.amax(0).amin(-1, keepdim=True).clamp(max=far)
    return enters.clamp(max=far), torch.maximum(enters.clamp(max=far), leaves)


def strata(samples: int, jitter: Tensor | None, like: Tensor, open_end: bool = False) -> Tensor:
    """Fractions of the way, one in each of equally wide strata, at `jitter` (0 .. 1) of its width; None: in the middle.

    With `open_end` the strata surround points that are evenly spaced from 0 to 1, so the first and the last are half as
    wide, and without jitter the points themselves are meant.

    Shapes: jitter (..., samples) -> (..., samples), else (samples,), in the type and on the device of `like`.
    """
    if not open_end:
        middle = 0.5 if jitter is None else jitter.to(like)
        return (torch.arange(samples, dtype=like.dtype, device=like.device) + middle) / samples
    even = torch.linspace(0, 1, samples, dtype=like.dtype, device=like.device)
    if jitter is None:
        return even
    between = (even[1:] + even[:-1]) / 2
    low, high = torch.cat([even[:1], between]), torch.cat([between, even[-1:]])
    return low + (high - low) * jitter.to(like)


def spaced(fractions: Tensor, near: Tensor | float, far: Tensor | float, spacing: str) -> Tensor:
    """Distances at these fractions of the way from near to far, which is even in depth or in disparity, 1 / depth."""
    if spacing == "disparity":
        return 1 / ((1 - fractions) / near + fractions / far)
    return near + (far - near) * fractions


def check_range(near: float, far: float, spacing: str) -> None:
    """Raise InputError for an unknown spacing and for a range in which nothing lies."""
    if spacing not in SPACINGS:
        raise InputError(f"spacing must be one of {', '.join(SPACINGS)}, got {spacing}.")
    if not 0 <= near < far < float("inf"):
        raise InputError(f"near must be at least 0 and below far, got near={near} and far={far}.")
    if spacing == "disparity" and not near > 0:
        raise InputError(f"spacing=disparity needs near above 0, got near={near}; use spacing=depth.")


def propose(
    weights: Float[Tensor, "*batch cells"], edges: Float[Tensor, "*batch edges"], fractions: Float[Tensor, "*#batch samples"]
) -> Float[Tensor, "*batch samples"]:
    """Distances where the cumulated weight of cells, spread evenly within each, reaches the fractions.

    A little weight for every cell keeps rays that hit nothing evenly sampled.

    Shapes: cells = edges - 1; fractions ascend in 0 .. 1.
    Source: Mildenhall et al., NeRF (ECCV 2020), section 5.2.
    """
    weights = weights + 1e-5
    mass = torch.cumsum(weights, -1)
    mass = torch.cat([torch.zeros_like(mass[..., :1]), mass / mass[..., -1:]], -1)
    fractions = fractions.expand(*mass.shape[:-1], fractions.shape[-1]).contiguous()
    above = torch.searchsorted(mass, fractions, right=True).clamp(1, mass.shape[-1] - 1)
    low, high = mass.gather(-1, above - 1), mass.gather(-1, above)
    left, right = edges.gather(-1, above - 1), edges.gather(-1, above)
    within = ((fractions - low) / (high - low).clamp(min=torch.finfo(mass.dtype).tiny)).clamp(0, 1)
    return left + within * (right - left)
