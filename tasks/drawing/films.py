"""Films of results: mp4 where ffmpeg is there, else animated gif."""

import contextlib
import itertools
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from PIL import Image

from datamodules.grids.read_video import ffmpeg, ffmpeg_says

QUALITY = 12  # constant rate factor of h264: 0 is lossless, 23 usual
SHORTEST = 20  # milliseconds per frame of a gif; viewers slow down what is faster


def coloured(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Frames as (rows, columns, 3), one at a time.

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
    """A frame with its last row and column doubled where they make an even number, as the codec halves colours."""
    return np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")


def write_mp4(program: str, path: Path, frames: Iterator[np.ndarray], rate: float) -> None:
    """An h264 film that every viewer plays, encoded as the frames come.

    Raises: OSError with ffmpeg's reason if it cannot be written.
    """
    first = even(next(frames))
    command = [program, "-y", "-nostats", "-hide_banner", "-loglevel", "level+error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{first.shape[1]}x{first.shape[0]}", "-r", str(rate), "-i", "-", "-c:v", "libx264"]
    command += ["-crf", str(QUALITY), "-pix_fmt", "yuv420p", "-movflags", "+faststart", f"file:{path}"]
    with TemporaryFile() as messages:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=messages)
        with contextlib.suppress(BrokenPipeError), process:  # when ffmpeg gives up, its log says why
            assert process.stdin is not None
            for frame in itertools.chain([first], map(even, frames)):
                process.stdin.write(frame.tobytes())
        messages.seek(0)
        log = messages.read().decode(errors="replace")
    if process.returncode:
        raise OSError(f"A film could not be written to {path}: {ffmpeg_says(log)}.")


def write_gif(path: Path, frames: Iterator[np.ndarray], rate: float) -> None:
    """An animation that repeats for ever, in 256 colours per frame."""
    pictures = map(Image.fromarray, frames)
    duration = max(round(1000 / rate), SHORTEST)
    next(pictures).save(path, save_all=True, append_images=pictures, duration=duration, loop=0)


def write_film(path_without_ending: Path, frames: Iterable[np.ndarray] | np.ndarray, rate: float) -> Path:
    """The path of the film that is written, frame by frame: mp4 if imageio-ffmpeg is installed, else gif.

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
    pictures, program = itertools.chain([first], pictures), ffmpeg()
    path = path_without_ending.with_name(path_without_ending.name + (".gif" if program is None else ".mp4"))
    path.parent.mkdir(parents=True, exist_ok=True)
    if program is None:
        write_gif(path, pictures, rate)
    else:
        write_mp4(program, path, pictures, rate)
    return path
