"""Radiance fields: fit photographs of a scene, score views from where no camera stood."""

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import trimesh
from matplotlib import colormaps
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from datamodules.common.batch import Batch, Part, Scored
from datamodules.scenes.capture import scale_of
from inr.errors import InputError
from inr.field import Signals
from inr.measurements.rays import camera_rays
from inr.metrics.figures import Metric, ssim
from inr.metrics.lpips import load_lpips
from tasks.drawing.panels import panels
from tasks.drawing.videos import write_video
from tasks.evaluation import GridTask

SHOWN, OPAQUE = 4, 0.5


class Rendering(NamedTuple):
    """A view: colours in 0..1, depth along the optical axis in scene units, opacity; (..., 3), (..., 1) and (..., 1)."""

    colour: Tensor
    depth: Tensor
    opacity: Tensor


class NerfTask(GridTask):
    """Fit a radiance field; figures compare the colours of test views, clipped to 0..1, and are means over the views.

    `frames` of a camera's path make the film, `rate` a second, each `film_scale` times the size of a tested view; `cloud` rays
    are cast for the point cloud. `lpips` is as of images.

    Raises: InputError for sizes that are not positive.

    Source: Mildenhall et al., NeRF (ECCV 2020), section 6; Sobolev Training for INRs (ECCV 2022), section 4.3.
    """

    def __init__(
        self,
        *args: Any,
        lpips: str | None = None,
        frames: int = 30,
        rate: float = 15.0,
        film_scale: float = 1.0,
        cloud: int = 30000,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        sizes = {"frames": frames, "rate": rate, "film_scale": film_scale, "cloud": cloud}
        for name, size in sizes.items():
            if not size > 0:
                raise InputError(f"task.{name} must be positive, got {size}.")
        self.lpips = load_lpips(lpips)
        self.frames, self.rate, self.film_scale, self.cloud = frames, rate, film_scale, cloud
        self.maps: list[Tensor] = []

    def brightness(self, values: Tensor) -> Tensor:
        """The colours, clipped to 0..1."""
        return values.clamp(0, 1)

    def figures(self, values: Tensor, shown: Tensor, truth: Tensor, scored: Scored) -> dict[str, Metric]:
        """SSIM of the colour channels; LPIPS where it is to be had."""
        similarity = sum(ssim(one, other) for one, other in zip(shown.unbind(-1), truth.unbind(-1), strict=True)) / 3
        text = "structural similarity, gaussian window 11, sigma 1.5, mean over red, green and blue"
        metrics = {"ssim": Metric(similarity, "1", text)}
        if self.lpips is not None:
            text = "LPIPS 0.1 on AlexNet, the whole view; lower is better"
            metrics["lpips"] = Metric(self.lpips(shown, truth), "1", text)
        return metrics

    def render(self, batch: Batch) -> Rendering:
        """Colour, depth and opacity (1, points, ...) of an evaluation batch, in float32."""
        ((name, part),) = batch.parts.items()
        field = self.evaluated.field(batch.signals)  # type: ignore[operator]
        seen = self.within(name, part).observe(field, part.coordinates)
        return Rendering(*(seen[quantity].float() for quantity in ("value", "depth", "opacity")))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep depth and opacity beside the colours."""
        seen = self.render(batch)
        self.keep(batch, seen.colour)
        self.maps.append(torch.cat([seen.depth, seen.opacity], -1).cpu().flatten(0, 1))

    def on_test_epoch_end(self) -> None:
        """Score the views."""
        self.depth, self.opacity = torch.cat(self.maps).reshape(-1, *self.data.shape, 2).unbind(-1)
        self.maps = []
        self.__dict__.pop("depth_range", None)
        super().on_test_epoch_end()

    def draw(self) -> dict[str, np.ndarray]:
        """Test views spread over all: photograph, rendering, error and depth."""
        images, count = self.images(self.reconstruction), len(self.depth)
        places = sorted({round(place) for place in np.linspace(0, count - 1, min(SHOWN, count))})
        return {"views": panels([self.row(place, images[place]) for place in places])}

    def row(self, place: int, image: Tensor) -> list[tuple[str, np.ndarray]]:
        """Panels of one test view."""
        truth, seen = self.data.normalise(self.data.scored(place).truth), self.brightness(image)
        error = (seen - truth).abs().mean(-1)
        snapshots = [(name, self.brightness(shot[place]).numpy()) for name, shot in self.snapshots.items()]
        return [
            (self.data.names[place], truth.numpy()),
            *snapshots,
            ("rendering", seen.numpy()),
            ("mean |error| of the colours", error.numpy()),
            ("depth, near to far", self.depth_colours(self.depth[place], self.opacity[place])),
        ]

    def depth_colours(self, depth: Tensor, opacity: Tensor) -> np.ndarray:
        """A depth map (rows, columns) as colours (rows, columns, 3) in 0..1, even in disparity; dark where rays pass."""
        high, low = (1 / end for end in self.depth_range)
        level = ((1 / depth.clamp(min=1e-6) - low) / max(high - low, 1e-12)).clamp(0, 1)
        return colormaps["turbo"](level.numpy())[..., :3] * opacity.clamp(0, 1)[..., None].numpy()

    @cached_property
    def depth_range(self) -> tuple[float, float]:
        """Near and far for the colours of depth maps: where nearly all that the test views see lies."""
        solid = self.depth[self.opacity > OPAQUE]
        solid = solid if len(solid) else self.depth.flatten()
        few = solid[:: max(len(solid) // 100000, 1)]
        return max(float(few.quantile(0.01)), 1e-6), max(float(few.quantile(0.99)), 1e-6)

    def exporters(self) -> dict[str, Callable[[Path, float], None]]:
        """What can be exported, by name."""
        return {"views": self.write_views, "video": self.write_video, "depth": self.write_depth, "pointcloud": self.write_cloud}

    @torch.no_grad()
    def look(self, scene: int, pose: np.ndarray, lens: np.ndarray, rows: Tensor, columns: Tensor) -> Rendering:
        """What a camera of a scene would see at the crossings of rows and columns, in chunks: (rows, columns, ...) each.

        Shapes: pose (3, 4) in scene units, lens (4,) its intrinsics; rows (rows,), columns (columns,) in pixels of the
                photographs.
        """
        camera = {
            "poses": torch.from_numpy(pose)[None, None].to(self.device, torch.float32),
            "intrinsics": torch.from_numpy(lens)[None, None].to(self.device, torch.float32),
        }
        signals, parts = Signals(torch.tensor([scene], device=self.device)), []
        pixels = torch.cartesian_prod(rows.float(), columns.float()).to(self.device)
        with self.trainer.precision_plugin.forward_context():
            for some in pixels.split(self.data.chunk):
                batch = Batch(signals, {"data": Part(some[None], {}, context=camera)})
                seen = self.render(batch)
                parts.append(torch.cat([self.with_constant(batch, seen.colour), seen.depth, seen.opacity], -1)[0].cpu())
        colour, depth, opacity = torch.cat(parts).unflatten(0, (len(rows), len(columns))).split([3, 1, 1], -1)
        return Rendering(colour.clamp(0, 1), depth[..., 0], opacity[..., 0])

    def grid(self, scale: float) -> tuple[Tensor, Tensor]:
        """Rows and columns of the photographs: centres of pixels of a picture `scale` times the size of those of the test."""
        centre, sizes = self.data.pixel_centre, [(side, max(round(scale * side), 2)) for side in self.data.shape]
        steps = [
            (torch.arange(fine, dtype=torch.float64) + centre) * (self.data.test_factor * side / fine) for side, fine in sizes
        ]
        return steps[0] - centre, steps[1] - centre

    def each(self, items: Iterable[Any], what: str) -> Iterator[Any]:
        """The items, with a progress bar where the training has one."""
        bar: Any = self.trainer.progress_bar_callback
        return iter(tqdm(list(items), desc=what, leave=False, disable=bar is None or bar.is_disabled))

    def test_views(self, scale: float) -> Iterator[tuple[str, int, Rendering]]:
        """Name, scene and rendering of every test view, `scale` times as fine as in the test."""
        images = self.images(self.reconstruction)
        for place, (scene, view) in enumerate(self.each(self.data.tested, "views")):
            name = self.data.names[place].replace("/", "_") if len(self.data.captures) == 1 else self.data.names[place]
            capture = self.data.captures[scene]
            if scale == 1:
                seen = Rendering(self.brightness(images[place]), self.depth[place], self.opacity[place])
            else:
                seen = self.look(scene, capture.poses[view], capture.intrinsics[view], *self.grid(scale))
            yield name, scene, seen

    def write_views(self, folder: Path, scale: float) -> None:
        """`views/NAME.png` of every test view."""
        for name, _, seen in self.test_views(scale):
            file = folder / "views" / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(as_bytes(seen.colour)).save(file)

    def write_depth(self, folder: Path, scale: float) -> None:
        """`depth/NAME.npy` along the optical axis in the file's units, with `NAME_opacity.npy` and `NAME.png`."""
        for name, scene, seen in self.test_views(scale):
            file = folder / "depth" / f"{name}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, scale_of(self.data.captures[scene].world) * seen.depth.numpy())
            np.save(file.with_name(f"{file.stem}_opacity.npy"), seen.opacity.numpy())
            Image.fromarray(as_bytes(self.depth_colours(seen.depth, seen.opacity))).save(file.with_suffix(".png"))

    def write_video(self, folder: Path, scale: float) -> None:
        """`video.mp4` and `video_depth.mp4` of a camera that moves around; of several scenes, one of each."""
        for scene, capture in enumerate(self.data.captures):
            name = f"/{self.data.scene_names[scene]}" if len(self.data.captures) > 1 else ""
            grid, frames = self.grid(scale * self.film_scale), list[tuple[np.ndarray, np.ndarray]]()
            for pose in self.each(capture.path(self.frames), "film"):
                seen = self.look(scene, pose, capture.intrinsics[0], *grid)
                frames.append((as_bytes(seen.colour), as_bytes(self.depth_colours(seen.depth, seen.opacity))))
            write_video(folder / f"video{name}", (colour for colour, _ in frames), self.rate)
            write_video(folder / f"video_depth{name}", (depth for _, depth in frames), self.rate)

    def write_cloud(self, folder: Path, scale: float) -> None:
        """`pointcloud.ply`: where rays of the training views end, coloured, in the file's world coordinates.

        About `cloud` rays times scale^2, those kept that are more opaque than 0.5.
        """
        for scene, capture in enumerate(self.data.captures):
            name = f"/{self.data.scene_names[scene]}" if len(self.data.captures) > 1 else ""
            share = scale * (self.cloud / (len(capture.train) * self.data.size)) ** 0.5
            found = [self.surface(scene, view, self.grid(share)) for view in self.each(capture.train, "points")]
            points, colours = (np.concatenate(part) for part in zip(*found, strict=True))
            file = folder / f"pointcloud{name}.ply"
            file.parent.mkdir(parents=True, exist_ok=True)
            trimesh.PointCloud(points, colours).export(file)

    def surface(self, scene: int, view: int, grid: tuple[Tensor, Tensor]) -> tuple[np.ndarray, np.ndarray]:
        """Points (points, 3) in world coordinates that a view sees, and their colours in bytes."""
        capture = self.data.captures[scene]
        seen = self.look(scene, capture.poses[view], capture.intrinsics[view], *grid)
        pose, intrinsics = (torch.from_numpy(array[view])[None, None] for array in (capture.poses, capture.intrinsics))
        rays = camera_rays(torch.cartesian_prod(*grid)[None], pose, intrinsics)
        points = rays.at(seen.depth.double().reshape(1, -1, 1))[0, :, 0].numpy()
        solid = (seen.opacity > OPAQUE).flatten().numpy()
        world = points[solid] @ capture.world[:3, :3].T + capture.world[:3, 3]
        return world, as_bytes(seen.colour).reshape(-1, 3)[solid]


def as_bytes(picture: Tensor | np.ndarray) -> np.ndarray:
    """A picture of 0..1 in bytes."""
    return np.asarray(np.asarray(picture) * 255).round().astype(np.uint8)
