"""Frames of a film, or of a folder of pictures, as bytes: (frames, rows, columns, 3)."""

import re
import subprocess
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from datamodules.common.files import existing_file, listing
from datamodules.common.pictures import read_image
from inr.errors import InputError

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".npy")
FOLDER_RATE = 25.0
CHUNK = 2**20


def ffmpeg() -> str | None:
    """The ffmpeg program that comes with imageio-ffmpeg; None if it is not installed."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return get_ffmpeg_exe()
    except (ImportError, RuntimeError):  # the package, or a program for this machine in it, is missing
        return None


def ffmpeg_says(log: str) -> str:
    """The first complaint in a log of ffmpeg with levels."""
    complaint = re.search(r"\[(?:error|fatal)\] (.+)", log)
    return complaint[1].strip().rstrip(".") if complaint else "no frames are found"


def decode(path: Path, filters: str) -> tuple[np.ndarray, float]:
    """The frames that ffmpeg's filters let through, and the frames per second of the film.

    Shapes: (frames, rows, columns, 3)
    Raises: InputError if the file is broken as far as it is read, or if ffmpeg is missing.
    """
    program = ffmpeg()
    if program is None:
        raise InputError(f"Films are read by ffmpeg, which is not there for {path}; pip install imageio-ffmpeg.")
    command = [program, "-nostdin", "-nostats", "-hide_banner", "-loglevel", "level+info", "-xerror", "-i", f"file:{path}"]
    command += ["-map", "0:v:0", "-vf", filters, "-fps_mode", "passthrough"]  # frames as they are stored: none doubled or lost
    command += ["-sws_flags", "bicubic+accurate_rnd+full_chroma_int"]  # colours rounded, not cut
    command += ["-c:v", "rawvideo", "-pix_fmt", "rgb24", "-f", "image2pipe", "-"]
    film = bytearray()
    with TemporaryFile() as messages:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages) as process:
            assert process.stdout is not None
            while chunk := process.stdout.read(CHUNK):
                film += chunk
        messages.seek(0)
        log = messages.read().decode(errors="replace")
    before, _, after = log.partition("Output #0")
    size = re.search(r"Video: rawvideo.*?, (\d+)x(\d+)", after)
    if process.returncode or size is None:
        rule = "A film must be whole and of a known kind (avi, mp4, mov, gif, ...)"
        raise InputError(f"{rule}, {path} is not: {ffmpeg_says(log)}; copy it anew, or choose another.")
    rate = re.search(r"Video: .*?, ([\d.]+) fps", before)
    frames = np.frombuffer(film, np.uint8).reshape(-1, int(size[2]), int(size[1]), 3)
    return frames, float(rate[1]) if rate else FOLDER_RATE


def check_there(found: int, wanted: range | None, total: int, given: str) -> None:
    """Refuse a choice of frames that goes beyond the film; `wanted` is None where the film's end is meant."""
    if found == 0 or (wanted is not None and found < len(wanted)):
        raise InputError(f"Frames must lie in the film, which has {total}, counted from 0; got {given}: choose among them.")


def read_film(path: Path, first: int, last: int | None, step: int, given: str) -> tuple[np.ndarray, float]:
    """Frames of a film, decoded no further than the last of them."""
    end = "" if last is None else f":end_frame={last + 1}"
    frames, rate = decode(path, f"trim=start_frame={first}{end},select='not(mod(n,{step}))'")
    wanted = None if last is None else range(first, last + 1, step)
    if len(frames) < (1 if wanted is None else len(wanted)):
        check_there(len(frames), wanted, len(decode(path, "scale=2:2")[0]), given)
    return frames, rate


def colours(file: Path) -> np.ndarray:
    """A picture as bytes in three channels."""
    picture = read_image(file)
    if picture.dtype == np.uint16:
        picture = (picture / 257).round().astype(np.uint8)
    if picture.dtype != np.uint8 or picture.shape[2] not in (1, 3):
        kind = f"{picture.dtype} of {picture.shape[2]} channels"
        raise InputError(f"A frame must be grey or colour of 8 or 16 bits, {file} is {kind}; convert it.")
    return np.broadcast_to(picture, (*picture.shape[:2], 3))


def read_folder(folder: Path, first: int, last: int | None, step: int, given: str) -> np.ndarray:
    """The pictures of a folder in the order of their names."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.suffix.lower() in PICTURES)
    files = [file for file in files if not file.name.startswith(".")]
    if not files:
        rule = f"A folder of frames must hold pictures ({', '.join(ending[1:] for ending in PICTURES)})"
        raise InputError(f"{rule}, {folder} holds {listing(folder)}; choose another.")
    chosen = files[first : None if last is None else last + 1 : step]
    check_there(len(chosen), None if last is None else range(first, last + 1, step), len(files), given)
    start = colours(chosen[0])
    frames = np.empty((len(chosen), *start.shape), np.uint8)
    for index, file in enumerate(chosen):
        frame = colours(file)
        if frame.shape != start.shape:
            sizes = "{} x {} and {} has {} x {}".format(*start.shape[:2], file.name, *frame.shape[:2])
            raise InputError(f"Frames must be of one size, {chosen[0]} has {sizes} pixels; resize them.")
        frames[index] = frame
    return frames


def read_video(path: Path, first: int = 0, last: int | None = None, step: int = 1) -> tuple[np.ndarray, float]:
    """Every `step`-th frame from `first` to `last`, which is included, and the frames per second of the whole film.

    The film is a file (avi, mp4, mov, gif, and what else ffmpeg knows), or a folder of pictures by the order of their names.
    Only the frames asked for are held in memory, and none after the last is decoded.

    Shapes: (frames, rows, columns, 3), bytes; grey becomes three equal channels.
    Units:  first and last in frames from 0, null meaning the end; a folder is said to have 25 frames per second.
    Raises: InputError if the file is missing or broken, the folder without pictures or with pictures of several sizes,
            a frame asked for is not there, or imageio-ffmpeg is not installed.
    """
    given = f"first={first}, last={'null' if last is None else last}, step={step}"
    if first < 0 or step < 1 or (last is not None and last < first):
        raise InputError(f"Frames are chosen by 0 <= first <= last and step >= 1, got {given}; correct them.")
    path = path.expanduser()
    if path.is_dir():
        return read_folder(path, first, last, step, given), FOLDER_RATE
    return read_film(existing_file("data.path", str(path)), first, last, step, given)
