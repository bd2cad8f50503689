"""Photographs of scenes: which pixels train, and batches of the rays that passed them."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from datamodules.common.batch import Batch, Scored, Units
from datamodules.common.draws import Draw, Pass, Purpose, random_rows, whole_pass
from datamodules.common.files import require, require_counts
from datamodules.common.signal_data import Header, SignalData, Split, Wanted
from datamodules.scenes.capture import Capture
from datamodules.scenes.photographs import BYTES, PhotographedScenes
from inr.distributed import rank, ranks
from inr.errors import InputError
from inr.randomness import draw_indices, key, permute
from inr.supervision.differences import check

RAYS = 1024  # of a step, unless the user says
VALUES = Wanted({"data": frozenset({"value"})})


@dataclass(kw_only=True, eq=False)
class SceneData(SignalData[PhotographedScenes]):
    """Photographs of scenes with known cameras, scored in views that do not train.

    Subclasses define `captures`. Photographs stay on the device in bytes; rays and targets are made for what is drawn.

    filter, border: of the derivative targets (see `inr.supervision.differences`).
    parts: names under which a batch holds its rays: supervision and measurements may name more than `data`.

    Units:  coordinates (row, column) in pixels; values 0..255 in the files.
    Raises: InputError for options outside their range, and factors that leave too few pixels.
    """

    factor: int = 1  # every factor-th row and column of the training views trains
    filter: str = "central"
    border: str = "one_sided"
    directions: bool = False  # read by measurement and network: they take the direction of view beside the position
    parts: Sequence[str] = ("data",)
    points: int | None = None  # rays of a step, of each of its scenes, over all processes; None: 1024
    validation_points: int | None = 4096  # pixels of the test views that a validation looks at; None: all
    test_views: int | None = None  # the first views of a scene's test views that are scored; None: all
    test_factor: int = 1  # views are scored as means over squares of so many pixels
    pixel_centre: float = 0.5  # where in its pixel a ray passes: 0.5 in the middle, 0 in published NeRF code
    chunk: int = 2048  # rays that are rendered at a time

    encodable: ClassVar[str] = "nothing"
    shared_points: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.filter, self.border)
        require_counts(self, "factor", "points", "test_factor", "chunk", "validation_points", "test_views")
        self.parts = list(self.parts)
        require("data.parts", "data" in self.parts, "must name the part data, which is evaluated", self.parts)
        rule = "must be where in its pixel a ray passes, in 0..1"
        remedy = "0.5 is the middle, published NeRF code uses 0"
        require("pixel_centre", 0 <= self.pixel_centre <= 1, rule, self.pixel_centre, remedy)

    @abstractmethod
    def captures(self, split: Split) -> Mapping[str, Capture]:
        """Return the scenes of a split by name, with photographs of one size, read as far as their headers."""

    @property
    def complete(self) -> bool:
        """True if every pixel of the training views trains."""
        return self.factor == 1

    @property
    def rays_per_step(self) -> int:
        """Number of rays of a step, of each of its scenes, over all processes."""
        return self.points or RAYS

    def observe(self, split: Split) -> PhotographedScenes:
        """Return the scenes of a split."""
        return PhotographedScenes(self.captures(split), self.factor, self.filter, self.border)

    def header(self) -> Header:
        """Return the shape of scored views, the training pixels, and depths where the rays of all scenes begin and end."""
        # One measurement renders all scenes, so its rays begin and end where those of any scene do.
        captures = self.trained.captures
        first = captures[0]
        coarse = list(self.trained.training_shape)
        refuse_few(first.size, coarse, self.factor, self.test_factor)
        camera = {
            "near": min(capture.near for capture in captures),
            "far": max(capture.far for capture in captures),
            "box": first.box,
            "background": list(first.background),
            "ndc": None if first.ndc is None else list(first.ndc),
        }
        shape = [side // self.test_factor for side in first.size]
        # The field is a function of points in space, which gives red, green, blue and density there.
        return Header(shape, 4, len(captures), axes=3, training_shape=coarse, sensor={"camera": camera})

    @cached_property
    def units(self) -> Units:
        """Bytes of photographs are fitted as 0..1, in scenes that similarities take to the coordinates of their files."""
        return replace(BYTES, worlds=[capture.world.tolist() for capture in self.trained.captures])

    # Samples of training draws are training pixels of each scene.

    def training_draws(self, step: int) -> Iterator[Draw]:
        """Yield the scenes of each step, and this process's slice of the pixels that it draws from each of them."""
        while True:
            signals = self.scenes_of(step)
            yield Draw(signals, torch.stack([self.pixels_of(scene, step) for scene in signals.tolist()]), "train", step)
            step += 1

    def scenes_of(self, step: int) -> Tensor:
        """Return the scenes that a step shows."""
        return torch.arange(len(self.trained))

    def pixels_of(self, scene: int, step: int) -> Tensor:
        """Return the training pixels of a scene that a step draws, this process's slice of them."""
        # Each scene draws by a key of its own, or all of them would show the same places at a step.
        total = self.trained.training_pixels(scene)
        return draw_indices(step, self.rays_per_step, total, key(self.seed, scene), rank(), ranks())

    def training_batch(self, draw: Draw, device: torch.device) -> Batch:
        """Make the batch of the drawn training pixels, with the random numbers along their rays."""
        assert draw.samples is not None
        batch = self.trained.training_batch(draw.signals, draw.samples, self.wanted.of("data"), device)
        part = batch.parts["data"].with_randomness(random_rows(self.seed, draw.step, self.rays_per_step))
        return Batch(batch.signals, dict.fromkeys(self.parts, part))

    def constant_batches(self, device: torch.device) -> Iterator[Batch]:
        """Yield at most `chunk` training pixels of each scene, spread evenly: enough to estimate a constant from."""
        for scene in range(len(self.trained)):
            total = self.trained.training_pixels(scene)
            count = min(self.chunk, total)
            samples = torch.arange(count) * total // count
            yield from self.trained.batches(torch.tensor([scene]), [samples], VALUES, device)

    # Signals of scoring draws are test views, samples the squares of pixels that they are cut into.

    @cached_property
    def tested(self) -> Sequence[tuple[int, int]]:
        """The scored pictures, (scene, view) each."""
        scenes = enumerate(self.trained.captures)
        return [(scene, view) for scene, capture in scenes for view in capture.test[: self.test_views]]

    @cached_property
    def names(self) -> Sequence[str]:
        """Names of the scored views."""
        return [self.view_name(scene, view) for scene, view in self.tested]

    def view_name(self, scene: int, view: int) -> str:
        """Return the name of a photograph."""
        return self.trained.captures[scene].names[view]

    def signals_of(self, purpose: Purpose) -> int:
        """Count the scenes that the scored views show."""
        return len({scene for scene, _ in self.tested})

    def evaluation_batch(self, draw: Draw, device: torch.device) -> Batch:
        """Make the batch of the rays of one test view through the centres of squares of `test_factor` pixels."""
        scene, view = self.tested[int(draw.signals)]
        samples = torch.arange(self.lattice_size) if draw.samples is None else draw.samples
        squares = torch.stack(torch.unravel_index(samples.to(device, non_blocking=True), self.shape), -1)
        # Square k reaches from factor k to factor (k + 1), its ray passes at factor (k + centre), and a ray at x is that of
        # the pixel index x - centre.
        pixels = self.test_factor * (squares + self.pixel_centre) - self.pixel_centre
        views = torch.full((1, len(samples)), view, device=device)
        return self.trained.batch(torch.tensor([scene]), views, pixels[None], (), device)

    def val_dataloader(self) -> Pass:
        """Return the draws of some pixels of all test views."""
        views = enumerate(self.validation_samples)
        chunks = [(torch.tensor([view]), part) for view, samples in views for part in samples.split(self.chunk)]
        return Pass(Draw(view, part, "validate") for view, part in chunks if len(part))

    def test_dataloader(self) -> Pass:
        """Return the draws of all pixels of all test views, one view at a time: each has a camera of its own."""
        return whole_pass(len(self.tested), self.lattice_size, min(self.chunk, self.lattice_size))

    @cached_property
    def validation_samples(self) -> Sequence[Tensor]:
        """The samples of each test view that a validation looks at, the same ones every time."""
        # The first entries of a permutation of all pixels of all views: no pixel twice, and views get similar numbers.
        size = self.lattice_size
        total = len(self.tested) * size
        count = total if self.validation_points is None else min(self.validation_points, total)
        some = permute(torch.arange(count), total, key(self.seed, "validation")).sort().values
        return [some[some // size == view] % size for view in range(len(self.tested))]

    def validated(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield what a validation saw (samples, 3), the truth in fitted numbers, and the samples that are not hidden."""
        looks = [(self.truth(view), some) for view, some in enumerate(self.validation_samples)]
        truth = torch.cat([scored.truth.flatten(0, 1)[some] for scored, some in looks])
        masks = [mask.flatten()[some] for scored, some in looks if (mask := scored.masks["psnr"]) is not None]
        yield values, self.normalise(truth), torch.cat(masks) if masks else None

    def extent(self, item: int) -> tuple[int, int]:
        """Return rows and columns of a test view that are of its photograph."""
        return self.trained.extent(*self.tested[item], self.test_factor)

    def truth(self, item: int) -> Scored:
        """Return a photograph that a rendered test view is compared with, as far as it is shown."""
        scenes, (scene, view) = self.trained, self.tested[item]
        mask = scenes.scored(scene, view, self.test_factor)
        return Scored(self.names[item], scenes.photograph(scene, view, self.test_factor), {"psnr": mask})

    def definitions(self) -> dict[str, str]:
        """Return in words the pixels that the PSNR looks at."""
        some = f"means over {self.test_factor} x {self.test_factor} pixels" if self.test_factor > 1 else "all pixels"
        masked = any(capture.shown is not None for capture in self.trained.captures)
        hidden = " but those that a mask hides" if masked else ""
        return {"psnr": f"of {some}{hidden} of a view that was not trained on, red, green and blue clipped to 0..1"}

    def baselines(self) -> dict[str, Callable[[], Tensor]]:
        """Return pictures (views, *shape, 3) without a model of the scene: the mean colour, the photograph from nearest by."""
        scenes = self.trained

        def nearest(scene: int, view: int) -> Tensor:
            return scenes.fill_hidden(scene, scenes.nearest_view(scene, view), self.test_factor)

        return {
            "mean colour": lambda: torch.stack([scenes.mean_colour(scene).expand(*self.shape, 3) for scene, _ in self.tested]),
            "nearest view": lambda: torch.stack([nearest(scene, view) for scene, view in self.tested]),
        }


@dataclass(kw_only=True, eq=False)
class OneScene(SceneData):
    """Photographs of a single scene. Subclasses are its layout: their fields are the options, and `capture` reads it."""

    collects: ClassVar[bool] = False

    @abstractmethod
    def capture(self) -> Capture:
        """Return photographs and cameras, read as far as their headers."""

    def captures(self, split: Split) -> Mapping[str, Capture]:
        """Return the one scene."""
        return {"scene": self.capture()}


def refuse_few(size: Sequence[int], coarse: Sequence[int], factor: int, test_factor: int) -> None:
    """Raise InputError if factors leave no pixel to score of photographs of a size, or too few to train on."""
    if min(size) < test_factor:
        rule = "A tested view needs a pixel or more"
        raise InputError(f"{rule}, but test_factor={test_factor} leaves none of {list(size)}; use a smaller data.test_factor.")
    if min(coarse) < 2:
        rule = "Photographs need two training pixels or more along each side"
        raise InputError(f"{rule}, but factor={factor} leaves {list(coarse)} of {list(size)}; use a smaller data.factor.")
