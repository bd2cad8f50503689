"""Arrays by name in a file: numpy's, and MATLAB's of any version."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from datamodules.common.files import not_installed
from inr.errors import InputError

CLASS = "MATLAB_class"  # attribute of an HDF5 data set, its type in MATLAB
HDF5 = b"\x89HDF"  # behind a header of 512 bytes in MATLAB 7.3


def only(arrays: Mapping[str, np.ndarray], kind: str, path: Path) -> np.ndarray:
    """Return the one array of a file of several names.

    Raises: InputError if there are others, or none.
    """
    if len(arrays) != 1:
        raise InputError(f"{kind} must hold one array, {path} has {', '.join(arrays) or 'none'}; save the one as .npy.")
    return next(iter(arrays.values()))


def load_numpy(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz file, or the one of an .npy file, named ''; nothing is unpickled, which could run code."""
    with path.open("rb") as file:
        loaded = np.load(file, allow_pickle=False)
        return {"": loaded} if isinstance(loaded, np.ndarray) else {name: np.asarray(loaded[name]) for name in loaded}


def load_matlab(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of numbers in a MATLAB file by name; what is a struct, a cell or text is left out.

    Raises: InputError if h5py is missing for a file of MATLAB 7.3, or there is no array of numbers.
    """
    with path.open("rb") as file:
        start = file.read(516)
    arrays = load_hdf5(path) if HDF5 in (start[:4], start[512:]) else dict(loadmat(path))
    found = {name: array for name, array in arrays.items() if isinstance(array, np.ndarray) and array.dtype.kind in "buifc"}
    if not found:
        others = ", ".join(name for name in arrays if not name.startswith("__")) or "nothing"
        rule = f"A MATLAB file must hold arrays of numbers, {path} holds {others}"
        raise InputError(f"{rule}; save the fields of a struct as arrays, save('new.mat', '-struct', 'name').")
    return found


def load_hdf5(path: Path) -> dict[str, np.ndarray | None]:
    """Read the arrays in a file of MATLAB 7.3; None for what is none.

    Raises: InputError if h5py is missing.
    """
    try:
        import h5py
    except ImportError as error:
        raise not_installed("Files of MATLAB 7.3", "h5py", "ct", path, ", or save with '-v7'") from error
    with h5py.File(path) as file:
        # MATLAB's first axis varies fastest, HDF5's last: it stores the transposed array, and text as numbers.
        arrays = {name: isinstance(entry, h5py.Dataset) and entry.attrs.get(CLASS) != b"char" for name, entry in file.items()}
        return {name: np.asarray(file[name]).T if known else None for name, known in arrays.items() if name[0] != "#"}
