"""Sampled pictures as fields, so that measurements can observe them as they observe a network."""

import torch
from jaxtyping import Float
from torch import Tensor

from inr.field import Field


def bilinear_field(values: Float[Tensor, "signals rows columns"]) -> Field:
    """Return the field of pictures: bilinear between the centres of pixels, zero outside, the longest side from -1 to 1.

    Shapes: points (1, ..., 2) = (row, column), shared by all pictures -> values (signals, ..., 1).
    """
    rows, columns = values.shape[1:]
    longest = max(rows, columns) - 1
    # grid_sample puts -1 and 1 on the outermost centres of every axis; square pixels put them there on the longest only.
    stretch = torch.tensor([longest / max(columns - 1, 1), longest / max(rows - 1, 1)], dtype=values.dtype)

    def interpolate(points: Tensor) -> Tensor:
        # Pictures count as channels, for which points are shared; grid_sample wants (column, row).
        grid = (points.flip(-1) * stretch.to(points)).reshape(1, -1, 1, 2)
        sampled = torch.nn.functional.grid_sample(values[None].to(points), grid, align_corners=True)
        return sampled.reshape(len(values), *points.shape[1:-1], 1)

    return Field(interpolate)
