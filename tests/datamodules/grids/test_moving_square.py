import numpy as np
import pytest
from numpy.testing import assert_array_equal

from datamodules.grids.moving_square import moving_square

SEEDS = range(3)


@pytest.mark.parametrize("seed", SEEDS)
def test_frames_are_the_background_up_to_noise_where_nothing_moves(seed):
    frames, background, foreground = moving_square(seed=seed)
    assert frames.dtype == background.dtype == np.uint8
    noise = frames.astype(float) - background
    assert noise.shape == (*foreground.shape, 3) == (40, 64, 64, 3)
    still = noise[~foreground]
    assert abs(still.mean()) < 0.02
    assert still.std() == pytest.approx(np.hypot(2, 1 / np.sqrt(6)), rel=0.01)  # both videos are rounded
    assert np.abs(still).max() < 14 < 60 < np.abs(noise[foreground]).max(-1).min()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("frames", "side"), [(12, 16), (14, 33), (15, 64), (40, 64), (60, 20)])
def test_every_pixel_is_uncovered_most_of_the_time(seed, frames, side):
    _, _, foreground = moving_square(frames, side, seed)
    assert foreground.mean(0).max() < 0.3


def test_both_objects_cross_the_whole_picture():
    _, _, foreground = moving_square()
    for half in (foreground[:, :32], foreground[:, 32:]):
        assert half.any((0, 1)).all()
    covered = foreground.sum((1, 2))[15:25]  # both are inside
    assert np.ptp(covered) <= 0.15 * covered.mean()
    assert covered.mean() == pytest.approx((64 / 5) ** 2 + np.pi * (64 / 8) ** 2, rel=0.08)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_background_only_changes_its_brightness_slowly(seed):
    _, background, _ = moving_square(seed=seed)
    light = background.astype(float).mean((1, 2, 3))
    light /= light.mean()
    assert 0.055 < np.ptp(light) < 0.065
    assert np.abs(np.diff(light)).max() < 0.006
    still = background / light[:, None, None, None]
    assert np.ptp(still, 0).max() < 1.5
    assert still[0].std((0, 1)).min() > 5 > np.abs(np.diff(still[0], axis=0)).max() / 2.4  # it has texture, and is smooth


def test_the_seed_decides_everything():
    for one, same, other in zip(moving_square(seed=4), moving_square(seed=4), moving_square(seed=5), strict=True):
        assert_array_equal(one, same)
        assert (one != other).any()


@pytest.mark.parametrize(("frames", "side"), [(11, 64), (40, 15)])
def test_clips_too_small_for_their_promises_are_refused(frames, side):
    with pytest.raises(ValueError, match=f"frames >= 12 and side >= 16, got frames={frames} and side={side}"):
        moving_square(frames, side)
