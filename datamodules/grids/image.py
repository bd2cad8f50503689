"""One image: a file, an array, or the bundled astronaut."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import skimage.data
import torch
from torch import Tensor

from datamodules.common.batch import Units
from datamodules.common.pictures import colour_of, find, read_image
from datamodules.grids.grid import GridData


class ImageData(GridData):
    """An image to fit: `path`, or `root` and `name`; without either, the astronaut of scikit-image.

    `frame` chooses one of several, `background` is what transparency is laid over: white, black, grey or three numbers
    in 0..1. Unsigned integers of 8 and 16 bits are mapped to [-1, 1] by their type's range, other numbers by their own
    minimum and maximum.
    The other options are those of `GridData`.

    Units:  coordinates (row, column) in pixels; values in the file's numbers.
    Raises: InputError for a missing or unreadable file and for what `read_image` refuses.
    """

    def __init__(
        self,
        path: str | None = None,
        root: str | None = None,
        name: str | None = None,
        frame: int | None = None,
        background: str | Sequence[float] = "white",
        **grid: Any,
    ) -> None:
        self.path, self.frame, self.background = find(path, root, name), frame, colour_of(background)
        super().__init__(**grid)

    def default_factor(self) -> int:
        """4 for the bundled image, so that there is something to score; 1 for own files."""
        return 4 if self.path is None else 1

    @cached_property
    def image(self) -> np.ndarray:
        """The picture (rows, columns, channels) as it lies in the file."""
        return skimage.data.astronaut() if self.path is None else read_image(self.path, self.frame, self.background)

    def header(self) -> tuple[tuple[int, ...], int]:
        """Rows and columns, and channels; orientation and transparency decide them, so the file is decoded once."""
        rows, columns, channels = self.image.shape
        return (rows, columns), channels

    def read(self) -> tuple[Tensor, Units]:
        """The pixels, and the range of their number type."""
        image = self.image
        if image.dtype in (np.uint8, np.uint16):
            half = np.iinfo(image.dtype).max / 2
            unit = f"{image.dtype.itemsize * 8}-bit value (0..{2 * half:.0f})"
            pixels = image if image.dtype == np.uint8 else image.astype(np.float32)
            return torch.from_numpy(np.array(pixels)), Units(half, half, 2 * half, unit, str(image.dtype))
        with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
            pixels = image.astype(np.float32)
        low, high = float(pixels.min()), float(pixels.max())
        half = (high - low) / 2 or 1.0
        return torch.from_numpy(pixels), Units(half, (high + low) / 2, 2 * half, f"array value ({low:g}..{high:g})")
