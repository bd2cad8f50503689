"""One image: a file, an array, or the bundled astronaut."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import skimage.data
import torch
from torch import Tensor

from datamodules.common.batch import Units
from datamodules.common.pictures import colour_of, find, read_image
from datamodules.common.signal_data import Header
from datamodules.grids.grid import GridData
from inr.baselines.interpolation import Interpolation, cubic, linear, nearest


@dataclass(kw_only=True, eq=False)
class ImageData(GridData):
    """An image to fit: `path`, or `root` and `name`; without either, the astronaut of scikit-image.

    Unsigned integers of 8 and 16 bits are mapped to [-1, 1] by their type's range, other numbers by their own minimum and
    maximum.

    Units:  coordinates (row, column) in pixels; values in the file's numbers.
    Raises: InputError for a missing or unreadable file and for what `read_image` refuses.
    """

    path: str | None = None
    root: str | None = None
    name: str | None = None
    frame: int | None = None  # one of several in the file
    background: str | Sequence[float] = "white"  # under transparency: white, black, grey or three numbers in 0..1
    large: bool = False  # read pictures of more than 179 million pixels; TIFF is then mapped into memory

    interpolations: ClassVar[Mapping[str, Interpolation]] = {"nearest": nearest, "bilinear": linear, "bicubic": cubic}

    def __post_init__(self) -> None:
        self.file = find(self.path, self.root, self.name)
        self.backdrop = colour_of(self.background)
        super().__post_init__()

    def default_factor(self) -> int:
        """Return 4 for the bundled image, so that there is something to score; 1 for own files."""
        return 4 if self.file is None else 1

    @cached_property
    def image(self) -> np.ndarray:
        """The picture (rows, columns, channels) as it lies in the file."""
        if self.file is None:
            return skimage.data.astronaut()
        return read_image(self.file, self.frame, self.backdrop, self.large)

    def header(self) -> Header:
        """Return rows and columns, and channels; orientation and transparency decide them, so the file is decoded once."""
        return Header(self.image.shape[:2], self.image.shape[2])

    def read(self) -> tuple[Tensor, Units]:
        """Read the pixels, and the range of their number type."""
        image = self.image
        if image.dtype in (np.uint8, np.uint16):
            half = np.iinfo(image.dtype).max / 2
            unit = f"{image.dtype.itemsize * 8}-bit value (0..{2 * half:.0f})"
            pixels = image if image.dtype == np.uint8 else image.astype(np.float32)
            # tensors want memory in order that they may write to, which is copied only where it is not so already
            return torch.from_numpy(np.require(pixels, requirements=["C", "W"])), Units(
                half, half, 2 * half, unit, str(image.dtype)
            )
        with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
            pixels = np.ascontiguousarray(image, np.float32)
        low, high = float(pixels.min()), float(pixels.max())
        half = (high - low) / 2 or 1.0  # a constant picture has no range
        return torch.from_numpy(pixels), Units(half, (high + low) / 2, 2 * half, f"array value ({low:g}..{high:g})")
