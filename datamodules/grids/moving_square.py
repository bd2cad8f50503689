"""A generated video whose truth is known: the moving objects, and the background behind them."""

import numpy as np

DRIFT = 0.03  # amplitude of the slow change of the light, relative
NOISE = 2.0  # standard deviation [8-bit values]
RED = (0.95, 0.1, 0.1)  # of the square
YELLOW = (0.95, 0.9, 0.1)  # of the disc


def still_picture(side: int, random: np.random.Generator) -> np.ndarray:
    """Draw a smooth picture with texture, (side, side, 3) in 0.33..0.63: slow slopes and finer waves in random directions."""
    cycles = np.array([0.5, 1, 2, 4, 6, 8])  # per side
    heights = np.array([1, 1, 0.6, 0.4, 0.3, 0.2])[:, None]  # finer waves are lower, as in photographs
    turns, phases = random.uniform(0, 2 * np.pi, (2, len(cycles), 3))
    rows, columns = np.mgrid[:side, :side][..., None, None] / side
    along = rows * np.cos(turns) + columns * np.sin(turns)  # (side, side, waves, 3)
    waves = (heights * np.sin(2 * np.pi * cycles[:, None] * along + phases)).sum(-2)
    return 0.48 + 0.15 * waves / heights.sum()


def paths(frames: int, side: int, extents: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres of the two objects: one crosses the upper half to the right, the other the lower half to the left.

    Shapes: extents (2,) -> rows and columns, each (frames, 2).
    """
    share = ((np.arange(frames) + 0.5) / frames)[:, None]  # of the way
    room = side / 2 - extents  # so that both stay in their halves and never meet
    start, stop = random.uniform(0, 1, (2, 2)) * room + extents / 2 + [0, side / 2]
    across = -extents / 2 + share * (side + extents)  # from just outside to just outside
    return start + share * (stop - start), np.stack([across[:, 0], side - across[:, 1]], -1)


def moving_square(frames: int = 40, side: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make frames of a square and a disc that cross a still picture; that picture in each frame's light; masks of the two.

    The brightness of the background drifts by 3 %; the frames alone have sensor noise, of 2 grey levels. No pixel is covered
    in 30 % of the frames or more, so that the median over time is the background.

    Shapes: frames and background (frames, side, side, 3), bytes; foreground (frames, side, side), booleans.
    Raises: ValueError if there are too few frames or pixels for that.
    """
    if frames < 12 or side < 16:
        raise ValueError(f"A clip needs frames >= 12 and side >= 16, got frames={frames} and side={side}.")
    random = np.random.default_rng(seed)
    light = 1 + DRIFT * np.sin(2 * np.pi * (np.arange(frames) / frames + random.uniform()))
    background = light[:, None, None, None] * still_picture(side, random)
    extents = np.array([side / 5, side / 4])  # side of the square, diameter of the disc
    rows, columns = paths(frames, side, extents, random)
    centres = np.arange(side) + 0.5
    down = centres[None, :, None, None] - rows[:, None, None]  # (frames, side, 1, 2)
    right = centres[None, None, :, None] - columns[:, None, None]  # (frames, 1, side, 2)
    # The ball of the maximum norm is a square, that of the euclidean norm a disc.
    square = np.maximum(np.abs(down[..., 0]), np.abs(right[..., 0])) < extents[0] / 2
    disc = np.hypot(down[..., 1], right[..., 1]) < extents[1] / 2
    clean = np.where(square[..., None], RED, np.where(disc[..., None], YELLOW, background))
    noisy = (255 * clean + random.normal(0, NOISE, clean.shape)).round().clip(0, 255)
    return noisy.astype(np.uint8), (255 * background).round().astype(np.uint8), square | disc
