"""Which signals of a collection train and which are held out."""

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import torch

from datamodules.common.files import existing_file
from inr.errors import InputError
from inr.randomness import key, permute

SHOWN = ("train", "held_out")
PARTITION = re.compile(r"(.*\S)\s+([012])")


def read_names(path: Path) -> set[str]:
    """The held-out names that a text file lists: one a line, or `name 0|1|2`, where 0 is a training signal."""
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"A list of held-out signals must be a text file of names, {path} is not: {error}.") from error
    numbered = [PARTITION.fullmatch(line) for line in lines if line]
    if numbered and all(numbered):
        return {match[1] for match in numbered if match and match[2] != "0"}
    return {line for line in lines if line}


def named(held_out: str, names: Sequence[str], root: Path) -> set[str]:
    """The held-out names: those in a subfolder, or which a file lists; or the one that is meant.

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
        raise InputError(
            f"data.held_out must list names of the collection, such as {names[0]}; {held_out} has {strangers[0]}: correct it."
        )
    return listed


def last(option: str, share: float, count: int) -> int:
    """How many of so many signals a fraction or a count takes."""
    if share < 0 or share > count or (share >= 1 and share != int(share)):
        raise InputError(
            f"{option} must be a fraction below 1, or a count of at most {count}, all signals there are, got {share}."
        )
    return round(share * count) if share < 1 else int(share)


def split_off(positions: Sequence[int], tuning: float) -> tuple[list[int], list[int]]:
    """Training positions without the last ones, and those, which are tuned on; one is always left to train."""
    if not positions:
        return [], []
    count = min(last("data.tuning", tuning, len(positions)), len(positions) - 1)
    return list(positions[: len(positions) - count]), list(positions[len(positions) - count :])


def split(
    names: Sequence[str],
    held_out: float | int | str | None,
    own: Set[str] | None,
    root: Path,
    limit: int | None = None,
    shuffle: bool = False,
    seed: int = 0,
) -> tuple[list[int], list[int]]:
    """Positions of the training and of the held-out signals, each in the order of their names.

    `held_out` is what `CollectionData` says; `own` are the names that the layout of the files holds out.
    Raises: InputError for a split that there is not.
    """
    count = min(limit or len(names), len(names))
    positions = [place * len(names) // count for place in range(count)]
    if held_out is None and own is None:
        raise InputError(
            f"data.held_out=null takes the split that comes with the files, and those in {root} have none; give a fraction, a"
            " count, or a file of names."
        )
    if held_out is None or isinstance(held_out, str):
        outside = own if held_out is None else named(held_out, names, root)
        chosen = {position for position in positions if names[position] in (outside or ())}
    else:
        places = torch.arange(count - last("data.held_out", held_out, count), count)
        chosen = {positions[place] for place in (permute(places, count, key(seed, "held_out")) if shuffle else places).tolist()}
    return [position for position in positions if position not in chosen], sorted(chosen)


def choose(shown: Sequence[int], places: Sequence[int] | None) -> list[int]:
    """Those of the shown positions that stand at these places; null: all.

    Raises: InputError for a place that there is not, or that is named twice.
    """
    if places is None:
        return list(shown)
    wrong = len(places) == 0 or len(set(places)) < len(places)
    if wrong or not all(isinstance(place, int) and 0 <= place < len(shown) for place in places):
        raise InputError(
            f"data.choose must be different positions in 0 .. {len(shown) - 1}, the signals shown, got {list(places)}."
        )
    return [shown[place] for place in places]


@dataclass(frozen=True)
class Split:
    """Which signals of a collection train, tune and are held out, and which are shown: the options of `CollectionData`."""

    shown: str
    choose: Sequence[int] | None
    held_out: float | int | str | None
    tuning: float | int
    shuffle: bool
    limit: int | None
    seed: int

    def __post_init__(self) -> None:
        rules = {
            "shown": (self.shown in SHOWN, f"must be one of {', '.join(SHOWN)}", self.shown),
            "limit": (self.limit is None or self.limit >= 1, "must be at least 1", self.limit),
            "tuning": (self.tuning >= 0, "must not be negative", self.tuning),
        }
        for option, (holds, rule, given) in rules.items():
            if not holds:
                raise InputError(f"data.{option} {rule}, got {given}.")

    def parts(self, names: Sequence[str], own: Set[str] | None, root: Path) -> dict[str, list[int]]:
        """Positions of the training, tuning and held-out images; of the shown ones those that `choose` keeps.

        Raises: InputError if none is left to show.
        """
        train, held_out = split(names, self.held_out, own, root, self.limit, self.shuffle, self.seed)
        if not (train if self.shown == "train" else held_out):
            given = "null" if self.held_out is None else self.held_out
            raise InputError(
                f"data.shown={self.shown} needs signals to show, but data.held_out={given} leaves it none of {len(names)};"
                f" hold out {'fewer' if self.shown == 'train' else 'more'}."
            )
        train, tuning = split_off(train, self.tuning if held_out else 0)
        parts = {"train": train, "tuning": tuning, "held_out": held_out}
        return parts | {self.shown: choose(parts[self.shown], self.choose)}
