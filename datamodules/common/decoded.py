"""A picture as a reader of some format gives it: its channels, and how its file says to show them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from inr.errors import InputError

BACKGROUNDS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "grey": (0.5, 0.5, 0.5)}
SWAPPED = (5, 6, 7, 8)  # orientations of pictures that lie on a side
UPSIDE_DOWN = (3, 4, 7, 8)  # orientations whose rows, once the axes are swapped back, begin at the bottom
MIRRORED = (2, 3, 6, 7)  # and whose columns begin on the right
TURNED = range(2, 9)


def colour_of(background: str | Sequence[float]) -> tuple[float, ...]:
    """Return a colour by its name or its red, green and blue."""
    colour = BACKGROUNDS.get(background, ()) if isinstance(background, str) else tuple(background)
    if len(colour) != 3 or not all(isinstance(channel, int | float) and 0 <= channel <= 1 for channel in colour):
        raise InputError(f"data.background must be one of {', '.join(BACKGROUNDS)}, or [r, g, b] in 0..1, got {background}.")
    return colour


def choose_frame(frames: int, frame: int | None, path: Path) -> None:
    """Refuse a file of several frames unless one is chosen, and a frame that is not there."""
    if frames > 1 and frame is None:
        raise InputError(f"An image is one frame, {path} has {frames}; choose one with data.frame=0.")
    if not 0 <= (frame or 0) < frames:
        raise InputError(f"data.frame must be in 0 .. {frames - 1}, the frames of {path}, got {frame}; choose one of them.")


@contextmanager
def allow_large(large: bool) -> Iterator[None]:
    """Lift the limit on the size of pictures for a while. It is a variable of Pillow, and so of all threads."""
    before = Image.MAX_IMAGE_PIXELS
    if large:
        Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        if large:
            Image.MAX_IMAGE_PIXELS = before


def check_size(rows: int, columns: int, path: Path) -> None:
    """Refuse a picture beyond the limit of Pillow, where a small file may fill the memory: twice what it warns of."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and rows * columns > 2 * limit:
        rule = f"An image of more than {2 * limit} pixels must be meant to be so large"
        raise InputError(f"{rule}, {path} has {rows} x {columns}; add data.large=true to data=image, or shrink it.")


def peak_of(array: np.ndarray) -> float:
    """Return the number of a type that means full: the highest of integers, one of floats."""
    return float(np.iinfo(array.dtype).max) if array.dtype.kind in "ui" else 1.0


def round_to(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Bring values to a number type; integers are rounded, and cut at the ends of their range."""
    if dtype.kind not in "ui":
        return values.astype(dtype)
    ends = np.iinfo(dtype)
    return values.round().clip(ends.min, ends.max).astype(dtype)


def upright(array: np.ndarray, orientation: object) -> np.ndarray:
    """Turn and mirror a picture (rows, columns, ...) as the tag Orientation says; other values than 1 .. 8 mean nothing.

    Source: TIFF 6.0 (1992), section 8, whose numbers Exif took over.
    """
    if orientation not in TURNED:
        return array
    turned = array.swapaxes(0, 1) if orientation in SWAPPED else array
    rows = slice(None, None, -1 if orientation in UPSIDE_DOWN else 1)
    columns = slice(None, None, -1 if orientation in MIRRORED else 1)
    return turned[rows, columns]


@dataclass(frozen=True)
class Decoded:
    """A picture as it is stored: colours first, then further bands, and transparency apart from them.

    bands: number of channels beyond the colours.
    premultiplied: colours are stored times alpha.
    orientation: the tag of that name, by which the picture is turned when it is shown; 1: as it is.
    note: a remark on the file that its user should read.

    Shapes: values (rows, columns, channels) or (rows, columns); alpha (rows, columns, 1).
    """

    values: np.ndarray
    alpha: np.ndarray | None = None
    bands: int = 0
    premultiplied: bool = False
    orientation: object = 1
    note: str | None = None

    def shown(self, background: tuple[float, ...]) -> np.ndarray:
        """Return the picture upright, laid over a background colour; bands beyond the colours are not."""
        return upright(self.stored(background), self.orientation)

    def stored(self, background: tuple[float, ...]) -> np.ndarray:
        """Return the picture with rows and columns as they lie in the file, laid over a background colour."""
        return self.values if self.alpha is None else self.over(self.alpha, background)

    def over(self, alpha: np.ndarray, background: tuple[float, ...]) -> np.ndarray:
        """Lay the colours over a background: alpha * colour + (1 - alpha) * background."""
        channels = self.values.shape[2] - self.bands
        colours = self.values[..., :channels]
        peak = peak_of(self.values)
        share = alpha / peak_of(alpha)
        behind = peak * np.asarray([sum(background) / 3] if channels == 1 else background)
        flat = (colours if self.premultiplied else share * colours) + (1 - share) * behind
        return np.concatenate([round_to(flat, colours.dtype), self.values[..., channels:]], -1)
