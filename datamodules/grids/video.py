"""A video as a collection: every frame a signal."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from datamodules.common.files import require
from datamodules.grids.collection import CollectionData
from datamodules.grids.images import COLOURS, bytes_units
from datamodules.grids.moving_square import moving_square
from datamodules.grids.read_video import FOLDER_RATE, check_choice, check_there, read_video
from datamodules.grids.store import Source
from inr.errors import InputError


class Video(NamedTuple):
    """Frames, and what is known of them.

    Shapes: frames and background (frames, rows, columns, channels), bytes; foreground (frames, rows, columns), booleans.
    """

    frames: np.ndarray
    rate: float
    background: np.ndarray | None = None
    foreground: np.ndarray | None = None


@dataclass(kw_only=True, eq=False)
class VideoCollection(CollectionData):
    """Frames of a video or of a folder of pictures; with path=None those of a generated one whose background is known.

    Names are the numbers of the frames in the video.

    first, last: frames from 0, the last one included; None: the end.
    size: rows and columns, or the length of the shorter side, reached by Lanczos resampling; None: as the video is (the
        generated one is square, of 64).

    Units:  coordinates (row, column) in pixels after resizing; values 0..255.
    Raises: InputError for a video that cannot be read, frames that it does not have, or a size that is no size.
    """

    path: str | None = None
    first: int = 0
    last: int | None = None
    step: int = 1  # take every so many-th frame between them
    size: int | Sequence[int] | None = None
    colour: str | None = None  # rgb, grey; None: grey where all frames are
    held_out: float | int | str | None = 0
    tuning: float | int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        size = self.size
        self.sides = [size] if isinstance(size, int) else list(size or [])
        if size is not None and (not 1 <= len(self.sides) <= 2 or min(self.sides) < 2):
            raise InputError(f"data.size must be the shorter side or [rows, columns] in pixels, at least 2, got {size}.")
        rule = f"must be one of {', '.join(COLOURS)}, or null for that of the film"
        require("data.colour", self.colour in (None, *COLOURS), rule, self.colour)

    @cached_property
    def video(self) -> Video:
        """The chosen frames, resized, in the chosen colour."""
        video = self.generate() if self.path is None else self.read(Path(self.path))
        if self.colour == "rgb" or (self.colour is None and not is_grey(video.frames)):
            return video
        behind = None if video.background is None else grey(video.background)
        return video._replace(frames=grey(video.frames), background=behind)

    def read(self, path: Path) -> Video:
        """Read the frames of a file or folder."""
        frames, rate = read_video(path, self.first, self.last, self.step)
        rows, columns = scaled(frames.shape[1], frames.shape[2], self.sides)
        if (rows, columns) != frames.shape[1:3]:
            pictures = (Image.fromarray(frame).resize((columns, rows), Image.Resampling.LANCZOS) for frame in frames)
            frames = np.stack([np.asarray(picture) for picture in pictures])
        return Video(frames, rate / self.step)

    def generate(self) -> Video:
        """Make the frames of the generated video."""
        given = check_choice(self.first, self.last, self.step)
        sides = set(self.sides) or {64}
        if len(sides) > 1 or min(sides) < 16:
            raise InputError(f"The generated film is square and of 16 pixels or more, got data.size={self.sides}; correct it.")
        frames, background, foreground = moving_square(side=sides.pop())
        end = None if self.last is None else self.last + 1
        chosen = slice(self.first, end, self.step)
        wanted = None if end is None else range(self.first, end, self.step)
        check_there(len(frames[chosen]), wanted, len(frames), given)
        return Video(frames[chosen], FOLDER_RATE / self.step, background[chosen], foreground[chosen])

    @property
    def rate(self) -> float:
        """Frames per second of the chosen frames, so that they last as long as in the video."""
        return self.video.rate

    @property
    def background(self) -> np.ndarray | None:
        """The still picture behind the moving objects (frames, rows, columns, channels), if that is known."""
        return self.video.background

    @property
    def foreground(self) -> np.ndarray | None:
        """Mask of the moving objects (frames, rows, columns), if they are known."""
        return self.video.foreground

    def scan(self) -> Source:
        """Return the frames by their numbers in the video."""
        frames = self.video.frames
        numbers = range(self.first, self.first + len(frames) * self.step, self.step)
        names = [f"frame {number:0{max(4, len(str(numbers[-1])))}d}" for number in numbers]
        return Source(names, frames.shape[1:3], frames.shape[3], lambda place: frames[place].copy(), bytes_units)


def scaled(rows: int, columns: int, sides: Sequence[int]) -> tuple[int, int]:
    """Return rows and columns as asked for: both, or the shorter of them at the same proportions, or as they are."""
    if len(sides) == 2:
        return sides[0], sides[1]
    factor = sides[0] / min(rows, columns) if sides else 1.0
    return round(rows * factor), round(columns * factor)


def is_grey(frames: np.ndarray) -> bool:
    """Tell whether all channels of all frames are the same."""
    return all(bool((frame == frame[..., :1]).all()) for frame in frames)


def grey(frames: np.ndarray) -> np.ndarray:
    """Convert frames of bytes from three channels to one, by the luma of BT.601.

    Pillow does it in integers; kornia would in floats, which round otherwise at times.
    """
    return np.stack([np.asarray(Image.fromarray(frame).convert("L")) for frame in frames])[..., None]
