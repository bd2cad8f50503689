"""Sphere tracing: the points at which rays meet a surface that is given by its distances, positive outside."""

# trimesh and igl intersect rays with triangles; a fitted distance has none, and its pictures are of the field itself.

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from inr.errors import InputError
from inr.measurements.rays import box_interval
from inr.shapes.marching_cubes import CHUNK, Distance, evaluate

REFINEMENTS = 12  # as many bring a step of half the cube down to rounding


class Hits(NamedTuple):
    """Ends of rays, and whether they lie on the surface."""

    points: Float[Tensor, "rays 3"]
    reached: Bool[Tensor, " rays"]


@torch.no_grad()
def trace(
    distance: Distance,
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    far: float = 4.0,
    steps: int = 96,
    tolerance: float = 1e-3,
    slope: float = 1.0,
    chunk: int = CHUNK,
) -> Hits:
    """Follow rays until they first come within `tolerance` of the surface, in the cube [-1, 1]^3 and at most `far` along.

    A ray steps by the distance over `slope`, the most that the field changes over a unit of length, so no step can jump
    over the surface. If the field is steeper than that and a step does, the crossing is found by false position. A ray that
    starts inside ends where it leaves the body. What is not reached ends where the ray leaves the cube, or gave up.
    Raises: InputError if the slope or the tolerance is not positive.
    Source: Hart, Sphere Tracing (The Visual Computer 12, 1996); Dowell & Jarratt, A Modified Regula Falsi Method (1971).
    """
    if not (slope > 0 and tolerance > 0):
        raise InputError(f"Tracing needs slope > 0 and tolerance > 0, got slope={slope}, tolerance={tolerance}.")
    along, leave = (ends.squeeze(-1) for ends in box_interval(origins, directions, 0.0, far))
    (alive,) = (along < leave).nonzero(as_tuple=True)
    along = along.where(along < leave, 0.0)
    before = along.clone()  # the step before, of the value `earlier`
    value, earlier = torch.zeros_like(along), torch.zeros_like(along)
    reached = torch.zeros_like(along, dtype=torch.bool)
    for _ in range(steps):
        here = evaluate(distance, origins[alive] + along[alive, None] * directions[alive], chunk)
        earlier[alive], value[alive] = value[alive], here
        reached[alive] = (here.abs() < tolerance) | (here * earlier[alive] < 0)  # at the surface, or stepped over it
        alive = alive[~reached[alive] & (along[alive] < leave[alive])]
        before[alive] = along[alive]
        along[alive] = (along[alive] + value[alive].abs() / slope).minimum(leave[alive])
    (crossed,) = (reached & (value * earlier < 0)).nonzero(as_tuple=True)
    along[crossed] = false_position(
        lambda lengths: evaluate(distance, origins[crossed] + lengths[:, None] * directions[crossed], chunk),
        *(state[crossed] for state in (before, along, earlier, value)),
    )
    return Hits(origins + along[:, None] * directions, reached)


def false_position(
    value_at: Callable[[Tensor], Tensor], before: Tensor, along: Tensor, earlier: Tensor, value: Tensor
) -> Float[Tensor, " rays"]:
    """Return the lengths at which a value of one sign `before` and of another `along` a ray is 0, by false position.

    An end that stays counts half the next time (the Illinois rule), or it would stay for ever where the values are convex.
    """
    # Of the chord through (before, earlier) and (along, value), the zero is at the mean of both, weighted by the other's value.
    for _ in range(REFINEMENTS):
        middle = (before * value - along * earlier) / (value - earlier)
        here = value_at(middle)
        turned = here * value < 0
        before, earlier = along.where(turned, before), value.where(turned, earlier / 2)
        along, value = middle, here
    return along


def normals(
    distance: Distance, points: Float[Tensor, "points 3"], step: float = 1e-3, chunk: int = CHUNK
) -> Float[Tensor, "points 3"]:
    """Return unit vectors up the field, which point outward, by central differences; one-sided at the faces of the cube."""
    gradient = torch.zeros_like(points)
    for axis in range(3):
        shift = step * torch.eye(3)[axis].to(points)
        ahead, behind = (points + shift).clamp(-1, 1), (points - shift).clamp(-1, 1)
        rise = evaluate(distance, ahead, chunk) - evaluate(distance, behind, chunk)
        gradient[:, axis] = rise / (ahead - behind)[:, axis]
    return F.normalize(gradient, dim=-1)


def orthographic(
    size: int, azimuth: float, elevation: float, width: float = 2.2, up: str = "y"
) -> tuple[Float[Tensor, "rays 3"], Float[Tensor, "rays 3"]]:
    """Return origins and directions of size x size parallel rays that look at the origin, row by row from the top left.

    Without azimuth the eye is on the z axis with x to its right; with up="z", on the x axis with y to its right. It goes to
    its right with the azimuth, and up with the elevation. The picture is `width` wide, and its plane 2 from the origin.
    Units:  azimuth and elevation [degrees].
    Raises: InputError if `up` is neither y nor z.
    """
    if up not in ("y", "z"):
        raise InputError(f"The axis that is up must be y or z, got {up}.")
    turn, rise = math.radians(azimuth), math.radians(elevation)
    # The z axis, tilted up by the elevation, then turned about y by the azimuth.
    eye = torch.tensor([math.sin(turn) * math.cos(rise), math.sin(rise), math.cos(turn) * math.cos(rise)])
    right = torch.tensor([math.cos(turn), 0.0, -math.sin(turn)])
    top = torch.linalg.cross(eye, right)
    if up == "z":
        eye, right, top = (vector.roll(1) for vector in (eye, right, top))  # (x, y, z) becomes (y, z, x)
    side = width * ((torch.arange(size) + 0.5) / size - 0.5)
    origins = 2 * eye - side[:, None, None] * top + side[:, None] * right
    return origins.reshape(-1, 3), -eye.expand(size * size, 3)
