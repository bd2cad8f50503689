"""Slices as attenuation per length: what their numbers mean, and how to show them again."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.common.files import refuse_infinite
from inr.errors import InputError

MU_WATER = 0.0193  # attenuation of water per mm at 70 keV, about the mean energy of a scanner's rays at 120 kV
WINDOW = (-1000.0, 1000.0)  # [HU] of files that name none
SQUARE = 1.01  # ratio of the sides of a pixel up to which it is square
HOUNSFIELD = 1000  # Hounsfield units from air to water
AIR = -900.0  # [HU] that a slice in Hounsfield units goes below, and hardly any other
LEAST = -32768.0  # [HU] that no file in Hounsfield units goes below, padding included


@dataclass(frozen=True)
class Slice:
    """A slice to be scanned, and the relation of its values to the numbers of the file: number = scale * value + offset.

    Shapes: values (rows, columns), float32.
    """

    values: np.ndarray  # attenuation per length, zero where there is air, or black
    pixel: float  # side of a pixel [length]
    length: str  # mm or pixel
    unit: str  # of the file's numbers
    scale: float
    offset: float
    window: tuple[float, float]  # the two that a picture shows as black and as white
    peak: float  # their range, the largest signal of a PSNR


def side(spacing: Sequence[float], path: Path) -> tuple[float, str]:
    """Return the side of a pixel and its unit: 1 pixel if the file does not know it in mm."""
    if not spacing:
        return 1.0, "pixel"
    low = min(spacing)
    high = max(spacing)
    if len(spacing) != 2 or not 0 < low <= high <= SQUARE * low < math.inf:
        raise InputError(f"Pixels must be square to 1 %, those of {path} have sides of {spacing} mm; resample it.")
    return math.sqrt(low * high), "mm"  # the square of the same area, so that masses stay


def from_hounsfield(rescaled: np.ndarray) -> np.ndarray:
    """Return the attenuation per mm of Hounsfield units, none below air."""
    # HU = 1000 (value / water - 1), solved for the value. Noise takes air below -1000, where nothing could attenuate.
    return (MU_WATER * (1 + rescaled / HOUNSFIELD)).clip(0)


def hounsfield_slice(values: np.ndarray, pixel: float, length: str, window: tuple[float, float] | None = None) -> Slice:
    """Make a slice of attenuation per mm whose numbers are Hounsfield units."""
    scale = HOUNSFIELD / MU_WATER
    values = values.astype(np.float32)
    return Slice(values, pixel, length, "HU", scale, -1000.0, window or WINDOW, scale * float(np.ptp(values)))


def bounds(values: np.ndarray) -> tuple[float, float]:
    """Return black and white of a picture that names neither: 0, or the lowest number below it, and the highest."""
    return min(0.0, float(values.min())), float(values.max())


def array_unit(values: np.ndarray) -> str:
    """Name the unit of numbers of which only their range is known."""
    return f"array value ({values.min():g}..{values.max():g})"


def reaches_air(values: np.ndarray, path: Path) -> bool:
    """Tell whether numbers of an unknown unit look like Hounsfield units, and say so."""
    lowest = float(values.min())
    if not LEAST <= lowest <= AIR:
        return False
    found = f"{path.name} reaches down to {lowest:g}, so its numbers are taken as Hounsfield units"
    warnings.warn(f"{found}; data.hounsfield=true or =false says what they are.", stacklevel=2)
    return True


def number_slice(image: np.ndarray, spacing: Sequence[float], path: Path, hounsfield: bool | None) -> Slice:
    """Make the slice of numbers (rows, columns): attenuation per mm of Hounsfield units, others as they are."""
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
        values = image.astype(np.float32)
    refuse_infinite(values)
    pixel, length = side(spacing, path)
    if reaches_air(values, path) if hounsfield is None else hounsfield:
        return hounsfield_slice(from_hounsfield(image.astype(float)), pixel, length)
    is_picture = image.dtype in (np.uint8, np.uint16) and not spacing
    unit = f"{8 * image.itemsize}-bit value (0..{np.iinfo(image.dtype).max})" if is_picture else array_unit(values)
    peak = float(np.iinfo(image.dtype).max if is_picture else np.ptp(values))
    return Slice(values, pixel, length, unit, 1.0, 0.0, bounds(values), peak)
