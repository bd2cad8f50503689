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

    Bump and swell are on different sides, so that no mirror leaves it as it is.

    Units:  radius of the tube [that of the ring]; bump and swell [radius of the tube]; around and across [radians], where
            the bump is along the ring and on the tube, 0 at its outside, towards z; width [radians].
    """

    tube: float = 0.36
    bump: float = 0.5
    around: float = 0.9
    across: float = 0.8
    width: float = 0.45
    swell: float = 0.15
    side: float = 3.0


def mesh_of(ring: Ring, around: int, across: int) -> Mesh:
    """A ring in the cube as a closed mesh of around * across vertices, the longest side of its box 1.8.

    Raises: InputError for fewer than three vertices either way.
    """
    if min(around, across) < 3:
        raise InputError(f"A torus needs 3 vertices or more around and across, got {around} and {across}.")
    u, v = np.meshgrid(np.arange(around) * 2 * np.pi / around, np.arange(across) * 2 * np.pi / across, indexing="ij")
    nearness = (np.cos(u - ring.around) + np.cos(v - ring.across) - 2) / ring.width**2
    tube = ring.tube * (1 + ring.swell * np.cos(u - ring.side)) * (1 + ring.bump * np.exp(nearness))
    reach = 1 + tube * np.cos(v)
    vertices = np.stack([reach * np.cos(u), reach * np.sin(u), tube * np.sin(v)], -1).reshape(-1, 3)
    at = np.arange(around * across).reshape(around, across)
    along, up = np.roll(at, -1, 0), np.roll(at, -1, 1)
    both = np.roll(along, -1, 1)
    faces = np.stack([np.stack([at, along, both], -1), np.stack([at, both, up], -1)], 2).reshape(-1, 3)
    return Mesh(frame_of(vertices).to_unit(vertices), faces)


def torus(around: int = 128, across: int = 64) -> Mesh:
    """The ring with a bump that comes with the project."""
    return mesh_of(Ring(), around, across)


def torus_family(variant: int, seed: int = 0, around: int = 128, across: int = 64) -> Mesh:
    """Another ring: thickness, bump and swell vary, evenly within bounds in which no ring meets itself.

    Raises: InputError for a variant that is none.
    """
    if not isinstance(variant, int) or variant < 0:
        raise InputError(f"variant of a torus must be a whole number, at least 0, got {variant}.")
    random = np.random.default_rng(key(seed, variant, "torus"))
    low = Ring(tube=0.22, bump=0.2, around=0.0, across=-np.pi, width=0.35, swell=0.0, side=0.0)
    high = Ring(tube=0.45, bump=0.6, around=2 * np.pi, across=np.pi, width=0.6, swell=0.25, side=2 * np.pi)
    return mesh_of(Ring(*random.uniform(tuple(vars(low).values()), tuple(vars(high).values()))), around, across)
