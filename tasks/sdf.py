"""Shapes: fit a signed distance, score it on a lattice and by the surface where it is zero, write that as a mesh."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.common.batch import Part, Scored
from datamodules.common.files import require
from datamodules.shapes.shape_data import ShapeData
from inr.errors import InputError
from inr.measurements.measurement import Sensors
from inr.metrics.figures import Metric
from inr.randomness import generator
from inr.shapes.marching_cubes import march, march_volume
from inr.shapes.meshes import Mesh
from inr.shapes.surface_metrics import compare_surfaces, iou, mean_angle, sampled_surface
from inr.shapes.write_mesh import WRITERS, Placed
from tasks.base import Training
from tasks.drawing.panels import panels
from tasks.drawing.shapes import sections, shaded
from tasks.evaluation import EvaluatedTask, Row, item_path, mean_of

log = logging.getLogger(__name__)
ROWS = 4  # shapes of a picture
SIDE = 96  # samples along a side of small pictures
CLOUD = 30000  # points of each surface that are compared with the other: enough for a mean to 1 %
NEAR = 0.05  # half-widths from the true surface, within which iou_shell looks
PROBED = 20000  # points at which the gradient is measured
THRESHOLD = 0.02  # half-widths, of the F-score: 1 % of the side of the cube
LEAST = 8  # samples along each side of a mesh's lattice
SIDES = {"": 35.0, ", from behind": 215.0}  # azimuths of pictures [degrees]


class SDFTask(EvaluatedTask[ShapeData]):
    """Fit a field of signed distances, positive outside; figures are in normalised lengths, of which the cube has two a side.

    resolution: samples of the exported mesh's lattice along each side.
    up: axis that pictures show upward: y, z.
    Raises: InputError for a resolution below 8, and for samples of the surface alone without terms on the space around.
    Source: Park et al., DeepSDF (CVPR 2019); Sitzmann et al., SIREN (2020), section 4.2; Neural Implicit Dictionary Learning
            (ICML 2022), section 5.5.
    """

    reads = ShapeData

    def __init__(
        self,
        training: Training,
        measurements: Sensors,
        channels: int = 1,
        signals: int = 1,
        resolution: int = 128,
        up: str = "y",
    ) -> None:
        super().__init__(training, measurements, channels, signals)
        rule = f"counts samples along a side of the mesh's lattice, at least {LEAST}"
        require("task.resolution", resolution >= LEAST, rule, resolution)
        require("task.up", up in ("y", "z"), "must be y or z", up)
        self.resolution, self.up = resolution, up

    def setup(self, stage: str) -> None:
        """Refuse to leave the space around the samples open."""
        super().setup(stage)
        if stage == "fit" and self.data.surface == 1 and not self.supervision.quantities("space"):
            rule = "Samples on the surface alone say nothing of the space around it, got data.surface=1"
            raise InputError(f"{rule}; take fewer, or add penalty=[eikonal,off_surface], as experiment=siren/pointcloud does.")

    def brightness(self, values: Tensor) -> Tensor:
        """Return the distances."""
        return values[..., 0]

    def figures(self, values: Tensor, shown: Tensor, truth: Tensor, scored: Scored) -> dict[str, Metric]:
        """Return the overlap of the insides, and the error of the distance."""
        inside, solid = shown < 0, truth < 0
        on = f"points of the lattice of {self.data.resolution}^3"
        shell = f"the same, {on} nearer than {NEAR} half-widths to the true surface"
        error = (shown - truth).abs().double().mean().item() * self.data.units.scale
        return {
            "iou": Metric(iou(inside, solid), "1", f"intersection over union of the insides, {on}"),
            "iou_shell": Metric(iou(inside, solid, truth.abs() < NEAR), "1", shell),
            "mae": Metric(error, self.data.units.unit, f"mean |distance - true distance|, {on}"),
        }

    def figure_set(self, values: Tensor, scored: Scored) -> dict[str, Metric]:
        """Return figures on the lattice where inside and outside are known, then those of the surface."""
        data = self.data
        lattice = super().figure_set(values, scored) if scored.masks else {}
        surface = data.evaluated.shapes[data.names.index(scored.name)].surface
        found = compare_surfaces(march_volume(values[..., 0]), surface, THRESHOLD, CLOUD, data.seed)
        marched = f"the surface by marching cubes at {data.resolution}^3"
        of = f"{CLOUD} points of {marched} and as many of the true one" if data.solid else f"{marched} and the points given"
        return lattice | {
            "chamfer": Metric(found.chamfer, "half-widths", f"mean distance from either to the other, not squared; {of}"),
            "f_score": Metric(found.f_score, "1", f"harmonic mean of the shares nearer than {THRESHOLD} half-widths; {of}"),
            "normals": Metric(found.normal_consistency, "1", f"mean cosine of the normals at nearest points; {of}"),
        }

    def score(self, values: Tensor) -> dict[str, Metric]:
        """Return the figures of reconstructions; of the field itself also the length and direction of its gradient."""
        metrics = super().score(values)
        points = torch.rand(PROBED, 3, generator=generator(self.data.seed, 0, "eikonal")) * 2 - 1
        signals = range(len(self.data.evaluated))
        lengths = [self.observe_points(signal, points, "jacobian").norm(dim=-1) for signal in signals]
        text = f"mean | |gradient| - 1 | at {PROBED} random points of the cube"
        metrics |= mean_of([{"eikonal": Metric((length - 1).abs().mean().item(), "1", text)} for length in lengths])
        text = f"mean angle between the field's gradient and the normals of the true surface, at {PROBED} points of it"
        return metrics | mean_of([{"angle": Metric(self.angle(signal), "degrees", text)} for signal in signals])

    def angle(self, signal: int) -> float:
        """Return the mean angle [degrees] between the gradient of the field and the normals at points of the true surface."""
        cloud = sampled_surface(self.data.evaluated.shapes[signal].surface, PROBED, self.data.seed)
        gradients = self.observe_points(signal, torch.from_numpy(cloud.points), "jacobian")[:, 0]
        return mean_angle(gradients.numpy(), cloud.normals)

    def observe_points(self, signal: int, points: Tensor, quantity: str = "value") -> Tensor:
        """Observe distances (points, 1), or their jacobian (points, 1, 3), of a shape at points (points, 3) of the cube."""
        data = self.data
        batches = (
            data.evaluated.batch(torch.tensor([signal]), {"space": Part(some[None])}, data.wanted.observations)
            for some in points.to(self.device, torch.float32).split(data.chunk)
        )
        return torch.cat([seen[quantity][0] for seen in self.observe_batches(batches, quantity)])

    def distance(self, signal: int) -> Callable[[Tensor], Tensor]:
        """Return the field of an evaluated shape as a function of points (points, 3)."""
        return lambda points: self.observe_points(signal, points)[:, 0]

    def small_grid(self) -> tuple[str, list[Tensor]]:
        """Return the plane z = 0 of the cube."""
        side = torch.linspace(-1, 1, SIDE)
        return "space", [side, side, torch.zeros(1)]

    def draw(self) -> dict[str, np.ndarray]:
        """Draw shapes in the light, and sections through the first."""
        data = self.data
        volume = self.items(self.reconstruction)[0, ..., 0].numpy()
        truth = data.evaluated.lattice_distances(0).numpy() if data.solid else None
        rows = [self.row(place) for place in range(min(ROWS, len(data.evaluated)))]
        return {"shape": panels(rows), "sections": sections(volume, truth, data.names[0])}

    def row(self, place: int) -> Row:
        """Make the panels of one shape: the true one where it is known, and what became of it, from two sides."""
        shape = self.data.evaluated.shapes[place]
        seen = self.distance(place)
        row = [(f"reconstruction{side}", shaded(seen, azimuth=azimuth, up=self.up)) for side, azimuth in SIDES.items()]
        return [(shape.name, shaded(shape.distances, azimuth=SIDES[""], up=self.up)), *row] if self.data.solid else row

    def exporters(self) -> dict[str, Callable[[Path, float], None]]:
        """Return what can be exported, by name."""
        return {"mesh": self.write_meshes, "volume": self.write_volumes}

    def write_meshes(self, folder: Path, scale: float) -> None:
        """Write `mesh.ply`, `.obj` and `.glb` with normals, in the file's coordinates; of several a folder of ply files."""
        names = self.data.names
        for place, name in enumerate(names):
            found = march(self.distance(place), round(self.resolution * scale), self.data.chunk)
            if not len(found.faces):
                log.warning("The fitted distance of %s is zero nowhere: there is no surface to export.", name)
                continue
            mesh = self.placed(place, found)
            path = item_path(folder, "mesh", names, place)
            for ending in WRITERS if len(names) == 1 else ("ply",):
                WRITERS[ending](path.with_name(f"{path.name}.{ending}"), mesh)

    def placed(self, place: int, found: Mesh) -> Placed:
        """Bring the surface of an evaluated shape to the file's coordinates, with normals from the gradient of its distance."""
        frame = self.data.evaluated.shapes[place].frame
        gradient = self.observe_points(place, torch.from_numpy(found.vertices), "jacobian")[:, 0].double()
        normals = torch.nn.functional.normalize(gradient, dim=-1).numpy()
        return Placed(frame.centre, frame.scale * frame.turn_back(found.vertices), found.faces, frame.turn_back(normals))

    def write_volumes(self, folder: Path, scale: float) -> None:
        """Write `volume.npy`: distances on the lattice along x, y, z, in the file's unit, as `data=volume` reads them."""
        steps = partial(torch.linspace, -1, 1, round(self.data.resolution * scale))
        for place, shape in enumerate(self.data.evaluated.shapes):
            # A slab at a time: the points of a fine lattice take three times the memory of its distances.
            slabs = [self.observe_points(place, torch.cartesian_prod(x[None], steps(), steps()))[:, 0] for x in steps()]
            values = torch.stack(slabs).reshape(3 * (len(slabs),)).numpy() * shape.frame.scale
            path = item_path(folder, "volume", self.data.names, place)
            np.save(path.with_name(f"{path.name}.npy"), values.astype(np.float32))
