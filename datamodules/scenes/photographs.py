"""Photographs of a scene as tensors, and draws of their pixels."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from datamodules.scenes.capture import Capture

THREADS = 8


class RayDraw(NamedTuple):
    """Which pixels a batch looks at; the step is None where nothing is drawn at random along their rays.

    Shapes: signals (signals,); views (signals, points); pixels (signals, points, 2), rows and columns, fractions between
            the centres of pixels.
    """

    signals: Tensor
    views: Tensor
    pixels: Tensor
    step: int | None = None


class Photographs(NamedTuple):
    """The photographs of a capture and their cameras, on a device.

    Shapes: pixels (views, rows, columns, 3), poses (views, 3, 4), intrinsics (views, 4).
    """

    pixels: UInt8[Tensor, "views rows columns 3"]
    poses: Tensor
    intrinsics: Tensor


def read_photographs(capture: Capture) -> Photographs:
    """All photographs of a capture, read by several threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        pixels = np.stack(list(pool.map(capture.read, range(len(capture.names)))))
    poses, intrinsics = (torch.from_numpy(array).float() for array in (capture.poses, capture.intrinsics))
    return Photographs(torch.from_numpy(pixels), poses, intrinsics)
