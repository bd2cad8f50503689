"""Many shapes, of which some train and others are held out."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.common.batch import Units
from datamodules.common.signal_data import Split
from datamodules.common.splits import Collection
from datamodules.shapes.sampled_shapes import SampledShapes
from datamodules.shapes.shape import Shape
from datamodules.shapes.shape_data import ShapeData

COMPARED = 64  # training shapes that evaluated ones are compared with: as many as have their lattices stay in memory


@dataclass(kw_only=True, eq=False)
class ShapeCollection(ShapeData, Collection[SampledShapes]):
    """Shapes of which some train and others are held out; each fills the cube by itself.

    Subclasses define `labels` and `shape_at`.
    """

    held_out: float | int | str | None = 0.25
    fill: float = 0.9  # part of the cube's side that the longest side of each shape takes

    @abstractmethod
    def shape_at(self, position: int) -> Shape:
        """Read the shape at a position of `labels`."""

    def shapes_of(self, split: Split) -> Sequence[Shape]:
        """Read the shapes of a split, of which few are tuned on and only evaluated ones scored."""
        return [self.shape_at(position) for position in self.of_split(split)]

    @property
    def units(self) -> Units:
        """Half-widths of the cube: every file has a scale of its own."""
        return Units(scale=1.0, offset=0.0, peak=1.0, unit="half-widths of the cube")

    def baselines(self) -> dict[str, Callable[[], Tensor]]:
        """Also return the mean of the training shapes, and the training shape that is most like each evaluated one."""
        positions = [*self.positions["train"], *self.positions["tuning"]][:COMPARED]
        known = self.sampled([self.shape_at(position) for position in positions], 1)  # for their lattices alone
        rows = super().baselines()
        if not len(known):
            return rows

        def volumes() -> Iterator[Tensor]:
            return (known.lattice_distances(place) for place in range(len(known)))

        def nearest() -> Tensor:
            found = []
            for signal in range(len(self.evaluated)):
                truth = self.evaluated.lattice_distances(signal)
                found.append(min(volumes(), key=lambda volume: float((volume - truth).abs().mean())))
            return torch.stack(found)[..., None]

        def mean() -> Tensor:
            total = sum(volumes(), torch.zeros(self.shape)) / len(known)
            return total.expand(len(self.evaluated), *self.shape)[..., None]

        return rows | {"mean": mean, "nearest training shape": nearest}
