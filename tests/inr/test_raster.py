import pytest
import torch
from torch.testing import assert_close

from inr.measurements.pointwise import Pointwise
from inr.raster import raster

pytestmark = pytest.mark.usefixtures("float64")
SHAPES = pytest.mark.parametrize("shape", [(7, 7), (5, 9), (9, 4)])


def under(coordinates, shape):
    """The points of a field that lie under pixel coordinates (points, 2)."""
    return Pointwise(shape, aspect="keep").locate(coordinates[None]).points


def pixels(shape):
    return torch.cartesian_prod(*(torch.arange(size) for size in shape)).double()


@SHAPES
def test_pixels_are_seen_at_their_centres(shape):
    pictures = torch.rand(3, *shape)
    assert_close(raster(pictures)(under(pixels(shape), shape))[..., 0], pictures.flatten(1))


@SHAPES
def test_bilinear_functions_are_met_everywhere_between(shape):
    def plane(places):
        row, column = places.unbind(-1)
        return 1 + 2 * row - column + 0.3 * row * column

    places = torch.rand(50, 2) * (torch.tensor(shape) - 1)
    seen = raster(plane(pixels(shape)).reshape(1, *shape))(under(places, shape))
    assert_close(seen[0, :, 0], plane(places))


@SHAPES
def test_pictures_fade_within_a_pixel_and_nothing_is_outside(shape):
    field, (rows, columns) = raster(torch.ones(1, *shape)), shape
    middle = torch.tensor([(rows - 1) / 2, (columns - 1) / 2])
    beyond = torch.tensor([0.0, 0.25, 1.0, 5.0])
    for axis, size in enumerate(shape):
        for edge, sign in ((0, -1), (size - 1, 1)):
            places = middle.repeat(4, 1)
            places[:, axis] = edge + sign * beyond
            assert_close(field(under(places, shape)).flatten(), torch.tensor([1.0, 0.75, 0.0, 0.0]))


def test_pictures_share_points_of_any_shape():
    pictures, points = torch.rand(3, 5, 9), 2 * torch.rand(1, 4, 6, 2) - 1
    together = raster(pictures)(points)
    assert together.shape == (3, 4, 6, 1)
    assert_close(together, torch.cat([raster(picture[None])(points) for picture in pictures]))


def test_what_is_seen_is_linear_in_the_pixels():
    pictures, points = torch.rand(2, 5, 9, requires_grad=True), under(torch.rand(30, 2) * torch.tensor([4, 8]), (5, 9))
    seen = raster(pictures)(points)
    (shares,) = torch.autograd.grad(seen.sum(), pictures)
    assert_close(shares.sum((1, 2)), torch.full((2,), 30.0))  # of every point, shares that add up to one
    assert_close((shares * pictures).sum((1, 2)), seen.sum((1, 2)))
