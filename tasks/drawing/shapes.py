"""Pictures of shapes: solids in the light, and sections through fields of distances, positive outside."""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from inr.shapes.ray_tracing import normals, orthographic, trace
from tasks.drawing.panels import pixels

Points = Callable[[Tensor], Tensor]
GREY = torch.tensor([0.86, 0.86, 0.88])  # of a surface seen from outside
RED = torch.tensor([0.90, 0.25, 0.15])  # of its inside, where normals point away
AMBIENT = 0.30  # brightness without any lamp
LAMP = 0.70  # of the lamp; with the first it makes white where a surface faces it
GLOW = 0.15  # from below, so that the lower half keeps its form
LIGHT = torch.tensor([-0.4, 0.6, 1.0])  # way to the lamp along (right, top, eye): over the viewer's left shoulder
GRAZING = 0.1  # cosine up to which a normal may seem to point away: at outlines it does
WIDTH = 2.6  # of a picture [half-widths of the cube]: what fills the cube is seen from any side, but for its corners
SLOPE = 1.5  # of the steepest field that rays expect: networks are steeper than distances, here and there
STEPS = 144  # of a ray at most, which such shorter ones need
FARTHEST = 2.0  # distances beyond are no longer told apart; in the cube, those to a shape that fills it are nearer
THIN = np.delete(np.linspace(-FARTHEST, FARTHEST, 41), 20)  # levels of thin lines: every 0.1 but zero
PLANES = (("z", "y"), ("x", "z"), ("x", "y"))  # axes across and upward of the sections x = 0, y = 0, z = 0
TICKS = np.linspace(-1, 1, 5)


class Pen(NamedTuple):
    """Colour, width [points] and dashes of lines."""

    colour: str
    width: float
    dashes: Literal["solid", "dashed"] = "solid"


ZERO = {"reconstruction": Pen("black", 1.8), "truth": Pen("limegreen", 1.4, "dashed")}


class View(NamedTuple):
    """A solid as a camera sees it: normals (size, size, 3), pixels that see it, and the rows (right, top, eye) of its axes."""

    normals: Tensor
    reached: Tensor
    axes: Tensor


def look_at(distance: Points, size: int, azimuth: float, elevation: float, up: str, normal: Points | None) -> View:
    """Trace the rays of an orthographic camera to the solid where the distance is negative."""
    origins, directions = orthographic(size, azimuth, elevation, WIDTH, up)
    points, reached = trace(distance, origins, directions, steps=STEPS, slope=SLOPE)
    found = torch.zeros_like(points)
    if reached.any():
        found[reached] = (normal or (lambda at: normals(distance, at)))(points[reached]).to(found)
    eye = -directions[0]
    top = F.normalize(origins[0] - origins[-size], dim=0)  # the first column, upward
    axes = torch.stack([torch.linalg.cross(top, eye), top, eye])
    return View(found.reshape(size, size, 3), reached.reshape(size, size), axes)


def shaded(
    distance: Points,
    size: int = 240,
    azimuth: float = 35.0,
    elevation: float = 25.0,
    up: str = "y",
    normal: Points | None = None,
) -> np.ndarray:
    """Draw a matt grey solid on white, lit from over the viewer's left shoulder and weakly from below.

    Where its normal points away from the viewer, which the inside of a surface does, it is red. The camera is that of
    `orthographic`: without azimuth x is to the right, with up="z" y. `normal` gives unit normals at points, by default
    differences of the distance.
    Shapes: distance (points, 3) -> (points,), normal (points, 3) -> (points, 3); the picture (size, size, 3) in 0..1.
    Units:  azimuth and elevation [degrees].
    """
    view = look_at(distance, size, azimuth, elevation, up, normal)
    lamp = F.normalize(LIGHT, dim=0) @ view.axes
    facing = view.normals @ view.axes[2]
    front = torch.where(facing[..., None] < 0, -view.normals, view.normals)  # both sides are lit
    # Lambert's law: a matt surface reflects by the cosine of the angle to the light, and nothing from behind.
    light = AMBIENT + LAMP * (front @ lamp).clamp(min=0) + GLOW * (front @ -view.axes[1]).clamp(min=0)
    colour = torch.where(facing[..., None] < -GRAZING, RED, GREY) * light.clamp(max=1)[..., None]
    return torch.where(view.reached[..., None], colour, 1.0).numpy()


def middle(volume: np.ndarray, axis: int) -> np.ndarray:
    """Cut a volume over x, y, z through its middle, across an axis; rows and columns of the plane are those of `PLANES`."""
    size = volume.shape[axis]
    plane = volume.take([(size - 1) // 2, size // 2], axis).mean(axis)  # of an even number of samples none is at 0
    return plane if axis == 0 else plane.T


def draw_lines(axis: Axes, plane: np.ndarray, levels: np.ndarray, pen: Pen) -> None:
    """Draw lines of equal distance, of the levels that occur: matplotlib warns of others."""
    finite = plane[np.isfinite(plane)]
    levels = levels[(levels > finite.min(initial=np.inf)) & (levels < finite.max(initial=-np.inf))]
    if len(levels):
        places = (np.linspace(-1, 1, side) for side in plane.T.shape)
        draw = partial(axis.contour, colors=pen.colour, linewidths=pen.width, linestyles=pen.dashes)
        draw(*places, np.ma.masked_invalid(plane), levels)


def sections(volume: np.ndarray, truth: np.ndarray | None = None, title: str = "") -> np.ndarray:
    """Draw the planes x = 0, y = 0 and z = 0 of a field of distances: colours, thin lines every 0.1, a bold line where it is 0.

    The zero line of the true distances, if given, is dashed over it.
    Shapes: volume and truth (n, n, n), each with its n, over x, y, z sampled at linspace(-1, 1, n) -> (rows, columns, 3).
    """
    fields = {"reconstruction": volume} | ({} if truth is None else {"truth": truth})
    planes = {name: [middle(field, axis) for axis in range(3)] for name, field in fields.items()}
    farthest = max(np.abs(plane[np.isfinite(plane)]).max(initial=0) for plane in planes["reconstruction"])
    limit = min(farthest, FARTHEST) or 1.0
    figure = Figure(figsize=(11.5, 3.9), dpi=110, layout="constrained")
    axes = figure.subplots(1, 3)
    for place, (axis, (across, upward)) in enumerate(zip(axes, PLANES, strict=True)):
        plane = planes["reconstruction"][place]
        edge = 1 + 1 / (len(plane) - 1)  # samples are in the middle of pixels
        extent = (-edge, edge, -edge, edge)
        picture = axis.imshow(plane, cmap="RdBu", vmin=-limit, vmax=limit, origin="lower", extent=extent)
        draw_lines(axis, plane, THIN, Pen("0.35", 0.4))
        for name in fields:
            draw_lines(axis, planes[name][place], np.zeros(1), ZERO[name])
        axis.set(title=f"{'xyz'[place]} = 0", xlabel=across, ylabel=upward)
        axis.set(xlim=(-1, 1), ylim=(-1, 1), xticks=TICKS, yticks=TICKS)
    beyond = "both" if farthest > limit else "neither"
    figure.colorbar(picture, ax=list(axes), label="distance [half-widths of the cube]", extend=beyond)
    pens = [ZERO[name] for name in fields]
    handles = [Line2D([], [], color=pen.colour, linewidth=pen.width, linestyle=pen.dashes) for pen in pens]
    figure.legend(handles, list(fields), loc="outside upper left", ncols=2, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return pixels(figure)
