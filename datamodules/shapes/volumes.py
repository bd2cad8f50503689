"""Signed distances on a regular grid."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from datamodules.common.files import existing_file, refuse_infinite, require
from datamodules.common.named_arrays import only
from datamodules.common.pictures import ARRAYS, read_arrays
from datamodules.shapes.frame import Frame
from datamodules.shapes.read_distances import SIDES, refuse_one_sign
from datamodules.shapes.shape import VolumeShape
from datamodules.shapes.shape_data import OneShape
from inr.errors import InputError
from inr.shapes.marching_cubes import march_volume
from inr.shapes.meshes import Mesh


@dataclass(kw_only=True, eq=False)
class VolumeData(OneShape):
    """A grid of distances to fit: an .npy or .npz file (columns, rows, layers) along x, y and z; voxel 0 lies at the origin.

    Samples are voxels in random order, whatever the shares of the other options.

    Raises: InputError for anything but three axes of numbers, and for a grid without a surface or the wrong way round.
    """

    path: str | None = None
    spacing: float = 1.0  # of neighbouring voxels, in the unit of the distances
    flip: bool = False  # turn a grid round that is positive inside

    def __post_init__(self) -> None:
        super().__post_init__()
        require("data.path", self.path is not None, "must name the .npy or .npz file of a grid of distances", None)
        rule = "is the distance of neighbouring voxels and must be positive"
        require("data.spacing", 0 < self.spacing < float("inf"), rule, self.spacing)
        self.file = existing_file("data.path", str(self.path))
        self.sign = -1.0 if self.flip else 1.0

    @cached_property
    def only(self) -> VolumeShape:
        """The grid, in normalised lengths."""
        values = self.read()
        # The cube goes from the first to the last voxel of the longest axis; along the others the grid fills it in part.
        steps = np.array(values.shape) - 1
        half_width = steps.max() / 2 * self.spacing
        frame = Frame(tuple((steps / 2 * self.spacing).tolist()), float(half_width))
        distances = torch.from_numpy(self.sign * values / float(half_width))
        surface = march_volume(distances)  # which takes every axis to be as long as the cube
        mesh = Mesh(surface.vertices * (steps / steps.max()), surface.faces)
        return VolumeShape(self.file.stem, frame, mesh, distances)

    def read(self) -> np.ndarray:
        """Read the numbers of the file, in float32."""
        if self.file.suffix.lower() not in ARRAYS:
            raise InputError(f"A grid of distances is an .npy file, or an .npz file of one array, got {self.file}; convert it.")
        arrays = read_arrays(self.file)
        if {*SIDES} <= arrays.keys():
            rule = "A grid of distances has three axes"
            raise InputError(f"{rule}, {self.file} has those of DeepSDF at scattered points, pos and neg; use data=distances.")
        values = only(arrays, "An .npz file", self.file)
        if values.ndim != 3 or min(values.shape) < 3 or values.dtype.kind not in "fiu":
            rule = "A grid of distances has three axes of three numbers or more"
            raise InputError(f"{rule}, {self.file} has {values.shape} of {values.dtype}; choose another.")
        values = values.astype(np.float32)  # before they are checked: large numbers become infinite
        refuse_infinite(values)
        self.refuse_sign(values)
        return values

    def refuse_sign(self, values: np.ndarray) -> None:
        """Raise InputError for distances of one sign, and for those that seem to be positive inside."""
        refuse_one_sign(values, self.file)
        # A shape may touch some sides of its grid; where it seems to fill all six, inside and outside are swapped.
        sides = [self.sign * np.take(values, end, axis).mean() for axis in range(3) for end in (0, -1)]
        if max(sides) < 0:
            rule = f"Distances must be positive outside, those of {self.file} are negative on all its sides"
            raise InputError(f"{rule}; use data.flip={'false' if self.sign < 0 else 'true'}.")
