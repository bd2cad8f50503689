"""What images and sounds share: a regular grid of which some samples were shown."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from inr.interpolation import Along, hermite, interpolate
from inr.metrics import Metric, psnr
from tasks.base import INRTask


class GridTask(INRTask):
    """Score a reconstruction on the samples that were not shown, beside classical interpolation of those that were.

    Subclasses give `brightness` (what is compared, peak 1), `references` (interpolations by name) and further figures.
    """

    references: Mapping[str, Along] = {}

    def brightness(self, values: Tensor) -> Tensor:
        """What the figures compare, from fitted values (..., channels), scaled so that the peak is 1."""
        raise NotImplementedError(f"{type(self).__name__} must define brightness(values).")

    def figures(self, values: Tensor, target: Tensor) -> dict[str, Metric]:
        """Further figures of a whole reconstruction (*shape, channels)."""
        return {}

    def validate(self, values: Tensor) -> dict[str, float]:
        """PSNR of the unseen samples among those that a validation looks at."""
        flat = self.data.validation_samples()
        return {"psnr": self.masked_psnr(values, self.target(flat), self.data.unseen().flatten()[flat])}

    def target(self, flat: Tensor) -> Tensor:
        """Fitted numbers of the true samples (points, channels)."""
        return self.data.normalise(self.data.samples.flatten(0, -2)[flat])

    def masked_psnr(self, values: Tensor, target: Tensor, mask: Tensor) -> float:
        """PSNR over a mask, peak 1."""
        return psnr(self.brightness(values), self.brightness(target), 1.0, mask)

    def score(self, values: Tensor) -> dict[str, Metric]:
        """The network's figures, then each reference's on the same samples."""
        target = self.data.normalise(self.data.samples)
        masks = {"psnr": self.data.unseen(), "psnr_unread": self.data.unread(), "psnr_train": self.trained()}
        metrics = self.figure_set(values.reshape(target.shape), target, masks)
        if not self.supervision.fixes_constant():
            raw = values.reshape(target.shape) - self.constant.cpu()
            definition = "psnr without the constant per channel that is estimated from training values"
            metrics["psnr_uncorrected"] = Metric(self.masked_psnr(raw, target, masks["psnr"]), "dB", definition)
        for row, reconstruct in self.reference_rows().items():
            figures = self.figure_set(reconstruct(), target, masks)
            metrics |= {f"{row}/{name}": figure for name, figure in figures.items() if name != "psnr_train"}
        return metrics

    def trained(self) -> Tensor:
        """Mask of the grid: the samples trained on."""
        mask = torch.zeros(self.data.size, dtype=torch.bool)
        mask[self.data.train_samples] = True
        return mask.reshape(self.data.shape)

    def figure_set(self, values: Tensor, target: Tensor, masks: Mapping[str, Tensor]) -> dict[str, Metric]:
        """All figures of one reconstruction (*shape, channels)."""
        peak = self.data.units.peak
        meaning = self.meanings()
        metrics = {
            name: Metric(self.masked_psnr(values, target, mask), "dB", f"PSNR {meaning[name]}; peak 1 = {peak:g} [{self.data.units.unit}]")
            for name, mask in masks.items()
        }
        return metrics | self.figures(values, target)

    def meanings(self) -> dict[str, str]:
        """Which samples each PSNR looks at, in words."""
        data = self.data
        if data.factor == 1:
            everywhere = "of all samples (factor 1: all are trained on)"
            return {"psnr": everywhere, "psnr_unread": everywhere, "psnr_train": "of the training samples"}
        outside = f"of the samples outside the grid of every {data.factor}th, offset {data.offset}"
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

        def by(along: Along) -> Callable[[], Tensor]:
            return lambda: torch.from_numpy(interpolate(samples, *where, along)).float()

        rows = {name: by(along) for name, along in self.references.items()}
        return rows | {"hermite": lambda: torch.from_numpy(hermite(samples, slopes, *where)).float()}
