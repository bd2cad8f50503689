"""Several scenes, each with photographs of its own: for dictionaries of radiance fields."""

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datamodules.common.batch import Batch
from datamodules.common.files import existing_folder
from datamodules.common.splits import Split
from datamodules.scenes.capture import Capture
from datamodules.scenes.layouts import read_scene
from datamodules.scenes.photographs import RayDraw
from datamodules.scenes.scene_data import SceneData
from datamodules.scenes.spheres import read_spheres
from inr.errors import InputError
from inr.randomness import draw_indices, key


class SceneCollection(SceneData):
    """Scenes in the subfolders of `root`, read with the defaults of their layouts; None: `scenes` generated ones.

    `shown`, `choose`, `held_out`, `shuffle` and `limit` say which are shown, as of `CollectionData`. A step shows `points`
    rays of each of `batch_signals` scenes, null: all. Every shown scene is evaluated, in its own test views. `size` and
    `views` are those of the generated scenes.

    Raises: InputError for scenes whose photographs differ in size, and for normalised device coordinates.
    """

    holds_out, encodable, encodes, shared_points = False, "nothing", False, False
    validation_signals: int | None = None
    test_signals: int | None = None

    def __init__(
        self,
        root: str | None = None,
        scenes: int = 6,
        size: int = 100,
        views: int = 24,
        shown: str = "train",
        choose: Sequence[int] | None = None,
        held_out: float | int | str | None = 0.2,
        shuffle: bool = False,
        limit: int | None = None,
        batch_signals: int | None = 4,
        **scene: Any,
    ) -> None:
        super().__init__(**scene)
        for option, count in {"scenes": scenes, "batch_signals": batch_signals}.items():
            if count is not None and count < 1:
                raise InputError(f"data.{option} must be at least 1, got {count}.")
        self.split, self.shown, self.batch_signals = (
            Split(shown, choose, held_out, 0, shuffle, limit, self.seed),
            shown,
            batch_signals,
        )
        self.root = Path() if root is None else existing_folder("data.root", root)
        folders = [] if root is None else sorted(entry for entry in self.root.iterdir() if entry.is_dir())
        generated = {f"spheres_{variant:02d}": partial(read_spheres, size, views, variant=variant) for variant in range(scenes)}
        self.readers = generated if root is None else {folder.name: partial(read_scene, folder) for folder in folders}

    @cached_property
    def scene_names(self) -> list[str]:
        """Names of the scenes that are shown."""
        names = list(self.readers)
        return [names[place] for place in self.split.parts(names, None, self.root)[self.shown]]

    @cached_property
    def captures(self) -> list[Capture]:
        """The scenes that are shown."""
        captures = {name: self.readers[name]() for name in self.scene_names}
        (first, *_), sizes = captures.values(), {name: capture.size for name, capture in captures.items()}
        for name, capture in captures.items():
            if capture.size != first.size or capture.ndc is not None or capture.box != first.box:
                raise InputError(
                    "Scenes of a collection must have photographs of one size and cameras of one kind, not in normalised device"
                    f" coordinates; {name} differs, there are sizes {sorted(set(sizes.values()))}: leave it out."
                )
        return list(captures.values())

    def describe(self) -> dict[str, Any]:
        """Plain numbers; rays begin and end where those of all scenes do."""
        description = super().describe()
        description["camera"]["near"] = min(capture.near for capture in self.captures)
        description["camera"]["far"] = max(capture.far for capture in self.captures)
        return description

    @property
    def train_names(self) -> list[str]:
        """Names of the signals that training shows."""
        return self.scene_names

    def view_name(self, scene: int, view: int) -> str:
        """Scene and photograph."""
        return f"{self.scene_names[scene]}/{super().view_name(scene, view)}"

    def signals_at(self, step: int) -> Tensor:
        """The scenes that a step shows."""
        every = torch.arange(len(self.captures))
        few = len(every) if self.batch_signals is None else self.batch_signals
        return draw_indices(step, few, len(every), key(self.seed, "signals")) if few < len(every) else every

    def swept(self, images: int | None) -> int:
        """How many scenes are evaluated."""
        return len(self.captures)

    def observation_batches(self, signals: Tensor, device: torch.device) -> list[Batch]:
        """Some rays of each of these scenes."""
        drawn = [self.training_pixels(signal, 0) for signal in signals.tolist()]
        views, pixels = (torch.stack(part) for part in zip(*drawn, strict=True))
        return [self.batch_at(RayDraw(signals.cpu(), views, pixels), device, self.quantities)]
