"""Rays through lenses that distort: the inverse of what a lens shows, and its exact derivative."""

import math

import pytest
import torch
from tiny.laws import assert_derivatives_are_exact
from tiny.signals import field_of, network
from torch.testing import assert_close

from inr.measurements.lenses import distort, look_through, undistort
from inr.measurements.rays import camera_rays
from inr.measurements.rendering import VolumeRendering

pytestmark = pytest.mark.usefixtures("float64")
POSE = torch.eye(4, dtype=torch.float64)[None, None, :3]
PINHOLE = [14.0, 15.0, 6.0, 8.0]
LENSES = {
    "none": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    "barrel": [-0.15, 0.03, 0.0, 0.0, 0.002, -0.001, 0.0],
    "pincushion": [0.4, 0.1, 0.05, 0.02, 0.01, -0.02, 0.0],
    "fisheye": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
    "bent fisheye": [-0.03, 0.004, -0.001, 0.0002, 0.0, 0.0, 1.0],
}


def lens(name):
    return torch.tensor(LENSES[name], dtype=torch.float64)


def intrinsics(name):
    return torch.tensor([[PINHOLE + LENSES[name]]], dtype=torch.float64)


def looks(count=7):
    return torch.rand(1, count, 2) * torch.tensor([12.0, 16.0])


@pytest.mark.parametrize("name", LENSES)
def test_what_a_lens_shows_is_found_again(name):
    points = torch.rand(50, 2) * 1.4 - 0.7
    shown, _ = distort(points, lens(name))
    assert_close(undistort(shown, lens(name)), points, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", LENSES)
def test_the_derivative_of_a_lens_is_that_of_differences(name):
    points = torch.rand(20, 2) - 0.5
    _, derivative = distort(points, lens(name))
    (xx, xy), (yx, yy) = (torch.func.jvp(lambda at: distort(at, lens(name))[0], (points,), (way,))[1].T for way in ways(points))
    assert_close(derivative, torch.stack([xx, xy, yy], -1))
    assert_close(xy, yx)


def ways(points):
    return (torch.tensor(way).expand_as(points).contiguous() for way in ([1.0, 0.0], [0.0, 1.0]))


def test_coefficients_are_those_of_opencv():
    # x' = x (1 + k1 r^2 + k2 r^4 + k3 r^6) + 2 p1 x y + p2 (r^2 + 2 x^2), y' with p1 and p2 exchanged
    x, y, (k1, k2, k3, k4, p1, p2, _) = 0.3, -0.2, LENSES["pincushion"]
    square = x * x + y * y
    radial = 1 + k1 * square + k2 * square**2 + k3 * square**3 + k4 * square**4
    expected = [
        x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x),
        y * radial + p1 * (square + 2 * y * y) + 2 * p2 * x * y,
    ]
    assert_close(distort(torch.tensor([x, y]), lens("pincushion"))[0], torch.tensor(expected))


def test_a_fisheye_sees_an_angle_in_proportion_to_the_distance_from_the_middle():
    angles = torch.tensor([0.0, 0.1, 1.0, math.pi / 2, 3.0])
    right, up, back = look_through(lens("fisheye"), torch.stack([angles, 0 * angles], -1)).unbind(-1)
    assert_close(torch.stack([right, up, -back]), torch.stack([angles.sin(), 0 * angles, angles.cos()]), atol=1e-7, rtol=0)


@pytest.mark.parametrize("name", LENSES)
def test_rays_of_a_lens_are_shown_where_they_came_from(name):
    at = looks()
    right, up, back = camera_rays(at, POSE, intrinsics(name)).directions.unbind(-1)
    angle = torch.atan2(torch.hypot(right, up), -back)
    spread = angle if LENSES[name][-1] else angle.tan()
    across = torch.stack([right, -up], -1) / torch.hypot(right, up)[..., None]
    shown, _ = distort(spread[..., None] * across, lens(name))
    assert_close(shown.flip(-1) * torch.tensor(PINHOLE[:2]) + torch.tensor(PINHOLE[2:]), at)


def test_without_distortion_rays_are_those_of_a_pinhole():
    at = looks()
    straight = camera_rays(at, POSE, intrinsics("none")[..., :4])
    assert_close(camera_rays(at, POSE, intrinsics("none")).directions, straight.directions)


@pytest.mark.parametrize("name", LENSES)
def test_the_ray_moves_with_its_pixel_as_differences_say(name):
    at, step = looks(), 1e-5

    def directions(at):
        return camera_rays(at, POSE, intrinsics(name)).directions

    for way in ways(at):
        _, forward = torch.func.jvp(directions, (at,), (way,))
        assert_close(forward, (directions(at + step * way) - directions(at - step * way)) / (2 * step), rtol=1e-7, atol=1e-8)
        _, pull = torch.func.vjp(directions, at)
        assert_close((pull(torch.ones_like(forward))[0] * way).sum(-1), forward.sum(-1))


@pytest.mark.parametrize("name", LENSES)
def test_derivatives_of_a_rendered_pixel_are_exact(name):
    camera = VolumeRendering(1.0, 3.0, samples=8).double().within(poses=POSE, intrinsics=intrinsics(name))
    model = network("sine", 3, 4, hidden_features=8).double()
    assert_derivatives_are_exact(camera, model, field_of(model), looks())


@pytest.mark.parametrize("name", ["fisheye", "bent fisheye"])
def test_the_middle_of_a_fisheye_has_a_derivative(name):
    middle = torch.tensor([[PINHOLE[2:]]])
    _, slope = torch.func.jvp(
        lambda at: camera_rays(at, POSE, intrinsics(name)).directions, (middle,), (torch.tensor([[[0.0, 1.0]]]),)
    )
    assert_close(slope, torch.tensor([[[1 / PINHOLE[1], 0.0, 0.0]]]))
