"""Pixels that a mask hides, or that lie beyond a smaller photograph, are neither drawn, read by a filter, nor scored."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from tiny.captures import generated
from torch.testing import assert_close

from datamodules.common.signal_data import Wanted
from datamodules.scenes.scene_data import OneScene
from inr.errors import InputError
from inr.supervision.differences import jacobian_at

CPU = torch.device("cpu")
ROWS, COLUMNS = 10, 13
RANDOM = np.random.default_rng(0)
NOISE = RANDOM.integers(0, 256, (7, ROWS, COLUMNS, 3), dtype=np.uint8)
SHOWN = RANDOM.random((7, ROWS, COLUMNS)) < 0.9
SIZES = tuple((ROWS, COLUMNS) if view % 2 else (8, 9) for view in range(7))
for view, (rows, columns) in enumerate(SIZES):
    SHOWN[view, rows:] = False
    SHOWN[view, :, columns:] = False
KNOWN = dataclasses.replace(
    generated(size=12, views=7, hold_every=3),
    size=(ROWS, COLUMNS),
    read=NOISE.__getitem__,
    shown=SHOWN.__getitem__,
    sizes=SIZES,
)
POSES = torch.from_numpy(KNOWN.poses).float()
PIXELS = torch.from_numpy(NOISE)


class Noise(OneScene):
    capture_of = KNOWN

    def capture(self):
        return self.capture_of


def noise(**options):
    data = Noise(**options)
    data.setup()
    data.serve(Wanted({"data": frozenset({"value", "jacobian"})}))
    return data


def looks(part):
    views = (part.context["poses"][0][:, None] == POSES).all((-1, -2)).long().argmax(1)
    return views, part.coordinates[0].long()


def drawn(data, count):
    return [
        data.transfer_batch_to_device(draw, CPU, 0).parts["data"] for draw in itertools.islice(data.training_draws(0), count)
    ]


@pytest.mark.parametrize("factor", [1, 2])
def test_an_epoch_draws_every_shown_training_pixel_once_and_no_other(factor):
    data = noise(points=20, factor=factor)
    pixels = itertools.product(KNOWN.train, range(0, ROWS, factor), range(0, COLUMNS, factor))
    expected = [place for place in pixels if SHOWN[place]]
    parts = drawn(data, -(-len(expected) // 20))
    places = [(view, *at.tolist()) for part in parts for view, at in zip(*looks(part), strict=True)]
    assert sorted((int(view), row, column) for view, row, column in places[: len(expected)]) == expected
    assert data.trained.size == len(expected)


def test_targets_are_those_of_the_drawn_pixels_and_derivatives_weigh_only_where_all_they_read_is_shown():
    data = noise(points=200)
    (part,) = drawn(data, 1)
    views, at = looks(part)
    assert_close(part.targets["value"][0], PIXELS[views, *at.T] / 255)
    assert part.weights.keys() == {"jacobian"}
    # A derivative that reads a hidden pixel changes if that pixel does.
    other = PIXELS.double().clone()
    other[~torch.from_numpy(SHOWN)] = 1000 + 1000 * torch.rand(int((~SHOWN).sum()), 3).double()
    changed = jacobian_at(other, at, among=views) != jacobian_at(PIXELS.double(), at, among=views)
    assert torch.equal(part.weights["jacobian"][0] == 0, changed.any(-1).any(-1))
    assert 0.2 < part.weights["jacobian"].mean() < 0.9


def test_constants_and_observations_are_of_shown_pixels():
    data = noise(chunk=30)
    for batch in [*data.constant_batches(CPU), *data.observation_batches(torch.zeros(1, dtype=torch.long), CPU)]:
        views, at = looks(batch.parts["data"])
        assert SHOWN[views, *at.T].all()


@pytest.mark.parametrize("factor", [1, 2])
def test_truth_is_scored_where_it_is_shown(factor):
    data = noise(test_factor=factor)
    rows, columns = ROWS // factor, COLUMNS // factor
    for item, view in enumerate(KNOWN.test):
        squares = SHOWN[view, : rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
        assert torch.equal(data.truth(item).masks["psnr"], torch.from_numpy(squares.all((1, 3))))
        assert data.extent(item) == (SIZES[view][0] // factor, SIZES[view][1] // factor)
    assert "but those that a mask hides" in data.definitions()["psnr"]


def test_a_validation_leaves_hidden_pixels_out():
    data = noise(validation_points=None)
    values = torch.rand(len(data.tested) * data.lattice_size, 3)
    ((_, truth, mask),) = data.validated(values)
    assert torch.equal(mask, torch.from_numpy(SHOWN[list(KNOWN.test)].flatten()))
    assert_close(truth, PIXELS[list(KNOWN.test)].flatten(0, 2) / 255)


def test_baselines_see_what_is_shown():
    data = noise()
    rows = {name: make() for name, make in data.baselines().items()}
    train = list(KNOWN.train)
    mean = NOISE[train][SHOWN[train]].astype(float).mean(0) / 255
    assert_close(rows["mean colour"][0, 0, 0].double(), torch.from_numpy(mean), rtol=1e-6, atol=0)
    for item, view in enumerate(KNOWN.test):
        alike = [other for other in train if SIZES[other] == SIZES[view]]
        away = np.linalg.norm(KNOWN.poses[alike, :, 3] - KNOWN.poses[view, :, 3], axis=-1)
        nearest = alike[away.argmin()]
        expected = np.where(SHOWN[nearest][..., None], NOISE[nearest] / 255, mean)
        assert_close(rows["nearest view"][item].double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


def test_a_scene_of_which_nothing_is_shown_is_refused():
    data = Noise()
    data.capture_of = dataclasses.replace(KNOWN, shown=lambda view: np.zeros((ROWS, COLUMNS), bool))
    with pytest.raises(InputError, match=r"Masks must leave pixels to train on, with factor=1 they hide all; correct them\.$"):
        drawn(data, 1)


def test_a_view_of_which_nothing_is_scored_is_refused():
    pattern = np.indices((ROWS, COLUMNS)).sum(0) % 2 == 0
    data = Noise(test_factor=2)
    data.capture_of = dataclasses.replace(KNOWN, shown=lambda view: pattern)
    with pytest.raises(
        InputError, match=r"square of 2 pixels to score, the mask of view_00 leaves none; .* data.test_factor\.$"
    ):
        data.truth(0)


def test_distorted_and_straight_scenes_go_together():
    bent = dataclasses.replace(KNOWN, shown=None, intrinsics=np.pad(KNOWN.intrinsics, ((0, 0), (0, 7)), constant_values=0.01))

    class Two(Noise):
        def captures(self, split):
            return {"straight": KNOWN, "bent": bent}

    data = Two(points=30)
    data.serve(Wanted({"data": frozenset({"value", "jacobian"})}))
    part = data.transfer_batch_to_device(next(data.training_draws(0)), CPU, 0).parts["data"]
    assert part.context["intrinsics"].shape == (2, 30, 11)
    assert not part.context["intrinsics"][0, :, 4:].any()
    assert (part.context["intrinsics"][1, :, 4:] == 0.01).all()
    assert (part.weights["jacobian"][1] == 1).all()
    half = len(data.tested) // 2
    assert torch.equal(data.truth(0).masks["psnr"], torch.from_numpy(SHOWN[KNOWN.test[0]]))
    assert data.truth(half).masks["psnr"].all()
