"""Scanned slices: line integrals to fit, pixels of the slice to score."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from datamodules.common.batch import Batch, DeviceCache, Part, Scored
from datamodules.common.draws import Draw, Pass, Schedule, own_share, random_rows, whole_pass
from datamodules.common.files import require, require_counts
from datamodules.common.signal_data import Header, SignalData
from datamodules.scans.scanner import Scanner
from datamodules.scans.scans import Scans
from inr.distributed import rank, ranks
from inr.errors import InputError
from inr.measurements.whole_slices import entries
from inr.randomness import draw_indices, key
from inr.supervision.differences import check

LARGEST = 2**27  # signals x bins^2 x views that SART reconstructs in about half a minute: it walks every ray bin by bin
FITS = 2**27  # entries of a matrix that is made without being asked for: 1 GiB
DENSEST = 2**23  # signals x rays x pixels of a side that total variation takes about half a minute for


@dataclass(kw_only=True, eq=False)
class ScanData(SignalData[Scans]):
    """Slices seen through line integrals: trained on sinograms, scored on the slice and on views in between.

    Subclasses define `slice_shape`, `scanner`, `units`, `unit_attenuation`, `display_window` and `observe`. A batch is a draw
    of rays, shared by its signals.

    validation_signals, test_signals: bounds on what is evaluated; None: all.

    whole: whether a step sees all rays of whole slices at once, whose field is evaluated on a lattice of `oversample` cells per
        pixel (`inr.measurements.whole_slices`); None: where it is to see all rays and their matrix fits memory.

    Units:  coordinates (bin, view), in the slice (row, column) in pixels.
    """

    filter: str = "central"  # of the derivative targets: central, sobel (see `inr.supervision.differences`)
    points: int | None = 96  # rays of a step, over all processes; None: all
    whole: bool | None = None
    oversample: int = 1
    batch_signals: int | None = 64  # signals of a step; None: all
    slice_points: int = 4096  # pixels of the slice that come along where the supervision has terms on it
    validation_signals: int | None = 32
    test_signals: int | None = 64

    is_lattice: ClassVar[bool] = True
    encoded_as: ClassVar[str] = "as the filtered back-projection of what was measured"

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.filter, "one_sided")
        self.every_ray = DeviceCache[Tensor]()
        rule = "sees all rays in every step"
        require("data.whole", not self.whole or self.points is None, f"{rule}; add data.points=null", f"true and {self.points}")
        require_counts(self, "points", "batch_signals", "slice_points", "validation_signals", "test_signals", "chunk")

    @property
    @abstractmethod
    def slice_shape(self) -> tuple[int, int]:
        """Rows and columns of a slice."""

    @property
    @abstractmethod
    def scanner(self) -> Scanner:
        """The geometry of the scan."""

    @property
    @abstractmethod
    def unit_attenuation(self) -> float:
        """The attenuation per length that the network fits as 1."""

    @property
    @abstractmethod
    def display_window(self) -> tuple[float, float]:
        """The numbers of a slice that a picture shows as black and as white."""

    def header(self) -> Header:
        """Return the shape of a slice, and the scanner.

        Raises: InputError where slice or detector are too small for differences.
        """
        if min(self.slice_shape) < 2 or self.scanner.bins < 3:
            rule = f"A scan needs three bins, and two pixels along each side of the slice, got {self.scanner.bins} and"
            raise InputError(f"{rule} {list(self.slice_shape)}; use more data.bins, or a larger data.size.")
        signals = len(self.positions[self.shown_split])
        scanner = self.scanner.describe()
        sensor = self.scanner.describe_whole(self.slice_shape, self.oversample) if self.sees_whole else scanner
        return Header(
            self.slice_shape,
            1,
            signals,
            result="result",
            whole_views=self.scanner.views if self.points is None else None,
            smoothed=("data", "differences") if self.sees_whole else None,
            sensor={"scanner": scanner, "sensor": sensor},
        )

    @property
    def sees_whole(self) -> bool:
        """True if whole slices are observed at once."""
        if self.whole is not None or self.points is not None or self.scanner.jitter:
            return bool(self.whole)
        return entries(self.scanner.bins, self.scanner.views, self.slice_shape, self.oversample) <= FITS

    def setup(self, stage: str | None = None) -> None:
        """Scan the signals that are shown and those that are evaluated, so that a bad file is refused before training."""
        super().setup(stage)
        _ = self.evaluated

    @cached_property
    def schedule(self) -> Schedule:
        """The signals and rays of each step."""
        return Schedule(
            len(self.trained), 1, self.trained.size, self.wanted.of_step(self.batch_signals), self.points, self.seed
        )

    @property
    def derivative_axes(self) -> list[int]:
        """Axes of the coordinates along which derivatives are worth comparing: by the view only where views are dense."""
        return [0, 1] if self.scanner.dense else [0]

    @cached_property
    def disc(self) -> Tensor:
        """Mask (rows, columns) of the circle that lines from all sides cross."""
        return self.scanner.disc(self.slice_shape)

    def truth(self, item: int) -> Scored:
        """Return a slice, all of which and the disc in it are scored; nothing is where nobody knows it."""
        slices = self.evaluated.slices
        if slices is None:
            return Scored(self.names[item], torch.zeros(*self.slice_shape, 1), {})
        return Scored(self.names[item], self.restore(slices[item][..., None]), {"psnr": None, "psnr_disc": self.disc})

    def definitions(self) -> dict[str, str]:
        """Return in words the pixels that each PSNR looks at."""
        return {"psnr": "of the whole slice", "psnr_disc": "of the disc that is seen from all sides"}

    def validated(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield what a validation saw of each slice (pixels, 1), and the truth in fitted numbers."""
        slices = self.evaluated.slices
        assert slices is not None  # subclasses whose slices nobody knows validate something else
        for seen, truth in zip(values.reshape(-1, self.lattice_size, 1), slices, strict=False):
            yield seen, truth.reshape(-1, 1), None

    def baselines(self) -> dict[str, Callable[[], Tensor]]:
        """Return what classical methods make of the same sinograms (signals, *shape, 1), in fitted numbers."""
        scans = self.evaluated
        scanner = self.scanner
        rows: dict[str, Callable[[], Tensor]] = {"fbp": lambda: scans.back_projected("ramp")}
        rows["fbp hann"] = lambda: scans.back_projected("hann")
        sortable = scanner.source is None or scanner.half_turns > 0  # into parallel beams, which SART needs
        if sortable and len(scans) * scanner.bins**2 * scanner.views <= LARGEST:
            rows["sart"] = lambda: scanner.iterate(scans.sinograms, self.slice_shape)[..., None]
        if len(scans) * scans.size * max(self.slice_shape) <= DENSEST:
            rows["tv"] = lambda: scanner.few_edges(scans.sinograms, self.slice_shape, scans.weights)[..., None]
        return rows

    def training_draws(self, step: int) -> Iterator[Draw]:
        """Yield the signals and rays of each step; all scans stay in memory."""
        return self.schedule.draws(step, lambda signals: None)

    def training_batch(self, draw: Draw, device: torch.device) -> Batch:
        """Make the batch of rays of the shown signals, pixels of their slices, or both, as terms read them."""
        scans = self.trained
        parts: dict[str, Part] = {}
        if quantities := self.wanted.of("data"):
            every = self.every_ray.on(device, lambda: own_share(scans.size).to(device))
            rays = every if draw.samples is None else draw.samples
            # Random numbers are those of the rays of all processes, so that their number changes no result.
            total = scans.size if draw.samples is None or self.points is None else self.points
            context = {"randomness": random_rows(self.seed, draw.step, total)}
            parts["data"] = scans.part(draw.signals, rays.to(device, non_blocking=True), quantities, context)
        if quantities := self.wanted.of("result"):
            # Where training sees the scans of what is evaluated, its slices are no targets: only penalties look at them.
            known = frozenset() if self.trains_on_evaluated else quantities
            few = min(self.slice_points, self.lattice_size)
            rows = random_rows(self.seed, draw.step, few)
            pixels = draw_indices(draw.step, few, self.lattice_size, key(self.seed, "slice"), rank(), ranks())
            parts["result"] = scans.truth.part(draw.signals, pixels.to(device, non_blocking=True), known).with_randomness(rows)
        return scans.batch(draw.signals, parts, self.wanted.observations)

    def evaluation_batch(self, draw: Draw, device: torch.device) -> Batch:
        """Make a batch of pixels of evaluated slices."""
        pixels = torch.arange(self.lattice_size) if draw.samples is None else draw.samples
        part = self.evaluated.truth.part(draw.signals, pixels.to(device), ())
        return self.evaluated.batch(draw.signals, {"result": part}, self.wanted.observations)

    def test_dataloader(self) -> Pass:
        """Return the draws of all pixels of all evaluated slices, which `test_signals` has bounded where it may."""
        return whole_pass(len(self.evaluated), self.lattice_size, self.chunk)
