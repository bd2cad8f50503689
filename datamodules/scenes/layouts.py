"""Scenes as they come: in the layouts of LLFF, of NeRF's synthetic scenes, of nerfstudio; generated; or whichever it is."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from datamodules.common.files import existing_folder, listing
from datamodules.scenes.capture import Capture
from datamodules.scenes.read_blender import read_blender
from datamodules.scenes.read_llff import read_llff
from datamodules.scenes.read_nerfstudio import read_nerfstudio
from datamodules.scenes.scene_data import SceneData
from datamodules.scenes.spheres import read_spheres
from inr.errors import InputError

LAYOUTS: dict[str, Callable[[Path], Capture]] = {  # by the file that gives each away
    "poses_bounds.npy": read_llff,
    "transforms_train.json": read_blender,
    "transforms.json": read_nerfstudio,
}


def read_scene(folder: Path) -> Capture:
    """The capture in a folder, whatever its layout.

    Raises: InputError if it is none of those known.
    """
    for file, read in LAYOUTS.items():
        if (folder / file).is_file():
            return read(folder)
    raise InputError(f"A scene is a folder with photographs and {' or '.join(LAYOUTS)}, {folder} holds {listing(folder)}.")


class ReadScene(SceneData):
    """A scene that a reader, given the options of its layout, makes a capture of."""

    reader: Callable[[], Capture]

    def capture(self) -> Capture:
        """The photographs and their cameras."""
        return self.reader()


class Scene(ReadScene):
    """The scene in the folder `path`, its layout found out and read with its defaults; None: the generated one.

    `points=None` means 1,024 rays per step, of the generated scene 128.
    """

    def __init__(self, path: str | None = None, points: int | None = None, **scene: Any) -> None:
        default = 128 if path is None else 1024
        super().__init__(points=default if points is None else points, **scene)
        self.reader = read_spheres if path is None else partial(read_scene, existing_folder("data.path", path))


class Spheres(ReadScene):
    """Spheres on a chequered floor, ray-traced: exact colours that do not depend on the direction of view.

    `variant` chooses among many such scenes, `size` is the side of the photographs [pixels], `views` their number.
    """

    def __init__(
        self, size: int = 100, views: int = 24, hold_every: int = 6, background: str = "white", variant: int = 0, **scene: Any
    ) -> None:
        super().__init__(**scene)
        self.reader = partial(read_spheres, size, views, hold_every, background, variant)


class LLFF(ReadScene):
    """A forward-facing or inward-facing capture in the layout of LLFF. Options: see `read_llff`."""

    def __init__(
        self,
        root: str,
        downscale: int | None = None,
        hold_every: int = 8,
        ndc: bool = True,
        spherify: bool = False,
        recentre: bool = True,
        bound_factor: float | None = 0.75,
        pixel_centre: float = 0.5,
        **scene: Any,
    ) -> None:
        super().__init__(pixel_centre=pixel_centre, **scene)
        folder = existing_folder("data.root", root)
        self.reader = partial(read_llff, folder, downscale, hold_every, ndc, spherify, recentre, bound_factor, pixel_centre)


class Blender(ReadScene):
    """A capture in the layout of NeRF's synthetic scenes. Options: see `read_blender`."""

    def __init__(
        self,
        root: str,
        downscale: int = 1,
        background: str | Sequence[float] = "white",
        near: float = 2.0,
        far: float = 6.0,
        bound: float | None = 1.5,
        pixel_centre: float = 0.5,
        train_split: str = "train",
        test_split: str = "test",
        skip: int = 1,
        **scene: Any,
    ) -> None:
        super().__init__(pixel_centre=pixel_centre, **scene)
        folder, depths = existing_folder("data.root", root), (near, far, bound, pixel_centre)
        self.reader = partial(read_blender, folder, downscale, background, *depths, train_split, test_split, skip)


class Nerfstudio(ReadScene):
    """A capture in the layout of nerfstudio. Options: see `read_nerfstudio`."""

    def __init__(
        self,
        root: str,
        downscale: int = 1,
        hold_every: int = 8,
        bound: float | None = None,
        near: float | None = None,
        far: float | None = None,
        pixel_centre: float = 0.5,
        background: str | Sequence[float] = "black",
        **scene: Any,
    ) -> None:
        super().__init__(pixel_centre=pixel_centre, **scene)
        folder = existing_folder("data.root", root)
        self.reader = partial(read_nerfstudio, folder, downscale, hold_every, bound, near, far, pixel_centre, background)
