"""A single shape, in the coordinates of its file."""

from functools import cached_property
from typing import Any

from datamodules.shapes.shape import Shape
from datamodules.shapes.shape_data import ShapeData


class OneShape(ShapeData):
    """A single shape, in the coordinates of its file; subclasses give `only`."""

    @cached_property
    def only(self) -> Shape:
        """The shape."""
        raise NotImplementedError(f"{type(self).__name__} must have a shape: define only.")

    def shape_at(self, position: int) -> Shape:
        """The shape."""
        return self.only

    @property
    def frame(self) -> dict[str, Any]:
        """Where the cube lies in the file's coordinates."""
        return self.only.frame.describe()
