"""Shapes as fields of signed distance: samples near the surface and in space to fit, a lattice to score."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from datamodules.common.batch import Batch, Part, Scored, Units
from datamodules.common.draws import Draw, Pass, Schedule, own_share, random_rows, whole_pass
from datamodules.common.files import require, require_counts
from datamodules.common.sampled import Sampled
from datamodules.common.signal_data import TUNED, Header, SignalData, Split
from datamodules.shapes.frame import Frame
from datamodules.shapes.sampled_shapes import SampledShapes
from datamodules.shapes.shape import Sampling, Shape, lattice

SHELL = 0.1  # half-widths of the cube from the surface, within which psnr_shell looks
INTERPOLATED = 20000  # samples at most: their tetrahedra take five seconds, ten times as many over a minute


@dataclass(kw_only=True, eq=False)
class ShapeData(SignalData[SampledShapes], Sampled):
    """Shapes in the cube [-1, 1]^3, fitted to signed distances at samples, scored on a lattice and by their surfaces.

    Batches have the part `data`, samples of the shapes, and where the task asks for it `space`, random points of the cube
    without targets; results are observed as `space`, too. Subclasses define `units` and `shapes_of`.

    validation_signals, test_signals: bounds on what is evaluated; None: all.

    Units:  coordinates and distances in normalised lengths, half-widths of the cube, positive outside.
    """

    pool: int = 200000  # samples of each shape, made once
    observed: int | None = None  # no more than so many of evaluated shapes are used; None: all
    surface: float = 0.2  # share of the samples that lies on the surface
    near: float = 0.6  # share that lies near it, by gaussian steps; the rest lies anywhere in the cube
    sigmas: Sequence[float] = (0.005, 0.05)  # of these steps, equally many of each [half-widths of the cube]
    points: int | None = 4096  # samples of each shape that a step shows, over all processes; None: all
    space_points: int | None = None  # random points of the cube that a step shows beside them; None: as many as `points`
    batch_signals: int | None = 16  # shapes that a step shows; None: all
    resolution: int = 64  # samples along each side of the lattice that results are scored on
    validation_points: int = 16384  # points of each shape that a validation looks at
    validation_signals: int | None = 8
    test_signals: int | None = 64

    encodable: ClassVar[str] = "points"
    shared_points: ClassVar[bool] = False  # samples lie around the surface of each: solvers take one shape at a time

    def __post_init__(self) -> None:
        super().__post_init__()
        require_counts(self, "pool", "observed", "points", "space_points", "batch_signals", "validation_points")
        require_counts(self, "validation_signals", "test_signals", "chunk")
        rule = "counts points along each side of the lattice, at least 2"
        require("data.resolution", self.resolution >= 2, rule, self.resolution)
        self.sampling = Sampling(self.surface, self.near, tuple(self.sigmas))
        self.sampling.check()

    @abstractmethod
    def shapes_of(self, split: Split) -> Sequence[Shape]:
        """Read the shapes of a split."""

    @property
    def frame(self) -> Frame:
        """The place of the cube in the file's coordinates: shapes of several files have the cube's own in common."""
        return Frame((0.0, 0.0, 0.0), 1.0)

    def header(self) -> Header:
        """Return the lattice, one distance a point, and the cube."""
        signals = len(self.positions[self.shown_split])
        # The result lies in `space`: `data` are scattered samples, and the lattice has no samples to train on.
        return Header((self.resolution,) * 3, 1, signals, result="space", sensor={"cube": self.frame.describe()})

    def setup(self, stage: str | None = None) -> None:
        """Read all shapes, so that a broken file is refused before the training; samples are made when first asked for."""
        _ = self.trained, self.evaluated, self.tuned

    def observe(self, split: Split) -> SampledShapes:
        """Return the samples of a split; of evaluated shapes, and those to tune on, no more than are observed of new ones."""
        # Shapes that are evaluated as well as trained on are bounded, too: no result rests on more than what is observed.
        bounded = split != "train" or self.trains_on_evaluated
        count = min(self.observed or self.pool, self.pool) if bounded else self.pool
        return self.sampled(self.shapes_of(split), count)

    def sampled(self, shapes: Sequence[Shape], count: int) -> SampledShapes:
        """Return shapes with so many samples of each."""
        return SampledShapes(shapes, count, self.sampling, self.seed, self.resolution, self.validation_points)

    @property
    def encoded_as(self) -> str:
        """Form in which an encoder sees a shape, in words."""
        return f"as {self.evaluated.clouds.shape[1]} points of its surface"

    @property
    def solid(self) -> bool:
        """True where inside and outside of all evaluated shapes are known."""
        return all(shape.solid for shape in self.evaluated.shapes)

    # Training.

    def slope(self) -> float:
        """Measure the slope of the first shape: the length of a distance's gradient is 1."""
        samples = torch.arange(self.trained.size)
        part = self.trained.part(torch.zeros(1, dtype=torch.long), samples, frozenset({"value"}), torch.device("cpu"))
        return 1 / float(part.targets["value"].std())

    @cached_property
    def schedule(self) -> Schedule:
        """The shapes and samples of each step."""
        return Schedule(
            len(self.trained), 1, self.trained.size, self.wanted.of_step(self.batch_signals), self.points, self.seed
        )

    def training_draws(self, step: int) -> Iterator[Draw]:
        """Yield the shapes and samples of each step."""
        return self.schedule.draws(step, lambda signals: None)

    def training_batch(self, draw: Draw, device: torch.device) -> Batch:
        """Make the batch of a step: samples of the shapes, random points of space, or both; this process's share."""
        parts = {}
        quantities = self.wanted.of("data")
        if quantities:
            samples = own_share(self.trained.size) if draw.samples is None else draw.samples
            rows = random_rows(self.seed, draw.step, min(self.trained.size, self.points or self.trained.size))
            parts["data"] = self.trained.part(draw.signals, samples, quantities, device).with_randomness(rows)
        if self.wanted.of("space"):
            # Anew in every step, so that terms on space see all of the cube; this process takes its rows of them.
            rows = random_rows(self.seed, draw.step, self.space_points or self.points or self.trained.size)
            parts["space"] = Part(rows.uniform("space", 3, device)[None] * 2 - 1).with_randomness(rows)
        return self.trained.batch(draw.signals, parts, self.wanted.observations)

    def training_batches(self, device: torch.device) -> Iterator[Batch]:
        """Yield samples of the first shapes that training shows."""
        # Not their `truth`, points anywhere in the cube: the figure is that of the samples that training saw.
        index = torch.arange(min(len(self.trained), TUNED))
        return self.trained.whole_pass(index, self.chunk, self.wanted, device)

    # Evaluation.

    @cached_property
    def lattice(self) -> Tensor:
        """Points (samples, 3) of the lattice."""
        return lattice(self.resolution)

    def val_dataloader(self) -> Pass:
        """Return the draws of the points that a validation looks at, shape by shape."""
        # Some points of the cube rather than the lattice, which would take longer than the steps in between.
        shapes = range(self.signals_of("validate"))
        return Pass(Draw(torch.tensor([shape]), None, "validate") for shape in shapes)

    def test_dataloader(self) -> Pass:
        """Return the draws of the whole lattice, for all evaluated shapes."""
        # Held-out shapes are no more than `test_signals` already; of shapes that training shows, each is a result.
        return whole_pass(len(self.evaluated), self.lattice_size, self.chunk)

    def evaluation_batch(self, draw: Draw, device: torch.device) -> Batch:
        """Make the batch of points of the lattice, or of those that a validation looks at of one shape."""
        if draw.purpose == "validate":
            points, _ = self.evaluated.truth.samples_of(int(draw.signals))
        else:
            points = self.lattice if draw.samples is None else self.lattice[draw.samples]
        return self.evaluated.batch(draw.signals, {"space": Part(points[None].to(device))}, self.wanted.observations)

    def validated(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor, None]]:
        """Yield what a validation saw (samples, 1), and the true distances, shape by shape."""
        for signal in range(self.signals_of("validate")):
            _, truth = self.evaluated.truth.samples_of(signal)
            seen, values = values.tensor_split([len(truth)])
            yield seen, truth, None

    def truth(self, item: int) -> Scored:
        """Return the true distances of a shape; figures look at all of the lattice, and near the surface."""
        if not self.solid:
            return Scored(self.names[item], torch.zeros(*self.shape, 1), {})  # no mask, so no figure of the lattice
        truth = self.evaluated.lattice_distances(item)
        return Scored(self.names[item], self.restore(truth[..., None]), {"psnr": None, "psnr_shell": truth.abs() < SHELL})

    def definitions(self) -> dict[str, str]:
        """Return in words the points of the lattice that each PSNR looks at."""
        everywhere = f"of distances on a lattice of {self.resolution}^3 points in the cube"
        return {"psnr": everywhere, "psnr_shell": f"{everywhere}, those nearer than {SHELL} half-widths to the surface"}

    def baselines(self) -> dict[str, Callable[[], Tensor]]:
        """Return what interpolation makes of the same samples (shapes, *shape, 1)."""
        if not self.solid:
            return {}
        return {"linear": lambda: self.evaluated.interpolated(INTERPOLATED).reshape(-1, *self.shape, 1)}


class OneShape(ShapeData):
    """A single shape, in the coordinates of its file. Subclasses define `only`."""

    @property
    @abstractmethod
    def only(self) -> Shape:
        """The shape, read once."""

    def shapes_of(self, split: Split) -> Sequence[Shape]:
        """Return the shape: it trains, and is evaluated."""
        return [self.only] if split == "train" else []

    @property
    def frame(self) -> Frame:
        """The place of the cube in the file's coordinates."""
        return self.only.frame

    @property
    def units(self) -> Units:
        """Lengths of the file."""
        return Units(self.frame.scale, 0.0, self.frame.scale, "length of the file")
