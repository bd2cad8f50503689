"""Radiance fields: fit photographs of a scene, score views from where no camera stood."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import lightning as L
import numpy as np
import torch
import trimesh
from lightning.pytorch.callbacks import TQDMProgressBar
from matplotlib import colormaps
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from datamodules.common.batch import Batch, Part, Scored
from datamodules.common.files import require
from datamodules.scenes.capture import scale_of
from datamodules.scenes.scene_data import SceneData
from inr.field import Signals
from inr.measurements.measurement import Sensors
from inr.measurements.rays import camera_rays
from inr.metrics.figures import Metric, ssim
from inr.metrics.lpips import MISSING, load_lpips
from tasks.base import Training
from tasks.drawing.panels import panels
from tasks.drawing.videos import write_video
from tasks.evaluation import EvaluatedTask, Row, item_path

DRAWN = 4  # test views of a picture at most
OPAQUE = 0.5  # share of light absorbed on a ray, above which it ends on something
CLOSEST = 1e-6  # depth [scene units] in place of 0, which has no disparity
FLATTEST = 1e-12  # difference of disparities in place of 0
OUTLYING = 0.01  # quantile of depths, from either end, beyond which colours saturate
SAMPLED = 100_000  # depths that quantiles are taken of: torch takes them of 2^24 at most
Item = TypeVar("Item")


class View(NamedTuple):
    """A rendered picture (rows, columns): colour (..., 3) in 0..1, depth [scene units], opacity.

    Depth is along the optical axis, of a fisheye along the ray.
    """

    colour: Tensor
    depth: Tensor
    opacity: Tensor


class NerfTask(EvaluatedTask[SceneData]):
    """Fit a radiance field; figures compare the colours of test views, clipped to 0..1, and are means over the views.

    lpips: adds the perceptual distance: a file of AlexNet's weights, `download`, or None for the file in torch's cache if it
        is there.
    frames, rate, film_scale: of the exported videos: number, frames per second, size relative to a tested view.
    cloud: rays that are cast for the point cloud.
    Raises: InputError for sizes that are not positive.
    Source: Mildenhall et al., NeRF (ECCV 2020), section 6; Sobolev Training for INRs (ECCV 2022), section 4.3.
    """

    reads = SceneData

    def __init__(
        self,
        training: Training,
        measurements: Sensors,
        channels: int = 1,
        signals: int = 1,
        lpips: str | None = None,
        frames: int = 30,
        rate: float = 15.0,
        film_scale: float = 1.0,
        cloud: int = 30000,
    ) -> None:
        super().__init__(training, measurements, channels, signals)
        for name, size in {"frames": frames, "rate": rate, "film_scale": film_scale, "cloud": cloud}.items():
            require(f"task.{name}", size > 0, "must be positive", size)
        self.lpips = load_lpips(lpips)
        self.notes = [MISSING] if self.lpips is None else []
        self.frames, self.rate = frames, rate
        self.film_scale, self.cloud = film_scale, cloud

    def brightness(self, values: Tensor) -> Tensor:
        """Return the colours, clipped to 0..1."""
        return values.clamp(0, 1)

    def figures(self, values: Tensor, shown: Tensor, truth: Tensor, scored: Scored) -> dict[str, Metric]:
        """Return SSIM of the colour channels; LPIPS where it is to be had."""
        shown, truth, mask = counted(shown, truth, scored.masks["psnr"])
        pairs = zip(shown.unbind(-1), truth.unbind(-1), strict=True)
        similarity = sum(ssim(one, other, mask=mask) for one, other in pairs) / 3
        text = "structural similarity, gaussian window 11, sigma 1.5, mean over red, green and blue"
        metrics = {"ssim": Metric(similarity, "1", text)}
        if self.lpips is not None:
            metrics["lpips"] = Metric(self.lpips(shown, truth), "1", "LPIPS 0.1 on AlexNet, the whole view; lower is better")
        return metrics

    def on_test_epoch_end(self) -> None:
        """Score the views, and find the depths that colours of depth maps tell apart."""
        super().on_test_epoch_end()
        # One range for all depth maps and videos, so that they compare. Rays that end on nothing have the depth `far`, which
        # would stretch it; a few depths beside surfaces would, too.
        depth = self.seen.further["depth"]
        solid = depth[self.seen.further["opacity"] > OPAQUE]
        solid = solid if len(solid) else depth.flatten()
        few = solid[:: max(len(solid) // SAMPLED, 1)]
        ends = few.quantile(OUTLYING), few.quantile(1 - OUTLYING)
        self.disparities = [1 / max(float(end), CLOSEST) for end in ends]

    def test_view(self, place: int) -> View:
        """Return a test view as the test saw it, as far as its photograph goes."""
        size = self.data.lattice_size
        part = slice(place * size, (place + 1) * size)
        maps = [self.reconstruction, self.seen.further["depth"], self.seen.further["opacity"]]
        rows, columns = self.data.extent(place)
        colour, depth, opacity = (values[part].reshape(*self.data.shape, -1)[:rows, :columns] for values in maps)
        return View(self.brightness(colour), depth[..., 0], opacity[..., 0])

    def draw(self) -> dict[str, np.ndarray]:
        """Draw test views at even distances: photograph, rendering, error and depth."""
        last = len(self.data.tested) - 1
        places = sorted({round(place) for place in np.linspace(0, last, min(DRAWN, last + 1))})
        return {"views": panels([self.row(place) for place in places])}

    def row(self, place: int) -> Row:
        """Make the panels of one test view."""
        rows, columns = self.data.extent(place)
        truth = self.data.normalise(self.data.truth(place).truth)[:rows, :columns]
        view = self.test_view(place)
        shots = [(name, shot[place][:rows, :columns]) for name, shot in self.regime.snapshots.items()]
        snapshots = [(name, self.brightness(shot).numpy()) for name, shot in shots]
        return [
            (self.data.names[place], truth.numpy()),
            *snapshots,
            ("rendering", view.colour.numpy()),
            ("mean |error| of the colours", (view.colour - truth).abs().mean(-1).numpy()),
            ("depth, near to far", self.depth_colours(view)),
        ]

    def depth_colours(self, view: View) -> np.ndarray:
        """Colour a depth map as (rows, columns, 3) in 0..1, even in disparity; dark where rays pass."""
        # Disparity, 1 / depth, is what moves in a picture: near things get most of the colours, as they do of the pixels.
        high, low = self.disparities
        level = ((1 / view.depth.clamp(min=CLOSEST) - low) / max(high - low, FLATTEST)).clamp(0, 1)
        return colormaps["turbo"](level.numpy())[..., :3] * view.opacity.clamp(0, 1)[..., None].numpy()

    def look(self, scene: int, pose: np.ndarray, intrinsics: np.ndarray, rows: Tensor, columns: Tensor) -> View:
        """Render the view of a camera at the crossings of rows and columns, in chunks.

        Shapes: pose (3, 4) in scene units; intrinsics (4,); rows (rows,), columns (columns,) in pixels of the photographs.
        """
        signals = Signals(torch.tensor([scene], device=self.device))
        arrays = {"poses": pose, "intrinsics": intrinsics}
        camera = {name: torch.from_numpy(one)[None, None].to(self.device, torch.float32) for name, one in arrays.items()}
        pixels = torch.cartesian_prod(rows.float(), columns.float()).to(self.device)
        # As many rays at a time as in the test: a chunk's size bounds memory, and figures depend on it by rounding alone.
        chunks = pixels.split(self.data.chunk)
        seen = list(self.observe_batches(Batch(signals, {"data": Part(some[None], context=camera)}) for some in chunks))
        maps = (torch.cat([chunk[name][0] for chunk in seen]) for name in ("value", "depth", "opacity"))
        colour, depth, opacity = (values.unflatten(0, (len(rows), len(columns))) for values in maps)
        return View(self.brightness(colour), depth[..., 0], opacity[..., 0])

    def look_at_view(self, scene: int, view: int, grid: tuple[Tensor, Tensor]) -> View:
        """Render a photograph anew at the rows and columns of a grid."""
        capture = self.data.trained.captures[scene]
        return self.look(scene, capture.poses[view], capture.intrinsics[view], *grid)

    def grid(self, scale: float, extent: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return rows and columns of the photographs: the pixel centres of a picture `scale` times the size of a test view.

        extent: rows and columns of the test view.
        """
        # As of test views (`SceneData.evaluation_batch`): index k of the picture is at step (k + centre) - centre.
        centre = self.data.pixel_centre
        axes = []
        for side in extent:
            pixels = max(round(scale * side), 2)
            step = self.data.test_factor * side / pixels
            axes.append((torch.arange(pixels, dtype=torch.float64) + centre) * step - centre)
        return axes[0], axes[1]

    def exporters(self) -> dict[str, Callable[[Path, float], None]]:
        """Return what can be exported, by name."""
        return {"views": self.write_views, "video": self.write_video, "depth": self.write_depth, "pointcloud": self.write_cloud}

    def test_views(self, scale: float) -> Iterator[tuple[str, int, View]]:
        """Yield name, scene and rendering of every test view, `scale` times as fine as in the test."""
        scenes = self.data.trained
        for place, (scene, view) in enumerate(with_bar(self.trainer, "views", self.data.tested)):
            name = self.data.names[place]
            grid = self.grid(scale, self.data.extent(place))
            seen = self.test_view(place) if scale == 1 else self.look_at_view(scene, view, grid)
            yield name.replace("/", "_") if len(scenes) == 1 else name, scene, seen

    def write_views(self, folder: Path, scale: float) -> None:
        """Write `views/NAME.png` of every test view."""
        for name, _, seen in self.test_views(scale):
            file = folder / "views" / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(as_bytes(seen.colour)).save(file)

    def write_depth(self, folder: Path, scale: float) -> None:
        """Write `depth/NAME.npy` along the optical axis in the file's units, with `NAME_opacity.npy` and `NAME.png`."""
        for name, scene, seen in self.test_views(scale):
            file = folder / "depth" / f"{name}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, scale_of(self.data.trained.captures[scene].world) * seen.depth.numpy())
            np.save(file.with_name(f"{file.stem}_opacity.npy"), seen.opacity.numpy())
            Image.fromarray(as_bytes(self.depth_colours(seen))).save(file.with_suffix(".png"))

    def write_video(self, folder: Path, scale: float) -> None:
        """Write `video.mp4` and `video_depth.mp4` of a camera that moves around; of several scenes, one of each."""
        scenes = self.data.trained
        for scene, capture in enumerate(scenes.captures):
            # The frames are as large as the first photograph, seen through a pinhole of its focal length.
            grid = self.grid(scale * self.film_scale, scenes.extent(scene, 0, self.data.test_factor))
            colours, depths = [], []
            for pose in with_bar(self.trainer, "frames", capture.path(self.frames)):
                seen = self.look(scene, pose, capture.intrinsics[0, :4], *grid)
                colours.append(as_bytes(seen.colour))
                depths.append(as_bytes(self.depth_colours(seen)))
            write_video(item_path(folder, "video", scenes.names, scene), colours, self.rate)
            write_video(item_path(folder, "video_depth", scenes.names, scene), depths, self.rate)

    def write_cloud(self, folder: Path, scale: float) -> None:
        """Write `pointcloud.ply`: where rays of the training views end, coloured, in the file's world coordinates.

        About `cloud` rays times scale^2 are cast; those that are more opaque than 0.5 give points.
        """
        scenes = self.data.trained
        for scene, capture in enumerate(scenes.captures):
            # Rays of a view are in proportion to the square of the scale of its grid.
            share = scale * (self.cloud / (len(capture.train) * self.data.lattice_size)) ** 0.5
            views = with_bar(self.trainer, "points", capture.train)
            factor = self.data.test_factor
            found = [self.surface(scene, view, self.grid(share, scenes.extent(scene, view, factor))) for view in views]
            points, colours = (np.concatenate(part) for part in zip(*found, strict=True))
            trimesh.PointCloud(points, colours).export(f"{item_path(folder, 'pointcloud', scenes.names, scene)}.ply")

    def surface(self, scene: int, view: int, grid: tuple[Tensor, Tensor]) -> tuple[np.ndarray, np.ndarray]:
        """Return points (points, 3) in world coordinates that a view sees, and their colours in bytes."""
        capture = self.data.trained.captures[scene]
        seen = self.look_at_view(scene, view, grid)
        pose, intrinsics = (torch.from_numpy(array[view])[None, None] for array in (capture.poses, capture.intrinsics))
        rays = camera_rays(torch.cartesian_prod(*grid)[None], pose, intrinsics)
        points = rays.at(seen.depth.double().reshape(1, -1, 1))[0, :, 0].numpy()  # a unit of distance is a unit of depth
        solid = (seen.opacity > OPAQUE).flatten().numpy()
        world = points[solid] @ capture.world[:3, :3].T + capture.world[:3, 3]
        return world, as_bytes(seen.colour).reshape(-1, 3)[solid]


def counted(shown: Tensor, truth: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the part of a rendering, its truth and a mask (rows, columns) that holds all pixels that count."""
    if mask is None:
        return shown, truth, None
    # Windows and features look at neighbours, hidden ones too: there the rendering counts as right.
    right = torch.where(mask[..., None], shown, truth)
    rows, columns = (sides.nonzero()[:, 0] for sides in (mask.any(1), mask.any(0)))
    part = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    return right[part], truth[part], mask[part]


def as_bytes(picture: Tensor | np.ndarray) -> np.ndarray:
    """Turn a picture of 0..1 into bytes."""
    return np.asarray(np.asarray(picture) * 255).round().astype(np.uint8)


def with_bar(trainer: L.Trainer, what: str, items: Collection[Item]) -> Iterator[Item]:
    """Go through items, with a progress bar where the training has one."""
    # Lightning's own bar counts its batches alone; this one is silent where that one is.
    bar = trainer.progress_bar_callback
    return iter(tqdm(items, desc=what, leave=False, disable=not isinstance(bar, TQDMProgressBar) or bar.is_disabled))
