"""One recording: a sound file, or the bundled chord."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from datamodules.common.batch import Units
from datamodules.common.files import existing_file
from datamodules.common.signal_data import Header, Kind
from datamodules.grids.grid import GridData, GridSignal
from datamodules.grids.grid_signals import GridSignals
from datamodules.grids.read_sound import SoundHeader, read_header, read_samples
from inr.baselines.interpolation import Interpolation, linear, nearest, spline
from inr.errors import InputError

LONGEST = 2**24  # samples of a field: float32 tells neighbouring indices apart up to here
PUBLISHED_SPAN = 100 / 7  # stretch of a second: the published protocol has seven seconds in [-100, 100]


def chord(rate: int = 8000, seconds: float = 2.0) -> np.ndarray:
    """Make a plucked A major chord with harmonics, (samples, 1) in -1..1."""
    time = np.arange(int(rate * seconds)) / rate
    tones = [
        np.exp(-(0.8 + 0.4 * harmonic) * time) * np.sin(2 * np.pi * harmonic * pitch * time) / harmonic**1.5
        for pitch in (220.0, 277.18, 329.63)
        for harmonic in (1, 2, 3, 4)
    ]
    sound = np.sum(tones, axis=0) * np.minimum(time / 0.01, 1)
    return (0.8 * sound / np.abs(sound).max())[:, None].astype(np.float32)


@dataclass(kw_only=True, eq=False)
class Recordings(GridSignals[Kind]):
    """Options and numbers that one sound and a collection of sounds have in common.

    Units:  coordinates in samples; values in full-scale amplitude (-1..1 as the file defines it).
    """

    start: float = 0.0  # where the excerpt begins [s]
    duration: float | None = None  # length of the excerpt [s]; None: to the end

    to_the_end: ClassVar[str] = "null for all"
    interpolations: ClassVar[Mapping[str, Interpolation]] = {"nearest": nearest, "linear": linear, "spline": spline}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start < 0 or (self.duration is not None and self.duration <= 0):
            rule = f"data.start must not be negative, and data.duration positive, or {self.to_the_end}"
            raise InputError(f"{rule}; got {self.start} and {self.length_asked}.")

    @property
    def length_asked(self) -> str:
        """The duration, as messages name it."""
        return "null" if self.duration is None else str(self.duration)

    @property
    @abstractmethod
    def rate(self) -> int:
        """Samples per second."""


def stretch(samples: int, rate: int) -> float:
    """Return the stretch of [-1, 1] at which a second is as wide as in the published protocol."""
    return PUBLISHED_SPAN * samples / rate


@dataclass(kw_only=True, eq=False)
class AudioData(Recordings[GridSignal], GridData):
    """A sound to fit: wav, flac, ogg and what else libsndfile reads; stereo is two channels. Without a path, a chord.

    Samples are divided by the largest absolute value of all channels.

    Raises: InputError for a missing, unreadable, empty or silent file, an excerpt outside it, or 2^24 samples and more.
    """

    path: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.file = None if self.path is None else existing_file("data.path", self.path)

    def default_factor(self) -> int:
        """Return 5 for the bundled chord, so that there is something to score; 1 for own files."""
        return 5 if self.path is None else 1

    @cached_property
    def info(self) -> SoundHeader:
        """Rate, samples and channels of the file."""
        return SoundHeader(8000, len(chord()), 1) if self.file is None else read_header(self.file)

    @property
    def rate(self) -> int:
        """Samples per second."""
        return self.info.rate

    def excerpt(self) -> slice:
        """Return the samples that are used."""
        rate, samples, _ = self.info
        first = round(self.start * rate)
        stop = samples if self.duration is None else min(first + round(self.duration * rate), samples)
        if samples == 0:
            raise InputError(f"A sound must have samples, {self.file} has none; choose another file.")
        if stop <= first:
            rule = f"The excerpt must lie in the {samples / rate:.3f} s of the sound, got data.start={self.start}"
            raise InputError(f"{rule} and data.duration={self.length_asked}; start earlier, or take more.")
        if stop - first >= LONGEST:
            rule = f"One field takes fewer than {LONGEST} samples"
            raise InputError(f"{rule}, got {stop - first}; cut with data.start and data.duration.")
        return slice(first, stop)

    def header(self) -> Header:
        """Return samples and channels."""
        excerpt = self.excerpt()
        samples = excerpt.stop - excerpt.start
        return Header((samples,), self.info.channels, input_scale=stretch(samples, self.rate))

    def read(self) -> tuple[Tensor, Units]:
        """Read the samples and their largest amplitude."""
        excerpt = self.excerpt()
        sound = chord()[excerpt] if self.file is None else read_samples(self.file, excerpt.start, excerpt.stop)
        if len(sound) < excerpt.stop - excerpt.start:
            rule = f"A sound must be whole, {self.file} is truncated"
            raise InputError(f"{rule}: of {excerpt.stop} samples {excerpt.start + len(sound)} are there; copy it anew.")
        loudest = float(np.abs(sound).max())
        if loudest == 0:
            raise InputError(f"A sound must not be silent, {self.file} is zero throughout; choose another excerpt or file.")
        return torch.from_numpy(sound), Units(loudest, 0.0, loudest, "amplitude (full scale -1..1)")
