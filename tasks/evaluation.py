"""The evaluation of every task: one loop that observes the fitted field, figures beside those of classical methods, exports."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.common.batch import Batch, Scored
from inr.derivatives import observe_at
from inr.errors import InputError
from inr.field import Field, Network
from inr.measurements.measurement import Sensors
from inr.metrics.figures import MeanOverImages, Metric, psnr, slabs
from inr.saved.fitted_field import FittedField
from inr.supervision.constant import Residuals
from tasks.base import Data, INRTask, Training

LONGEST_SIDE = 256  # samples along an axis of small pictures, such as those of atoms
Row = list[tuple[str, np.ndarray]]  # titled panels side by side


class Seen(NamedTuple):
    """All that was observed, sample by sample: value (samples, channels), and further quantities (samples, 1|channels)."""

    value: Tensor
    further: dict[str, Tensor]


class EvaluatedTask(INRTask[Data]):
    """Score reconstructions on the samples that count, beside what classical methods make of the same observations.

    Of several items every figure is the mean over the items. Subclasses define `brightness` (what is compared, peak 1),
    further `figures`, `draw`, and `export` or `exporters`.
    """

    peak: ClassVar[float] = 1.0  # of what `validated` yields
    notes: Sequence[str] = ()  # that the table of figures ends with

    def __init__(self, training: Training, measurements: Sensors, channels: int = 1, signals: int = 1) -> None:
        super().__init__(training, measurements, channels, signals)
        self.chunks: list[dict[str, Tensor]] = []
        self.metrics: dict[str, Metric] = {}
        self.validation_psnr = MeanOverImages(psnr)

    @property
    def scored_network(self) -> Network:
        """The network whose fields are scored."""
        return self.regime.network or self.network

    @torch.no_grad()
    def observe(self, batch: Batch, quantity: str = "value", along: Sequence[int] | None = None) -> dict[str, Tensor]:
        """Observe the one part of a batch, in float32 on the CPU: its value and what else its sensor sees, or its jacobian.

        Shapes: value (signals, points, channels), further (signals, points, 1); jacobian (signals, points, channels, axes).
        """
        ((name, part),) = batch.parts.items()
        field, sensor = self.scored_network.field(batch.signals), self.within(name, part)
        if quantity == "jacobian":
            seen = {"jacobian": observe_at(sensor, field, part.coordinates, {quantity}, along)[quantity].float()}
        else:
            seen = {name: tensor.float() for name, tensor in sensor.observe(field, part.coordinates).items()}
            # codes carry the constants of the signals that they were solved for
            if self.regime.network is None and self.constant.value.any():
                seen["uncorrected"] = seen["value"]
                seen["value"] = self.constant(seen["value"], sensor.of_constant(part.coordinates), batch.signals.index)
        return {name: tensor.cpu() for name, tensor in seen.items()}

    def observe_batches(
        self, batches: Iterable[Batch], quantity: str = "value", along: Sequence[int] | None = None
    ) -> Iterator[dict[str, Tensor]]:
        """Observe one batch after the other, outside of Lightning's loops but in the precision that they have."""
        for batch in batches:
            with self.trainer.precision_plugin.forward_context():
                seen = self.observe(batch, quantity, along)
            yield seen  # outside, so that the caller goes on in its own precision

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Observe a chunk of what is to be reconstructed; the end of the epoch scores all of them together."""
        self.chunks.append(self.observe(batch))

    test_step = validation_step

    def collect(self) -> Seen:
        """Put together all chunks that were observed since the last call, in their order."""
        chunks, self.chunks = self.chunks, []
        whole = {name: torch.cat([seen[name].flatten(0, 1) for seen in chunks]) for name in chunks[0]}
        return Seen(whole.pop("value"), whole)

    def reconstruct(self) -> Tensor:
        """Observe what the test would see now: all samples of all signals, put together to items (items, *shape, channels)."""
        batches = (self.data.evaluation_batch(draw, self.device) for draw in self.data.test_dataloader())
        return self.items(torch.cat([seen["value"].flatten(0, 1) for seen in self.observe_batches(batches)]))

    def items(self, values: Tensor) -> Tensor:
        """Put values (samples, channels) of all samples in order together to items (items, *shape, channels)."""
        return self.data.merge(values.reshape(-1, *self.data.shape, values.shape[-1]))

    def estimate_constant(self) -> None:
        """Estimate the constants where derivatives alone are supervised, from observed values only."""
        if not self.supervision.fixes_constant() and self.regime.network is None:
            self.constant.estimate(map(self.residuals, self.data.constant_batches(self.device)))

    @torch.no_grad()
    def residuals(self, batch: Batch, field: Field | None = None) -> Residuals:
        """Return the values that a field, by default the trained network's, lacks at the observations of a batch."""
        part = batch.parts["data"]
        sensor, field = self.within("data", part), field or self.network.field(batch.signals)
        value = observe_at(sensor, field, part.coordinates, {"value"})["value"].float()
        response = sensor.of_constant(part.coordinates)
        return Residuals(batch.signals.index, part.targets["value"] - value, response, part.weights.get("value"))

    on_validation_start = estimate_constant
    on_test_start = estimate_constant

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the constants of the state that is saved, too."""
        self.estimate_constant()
        checkpoint["state_dict"]["constant.value"] = self.constant.value
        super().on_save_checkpoint(checkpoint)

    def on_validation_epoch_end(self) -> None:
        """Log the mean PSNR of what a validation saw; Lightning resets the metric, and gathers it over processes."""
        for seen, truth, mask in self.validated(self.collect().value):
            self.validation_psnr.update(seen, truth, peak=self.peak, mask=mask)
        self.log("val/psnr", self.validation_psnr, prog_bar=True)

    def on_test_epoch_end(self) -> None:
        """Score the whole reconstruction; the callbacks write what it gave."""
        self.seen = self.collect()
        self.metrics = self.score(self.seen.value) | self.regime.figures
        self.log_dict({f"test/{name}": metric.value for name, metric in self.metrics.items()})

    @property
    def reconstruction(self) -> Tensor:
        """The values (samples, channels) of all samples in order, as the test saw them."""
        return self.seen.value

    @abstractmethod
    def brightness(self, values: Tensor) -> Tensor:
        """Return what the figures compare, from fitted values (..., channels), scaled so that the peak is 1."""

    def bright(self, values: Tensor) -> Tensor:
        """Return the brightness of a whole reconstruction, made a slab at a time."""
        return torch.cat([self.brightness(part) for (part,) in slabs(values)])

    def figures(self, values: Tensor, shown: Tensor, truth: Tensor, scored: Scored) -> dict[str, Metric]:
        """Return further figures of a reconstruction (*shape, channels), given its brightness and the target's."""
        return {}

    def pairs(self, values: Tensor, scored: Scored) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield slabs of a reconstruction (*shape, channels) beside the target's fitted numbers."""
        return ((part, self.data.normalise(samples)) for part, samples in slabs(values, scored.truth))

    def validated(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield pairs of what a validation compares, and the samples that count (None: all)."""
        return ((self.bright(seen), self.bright(truth), mask) for seen, truth, mask in self.data.validated(values))

    def score(self, values: Tensor) -> dict[str, Metric]:
        """Return the network's figures, then each baseline's on the same samples."""
        self.table = self.figure_table(self.items(values))  # of each item
        metrics = mean_of(self.table)
        if "psnr" in metrics and "uncorrected" in self.seen.further:
            definition = "psnr without the constant per channel that is estimated from training values"
            raw = mean_of(self.figure_table(self.items(self.seen.further["uncorrected"])))
            metrics["psnr_uncorrected"] = raw["psnr"]._replace(definition=definition)
        rows = self.regime.snapshots | self.data.baselines()
        for row, items in rows.items():
            if row == self.regime.row:
                continue
            figures = mean_of(self.figure_table(items() if callable(items) else items))
            metrics |= {f"{row}/{name}": figure for name, figure in figures.items() if name != "psnr_train"}
        return metrics

    def figure_table(self, items: Tensor) -> list[dict[str, Metric]]:
        """Return all figures of each reconstruction (items, *shape, channels)."""
        return [self.figure_set(item, self.data.truth(place)) for place, item in enumerate(items)]

    def figure_set(self, values: Tensor, scored: Scored) -> dict[str, Metric]:
        """Return all figures of one reconstruction (*shape, channels)."""
        truth = torch.cat([self.brightness(target) for _, target in self.pairs(values, scored)])
        shown, units, meaning = self.bright(values), self.data.units, self.data.definitions()
        peak = f"peak 1 = {units.peak:g} [{units.unit}]"
        scores = {name: psnr(shown, truth, 1.0, mask) for name, mask in scored.masks.items()}
        metrics = {name: Metric(score, "dB", f"PSNR {meaning[name]}; {peak}") for name, score in scores.items()}
        return metrics | self.figures(values, shown, truth, scored)

    def errors(self, observed: Tensor, targets: Tensor, signals: Tensor) -> Tensor:
        """Return squared errors (signals, points) of what trains, in the numbers that figures compare, whose peak is 1."""
        return (self.brightness(observed) - self.brightness(targets)).square().reshape(*observed.shape[:2], -1).mean(-1)

    @abstractmethod
    def draw(self) -> dict[str, np.ndarray]:
        """Draw the result: pictures by name, uint8 (rows, columns, 3)."""

    def small_grid(self) -> tuple[str, list[Tensor]]:
        """Return the part that small pictures of a field are observed by, and where they look along each axis of its sensor."""
        axes = [torch.arange(0, size, max(1, size // LONGEST_SIDE), dtype=torch.float32) for size in self.data.shape]
        return self.result_part, axes

    @property
    def result_part(self) -> str:
        """The part that the result is observed by: `result` where the data see something else."""
        return "result" if "result" in self.measurements else "data"

    def export(self, folder: Path, scale: float) -> None:
        """Write the result in the file format of its kind, `scale` times as fine as the data."""
        # not abstract: a task with several kinds of exports overrides `exporters` and needs none
        raise NotImplementedError(f"{type(self).__name__} must define export(folder, scale), or exporters().")

    def exporters(self) -> dict[str, Callable[[Path, float], None]]:
        """Return what can be exported, by name; each is called with a folder and a scale."""
        return {"result": self.export}

    def rendered(self, item: int, scale: float) -> Iterator[Tensor]:
        """Yield a result in file units, `scale` times as fine, in slabs along the first axis."""
        whole = self.items(self.reconstruction)[item]
        if scale == 1:
            return (self.data.restore(part) for (part,) in slabs(whole))
        if whole.shape[:-1] != tuple(self.data.shape):
            raise InputError(f"export.scale is for whole signals, got {scale} and data.patch_size; leave one of them out.")
        return self.fitted(item).rows(self.data.shape, scale)

    def fitted(self, signal: int = 0) -> FittedField:
        """Return the result for a signal as a function of sensor coordinates, in file units."""
        data, units = self.data, self.data.units
        constant = None if self.regime.network is not None else self.constant.value[signal]
        numbers = len(data.shape), units.scale, units.offset, units.unit
        return FittedField(self.scored_network, self.sensors[self.result_part], *numbers, constant, signal, data.chunk)


def item_path(folder: Path, stem: str, names: Sequence[str], place: int) -> Path:
    """Return the path without ending of an item: `folder/stem` of a single one, of several `folder/stem/name`."""
    path = folder / stem / names[place] if len(names) > 1 else folder / stem
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def mean_of(table: list[dict[str, Metric]]) -> dict[str, Metric]:
    """Return every figure as its mean over the items that have it."""
    if len(table) == 1:
        return table[0]
    means = {}
    for name in dict.fromkeys(name for row in table for name in row):
        found = [row[name] for row in table if name in row]
        value = sum(metric.value for metric in found) / len(found)
        means[name] = Metric(value, found[0].unit, f"{found[0].definition}; mean over {len(found)} signals")
    return means
