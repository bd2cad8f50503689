"""Draws of rays, their targets, and what test views are compared with."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from tiny.captures import LAYOUTS, generated, read
from torch.testing import assert_close

from datamodules.scenes.generated import GeneratedScene
from datamodules.scenes.layouts import Scene
from datamodules.scenes.scene_data import OneScene
from inr.errors import InputError
from inr.supervision.differences import FILTERS, jacobian_at

CPU = torch.device("cpu")
ROWS, COLUMNS = 10, 13
NOISE = np.random.default_rng(0).integers(0, 256, (7, ROWS, COLUMNS, 3), dtype=np.uint8)
PIXELS = torch.from_numpy(NOISE)
KNOWN = dataclasses.replace(generated(size=12, views=7, hold_every=3), size=(ROWS, COLUMNS), read=NOISE.__getitem__)
TRAIN, TEST = KNOWN.train, KNOWN.test
POSES = torch.from_numpy(KNOWN.poses).float()


class Noise(OneScene):
    def capture(self):
        return KNOWN


def noise(**options):
    """Photographs of noise, each pixel of its own colour."""
    data = Noise(**options)
    data.setup()
    return data


def looks(data, draw):
    """The batch's part of a draw, the views of its rays, told by their poses, and the pixels."""
    part = data.transfer_batch_to_device(draw, CPU, 0).parts["data"]
    views = (part.context["poses"][0][:, None] == POSES).all((-1, -2)).long().argmax(1)
    assert torch.equal(part.context["intrinsics"][0], torch.from_numpy(KNOWN.intrinsics).float()[views])
    return part, views, part.coordinates[0]


def places(data, draws):
    """What draws look at: (view, row, column) each."""
    seen = [torch.cat([views[:, None], pixels], -1) for _, views, pixels in (looks(data, draw) for draw in draws)]
    return [tuple(place) for place in torch.cat(seen).tolist()]


def steps(data, count, start=0):
    return list(itertools.islice(data.training_draws(start), count))


def pixels_of(views, factor=1):
    return list(itertools.product(views, range(0, ROWS, factor), range(0, COLUMNS, factor)))


def refused(options, *phrases, kind=Noise):
    with pytest.raises(InputError) as caught:
        kind(**options).describe()
    assert "\n" not in str(caught.value)
    for phrase in phrases:
        assert phrase in str(caught.value)


# training


@pytest.mark.parametrize("border", ["one_sided", "replicate"])
@pytest.mark.parametrize("filter", FILTERS)
def test_targets_are_those_of_the_photographs_that_are_drawn(filter, border):
    data = noise(points=50, filter=filter, border=border)
    part, views, at = looks(data, *steps(data, 1, 3))
    assert_close(part.targets["value"][0], PIXELS[views, *at.long().T] / 255)
    for view in TRAIN:
        alone = jacobian_at(PIXELS[view].double(), at[views == view].long(), filter, border) / 255
        assert_close(part.targets["jacobian"][0, views == view], alone.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_an_epoch_shows_every_training_pixel_once(factor):
    data = noise(points=20, factor=factor)
    expected = pixels_of(TRAIN, factor)
    drawn = places(data, steps(data, -(-len(expected) // 20)))[: len(expected)]
    assert sorted(drawn) == expected
    assert drawn != expected


def test_parts_hold_the_same_rays_and_only_one_is_evaluated():
    data = noise(points=5, parts=["data", "coarse"])
    parts = data.transfer_batch_to_device(*steps(data, 1), CPU, 0).parts
    assert list(parts) == ["data", "coarse"]
    assert parts["data"] is parts["coarse"]
    parts = data.transfer_batch_to_device(next(iter(data.test_dataloader())), CPU, 0).parts
    assert list(parts) == ["data"]
    assert parts["data"].targets == {}
    assert "randomness" not in parts["data"].context


def test_constants_come_from_training_pixels_alone():
    data = noise(factor=2, chunk=30)
    (batch,) = data.constant_batches(CPU)
    part = batch.parts["data"]
    views = [next(v for v in range(7) if torch.equal(POSES[v], pose)) for pose in part.context["poses"][0]]
    at = part.coordinates[0].long()
    assert set(views) == set(TRAIN)
    assert len(views) == 30
    assert not (at % 2).any()
    assert_close(part.targets["value"][0], PIXELS[views, *at.T] / 255)
    assert "randomness" not in part.context


def test_observations_are_all_training_pixels():
    data = noise(factor=3, chunk=17)
    batches = [batch.parts["data"] for batch in data.observation_batches(torch.zeros(1, dtype=torch.long), CPU)]
    assert max(part.coordinates.shape[1] for part in batches) == 17
    expected = torch.cat([PIXELS[view, ::3, ::3].flatten(0, 1) for view in TRAIN]) / 255
    assert_close(torch.cat([part.targets["value"][0] for part in batches]), expected)


# evaluation


@pytest.mark.parametrize("chunk", [17, 4096])
@pytest.mark.parametrize("factor", [1, 3])
def test_the_test_looks_at_every_pixel_of_every_test_view_in_order(factor, chunk):
    data = noise(factor=factor, chunk=chunk)
    assert places(data, data.test_dataloader()) == pixels_of(TEST)
    assert all(looks(data, draw)[0].coordinates.shape[1] <= chunk for draw in data.test_dataloader())
    for picture, view in enumerate(TEST):
        assert torch.equal(data.truth(picture).truth, PIXELS[view])


@pytest.mark.parametrize("pixel_centre", [0.5, 0.0])
def test_a_smaller_test_compares_means_at_the_middle_of_their_squares(pixel_centre):
    data = noise(test_factor=2, pixel_centre=pixel_centre)
    assert data.shape == (5, 6)
    means = PIXELS[:, :10, :12].float().reshape(7, 5, 2, 6, 2, 3).mean((2, 4))
    grid = torch.cartesian_prod(torch.arange(5.0), torch.arange(6.0))
    for picture, (view, draw) in enumerate(zip(TEST, data.test_dataloader(), strict=True)):
        assert_close(data.truth(picture).truth.float(), means[view], rtol=0, atol=0.5 + 1e-4)
        assert_close(looks(data, draw)[2], 2.0 * grid + (0.5 if pixel_centre else 0.0))


def test_fewer_test_views_are_the_first_ones():
    few = noise(test_views=2)
    assert few.names == [KNOWN.names[view] for view in TEST[:2]]
    assert places(few, few.test_dataloader()) == pixels_of(TEST[:2])
    assert {view for view, _, _ in places(few, few.val_dataloader())} == set(TEST[:2])
    assert noise(test_views=99).names == noise().names


@pytest.mark.parametrize("validation_points", [None, 40, 10**6])
@pytest.mark.parametrize("test_factor", [1, 2])
def test_a_validation_knows_the_truth_of_what_it_looks_at(validation_points, test_factor):
    data = noise(validation_points=validation_points, test_factor=test_factor, chunk=13)
    seen = places(data, data.val_dataloader())
    assert places(data, data.val_dataloader()) == seen
    assert len(set(seen)) == len(seen) == min(validation_points or math.inf, len(TEST) * data.lattice_size)
    values = torch.rand(len(seen), 3)
    ((same, truth, mask),) = data.validated(values)
    assert same is values
    assert mask is None
    truths = {view: data.truth(picture).truth / 255 for picture, view in enumerate(TEST)}
    expected = [truths[view][int(row / test_factor), int(column / test_factor)] for view, row, column in seen]
    assert_close(truth, torch.stack(expected))


@pytest.mark.parametrize("test_factor", [1, 2])
def test_baselines_are_the_mean_colour_and_the_photograph_from_nearest_by(test_factor):
    data = noise(test_factor=test_factor, factor=2)
    rows = {name: make() for name, make in data.baselines().items()}
    assert list(rows) == ["mean colour", "nearest view"]
    mean = PIXELS[list(TRAIN)].double().mean((0, 1, 2)) / 255
    assert_close(rows["mean colour"].double(), mean.expand(len(TEST), *data.shape, 3), rtol=1e-6, atol=0)
    closest = [min(TRAIN, key=lambda other: (POSES[other, :, 3] - POSES[view, :, 3]).norm()) for view in TEST]
    assert_close(rows["nearest view"], torch.stack([data.trained.photograph(0, view, test_factor) for view in closest]) / 255)


def test_describe_says_what_the_camera_is():
    described = noise(factor=3, test_factor=2).describe()
    sizes = {"in_features": 3, "out_features": 4, "shape": [5, 6], "training_shape": [4, 5], "signals": 1}
    camera = {"near": KNOWN.near, "far": KNOWN.far, "box": True, "background": [1.0, 1.0, 1.0], "ndc": None}
    assert described | sizes | {"camera": camera} == described


COUNTS = ("factor", "points", "validation_points", "test_views", "test_factor", "chunk")
WRONG = {
    **{option: ({option: 0}, f"data.{option} must be at least 1, got 0") for option in COUNTS},
    "factor that leaves one row": ({"factor": 12}, "factor=12 leaves [1, 2] of [10, 13]", "smaller data.factor"),
    "filter": ({"filter": "scharr"}, "must be one of central, sobel, got scharr"),
    "border": ({"border": "mirror"}, "one_sided, replicate, periodic, got mirror"),
    "parts": ({"parts": ["coarse"]}, "data.parts must name the part data", "['coarse']"),
    "test factor beyond the size": ({"test_factor": 11}, "test_factor=11 leaves none of [10, 13]"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_options_are_refused_in_one_line(case):
    options, *phrases = WRONG[case]
    refused(options, *phrases)


# layouts


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_a_folder_is_found_out(layout, tmp_path):
    write, _ = LAYOUTS[layout]
    write(tmp_path, generated(size=12, views=10, hold_every=4))
    (found,), alone = Scene(path=str(tmp_path)).trained.captures, read(layout, tmp_path)
    assert (found.names, found.train, found.test, found.ndc) == (alone.names, alone.train, alone.test, alone.ndc)
    assert_array_equal(found.poses, alone.poses)
    assert all(np.array_equal(found.read(view), alone.read(view)) for view in range(10))


def test_without_a_folder_the_scene_is_the_generated_one():
    (found,), (alone,) = (data.trained.captures for data in (Scene(), GeneratedScene()))
    assert found.size == (100, 100)
    assert all(np.array_equal(found.read(view), alone.read(view)) for view in range(24))
    assert [Scene(points=points).rays_per_step for points in (None, 7)] == [128, 7]


def test_an_unknown_folder_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    files = "poses_bounds.npy or transforms_train.json or transforms.json or sparse/0"
    refused({"path": str(tmp_path)}, "A scene is a folder with photographs and", files, "holds notes.txt", kind=Scene)
    refused({"path": str(tmp_path / "nowhere")}, "data.path", "nowhere", kind=Scene)
