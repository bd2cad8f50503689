"""Sounds as libsndfile reads them, and streams of all formats: headers that were written before the length was known."""

import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from io import BytesIO
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from datamodules.common.files import one_line
from inr.errors import InputError

MATRICES = ("MAT4", "MAT5")  # formats of libsndfile that hold matrices of any kind
STREAMED = 2**31 - 2**24  # bytes that a header of unknown length promises, or more: 0x7f000008 (SoX's AIFF) is the fewest
UNKNOWN = b"\xff\xff\xff\xff"  # bytes of a length that libsndfile takes for: to the end of the file
NONE = bytes(4)
WAV = "<4sI"  # a chunk's name and length
AIFF = ">4sI"
CAF = ">4sq"
FLAC_TOTAL = 21  # where the number of samples begins in a FLAC file: the lower half of a byte, and four more
FLAC_MOST = 2**36 - 1
BLOCK = 2**16  # samples decoded at a time
# lengths of which libsndfile says, as it reads a header, that the file is shorter
PROMISES = re.compile(r"^ *(?:data|SSND|BODY|Data Size|riff|Riff size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
# and lengths that it takes for: to the end of the file
ENDLESS = re.compile(r"Data Size *: -1|SSND *: 0 |^data *: 0$", re.MULTILINE)
FOLLOWED = re.compile(r"^\*\*\* Chunk size", re.MULTILINE)  # by bytes that are no chunk


class SoundHeader(NamedTuple):
    """Numbers of a sound file's header. Units: rate [Hz]."""

    rate: int
    samples: int
    channels: int


def chunks(content: mmap, start: int, layout: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, place and length of the chunks of a file from a place on, as far as one follows upon another."""
    head = struct.calcsize(layout)
    length = 0
    while start + head <= len(content) and length >= 0:
        name, length = struct.unpack_from(layout, content, start)
        yield name, start, length
        start += head + length + (length % 2 if head == 8 else 0)  # padded to an even number, in CAF not


def overwritten(content: mmap | bytes, place: int, new: bytes) -> bytes:
    """Return content with other bytes at a place."""
    return content[:place] + new + content[place + len(new) :]


def mend_wav(content: mmap) -> bytes | None:
    """Return a WAV file, RF64 too, whose samples go on to the end; None if it is whole or really empty."""
    found = list(chunks(content, 12, WAV))
    place, length = next(((place, length) for name, place, length in found if name == b"data"), (0, 1))
    _, last, tail = found[-1]
    is_empty = last + 8 + tail + tail % 2 == len(content)  # whole chunks, to the end, follow upon no samples
    if place and length == 0 and not is_empty:
        return overwritten(content, place + 4, UNKNOWN)
    wide = next((place for name, place, _ in found if name == b"ds64"), None)
    # RF64 keeps its lengths in a chunk ds64; as plain RIFF it is one that goes on to the end.
    is_unknown = wide is not None and content[wide + 16 : wide + 24] in (NONE * 2, UNKNOWN * 2)
    return overwritten(content, 0, b"RIFF") if is_unknown and len(content) > place + 8 else None


def mend_aiff(content: mmap) -> bytes | None:
    """Return an AIFF file whose samples go on to the end; None if its length is known, or libsndfile finds it out."""
    sizes = {name: (place, length) for name, place, length in chunks(content, 12, AIFF)}
    place, length = sizes.get(b"SSND", (0, 0))
    frames = sizes.get(b"COMM", (0, 0))[0] + 10
    is_unknown = length == 8 and content[frames : frames + 4] == NONE and len(content) > place + 16
    return overwritten(content, place + 4, NONE) if is_unknown else None


def mend_au(content: mmap) -> bytes | None:
    """Return an AU file whose samples go on to the end; None if it is whole, or libsndfile knows that."""
    (offset,) = struct.unpack_from(">I", content, 4)
    return overwritten(content, 8, UNKNOWN) if content[8:12] == NONE and len(content) > offset else None


def mend_caf(content: mmap) -> bytes | None:
    """Return a CAF file whose samples go on to the end; None if their length is known."""
    last, place, length = list(chunks(content, 8, CAF))[-1]
    is_unknown = last == b"data" and length == -1
    return overwritten(content, place + 4, struct.pack(">q", len(content) - place - 12)) if is_unknown else None


def with_samples(content: mmap | bytes, samples: int) -> bytes:
    """Return a FLAC file whose header names a number of samples."""
    upper = content[FLAC_TOTAL] & 0xF0 | samples >> 32
    return overwritten(content, FLAC_TOTAL, bytes([upper]) + struct.pack(">I", samples & 0xFFFFFFFF))


def mend_flac(content: mmap) -> bytes | None:
    """Return a FLAC file that names the number of its samples, which is counted by decoding; None if it does already."""
    if content[FLAC_TOTAL] & 0x0F or content[FLAC_TOTAL + 1 : FLAC_TOTAL + 5] != NONE:
        return None
    samples = 0
    with soundfile.SoundFile(BytesIO(with_samples(content, FLAC_MOST))) as file:
        block = np.empty((BLOCK, file.channels), np.float32)
        found = BLOCK
        while found == BLOCK:
            block.fill(np.nan)
            with suppress(soundfile.LibsndfileError):  # it cannot seek to where the samples end, after it has read them
                file.read(out=block)
            found = int(np.isfinite(block[:, 0]).sum())
            samples += found
    return with_samples(content, samples)


MENDERS = {
    b"RIFF": mend_wav,
    b"RF64": mend_wav,
    b"FORM": mend_aiff,
    b".snd": mend_au,
    b"caff": mend_caf,
    b"fLaC": mend_flac,
}


@lru_cache(maxsize=8)
def mended_since(path: Path, changed: int) -> bytes | None:
    """Return the content of a stream with a header that knows its length, for the version of a file at a time; else None."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        mend = MENDERS.get(content[:4])
        return None if mend is None else mend(content)


def mended(path: Path) -> bytes | None:
    """Return the content of a stream with a header that knows its length; None if libsndfile reads the file as it is."""
    try:
        return mended_since(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, LookupError, struct.error, soundfile.LibsndfileError):  # which libsndfile will say, too
        return None


def read_header(path: Path) -> SoundHeader:
    """Return rate, samples and channels of a sound file. Samples are counted where the header does not know them, with a note.

    Raises: InputError if libsndfile does not know the file, or it is truncated.
    """
    content = mended(path)
    rule = "A sound must be a file of a known kind (wav, flac, ogg, ...)"
    try:
        info = soundfile.info(str(path) if content is None else BytesIO(content), verbose=True)
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise InputError(f"{rule}, {path} is not: {one_line(error)}; convert it to wav, or choose another.") from error
    if info.format in MATRICES:
        raise InputError(f"{rule}, {path} is a matrix of MATLAB; save it there by audiowrite, or choose another.")
    is_stream = content is not None or (info.frames > 0 and ENDLESS.search(info.extra_info) is not None)
    # The header may promise more bytes than are there; that of a stream promises the most it can.
    for promised, there in PROMISES.findall(info.extra_info):
        if int(there) < int(promised) < STREAMED:
            rule = "A sound must be whole"
            raise InputError(f"{rule}, {path} is truncated: of {promised} bytes {there} are there; copy it anew.")
        is_stream |= int(promised) >= STREAMED
    samples = 0 if info.frames > FLAC_MOST else info.frames
    if is_stream:
        found = f"all {samples} samples, {samples / info.samplerate:.3f} s, that are there are read"
        warnings.warn(f"{path}: its header does not know its length, {found}.", stacklevel=2)
    elif info.format.startswith("WAV") and FOLLOWED.search(info.extra_info):
        left_out = "bytes follow that are left out"
        warnings.warn(f"{path}: behind the {samples} samples that its header names {left_out}.", stacklevel=2)
    return SoundHeader(info.samplerate, samples, info.channels)


def read_samples(path: Path, start: int, stop: int) -> np.ndarray:
    """Read (samples, channels) of a file, full scale -1..1, as far as they are there."""
    content = mended(path)
    source = str(path) if content is None else BytesIO(content)
    try:
        return soundfile.read(source, start=start, stop=stop, dtype="float32", always_2d=True)[0]
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise InputError(f"A sound must be readable to its end, {path} is not: {error}; copy it anew.") from error
