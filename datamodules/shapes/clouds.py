"""Oriented points on a surface, of which nothing else is known."""

from dataclasses import dataclass
from functools import cached_property

from datamodules.common.files import existing_file, require
from datamodules.shapes.read_cloud import read_cloud
from datamodules.shapes.shape import CloudShape
from datamodules.shapes.shape_data import OneShape


@dataclass(kw_only=True, eq=False)
class CloudData(OneShape):
    """Points with normals to fit a surface to: xyz, txt, csv, pts, npy, npz, ply or pcd; of a mesh, its vertices.

    At the points the distance is zero and its gradient their normal. Around them both are estimated from the points
    (`inr.shapes.oriented_points`); with `surface` 1 they are not, and terms on space have to say what lies there.

    Raises: InputError without a path.
    """

    path: str | None = None
    fill: float = 0.9  # part of the cube's side that the longest side of the points' box takes

    def __post_init__(self) -> None:
        super().__post_init__()
        rule = "must name a file of points with normals (xyz, csv, npy, npz, ply, pcd) or a mesh"
        require("data.path", self.path is not None, rule, None)
        self.file = existing_file("data.path", str(self.path))

    @cached_property
    def only(self) -> CloudShape:
        """The points."""
        return read_cloud(self.file, self.fill)
