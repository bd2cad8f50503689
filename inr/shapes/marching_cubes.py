"""From a field of distances, positive outside, to the triangles of its surface."""

# skimage marches over a volume of all samples; a network at 512^3 of them would take an hour, so only those around the
# surface are evaluated.

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from skimage.measure import marching_cubes
from torch import Tensor

from inr.errors import InputError
from inr.shapes.meshes import Mesh

Distance = Callable[[Tensor], Tensor]  # points (points, 3) -> (points,)
CHUNK = 65536  # points a field is asked for at a time
STRETCH = 16  # chunks of a lattice that are searched at once for the samples to evaluate


@torch.no_grad()
def evaluate(distance: Distance, points: Float[Tensor, "points 3"], chunk: int = CHUNK) -> Float[Tensor, " points"]:
    """Evaluate distances at any number of points, of which the field sees at most `chunk` at a time."""
    values = points.new_empty(len(points))
    for start in range(0, len(points), chunk):
        values[start : start + chunk] = distance(points[start : start + chunk])
    return values


def march_volume(
    volume: Float[Tensor, "rows columns layers"] | np.ndarray,
    mask: Bool[Tensor, "rows columns layers"] | np.ndarray | None = None,
) -> Mesh:
    """Return the surface where samples of distances change sign, by marching cubes; no triangle if they never do.

    Axis k of the volume is coordinate k, sampled at linspace(-1, 1, size). A surface that leaves the volume is open there.
    With a mask, only cubes whose farthest corner is in it are looked at.
    Raises: InputError if a sample is not finite.
    Source: Lewiner et al., Efficient Implementation of Marching Cubes' Cases with Topological Guarantees (2003).
    """
    samples = np.ascontiguousarray(volume, np.float32)
    low, high = samples.min(), samples.max()
    if not np.isfinite([low, high]).all():
        raise InputError(f"A surface needs finite distances, got samples from {low} to {high}; the fit may have diverged.")
    if not low <= 0 < high:
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    try:
        inside = None if mask is None else np.asarray(mask)
        vertices, faces, _, _ = marching_cubes(samples, 0.0, mask=inside, gradient_direction="descent")
    except RuntimeError:  # nothing crosses within the mask
        return Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    return Mesh(vertices * (2 / (np.array(samples.shape) - 1)) - 1, faces.astype(np.int64))


def over_corners(choose: Callable[[Tensor, Tensor], Tensor], samples: Tensor) -> Tensor:
    """Reduce the eight corners of every cell of a lattice (a, b, c) by a binary operation: (a - 1, b - 1, c - 1)."""
    for axis in range(3):  # pairs along one axis after the other: 3 operations, not 7
        cells = samples.shape[axis] - 1
        samples = choose(samples.narrow(axis, 0, cells), samples.narrow(axis, 1, cells))
    return samples


def repeated(lattice: Tensor, size: int, factor: int) -> Tensor:
    """Return a lattice `factor` times as fine, `size` along each axis: each entry once more for what follows it."""
    parent = torch.arange(size) // factor
    return lattice[parent[:, None, None], parent[:, None], parent]


def axis_places(stride: int, resolution: int) -> Float[Tensor, " places"]:
    """Return the places of every `stride`-th sample along an axis, and of the last."""
    index = torch.arange(0, resolution - 1 + stride, stride).clamp(max=resolution - 1)
    return torch.linspace(-1, 1, resolution, dtype=torch.float32)[index]


def evaluate_lattice(
    values: Float[Tensor, "a a a"], wanted: Bool[Tensor, "a a a"], places: Tensor, distance: Distance, chunk: int
) -> None:
    """Evaluate the field at the wanted samples of a lattice, in place, in stretches of bounded memory."""
    size = len(places)
    for start in range(0, wanted.numel(), STRETCH * chunk):
        index = start + wanted.view(-1)[start : start + STRETCH * chunk].nonzero()[:, 0]
        points = places[torch.stack([index // size**2, index // size % size, index % size], -1)]
        values.view(-1)[index] = evaluate(distance, points, chunk)


def near_surface(
    distance: Distance, resolution: int, chunk: int = CHUNK, block: int = 8, slope: float = 2.0
) -> Float[Tensor, "resolution resolution resolution"]:
    """Return samples of a field in [-1, 1]^3: exact around its surface, and elsewhere of the right sign.

    The field is asked on a lattice of every `block`-th sample, then in blocks that the surface may cross, which are divided
    until they are single cells.
    """
    stride = min(block, resolution - 1)
    places = axis_places(stride, resolution)
    values = places.new_empty([len(places)] * 3)
    evaluate_lattice(values, torch.ones_like(values, dtype=torch.bool), places, distance, chunk)
    while stride > 1:
        # Every point of a block is as near as half its diagonal, sqrt(3) x side / 2, to one of the corners; a side is
        # stride x 2 / (resolution - 1). Where all corners have one sign and exceed slope x that, no point is zero.
        reach = slope * 3**0.5 * stride / (resolution - 1)
        cells = (over_corners(torch.minimum, values) <= reach) & (over_corners(torch.maximum, values) >= -reach)
        factor = next(divisor for divisor in range(2, stride + 1) if stride % divisor == 0)
        stride //= factor
        places = axis_places(stride, resolution)
        values = repeated(values, len(places), factor)  # of the right sign where the surface is not
        crossed = repeated(cells, len(places) - 1, factor)
        corners = over_corners(torch.logical_or, F.pad(crossed, [1] * 6))  # the samples at the corners of these cells
        evaluate_lattice(values, corners, places, distance, chunk)
    return values


def march(distance: Distance, resolution: int, chunk: int = CHUNK, block: int = 8, slope: float = 2.0) -> Mesh:
    """Return the surface of a field in [-1, 1]^3, sampled `resolution` times along each axis, evaluated near it only.

    It is the surface of all samples, vertex for vertex, of every field whose values differ by at most `slope` times the
    distance of the points. A distance has slope 1; 2 leaves room for a network that only approaches one. A steeper field
    may lose details thinner than a block: raise `slope`, or take block=1, which evaluates every sample.
    Raises: InputError if there is no block or no slope to march with, or a sample is not finite.
    """
    if resolution < 2 or chunk < 1 or block < 1 or not slope > 0:
        rule = "Marching needs resolution >= 2, chunk >= 1, block >= 1 and slope > 0"
        raise InputError(f"{rule}, got resolution={resolution}, chunk={chunk}, block={block}, slope={slope}.")
    return march_volume(near_surface(distance, resolution, chunk, block, slope))
