"""Generated shapes: a ring with a bump, thicker on one side, and others of its family."""

from dataclasses import dataclass

import numpy as np

from datamodules.shapes.frame import frame_of
from inr.errors import InputError
from inr.randomness import key
from inr.shapes.meshes import Mesh


@dataclass(frozen=True)
class Ring:
    """A torus around z whose tube gets thicker by a bump, and by a swell all the way round to one side.

    Bump and swell are on different sides, so that no mirror leaves it as it is: a result that is mirrored shows.
    """

    tube: float = 0.36  # its radius [that of the ring]
    bump: float = 0.5  # its height [radius of the tube]
    around: float = 0.9  # its place along the ring [radians]
    across: float = 0.8  # its place on the tube, from the outside towards z [radians]
    width: float = 0.45  # its standard deviation [radians]
    swell: float = 0.15  # its height [radius of the tube]
    side: float = 3.0  # its place along the ring [radians]


def mesh_of(ring: Ring, around: int, across: int) -> Mesh:
    """Make a ring in the cube as a closed mesh of around * across vertices, the longest side of its box 1.8.

    Raises: InputError for fewer than three vertices either way.
    """
    if min(around, across) < 3:
        raise InputError(f"A torus needs 3 vertices or more around and across, got {around} and {across}.")
    u, v = np.meshgrid(np.arange(around) * 2 * np.pi / around, np.arange(across) * 2 * np.pi / across, indexing="ij")
    # The bump is a gaussian on the ring: cos x - 1 = -x^2 / 2 where x is small, but periodic, so that it has no seam.
    nearness = (np.cos(u - ring.around) + np.cos(v - ring.across) - 2) / ring.width**2
    tube = ring.tube * (1 + ring.swell * np.cos(u - ring.side)) * (1 + ring.bump * np.exp(nearness))
    reach = 1 + tube * np.cos(v)
    vertices = np.stack([reach * np.cos(u), reach * np.sin(u), tube * np.sin(v)], -1).reshape(-1, 3)
    # Two triangles per cell of the (u, v) lattice, which closes on itself both ways. d/du x d/dv points out of the tube, so
    # that corners in the order of growing u, then v, are counter-clockwise seen from outside.
    here = np.arange(around * across).reshape(around, across)
    ahead = np.roll(here, -1, 0)
    above = np.roll(here, -1, 1)
    both = np.roll(ahead, -1, 1)
    faces = np.stack([np.stack([here, ahead, both], -1), np.stack([here, both, above], -1)], 2).reshape(-1, 3)
    return Mesh(frame_of(vertices).to_unit(vertices), faces)


def torus(around: int = 128, across: int = 64) -> Mesh:
    """Make the ring with a bump that comes with the project."""
    return mesh_of(Ring(), around, across)


def torus_family(variant: int, seed: int = 0, around: int = 128, across: int = 64) -> Mesh:
    """Make another ring: thickness, bump and swell vary, evenly within bounds in which no ring meets itself.

    Raises: InputError for a variant that is none.
    """
    if not isinstance(variant, int) or variant < 0:
        raise InputError(f"variant of a torus must be a whole number, at least 0, got {variant}.")
    random = np.random.default_rng(key(seed, variant, "torus"))
    # The thickest tube has the radius 0.45 * 1.25 * 1.6 = 0.9, below that of the ring: a hole is left in the middle.
    low = Ring(tube=0.22, bump=0.2, around=0.0, across=-np.pi, width=0.35, swell=0.0, side=0.0)
    high = Ring(tube=0.45, bump=0.6, around=2 * np.pi, across=np.pi, width=0.6, swell=0.25, side=2 * np.pi)
    return mesh_of(Ring(*random.uniform(tuple(vars(low).values()), tuple(vars(high).values()))), around, across)
