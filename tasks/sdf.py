"""Shapes: fit a signed distance, score it on a lattice and by the surface where it is zero, write that as a mesh."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from torch import Tensor

from datamodules.common.batch import Part, Scored
from inr.derivatives import observe_at
from inr.errors import InputError
from inr.metrics.figures import Metric
from inr.randomness import generator
from inr.shapes.marching_cubes import march, march_volume
from inr.shapes.meshes import Mesh
from inr.shapes.surface_metrics import compare_surfaces, iou
from tasks.drawing.panels import panels
from tasks.drawing.shapes import sections, shaded
from tasks.evaluation import GridTask, mean_of

log = logging.getLogger(__name__)
SHOWN, SKETCHED, CLOUD, NEAR, PROBED = 4, 96, 30000, 0.05, 20000
THRESHOLD = 0.02  # of F-score, 1 % of the side of the cube
FORMATS = ("ply", "obj", "glb")


class SDFTask(GridTask):
    """Fit a field of signed distances, positive outside; figures are in normalised lengths, of which the cube has two a side.

    `resolution` is that of the exported mesh, samples along each side; `up` is the axis that pictures show upward.

    Raises: InputError for a resolution below 8, and for samples of the surface alone without terms on the space around.

    Source: Park et al., DeepSDF (CVPR 2019); Sitzmann et al., SIREN (2020), section 4.2; Neural Implicit Dictionary Learning
            (ICML 2022), section 5.5.
    """

    def __init__(self, *args: Any, resolution: int = 128, up: str = "y", **options: Any) -> None:
        super().__init__(*args, **options)
        if resolution < 8:
            raise InputError(
                f"task.resolution counts samples along a side of the mesh's lattice, at least 8, got {resolution}."
            )
        if up not in ("y", "z"):
            raise InputError(f"task.up must be y or z, got {up}.")
        self.resolution, self.up = resolution, up

    def setup(self, stage: str) -> None:
        """Tell the data what the supervision reads of the space; refuse to leave it open."""
        super().setup(stage)
        self.data.in_space = bool(self.supervision.quantities("space"))
        if stage == "fit" and self.data.sampling.surface == 1 and not self.data.in_space:
            raise InputError(
                "Samples on the surface alone say nothing of the space around it, got data.surface=1; take fewer, or add"
                " penalty=[eikonal,off_surface], as experiment=siren/pointcloud does."
            )

    def brightness(self, values: Tensor) -> Tensor:
        """The distances."""
        return values[..., 0]

    def figures(self, values: Tensor, shown: Tensor, truth: Tensor, scored: Scored) -> dict[str, Metric]:
        """Overlap of the insides, errors of the distance."""
        inside, solid, near = shown < 0, truth < 0, truth.abs() < NEAR
        on = f"points of the lattice of {self.data.resolution}^3"
        error = (shown - truth).abs().double().mean().item() * self.data.units.scale
        return {
            "iou": Metric(iou(inside, solid), "1", f"intersection over union of the insides, {on}"),
            "iou_shell": Metric(
                iou(inside, solid, near), "1", f"the same, {on} nearer than {NEAR} half-widths to the true surface"
            ),
            "mae": Metric(error, self.data.units.unit, f"mean |distance - true distance|, {on}"),
        }

    def figure_set(self, values: Tensor, scored: Scored) -> dict[str, Metric]:
        """Figures on the lattice where inside and outside are known, then those of the surface."""
        place = self.data.names.index(scored.name)
        lattice = super().figure_set(values, scored) if scored.masks else {}
        surface, seed = self.data.evaluated.shapes[place].surface, self.data.seed
        found = compare_surfaces(march_volume(values[..., 0]), surface, THRESHOLD, CLOUD, seed)
        of = f"{CLOUD} points of the surface by marching cubes at {self.data.resolution}^3 and as many of the true one"
        of = of if self.data.solid else f"the surface by marching cubes at {self.data.resolution}^3 and the points given"
        return lattice | {
            "chamfer": Metric(found.chamfer, "half-widths", f"mean distance from either to the other, not squared; {of}"),
            "f_score": Metric(found.f_score, "1", f"harmonic mean of the shares nearer than {THRESHOLD} half-widths; {of}"),
            "normals": Metric(found.normal_consistency, "1", f"mean cosine of the normals at nearest points; {of}"),
        }

    def score(self, values: Tensor) -> dict[str, Metric]:
        """The figures of reconstructions; of the network's own field also the length of its gradient."""
        metrics = super().score(values)
        points = torch.rand(PROBED, 3, generator=generator(self.data.seed, 0, "eikonal")) * 2 - 1
        lengths = [self.look(signal, points, "jacobian").norm(dim=-1) for signal in range(len(self.data.evaluated))]
        text = f"mean | |gradient| - 1 | at {PROBED} random points of the cube"
        return metrics | mean_of([{"eikonal": Metric((length - 1).abs().mean().item(), "1", text)} for length in lengths])

    @torch.no_grad()
    def look(self, signal: int, points: Tensor, quantity: str = "value") -> Tensor:
        """Distances (points, 1), or their gradients (points, 1, 3), of an evaluated shape, in normalised lengths."""
        parts, data = [], self.data
        with self.trainer.precision_plugin.forward_context():
            for some in points.to(self.device, torch.float32).split(data.chunk):
                batch = data.evaluated.batch(torch.tensor([signal]), {"space": Part(some[None], {})}, data.encodes)
                field = self.evaluated.field(batch.signals)  # type: ignore[operator]
                seen = observe_at(self.measurements["space"], field, some[None], {quantity})[quantity].float()  # type: ignore[arg-type]
                parts.append((self.with_constant(batch, seen) if quantity == "value" else seen)[0].cpu())
        return torch.cat(parts)

    def distance(self, signal: int) -> Callable[[Tensor], Tensor]:
        """The field of an evaluated shape as a function of points (points, 3)."""
        return lambda points: self.look(signal, points)[:, 0]

    def sketch(self) -> tuple[str, list[Tensor]]:
        """The plane z = 0 of the cube."""
        side = torch.linspace(-1, 1, SKETCHED)
        return "space", [side, side, torch.zeros(1)]

    def draw(self) -> dict[str, np.ndarray]:
        """Shapes in the light, and sections through the first."""
        volume = self.images(self.reconstruction)[0, ..., 0].numpy()
        truth = self.data.evaluated.truth(0, self.data.resolution).numpy() if self.data.solid else None
        return {
            "shape": panels([self.row(place) for place in range(min(SHOWN, len(self.data.evaluated)))]),
            "sections": sections(volume, truth, self.data.names[0]),
        }

    def row(self, place: int) -> list[tuple[str, np.ndarray]]:
        """Panels of one shape, from two sides: the true one where it is known, and what became of it."""
        shape, seen = self.data.evaluated.shapes[place], self.distance(place)
        sides = {"": 35.0, ", from behind": 215.0}
        row = [(f"reconstruction{side}", shaded(seen, azimuth=azimuth, up=self.up)) for side, azimuth in sides.items()]
        if not self.data.solid:
            return row
        return [(shape.name, shaded(shape.distances, azimuth=sides[""], up=self.up)), *row]

    def exporters(self) -> dict[str, Callable[[Path, float], None]]:
        """What can be exported, by name."""
        return {"mesh": self.write_meshes, "volume": self.write_volumes}

    def each(self, folder: Path, name: str) -> Iterator[tuple[int, Path]]:
        """The evaluated shapes, and the path without ending under which something of them is written."""
        for place, label in enumerate(self.data.names):
            path = folder / (f"{name}/{label}" if len(self.data.names) > 1 else name)
            path.parent.mkdir(parents=True, exist_ok=True)
            yield place, path

    def write_meshes(self, folder: Path, scale: float) -> None:
        """`mesh.ply`, `.obj` and `.glb` with normals, in the file's coordinates; of several shapes a folder of ply files."""
        for place, path in self.each(folder, "mesh"):
            found = march(self.distance(place), round(self.resolution * scale), self.data.chunk)
            if not len(found.faces):
                log.warning("The fitted distance of %s is zero nowhere: there is no surface to export.", self.data.names[place])
                continue
            mesh = self.placed(place, found)
            for ending in FORMATS if len(self.data.names) == 1 else FORMATS[:1]:
                mesh.export(path.with_name(f"{path.name}.{ending}"))

    def placed(self, place: int, found: Mesh) -> trimesh.Trimesh:
        """The surface of an evaluated shape in the file's coordinates, with normals from the gradient of its distance."""
        frame = self.data.evaluated.shapes[place].frame
        gradient = self.look(place, torch.from_numpy(found.vertices), "jacobian")[:, 0].double()
        normals = torch.nn.functional.normalize(gradient, dim=-1).numpy()
        return trimesh.Trimesh(
            frame.to_file(found.vertices), found.faces, vertex_normals=frame.turn_back(normals), process=False
        )

    def write_volumes(self, folder: Path, scale: float) -> None:
        """`volume.npy`: distances on the lattice of the cube along x, y, z, in the file's unit, as `data=volume` reads them."""
        steps = partial(torch.linspace, -1, 1, round(self.data.resolution * scale))
        for place, path in self.each(folder, "volume"):
            slabs = [self.look(place, torch.cartesian_prod(x[None], steps(), steps()))[:, 0] for x in steps()]
            values = torch.stack(slabs).reshape(3 * (len(slabs),)).numpy() * self.data.evaluated.shapes[place].frame.scale
            np.save(path.with_name(f"{path.name}.npy"), values.astype(np.float32))
