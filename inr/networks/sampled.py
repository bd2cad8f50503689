"""Sampled slices as fields, so that what integrates a network can integrate them too."""

import torch
from jaxtyping import Float
from torch import Tensor

from inr.field import Field


def raster(values: Float[Tensor, "signals rows columns"]) -> Field:
    """The field of pictures: bilinear between the centres of pixels, zero outside, the longest side from -1 to 1.

    Shapes: points (1, ..., 2) = (row, column), shared by all pictures -> values (signals, ..., 1).
    """
    rows, columns = values.shape[1:]
    longest = max(rows, columns) - 1
    stretch = torch.tensor([longest / max(columns - 1, 1), longest / max(rows - 1, 1)], dtype=values.dtype)

    def interpolate(points: Tensor) -> Tensor:
        grid = (points.flip(-1) * stretch.to(points)).reshape(1, -1, 1, 2)
        sampled = torch.nn.functional.grid_sample(values[None].to(points), grid, align_corners=True)
        return sampled.reshape(len(values), *points.shape[1:-1], 1)

    return Field(interpolate)
