"""Many signals on one grid: files, patches, corruption, and batches as draws of signals and samples."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from datamodules.common.batch import Batch, DeviceCache, Scored, Units
from datamodules.common.draws import Draw, Schedule, own_share, random_rows
from datamodules.common.files import require, require_counts
from datamodules.common.signal_data import Header, Split, Wanted, refuse_small
from datamodules.common.splits import Collection
from datamodules.grids.baselines import references
from datamodules.grids.corruptions import Damage
from datamodules.grids.grid_signals import GridSignals
from datamodules.grids.patches import Patches
from datamodules.grids.store import Source, Stack
from datamodules.grids.targets import Targets
from inr.errors import InputError

CPU = torch.device("cpu")
MEBIBYTE = 2**20
VALUES = Wanted({"data": frozenset({"value"})})


@dataclass(kw_only=True, eq=False)
class CollectionData(GridSignals[Stack], Collection[Stack]):
    """Signals of one shape and kind, of which some train and others are held out.

    Subclasses define `scan`: names, shape, and how one signal is read. Signals stay in the file's own number type; targets
    are computed for what is drawn.

    patch_size: cut every signal into blocks of so many samples a side, which are signals of their own.
    memory: MiB of the shown signals, and of the evaluated ones, that may stay decoded; larger ones are read for each step.
    """

    patch_size: int | Sequence[int] | None = None
    points: int | None = 1024  # samples of a step, over all processes; None: all
    memory: int = 1024
    components: Sequence[int] = ()  # numbers of principal components in the rows beside the result

    def __post_init__(self) -> None:
        super().__post_init__()
        require_counts(self, "points", "chunk")
        require("data.memory", self.memory >= 0, "must not be negative", self.memory)
        self.all_at_once = DeviceCache[Batch]()

    @abstractmethod
    def scan(self) -> Source:
        """Return what is known of the files from their names, their headers and the first of them."""

    def input_scale(self, shape: tuple[int, ...]) -> float:
        """Return the stretch of [-1, 1] by which models reach the frequencies of this kind of signal."""
        return 1.0

    @cached_property
    def source(self) -> Source:
        """The files, scanned once."""
        source = self.scan()
        refuse_small(source.shape, "Signals need two samples or more along every axis", "use larger ones")
        return source

    @cached_property
    def patches(self) -> Patches:
        """The blocks that signals are cut into."""
        patches = Patches(self.source.shape, self.patch_size)
        if min(patches.shape) < 2:
            raise InputError(f"Patches need two samples or more along every axis, got data.patch_size={self.patch_size}.")
        return patches

    @property
    def pieces(self) -> int:
        """Number of patches that an image is cut into."""
        return self.patches.count

    @property
    def labels(self) -> Sequence[str]:
        """Names of all signals, sorted."""
        return self.source.names

    @property
    def listed_held_out(self) -> Set[str] | None:
        """Names that the layout of the files holds out."""
        return self.source.held_out

    def header(self) -> Header:
        """Return shape and channels of a signal, and how many are shown."""
        shape = self.patches.shape
        signals = len(self.positions[self.shown_split]) * self.pieces
        return Header(shape, self.source.channels, signals, input_scale=self.input_scale(shape))

    @cached_property
    def units(self) -> Units:
        """The relation of the numbers of all files to fitted ones."""
        return self.source.units()

    def observe(self, split: Split) -> Stack:
        """Return the signals of a split: those that train as they are, the others as corruption left them."""
        return self.stack(self.of_split(split), None if split == "train" else self.damage(self.units))

    def stack(self, positions: Sequence[int], damage: Damage | None = None) -> Stack:
        """Return the signals at some positions."""
        targets = Targets(self.patches.shape, self.units, self.filter, self.border)
        return Stack(self.source, positions, self.patches, targets, damage, self.memory * MEBIBYTE)

    @cached_property
    def evaluated(self) -> Stack:
        """The signals that results are scored on; where none is held out, the first that train."""
        few = self.shown == "train" and not self.holds_out
        return self.stack(self.positions["train"][: self.test_signals]) if few else super().evaluated

    @cached_property
    def schedule(self) -> Schedule:
        """The signals and samples of each step."""
        images = len(self.trained.positions)
        return Schedule(images, self.pieces, self.lattice_size, self.wanted.of_step(self.batch_signals), self.points, self.seed)

    @property
    def names(self) -> Sequence[str]:
        """Names of the evaluated images, before they are cut."""
        return self.evaluated.images

    def truth(self, item: int) -> Scored:
        """Return an evaluated image; its figures look everywhere, and in and outside the altered region."""
        return self.evaluated.scored(item)

    def definitions(self) -> dict[str, str]:
        """Return in words the samples that each PSNR looks at."""
        return {"psnr": "of all samples"} | self.altered_definitions()

    def validated(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield what a validation saw of each image (*whole, channels), and the truth in fitted numbers."""
        for image, seen in enumerate(self.merge(values.reshape(-1, *self.shape, values.shape[-1]))):
            yield seen, self.normalise(self.evaluated.original(image)), None

    def baselines(self) -> dict[str, Callable[[], Tensor]]:
        """Return what mean, principal components and inpainting make of the same observations (images, *whole, channels)."""
        seen = self.evaluated.observations(torch.arange(self.signals_of("test")), CPU)
        learned = self.stack([*self.positions["train"], *self.positions["tuning"]])

        def training(most: int) -> Tensor:
            return self.normalise(learned.sample(most).values)

        observed = self.normalise(seen.values)
        rows = {"input": lambda: self.merge(observed)} if self.evaluated.damage is not None else {}
        return rows | references(training, observed, seen.missing, self.components, self.merge)

    def merge(self, values: Tensor) -> Tensor:
        """Put consecutive signals (signals, *shape, channels) together to images (images, *whole, channels)."""
        return self.patches.merge(values)

    def training_draws(self, step: int) -> Iterator[Draw]:
        """Yield the signals and samples of each step; signals are read ahead where they do not stay in memory."""
        return self.schedule.draws(step, self.trained.prefetch)

    def training_batch(self, draw: Draw, device: torch.device) -> Batch:
        """Make the batch of a training step; that of all samples of all signals is made once."""
        samples = own_share(self.lattice_size) if draw.samples is None else draw.samples

        def make() -> Batch:
            (batch,) = self.trained.batches(draw.signals, [samples], self.wanted, device)
            return batch

        everything = draw.samples is None and len(draw.signals) == len(self.trained)
        batch = self.all_at_once.on(device, make) if everything else make()
        return batch.with_randomness(
            random_rows(self.seed, draw.step, min(self.lattice_size, self.points or self.lattice_size))
        )

    def evaluation_batch(self, draw: Draw, device: torch.device) -> Batch:
        """Make a batch of values of evaluated signals."""
        samples = torch.arange(self.lattice_size) if draw.samples is None else draw.samples
        wanted = Wanted(VALUES.quantities, self.wanted.observations)
        (batch,) = self.evaluated.batches(draw.signals, [samples], wanted, device)
        return batch
