"""Arrays by name in a file: numpy's, and MATLAB's of any version."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from datamodules.common.files import not_installed
from inr.errors import InputError

CLASS = "MATLAB_class"  # attribute of an HDF5 data set, its type in MATLAB
EMPTY = "MATLAB_empty"  # attribute of one that holds the shape of an array without numbers instead
TEXTS = (b"char", b"string")  # types that HDF5 stores as numbers
NUMBERS = "buifc"  # kinds of numpy's types
HDF5 = b"\x89HDF"  # behind a header of 512 bytes in MATLAB 7.3


def only(arrays: Mapping[str, np.ndarray], kind: str, path: Path) -> np.ndarray:
    """Return the one array of a file, or the one outside of structs.

    Raises: InputError if there are others, or none.
    """
    outside = {name: array for name, array in arrays.items() if "." not in name}
    arrays = outside if len(outside) == 1 else arrays
    if len(arrays) != 1:
        raise InputError(f"{kind} must hold one array, {path} has {', '.join(arrays) or 'none'}; save the one as .npy.")
    return next(iter(arrays.values()))


def load_numpy(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz file, or the one of an .npy file, named ''; nothing is unpickled, which could run code."""
    with path.open("rb") as file:
        loaded = np.load(file, allow_pickle=False)
        return {"": loaded} if isinstance(loaded, np.ndarray) else {name: np.asarray(loaded[name]) for name in loaded}


def load_matlab(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of numbers in a MATLAB file by name; those in a struct are struct.field, cells and text are left out.

    Raises: InputError if h5py is missing for a file of MATLAB 7.3, or there is no array of numbers.
    """
    with path.open("rb") as file:
        start = file.read(516)
    version_7_3 = HDF5 in (start[:4], start[512:])
    found = dict(numbers_of_hdf5(path) if version_7_3 else numbers_of_structs(loadmat(path)))
    if not found:
        raise InputError(f"A MATLAB file must hold arrays of numbers, {path} holds none; save them as matrices.")
    return found


def numbers_of_structs(arrays: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Yield the arrays of numbers among those that scipy read, in which a struct is an array of size 1 with named fields."""
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            continue
        if array.dtype.names is not None and array.size == 1:
            fields = {field: array.item()[place] for place, field in enumerate(array.dtype.names)}
            yield from numbers_of_structs(fields, f"{prefix}{name}.")
        elif array.dtype.kind in NUMBERS:
            yield prefix + name, array


def numbers_of_hdf5(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the arrays of numbers in a file of MATLAB 7.3, in which a struct is a group.

    Raises: InputError if h5py is missing.
    """
    try:
        import h5py
    except ImportError as error:
        raise not_installed("Files of MATLAB 7.3", "h5py", "ct", path, ", or save with '-v7'") from error
    with h5py.File(path) as file:
        groups = [("", file)]
        while groups:
            prefix, group = groups.pop()
            for name, entry in group.items():
                if isinstance(entry, h5py.Group):
                    groups += [] if name.startswith("#") else [(f"{prefix}{name}.", entry)]  # cells lie in #refs#
                elif entry.attrs.get(CLASS) not in TEXTS and entry.dtype.kind in NUMBERS and EMPTY not in entry.attrs:
                    # MATLAB's first axis varies fastest, HDF5's last: it stores the transposed array.
                    yield prefix + name, np.asarray(entry).T
