"""Surfaces of triangles: one file, a folder of them, or generated tori."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from datamodules.common.files import existing_file, existing_folder, files_below, require_counts
from datamodules.shapes.collection import ShapeCollection
from datamodules.shapes.frame import frame_of
from datamodules.shapes.read_mesh import read_mesh
from datamodules.shapes.read_triangles import ENDINGS
from datamodules.shapes.shape import MeshShape
from datamodules.shapes.shape_data import OneShape
from datamodules.shapes.torus import torus, torus_family
from inr.shapes.meshes import Mesh


def normalised(name: str, mesh: Mesh, fill: float) -> MeshShape:
    """Bring a generated mesh into the cube."""
    frame = frame_of(mesh.vertices, fill)
    return MeshShape(name, frame, Mesh(frame.to_unit(mesh.vertices), mesh.faces))


def read_shape(path: Path, name: str, fill: float, align: bool) -> MeshShape:
    """Read a mesh file."""
    solid = read_mesh(path, fill, align)
    return MeshShape(name, solid.frame, solid.mesh)


@dataclass(kw_only=True, eq=False)
class MeshData(OneShape):
    """A surface to fit: obj, ply, stl, off, glb; without a path, a torus with a bump."""

    path: str | None = None
    fill: float = 0.9  # part of the cube's side that the longest side of the shape takes
    align: bool = False  # turn it to its principal axes first

    def __post_init__(self) -> None:
        super().__post_init__()
        self.file = None if self.path is None else existing_file("data.path", self.path)

    @cached_property
    def only(self) -> MeshShape:
        """The surface."""
        if self.file is None:
            return normalised("torus", torus(), self.fill)
        return read_shape(self.file, self.file.stem, self.fill, self.align)


@dataclass(kw_only=True, eq=False)
class ShapeFolder(ShapeCollection):
    """All meshes in the folder `root` and its subfolders; `held_out=null` holds out subfolders `test`, as of ModelNet.

    Shapes are named by their paths inside the folder without endings; a list of held-out ones names the files.
    """

    root: str | None = None
    align: bool = False  # turn each to its principal axes first

    def __post_init__(self) -> None:
        super().__post_init__()
        self.folder = existing_folder("data.root", self.root)

    @cached_property
    def labels(self) -> Sequence[str]:
        """Paths inside the folder, with their endings."""
        return list(files_below(self.folder, ENDINGS, "data.root must hold two meshes or more", least=2))

    @property
    def listed_held_out(self) -> set[str] | None:
        """Names in a subfolder `test`, if there is one."""
        # At any depth: ModelNet has a folder of each category, and `train` and `test` in it.
        return {label for label in self.labels if "test" in Path(label).parts[:-1]} or None

    def shape_at(self, position: int) -> MeshShape:
        """Read a mesh of the folder."""
        label = Path(self.labels[position])
        return read_shape(self.folder / label, str(label.with_suffix("")), self.fill, self.align)


@dataclass(kw_only=True, eq=False)
class Tori(ShapeCollection):
    """Generated tori of different radii, each with a bump somewhere else."""

    count: int = 32  # of all tori

    def __post_init__(self) -> None:
        super().__post_init__()
        require_counts(self, "count", least=2)

    @cached_property
    def labels(self) -> Sequence[str]:
        """Numbered names."""
        return [f"torus_{variant:03d}" for variant in range(self.count)]

    def shape_at(self, position: int) -> MeshShape:
        """Make a torus."""
        return normalised(self.labels[position], torus_family(position, self.seed), self.fill)
