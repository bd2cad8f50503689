"""Videos of results: mp4 where ffmpeg is there, else animated gif."""

import itertools
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from imageio.v3 import imwrite

from datamodules.common.files import one_line
from datamodules.grids.read_video import count_frames, ffmpeg
from inr.errors import InputError

CRF = 12  # constant rate factor of h264: 0 is lossless, 23 usual
SHORTEST = 20  # [ms] of a frame of a gif: viewers slow down what is faster


def coloured(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield frames as (rows, columns, 3), one at a time.

    Raises: ValueError if one is not of bytes in one or three channels, or not of the first one's size.
    """
    size: tuple[int, ...] | None = None
    for frame in frames:
        if frame.dtype != np.uint8 or frame.ndim not in (2, 3) or frame.shape[2:] not in ((), (3,)):
            shapes = "(rows, columns) or (rows, columns, 3)"
            raise ValueError(f"A frame must be {shapes} of uint8, got {frame.shape} of {frame.dtype}.")
        size = size or frame.shape[:2]
        if frame.shape[:2] != size:
            raise ValueError(f"Frames must be of one size, got {size} and {frame.shape[:2]}.")
        yield frame if frame.ndim == 3 else np.repeat(frame[..., None], 3, -1)


def even(frame: np.ndarray) -> np.ndarray:
    """Double the last row and column of a frame where they make an even number, as the codec halves colours."""
    return np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")


def write_mp4(path: Path, frames: Iterator[np.ndarray], rate: float) -> None:
    """Write an h264 video that every viewer plays, encoded as the frames come. Raises: OSError with the reason if it fails."""
    stream = cast("list[np.ndarray]", map(even, frames))  # its writer takes a generator, which its type hints do not know
    # faststart puts the table of frames first, so that a browser plays before it has loaded everything.
    output = ["-crf", str(CRF), "-movflags", "+faststart"]
    try:
        path.open("wb").close()  # tells why it cannot be written: imageio loses what ffmpeg says
        # A block of 1 pixel: imageio would stretch odd sizes, instead of repeating the last row and column as `even` does.
        encode = partial(imwrite, plugin="FFMPEG", is_batch=True, codec="libx264", quality=None, macro_block_size=1)
        encode(path, stream, fps=rate, output_params=output, ffmpeg_log_level="quiet")
        count_frames(path)  # and its exit status, too: where the disk filled up, the file cannot be read to its end
    except (OSError, InputError) as error:
        raise OSError(f"A film could not be written to {path}: {one_line(error)}.") from error


def write_video(path_without_ending: Path, frames: Iterable[np.ndarray] | np.ndarray, rate: float) -> Path:
    """Write a video, frame by frame, and return its path: mp4 if imageio-ffmpeg is installed, else gif.

    Shapes: frames (rows, columns) or (rows, columns, 3), bytes; mp4 doubles the last row or column of an odd number.
    Units:  rate in frames per second.
    Raises: ValueError for no frames, frames of another kind or of several sizes, or a rate that is not positive.
    """
    if not rate > 0:
        raise ValueError(f"A film needs rate > 0, got rate={rate}.")
    pictures = coloured(frames)
    first = next(pictures, None)
    if first is None:
        raise ValueError("A film needs one frame or more, got none.")
    pictures = itertools.chain([first], pictures)
    path = path_without_ending.with_name(path_without_ending.name + (".mp4" if ffmpeg() else ".gif"))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".mp4":
        write_mp4(path, pictures, rate)
    else:  # repeats for ever, in 256 colours per frame
        imwrite(path, np.stack(list(pictures)), plugin="pillow", duration=max(round(1000 / rate), SHORTEST), loop=0)
    return path
