"""Collections of sounds: a folder of recordings, or one long recording in excerpts."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from datamodules.common.batch import Units
from datamodules.common.files import existing_file, files_below, tell_left_out
from datamodules.grids.audio import LONGEST, AudioData, Recordings, stretch
from datamodules.grids.collection import CollectionData
from datamodules.grids.read_sound import read_samples
from datamodules.grids.store import Source, Stack
from inr.errors import InputError

ENDINGS = tuple(
    f".{kind.lower()}" for kind in ("WAV", "FLAC", "OGG", "OPUS", "MP3", "AIFF", "AIF", "AU", "CAF", "W64", "RF64", "OGA")
)


class Excerpt(NamedTuple):
    """The place of a signal in a file, in samples."""

    path: Path
    first: int
    samples: int

    def read(self) -> np.ndarray:
        """Read the samples (samples, channels), full scale -1..1.

        Raises: InputError if they are not all there, or not finite.
        """
        sound = read_samples(self.path, self.first, self.first + self.samples)
        if len(sound) < self.samples or not np.isfinite(sound).all():
            raise InputError(f"A sound must be whole and finite, {self.path} is not from sample {self.first} on; replace it.")
        return sound


@dataclass(kw_only=True, eq=False)
class SoundCollection(Recordings[Stack], CollectionData):
    """The sounds in the folder `root` and its subfolders, or one file cut into excerpts of `patch_size` samples.

    The same excerpt is cut from each; without a `duration` as long as the shortest file allows. Excerpts of one file are
    signals of their own, so that the last of them are held out; what is left at its end is not used. Samples are divided
    by the largest absolute value of the whole collection, for which all of it is read once. Names are paths inside the
    folder, with their endings.

    Raises: InputError for files of different rates or channels, unreadable ones, an excerpt outside, or nothing but silence.
    """

    root: str | None = None

    to_the_end: ClassVar[str] = "null for that of the shortest file"

    def __post_init__(self) -> None:
        super().__post_init__()
        path = Path("" if self.root is None else self.root).expanduser()
        is_folder = self.root is not None and path.is_dir()
        self.file = None if is_folder else existing_file("data.root", "null" if self.root is None else self.root)
        self.folder = path if self.file is None else self.file.parent

    @cached_property
    def sounds(self) -> dict[str, AudioData]:
        """The files by name, of which only headers are read."""
        if self.file is not None:
            return {self.file.name: AudioData(path=str(self.file))}
        found = files_below(self.folder, ENDINGS, "data.root must hold sounds")
        tell_left_out(self.folder, {*found, str(self.held_out)})  # which may be a list in the folder
        return {name: AudioData(path=str(path)) for name, path in found.items()}

    @property
    def rate(self) -> int:
        """Samples per second."""
        return next(iter(self.sounds.values())).rate

    def input_scale(self, shape: tuple[int, ...]) -> float:
        """Return the same stretch of time as for one sound."""
        return stretch(shape[0], self.rate)

    def excerpts(self) -> dict[str, Excerpt]:
        """Return the places of the signals in their files, by name."""
        infos = {name: sound.info for name, sound in self.sounds.items()}
        first, *others = infos
        for name in others:
            kinds = [(infos[sound].rate, infos[sound].channels) for sound in (first, name)]
            if kinds[0] != kinds[1]:
                one, other = (f"{rate} Hz and {channels}" for rate, channels in kinds)
                rule = f"Sounds must have one rate and number of channels, {first} has {one}"
                raise InputError(f"{rule}, but {name} has {other}; convert it.")
        begin, shortest = round(self.start * self.rate), min(infos, key=lambda name: infos[name].samples)
        left = infos[shortest].samples - begin
        length = left if self.duration is None else round(self.duration * self.rate)
        if not 0 < length <= left or (length >= LONGEST and self.patch_size is None):
            rule = f"The excerpt must lie in every sound and have fewer than {LONGEST} samples, {shortest} has"
            given = f"data.start={self.start} and data.duration={self.length_asked}"
            raise InputError(f"{rule} {infos[shortest].samples / self.rate:.3f} s, got {given}; take less.")
        if self.file is None or self.patch_size is None:
            return {name: Excerpt(Path(str(sound.file)), begin, length) for name, sound in self.sounds.items()}
        return self.series(self.file, begin, length)

    def series(self, file: Path, begin: int, length: int) -> dict[str, Excerpt]:
        """Cut consecutive excerpts of one file, with names that sort in their order."""
        side = self.patch_size if isinstance(self.patch_size, int) else next(iter(self.patch_size or [0]))
        if not 1 <= side <= length:
            raise InputError(f"data.patch_size must be samples of an excerpt, 1 to {length}, got {self.patch_size}.")
        starts = range(begin, begin + length - side + 1, side)
        digits = len(str(len(starts) - 1))
        return {f"{file.name}#{place:0{digits}d}": Excerpt(file, start, side) for place, start in enumerate(starts)}

    def scan(self) -> Source:
        """Return names, and length and channels from the headers."""
        excerpts = list((found := self.excerpts()).values())
        channels = next(iter(self.sounds.values())).info.channels

        def units() -> Units:
            loudest = max(float(np.abs(excerpt.read()).max()) for excerpt in excerpts)
            if loudest == 0:
                raise InputError(f"Sounds must not all be silent, those in {self.folder} are; choose other excerpts or files.")
            return Units(loudest, 0.0, loudest, "amplitude (full scale -1..1)")

        shape = (excerpts[0].samples,)
        return Source(list(found), shape, channels, lambda place: excerpts[place].read(), units, number="float32")
