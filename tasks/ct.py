"""Computed tomography: fit a slice to its projections, score the slice and views that were not measured."""

import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from datamodules.common.batch import Part, Scored
from datamodules.scans.scan_data import ScanData
from datamodules.scans.scans import RayGrid, ray_grid
from inr.derivatives import observe_at
from inr.metrics.figures import Metric, psnr, ssim
from inr.networks.sampled import bilinear_field
from tasks.drawing.panels import panels
from tasks.evaluation import EvaluatedTask, Row, item_path, mean_of

ROWS = 4  # slices of a picture
RAYS = 2**13  # of each set of views, that a test compares: enough for a mean, few enough for the classical rows
FAINT = 1e-12  # range of a sinogram below which it counts as constant


class CTTask(EvaluatedTask[ScanData]):
    """Fit a field to a sinogram; figures compare slices, the range of whose numbers is the peak, and projections.

    Terms on the jacobian that do not name their axes leave out the derivative by the view where views are too far apart.
    Source: Neural Implicit Dictionary Learning (ICML 2022), section 5.4.
    """

    reads = ScanData

    def setup(self, stage: str) -> None:
        """Leave out derivatives that the views do not allow, before the data hear what the supervision reads."""
        possible = self.data.derivative_axes
        axes = [term.axes for term in self.supervision.terms.values() if (term.part, term.quantity) == ("data", "jacobian")]
        if any(1 not in possible and (one is None or 1 in one) for one in axes):
            left_out = "the derivative by the view is left out" if None in axes else "a difference is no derivative there"
            rule = f"Views must be even and move the rim by at most a bin each, here {self.data.scanner.rim_step:.2f}"
            warnings.warn(f"{rule}: {left_out}; supervision.terms.jacobian.axes=[0] says so too.", stacklevel=2)
        self.supervision = self.supervision.along("data", possible)
        super().setup(stage)

    def brightness(self, values: Tensor) -> Tensor:
        """Return the slice's numbers as a share of their range."""
        return values * (self.data.units.scale / self.data.units.peak)

    def errors(self, observed: Tensor, targets: Tensor, signals: Tensor) -> Tensor:
        """Return squared errors (signals, rays) of sinograms as shares of the largest integral of each."""
        largest = self.data.trained.sinograms[signals.cpu()].abs().amax((1, 2)).to(observed)
        return ((observed - targets)[..., 0] / largest[:, None]).square()

    def figures(self, values: Tensor, shown: Tensor, truth: Tensor, scored: Scored) -> dict[str, Metric]:
        """Return SSIM over the whole slice at once, the error in the slice's numbers, PSNR inside the window."""
        data, unit = self.data, self.data.units.unit
        low, high = data.display_window
        error = (data.restore(values) - scored.truth)[data.disc].double().square().mean().sqrt().item()
        window = f"PSNR of the disc, clipped to the window {low:g}..{high:g}, which is the peak [{unit}]"
        seen, true = (one.clamp(low, high) / (high - low) for one in (data.restore(values), scored.truth))
        similar = "structural similarity, gaussian window 11, sigma 1.5, the whole slice"
        return {
            "ssim": Metric(ssim(shown[..., 0], truth[..., 0]), "1", similar),
            "psnr_window": Metric(psnr(seen, true, 1.0, data.disc), "dB", window),
            "rmse": Metric(error, unit.split(" ")[0], f"root mean square error in the disc [{unit}]"),
        }

    def figure_set(self, values: Tensor, scored: Scored) -> dict[str, Metric]:
        """Return all figures of one reconstruction (*shape, 1): of the slice where it is known, and of its projections."""
        slice_figures = super().figure_set(values, scored) if scored.masks else {}
        # Classical rows give pixels and no field, so that all rows are projected between their pixels alike; `score` replaces
        # the network's own figures by those of its field.
        field = bilinear_field(values[None, ..., 0])
        place = self.data.names.index(scored.name)

        def project(rays: RayGrid) -> Tensor:
            beam = self.sensors["data"].within(**rays.context)
            return observe_at(beam, field, rays.coordinates, {"value"})["value"]

        return slice_figures | self.projected(project, slice(place, place + 1))[0]

    def projected(self, project: Callable[[RayGrid], Tensor], signals: slice) -> list[dict[str, Metric]]:
        """Return the PSNR of projections (signals, rays, 1), for each of some signals."""
        table: list[dict[str, Metric]] = [{} for _ in self.data.names[signals]]
        for name, rays in self.data.evaluated.compared_rays(RAYS).items():
            truth = rays.truth[signals].flatten(1)
            text = f"PSNR of projections, {rays.definition}; the peak is the largest integral"
            for figures, seen, target in zip(table, project(rays)[..., 0].cpu(), truth, strict=True):
                figures[f"psnr_{name}"] = Metric(psnr(seen, target, float(target.abs().max())), "dB", text)
        return table

    def score(self, values: Tensor) -> dict[str, Metric]:
        """Return the figures of reconstructions, the projections of the network being those of its field, not of pixels."""
        return super().score(values) | mean_of(self.projected(self.observe_rays, slice(None)))

    def observe_rays(self, rays: RayGrid, quantity: str = "value") -> Tensor:
        """Observe some rays of all evaluated signals (signals, rays, ...) with the network; derivatives by the bin alone."""
        data = self.data
        signals = torch.arange(len(data.evaluated))
        few = max(1, data.chunk // (data.scanner.samples * len(signals)))
        batches = (
            data.evaluated.batch(signals, {"data": Part(some, context=rays.context)}, data.wanted.observations)
            for some in rays.coordinates.to(self.device).split(few, 1)
        )
        return torch.cat([seen[quantity] for seen in self.observe_batches(batches, quantity, along=[0])], 1)

    def draw(self) -> dict[str, np.ndarray]:
        """Draw slices and what became of them; the sinogram of the first, and its derivative along the detector."""
        rows = [self.row(place, one) for place, one in enumerate(self.items(self.reconstruction)[:ROWS])]
        return {"slice": panels(rows), "sinogram": panels(self.sinogram_rows())}

    def row(self, place: int, reconstruction: Tensor) -> Row:
        """Make the panels of one slice: truth, snapshots, reconstruction, error, filtered back-projection."""
        data = self.data
        scored = data.truth(place)
        snapshots = [(name, self.grey(shot[place])) for name, shot in self.regime.snapshots.items()]
        row = [*snapshots, ("reconstruction", self.grey(reconstruction))]
        back = ("filtered back-projection", self.grey(data.evaluated.back_projected("ramp")[place]))
        if not scored.masks:
            return [*row, back]
        error = (data.restore(reconstruction) - scored.truth).abs()[..., 0].numpy()
        return [("slice", self.grey(data.normalise(scored.truth))), *row, (f"|error| [{data.units.unit}]", error), back]

    def grey(self, values: Tensor) -> np.ndarray:
        """Bring a slice (rows, columns, 1) through the window to grey (rows, columns, 3) in 0..1."""
        low, high = self.data.display_window
        grey = ((self.data.restore(values) - low) / (high - low)).clamp(0, 1)
        return grey.expand(*grey.shape[:-1], 3).numpy()

    def sinogram_rows(self) -> list[Row]:
        """Make the panels of the first sinogram, and of its derivative by the bin: measured, predicted, residual."""
        scans = self.data.evaluated
        grid = ray_grid(scans.sinograms, RAYS, {}, "")
        bins, views = grid.coordinates[0].long().T
        part = scans.part(torch.tensor([0]), bins * scans.scanner.views + views, ("value", "jacobian"), {})
        rows = []
        for title, quantity in (("sinogram", "value"), ("derivative by the bin", "jacobian")):
            pair = part.targets[quantity][0], self.observe_rays(grid, quantity)[0]
            measured, predicted = (one.reshape(*grid.truth.shape[1:], -1)[..., 0].numpy() for one in pair)
            low = measured.min()
            contrast = max(measured.max() - low, FAINT)
            greys = [((one - low) / contrast).clip(0, 1)[..., None].repeat(3, -1) for one in (measured, predicted)]
            titles = (f"measured {title}", f"predicted {title}", "|residual|, of the largest")
            residual = abs(predicted - measured) / max(abs(measured).max(), FAINT)
            rows.append(list(zip(titles, [*greys, residual], strict=True)))
        return rows

    def exporters(self) -> dict[str, Callable[[Path, float], None]]:
        """Return what can be exported, by name."""
        return {"slice": self.write_slices, "sinogram": self.write_sinograms}

    def write_slices(self, folder: Path, scale: float) -> None:
        """Write `reconstruction.npy` and `.tiff` in the slice's numbers, `.png` through the window; of several a folder."""
        data = self.data
        low, high = data.display_window
        pixel = 2 * data.scanner.half_width / (max(data.shape) - 1) / scale  # its centres reach from edge to edge
        about = {"unit": data.units.unit, "pixel": pixel, "window": [low, high]}
        for place in range(len(data.names)):
            path = item_path(folder, "reconstruction", data.names, place)
            picture = torch.cat(list(self.rendered(place, scale)))[..., 0].numpy()
            np.save(f"{path}.npy", picture)
            tifffile.imwrite(f"{path}.tiff", picture, description=json.dumps(about))
            text = PngInfo()
            for key, value in about.items():
                text.add_text(key, json.dumps(value))
            grey = ((picture - low) / (high - low)).clip(0, 1)
            Image.fromarray((255 * grey).round().astype(np.uint8)).save(f"{path}.png", pnginfo=text)

    def write_sinograms(self, folder: Path, scale: float) -> None:
        """Write `sinogram.npz`: what was measured (bins, views), angles [degrees] and geometry, as `data=sinogram` reads it."""
        data, scanner = self.data, self.data.scanner
        unit = scanner.half_width
        angles = np.rad2deg(scanner.angles)
        # Sinograms are integrals of fitted values over half-widths; the file holds those of attenuation over lengths.
        factor = unit * data.unit_attenuation
        for place, sinogram in enumerate(data.evaluated.sinograms):
            path = f"{item_path(folder, 'sinogram', data.names, place)}.npz"
            measured, width = factor * sinogram.numpy(), unit * scanner.bin_width
            save = partial(np.savez, path, sinogram=measured, angles=angles, centre=scanner.centre, bin_width=width)
            save() if scanner.source is None else save(source=unit * scanner.source, detector=unit * scanner.detector)
