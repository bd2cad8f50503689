"""Computed tomography: fit a slice to its projections, score the slice and views that were not measured."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from datamodules.common.batch import Part, Scored
from datamodules.scans.scans import RayGrid
from inr.derivatives import observe_at
from inr.metrics.figures import Metric, psnr, ssim
from inr.networks.sampled import raster
from tasks.drawing.panels import panels
from tasks.evaluation import GridTask, mean_of

SHOWN = 4
RAYS = 2**13  # of each set of views, that a test compares


class CTTask(GridTask):
    """Fit a field to a sinogram; figures compare slices, the range of whose numbers is the peak, and projections.

    Terms on the jacobian that do not name their axes leave out the derivative by the view where views are too far apart.

    Source: Neural Implicit Dictionary Learning (ICML 2022), section 5.4.
    """

    def setup(self, stage: str) -> None:
        """Tell the data what the supervision reads of the slice; leave out derivatives that the views do not allow."""
        axes = [term.axes for term in self.supervision.terms.values() if (term.part, term.quantity) == ("data", "jacobian")]
        wide = any(1 not in self.data.axes and (one is None or 1 in one) for one in axes)
        if wide:
            left_out = "the derivative by the view is left out" if None in axes else "a difference is no derivative there"
            rule = f"Views must be even and move the rim by at most a bin each, here {self.data.scanner.arc:.2f}"
            warnings.warn(f"{rule}: {left_out}; supervision.terms.jacobian.axes=[0] says so too.", stacklevel=2)
        self.supervision = self.supervision.along("data", self.data.axes)
        self.data.on_slice = self.supervision.quantities("result")
        super().setup(stage)

    def brightness(self, values: Tensor) -> Tensor:
        """The slice's numbers as a share of their range."""
        return values * (self.data.units.scale / self.data.units.peak)

    def figures(self, values: Tensor, shown: Tensor, truth: Tensor, scored: Scored) -> dict[str, Metric]:
        """SSIM over the whole slice at once, error in the slice's numbers, PSNR inside the window."""
        one, other, data = shown[..., 0], truth[..., 0], self.data
        (low, high), unit = data.window, data.units.unit
        error = (data.restore(values) - scored.truth)[data.disc].double().square().mean().sqrt().item()
        window = f"PSNR of the disc, clipped to the window {low:g}..{high:g}, which is the peak [{unit}]"
        seen, true = (one.clamp(low, high) / (high - low) for one in (data.restore(values), scored.truth))
        return {
            "ssim": Metric(ssim(one, other), "1", "structural similarity, gaussian window 11, sigma 1.5, the whole slice"),
            "psnr_window": Metric(psnr(seen, true, 1.0, data.disc), "dB", window),
            "rmse": Metric(error, unit.split(" ")[0], f"root mean square error in the disc [{unit}]"),
        }

    def figure_set(self, values: Tensor, scored: Scored) -> dict[str, Metric]:
        """All figures of one reconstruction (*shape, 1): of the slice where it is known, and of its projections."""
        slice_figures = super().figure_set(values, scored) if scored.masks else {}
        field, place = raster(values[None, ..., 0]), self.data.names.index(scored.name)

        def project(some: Compared) -> Tensor:
            beam = self.measurements["data"].within(**some.context)  # type: ignore[operator]
            return observe_at(beam, field, some.coordinates, {"value"})["value"]

        return slice_figures | self.projected(project, slice(place, place + 1))[0]

    def projected(self, project: Callable[[Compared], Tensor], signals: slice) -> list[dict[str, Metric]]:
        """PSNR of projections (signals, rays, 1), for each of some signals."""
        table: list[dict[str, Metric]] = [{} for _ in self.data.names[signals]]
        for name, some in self.data.evaluated.compared(RAYS).items():
            truth = some.truth[signals].flatten(1)
            for figures, seen, target in zip(table, project(some)[..., 0].cpu(), truth, strict=True):
                text = f"PSNR of projections, {some.meaning}; the peak is the largest integral"
                figures[f"psnr_{name}"] = Metric(psnr(seen, target, float(target.abs().max())), "dB", text)
        return table

    def score(self, values: Tensor) -> dict[str, Metric]:
        """The figures of reconstructions; the network's projections are its own, those of the others of their pictures."""
        metrics = super().score(values)
        return metrics | mean_of(self.projected(self.observe_rays, slice(None)))

    @torch.no_grad()
    def observe_rays(self, some: Compared, quantity: str = "value") -> Tensor:
        """What the network makes of some rays (signals, rays, ...) of all evaluated signals; derivatives by the bin alone."""
        data, signals, parts = self.data, torch.arange(len(self.data.evaluated)), []
        few = max(1, data.chunk // (data.scanner.samples * len(signals)))
        with self.trainer.precision_plugin.forward_context():
            for coordinates in some.coordinates.to(self.device).split(few, 1):
                batch = data.evaluated.batch(signals, {"data": Part(coordinates, {}, context=some.context)}, data.seen)
                field = self.evaluated.field(batch.signals)  # type: ignore[operator]
                beam = self.within("data", batch.parts["data"])
                seen = observe_at(beam, field, coordinates, {quantity}, along=[0])[quantity].float()
                parts.append((self.with_constant(batch, seen) if quantity == "value" else seen).cpu())
        return torch.cat(parts, 1)

    def draw(self) -> dict[str, np.ndarray]:
        """Slices and what became of them; the sinogram of the first, and its derivative along the detector."""
        images = self.images(self.reconstruction)
        return {
            "slice": panels([self.row(place, images[place]) for place in range(min(SHOWN, len(images)))]),
            "sinogram": panels(self.sinogram_rows()),
        }

    def row(self, place: int, image: Tensor) -> list[tuple[str, np.ndarray]]:
        """Panels of one slice: truth, snapshots, reconstruction, error, filtered back-projection."""
        scored, data = self.data.scored(place), self.data
        snapshots = [(name, self.shown(shot[place])) for name, shot in self.snapshots.items()]
        row = [*snapshots, ("reconstruction", self.shown(image))]
        back = ("filtered back-projection", self.shown(data.evaluated.back_projected(data.shape, "ramp")[place]))
        if not scored.masks:
            return [*row, back]
        error = (data.restore(image) - scored.truth).abs()[..., 0].numpy()
        return [("slice", self.shown(data.normalise(scored.truth))), *row, (f"|error| [{data.units.unit}]", error), back]

    def shown(self, values: Tensor) -> np.ndarray:
        """A slice (rows, columns, 1) as grey (rows, columns, 3) in 0..1, through the window."""
        low, high = self.data.window
        grey = ((self.data.restore(values) - low) / (high - low)).clamp(0, 1)
        return grey.expand(*grey.shape[:-1], 3).numpy()

    def sinogram_rows(self) -> list[list[tuple[str, np.ndarray]]]:
        """Panels of the first sinogram, and of its derivative by the bin: measured, predicted, residual."""
        data = self.data
        some = Compared.of(data.evaluated.sinograms, RAYS, {}, "")
        indices = some.coordinates[0].long()
        rays = indices[:, 0] * data.scanner.views + indices[:, 1]
        part = data.evaluated.ray_part(torch.tensor([0]), rays, ("value", "jacobian"), data.filter)
        rows = []
        for title, quantity in (("sinogram", "value"), ("derivative by the bin", "jacobian")):
            pair = part.targets[quantity][0], self.observe_rays(some, quantity)[0]
            measured, predicted = (one.reshape(*some.truth.shape[1:], -1)[..., 0].numpy() for one in pair)
            low, high = measured.min(), measured.max()
            greys = [
                ((one - low) / max(high - low, 1e-12)).clip(0, 1)[..., None].repeat(3, -1) for one in (measured, predicted)
            ]
            titles = (f"measured {title}", f"predicted {title}", "|residual|, of the largest")
            residual = abs(predicted - measured) / max(abs(measured).max(), 1e-12)
            rows.append(list(zip(titles, [*greys, residual], strict=True)))
        return rows

    def exporters(self) -> dict[str, Callable[[Path, float], None]]:
        """What can be exported, by name."""
        return {"slice": self.write_slices, "sinogram": self.write_sinograms}

    def write_slices(self, folder: Path, scale: float) -> None:
        """`reconstruction.npy` and `.tiff` in the slice's numbers, `.png` through the window; of several a folder."""
        data, several = self.data, len(self.data.names) > 1
        (low, high), pixel = data.window, 2 * data.scanner.half_width / (max(data.shape) - 1) / scale
        about = {"unit": data.units.unit, "pixel": pixel, "window": [low, high]}
        for place, name in enumerate(data.names):
            path = folder / (f"reconstruction/{name}" if several else "reconstruction")
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = torch.cat(list(self.rendered(place, scale)))[..., 0].numpy()
            np.save(f"{path}.npy", picture)
            tifffile.imwrite(f"{path}.tiff", picture, description=json.dumps(about))
            text = PngInfo()
            for key, value in about.items():
                text.add_text(key, json.dumps(value))
            grey = ((picture - low) / (high - low)).clip(0, 1)
            Image.fromarray((255 * grey).round().astype(np.uint8)).save(f"{path}.png", pnginfo=text)

    def write_sinograms(self, folder: Path, scale: float) -> None:
        """`sinogram.npz`: what was measured (bins, views), angles [degrees] and geometry, as `data=sinogram` reads them."""
        data, scanner = self.data, self.data.scanner
        geometry = {"bin_width": scanner.width, "source": scanner.source, "detector": scanner.detector}
        lengths = {
            name: scanner.half_width * value for name, value in geometry.items() if scanner.source or name == "bin_width"
        }
        factor = data.scanner.half_width * data.largest
        for name, sinogram in zip(data.names, data.evaluated.sinograms, strict=True):
            path = folder / (f"sinogram/{name}.npz" if len(data.names) > 1 else "sinogram.npz")
            path.parent.mkdir(parents=True, exist_ok=True)
            angles = np.rad2deg(scanner.angles)
            np.savez(path, sinogram=factor * sinogram.numpy(), angles=angles, centre=scanner.centre, **lengths)
