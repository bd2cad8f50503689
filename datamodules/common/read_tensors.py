"""Pictures of real numbers, and arrays, as other programs save them: torch, MATLAB, OpenEXR, Radiance, portable float maps."""

import re
from pathlib import Path

import imagecodecs
import numpy as np
import torch

from datamodules.common.decoded import Decoded, choose_frame
from datamodules.common.files import not_installed
from datamodules.common.named_arrays import load_matlab, only
from inr.errors import InputError

COLOURS = ("R", "G", "B")  # channels of OpenEXR
LUMA = ("Y",)
FLOAT_MAP = re.compile(rb"(PF|Pf)\s+(\d+)\s+(\d+)\s+([-+.\deE]+)\s")
CHANNELS = {b"PF": 3, b"Pf": 1}


def read_matlab(path: Path, frame: int | None) -> Decoded:
    """Return the one matrix of numbers in a file of MATLAB."""
    choose_frame(1, frame, path)
    return Decoded(only(load_matlab(path), "A file of MATLAB", path))


def read_torch(path: Path, frame: int | None) -> Decoded:
    """Return the one tensor of a file of torch; nothing but tensors is unpickled, as other things could run code."""
    choose_frame(1, frame, path)
    found = torch.load(path, map_location="cpu", weights_only=True)
    tensors = found if isinstance(found, dict) else {path.stem: found}
    tensor = only(tensors, "A file of torch", path)
    if not isinstance(tensor, torch.Tensor):
        raise InputError(f"A file of torch must hold a tensor, {path} has a {type(tensor).__name__}; save the one tensor.")
    return Decoded(tensor.detach().float().numpy() if tensor.dtype == torch.bfloat16 else tensor.detach().numpy())


def read_exr(path: Path, frame: int | None) -> Decoded:
    """Return an OpenEXR picture, whose colours are stored times alpha.

    Raises: InputError if the package is missing, or the channels are neither colours nor luma.
    """
    choose_frame(1, frame, path)
    try:
        import OpenEXR
    except ImportError as error:
        raise not_installed("OpenEXR files", "OpenEXR", "exr", path) from error
    with OpenEXR.File(str(path), separate_channels=True) as file:
        channels = {name: channel.pixels for name, channel in file.channels().items()}
    names = next((names for names in (COLOURS, LUMA) if set(names) <= set(channels) <= {*names, "A"}), None)
    if names is None:
        rule = "An OpenEXR picture must have channels R, G, B or Y, and perhaps A"
        raise InputError(f"{rule}, {path} has {', '.join(channels)}; save those that you mean as .npy.")
    alpha = channels["A"][..., None] if "A" in channels else None
    return Decoded(np.stack([channels[name] for name in names], -1), alpha, premultiplied=True)


def read_radiance(path: Path, frame: int | None) -> Decoded:
    """Return a Radiance picture (.hdr) in floats."""
    choose_frame(1, frame, path)
    return Decoded(imagecodecs.rgbe_decode(path.read_bytes()))


def read_float_map(path: Path, frame: int | None) -> Decoded:
    """Return a portable float map (.pfm), whose rows go from the bottom to the top.

    By hand, as Pillow has none with colours.
    """
    choose_frame(1, frame, path)
    content = path.read_bytes()
    header = FLOAT_MAP.match(content)
    if header is None:
        raise ValueError("its header is none of a portable float map")
    kind, columns, rows, scale = header.groups()
    number = "<f4" if float(scale) < 0 else ">f4"  # the sign of the scale tells the order of bytes
    array = np.frombuffer(content[header.end() :], number).reshape(int(rows), int(columns), CHANNELS[kind])
    return Decoded(array[::-1])
