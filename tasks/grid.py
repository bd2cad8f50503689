"""What images and sounds share: a regular grid of which some samples were shown."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from inr.interpolation import Along, hermite, interpolate
from inr.metrics import Metric, psnr, slabs
from tasks.base import INRTask


class GridTask(INRTask):
    """Score a reconstruction on the samples that were not shown, beside classical interpolation of those that were.

    Subclasses give `brightness` (what is compared, peak 1), `references` (interpolations by name) and further figures.
    """

    references: Mapping[str, Along] = {}

    def brightness(self, values: Tensor) -> Tensor:
        """What the figures compare, from fitted values (..., channels), scaled so that the peak is 1."""
        raise NotImplementedError(f"{type(self).__name__} must define brightness(values).")

    def bright(self, values: Tensor) -> Tensor:
        """The brightness of a whole reconstruction, made a slab at a time."""
        return torch.cat([self.brightness(part) for (part,) in slabs(values)])

    def figures(self, values: Tensor, shown: Tensor, truth: Tensor) -> dict[str, Metric]:
        """Further figures of a whole reconstruction (*shape, channels), given its brightness and the target's."""
        return {}

    def target(self, flat: Tensor) -> Tensor:
        """Fitted numbers of the true samples (points, channels)."""
        return self.data.normalise(self.data.samples.flatten(0, -2)[flat])

    def pairs(self, values: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Slabs of a whole reconstruction (*shape, channels) beside the target's fitted numbers."""
        return ((part, self.data.normalise(samples)) for part, samples in slabs(values, self.data.samples))

    def validate(self, values: Tensor) -> dict[str, float]:
        """PSNR of the unseen samples among those that a validation looks at."""
        flat = self.data.validation_samples()
        shown, truth = self.bright(values), self.bright(self.target(flat))
        return {"psnr": psnr(shown, truth, 1.0, self.data.unseen().flatten()[flat])}

    def score(self, values: Tensor) -> dict[str, Metric]:
        """The network's figures, then each reference's on the same samples."""
        values = values.reshape(self.data.samples.shape)
        masks = {"psnr": self.data.unseen(), "psnr_unread": self.data.unread(), "psnr_train": self.trained()}
        truth = torch.cat([self.brightness(target) for _, target in self.pairs(values)])
        metrics = self.figure_set(values, truth, masks)
        if not self.supervision.fixes_constant():
            raw = self.bright(values - self.constant.cpu())
            definition = "psnr without the constant per channel that is estimated from training values"
            metrics["psnr_uncorrected"] = Metric(psnr(raw, truth, 1.0, masks["psnr"]), "dB", definition)
        for row, reconstruct in self.reference_rows().items():
            figures = self.figure_set(reconstruct(), truth, masks)
            metrics |= {f"{row}/{name}": figure for name, figure in figures.items() if name != "psnr_train"}
        return metrics

    def rendered(self, scale: float) -> Iterator[Tensor]:
        """The result in file units, `scale` times as fine, in slabs along the first axis."""
        if scale == 1:
            whole = self.reconstruction.reshape(self.data.samples.shape)
            return (self.data.restore(part) for (part,) in slabs(whole))
        return self.fitted().rows(self.data.shape, scale)

    def trained(self) -> Tensor:
        """Mask of the grid: the samples trained on."""
        mask = torch.zeros(self.data.size, dtype=torch.bool)
        mask[self.data.train_samples] = True
        return mask.reshape(self.data.shape)

    def figure_set(self, values: Tensor, truth: Tensor, masks: Mapping[str, Tensor]) -> dict[str, Metric]:
        """All figures of one reconstruction (*shape, channels), given the target's brightness."""
        shown, units, meaning = self.bright(values), self.data.units, self.meanings()
        peak = f"peak 1 = {units.peak:g} [{units.unit}]"
        metrics = {
            name: Metric(psnr(shown, truth, 1.0, mask), "dB", f"PSNR {meaning[name]}; {peak}") for name, mask in masks.items()
        }
        return metrics | self.figures(values, shown, truth)

    def meanings(self) -> dict[str, str]:
        """Which samples each PSNR looks at, in words."""
        data = self.data
        if data.factor == 1:
            everywhere = f"of all samples (factor 1), {len(data.train_samples)} of {data.size} of which were trained on"
            return {"psnr": everywhere, "psnr_unread": everywhere, "psnr_train": "of the training samples"}
        outside = f"of the samples outside the grid of factor {data.factor} and offset {data.offset}"
        shared = int((self.trained() & data.unseen()).sum())
        note = f" ({shared} of {int(data.unseen().sum())} were trained on)" if shared else ""
        unread = f"of the samples that neither values nor {data.filter} filters on that grid read"
        return {"psnr": outside + note, "psnr_unread": unread, "psnr_train": "of the training samples"}

    def reference_rows(self) -> dict[str, Callable[[], Tensor]]:
        """Reconstructions (*shape, channels) from the samples of the factor grid; none at factor 1, nothing is missing."""
        data = self.data
        if data.factor == 1:
            return {}
        coarse_shape = [len(range(data.offset, size, data.factor)) for size in data.shape]
        samples = self.target(data.flatten(data.coarse)).reshape(*coarse_shape, -1).double().numpy()
        slopes = data.target_jacobian(data.coarse).reshape(*samples.shape, len(data.shape)).double().numpy()
        where = data.shape, data.factor, data.offset

        def by_channel(reconstruct: Callable[[slice], np.ndarray]) -> Callable[[], Tensor]:
            channels = range(samples.shape[-1])
            return lambda: torch.cat([torch.from_numpy(reconstruct(slice(c, c + 1))).float() for c in channels], -1)

        def by(along: Along) -> Callable[[], Tensor]:
            return by_channel(lambda c: interpolate(samples[..., c], *where, along))

        rows = {name: by(along) for name, along in self.references.items()}
        return rows | {"hermite": by_channel(lambda c: hermite(samples[..., c], slopes[..., c, :], *where))}
