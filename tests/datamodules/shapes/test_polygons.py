import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from datamodules.shapes.polygons import Polygons, concave, triangulate

SLOTTED = np.array([[3, 1], [1, 1], [1, 2], [3, 2], [3, 3], [0, 3], [0, 0], [3, 0]], float)  # a C of area 7
ROUND = np.stack([np.cos(np.arange(7) * 2 * np.pi / 7), np.sin(np.arange(7) * 2 * np.pi / 7)], -1)
STAR = np.concatenate([ROUND, 0.4 * np.roll(ROUND, -1, 0) + 0.1 * ROUND], 1).reshape(-1, 2)
STRAIGHT = np.array([[0, 0], [1, 0], [2, 0], [2, 2], [1, 0.5], [0, 2]], float)  # with a corner of 180 degrees
KEYHOLE = np.array([[0, 0], [4, 0], [4, 4], [0, 4], [0, 0], [1, 1], [1, 3], [3, 3], [3, 1], [1, 1]], float)  # a frame, cut
DART = np.array([[0, 0], [2, 1], [0, 2], [0.5, 1]], float)
LOOPS = {"slotted": SLOTTED, "star": STAR, "straight": STRAIGHT, "keyhole": KEYHOLE, "dart": DART}
TURN = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]


def polygons(*loops):
    sizes = np.array([len(loop) for loop in loops])
    return Polygons(np.concatenate(loops), np.arange(sizes.sum()), sizes)


def normals(mesh):
    """Of the triangles, as long as their areas."""
    one, two, three = mesh.vertices[mesh.faces].swapaxes(0, 1)
    return np.cross(two - one, three - one) / 2


def flat(loop):
    return np.pad(loop, ((0, 0), (0, 1)))


@pytest.mark.parametrize("place", [0.0, 5e6])
@pytest.mark.parametrize("size", [1e-9, 1.0])
@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_triangles_of_a_concave_polygon_cover_it_once(loop, size, place):
    if place and size < 1:
        return  # below the steps of float64
    x, y = loop.T
    area = (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2
    for first in range(len(loop)):
        for way in (1, -1):
            for turn in (np.eye(3), TURN):
                at = size * flat(np.roll(loop, first, 0)[::way]) @ turn + place
                found = normals(triangulate(polygons(at)))
                assert_allclose(found.sum(0), way * area * size**2 * turn[2], rtol=1e-7, atol=1e-7 * size**2)
                assert np.linalg.norm(found, axis=1).sum() == pytest.approx(abs(area) * size**2, rel=1e-7)


def test_faces_keep_their_order_and_convex_ones_are_fans():
    loops = [flat(ROUND), flat(DART), flat(ROUND[:3]), flat(SLOTTED), flat(ROUND[:4])]
    mesh = triangulate(polygons(*loops))
    starts = np.cumsum([0, *map(len, loops)])
    owner = np.searchsorted(starts, mesh.faces, side="right") - 1
    assert_array_equal(owner, np.repeat(np.arange(5), [5, 2, 1, 6, 2])[:, None].repeat(3, 1))
    assert_array_equal(mesh.faces[:5], [[0, i, i + 1] for i in range(1, 6)])


def test_points_and_lines_are_no_faces_and_bent_quadrangles_are_not_concave():
    corners = np.random.default_rng(0).normal(size=(6, 3))
    assert triangulate(Polygons(corners, np.arange(6), np.array([1, 2, 3]))).faces.tolist() == [[3, 4, 5]]
    assert triangulate(Polygons(corners, np.arange(3), np.array([1, 2]))).faces.shape == (0, 3)
    bent = np.array([[[0, 0, 0], [1, 0, 0.1], [1, 1, 0], [0, 1, 0.1]]], float)
    assert not concave(bent).any()
