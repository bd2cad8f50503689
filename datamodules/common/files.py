"""Files and folders that the user names."""

from pathlib import Path

import numpy as np

from inr.errors import InputError

SHOWN = 8


def listing(folder: Path) -> str:
    """The first files of a folder, by name."""
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "") if names else "no files"


def refuse_infinite(values: np.ndarray) -> None:
    """Raise InputError if a number is not finite."""
    broken = np.argwhere(~np.isfinite(values))
    if len(broken):
        raise InputError(
            f"Data must be finite in float32, got {values[tuple(broken[0])]} at {broken[0].tolist()} and"
            f" {len(broken)} such numbers in all; replace or rescale them."
        )


def existing_file(option: str, path: str) -> Path:
    """The file that an option names.

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
    """The file in the folder `root` that `data.name` means, its ending optional.

    Raises: InputError if there is no such folder, or not exactly one such file.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise InputError(f"data.root must be an existing folder of files for data.name, got {root}; correct it.")
    matches = sorted(file for file in folder.iterdir() if file.is_file() and name in (file.name, file.stem))
    exact = [file for file in matches if file.name == name] or matches
    if len(exact) != 1:
        found = f"{', '.join(file.name for file in matches)}: add the ending" if matches else listing(folder)
        raise InputError(f"data.name must name one file in {root}, got {'null' if name is None else name}; there are {found}.")
    return exact[0]
