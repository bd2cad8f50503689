"""What images and sounds share: signals on a regular grid, reconstructed and compared with the truth."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from datamodules.common.batch import Scored
from inr.baselines.interpolation import Interpolation
from inr.errors import InputError
from inr.metrics.figures import Metric, psnr, slabs
from tasks.base import INRTask


class GridTask(INRTask):
    """Score reconstructions on the samples that count, beside what classical methods make of the same observations.

    Of several signals every figure is the mean over the signals. Subclasses give `brightness` (what is compared, peak 1),
    `methods` (interpolations by name) and further figures.
    """

    methods: Mapping[str, Interpolation] = {}

    def brightness(self, values: Tensor) -> Tensor:
        """What the figures compare, from fitted values (..., channels), scaled so that the peak is 1."""
        raise NotImplementedError(f"{type(self).__name__} must define brightness(values).")

    def bright(self, values: Tensor) -> Tensor:
        """The brightness of a whole reconstruction, made a slab at a time."""
        return torch.cat([self.brightness(part) for (part,) in slabs(values)])

    def figures(self, values: Tensor, shown: Tensor, truth: Tensor, scored: Scored) -> dict[str, Metric]:
        """Further figures of a reconstruction (*shape, channels), given its brightness and the target's."""
        return {}

    def pairs(self, values: Tensor, scored: Scored) -> Iterator[tuple[Tensor, Tensor]]:
        """Slabs of a reconstruction (*shape, channels) beside the target's fitted numbers."""
        return ((part, self.data.normalise(samples)) for part, samples in slabs(values, scored.truth))

    def validate(self, values: Tensor) -> dict[str, float]:
        """PSNR of the samples that count among those that a validation looks at."""
        figures = [psnr(self.bright(seen), self.bright(truth), 1.0, mask) for seen, truth, mask in self.data.validated(values)]
        return {"psnr": sum(figures) / len(figures)}

    def score(self, values: Tensor) -> dict[str, Metric]:
        """The network's figures, then each reference's on the same samples."""
        images = self.images(values)
        self.table = self.figure_table(images)
        metrics = mean_of(self.table)
        if "psnr" in metrics and (self.constant.any() or not self.supervision.fixes_constant()):
            raw = self.images(self.without_constant(values))
            definition = "psnr without the constant per channel that is estimated from training values"
            metrics["psnr_uncorrected"] = mean_of(self.figure_table(raw))["psnr"]._replace(definition=definition)
        rows: dict[str, Callable[[], Tensor]] = {name: lambda shot=shot: shot for name, shot in self.snapshots.items()}  # type: ignore[misc]
        for row, reconstruct in (rows | self.data.references(self.methods)).items():
            figures = mean_of(self.figure_table(reconstruct()))
            metrics |= {f"{row}/{name}": figure for name, figure in figures.items() if name != "psnr_train"}
        return metrics

    def figure_table(self, images: Tensor) -> list[dict[str, Metric]]:
        """All figures of each reconstruction (images, *shape, channels)."""
        return [self.figure_set(image, self.data.scored(place)) for place, image in enumerate(images)]

    def figure_set(self, values: Tensor, scored: Scored) -> dict[str, Metric]:
        """All figures of one reconstruction (*shape, channels)."""
        truth = torch.cat([self.brightness(target) for _, target in self.pairs(values, scored)])
        shown, units, meaning = self.bright(values), self.data.units, self.data.meanings()
        peak = f"peak 1 = {units.peak:g} [{units.unit}]"
        metrics = {
            name: Metric(psnr(shown, truth, 1.0, mask), "dB", f"PSNR {meaning[name]}; {peak}")
            for name, mask in scored.masks.items()
        }
        return metrics | self.figures(values, shown, truth, scored)

    def rendered(self, image: int, scale: float) -> Iterator[Tensor]:
        """A result in file units, `scale` times as fine, in slabs along the first axis."""
        whole = self.images(self.reconstruction)[image]
        if scale == 1:
            return (self.data.restore(part) for (part,) in slabs(whole))
        if whole.shape[:-1] != tuple(self.data.shape):
            raise InputError(f"export.scale is for whole signals, got {scale} and data.patch_size; leave one of them out.")
        return self.fitted(image).rows(self.data.shape, scale)


def mean_of(table: list[dict[str, Metric]]) -> dict[str, Metric]:
    """Every figure as its mean over the signals that have it."""
    if len(table) == 1:
        return table[0]
    means = {}
    for name in dict.fromkeys(name for row in table for name in row):
        found = [row[name] for row in table if name in row]
        value = sum(metric.value for metric in found) / len(found)
        means[name] = Metric(value, found[0].unit, f"{found[0].definition}; mean over {len(found)} signals")
    return means
