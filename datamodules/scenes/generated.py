"""A generated scene with exact colours: balls on a checkered floor, ray-traced from all sides."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.typing import ArrayLike

from datamodules.common.files import require
from datamodules.scenes.camera_paths import look_at, orbit
from datamodules.scenes.capture import Capture, backdrop, hold_out_every, rays
from datamodules.scenes.lenses import pinhole
from datamodules.scenes.scene_data import OneScene

TOP = -0.5  # height of the floor, a disc, in the cube [-1, 1]^3
BOTTOM = -0.58  # of the disc
RIM = 0.95  # radius of the disc
TILE = 0.3  # side of a tile
TILES = np.array([[0.93, 0.89, 0.80], [0.37, 0.43, 0.52]])  # colours of tiles
PAINTS = np.array(
    [[0.90, 0.26, 0.21], [0.98, 0.74, 0.18], [0.16, 0.55, 0.86], [0.20, 0.66, 0.42], [0.56, 0.33, 0.72], [0.94, 0.50, 0.62]]
)  # colours of balls
LIGHT = np.array([0.45, -0.35, 0.82]) / np.linalg.norm([0.45, -0.35, 0.82])  # direction towards the lamp
AMBIENT = 0.45  # share of the light that comes from all around
CLEAR = 1e-6  # multiple of a direction below which a ray still is where it starts
LIFTED = 1e-4  # height above a surface from which its light is looked for, so that it does not shade itself
TINY = 1e-30  # divides in place of the zero of a vertical ray
DISTANCE = 3.2  # of cameras from the target
HALF_ANGLE = np.deg2rad(18.0)  # that cameras see to each side
TARGET = (0.0, 0.0, -0.3)  # that cameras look at
AXIAL = (DISTANCE**2 - TARGET[2] ** 2) ** 0.5  # the origin's depth at least: cameras look a bit past it
LOWEST = np.deg2rad(15.0)  # elevation of the first camera
HIGHEST = np.deg2rad(70.0)  # of the last
GOLDEN = np.pi * (3 - 5**0.5)  # golden angle from camera to camera [rad], which leaves the most even gaps
CORNER = 3**0.5  # half diagonal of the cube
RAYS = 3  # of a pixel along each side


@dataclass(frozen=True)
class Balls:
    """The places, sizes and colours of some balls.

    Shapes: centres (balls, 3), radii (balls,), colours (balls, 3)
    """

    centres: np.ndarray
    radii: np.ndarray
    colours: np.ndarray


@cache
def balls_of(variant: int) -> Balls:
    """Put balls on the floor without touching: a large one near the middle and smaller ones around it."""
    random = np.random.default_rng(variant)
    around = 3 + variant % 2 if variant else 4
    # Directions of the small balls differ by more than their widths at that distance: none touches another.
    radii = np.append(random.uniform(0.28, 0.34), random.uniform(0.13, 0.23, around))
    angles = random.uniform(0, 2 * np.pi) + 2 * np.pi * (np.arange(around) + random.uniform(-0.12, 0.12, around)) / around
    reach = random.uniform(0.60, RIM - 0.05 - radii[1:])
    centres = np.zeros((around + 1, 3))
    centres[1:, 0] = reach * np.cos(angles)
    centres[1:, 1] = reach * np.sin(angles)
    centres[:, 2] = TOP + radii
    return Balls(centres, radii, PAINTS[random.permutation(len(PAINTS))[: around + 1]])


def meet_balls(balls: Balls, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Return the distances at which rays enter each ball, in multiples of the direction; inf where they do not.

    Shapes: (..., 3) and (..., 3) -> (..., balls)
    """
    # |o + t d - c|^2 = r^2 is the quadratic |d|^2 t^2 + 2 h t + |o - c|^2 - r^2 = 0 with h = d . (o - c): its smaller root.
    away = origins[..., None, :] - balls.centres
    length = np.square(directions).sum(-1, keepdims=True)
    half = (origins * directions).sum(-1, keepdims=True) - directions @ balls.centres.T
    inside = np.square(half) - length * (np.square(away).sum(-1) - np.square(balls.radii))
    entry = (-half - np.sqrt(np.maximum(inside, 0))) / length
    return np.where((inside > 0) & (entry > CLEAR), entry, np.inf)


def meet_floor(origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances at which rays enter the disc, in multiples of the direction; and if by a face, not by the rim.

    Shapes: (..., 3) and (..., 3) -> (...,) and (...,)
    """
    # The disc is where a slab and a cylinder overlap: a ray is in both from the later entry to the earlier exit.
    down = directions[..., 2]
    out = directions[..., :2]
    with np.errstate(divide="ignore", invalid="ignore"):
        faces = np.sort(np.stack([(TOP - origins[..., 2]) / down, (BOTTOM - origins[..., 2]) / down]), 0)
        length = np.maximum(np.square(out).sum(-1), TINY)
        half = (origins[..., :2] * out).sum(-1)
        root = np.sqrt(np.square(half) - length * (np.square(origins[..., :2]).sum(-1) - RIM**2))
        sides = np.stack([-half - root, -half + root]) / length  # nan beside the disc, which no comparison holds for
    entry = np.maximum(faces[0], sides[0])
    leave = np.minimum(faces[1], sides[1])
    return np.where((entry < leave) & (entry > CLEAR), entry, np.inf), faces[0] >= sides[0]


def trace(
    origins: ArrayLike, directions: ArrayLike, variant: int = 0, background: str | Sequence[float] = "white"
) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours of the first things that rays hit, and their depths.

    A surface is matt: its colour depends on the light that falls on it, which a ball may keep off, not on the viewer.

    Shapes: origins and directions (..., 3), which may be broadcast -> (..., 3) and (...,)
    Units:  colours 0..1; depth in multiples of the direction, inf where nothing is hit.
    """
    balls = balls_of(variant)
    starts = np.asarray(origins, np.float64)
    ways = np.asarray(directions, np.float64)
    entries = meet_balls(balls, starts, ways)
    floor, through_face = meet_floor(starts, ways)
    nearest = entries.argmin(-1)
    depth = np.minimum(entries.min(-1), floor)
    colours = np.broadcast_to(backdrop(background), (*depth.shape, 3)).copy()
    hit = np.isfinite(depth)
    starts = np.broadcast_to(starts, colours.shape)[hit]
    points = starts + depth[hit, None] * np.broadcast_to(ways, colours.shape)[hit]
    on_floor = (floor <= depth)[hit]
    normals, paint = surface(balls, points, nearest[hit], on_floor, np.broadcast_to(through_face, depth.shape)[hit])
    colours[hit] = paint * brightness(balls, points, normals)[:, None]
    return colours, depth


def surface(
    balls: Balls, points: np.ndarray, nearest: np.ndarray, on_floor: np.ndarray, on_face: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return normals and colours of surfaces at points.

    Shapes: points (points, 3), the others (points,) -> (points, 3) and (points, 3)
    """
    normals = (points - balls.centres[nearest]) / balls.radii[nearest, None]
    faces = np.array([0.0, 0.0, 1.0]) * np.where(points[:, 2:] > (TOP + BOTTOM) / 2, 1.0, -1.0)
    rims = points * [1.0, 1.0, 0.0] / RIM
    normals = np.where(on_floor[:, None], np.where(on_face[:, None], faces, rims), normals)
    # Tiles whose two indices add up to an even number are light; the half centres one at the origin.
    tiles = np.floor(points[:, :2] / TILE + 0.5).astype(int).sum(-1) % 2
    return normals, np.where(on_floor[:, None], TILES[tiles], balls.colours[nearest])


def brightness(balls: Balls, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Return the brightness of white there: light from all around, and from the lamp where nothing is in between.

    Shapes: (points, 3) and (points, 3) -> (points,)
    """
    towards = (normals @ LIGHT).clip(0)  # the cosine law of a matt surface
    lit = towards > 0
    towards[lit] *= ~np.isfinite(meet_balls(balls, points[lit] + LIFTED * normals[lit], LIGHT)).any(-1)
    return AMBIENT + (1 - AMBIENT) * towards


def cameras(size: int, views: int) -> tuple[np.ndarray, np.ndarray]:
    """Return poses on an upper hemisphere, higher and higher, each a golden angle further round; and their intrinsics.

    Shapes: (views, 3, 4) and (views, 4)
    """
    # Equal steps in elevation and golden angles in azimuth: whichever views are held out, some trained nearby.
    heights = LOWEST + (HIGHEST - LOWEST) * np.arange(views) / max(1, views - 1)
    turns = GOLDEN * np.arange(views)
    places = np.stack([np.cos(heights) * np.cos(turns), np.cos(heights) * np.sin(turns), np.sin(heights)], -1)
    focal = np.full((views, 2), 0.5 * size / np.tan(HALF_ANGLE))
    centre = np.full((views, 2), size / 2)
    return look_at(DISTANCE * places, TARGET), pinhole(focal, centre, 0.5)


@cache
def render(size: int, views: int, background: tuple[float, float, float], variant: int) -> np.ndarray:
    """Return pictures of all views, each pixel the mean of 3 x 3 rays.

    Shapes: (views, size, size, 3), bytes.
    """
    # Pixel k reaches from k - 1/2 to k + 1/2 in these coordinates, and its rays pass the middles of its thirds.
    sides = (np.arange(RAYS * size) + 0.5) / RAYS - 0.5
    coordinates = np.stack(np.meshgrid(sides, sides, indexing="ij"), -1)
    pictures = np.empty((views, size, size, 3), np.uint8)
    for picture, pose, intrinsics in zip(pictures, *cameras(size, views), strict=True):
        colours, _ = trace(*rays(pose, intrinsics, coordinates), variant, background)
        means = colours.reshape(size, RAYS, size, RAYS, 3).mean((1, 3))
        picture[:] = (255 * means).round()
    return pictures


def picture_of(pictures: np.ndarray, view: int) -> np.ndarray:
    """Return one of the pictures, for its reader to change."""
    return pictures[view].copy()


def camera_path(frames: int) -> np.ndarray:
    """Return poses (frames, 3, 4) on a circle half way up."""
    height = (LOWEST + HIGHEST) / 2.5  # 34 degrees, a bit below the middle
    return orbit(frames, DISTANCE * float(np.cos(height)), DISTANCE * float(np.sin(height)), TARGET)


@dataclass(kw_only=True, eq=False)
class GeneratedScene(OneScene):
    """Four or five balls on a checkered floor inside [-1, 1]^3, z up: exact colours that do not depend on the viewer.

    The light is one far lamp and some from all around; shadows are hard. Rays pass the middles of pixels.

    Raises: InputError for sizes or variants that are none, or too few views.
    """

    size: int = 100  # side of the photographs [pixels]
    views: int = 24  # number of photographs
    hold_every: int = 6  # every so many-th view tests
    background: str | Sequence[float] = "white"  # of rays that hit nothing: white, black, grey or three numbers in 0..1
    variant: int = 0  # one of many such scenes

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value, least in (("size", self.size, 2), ("views", self.views, 3), ("variant", self.variant, 0)):
            whole = isinstance(value, int) and value >= least
            require(f"{name} of the generated capture", whole, f"must be a whole number, at least {least}", value)
        self.backdrop = backdrop(self.background)

    def capture(self) -> Capture:
        """Render all photographs, once per process."""
        train, test = hold_out_every(self.views, self.hold_every)
        poses, intrinsics = cameras(self.size, self.views)
        digits = max(2, len(str(self.views - 1)))
        return Capture(
            names=tuple(f"view_{view:0{digits}d}" for view in range(self.views)),
            size=(self.size, self.size),
            read=partial(picture_of, render(self.size, self.views, self.backdrop, self.variant)),
            poses=poses,
            intrinsics=intrinsics,
            train=train,
            test=test,
            near=AXIAL - CORNER,
            far=DISTANCE + CORNER,
            box=True,
            background=self.backdrop,
            path=camera_path,
            world=np.eye(4),
        )
