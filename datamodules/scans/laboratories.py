"""Scans in the words of the laboratories that publish them, said in this project's."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from datamodules.scans.read_arrays import field

Arrays = Mapping[str, np.ndarray]


class Vocabulary(NamedTuple):
    """The names by which files of a laboratory are known, and what they say by the names of `read_sinogram`."""

    known_by: frozenset[str]
    translate: Callable[[Arrays], dict[str, np.ndarray]]


def helsinki(arrays: Arrays) -> dict[str, np.ndarray]:
    """Translate a fan beam of the University of Helsinki: views as rows, the axis in the middle, lengths in mm.

    Source: Meaney, Silva de Moura & Siltanen, Helsinki Tomography Challenge 2022 open tomographic dataset.
    """
    # Their slice is upright where bins run the other way and the source begins on the other side, by the published truths.
    sinogram = arrays["sinogram"].T[::-1]
    source = arrays["distanceSourceOrigin"]
    return {
        "sinogram": sinogram,
        "angles": arrays["angles"] + 180.0,
        "source": source,
        "detector": arrays["distanceSourceDetector"] - source,
        "bin_width": arrays["pixelSizePost"],
        "centre": np.array((len(sinogram) - 1) / 2),
    }


LABORATORIES = (
    Vocabulary(
        frozenset({"sinogram", "angles", "distanceSourceOrigin", "distanceSourceDetector", "pixelSizePost"}),
        helsinki,
    ),
)


def translated(arrays: Arrays) -> Arrays:
    """Return what a file says by the names of `read_sinogram`; files of no known laboratory are as they were."""
    by_field = {field(name): array for name, array in arrays.items()}
    return next((one.translate(by_field) for one in LABORATORIES if one.known_by <= by_field.keys()), arrays)
