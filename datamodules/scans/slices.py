"""Slices to be scanned: a file, a folder of them, or generated phantoms."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.common.files import existing_file, existing_folder
from datamodules.common.splits import Split
from datamodules.grids.store import existing_folder
from datamodules.scans.phantoms import random_phantom, rasterise, shepp_logan
from datamodules.scans.read_slice import Slice, read_slice
from datamodules.scans.simulated import SimulatedCT, project
from inr.baselines.principal_components import Components
from inr.errors import InputError

PHANTOM = 128  # pixels of the bundled one
NOISES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)  # variances of observations that principal components may assume
ENDINGS = (".dcm", ".png", ".tif", ".tiff", ".npy", ".npz", ".jpg", ".jpeg", ".bmp")


def phantom_slice(values: np.ndarray) -> Slice:
    """A generated slice, whose values mean themselves."""
    return Slice(values, 1.0, "pixel", "density (0..1)", 1.0, 0.0, (0.0, 1.0), peak=1.0)


class SliceScan(SimulatedCT):
    """One slice, to be scanned: DICOM, png, tiff (8 and 16 bits), npy; without a path, the Shepp-Logan phantom.

    `frame` is one of several in the file. `size` resizes it to as many rows and columns. `window` are the numbers that a
    picture shows as black and as white; null: as the file says, or its range. The other options are those of `SimulatedCT`.

    Units:  window in the file's numbers; of DICOM Hounsfield units.
    """

    def __init__(
        self,
        path: str | None = None,
        size: int | None = None,
        frame: int | None = None,
        window: Sequence[float] | None = None,
        **simulated: Any,
    ) -> None:
        super().__init__(**simulated)
        self.path = None if path is None else existing_file("data.path", path)
        self.frame, self.resized = frame, size
        self.asked = None if window is None else (window[0], window[-1])

    @cached_property
    def sample(self) -> Slice:
        """The slice."""
        if self.path is not None:
            return read_slice(self.path, self.asked, self.resized, self.frame)
        return phantom_slice(rasterise(shepp_logan(), self.resized or PHANTOM))

    def slices(self, positions: Sequence[int]) -> Tensor:
        """Its values."""
        return torch.from_numpy(self.sample.values)[None]

    def label(self, position: int) -> str:
        """The name of the file."""
        return "shepp_logan" if self.path is None else self.path.stem


class ScanCollection(SimulatedCT):
    """Many slices, of which some train and others are held out; the options are those of `CollectionData` and `SimulatedCT`."""

    def __init__(
        self,
        shown: str = "train",
        choose: Sequence[int] | None = None,
        held_out: float | int | str | None = 0.1,
        tuning: float | int = 0.1,
        shuffle: bool = False,
        limit: int | None = None,
        **simulated: Any,
    ) -> None:
        super().__init__(**simulated)
        self.split, self.shown, self.root = Split(shown, choose, held_out, tuning, shuffle, limit, self.seed), shown, Path()

    @cached_property
    def labels(self) -> list[str]:
        """Names of all slices."""
        raise NotImplementedError(f"{type(self).__name__} must name its slices: define labels.")

    def label(self, position: int) -> str:
        """The name of a slice."""
        return self.labels[position]

    @cached_property
    def parts(self) -> Mapping[str, Sequence[int]]:  # type: ignore[override]
        """Positions of the training, tuning and held-out slices."""
        return self.split.parts(self.labels, None, self.root)

    def references(self, methods: Mapping[str, Any]) -> dict[str, Callable[[], Tensor]]:
        """Also the mean of the training slices, and their principal components fitted to the same sinograms."""
        positions = [*self.parts["train"], *self.parts["tuning"]]
        if not positions:
            return super().references(methods)
        slices = self.slices(positions) / self.largest
        learned, shape = Components(slices.flatten(1)), (-1, *self.shape, 1)

        def inferred() -> Tensor:
            design = project(learned.basis.reshape(-1, *self.shape), self.scanner).flatten(1)
            offset = project(learned.mean.reshape(1, *self.shape), self.scanner).flatten()

            def error(noise: float) -> float:
                tuned = self.tuned.sinograms if self.tuning_signals else self.displayed.sinograms
                truth = (self.tuned if self.tuning_signals else self.displayed).slices
                assert truth is not None
                return float((learned.infer(design, offset, tuned.flatten(1), noise) - truth.flatten(1)).square().mean())

            return learned.infer(design, offset, self.evaluated.sinograms.flatten(1), min(NOISES, key=error)).reshape(shape)

        mean = learned.mean.expand(len(self.evaluated), -1).reshape(shape)
        rows: dict[str, Callable[[], Tensor]] = {"mean": lambda: mean, f"pca {len(learned.basis)}": inferred}
        return super().references(methods) | rows


class Phantoms(ScanCollection):
    """`count` random heads around the Shepp-Logan phantom, of `size` pixels a side; `spread` scales how much they differ."""

    def __init__(self, count: int = 160, size: int = 64, spread: float = 1.0, **collection: Any) -> None:
        super().__init__(**collection)
        if count < 2:
            raise InputError(f"data.count must be at least 2, got {count}.")
        self.count, self.side, self.spread = count, size, spread

    @cached_property
    def labels(self) -> list[str]:
        """Numbers."""
        return [f"phantom_{variant:04d}" for variant in range(self.count)]

    @cached_property
    def sample(self) -> Slice:
        """The phantom that all others vary."""
        return phantom_slice(rasterise(shepp_logan(), self.side))

    def slices(self, positions: Sequence[int]) -> Tensor:
        """Values of the phantoms."""
        made = [rasterise(random_phantom(self.seed, place, self.spread), self.side) for place in positions]
        return torch.from_numpy(np.stack(made))


class SliceFolder(ScanCollection):
    """All slices in a folder and its subfolders, resized to `size` pixels a side; all must be of one kind."""

    def __init__(
        self, root: str | None = None, size: int = 128, window: Sequence[float] | None = None, **collection: Any
    ) -> None:
        super().__init__(**collection)
        self.root, self.side = existing_folder("data.root", root), size
        self.asked = None if window is None else (window[0], window[-1])

    @cached_property
    def labels(self) -> list[str]:
        """Paths below the folder."""
        files = (file for file in self.root.rglob("*") if file.is_file() and file.suffix.lower() in ENDINGS)
        found = sorted(str(file.relative_to(self.root)) for file in files if not file.name.startswith("."))
        if len(found) < 2:
            raise InputError(f"data.root must hold two slices or more ({', '.join(ENDINGS)}), {self.root} has {len(found)}.")
        return found

    def read(self, position: int) -> Slice:
        """A slice of the folder."""
        return read_slice(self.root / self.labels[position], self.asked, self.side)

    @cached_property
    def sample(self) -> Slice:
        """The first slice that trains; the first of all where none does."""
        return self.read(next(iter(self.parts["train"]), 0))

    def slices(self, positions: Sequence[int]) -> Tensor:
        """Values of the slices; refuse those of other units."""
        first, read = self.sample, [self.read(place) for place in positions]
        for place, one in zip(positions, read, strict=True):
            if one.unit != first.unit or abs(one.pixel / first.pixel - 1) > 0.01:
                raise InputError(
                    f"Slices of a folder must be of one kind; {self.labels[place]} has {one.unit} and pixels of {one.pixel:g}"
                    f" {one.length}, the first that trains {first.unit} and {first.pixel:g} {first.length}: sort them."
                )
        return torch.from_numpy(np.stack([one.values for one in read]))
