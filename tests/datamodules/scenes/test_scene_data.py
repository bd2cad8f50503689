"""Draws of rays, their targets, and what test views are compared with."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from tiny.captures import write_blender, write_llff, write_nerfstudio
from torch.testing import assert_close

import datamodules.scenes.scene_data
from datamodules.scenes.layouts import Scene, Spheres
from datamodules.scenes.read_blender import read_blender
from datamodules.scenes.read_llff import read_llff
from datamodules.scenes.read_nerfstudio import read_nerfstudio
from datamodules.scenes.scene_data import SceneData
from datamodules.scenes.spheres import read_spheres
from inr.errors import InputError
from inr.supervision.differences import FILTERS, jacobian_at

CPU, BOTH = torch.device("cpu"), ("value", "jacobian")
ROWS, COLUMNS = 10, 13
NOISE = np.random.default_rng(0).integers(0, 256, (7, ROWS, COLUMNS, 3), dtype=np.uint8)
PIXELS = torch.from_numpy(NOISE)
KNOWN = dataclasses.replace(read_spheres(size=12, views=7, hold_every=3), size=(ROWS, COLUMNS), read=NOISE.__getitem__)
TRAIN, TEST = KNOWN.train, KNOWN.test
LAYOUTS = {
    "llff": (write_llff, read_llff),
    "blender": (write_blender, read_blender),
    "nerfstudio": (write_nerfstudio, read_nerfstudio),
}


class Noise(SceneData):
    def capture(self):
        return KNOWN


def prepared(data):
    data.setup()
    return data


def noise(**options):
    """Photographs of noise, each pixel of its own colour."""
    return prepared(Noise(**options))


@pytest.fixture
def as_rank(monkeypatch):
    """Calls a function as one of several processes would."""

    def call(rank, ranks, function):
        monkeypatch.setattr(datamodules.scenes.scene_data, "rank", lambda: rank)
        monkeypatch.setattr(datamodules.scenes.scene_data, "ranks", lambda: ranks)
        return function()

    return call


def places(drawn):
    """What a draw of one scene looks at: (view, row, column) each."""
    return torch.cat([drawn.views[0][:, None], drawn.pixels[0].long()], -1).tolist()


def refused(options, *phrases, kind=Noise):
    with pytest.raises(InputError) as caught:
        kind(**options).describe()
    assert "\n" not in str(caught.value)
    for phrase in phrases:
        assert phrase in str(caught.value)


# training


def test_targets_are_the_pixels_of_the_views_that_are_drawn():
    data = noise(points=50)
    drawn = data.draw(3)
    batch = data.transfer_batch_to_device(drawn, CPU, 0)
    part = batch.parts["data"]
    views, at = drawn.views[0], drawn.pixels[0]
    assert torch.equal(part.coordinates, drawn.pixels.float())
    assert_close(part.targets["value"][0], PIXELS[views, at[:, 0], at[:, 1]] / 255)
    assert_close(part.context["poses"][0], torch.from_numpy(KNOWN.poses).float()[views])
    assert_close(part.context["intrinsics"][0], torch.from_numpy(KNOWN.intrinsics).float()[views])
    shapes = {name: tuple(target.shape) for name, target in part.targets.items()}
    assert shapes == {"value": (1, 50, 3), "jacobian": (1, 50, 3, 2)}


@pytest.mark.parametrize("border", ["one_sided", "replicate"])
@pytest.mark.parametrize("filter", FILTERS)
def test_derivatives_are_those_of_the_one_photograph(filter, border):
    data = noise(points=len(TRAIN) * ROWS * COLUMNS, filter=filter, border=border)
    drawn = data.draw(0)
    slopes = data.batch_at(drawn, CPU, BOTH).parts["data"].targets["jacobian"][0]
    for view in TRAIN:
        mine = drawn.views[0] == view
        alone = jacobian_at(PIXELS[view].double(), drawn.pixels[0][mine], filter, border) / 255
        assert_close(slopes[mine], alone.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_an_epoch_shows_every_training_pixel_once(factor):
    data = noise(points=20, factor=factor)
    expected = [[v, r, c] for v in TRAIN for r in range(0, ROWS, factor) for c in range(0, COLUMNS, factor)]
    drawn = [place for step in range(-(-len(expected) // 20)) for place in places(data.draw(step))]
    assert sorted(drawn[: len(expected)]) == expected
    assert drawn[: len(expected)] != expected


def test_ranks_together_draw_what_one_process_draws(as_rank):
    data = noise(points=7)
    whole = data.draw(2)
    jitter = data.batch_at(whole, CPU, ()).parts["data"].context["randomness"].uniform("jitter", 4, CPU)
    shares, rows = [], []
    for rank in range(2):
        shares.append(as_rank(rank, 2, lambda: data.draw(2)))
        rows.append(as_rank(rank, 2, lambda: data.batch_at(shares[-1], CPU, ())).parts["data"].context["randomness"])
    for name in ("views", "pixels"):
        assert torch.equal(torch.cat([getattr(share, name) for share in shares], 1), getattr(whole, name))
    assert [(one.first, one.last, one.points) for one in rows] == [(0, 3, 7), (3, 7, 7)]
    assert torch.equal(torch.cat([one.uniform("jitter", 4, CPU) for one in rows]), jitter)


def test_a_step_shows_the_same_after_a_resume_and_others_something_else():
    data, resumed = noise(points=30), noise(points=30)
    resumed.trainer = SimpleNamespace(global_step=2, accumulate_grad_batches=2)
    stream, later = iter(data.train_dataloader()), iter(resumed.train_dataloader())
    drawn = [next(stream) for _ in range(6)]
    for one, other in zip(drawn[4:], [next(later), next(later)], strict=True):
        assert one.step == other.step
        assert places(one) == places(other)
        old, new = (known.batch_at(draw, CPU, BOTH).parts["data"] for known, draw in ((data, one), (resumed, other)))
        assert old.context["randomness"] == new.context["randomness"]
        assert torch.equal(old.targets["jacobian"], new.targets["jacobian"])
    assert len({str(places(draw)) for draw in drawn}) == 6
    assert places(noise(points=30, seed=1).draw(0)) != places(drawn[0])


def test_parts_hold_the_same_rays_and_only_one_is_evaluated():
    data = noise(points=5, parts=["data", "coarse"])
    parts = data.transfer_batch_to_device(data.draw(0), CPU, 0).parts
    assert list(parts) == ["data", "coarse"]
    assert torch.equal(parts["data"].coordinates, parts["coarse"].coordinates)
    part = data.transfer_batch_to_device(next(iter(data.test_dataloader())), CPU, 0).parts
    assert list(part) == ["data"]
    assert part["data"].targets == {}
    assert "randomness" not in part["data"].context


@pytest.mark.parametrize("quantities", [("value",), ("value", "jacobian"), ()])
def test_only_the_targets_that_are_read_are_made(quantities):
    data = noise(points=5)
    data.quantities = quantities
    assert set(data.transfer_batch_to_device(data.draw(0), CPU, 0).parts["data"].targets) == set(quantities)


def test_constants_come_from_training_views_alone():
    data = noise(factor=2, chunk=30)
    (batch,) = data.constant_batches(CPU)
    part = batch.parts["data"]
    poses = torch.from_numpy(KNOWN.poses).float()
    views = [next(v for v in range(7) if torch.equal(poses[v], pose)) for pose in part.context["poses"][0]]
    rows, columns = part.coordinates[0].long().T
    assert set(views) == set(TRAIN)
    assert len(views) == 30
    assert not (rows % 2).any()
    assert not (columns % 2).any()
    assert_close(part.targets["value"][0], PIXELS[views, rows, columns] / 255)
    assert "randomness" not in part.context


# evaluation


@pytest.mark.parametrize("chunk", [17, 4096])
@pytest.mark.parametrize("factor", [1, 3])
def test_the_test_looks_at_every_pixel_of_every_test_view_in_order(factor, chunk):
    data = noise(factor=factor, chunk=chunk)
    expected = [[view, row, column] for view in TEST for row in range(ROWS) for column in range(COLUMNS)]
    assert [place for drawn in data.test_dataloader() for place in places(drawn)] == expected
    assert max(drawn.pixels.shape[1] for drawn in data.test_dataloader()) <= chunk
    for picture, view in enumerate(TEST):
        assert torch.equal(data.scored(picture).truth, PIXELS[view])


@pytest.mark.parametrize("pixel_centre", [0.5, 0.0])
def test_a_smaller_test_compares_means_at_the_middle_of_their_squares(pixel_centre):
    data = noise(test_factor=2, pixel_centre=pixel_centre)
    assert data.shape == (5, 6)
    means = PIXELS[:, :10, :12].float().reshape(7, 5, 2, 6, 2, 3).mean((2, 4))
    seen = torch.cat([drawn.pixels[0] for drawn in data.test_dataloader()]).reshape(-1, 5, 6, 2)
    grid = torch.stack(torch.meshgrid(torch.arange(5), torch.arange(6), indexing="ij"), -1)
    for picture, view in enumerate(TEST):
        assert_close(data.scored(picture).truth.float(), means[view], rtol=0, atol=0.5 + 1e-4)
        assert_close(seen[picture].double(), 2.0 * grid.double() + (0.5 if pixel_centre else 0.0))


def test_fewer_test_views_are_the_first_ones():
    few = noise(test_views=2)
    assert few.names == [KNOWN.names[view] for view in TEST[:2]]
    assert sum(drawn.pixels.shape[1] for drawn in few.test_dataloader()) == 2 * ROWS * COLUMNS
    assert {int(view) for drawn in few.val_dataloader() for view in drawn.views.unique()} == set(TEST[:2])
    assert noise(test_views=99).names == noise().names


@pytest.mark.parametrize("validation_points", [None, 40, 10**6])
@pytest.mark.parametrize("test_factor", [1, 2])
def test_a_validation_knows_the_truth_of_what_it_looks_at(validation_points, test_factor):
    data = noise(validation_points=validation_points, test_factor=test_factor, chunk=13)
    draws = list(data.val_dataloader())
    total = len(TEST) * data.size
    seen = [
        (int(view), *(round((side - 0.5 * (test_factor - 1)) / test_factor) for side in at))
        for drawn in draws
        for view, at in zip(drawn.views[0], drawn.pixels[0].tolist(), strict=True)
    ]
    assert len(set(seen)) == len(seen) == min(validation_points or total, total)
    assert [place for drawn in data.val_dataloader() for place in places(drawn)] == [
        p for drawn in draws for p in places(drawn)
    ]
    values = torch.rand(len(seen), 3)
    ((kept, truth, mask),) = data.validated(values)
    assert kept is values
    assert mask is None
    truths = {view: data.scored(picture).truth / 255 for picture, view in enumerate(TEST)}
    assert_close(truth, torch.stack([truths[view][row, column] for view, row, column in seen]))


@pytest.mark.parametrize("test_factor", [1, 2])
def test_references_are_the_mean_colour_and_the_photograph_from_nearest_by(test_factor):
    data = noise(test_factor=test_factor, factor=2)
    references = {name: make() for name, make in data.references({}).items()}
    assert list(references) == ["mean colour", "nearest view"]
    assert all(pictures.shape == (len(TEST), *data.shape, 3) for pictures in references.values())
    mean = PIXELS[list(TRAIN)].double().mean((0, 1, 2)) / 255
    assert_close(references["mean colour"].double(), mean.expand(len(TEST), *data.shape, 3), rtol=1e-6, atol=0)
    for picture, view in enumerate(TEST):
        away = np.linalg.norm(KNOWN.poses[list(TRAIN), :, 3] - KNOWN.poses[view, :, 3], axis=-1)
        assert_close(references["nearest view"][picture], data.shrunk(0, TRAIN[away.argmin()]) / 255)


def test_describe_says_what_the_camera_is():
    described = noise(factor=3, test_factor=2).describe()
    sizes = {name: described[name] for name in ("in_features", "out_features", "shape", "signals", "input_scale")}
    assert sizes == {"in_features": 3, "out_features": 4, "shape": [5, 6], "signals": 1, "input_scale": 1.0}
    near, far = KNOWN.near, KNOWN.far
    assert described["camera"] == {"near": near, "far": far, "box": True, "background": [1.0, 1.0, 1.0], "ndc": None}


WRONG = {
    "factor": ({"factor": 0}, "data.factor must be at least 1, got 0"),
    "factor that leaves one row": ({"factor": 12}, "factor=12 leaves [1, 2] of [10, 13]", "smaller data.factor"),
    "points": ({"points": 0}, "data.points must be at least 1, got 0"),
    "validation": ({"validation_points": 0}, "data.validation_points must be at least 1, got 0"),
    "test views": ({"test_views": 0}, "data.test_views must be at least 1, got 0"),
    "test factor": ({"test_factor": 0}, "data.test_factor must be at least 1, got 0"),
    "chunk": ({"chunk": 0}, "data.chunk must be at least 1, got 0"),
    "filter": ({"filter": "scharr"}, "must be one of central, sobel, got scharr"),
    "border": ({"border": "mirror"}, "one_sided, replicate, periodic, got mirror"),
    "parts": ({"parts": ["coarse"]}, "data.parts must name the part data", "['coarse']"),
    "test factor beyond the size": ({"test_factor": 11}, "test_factor", "11"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_options_are_refused_in_one_line(case):
    options, *phrases = WRONG[case]
    refused(options, *phrases)


# layouts


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_a_folder_is_found_out(layout, tmp_path):
    write, read = LAYOUTS[layout]
    write(tmp_path, read_spheres(size=12, views=10, hold_every=4))
    data, alone = prepared(Scene(str(tmp_path))), read(tmp_path)
    (found,) = data.captures
    assert (found.names, found.train, found.test, found.ndc) == (alone.names, alone.train, alone.test, alone.ndc)
    assert_array_equal(found.poses, alone.poses)
    assert torch.equal(data.photographs[0].pixels, torch.from_numpy(np.stack([alone.read(v) for v in range(len(alone.names))])))


def test_without_a_folder_the_scene_is_the_generated_one():
    assert Scene().captures[0].names == Spheres().captures[0].names
    assert Scene().captures[0].size == (100, 100)
    assert (Scene().points, Scene(points=7).points) == (128, 7)


def test_an_unknown_folder_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    files = "poses_bounds.npy or transforms_train.json or transforms.json"
    refused({"path": str(tmp_path)}, "A scene is a folder with photographs and", files, "holds notes.txt", kind=Scene)
    refused({"path": str(tmp_path / "nowhere")}, "data.path", "nowhere", kind=Scene)
