"""Oriented points on a surface, of which nothing else is known."""

from functools import cached_property
from typing import Any

from datamodules.common.files import existing_file
from datamodules.shapes.one_shape import OneShape
from datamodules.shapes.read_cloud import read_cloud
from datamodules.shapes.shape import CloudShape
from inr.errors import InputError


class CloudData(OneShape):
    """Points with normals to fit a surface to: xyz, txt, pts, npy or ply; of a mesh file, its vertices alone.

    At the points the distance is zero and its gradient their normal. Around them both are estimated from the points
    (`inr.shapes.oriented_points`);
    with `surface` 1 they are not, and terms on space have to say what lies there. The other options are
    those of `ShapeData`.

    Raises: InputError without a path.
    """

    def __init__(self, path: str | None = None, fill: float = 0.9, **shape: Any) -> None:
        super().__init__(**shape)
        if path is None:
            raise InputError("data.path must name a file of points with normals (xyz, npy, ply) or a mesh, got null.")
        self.path, self.fill = existing_file("data.path", path), fill

    @cached_property
    def only(self) -> CloudShape:
        """The points."""
        cloud = read_cloud(self.path, self.fill)
        return CloudShape(self.path.stem, cloud.frame, cloud.points, cloud.normals)
