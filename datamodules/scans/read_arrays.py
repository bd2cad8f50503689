"""Arrays by name in a file: numpy's, TIFF, text, MATLAB's of any version, and the volumes of medical imaging."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tifffile

from datamodules.common.files import existing_file, one_line
from datamodules.common.named_arrays import load_matlab, load_numpy
from datamodules.common.pictures import ARRAYS, DAMAGE, TIFFS, read_image
from datamodules.scans.read_volume import VOLUMES, read_volume
from inr.errors import InputError

TEXTS = (".txt", ".csv")
MATLAB = (".mat",)
ANY = (*ARRAYS, *TIFFS, *MATLAB, *VOLUMES)  # endings of files that may hold a sinogram


def has_ending(path: Path, endings: Sequence[str]) -> bool:
    """Tell whether a file name ends in one of these, in small letters or capitals."""
    return path.name.lower().endswith(tuple(endings))


def load(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays in a file by name; those of a kind that holds only one have the name ''."""
    if has_ending(path, MATLAB):
        return load_matlab(path)
    if has_ending(path, VOLUMES):
        return {"": read_volume(path)[0]}
    if has_ending(path, TIFFS):
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it finds wrong is raised, too
        whole = tifffile.imread(path)
        # One picture is read as its tags say (turned, counted from white); a stack is refused for its axes.
        return {"": whole if whole.ndim > 2 else read_image(path)[..., 0]}
    if has_ending(path, TEXTS):
        return {"": np.loadtxt(path, delimiter="," if has_ending(path, (".csv",)) else None, ndmin=1, encoding="utf-8-sig")}
    return load_numpy(path)


def load_arrays(option: str, path: str, endings: Sequence[str]) -> dict[str, np.ndarray]:
    """Read the arrays in the file that an option names.

    Raises: InputError if there is no such file, or it is broken or of another kind.
    """
    file = existing_file(option, path)
    if not has_ending(file, endings):
        raise InputError(f"{option} must be a file that ends in {', '.join(endings)}, got {path}; convert it.")
    try:
        with warnings.catch_warnings(action="ignore"):  # of damage, which is raised or leaves nothing
            return load(file)
    except InputError:
        raise
    except DAMAGE as error:
        rule = f"{option} must be a whole file of plain numbers"
        raise InputError(f"{rule}, {path} is not: {one_line(error)}; save it anew.") from error


def field(name: str) -> str:
    """Return the last part of the name of an array, which is that of a field if the array lies in a struct of MATLAB."""
    return name.rpartition(".")[2]


def pick(arrays: Mapping[str, np.ndarray], names: Sequence[str], path: object) -> np.ndarray:
    """Return the only array, the only one with a name of these, or the only one outside of structs."""
    outside = [name for name in arrays if "." not in name]
    named = [name for name in arrays if field(name) in names]
    known = next((some for some in (list(arrays), named, outside) if len(some) == 1), named)
    if len(known) != 1:
        rule = f"One of several arrays in a file must be named {' or '.join(names)}"
        raise InputError(f"{rule}, {path} has {', '.join(arrays) or 'none'}; rename it, or save the one as .npy.")
    return arrays[known[0]]
