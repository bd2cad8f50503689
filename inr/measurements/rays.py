"""Rays: from pixels to origins and directions, through boxes, and the distances along them at which the field is sampled."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from inr.errors import InputError
from inr.measurements.lenses import look_through

SPACINGS = ("depth", "disparity")
PARALLEL = 1e-6  # direction components below are zero up to the rounding of sines and cosines in float32
LAST = 1 - 1e-5  # fraction of the way in device coordinates that counts as infinity: a depth of 1e5 near planes
LITTLE = 1e-5  # weight added to every cell, so that rays that hit nothing are sampled evenly


class Rays(NamedTuple):
    """Straight lines origin + distance x direction; a direction is one unit of depth along the optical axis long.

    Fisheyes see aside, where depth ends: their directions have length 1, and distances are along the ray.

    Shapes: (..., points, dims) each.
    """

    origins: Tensor
    directions: Tensor

    def at(self, distances: Float[Tensor, "*batch samples"]) -> Float[Tensor, "*batch samples dims"]:
        """Return points at distances along each ray."""
        return self.origins[..., None, :] + distances[..., None] * self.directions[..., None, :]


def box_interval(
    origins: Float[Tensor, "*batch axes"], directions: Float[Tensor, "*batch axes"], near: float, far: float
) -> tuple[Float[Tensor, "*batch 1"], Float[Tensor, "*batch 1"]]:
    """Return the distances within near .. far at which rays enter and leave the box [-1, 1]^axes; twice the same if they miss.

    A ray parallel to a pair of faces is not bounded by them if it runs between, and misses the box if it does not, or runs
    within one of them.
    """
    parallel = directions.abs() < PARALLEL
    between = parallel & (origins.abs() < 1)
    beyond = parallel & ~between
    # Divide by 1 where the quotient is not used: its gradient is multiplied by zero then, and zero times infinity is nan.
    divisors = torch.where(parallel, torch.ones_like(directions), directions)
    faces = torch.stack([(-1 - origins) / divisors, (1 - origins) / divisors])  # of each axis, one entered, one left
    enters = faces.amin(0).masked_fill(between, near).masked_fill(beyond, far)
    leaves = faces.amax(0).masked_fill(between, far).masked_fill(beyond, near)
    # Inside the box is inside all pairs of faces: after the last that is entered, before the first that is left.
    first = enters.amax(-1, keepdim=True).clamp(near, far)
    return first, torch.maximum(first, leaves.amin(-1, keepdim=True).clamp(max=far))


def camera_rays(
    coordinates: Float[Tensor, "*batch points 2"], poses: Float[Tensor, "*#batch #points 3 4"], intrinsics: Tensor
) -> Rays:
    """Return the rays that arrive at pixels (row, column) of cameras.

    Shapes: coordinates (..., points, 2); poses (..., points|1, 3, 4) take the camera's axes (right, up, backwards) and its
            position to the scene; intrinsics (..., points|1, 4|11) = focal lengths and centre, (row, column) each, then the
            numbers of a lens that distorts: k1, k2, k3, k4, p1, p2, and 1 for a fisheye, else 0.
    Units:  pixels; the centre in pixel indices.
    """
    focal, centre, lens = intrinsics[..., :2], intrinsics[..., 2:4], intrinsics[..., 4:]
    down, right = ((coordinates - centre) / focal).unbind(-1)
    if lens.shape[-1]:
        in_camera = look_through(lens, torch.stack([right, down], -1))
    else:
        in_camera = torch.stack([right, -down, -torch.ones_like(right)], -1)  # the camera looks along -z; a depth of 1
    directions = (poses[..., :3] * in_camera[..., None, :]).sum(-1)  # not a matrix product: autocast would round it
    return Rays(poses[..., 3].expand_as(directions), directions)


def to_ndc(rays: Rays, slopes: Sequence[float]) -> Rays:
    """Return the same lines in normalised device coordinates, where distances 0 .. 1 reach from depth 1 to infinity.

    A point (x, y, z) in front of a camera that looks along -z goes to (-s_x x / z, -s_y y / z, 1 + 2 / z).
    Shapes: slopes = (s_y, s_x), twice the focal length over the picture's height and width.
    Source: Mildenhall et al., NeRF (ECCV 2020), appendix C, near plane at depth 1.
    """
    nearest = -(1 + rays.origins[..., 2:]) / rays.directions[..., 2:]  # the distance at which z = -1
    x, y, z = (rays.origins + nearest * rays.directions).unbind(-1)
    dx, dy, dz = rays.directions.unbind(-1)
    tall, wide = slopes
    # A projection takes lines to lines: (x + t dx) / (z + t dz) = x/z + (dx/dz - x/z) t' with t' = t dz / (z + t dz), which
    # goes from 0 at depth 1 to 1 at infinity; and 2 / (z + t dz) = 2/z - (2/z) t'.
    origins = torch.stack([-wide * x / z, -tall * y / z, 1 + 2 / z], -1)
    directions = torch.stack([-wide * (dx / dz - x / z), -tall * (dy / dz - y / z), -2 / z], -1)
    return Rays(origins, directions)


def ndc_depth(rays: Rays, distances: Float[Tensor, "*batch samples"]) -> Float[Tensor, "*batch samples"]:
    """Return the depth of points on rays of the scene, from their distances in normalised device coordinates."""
    nearest = -(1 + rays.origins[..., 2:]) / rays.directions[..., 2:]
    start = rays.origins[..., 2:] + nearest * rays.directions[..., 2:]
    fractions = distances.clamp(max=LAST)
    return nearest + start / rays.directions[..., 2:] * fractions / (1 - fractions)  # t' of `to_ndc`, solved for t


def strata(samples: int, jitter: Tensor | None, like: Tensor, open_end: bool = False) -> Tensor:
    """Return fractions of the way, one in each of equally wide strata, at `jitter` (0 .. 1) of its width; None: in the middle.

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
    between = (even[1:] + even[:-1]) / 2  # edges of the strata
    low, high = torch.cat([even[:1], between]), torch.cat([between, even[-1:]])
    return low + (high - low) * jitter.to(like)


def spaced(fractions: Tensor, near: Tensor | float, far: Tensor | float, spacing: str) -> Tensor:
    """Return distances at fractions of the way from near to far, which is even in depth or in disparity, 1 / depth."""
    even_disparity = spacing == "disparity"  # 1 / distance runs linearly from 1 / near to 1 / far
    return 1 / ((1 - fractions) / near + fractions / far) if even_disparity else near + (far - near) * fractions


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
    """Return distances at which the cumulated weight of cells, uniform within each, reaches the fractions.

    Shapes: cells = edges - 1; fractions ascend in 0 .. 1.
    Source: Mildenhall et al., NeRF (ECCV 2020), section 5.2.
    """
    weights = weights + LITTLE
    # Inverse transform sampling: a uniform number u becomes the distance where the distribution function, piecewise linear
    # with `mass` at the edges, equals u.
    mass = torch.cumsum(weights, -1)
    mass = torch.cat([torch.zeros_like(mass[..., :1]), mass / mass[..., -1:]], -1)
    fractions = fractions.expand(*mass.shape[:-1], fractions.shape[-1]).contiguous()
    above = torch.searchsorted(mass, fractions, right=True).clamp(1, mass.shape[-1] - 1)
    low, high = mass.gather(-1, above - 1), mass.gather(-1, above)
    left, right = edges.gather(-1, above - 1), edges.gather(-1, above)
    share = ((fractions - low) / (high - low).clamp(min=torch.finfo(mass.dtype).tiny)).clamp(0, 1)
    return left + share * (right - left)
