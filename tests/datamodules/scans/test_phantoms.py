import numpy as np
import pytest
from numpy.testing import assert_allclose
from skimage.data import shepp_logan_phantom
from skimage.transform import radon

from datamodules.scans.phantoms import Ellipses, line_integrals, random_phantom, rasterise, shepp_logan
from inr.errors import InputError

HEADS = [shepp_logan(), *(random_phantom(0, variant) for variant in range(3))]
VARIANTS = [random_phantom(0, variant) for variant in range(64)]
TURNS = np.linspace(0, 2 * np.pi, 90, endpoint=False)


def fields(ellipses):
    return [ellipses.density, ellipses.axes, ellipses.centres, ellipses.angles]


def equal(one, other):
    return all(np.array_equal(*pair) for pair in zip(fields(one), fields(other), strict=True))


def value(ellipses, x, y):
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape))
    for density, axes, centre, turn in zip(*fields(ellipses), strict=True):
        frame = np.exp(-1j * turn) * (x - centre[0] + 1j * (y - centre[1]))
        total += density * ((frame.real / axes[0]) ** 2 + (frame.imag / axes[1]) ** 2 <= 1)
    return total


def reach(ellipses, part):
    extent = np.hypot(ellipses.axes[part, 0] * np.cos(TURNS), ellipses.axes[part, 1] * np.sin(TURNS))
    along = ellipses.centres[part] @ [np.cos(TURNS + ellipses.angles[part]), np.sin(TURNS + ellipses.angles[part])]
    return (along + extent).max()


def just_outside(ellipses, part):
    across, along = 1.001 * ellipses.axes[part, :, None] * [np.cos(TURNS), np.sin(TURNS)]
    points = (across + 1j * along) * np.exp(1j * ellipses.angles[part])
    return ellipses.centres[part, 0] + points.real, ellipses.centres[part, 1] + points.imag


def test_a_line_through_a_disc_is_its_chord():
    disc = Ellipses(np.array([3.0]), np.full((1, 2), 0.5), np.array([[0.2, -0.1]]), np.array([0.7]))
    away = np.linspace(-0.6, 0.6, 25)[:, None]
    offset = away + 0.2 * np.cos(TURNS) - 0.1 * np.sin(TURNS)
    chord = 2 * np.sqrt(np.maximum(0.25 - away**2, 0))
    assert_allclose(line_integrals(disc, offset, TURNS), np.broadcast_to(3 * chord, offset.shape), atol=1e-7)


@pytest.mark.parametrize("ellipses", HEADS, ids=["shepp_logan", "0", "1", "2"])
def test_line_integrals_are_integrals_along_lines(ellipses):
    random, steps = np.random.default_rng(0), np.linspace(-1.5, 1.5, 60001)
    offset, angle = random.uniform(-0.9, 0.9, (8, 1)), random.uniform(0, 2 * np.pi, (8, 1))
    x, y = offset * np.cos(angle) + steps * np.sin(angle), offset * np.sin(angle) - steps * np.cos(angle)
    numeric = np.trapezoid(value(ellipses, x, y), steps)
    assert_allclose(line_integrals(ellipses, offset, angle)[:, 0], numeric, atol=3e-4)


@pytest.mark.parametrize("ellipses", HEADS, ids=["shepp_logan", "0", "1", "2"])
def test_the_sinogram_of_the_raster_approaches_the_exact_one(ellipses):
    degrees, errors = np.array([0.0, 17.0, 45.0, 90.0, 123.0, 180.0, 250.0]), []
    for size in (65, 129):
        pixel, sides = 2 / (size - 1), np.linspace(-1, 1, size)
        within = pixel * (np.arange(8) - 3.5) / 8  # a pixel is a mean over its width: so is a bin
        expected = line_integrals(ellipses, sides[:, None, None] + within, np.deg2rad(degrees)[:, None]).mean(-1)
        sinogram = pixel * radon(rasterise(ellipses, size).astype(np.float64), degrees)
        errors.append(np.linalg.norm(sinogram - expected) / np.linalg.norm(expected))
    assert errors[1] < min(0.015, 0.6 * errors[0])


@pytest.mark.parametrize(("size", "oversampling"), [(2, 1), (33, 1), (40, 3)])
def test_a_pixel_is_the_mean_of_its_points(size, oversampling):
    within = (np.arange(oversampling) + 0.5) / oversampling - 0.5
    points = (np.linspace(-1, 1, size)[:, None] + 2 / (size - 1) * within).ravel()
    values = value(VARIANTS[0], points, -points[:, None])
    picture = rasterise(VARIANTS[0], size, oversampling)
    assert picture.dtype == np.float32
    assert_allclose(picture, values.reshape(size, oversampling, size, oversampling).mean((1, 3)), atol=1e-6)


def test_the_picture_holds_the_mass_of_the_ellipses():
    for ellipses in VARIANTS[:8]:
        mass = np.pi * (ellipses.density * ellipses.axes.prod(-1)).sum()
        assert rasterise(ellipses, 128).sum(dtype=np.float64) * (2 / 127) ** 2 == pytest.approx(mass, rel=2e-3)


def test_the_head_is_the_one_that_everybody_uses():
    known = shepp_logan_phantom()
    assert np.abs(rasterise(shepp_logan(), 400) - known).mean() < 0.005
    assert equal(random_phantom(5, 7, jitter=0), shepp_logan())


def test_a_phantom_depends_on_its_seed_and_variant_alone():
    assert equal(random_phantom(0, 9), VARIANTS[9])
    assert not equal(random_phantom(1, 9), VARIANTS[9])
    pictures = np.stack([rasterise(ellipses, 64) for ellipses in VARIANTS]).reshape(64, -1)
    apart = np.linalg.norm(pictures[:, None] - pictures, axis=-1) / np.linalg.norm(pictures, axis=-1).mean()
    assert apart[~np.eye(64, dtype=bool)].min() > 0.1
    assert {len(ellipses.density) for ellipses in VARIANTS} == {10, 11, 12, 13}


def test_every_head_lies_in_the_disc_with_values_in_range_inside_a_closed_skull():
    for ellipses in VARIANTS:
        assert max(reach(ellipses, part) for part in range(len(ellipses.density))) < 1
        picture = rasterise(ellipses, 96)
        assert picture.min() >= 0
        assert picture.max() <= 1.2
        around_the_brain = value(ellipses, *just_outside(ellipses, 1))
        assert_allclose(around_the_brain, ellipses.density[0])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: random_phantom(0, -1), "variant of a phantom must be a whole number, at least 0, got -1"),
        (lambda: random_phantom(0, 0, -0.1), r"must lie in 0..1, .* got -0.1"),
        *((lambda much=much: random_phantom(0, 0, much), f"got {much}") for much in (1.5, float("nan"))),
        (lambda: rasterise(shepp_logan(), 1), "size of a phantom must be a whole number, at least 2, got 1"),
        (lambda: rasterise(shepp_logan(), 8, 0), "oversampling of a phantom must be a whole number, at least 1, got 0"),
    ],
)
def test_wrong_options_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
