import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.testing import assert_close

from inr.baselines.interpolation import cubic, hermite, interpolate, linear, nearest, scattered, spline

ALONG = [nearest, linear, cubic, spline]
GRIDS = [((21,), 4, 0), ((22,), 5, 3), ((13, 17), 4, 0), ((14, 12), 3, 2)]


def positions(shape):
    """Indices of all samples, (*shape, axes), from 0 to 1 along the longest axis."""
    return np.stack(np.meshgrid(*[np.arange(size) for size in shape], indexing="ij"), -1) / max(shape)


def coarse(grid, shape, factor, offset):
    return grid[(slice(offset, None, factor),) * len(shape)]


def between(shape, factor, offset):
    """The samples between the outer knots."""
    return tuple(slice(offset, np.arange(offset, size, factor)[-1] + 1) for size in shape)


@pytest.mark.parametrize(("shape", "factor", "offset"), GRIDS)
def test_every_method_reproduces_the_knots(shape, factor, offset):
    generator = np.random.default_rng(0)
    samples = coarse(generator.random((*shape, 2)), shape, factor, offset)
    slopes = generator.random((*samples.shape, len(shape)))
    results = [interpolate(samples, shape, factor, offset, along) for along in ALONG]
    for result in [*results, hermite(samples, slopes, shape, factor, offset)]:
        assert result.shape == (*shape, 2)
        assert_allclose(coarse(result, shape, factor, offset), samples, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("shape", "factor", "offset"), GRIDS)
def test_beyond_the_outer_knots_the_value_stays(shape, factor, offset):
    samples = np.random.default_rng(0).random((*coarse(positions(shape)[..., 0], shape, factor, offset).shape, 1))
    slopes = np.ones((*samples.shape, len(shape)))
    knots = [np.arange(offset, size, factor) for size in shape]
    nearest_inside = np.ix_(*[np.arange(size).clip(knot[0], knot[-1]) for size, knot in zip(shape, knots, strict=True)])
    results = [interpolate(samples, shape, factor, offset, along) for along in ALONG]
    for result in [*results, hermite(samples, slopes, shape, factor, offset)]:
        assert_allclose(result, result[nearest_inside], rtol=0, atol=1e-12)


# each method is exact, between the knots, on products of powers up to its degree
@pytest.mark.parametrize(("shape", "factor", "offset"), GRIDS)
@pytest.mark.parametrize(("along", "degree"), [(linear, 1), (cubic, 2), (spline, 3)])
def test_polynomials_are_reproduced_up_to_the_degree(along, degree, shape, factor, offset):
    inside = between(shape, factor, offset)

    def error(powers):
        exact = (positions(shape) ** powers).prod(-1, keepdims=True)
        return np.abs(interpolate(coarse(exact, shape, factor, offset), shape, factor, offset, along) - exact)[inside].max()

    for powers in np.ndindex(*[degree + 1] * len(shape)):
        assert error(powers) < 1e-12
    for axis in range(len(shape)):
        assert error((degree + 1) * np.eye(len(shape), dtype=int)[axis]) > 1e-5


@pytest.mark.parametrize(("shape", "factor", "offset"), GRIDS)
def test_hermite_is_exact_on_cubics_whose_mixed_slopes_are_quadratic(shape, factor, offset):
    generator, inside = np.random.default_rng(0), between(shape, factor, offset)
    at = positions(shape)
    if len(shape) == 1:
        curve = np.polynomial.Polynomial(generator.normal(size=4))
        value, slope = curve(at), curve.deriv()(at)[..., None]
    else:
        weights = generator.normal(size=(4, 4))
        weights[3, 1:] = 0  # mixed derivatives across the first axis come from differences, exact up to squares
        by_row = np.polynomial.polynomial.polyder(weights, axis=0)
        by_column = np.polynomial.polynomial.polyder(weights, axis=1)
        polynomials = (weights, by_row, by_column)
        value, down, right = (np.polynomial.polynomial.polyval2d(*np.moveaxis(at, -1, 0), w) for w in polynomials)
        value, slope = value[..., None], np.stack([down, right], -1)[..., None, :]
    knots = [coarse(grid, shape, factor, offset) for grid in (value, slope / max(shape))]
    assert_allclose(hermite(*knots, shape, factor, offset)[inside], value[inside], rtol=0, atol=1e-12)


@pytest.mark.parametrize("along", ALONG)
def test_channels_are_interpolated_apart_and_axes_alike(along):
    samples = np.random.default_rng(0).random((5, 4, 3))
    result = interpolate(samples, (17, 13), 4, 0, along)
    assert_allclose(result[..., 1:2], interpolate(samples[..., 1:2], (17, 13), 4, 0, along), atol=1e-12)
    turned = interpolate(samples.transpose(1, 0, 2), (13, 17), 4, 0, along)
    assert_allclose(result, turned.transpose(1, 0, 2), atol=1e-12)


@pytest.mark.parametrize("along", ALONG)
def test_two_knots_are_enough(along):
    result = interpolate(np.array([[1.0], [3.0]]), (6,), 3, 1, along)[:, 0]
    expected = [1, 1, 1, 3, 3, 3] if along is nearest else [1, 1, 5 / 3, 7 / 3, 3, 3]
    assert_allclose(result, expected)


def test_scattered_points_are_joined_linearly_and_the_nearest_counts_outside():
    torch.manual_seed(0)
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    points, inside = torch.cat([corners, torch.rand(40, 3)]), torch.rand(50, 3)

    def plane(x):
        return x @ torch.tensor([1.0, -2.0, 0.5]) + 0.3

    assert_close(scattered(points, plane(points), inside), plane(inside), rtol=1e-5, atol=1e-5)
    assert_close(scattered(points, plane(points), 2 * corners - 0.5), plane(corners))


def test_points_in_a_plane_give_the_nearest_value():
    points, values = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0.5, 0.2, 0]]), torch.arange(5.0)
    assert scattered(points, values, points + torch.tensor([0.0, 0.0, 0.3])).tolist() == values.tolist()
