"""A generated scene with exact colours: spheres on a checkered floor, seen from all sides."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.typing import ArrayLike

from datamodules.scenes.camera_paths import look_at, orbit
from datamodules.scenes.capture import Capture, backdrop, every, pinhole, rays
from inr.errors import InputError

TOP, BOTTOM, RIM = -0.5, -0.58, 0.95  # of the floor, a disc
TILE = 0.3
TILES = np.array([[0.93, 0.89, 0.80], [0.37, 0.43, 0.52]])
PAINTS = np.array(
    [[0.90, 0.26, 0.21], [0.98, 0.74, 0.18], [0.16, 0.55, 0.86], [0.20, 0.66, 0.42], [0.56, 0.33, 0.72], [0.94, 0.50, 0.62]]
)
LIGHT = np.array([0.45, -0.35, 0.82]) / np.linalg.norm([0.45, -0.35, 0.82])  # whence it comes
AMBIENT, CLEAR, TINY = 0.45, 1e-6, 1e-30
DISTANCE, HALF_ANGLE, TARGET = 3.2, np.deg2rad(18.0), (0.0, 0.0, -0.3)
AXIAL = (DISTANCE**2 - TARGET[2] ** 2) ** 0.5  # the origin's depth at least: cameras look a bit past it
LOWEST, HIGHEST, GOLDEN = np.deg2rad(15.0), np.deg2rad(70.0), np.pi * (3 - 5**0.5)
CORNER, RAYS = 3**0.5, 3  # the half diagonal of the box; rays of a pixel along each side


@dataclass(frozen=True)
class Spheres:
    """Where spheres are, how large, and of what colour.

    Shapes: centres (spheres, 3), radii (spheres,), colours (spheres, 3)
    """

    centres: np.ndarray
    radii: np.ndarray
    colours: np.ndarray


@cache
def scene(variant: int) -> Spheres:
    """Spheres that stand on the floor without touching: a large one near the middle and smaller ones around it."""
    random = np.random.default_rng(variant)
    around = 3 + variant % 2 if variant else 4
    radii = np.append(random.uniform(0.28, 0.34), random.uniform(0.13, 0.23, around))
    angles = random.uniform(0, 2 * np.pi) + 2 * np.pi * (np.arange(around) + random.uniform(-0.12, 0.12, around)) / around
    reach = random.uniform(0.60, RIM - 0.05 - radii[1:])
    centres = np.zeros((around + 1, 3))
    centres[1:, 0], centres[1:, 1] = reach * np.cos(angles), reach * np.sin(angles)
    centres[:, 2] = TOP + radii
    return Spheres(centres, radii, PAINTS[random.permutation(len(PAINTS))[: around + 1]])


def meet_spheres(spheres: Spheres, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Where rays enter each sphere, in multiples of the direction; inf where they do not.

    Shapes: (..., 3) and (..., 3) -> (..., spheres)
    """
    away = origins[..., None, :] - spheres.centres
    length = np.square(directions).sum(-1, keepdims=True)
    half = (origins * directions).sum(-1, keepdims=True) - directions @ spheres.centres.T
    inside = np.square(half) - length * (np.square(away).sum(-1) - np.square(spheres.radii))
    entry = (-half - np.sqrt(np.maximum(inside, 0))) / length
    return np.where((inside > 0) & (entry > CLEAR), entry, np.inf)


def meet_floor(origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where rays enter the disc, in multiples of the direction, and whether they do so through a face, not the rim.

    Shapes: (..., 3) and (..., 3) -> (...,) and (...,)
    """
    down, out = directions[..., 2], directions[..., :2]
    with np.errstate(divide="ignore", invalid="ignore"):
        faces = np.sort(np.stack([(TOP - origins[..., 2]) / down, (BOTTOM - origins[..., 2]) / down]), 0)
        length, half = np.maximum(np.square(out).sum(-1), TINY), (origins[..., :2] * out).sum(-1)
        root = np.sqrt(np.square(half) - length * (np.square(origins[..., :2]).sum(-1) - RIM**2))
        sides = np.stack([-half - root, -half + root]) / length  # nan beside the disc
    entry, leave = np.maximum(faces[0], sides[0]), np.minimum(faces[1], sides[1])
    return np.where((entry < leave) & (entry > CLEAR), entry, np.inf), faces[0] >= sides[0]


def trace(
    origins: ArrayLike, directions: ArrayLike, variant: int = 0, background: str | Sequence[float] = "white"
) -> tuple[np.ndarray, np.ndarray]:
    """What rays see: colours of the first thing that they hit, and its depth.

    A surface is matt: its colour depends on the light that falls on it, which a sphere may keep off, not on who looks.

    Shapes: origins and directions (..., 3), which may be broadcast -> (..., 3) and (...,)
    Units:  colours 0..1; depth in multiples of the direction, inf where nothing is hit.
    """
    spheres, starts, ways = scene(variant), np.asarray(origins, np.float64), np.asarray(directions, np.float64)
    entries = meet_spheres(spheres, starts, ways)
    floor, through_face = meet_floor(starts, ways)
    nearest = entries.argmin(-1)
    depth = np.minimum(entries.min(-1), floor)
    colours = np.broadcast_to(backdrop(background), (*depth.shape, 3)).copy()
    hit = np.isfinite(depth)
    starts = np.broadcast_to(starts, colours.shape)[hit]
    points = starts + depth[hit, None] * np.broadcast_to(ways, colours.shape)[hit]
    on_floor = (floor <= depth)[hit]
    normals, paint = surface(spheres, points, nearest[hit], on_floor, np.broadcast_to(through_face, depth.shape)[hit])
    colours[hit] = paint * brightness(spheres, points, normals)[:, None]
    return colours, depth


def surface(
    spheres: Spheres, points: np.ndarray, nearest: np.ndarray, on_floor: np.ndarray, on_face: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Normals and colours of surfaces at points.

    Shapes: points (points, 3), the others (points,) -> (points, 3) and (points, 3)
    """
    normals = (points - spheres.centres[nearest]) / spheres.radii[nearest, None]
    faces = np.array([0.0, 0.0, 1.0]) * np.where(points[:, 2:] > (TOP + BOTTOM) / 2, 1.0, -1.0)
    rims = points * [1.0, 1.0, 0.0] / RIM
    normals = np.where(on_floor[:, None], np.where(on_face[:, None], faces, rims), normals)
    tiles = np.floor(points[:, :2] / TILE + 0.5).astype(int).sum(-1) % 2
    return normals, np.where(on_floor[:, None], TILES[tiles], spheres.colours[nearest])


def brightness(spheres: Spheres, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """How bright white would be there: light from all around, and from one side where nothing is in between.

    Shapes: (points, 3) and (points, 3) -> (points,)
    """
    towards = (normals @ LIGHT).clip(0)
    lit = towards > 0
    towards[lit] *= ~np.isfinite(meet_spheres(spheres, points[lit] + 1e-4 * normals[lit], LIGHT)).any(-1)
    return AMBIENT + (1 - AMBIENT) * towards


def cameras(size: int, views: int) -> tuple[np.ndarray, np.ndarray]:
    """Poses on the upper half of a sphere, higher and higher, each a golden angle further round; and their intrinsics.

    Shapes: (views, 3, 4) and (views, 4)
    """
    heights = LOWEST + (HIGHEST - LOWEST) * np.arange(views) / max(1, views - 1)
    turns = GOLDEN * np.arange(views)
    places = np.stack([np.cos(heights) * np.cos(turns), np.cos(heights) * np.sin(turns), np.sin(heights)], -1)
    focal, centre = np.full((views, 2), 0.5 * size / np.tan(HALF_ANGLE)), np.full((views, 2), size / 2)
    return look_at(DISTANCE * places, TARGET), pinhole(focal, centre, 0.5)


@cache
def render(size: int, views: int, background: tuple[float, float, float], variant: int) -> np.ndarray:
    """Pictures of all views, each pixel the mean of 3 x 3 rays.

    Shapes: (views, size, size, 3), bytes.
    """
    sides = (np.arange(RAYS * size) + 0.5) / RAYS - 0.5
    coordinates = np.stack(np.meshgrid(sides, sides, indexing="ij"), -1)
    pictures = np.empty((views, size, size, 3), np.uint8)
    for picture, pose, intrinsics in zip(pictures, *cameras(size, views), strict=True):
        colours, _ = trace(*rays(pose, intrinsics, coordinates), variant, background)
        means = colours.reshape(size, RAYS, size, RAYS, 3).mean((1, 3))
        picture[:] = (255 * means).round()
    return pictures


def picture_of(pictures: np.ndarray, view: int) -> np.ndarray:
    """One of the pictures, for its reader to change."""
    return pictures[view].copy()


def film(frames: int) -> np.ndarray:
    """Poses (frames, 3, 4) on a circle half way up."""
    height = (LOWEST + HIGHEST) / 2.5
    return orbit(frames, DISTANCE * float(np.cos(height)), DISTANCE * float(np.sin(height)), TARGET)


def read_spheres(
    size: int = 100, views: int = 24, hold_every: int = 6, background: str | Sequence[float] = "white", variant: int = 0
) -> Capture:
    """A generated capture: four or five spheres on a checkered floor, inside [-1, 1]^3, z up.

    Every `hold_every`-th view tests. Each `variant` is another scene. The light is one far lamp and some from all around;
    shadows are hard, and colours do not depend on who looks.

    Units:  size [pixels] of each side.
    Raises: InputError for sizes or variants that are none, or too few views.
    """
    for name, value, least in (("size", size, 2), ("views", views, 3), ("variant", variant, 0)):
        if not isinstance(value, int) or value < least:
            raise InputError(f"{name} of the generated capture must be a whole number, at least {least}, got {value}.")
    colour, (train, test) = backdrop(background), every(views, hold_every)
    poses, intrinsics = cameras(size, views)
    digits = max(2, len(str(views - 1)))
    return Capture(
        names=tuple(f"view_{view:0{digits}d}" for view in range(views)),
        size=(size, size),
        read=partial(picture_of, render(size, views, colour, variant)),
        poses=poses,
        intrinsics=intrinsics,
        train=train,
        test=test,
        near=AXIAL - CORNER,
        far=DISTANCE + CORNER,
        ndc=None,
        box=True,
        background=colour,
        path=film,
        world=np.eye(4),
    )
