import math

import numpy as np
import pytest
import torch
from tiny.figures import colours_at, watched

from tasks.drawing import shapes
from tasks.drawing.shapes import PLANES, WIDTH, sections, shaded

SIZE = 130  # of a picture, in pixels
TRUE = 0.4  # radius of the true sphere
AXES = np.linspace(-1, 1, SIZE + 1)[:-1] * WIDTH / 2 + WIDTH / SIZE / 2


def sphere(radius=0.5, centre=(0.0, 0.0, 0.0)):
    return lambda points: (points - torch.tensor(centre).to(points)).norm(dim=-1) - radius


def volume(distance, size=48):
    side = torch.linspace(-1, 1, size)
    return distance(torch.cartesian_prod(side, side, side)).reshape(size, size, size).numpy()


def drawn(picture):
    """Which pixels are not of the white ground."""
    return (picture < 1).any(-1)


def middle_of(picture):
    """The middle of what is drawn, to the right and upward, in the lengths of the cube."""
    rows, columns = drawn(picture).nonzero()
    return AXES[columns].mean(), -AXES[rows].mean()


@pytest.mark.parametrize("radius", [0.3, 0.8])
def test_a_sphere_is_a_disc_from_every_side(radius):
    for azimuth, elevation, up in [(0, 0, "y"), (35, 25, "y"), (200, -60, "z")]:
        image = shaded(sphere(radius), SIZE, azimuth, elevation, up)
        assert image.shape == (SIZE, SIZE, 3)
        assert 0 <= image.min() <= image.max() <= 1
        far = np.hypot(*np.meshgrid(AXES, AXES))
        edge = 1.5 * WIDTH / SIZE
        assert drawn(image)[far < radius - edge].all()
        assert not drawn(image)[far > radius + edge].any()


def test_light_comes_from_the_upper_left_and_less_of_it_from_below():
    image = shaded(sphere(0.8), SIZE, 70, -10).sum(-1)
    lit = image * (image < 3)
    row, column = np.unravel_index(lit.argmax(), lit.shape)
    lamp = 0.8 * np.array([-0.4, 0.6]) / math.sqrt(0.4**2 + 0.6**2 + 1)
    assert [AXES[column], -AXES[row]] == pytest.approx(lamp, abs=2.5 * WIDTH / SIZE)
    column = image[:, SIZE // 2 + SIZE // 5]  # off the middle, where the lamp does not reach the bottom
    inside = column[column < 3]
    assert inside[-2] > inside[: -SIZE // 20].min() > 0


@pytest.mark.parametrize(
    ("up", "azimuth", "elevation", "right", "top"),
    [
        ("y", 0, 0, (1, 0, 0), (0, 1, 0)),
        ("y", 90, 0, (0, 0, -1), (0, 1, 0)),
        ("y", 180, 0, (-1, 0, 0), (0, 1, 0)),
        ("y", 0, 90, (1, 0, 0), (0, 0, -1)),
        ("z", 0, 0, (0, 1, 0), (0, 0, 1)),
        ("z", 90, 0, (-1, 0, 0), (0, 0, 1)),
    ],
)
def test_the_camera_goes_to_its_right_with_the_azimuth_and_up_with_the_elevation(up, azimuth, elevation, right, top):
    for axis in range(3):
        centre = [0.6 * (axis == place) for place in range(3)]
        image = shaded(sphere(0.2, centre), SIZE, azimuth, elevation, up)
        assert middle_of(image) == pytest.approx((0.6 * right[axis], 0.6 * top[axis]), abs=WIDTH / SIZE)


def test_the_inside_of_a_surface_is_red_and_its_outside_is_grey():
    def red(image):
        return (image[..., 0] > 2 * image[..., 2])[drawn(image)]

    assert not red(shaded(sphere(), SIZE)).any()
    assert red(shaded(lambda points: -sphere()(points), SIZE)).mean() > 0.95
    assert red(shaded(sphere(), SIZE, normal=lambda points: -points / points.norm(dim=-1, keepdim=True))).mean() > 0.95


def test_given_normals_replace_differences():
    exact = shaded(sphere(), SIZE, normal=lambda points: torch.nn.functional.normalize(points, dim=-1))
    assert shaded(sphere(), SIZE) == pytest.approx(exact, abs=0.01)


def test_of_nothing_the_picture_is_white():
    assert (shaded(sphere(-1.0), SIZE) == 1).all()


@pytest.fixture
def figure(monkeypatch):
    return watched(monkeypatch, shapes)


@pytest.mark.parametrize("size", [16, 63, 128])
def test_zero_lines_lie_where_planes_cut_the_sphere(figure, size):
    centre, radius = {"x": 0.3, "y": 0.2, "z": -0.1}, 0.6
    field = volume(sphere(radius, tuple(centre.values())), size)
    picture = sections(field, None, "a sphere")
    both = sections(field, volume(sphere(TRUE, tuple(centre.values()))))
    assert picture.shape == both.shape
    assert picture.dtype == np.uint8
    turn = np.linspace(0, 2 * math.pi, 40)
    for place, (axis, other) in enumerate(zip(figure[0].axes[:3], figure[1].axes[:3], strict=True)):
        across, upward = PLANES[place]
        assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_title()) == (across, upward, f"{'xyz'[place]} = 0")
        cut, true = (math.sqrt(length**2 - centre["xyz"[place]] ** 2) for length in (radius, TRUE))
        circle, inner = ((centre[across] + r * np.cos(turn), centre[upward] + r * np.sin(turn)) for r in (cut, true))
        assert (colours_at(picture, axis, *circle) < 60).all()
        assert (colours_at(both, other, *circle) < 60).all()
        assert (colours_at(picture, axis, *inner).max(-1) > 60).all()
        red, green, _ = colours_at(both, other, *inner).astype(int).T
        assert 0.4 < (green > red + 50).mean() < 1  # the dashes


def test_solid_is_red_and_free_space_blue(figure):
    picture = sections(volume(lambda points: points[:, 0], 64))  # the half with x < 0 is solid
    for axis in figure[0].axes[1:3]:
        inside, outside = (colours_at(picture, axis, np.array([x]), np.array([0.02]))[0].astype(int) for x in (-0.95, 0.95))
        assert inside[0] > inside[2] + 60
        assert outside[2] > outside[0] + 60


@pytest.mark.parametrize("field", [1.0, -1.0, 0.0, 1e6, math.nan, math.inf], ids=str)
def test_fields_without_a_surface_are_drawn_without_it(field):
    flat = np.full((16, 16, 16), field, np.float32)
    empty = sections(flat, volume(sphere(), 20))
    flat[3] = math.nan
    assert sections(flat, flat).shape == empty.shape
