"""Frames of a video file, or of a folder of pictures, as bytes: (frames, rows, columns, 3).

ffmpeg is started by hand, as imageio loses its exit status: of a damaged file it gives the frames before the damage, silently.
"""

import re
import subprocess
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from datamodules.common.files import existing_file, files_below, tell_left_out
from datamodules.common.pictures import read_image
from inr.errors import InputError

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".npy")
FOLDER_RATE = 25.0  # frames per second of a folder of pictures, which does not say
CHUNK = 2**20  # bytes read at once from ffmpeg


def ffmpeg() -> str | None:
    """Return the ffmpeg program that comes with imageio-ffmpeg; None if it is not installed."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return get_ffmpeg_exe()
    except (ImportError, RuntimeError):  # the package, or a program for this machine in it, is missing
        return None


def decode(path: Path, filters: str) -> tuple[np.ndarray, float]:
    """Return the frames that ffmpeg's filters let through, and the frames per second of the video.

    Shapes: (frames, rows, columns, 3)
    Raises: InputError if the file is broken as far as it is read, or if ffmpeg is missing.
    """
    program = ffmpeg()
    if program is None:
        raise InputError(f"Films are read by ffmpeg, which is not there for {path}; pip install imageio-ffmpeg.")
    # -xerror: the first damage ends the program with a status. `file:` keeps a colon in a name from being a protocol.
    command = [program, "-nostdin", "-nostats", "-hide_banner", "-loglevel", "level+info", "-xerror", "-i", f"file:{path}"]
    # passthrough: frames as they are stored; by default ffmpeg doubles and drops some to make the rate constant
    command += ["-map", "0:v:0", "-vf", filters, "-fps_mode", "passthrough"]
    # Stored colours have other axes (YUV) and half the resolution: they are converted in full and rounded, not cut.
    command += ["-sws_flags", "bicubic+accurate_rnd+full_chroma_int"]
    command += ["-c:v", "rawvideo", "-pix_fmt", "rgb24", "-f", "image2pipe", "-"]
    content = bytearray()  # grows in place, and is writeable, unlike what communicate() returns
    with TemporaryFile() as messages:  # a file, as a full pipe of messages would block
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages) as process:
            assert process.stdout is not None
            while chunk := process.stdout.read(CHUNK):
                content += chunk
        messages.seek(0)
        log = messages.read().decode(errors="replace")
    before, _, after = log.partition("Output #0")  # the frame rate stands with the input, the size with the output
    size = re.search(r"Video: rawvideo.*?, (\d+)x(\d+)", after)
    if process.returncode or size is None:
        complaint = re.search(r"\[(?:error|fatal)\] (.+)", log)
        reason = complaint[1].strip().rstrip(".") if complaint else "no frames are found"
        rule = "A film must be whole and of a known kind (avi, mp4, mov, gif, ...)"
        raise InputError(f"{rule}, {path} is not: {reason}; copy it anew, or choose another.")
    rate = re.search(r"Video: .*?, ([\d.]+) fps", before)
    frames = np.frombuffer(content, np.uint8).reshape(-1, int(size[2]), int(size[1]), 3)
    return frames, float(rate[1]) if rate else FOLDER_RATE


def count_frames(path: Path) -> int:
    """Count the frames of a video file by decoding it to its end, as headers may be wrong.

    Raises: InputError if it is broken anywhere.
    """
    return len(decode(path, "scale=2:2")[0])  # tiny, so that they need no memory


def check_there(found: int, wanted: range | None, total: int, given: str) -> None:
    """Refuse a choice of frames that goes beyond the video; `wanted` is None where the video's end is meant."""
    if found == 0 or (wanted is not None and found < len(wanted)):
        raise InputError(f"Frames must lie in the film, which has {total}, counted from 0; got {given}: choose among them.")


def read_file(path: Path, first: int, last: int | None, step: int, given: str) -> tuple[np.ndarray, float]:
    """Return frames of a video file, decoded no further than the last of them."""
    end = "" if last is None else f":end_frame={last + 1}"
    # Trimming by number decodes from the start: seeking is by time, which is not exact where frames depend on others.
    frames, rate = decode(path, f"trim=start_frame={first}{end},select='not(mod(n,{step}))'")
    wanted = None if last is None else range(first, last + 1, step)
    if len(frames) < (1 if wanted is None else len(wanted)):
        check_there(len(frames), wanted, count_frames(path), given)
    return frames, rate


def read_frame(file: Path) -> np.ndarray:
    """Return a picture as bytes in three channels."""
    picture = read_image(file)
    if picture.dtype == np.uint16:
        picture = (picture / 257).round().astype(np.uint8)  # 65535 = 257 * 255
    if picture.dtype != np.uint8 or picture.shape[2] not in (1, 3):
        kind = f"{picture.dtype} of {picture.shape[2]} channels"
        raise InputError(f"A frame must be grey or colour of 8 or 16 bits, {file} is {kind}; convert it.")
    return np.broadcast_to(picture, (*picture.shape[:2], 3))


def read_folder(folder: Path, first: int, last: int | None, step: int, given: str) -> np.ndarray:
    """Return the pictures of a folder in the order of their names."""
    rule = "A folder of frames must hold pictures"
    files = list(files_below(folder, PICTURES, rule, subfolders=False, remedy="choose another").values())
    tell_left_out(folder, [file.name for file in files], subfolders=False)
    chosen = files[first : None if last is None else last + 1 : step]
    check_there(len(chosen), None if last is None else range(first, last + 1, step), len(files), given)
    start = read_frame(chosen[0])
    frames = np.empty((len(chosen), *start.shape), np.uint8)
    for index, file in enumerate(chosen):
        frame = read_frame(file)
        if frame.shape != start.shape:
            sizes = "{} x {} and {} has {} x {}".format(*start.shape[:2], file.name, *frame.shape[:2])
            raise InputError(f"Frames must be of one size, {chosen[0]} has {sizes} pixels; resize them.")
        frames[index] = frame
    return frames


def check_choice(first: int, last: int | None, step: int) -> str:
    """Return a choice of frames in words.

    Raises: InputError if it is none.
    """
    given = f"first={first}, last={'null' if last is None else last}, step={step}"
    if first < 0 or step < 1 or (last is not None and last < first):
        raise InputError(f"Frames are chosen by 0 <= first <= last and step >= 1, got {given}; correct them.")
    return given


def read_video(path: Path, first: int = 0, last: int | None = None, step: int = 1) -> tuple[np.ndarray, float]:
    """Return every `step`-th frame from `first` to `last`, which is included, and the frames per second of the whole video.

    A video is a file (avi, mp4, mov, gif, and what else ffmpeg knows), or a folder of pictures by the order of their names.
    Only the frames asked for are held in memory, and none after the last is decoded.

    Shapes: (frames, rows, columns, 3), bytes; grey becomes three equal channels.
    Units:  first and last in frames from 0, null meaning the end; a folder is said to have 25 frames per second.
    Raises: InputError if the file is missing or broken, the folder without pictures or with pictures of several sizes,
            a frame asked for is not there, or imageio-ffmpeg is not installed.
    """
    given = check_choice(first, last, step)
    path = path.expanduser()
    if path.is_dir():
        return read_folder(path, first, last, step, given), FOLDER_RATE
    return read_file(existing_file("data.path", str(path)), first, last, step, given)
