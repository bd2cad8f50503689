import numpy as np
import pytest
import torch
from skimage.transform import radon
from torch.testing import assert_close

from inr.field import Field
from inr.measurements.pointwise import Pointwise
from inr.measurements.radon import ParallelBeam
from inr.networks.sampled import bilinear_field

pytestmark = pytest.mark.usefixtures("float64")
ANGLES = [0.2, 0.5, 0.9, 1.3, 2.0]  # lines along no row or column, so that each crosses pixels everywhere
SHAPES = pytest.mark.parametrize("shape", [(7, 7), (5, 9), (9, 4)])


def under(coordinates, shape):
    """The points of a field that lie under pixel coordinates (points, 2)."""
    return Pointwise(shape, aspect="keep").locate(coordinates[None]).points


def pixels(shape):
    return torch.cartesian_prod(*(torch.arange(size) for size in shape)).double()


@SHAPES
def test_pixels_are_seen_at_their_centres(shape):
    pictures = torch.rand(3, *shape)
    assert_close(bilinear_field(pictures)(under(pixels(shape), shape))[..., 0], pictures.flatten(1))


@SHAPES
def test_bilinear_functions_are_met_everywhere_between(shape):
    def plane(places):
        row, column = places.unbind(-1)
        return 1 + 2 * row - column + 0.3 * row * column

    places = torch.rand(50, 2) * (torch.tensor(shape) - 1)
    seen = bilinear_field(plane(pixels(shape)).reshape(1, *shape))(under(places, shape))
    assert_close(seen[0, :, 0], plane(places))


@SHAPES
def test_pictures_fade_within_a_pixel_and_nothing_is_outside(shape):
    field, (rows, columns) = bilinear_field(torch.ones(1, *shape)), shape
    middle = torch.tensor([(rows - 1) / 2, (columns - 1) / 2])
    beyond = torch.tensor([0.0, 0.25, 1.0, 5.0])
    for axis, size in enumerate(shape):
        for edge, sign in ((0, -1), (size - 1, 1)):
            places = middle.repeat(4, 1)
            places[:, axis] = edge + sign * beyond
            assert_close(field(under(places, shape)).flatten(), torch.tensor([1.0, 0.75, 0.0, 0.0]))


def test_pictures_share_points_of_any_shape():
    pictures, points = torch.rand(3, 5, 9), 2 * torch.rand(1, 4, 6, 2) - 1
    together = bilinear_field(pictures)(points)
    assert together.shape == (3, 4, 6, 1)
    assert_close(together, torch.cat([bilinear_field(picture[None])(points) for picture in pictures]))


def test_what_is_seen_is_linear_in_the_pixels():
    pictures, points = torch.rand(2, 5, 9, requires_grad=True), under(torch.rand(30, 2) * torch.tensor([4, 8]), (5, 9))
    seen = bilinear_field(pictures)(points)
    (shares,) = torch.autograd.grad(seen.sum(), pictures)
    assert_close(shares.sum((1, 2)), torch.full((2,), 30.0))  # of every point, shares that add up to one
    assert_close((shares * pictures).sum((1, 2)), seen.sum((1, 2)))


def bump(row, column, radius):
    """A smooth field, exactly zero beyond a radius."""
    centre = torch.tensor([row, column])
    return Field(lambda points: (1 - (points - centre).square().sum(-1, keepdim=True) / radius**2).clamp(min=0) ** 4)


def project(beam, field, bins, views):
    at = torch.cartesian_prod(torch.arange(float(bins)), torch.arange(float(views)))[None]
    return beam(field, at).reshape(bins, views)


def test_beams_see_rasters_as_scikit_image_does():
    n, degrees = 65, [0.0, 25.0, 45.0, 90.0, 140.0, 200.0]
    one, other = (bump(*place)(under(pixels((n, n)), (n, n))).reshape(n, n) for place in [(-0.3, 0.1, 0.6), (0.2, 0.35, 0.5)])
    picture = one + other / 2
    beam = ParallelBeam(2 / (n - 1), samples=400, centre=(n - 1) / 2, angles=np.radians(degrees).tolist())
    seen, expected = (
        project(beam, bilinear_field(picture[None]), n, 6),
        torch.tensor(radon(picture.numpy(), degrees)) * beam.bin_width,
    )
    assert (seen - expected).abs().max() < 1e-3 * expected.max()


def test_projections_of_rasters_approach_those_of_the_field_at_second_order():
    field, beam, errors = bump(0.1, -0.2, 0.6), ParallelBeam(0.1, samples=1000, centre=5.0, angles=ANGLES), []
    for n in (33, 65):
        picture = field(under(pixels((n, n)), (n, n))).reshape(1, n, n)
        errors.append((project(beam, bilinear_field(picture), 11, 5) - project(beam, field, 11, 5)).norm().item())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)
