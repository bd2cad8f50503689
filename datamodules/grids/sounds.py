"""Collections of sounds: a folder of recordings, or one long recording in excerpts."""

from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from datamodules.common.batch import Units
from datamodules.common.files import existing_file, listing
from datamodules.grids.audio import LONGEST, AudioData
from datamodules.grids.collection import CollectionData
from datamodules.grids.store import Source
from inr.errors import InputError

ENDINGS = tuple(f".{kind.lower()}" for kind in ("WAV", "FLAC", "OGG", "OPUS", "MP3", "AIFF", "AIF", "AU", "CAF", "W64"))


class Excerpt(NamedTuple):
    """Where a signal lies in a file, in samples."""

    path: Path
    first: int
    samples: int

    def read(self) -> np.ndarray:
        """The samples (samples, channels), full scale -1..1.

        Raises: InputError if they are not all there, or not finite.
        """
        try:
            stop = self.first + self.samples
            sound, _ = soundfile.read(str(self.path), start=self.first, stop=stop, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise InputError(f"A sound must be readable to its end, {self.path} is not: {error}; copy it anew.") from error
        if len(sound) < self.samples or not np.isfinite(sound).all():
            raise InputError(f"A sound must be whole and finite, {self.path} is not from sample {self.first} on; replace it.")
        return sound


class SoundCollection(CollectionData):
    """The sounds in the folder `root` and its subfolders, or one file cut into excerpts of `patch_size` samples.

    `start` and `duration` cut the same excerpt from each; a duration of null is that of the shortest file. Excerpts of one
    file are signals of their own, so that the last of them are held out; what is left at its end is not used. Samples are
    divided by the largest absolute value of the whole collection, for which all of it is read once.
    The other options are those of `CollectionData`; names are paths inside the folder, with their endings.

    Units:  coordinates in samples; values in full-scale amplitude; start and duration in seconds; patch_size in samples.
    Raises: InputError for files of different rates or channels, unreadable ones, an excerpt outside, or nothing but silence.
    """

    def __init__(self, root: str | None = None, start: float = 0.0, duration: float | None = None, **collection: Any) -> None:
        super().__init__(**collection)
        if start < 0 or (duration is not None and duration <= 0):
            rule = "data.start must not be negative, and data.duration positive, or null for that of the shortest file"
            raise InputError(f"{rule}; got {start} and {'null' if duration is None else duration}.")
        path = Path("" if root is None else root).expanduser()
        self.folder = path if root is not None and path.is_dir() else None
        self.root = self.folder or existing_file("data.root", "null" if root is None else root).parent
        self.file = None if self.folder else path
        self.start, self.duration = start, duration

    @cached_property
    def sounds(self) -> dict[str, AudioData]:
        """The files by name, of which only headers are read."""
        if self.file is not None:
            return {self.file.name: AudioData(str(self.file))}
        files = [path for path in self.root.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file()]
        found = {path.relative_to(self.root).as_posix(): path for path in files if not path.name.startswith(".")}
        if not found:
            raise InputError(f"data.root must hold sounds ({', '.join(ENDINGS)}), {self.root} has {listing(self.root)}.")
        return {name: AudioData(str(found[name])) for name in sorted(found)}

    @property
    def rate(self) -> int:
        """Samples per second."""
        return next(iter(self.sounds.values())).rate

    def input_scale(self, shape: tuple[int, ...]) -> float:
        """The same stretch of time as for one sound."""
        return next(iter(self.sounds.values())).input_scale(shape)

    def excerpts(self) -> dict[str, Excerpt]:
        """Where the signals lie, by name."""
        infos = {name: sound.info for name, sound in self.sounds.items()}
        first, *others = infos
        for name in others:
            if infos[name][::2] != infos[first][::2]:
                raise InputError(
                    f"Sounds must have one rate and number of channels, {first} has {infos[first][0]} Hz and {infos[first][2]},"
                    f" but {name} has {infos[name][0]} Hz and {infos[name][2]}; convert it."
                )
        begin, shortest = round(self.start * self.rate), min(infos, key=lambda name: infos[name][1])
        left = infos[shortest][1] - begin
        length = left if self.duration is None else round(self.duration * self.rate)
        if not 0 < length <= left or (length >= LONGEST and self.patch_size is None):
            raise InputError(
                f"The excerpt must lie in every sound and have fewer than {LONGEST} samples, {shortest} has"
                f" {infos[shortest][1] / self.rate:.3f} s, got data.start={self.start} and"
                f" data.duration={'null' if self.duration is None else self.duration}; take less."
            )
        if self.file is None or self.patch_size is None:
            return {name: Excerpt(Path(str(sound.path)), begin, length) for name, sound in self.sounds.items()}
        return self.series(self.file, begin, length)

    def series(self, file: Path, begin: int, length: int) -> dict[str, Excerpt]:
        """Consecutive excerpts of one file, with names that sort in their order."""
        side = self.patch_size if isinstance(self.patch_size, int) else next(iter(self.patch_size or [0]))
        if not 1 <= side <= length:
            raise InputError(f"data.patch_size must be samples of an excerpt, 1 to {length}, got {self.patch_size}.")
        starts = range(begin, begin + length - side + 1, side)
        digits = len(str(len(starts) - 1))
        return {f"{file.name}#{place:0{digits}d}": Excerpt(file, start, side) for place, start in enumerate(starts)}

    def scan(self) -> Source:
        """Names, and length and channels from the headers."""
        excerpts = list((found := self.excerpts()).values())
        channels = next(iter(self.sounds.values())).info[2]

        def units() -> Units:
            loudest = max(float(np.abs(excerpt.read()).max()) for excerpt in excerpts)
            if loudest == 0:
                raise InputError(f"Sounds must not all be silent, those in {self.root} are; choose other excerpts or files.")
            return Units(loudest, 0.0, loudest, "amplitude (full scale -1..1)")

        return Source(
            list(found), (excerpts[0].samples,), channels, lambda place: excerpts[place].read(), units, number="float32"
        )
