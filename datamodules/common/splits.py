"""The split of a collection into signals that train, are tuned on, and are held out."""

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from datamodules.common.draws import Purpose
from datamodules.common.files import existing_file, require, require_counts
from datamodules.common.signal_data import TUNED, Kind, SignalData, Split
from inr.errors import InputError
from inr.randomness import key, permute

SHOWN = ("train", "held_out", "all")
RANGE = re.compile(r"(\d*):(\d*)")
PARTITION = re.compile(r"(.*\S)\s+([012])")


def read_names(path: Path) -> set[str]:
    """Read the held-out names that a text file lists: one a line, or `name 0|1|2`, where 0 is a training signal."""
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"A list of held-out signals must be a text file of names, {path} is not: {error}.") from error
    numbered = [PARTITION.fullmatch(line) for line in lines if line]
    if numbered and all(numbered):
        return {match[1] for match in numbered if match and match[2] != "0"}
    return {line for line in lines if line}


def named(held_out: str, names: Sequence[str], root: Path) -> set[str]:
    """Return the held-out names: those in a subfolder, those that a file lists, or the one that is meant.

    Raises: InputError if there is neither, or if a listed name is not in the collection.
    """
    folder = held_out.strip("/")
    inside = {name for name in names if name == folder or name.startswith(f"{folder}/")}
    if inside:
        return inside
    in_root = root / held_out
    listed = read_names(in_root if in_root.is_file() else existing_file("data.held_out", held_out))
    strangers = sorted(listed - set(names))
    if strangers:
        rule = f"data.held_out must list names of the collection, such as {names[0]}"
        raise InputError(f"{rule}; {held_out} has {strangers[0]}: correct it.")
    return listed


def last(option: str, share: float, count: int) -> int:
    """Return how many of `count` signals a fraction or a count takes."""
    if share < 0 or share > count or (share >= 1 and share != int(share)):
        rule = f"{option} must be a fraction below 1, or a count of at most {count}"
        raise InputError(f"{rule}, all signals there are, got {share}.")
    return round(share * count) if share < 1 else int(share)


def split_off(positions: Sequence[int], tuning: float) -> tuple[list[int], list[int]]:
    """Split off the last training positions, which are tuned on; one is always left to train."""
    if not positions:
        return [], []
    count = min(last("data.tuning", tuning, len(positions)), len(positions) - 1)
    return list(positions[: len(positions) - count]), list(positions[len(positions) - count :])


def choose(shown: Sequence[int], places: Sequence[int] | str | None) -> list[int]:
    """Keep those of the shown positions that stand at these places, or in a range such as 8:16; None: all.

    Raises: InputError for a place that there is not, or that is named twice.
    """
    if places is None:
        return list(shown)
    chosen = in_range(places, len(shown)) if isinstance(places, str) else list(places)
    wrong = len(chosen) == 0 or len(set(chosen)) < len(chosen)
    if wrong or not all(isinstance(place, int) and 0 <= place < len(shown) for place in chosen):
        rule = f"data.choose must be different positions in 0 .. {len(shown) - 1}, the signals shown, or a range such as 0:2"
        raise InputError(f"{rule}, got {places if isinstance(places, str) else list(places)}.")
    return [shown[place] for place in chosen]


def in_range(written: str, count: int) -> list[int]:
    """Return the positions from:to, without the last, where either end may be left out; none if it is no such range."""
    ends = RANGE.fullmatch(written)
    return [] if ends is None else list(range(int(ends[1] or 0), int(ends[2] or count)))


@dataclass(kw_only=True, eq=False)
class Collection(SignalData[Kind]):
    """Signals of one kind, of which some train and others are held out, to be encoded later.

    Subclasses define `labels`, and `listed_held_out` where the layout of their files says which are held out.

    held_out: the last ones by name, a fraction below 1 or a count; or a text file of names, or a subfolder; None: the split
        that comes with the files.
    tuning: a fraction or a count, the last of the training signals: not shown in training, solvers choose their weights on
        them; none where nothing is held out.
    validation_signals, test_signals: bounds on what is evaluated; None: all.
    """

    # the signals that training sees: train, held_out to encode those, or all: the held-out ones, followed by the others
    shown: str = "train"
    choose: Sequence[int] | str | None = None  # positions of those that are kept of them, or a range from:to; None: all
    held_out: float | int | str | None = 0.1
    tuning: float | int = 0.1
    shuffle: bool = False  # hold out random ones instead of the last
    limit: int | None = None  # bound on the number of signals before they are split
    batch_signals: int | None = 64  # of a step; None: all
    validation_signals: int | None = 32
    test_signals: int | None = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        self.folder = Path()  # that names in a list, or a subfolder, refer to
        require("data.shown", self.shown in SHOWN, f"must be one of {', '.join(SHOWN)}", self.shown)
        require("data.tuning", self.tuning >= 0, "must not be negative", self.tuning)
        require_counts(self, "limit", "batch_signals", "validation_signals", "test_signals")

    @property
    def shown_split(self) -> Split:
        """The split whose signals training shows."""
        return "train" if self.shown == "train" else "held_out"

    @property
    def most_items(self) -> dict[Purpose, int | None]:
        """Bounds on the first evaluated items that a validation and the test look at; None: all."""
        return {"validate": self.validation_signals, "test": self.test_signals}

    @property
    @abstractmethod
    def labels(self) -> Sequence[str]:
        """Names of all signals, sorted."""

    @property
    def listed_held_out(self) -> Set[str] | None:
        """Names that the layout of the files holds out; None: it does not say."""
        return None

    @cached_property
    def positions(self) -> Mapping[Split, Sequence[int]]:
        """Positions of the training, tuning and held-out signals; of the shown ones those that `choose` keeps.

        Raises: InputError if none is left to show.
        """
        train, held_out = self.split()
        if not {"train": train, "held_out": held_out, "all": [*train, *held_out]}[self.shown]:
            given = "null" if self.held_out is None else self.held_out
            rule = f"data.shown={self.shown} needs signals to show, but data.held_out={given} leaves it none of"
            raise InputError(f"{rule} {len(self.labels)}; hold out {'fewer' if self.shown == 'train' else 'more'}.")
        train, tuning = split_off(train, self.tuning if held_out else 0)
        if self.shown == "train":
            return {"train": choose(train, self.choose), "tuning": tuning, "held_out": held_out}
        chosen = choose(held_out if self.shown == "held_out" else [*held_out, *train, *tuning], self.choose)
        shown = set(chosen)
        train, tuning = ([position for position in some if position not in shown] for some in (train, tuning))
        return {"train": train, "tuning": tuning, "held_out": chosen}

    def split(self) -> tuple[list[int], list[int]]:
        """Return positions of the training and of the held-out signals, each in the order of their names.

        Raises: InputError for a split that there is not.
        """
        names, held_out = self.labels, self.held_out
        listed = self.listed_held_out
        count = min(self.limit or len(names), len(names))
        positions = [place * len(names) // count for place in range(count)]
        if held_out is None and listed is None:
            rule = "data.held_out=null takes the split that comes with the files"
            raise InputError(f"{rule}, and those in {self.folder} have none; give a fraction, a count, or a file of names.")
        if held_out is None or isinstance(held_out, str):
            outside = listed if held_out is None else named(held_out, names, self.folder)
            chosen = {position for position in positions if names[position] in (outside or ())}
        else:
            places = torch.arange(count - last("data.held_out", held_out, count), count)
            places = permute(places, count, key(self.seed, "held_out")) if self.shuffle else places
            chosen = {positions[place] for place in places.tolist()}
        return [position for position in positions if position not in chosen], sorted(chosen)

    def of_split(self, split: Split) -> Sequence[int]:
        """Return the positions of a split that are read: few to tune on, of evaluated signals at most `test_signals`."""
        evaluated = split == "held_out" and self.shown == "train"
        most = TUNED if split == "tuning" else self.test_signals if evaluated else None
        return self.positions[split][:most]
