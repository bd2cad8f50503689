"""Scattered points with their distances from a surface, from a table or the samples of DeepSDF."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from datamodules.common.named_arrays import only
from datamodules.common.pictures import read_arrays
from datamodules.shapes.frame import frame_of
from datamodules.shapes.read_table import TEXTS, read_text
from datamodules.shapes.shape import SampleShape
from inr.errors import InputError

ENDINGS = (*TEXTS, ".npy", ".npz")
FEWEST = 100  # samples: a direction takes sixteen of them
SIDES = ("pos", "neg")  # of the surface, as DeepSDF calls them


def array_of(arrays: Mapping[str, np.ndarray], path: Path) -> np.ndarray:
    """Return the one array of a file, or those of both sides of the surface, one after the other."""
    if not {*SIDES} <= arrays.keys():
        return only(arrays, "An .npz file", path)
    positive, negative = (arrays[side] for side in SIDES)
    if any(part.shape[1:] != (4,) for part in (positive, negative)):
        rule = "pos and neg must be tables x y z distance"
        raise InputError(f"{rule}, {path} has {positive.shape} and {negative.shape}; choose another.")
    return np.concatenate([positive, negative])


def refuse_one_sign(values: np.ndarray, path: Path) -> None:
    """Raise InputError for distances between whose signs no surface lies."""
    if values.min() >= 0 or values.max() <= 0:
        rule = "Distances must be positive outside and negative inside"
        found = f"{path} ranges from {values.min():g} to {values.max():g}: there is no surface in it"
        raise InputError(f"{rule}, {found}; use signed distances.")


def read_samples(path: Path) -> np.ndarray:
    """Read a table (samples, 4), x y z distance.

    Raises: InputError if the file holds none.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"data.path of distances must end in {', '.join(ENDINGS)}, got {path}; convert it.")
    table = read_text(path) if ending in TEXTS else array_of(read_arrays(path), path)
    if table.ndim != 2 or table.shape[1] != 4 or table.dtype.kind not in "fiu":
        rule = "Distances must be a table x y z distance"
        raise InputError(f"{rule}, {path} has {table.shape} of {table.dtype}; a grid of them is read with data=volume.")
    return table.astype(np.float64)


def read_distances(path: Path, flip: bool = False) -> SampleShape:
    """Read samples of distances, their box as long as the cube; those that are not finite are left out, with a warning.

    Raises: InputError for distances of one sign, or positive inside.
    """
    table = read_samples(path)
    known = np.isfinite(table).all(1)
    if not known.all():
        warnings.warn(f"{path}: {(~known).sum()} of {len(table)} samples are not finite and are left out.", stacklevel=2)
    table = table[known]
    if len(table) < FEWEST:
        raise InputError(f"Distances need {FEWEST} samples or more, {path} has {len(table)}; choose another.")
    points = table[:, :3]
    values = table[:, 3] * (-1 if flip else 1)
    refuse_one_sign(values, path)
    frame = frame_of(points, 1.0)
    shape = SampleShape(path.stem, frame, frame.to_unit(points), values / frame.scale)
    # Outside of the body there is more room than in it, up to the samples' box: the farthest samples tell the sides apart.
    rim = abs(shape.points).max(1) > np.quantile(abs(shape.points).max(1), 0.99)
    if np.median(values[rim]) < 0:
        rule = f"Distances must be positive outside, those of {path} are negative on its rim"
        raise InputError(f"{rule}; use data.flip={'false' if flip else 'true'}.")
    return shape
