"""Checks of options, files and folders that the user names: the border where mistakes are refused with a reason."""

import hashlib
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from inr.errors import InputError

EDGE = 2**20  # bytes at either end of a file that tell it from others
LISTED = 8  # file names in a message, which should stay readable


def require(option: str, holds: bool, rule: str, given: object, remedy: str = "") -> None:
    """Raise InputError unless the rule of an option holds: data.views must be at least 1, got 0."""
    if not holds:
        advice = f"; {remedy}" if remedy else ""
        raise InputError(f"{option} {rule}, got {'null' if given is None else given}{advice}.")


def require_counts(data: object, *options: str, least: int = 1, end: str = "") -> None:
    """Raise InputError for the first of some options of data that is given and too small."""
    for option in options:
        count: int | None = getattr(data, option)
        require(f"data.{option}", count is None or count >= least, f"must be at least {least}{end}", count)


def not_installed(files: str, package: str, extra: str, path: Path, otherwise: str = "") -> InputError:
    """Make the error about a kind of files whose package is not there."""
    rule = f"{files} are read by {package}, of the extra {extra}"
    return InputError(f"{rule}, which is not there for {path}; pip install {package}{otherwise}.")


def one_line(error: Exception) -> str:
    """Return the first sentence of an error without line breaks: libraries go on with advice to programmers."""
    return " ".join(str(error).split()).split(". ")[0].rstrip(".")


def refuse_infinite(values: np.ndarray) -> None:
    """Raise InputError if a number is not finite."""
    broken = np.argwhere(~np.isfinite(values))
    if len(broken):
        rule = f"Data must be finite in float32, got {values[tuple(broken[0])]} at {broken[0].tolist()} and {len(broken)} such"
        raise InputError(f"{rule} numbers in all; replace or rescale them.")


def listing(folder: Path) -> str:
    """Name the first files of a folder, hidden ones left out."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more if names else "no files"


def existing_folder(option: str, path: str | None) -> Path:
    """Return the folder that an option names.

    Raises: InputError if there is none.
    """
    folder = Path(path or "").expanduser()
    require(option, path is not None and folder.is_dir(), "must be an existing folder", path, "name one")
    return folder


def existing_file(option: str, path: str) -> Path:
    """Return the file that an option names.

    Raises: InputError if there is none, with what lies where it was looked for.
    """
    file = Path(path).expanduser()
    if file.is_file():
        return file
    if file.is_dir():
        raise InputError(f"{option} must be a file, got the folder {path}; it holds {listing(file)}: name one of them.")
    around = f"its folder holds {listing(file.parent)}" if file.parent.is_dir() else f"nor is there a folder {file.parent}"
    raise InputError(f"{option} must be an existing file, got {path}, which is not there; {around}.")


def file_in(root: str, name: str | None) -> Path:
    """Return the file in the folder `root` that `data.name` means, its ending optional.

    Raises: InputError if there is no such folder, or not exactly one such file.
    """
    folder = Path(root).expanduser()
    rule = "must be an existing folder of files for data.name"
    require("data.root", folder.is_dir(), rule, root, "correct it")
    matches = sorted(file for file in folder.iterdir() if file.is_file() and name in (file.name, file.stem))
    exact = [file for file in matches if file.name == name] or matches  # "a" and "a.png" may both be there
    found = f"{', '.join(file.name for file in matches)}: add the ending" if matches else listing(folder)
    require("data.name", len(exact) == 1, f"must name one file in {root}", name, f"there are {found}")
    return exact[0]


def visible(folder: Path, subfolders: bool) -> Iterator[tuple[str, Path]]:
    """Yield names inside a folder, with `/`, and paths of what is in it; hidden files and folders are left out."""
    for entry in folder.rglob("*") if subfolders else folder.iterdir():
        name = entry.relative_to(folder).as_posix()
        if not name.startswith(".") and "/." not in name:
            yield name, entry


def files_below(
    folder: Path, endings: Sequence[str], rule: str, least: int = 1, subfolders: bool = True, remedy: str = ""
) -> dict[str, Path]:
    """Return the files of some endings in a folder and its subfolders, hidden ones left out, sorted by name.

    Names are paths inside the folder with `/` and endings. `rule` begins the message: "data.root must hold pictures".

    Raises: InputError if there are fewer than `least`; the message lists what is there, or counts what was found.
    """
    entries = visible(folder, subfolders)
    found = {name: entry for name, entry in entries if entry.suffix.lower() in endings and entry.is_file()}
    if len(found) < least:
        there = listing(folder) if least == 1 else len(found)
        advice = f"; {remedy}" if remedy else ""
        raise InputError(f"{rule} ({', '.join(endings)}), {folder} has {there}{advice}.")
    return dict(sorted(found.items()))


def tell_left_out(folder: Path, read: Collection[str], subfolders: bool = True) -> None:
    """Warn of the files in a folder that are not among those `read`, by name, counted by their endings."""
    others = [entry for name, entry in visible(folder, subfolders) if name not in read and entry.is_file()]
    if others:
        counts = Counter(sorted(entry.suffix.lower() or entry.name for entry in others)).most_common()
        kinds = ", ".join(f"{count} {kind}" for kind, count in counts[:LISTED])
        more = f" and {len(counts) - LISTED} kinds more" if len(counts) > LISTED else ""
        warnings.warn(f"{folder}: by their endings, files are left out: {kinds}{more}.", stacklevel=3)


def fingerprint(path: Path) -> dict[str, str]:
    """Return what tells data from others wherever they lie: a hash of a file, or of the files in each subfolder of a folder.

    Hashes are of sizes, beginnings and ends, in folders of names too. Loose files of a folder are hashed together as ".".
    """
    files = [path] if path.is_file() else sorted(entry for entry in path.rglob("[!.]*") if entry.is_file())
    found: dict[str, hashlib._Hash] = {}
    for file in files:
        inside = file.relative_to(path)
        digest = found.setdefault(inside.parts[0] if len(inside.parts) > 1 else ".", hashlib.sha256())
        size = file.stat().st_size
        digest.update(f"{inside.as_posix()}\n{size}\n".encode())
        with file.open("rb") as content:
            digest.update(content.read(EDGE))
            content.seek(max(size - EDGE, 0))
            digest.update(content.read(EDGE))
    return {name: digest.hexdigest()[:16] for name, digest in found.items()}
