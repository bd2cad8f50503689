"""Files as MATLAB writes them."""

import h5py
import numpy as np


def write_struct(group, arrays):
    """The fields of a struct, some of which may be structs themselves; an empty array is stored as its shape."""
    for name, array in arrays.items():
        if isinstance(array, dict):
            write_struct(group.create_group(name), array)
            continue
        group[name] = array.T if array.size else np.array(array.shape, np.uint64)
        group[name].attrs["MATLAB_class"] = np.bytes_("double")
        if not array.size:
            group[name].attrs["MATLAB_empty"] = np.uint8(1)


def write_hdf5(path, **arrays):
    """A file as of MATLAB 7.3: a header of its own, transposed arrays, text as numbers, structs as groups."""
    with h5py.File(path, "w", userblock_size=512) as file:
        write_struct(file, arrays)
        file["name"] = np.frombuffer(b"head", np.uint8).astype(np.uint16)[:, None]
        file["name"].attrs["MATLAB_class"] = np.bytes_("char")
        file.create_group("#refs#")["a"] = np.eye(3)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
