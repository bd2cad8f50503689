"""Signed distances on a regular grid."""

from functools import cached_property
from typing import Any

import numpy as np
import torch

from datamodules.common.files import existing_file, refuse_infinite
from datamodules.shapes.frame import Frame
from datamodules.shapes.one_shape import OneShape
from datamodules.shapes.shape import VolumeShape
from inr.errors import InputError
from inr.shapes.marching_cubes import march_volume
from inr.shapes.meshes import Mesh


class VolumeData(OneShape):
    """A grid of distances to fit: an .npy file (columns, rows, layers) along x, y and z, positive outside.

    Voxels are `spacing` apart, in the unit of the distances; voxel 0 lies at the origin. `flip` turns a grid round that is
    positive inside. The other options are those of `ShapeData`; samples are voxels in random order.

    Raises: InputError for anything but three axes of numbers, and for a grid without a surface or the wrong way round.
    """

    def __init__(self, path: str | None = None, spacing: float = 1.0, flip: bool = False, **shape: Any) -> None:
        super().__init__(**shape)
        if path is None:
            raise InputError("data.path must name the .npy file of a grid of distances, got null.")
        if not 0 < spacing < float("inf"):
            raise InputError(f"data.spacing is the distance of neighbouring voxels and must be positive, got {spacing}.")
        self.path, self.spacing, self.sign = existing_file("data.path", path), spacing, -1.0 if flip else 1.0

    @cached_property
    def only(self) -> VolumeShape:
        """The grid, in normalised lengths."""
        values = self.read()
        reach = (max(values.shape) - 1) / 2 * self.spacing
        centre = [(size - 1) / 2 * self.spacing for size in values.shape]
        fitted = torch.from_numpy(self.sign * values / reach)
        frame = Frame(tuple(centre), reach)
        stretched = march_volume(fitted)  # to the cube along every axis
        sides = (np.array(values.shape) - 1) / (max(values.shape) - 1)
        return VolumeShape(self.path.stem, frame, fitted, Mesh(stretched.vertices * sides, stretched.faces))

    def read(self) -> np.ndarray:
        """The numbers of the file, in float32."""
        try:
            values = np.load(self.path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"A grid of distances is an .npy file, {self.path} is not readable: {error}; save it anew."
            ) from error
        if not isinstance(values, np.ndarray) or values.ndim != 3 or min(values.shape) < 3 or values.dtype.kind not in "fiu":
            got = getattr(values, "shape", "several arrays")
            raise InputError(
                f"A grid of distances has three axes of three numbers or more, {self.path} has {got}; choose another."
            )
        values = values.astype(np.float32)
        refuse_infinite(values)
        if values.min() >= 0 or values.max() <= 0:
            raise InputError(
                f"Distances must be positive outside and negative inside, {self.path} ranges from {values.min():g} to"
                f" {values.max():g}: there is no surface in it; use signed distances."
            )
        faces = [self.sign * np.take(values, end, axis).mean() for axis in range(3) for end in (0, -1)]
        if max(faces) < 0:
            raise InputError(
                f"Distances must be positive outside, those of {self.path} are negative on all its sides; use"
                f" data.flip={'false' if self.sign < 0 else 'true'}."
            )
        return values
