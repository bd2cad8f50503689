"""Distances at scattered points, of which nothing else is known."""

from dataclasses import dataclass
from functools import cached_property

from datamodules.common.files import existing_file, require
from datamodules.shapes.read_distances import read_distances
from datamodules.shapes.shape import SampleShape
from datamodules.shapes.shape_data import OneShape


@dataclass(kw_only=True, eq=False)
class DistanceData(OneShape):
    """Points with their distances to fit: DeepSDF's .npz files of `pos` and `neg`, or a table x y z distance.

    Directions of the distances are estimated from samples around. The shares of the other options do not matter: samples
    lie where the file has them.

    Raises: InputError without a path.
    """

    path: str | None = None
    flip: bool = False  # turn distances round that are positive inside

    def __post_init__(self) -> None:
        super().__post_init__()
        rule = "must name a file of points and distances (npz with pos and neg, or x y z distance in npy, txt, csv)"
        require("data.path", self.path is not None, rule, None)
        self.file = existing_file("data.path", str(self.path))

    @cached_property
    def only(self) -> SampleShape:
        """The samples, their box as long as the cube."""
        return read_distances(self.file, self.flip)
