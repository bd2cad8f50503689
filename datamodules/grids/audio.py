"""One recording: a sound file, or the bundled chord."""

import re
from functools import cached_property
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from datamodules.common.batch import Units
from datamodules.common.files import existing_file
from datamodules.grids.grid import GridData
from inr.errors import InputError

LONGEST = 2**24
STREAMED = 2**31 - 1024


def chord(rate: int = 8000, seconds: float = 2.0) -> np.ndarray:
    """A plucked A major chord with harmonics, (samples, 1) in -1..1."""
    time = np.arange(int(rate * seconds)) / rate
    tones = [
        np.exp(-(0.8 + 0.4 * harmonic) * time) * np.sin(2 * np.pi * harmonic * pitch * time) / harmonic**1.5
        for pitch in (220.0, 277.18, 329.63)
        for harmonic in (1, 2, 3, 4)
    ]
    sound = np.sum(tones, axis=0) * np.minimum(time / 0.01, 1)
    return (0.8 * sound / np.abs(sound).max())[:, None].astype(np.float32)


class AudioData(GridData):
    """A sound to fit: wav, flac, ogg and what else libsndfile reads; stereo is two channels. Without a path, a chord.

    `start` and `duration` cut an excerpt. Samples are divided by the largest absolute value of all channels.
    The other options are those of `GridData`.

    Units:  coordinates in samples; values in full-scale amplitude (-1..1 as the file defines it); start and duration in
            seconds.
    Raises: InputError for a missing, unreadable, empty or silent file, an excerpt outside it, or 2^24 samples and more.
    """

    def __init__(self, path: str | None = None, start: float = 0.0, duration: float | None = None, **grid: Any) -> None:
        if start < 0 or (duration is not None and duration <= 0):
            rule = "data.start must not be negative, and data.duration positive, or null for all"
            raise InputError(f"{rule}; got {start} and {'null' if duration is None else duration}.")
        self.path = None if path is None else existing_file("data.path", path)
        self.start, self.duration = start, duration
        super().__init__(**grid)

    def default_factor(self) -> int:
        """5 for the bundled chord, so that there is something to score; 1 for own files."""
        return 5 if self.path is None else 1

    @cached_property
    def info(self) -> tuple[int, int, int]:
        """Sample rate [Hz], samples in the file, channels."""
        if self.path is None:
            return 8000, len(chord()), 1
        try:
            info = soundfile.info(str(self.path), verbose=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            rule = "A sound must be a file of a known kind (wav, flac, ogg, ...)"
            raise InputError(f"{rule}, {self.path} is not: {error}; choose another.") from error
        self.refuse_truncated(info.extra_info)
        return info.samplerate, info.frames, info.channels

    def refuse_truncated(self, log: str) -> None:
        """Raise InputError if the header promises more bytes than are there; a stream's header promises the most it can."""
        promise = re.search(r"^ *(?:data|SSND) *: (\d+) \(should be (\d+)\)", log, re.MULTILINE)
        if promise and int(promise[2]) < int(promise[1]) < STREAMED:
            raise InputError(
                f"A sound must be whole, {self.path} is truncated: of {promise[1]} bytes {promise[2]} are there; copy it anew."
            )

    @property
    def rate(self) -> int:
        """Samples per second."""
        return self.info[0]

    def excerpt(self) -> slice:
        """The samples that are used."""
        rate, samples, _ = self.info
        first = round(self.start * rate)
        stop = samples if self.duration is None else min(first + round(self.duration * rate), samples)
        if samples == 0:
            raise InputError(f"A sound must have samples, {self.path} has none; choose another file.")
        if stop <= first:
            raise InputError(
                f"The excerpt must lie in the {samples / rate:.3f} s of the sound, got data.start={self.start} and"
                f" data.duration={'null' if self.duration is None else self.duration}; start earlier, or take more."
            )
        if stop - first >= LONGEST:
            raise InputError(
                f"One field takes fewer than {LONGEST} samples, got {stop - first}; cut with data.start and data.duration."
            )
        return slice(first, stop)

    def header(self) -> tuple[tuple[int, ...], int]:
        """Samples and channels."""
        excerpt = self.excerpt()
        return (excerpt.stop - excerpt.start,), self.info[2]

    def input_scale(self, shape: tuple[int, ...]) -> float:
        """Stretch time so that a second is as wide as in the published protocol, seven seconds in [-100, 100]."""
        return 100 / 7 * shape[0] / self.rate

    def read(self) -> tuple[Tensor, Units]:
        """The samples and their largest amplitude."""
        excerpt = self.excerpt()
        if self.path is None:
            sound = chord()[excerpt]
        else:
            try:
                sound, _ = soundfile.read(
                    str(self.path), start=excerpt.start, stop=excerpt.stop, dtype="float32", always_2d=True
                )
            except (soundfile.LibsndfileError, RuntimeError) as error:
                raise InputError(f"A sound must be readable to its end, {self.path} is not: {error}; copy it anew.") from error
        if len(sound) < excerpt.stop - excerpt.start:
            raise InputError(
                f"A sound must be whole, {self.path} is truncated: of {excerpt.stop} samples {excerpt.start + len(sound)} are"
                " there; copy it anew."
            )
        loudest = float(np.abs(sound).max())
        if loudest == 0:
            raise InputError(f"A sound must not be silent, {self.path} is zero throughout; choose another excerpt or file.")
        return torch.from_numpy(sound), Units(loudest, 0.0, loudest, "amplitude (full scale -1..1)")
