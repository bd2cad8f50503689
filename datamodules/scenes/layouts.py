"""Scenes in whichever layout their folder has."""

from dataclasses import dataclass
from pathlib import Path

from datamodules.common.files import existing_folder, listing
from datamodules.scenes.blender import Blender
from datamodules.scenes.capture import Capture
from datamodules.scenes.colmap import PLACES, Colmap, model_in
from datamodules.scenes.generated import GeneratedScene
from datamodules.scenes.llff import LLFF
from datamodules.scenes.nerfstudio import Nerfstudio
from datamodules.scenes.scene_data import RAYS, OneScene
from inr.errors import InputError

FEW_RAYS = 128  # of a step of the generated scene, which is simple
# by the file that gives each away; of several in a folder, the first here
LAYOUTS = {"poses_bounds.npy": LLFF, "transforms_train.json": Blender, "transforms.json": Nerfstudio}


def read_scene(folder: Path) -> Capture:
    """Read the capture in a folder with the defaults of its layout.

    Raises: InputError if it is none of those known.
    """
    for file, layout in LAYOUTS.items():
        if (folder / file).is_file():
            return layout(root=str(folder)).capture()
    if model_in(folder) is not None:
        return Colmap(root=str(folder)).capture()
    known = " or ".join((*LAYOUTS, PLACES[0]))
    raise InputError(f"A scene is a folder with photographs and {known}, {folder} holds {listing(folder)}.")


@dataclass(kw_only=True, eq=False)
class Scene(OneScene):
    """The scene in a folder, its layout found out and read with its defaults.

    points: rays of a step, over all processes; None: 1024, of the generated scene 128.
    """

    path: str | None = None  # the folder; None: the generated scene

    def __post_init__(self) -> None:
        super().__post_init__()
        self.folder = None if self.path is None else existing_folder("data.path", self.path)

    @property
    def rays_per_step(self) -> int:
        """Number of rays of a step, over all processes."""
        return self.points or (FEW_RAYS if self.path is None else RAYS)

    def capture(self) -> Capture:
        """Read the folder, or render the generated scene."""
        return GeneratedScene().capture() if self.folder is None else read_scene(self.folder)
