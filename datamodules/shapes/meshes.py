"""Surfaces of triangles: one file, a folder of them, or generated tori."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.common.batch import Units
from datamodules.common.files import existing_file, existing_folder
from datamodules.common.splits import Split
from datamodules.shapes.frame import frame_of
from datamodules.shapes.one_shape import OneShape
from datamodules.shapes.read_mesh import ENDINGS, read_mesh
from datamodules.shapes.shape import MeshShape
from datamodules.shapes.shape_data import ShapeData
from datamodules.shapes.torus import torus, torus_family
from inr.errors import InputError
from inr.shapes.meshes import Mesh

COMPARED = 64  # training shapes that held-out ones are compared with


def normalised(name: str, mesh: Mesh, fill: float) -> MeshShape:
    """A generated mesh as a shape in the cube."""
    frame = frame_of(mesh.vertices, fill)
    return MeshShape(name, frame, Mesh(frame.to_unit(mesh.vertices), mesh.faces))


class MeshData(OneShape):
    """A surface to fit: obj, ply, stl, off, glb; without a path, a torus with a bump.

    The longest side of its box becomes `fill` of that of the cube; `align` turns it to its principal axes first.
    The other options are those of `ShapeData`.
    """

    def __init__(self, path: str | None = None, fill: float = 0.9, align: bool = False, **shape: Any) -> None:
        super().__init__(**shape)
        self.path = None if path is None else existing_file("data.path", path)
        self.fill, self.align = fill, align

    @cached_property
    def only(self) -> MeshShape:
        """The surface."""
        if self.path is None:
            return normalised("torus", torus(), self.fill)
        solid = read_mesh(self.path, self.fill, self.align)
        return MeshShape(self.path.stem, solid.frame, solid.mesh)


class ShapeCollection(ShapeData):
    """Many shapes, of which some train and others are held out; each fills the cube on its own. Subclasses give `labels`.

    The options are those of `CollectionData` and `ShapeData`.
    """

    def __init__(
        self,
        shown: str = "train",
        choose: Sequence[int] | None = None,
        held_out: float | int | str | None = 0.25,
        tuning: float | int = 0.1,
        shuffle: bool = False,
        limit: int | None = None,
        **shape: Any,
    ) -> None:
        super().__init__(**shape)
        self.split, self.shown, self.root = Split(shown, choose, held_out, tuning, shuffle, limit, self.seed), shown, Path()

    @cached_property
    def labels(self) -> list[str]:
        """Names of all shapes."""
        raise NotImplementedError(f"{type(self).__name__} must name its shapes: define labels.")

    @property
    def own(self) -> set[str] | None:
        """Names that the layout of the files holds out."""
        return None

    @cached_property
    def parts(self) -> Mapping[str, Sequence[int]]:  # type: ignore[override]
        """Positions of the training, tuning and held-out shapes."""
        return self.split.parts(self.labels, self.own, self.root)

    @cached_property
    def units(self) -> Units:
        """Every shape has a scale of its own."""
        return Units(1.0, 0.0, 1.0, "half-widths of the cube")

    def references(self, methods: Mapping[str, Any]) -> dict[str, Callable[[], Tensor]]:
        """Also the mean of the training shapes, and of each held-out shape the training shape that is most like it."""
        known = self.pools([*self.parts["train"], *self.parts["tuning"]][:COMPARED], 1)
        if not len(known):
            return super().references(methods)

        def volumes() -> Iterator[Tensor]:
            return (known.truth(place, self.resolution) for place in range(len(known)))

        def nearest() -> Tensor:
            found = []
            for signal in range(len(self.evaluated)):
                truth = self.evaluated.truth(signal, self.resolution)
                found.append(min(volumes(), key=lambda volume: float((volume - truth).abs().mean())))
            return torch.stack(found)[..., None]

        def mean() -> Tensor:
            total = sum(volumes(), torch.zeros(self.shape)) / len(known)
            return total.expand(len(self.evaluated), *self.shape)[..., None]

        return super().references(methods) | {"mean": mean, "nearest training shape": nearest}


class ShapeFolder(ShapeCollection):
    """All meshes in a folder and its subfolders; `held_out=null` takes the subfolders `train` and `test`, as of ModelNet."""

    def __init__(self, root: str | None = None, fill: float = 0.9, align: bool = False, **collection: Any) -> None:
        super().__init__(**collection)
        self.root, self.fill, self.align = existing_folder("data.root", root), fill, align

    @cached_property
    def labels(self) -> list[str]:
        """Paths below the folder."""
        files = (file for file in self.root.rglob("*") if file.is_file() and file.suffix.lower() in ENDINGS)
        found = sorted(str(file.relative_to(self.root)) for file in files if not file.name.startswith("."))
        if len(found) < 2:
            raise InputError(f"data.root must hold two meshes or more ({', '.join(ENDINGS)}), {self.root} has {len(found)}.")
        return found

    @property
    def own(self) -> set[str] | None:
        """What lies in a subfolder `test`, if there is one."""
        return {label for label in self.labels if "test" in Path(label).parts[:-1]} or None

    def shape_at(self, position: int) -> MeshShape:
        """A mesh of the folder."""
        label = self.labels[position]
        solid = read_mesh(self.root / label, self.fill, self.align)
        return MeshShape(str(Path(label).with_suffix("")), solid.frame, solid.mesh)


class Tori(ShapeCollection):
    """`count` generated tori of different radii, each with a bump somewhere else."""

    def __init__(self, count: int = 32, fill: float = 0.9, **collection: Any) -> None:
        super().__init__(**collection)
        if count < 2:
            raise InputError(f"data.count must be at least 2, got {count}.")
        self.count, self.fill = count, fill

    @cached_property
    def labels(self) -> list[str]:
        """Numbers."""
        return [f"torus_{variant:03d}" for variant in range(self.count)]

    def shape_at(self, position: int) -> MeshShape:
        """A torus."""
        return normalised(self.labels[position], torus_family(position, self.seed), self.fill)
