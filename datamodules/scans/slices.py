"""Slices to be scanned: a file, a folder of them, or generated phantoms."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from datamodules.common.files import existing_file, existing_folder, files_below, require_counts
from datamodules.common.pictures import ARRAYS
from datamodules.common.signal_data import Split
from datamodules.common.splits import Collection
from datamodules.scans.attenuation import Slice
from datamodules.scans.phantoms import random_phantom, rasterise, shepp_logan
from datamodules.scans.read_arrays import MATLAB
from datamodules.scans.read_dicom import DICOM
from datamodules.scans.read_slice import read_slice, resized
from datamodules.scans.scans import Scans
from datamodules.scans.simulated import SimulatedScan, coarser, project
from inr.baselines.principal_components import Components
from inr.errors import InputError

FINEST = 4  # pixels of a scanned slice for each that is looked for, along either axis, however fine its file is
PHANTOM = 128  # rows and columns of the bundled one [pixels]
NOISES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)  # variances of observations that principal components may assume
PICTURES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
ENDINGS = (*DICOM, *PICTURES, *ARRAYS, *MATLAB, ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
ALIKE = 0.01  # relative difference of the sides of pixels up to which slices are of one kind


def finer_than(found: Slice, size: int | None) -> int:
    """Return how many pixels a file has for each of so many along either axis: 2 to 4; without size 2, as if each were cut."""
    return 2 if size is None else min(max(math.ceil(max(found.values.shape) / size), 2), FINEST)


def cut(found: Slice, size: int | None, finer: int) -> Slice:
    """Return a slice in finer x size rows and columns; without size in its own pixels, each cut into finer x finer."""
    if size is not None:
        return resized(found, finer * size)
    return replace(found, values=found.values.repeat(finer, 0).repeat(finer, 1), pixel=found.pixel / finer)


def joined(fine: Slice, finer: int) -> Slice:
    """Return the slice whose pixels are the means over finer x finer of these."""
    values = coarser(torch.from_numpy(fine.values)[None], finer)[0].numpy()
    return replace(fine, values=values, pixel=finer * fine.pixel)


def phantom_slice(values: np.ndarray, finer: int = 1) -> Slice:
    """Make the slice of a phantom, whose values mean themselves; a pixel is cut into finer x finer."""
    return Slice(values, 1 / finer, "pixel", "density (0..1)", 1.0, 0.0, (0.0, 1.0), peak=1.0)


def ends(window: Sequence[float] | None) -> tuple[float, float] | None:
    """Return black and white of a window that the user gives."""
    return None if window is None else (window[0], window[-1])


@dataclass(kw_only=True, eq=False)
class SliceScan(SimulatedScan):
    """One slice, to be scanned: DICOM, NIfTI, NRRD, MetaImage, png, tiff, npy, mat; without a path, the Shepp-Logan phantom.

    hounsfield: whether the numbers are Hounsfield units; None: in DICOM as the tags say, elsewhere if they go below -900.
    window: numbers that a picture shows as black and as white [the file's; of DICOM Hounsfield units]; None: as the file says,
        or its range.
    """

    path: str | None = None
    size: int | None = None  # rows and columns that are reconstructed; None: those of the file
    frame: int | None = None  # one of several in the file, or of the slices of a volume
    hounsfield: bool | None = None
    window: Sequence[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.file = None if self.path is None else existing_file("data.path", self.path)

    @cached_property
    def read(self) -> Slice | None:
        """The slice in the file; None: the phantom is drawn."""
        return None if self.file is None else read_slice(self.file, ends(self.window), None, self.frame, self.hounsfield)

    @cached_property
    def finer_pixels(self) -> int:
        """Pixels of the scanned slice for each that is looked for, along either axis."""
        return self.finer or (FINEST if self.read is None else finer_than(self.read, self.size))

    @cached_property
    def fine(self) -> Slice:
        """The slice as it is scanned."""
        finer = self.finer_pixels
        if self.read is None:
            return phantom_slice(rasterise(shepp_logan(), self.size or PHANTOM, finer=finer), finer)
        return cut(self.read, self.size, finer)

    @cached_property
    def template(self) -> Slice:
        """The slice as it is looked for."""
        return joined(self.fine, self.finer_pixels)

    def scanned(self, positions: Sequence[int]) -> Tensor:
        """Return its values."""
        return torch.from_numpy(self.fine.values)[None]

    @property
    def labels(self) -> Sequence[str]:
        """The name of the file."""
        return ["shepp_logan" if self.file is None else self.file.stem]


@dataclass(kw_only=True, eq=False)
class ScanCollection(SimulatedScan, Collection[Scans]):
    """Many slices, of which some train and others are held out."""

    def observe(self, split: Split) -> Scans:
        """Simulate the scans of a split."""
        return self.scan(self.of_split(split))

    def baselines(self) -> dict[str, Callable[[], Tensor]]:
        """Add the mean of the training slices, and their principal components fitted to the same sinograms."""
        positions = [*self.positions["train"], *self.positions["tuning"]]
        if not positions:
            return super().baselines()
        slices = coarser(self.scanned(positions), self.finer_pixels) / self.unit_attenuation
        learned = Components(slices.flatten(1))
        shape = (-1, *self.slice_shape, 1)
        mean = learned.mean.expand(len(self.evaluated), -1).reshape(shape)
        rows = super().baselines() | {"mean": lambda: mean}
        rows[f"pca {len(learned.basis)}"] = lambda: self.infer(learned).reshape(shape)
        return rows

    def infer(self, learned: Components) -> Tensor:
        """Return the likeliest evaluated slices (signals, pixels) of some principal components, given their sinograms."""
        # Projection is linear: a sinogram is that of the mean plus those of the components, weighted by the codes.
        design = project(learned.basis.reshape(-1, *self.slice_shape), self.scanner, rays=self.rays).flatten(1)
        offset = project(learned.mean.reshape(1, *self.slice_shape), self.scanner, rays=self.rays).flatten()
        known = self.tuned if self.tuning_signals else self.trained
        assert known.slices is not None
        truth = known.slices.flatten(1)

        def error(noise: float) -> float:
            return float((learned.infer(design, offset, known.sinograms.flatten(1), noise) - truth).square().mean())

        # The noise also stands for what the components cannot express, so that it is chosen where the slices are known.
        return learned.infer(design, offset, self.evaluated.sinograms.flatten(1), min(NOISES, key=error))


@dataclass(kw_only=True, eq=False)
class Phantoms(ScanCollection):
    """Random heads around the Shepp-Logan phantom."""

    count: int = 160  # of the heads
    size: int = 64  # rows and columns [pixels]
    spread: float = 1.0  # scale of the differences between them, 0 to 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_counts(self, "count", least=2)

    @cached_property
    def labels(self) -> Sequence[str]:
        """Numbers of the phantoms."""
        return [f"phantom_{variant:04d}" for variant in range(self.count)]

    @cached_property
    def template(self) -> Slice:
        """The phantom that all others vary."""
        return phantom_slice(rasterise(shepp_logan(), self.size))

    @property
    def finer_pixels(self) -> int:
        """Pixels of the scanned phantoms for each that is looked for, along either axis."""
        return self.finer or FINEST

    def scanned(self, positions: Sequence[int]) -> Tensor:
        """Return the values of the phantoms at these positions."""
        heads = (random_phantom(self.seed, place, self.spread) for place in positions)
        made = [rasterise(head, self.size, finer=self.finer_pixels) for head in heads]
        return torch.from_numpy(np.stack(made))


@dataclass(kw_only=True, eq=False)
class SliceFolder(ScanCollection):
    """All slices in a folder and its subfolders; all must be of one kind.

    hounsfield: as of `SliceScan`.
    """

    root: str | None = None  # the folder
    size: int = 128  # rows and columns that they are resized to [pixels]
    frame: int | None = None  # the one of several in every file
    hounsfield: bool | None = None
    window: Sequence[float] | None = None  # numbers that a picture shows as black and as white; None: those of the first slice

    def __post_init__(self) -> None:
        super().__post_init__()
        self.folder = existing_folder("data.root", self.root)

    @cached_property
    def labels(self) -> Sequence[str]:
        """Paths below the folder."""
        return list(files_below(self.folder, ENDINGS, "data.root must hold two slices or more", least=2))

    def read(self, position: int) -> Slice:
        """Read a slice of the folder."""
        return read_slice(self.folder / self.labels[position], ends(self.window), None, self.frame, self.hounsfield)

    @cached_property
    def first_read(self) -> Slice:
        """The first slice that trains; the first of all where none does."""
        return self.read(next(iter(self.positions["train"]), 0))

    @cached_property
    def finer_pixels(self) -> int:
        """Pixels of the scanned slices for each that is looked for, along either axis."""
        return self.finer or finer_than(self.first_read, self.size)

    @cached_property
    def template(self) -> Slice:
        """The first slice as it is looked for."""
        return joined(cut(self.first_read, self.size, self.finer_pixels), self.finer_pixels)

    def scanned(self, positions: Sequence[int]) -> Tensor:
        """Return the values of the slices at these positions.

        Raises: InputError for slices of other units, or with pixels of another size.
        """
        first = self.template
        finer = self.finer_pixels
        fine = [cut(self.read(place), self.size, finer) for place in positions]
        for place, one in zip(positions, (joined(one, finer) for one in fine), strict=True):
            if one.unit != first.unit or abs(one.pixel / first.pixel - 1) > ALIKE:
                found = f"{self.labels[place]} has {one.unit} and pixels of {one.pixel:g} {one.length}"
                known = f"the first that trains {first.unit} and {first.pixel:g} {first.length}"
                raise InputError(f"Slices of a folder must be of one kind; {found}, {known}: sort them.")
        return torch.from_numpy(np.stack([one.values for one in fine]))
