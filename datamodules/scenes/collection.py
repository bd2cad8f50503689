"""Several scenes, each with photographs of its own: for dictionaries of radiance fields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from torch import Tensor

from datamodules.common.draws import Schedule
from datamodules.common.files import existing_folder, require_counts
from datamodules.common.signal_data import Split
from datamodules.common.splits import Collection
from datamodules.scenes.capture import Capture
from datamodules.scenes.generated import GeneratedScene
from datamodules.scenes.layouts import read_scene
from datamodules.scenes.photographs import PhotographedScenes
from datamodules.scenes.scene_data import SceneData
from inr.errors import InputError


@dataclass(kw_only=True, eq=False)
class SceneCollection(SceneData, Collection[PhotographedScenes]):
    """Scenes in the subfolders of a folder, read with the defaults of their layouts, or generated ones.

    A step shows `points` rays of each of `batch_signals` scenes. Every shown scene is scored, in its own test views.

    Raises: InputError for scenes whose photographs differ in size, and for normalised device coordinates.
    """

    root: str | None = None  # the folder of folders; None: generated scenes
    scenes: int = 6  # number of generated ones
    size: int = 100  # side of their photographs [pixels]
    views: int = 24  # photographs of each generated one
    held_out: float | int | str | None = 0.2
    batch_signals: int | None = 4
    # No solver chooses a weight on scenes, and `test_views` says which pictures are scored: these are no options here.
    tuning: float | int = field(default=0, init=False)
    validation_signals: int | None = field(default=None, init=False)
    test_signals: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_counts(self, "scenes")
        self.folder = Path() if self.root is None else existing_folder("data.root", self.root)

    @cached_property
    def labels(self) -> Sequence[str]:
        """Names of all scenes, sorted."""
        if self.root is None:
            return [f"spheres_{variant:02d}" for variant in range(self.scenes)]
        return sorted(entry.name for entry in self.folder.iterdir() if entry.is_dir())

    def read(self, position: int) -> Capture:
        """Read the capture of a scene by its position among all."""
        if self.root is None:
            return GeneratedScene(size=self.size, views=self.views, variant=position).capture()
        return read_scene(self.folder / self.labels[position])

    def captures(self, split: Split) -> Mapping[str, Capture]:
        """Return the scenes of a split by name.

        Raises: InputError for scenes that do not go together.
        """
        captures = {self.labels[position]: self.read(position) for position in self.of_split(split)}
        sizes = sorted({capture.size for capture in captures.values()})
        for name, capture in captures.items():
            first = next(iter(captures.values()))
            if capture.size != first.size or capture.ndc is not None or capture.box != first.box:
                rule = "Scenes of a collection must have photographs of one size and cameras of one kind, not in normalised"
                raise InputError(f"{rule} device coordinates; {name} differs, there are sizes {sizes}: leave it out.")
        return captures

    @property
    def holds_out(self) -> bool:
        """False: every scene that is scored trains, in other views."""
        return False

    def view_name(self, scene: int, view: int) -> str:
        """Return scene and photograph."""
        return f"{self.trained.names[scene]}/{super().view_name(scene, view)}"

    def scenes_of(self, step: int) -> Tensor:
        """Return the scenes that a step shows."""
        return Schedule(
            len(self.trained), 1, self.lattice_size, self.wanted.of_step(self.batch_signals), self.points, self.seed
        ).signals(step)
