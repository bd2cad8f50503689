"""The options that layouts of a capture share which leave open where its scene lies."""

from collections.abc import Sequence
from dataclasses import dataclass

from datamodules.common.files import existing_folder
from datamodules.scenes.capture import backdrop, require_lengths
from datamodules.scenes.scene_data import OneScene


@dataclass(kw_only=True, eq=False)
class CaptureFolder(OneScene):
    """A folder of photographs with cameras, in lengths of its own. Subclasses define `capture`, and what None means.

    near, far: depths between which rays are sampled [units of the folder].
    bound: half side of a cube, scaled to [-1, 1]^3, in which alone rays are sampled [units of the folder].
    background: under transparency, and of rays that hit nothing: white, black, grey or three numbers in 0..1.

    Raises: InputError without the folder, and for numbers out of range.
    """

    root: str  # the folder
    downscale: int = 1  # photographs are reduced to means over squares of so many pixels
    hold_every: int = 8  # every so many-th view by name tests, where nothing else says which
    near: float | None = None
    far: float | None = None
    bound: float | None = None
    background: str | Sequence[float] = "black"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_lengths(self.downscale, bound=self.bound, near=self.near, far=self.far)
        self.folder = existing_folder("data.root", self.root)
        self.backdrop = backdrop(self.background)
