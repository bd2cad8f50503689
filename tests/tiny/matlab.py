"""Files as MATLAB writes them."""

import h5py
import numpy as np


def write_hdf5(path, **arrays):
    """A file as of MATLAB 7.3: a header of its own, transposed arrays, text as numbers, a struct as a group."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file[name] = array.T
            file[name].attrs["MATLAB_class"] = np.bytes_("double")
        file["name"] = np.frombuffer(b"head", np.uint8).astype(np.uint16)[:, None]
        file["name"].attrs["MATLAB_class"] = np.bytes_("char")
        file.create_group("struct")["part"] = np.eye(3)
        file.create_group("#refs#")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
