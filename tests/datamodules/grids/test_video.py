"""Films as collections of frames."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from datamodules.grids.moving_square import moving_square
from datamodules.grids.video import VideoCollection, grey, scaled
from inr.errors import InputError

random = np.random.default_rng(0)
FRAMES = random.integers(0, 256, (6, 20, 30, 3), dtype=np.uint8)
HIGHWAY = Path(os.environ.get("INR_DATA", "nowhere")) / "video" / "highway.avi"
SHOWN = {"result": "data", "whole_views": None, "smoothed": {"part": "data", "quantity": "jacobian"}}  # to the other groups


@pytest.fixture
def folder(tmp_path):
    for place, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(tmp_path / f"{place}.png")
    return str(tmp_path)


def everything(data):
    data.setup()
    return np.stack([data.source.read(place) for place in range(len(data.source.names))])


def test_the_generated_film_comes_with_its_truth():
    data = VideoCollection()
    film, background, foreground = moving_square()
    assert_array_equal(everything(data), film)
    assert_array_equal(data.background, background)
    assert_array_equal(data.foreground, foreground)
    header = {"in_features": 2, "out_features": 3, "shape": [64, 64], "training_shape": [64, 64], "signals": 40}
    assert data.describe() == header | {"input_scale": 1.0} | SHOWN


@pytest.mark.parametrize(("first", "last", "step"), [(0, None, 1), (1, 4, 1), (1, None, 2), (0, 5, 3)])
@pytest.mark.parametrize("generated", [True, False])
def test_frames_are_chosen_and_numbered_as_in_the_film(generated, first, last, step, folder):
    data = VideoCollection(path=None if generated else folder, first=first, last=last, step=step)
    whole = moving_square()[0] if generated else FRAMES
    end = len(whole) if last is None else last + 1
    assert_array_equal(everything(data), whole[first:end:step])
    assert data.names == [f"frame {number:04d}" for number in range(first, end, step)]
    assert data.rate == 25 / step
    if generated:
        assert_array_equal(data.background, moving_square()[1][first:end:step])
        assert_array_equal(data.foreground, moving_square()[2][first:end:step])


def test_all_frames_are_trained_on_and_evaluated_unless_some_are_held_out(folder):
    data = VideoCollection(path=folder)
    assert not data.holds_out
    assert data.names == data.trained.names == data.source.names
    assert (data.background, data.foreground) == (None, None)
    assert VideoCollection(path=folder, held_out=2).names == ["frame 0004", "frame 0005"]


@pytest.mark.parametrize(("size", "shape"), [(None, (20, 30)), (10, (10, 15)), (40, (40, 60)), ([8, 8], (8, 8))])
def test_frames_are_resized(size, shape, folder):
    frames = everything(VideoCollection(path=folder, size=size))
    assert frames.shape == (6, *shape, 3)
    target = Image.fromarray(FRAMES[2]).resize(shape[::-1], Image.Resampling.LANCZOS)
    assert_array_equal(frames[2], np.asarray(target))


def test_the_shorter_side_counts_in_both_directions():
    assert scaled(240, 320, [120]) == (120, 160)
    assert scaled(320, 240, [120]) == (160, 120)


def test_the_generated_film_is_drawn_at_its_size():
    data = VideoCollection(size=32)
    for found, expected in zip((everything(data), data.background, data.foreground), moving_square(side=32), strict=True):
        assert_array_equal(found, expected)


def test_grey_films_have_one_channel(tmp_path, folder):
    for place, frame in enumerate(FRAMES):
        Image.fromarray(frame[..., 0]).save(tmp_path / f"{place}.png")
    assert_array_equal(everything(VideoCollection(path=folder)), FRAMES[..., :1])
    assert everything(VideoCollection(path=folder, colour="rgb")).shape[-1] == 3


def test_colour_can_be_left_out():
    data = VideoCollection(colour="grey")
    assert_array_equal(everything(data), grey(moving_square()[0]))
    assert data.background.shape == (40, 64, 64, 1)
    assert data.describe()["out_features"] == 1


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"size": 1}, "data.size must be .* at least 2, got 1"),
        *(({"size": size}, "data.size must be") for size in ([], [8, 8, 8])),
        ({"colour": "blue"}, "data.colour must be one of rgb, grey"),
        ({"size": [32, 40]}, "The generated film is square"),
        ({"size": 8}, "16 pixels or more"),
        *((choice, "which has 40") for choice in ({"last": 40}, {"first": 50})),
        ({"step": 0}, "0 <= first <= last and step >= 1"),
        ({"path": "nowhere.avi"}, "data.path"),
        ({"held_out": 40}, "data.shown=train needs signals"),
    ],
)
def test_what_is_no_choice_is_refused(options, rule):
    with pytest.raises(InputError, match=rule):
        VideoCollection(**options).describe()


@pytest.mark.skipif(not HIGHWAY.is_file(), reason="INR_DATA has no video/highway.avi")
def test_a_real_film():
    data = VideoCollection(path=str(HIGHWAY), first=1, last=20, size=60)
    assert everything(data).shape == (20, 60, 80, 3)
    assert data.rate == 60
