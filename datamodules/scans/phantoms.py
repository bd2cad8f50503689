"""Generated slices with exact line integrals: sums of ellipses, the head of Shepp and Logan and others like it."""

from dataclasses import dataclass

import numpy as np

from datamodules.common.files import require
from inr.randomness import key

HEAD = np.array(  # density, half-axes, centre, degrees
    [
        [1.0, 0.69, 0.92, 0.0, 0.0, 0.0],  # skull
        [-0.8, 0.6624, 0.874, 0.0, -0.0184, 0.0],  # brain, which leaves a ring of the skull
        [-0.2, 0.11, 0.31, 0.22, 0.0, -18.0],  # ventricles
        [-0.2, 0.16, 0.41, -0.22, 0.0, 18.0],
        [0.1, 0.21, 0.25, 0.0, 0.35, 0.0],
        [0.1, 0.046, 0.046, 0.0, 0.1, 0.0],
        [0.1, 0.046, 0.046, 0.0, -0.1, 0.0],
        [0.1, 0.046, 0.023, -0.08, -0.605, 0.0],
        [0.1, 0.023, 0.023, 0.0, -0.606, 0.0],
        [0.1, 0.023, 0.046, 0.06, -0.605, 0.0],
    ]
)
# How far a part may go: growth of density and of half-axes, centre either way, degrees either way. Brain and ventricles only
# shrink and pale: the ring stays closed, and no density falls below 0.
FREEDOM = np.array(
    [
        [0.0, 0.0, 0.0, 0.0],  # skull: only with the whole head
        [-0.08, -0.05, 0.006, 0.0],
        [-0.4, -0.4, 0.03, 6.0],
        [1.0, -0.35, 0.04, 15.0],
        [1.0, 0.6, 0.04, 0.0],
        [1.0, 0.6, 0.03, 0.0],
    ]
).repeat([1, 1, 2, 1, 2, 3], axis=0)
LESIONS = 3  # at most
LESION_REACH = 0.75  # share of the brain's half-axes that their centres stay within, so that they do not touch the skull
LESION_DENSITY = (0.08, 0.25)  # least and most, above a brain of 0.2
LESION_AXES = (0.02, 0.08)  # shortest and longest [half-widths]
NARROWEST = (0.9, 0.88)  # of the whole head, times Shepp and Logan's (width, height)
WIDEST = (1.1, 1.0)  # the same: the tallest just fills the disc
TILT = 15.0  # of the whole head, either way [degrees]
SHIFT = 0.05  # of the whole head, either way [half-widths]
GAIN = 0.1  # of all densities, either way


@dataclass(frozen=True)
class Ellipses:
    """A picture on [-1, 1]^2 that is a sum of filled ellipses.

    Shapes: density (ellipses,), axes (ellipses, 2), centres (ellipses, 2) = (x to the right, y up), angles (ellipses,)
    Units:  half-axes and centres [half-widths]; angles [radians] from x to the first half-axis, towards y.
    """

    density: np.ndarray
    axes: np.ndarray
    centres: np.ndarray
    angles: np.ndarray


def ellipses_of(table: np.ndarray) -> Ellipses:
    """Take the ellipses from a table (ellipses, 6) of density, half-axes, centre and degrees."""
    return Ellipses(table[:, 0], table[:, 1:3], table[:, 3:5], np.deg2rad(table[:, 5]))


def shepp_logan() -> Ellipses:
    """Make the head of Shepp and Logan in ten ellipses, with the densities of Toft, whose contrast the eye can see.

    Source: Shepp & Logan, The Fourier Reconstruction of a Head Section (1974); Toft, The Radon Transform (1996), appendix B.
    """
    return ellipses_of(HEAD.copy())


def random_phantom(seed: int, variant: int, jitter: float = 1.0) -> Ellipses:
    """Make another patient's head: its size, place and tilt, every part of Shepp and Logan's, and up to three lesions vary.

    It stays in the unit disc, its values in 0..1.2. `jitter` scales every change; at 0 it is Shepp and Logan's head.

    Raises: InputError if jitter leaves 0..1, or for a variant that is none.
    """
    whole = isinstance(variant, int) and variant >= 0
    require("variant of a phantom", whole, "must be a whole number, at least 0", variant)
    rule = "must lie in 0..1, where 1 is as far as its parts may go"
    require("jitter of a phantom", 0 <= jitter <= 1, rule, jitter)
    random = np.random.default_rng(key(seed, variant, "phantom"))
    head = vary(random, jitter)
    return ellipses_of(pose(np.concatenate([head, lesions(random, head[1], jitter)]), random, jitter))


def vary(random: np.random.Generator, jitter: float) -> np.ndarray:
    """Change every part of Shepp and Logan's head for itself, as a table (ellipses, 6)."""
    head = HEAD.copy()
    count = len(HEAD)
    denser, larger, away, turned = (jitter * FREEDOM).T[..., None]
    head[:, :1] *= 1 + denser * random.random((count, 1))
    head[:, 1:3] *= 1 + larger * random.random((count, 2))
    head[:, 3:5] += away * random.uniform(-1, 1, (count, 2))
    head[:, 5:] += turned * random.uniform(-1, 1, (count, 1))
    return head


def lesions(random: np.random.Generator, brain: np.ndarray, jitter: float) -> np.ndarray:
    """Draw small bright ellipses evenly over the inner part of the brain, as a table (ellipses, 6)."""
    count = round(jitter * random.integers(LESIONS + 1))
    turns = random.uniform(0, 2 * np.pi, count)
    # The square root: a ring of a disc has an area in proportion to its radius, so that even points lie farther out.
    reach = LESION_REACH * np.sqrt(random.random((count, 1)))
    centres = brain[3:5] + brain[1:3] * reach * np.stack([np.cos(turns), np.sin(turns)], -1)
    density = random.uniform(*LESION_DENSITY, count)
    degrees = random.uniform(0, 180, count)
    axes = random.uniform(*LESION_AXES, (count, 2))
    return np.column_stack([density, axes, centres, degrees])


def pose(table: np.ndarray, random: np.random.Generator, jitter: float) -> np.ndarray:
    """Put ellipses of a table (ellipses, 6) through one gain, stretch, tilt and shift of the whole.

    Half-axes are stretched as if the ellipses were upright, which a turned one is no longer exactly.
    """
    stretch = 1 + jitter * (random.uniform(NARROWEST, WIDEST) - 1)
    tilt, gain = jitter * random.uniform(-1, 1, 2) * [TILT, GAIN]
    cos = np.cos(np.deg2rad(tilt))
    sin = np.sin(np.deg2rad(tilt))
    x, y = (table[:, 3:5] * stretch).T
    centres = np.stack([cos * x - sin * y, sin * x + cos * y], -1) + jitter * random.uniform(-SHIFT, SHIFT, 2)
    return np.column_stack([table[:, 0] * (1 + gain), table[:, 1:3] * stretch, centres, table[:, 5] + tilt])


def chords(ellipses: Ellipses, index: int, offset: np.ndarray, angle: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle of each line's chord of one ellipse, measured along the line, and its half length, 0 beside it.

    Shapes: offset and angle, which may be broadcast -> both of their common shape
    """
    a, b = ellipses.axes[index]
    x, y = ellipses.centres[index]
    turn = ellipses.angles[index]
    cos = np.cos(angle - turn)
    sin = np.sin(angle - turn)
    # A line is away * (cos, sin) + t * (sin, -cos) in the frame of the ellipse, t counted from the foot of its centre. In
    # (p / a)^2 + (q / b)^2 = 1 this gives the quadratic square * t^2 + 2 * away * sin * cos * (1 / a^2 - 1 / b^2) * t +
    # away^2 * ((cos / a)^2 + (sin / b)^2) = 1, whose roots are the ends of the chord: their mean is its middle, and by
    # sin^2 + cos^2 = 1 the discriminant becomes square - (away / (a b))^2.
    away = offset - x * np.cos(angle) - y * np.sin(angle)
    foot = x * np.sin(angle) - y * np.cos(angle)
    square = (sin / a) ** 2 + (cos / b) ** 2
    middle = foot - away * sin * cos * (a**-2 - b**-2) / square
    return middle, np.sqrt(np.maximum(square - (away / (a * b)) ** 2, 0)) / square


def line_integrals(ellipses: Ellipses, offset: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Integrate exactly along lines x cos(angle) + y sin(angle) = offset, with y up: density times chord, part by part.

    Shapes: offset and angle, which may be broadcast -> their common shape
    Units:  offset [half-widths], angle [radians]; integrals [value x half-width].
    """
    total = np.zeros(np.broadcast_shapes(np.shape(offset), np.shape(angle)))
    for index, density in enumerate(ellipses.density):
        total += 2 * density * chords(ellipses, index, offset, angle)[1]
    return total


def rasterise(ellipses: Ellipses, size: int, oversampling: int = 4, finer: int = 1) -> np.ndarray:
    """Make the picture in pixels: means over oversampling^2 points, evenly over each pixel.

    Corner pixels have their centres on the corners of [-1, 1]^2, the first row at y = 1.

    finer: parts that each pixel is cut into along both axes, so that its value is the mean of theirs.
    Shapes: (finer x size, finer x size), float32
    Raises: InputError for less than two pixels a side or less than one point a pixel.
    """
    for name, value, least in (("size", size, 2), ("oversampling", oversampling, 1), ("finer", finer, 1)):
        whole = isinstance(value, int) and value >= least
        require(f"{name} of a phantom", whole, f"must be a whole number, at least {least}", value)
    pixel = 2 / (size - 1)
    size *= finer
    points = -1 + pixel * ((np.arange(size * oversampling) + 0.5) / (finer * oversampling) - 0.5)
    before = oversampling * np.arange(size)  # points of a row left of each part
    picture = np.zeros((size, size))
    for index, density in enumerate(ellipses.density):
        middle, half = chords(ellipses, index, -points[:, None], np.pi / 2)  # along x
        # An ellipse covers one stretch of each row of points, which counts them without visiting them.
        start = np.searchsorted(points, middle - half)
        stop = np.searchsorted(points, middle + half)
        covered = (stop - before).clip(0, oversampling) - (start - before).clip(0, oversampling)
        picture += density / oversampling**2 * covered.reshape(size, oversampling, size).sum(1)
    return picture.astype(np.float32)
