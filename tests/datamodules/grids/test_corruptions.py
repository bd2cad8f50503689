import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from datamodules.common.batch import Units
from datamodules.grids.corruptions import ColourJitter, Crop, Damage, Gaussian, Missing, Occlusion, SaltAndPepper
from inr.errors import InputError
from inr.randomness import generator

SHAPES = [(40,), (30, 40), (8, 9, 10)]
ALL = [Occlusion(6, 3), ColourJitter(), Missing(0.3), Gaussian(0.05), SaltAndPepper(0.2), Crop(0.3)]
LOCAL = [Occlusion(6, 3), SaltAndPepper(0.2)]
BYTES, SOUND = Units(127.5, 127.5, 255.0, "bytes"), Units(0.5, 0.0, 0.5, "amplitude")


def signal(shape, channels=3):
    torch.manual_seed(0)
    return 0.3 + 0.4 * torch.rand(*shape, channels)


def corrupt(corruption, values, step=0):
    return corruption(values, generator(0, step, "test"))


def kind(corruption):
    return type(corruption).__name__


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("corruption", ALL, ids=kind)
def test_a_signal_changes_in_the_region_and_nowhere_else(corruption, shape):
    values = signal(shape)
    before = values.clone()
    after = corrupt(corruption, values)
    changed = (after.values != values).any(-1)
    assert torch.equal(values, before)
    assert after.region.shape == after.missing.shape == shape
    assert not (changed & ~after.region).any()
    assert not (after.missing & ~after.region).any()
    assert torch.equal(changed, after.region & ~after.missing)


@pytest.mark.parametrize("corruption", ALL, ids=kind)
def test_what_happens_depends_on_the_generator_alone(corruption):
    one, same, other = (corrupt(corruption, signal((30, 40)), step) for step in (0, 0, 1))
    assert torch.equal(one.values, same.values)
    assert torch.equal(one.missing, same.missing)
    assert not (torch.equal(one.values, other.values) and torch.equal(one.missing, other.missing))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("stripes", [1, 3, 6])
def test_an_occlusion_is_a_block_of_stripes(shape, stripes):
    seen = set()
    for step in range(20):
        after = corrupt(Occlusion(6, stripes), signal(shape), step)
        inside = after.region.nonzero()
        low, high = inside.amin(0), inside.amax(0)
        assert (high - low + 1).tolist() == [6] * len(shape)
        assert len(inside) == 6 ** len(shape)
        assert len(after.values[after.region].unique(dim=0)) == stripes
        seen.add(tuple(low.tolist()))
    assert len(seen) > 1


def test_fractions_are_as_asked():
    values = signal((50, 80))
    assert corrupt(Missing(0.3), values).missing.sum() == 1200
    left = ~corrupt(Crop(0.25), values).missing
    assert (left.sum(), left.any(1).sum(), left.any(0).sum()) == (25 * 40, 25, 40)
    noise = corrupt(Gaussian(0.1), values).values - values
    assert noise.std().item() == pytest.approx(0.1, rel=0.05)
    salted = corrupt(SaltAndPepper(0.2), values)
    assert salted.region.float().mean().item() == pytest.approx(0.2, abs=0.03)
    assert set(salted.values[salted.region].unique().tolist()) == {0.0, 1.0}


def test_jitter_is_one_line_per_channel_within_its_bounds():
    for step in range(10):
        values = signal((30, 40))
        after = corrupt(ColourJitter(0.2, 0.1), values, step).values
        for channel in range(3):
            x, y = values[..., channel].flatten(), after[..., channel].flatten()
            gain = (y.max() - y.min()) / (x.max() - x.min())
            assert_close(y - gain * x, (y - gain * x).mean().expand_as(y), atol=1e-5, rtol=0)
            assert abs(gain - 1) <= 0.2001
            assert (y - gain * x).mean().abs() <= 0.1001


def test_a_picture_can_say_what_is_missing(tmp_path):
    mask = np.random.default_rng(0).random((30, 40)) < 0.5
    Image.fromarray(mask.astype(np.uint8) * 9).save(tmp_path / "mask.png")
    corruption = Missing(mask=str(tmp_path / "mask.png"))
    assert np.array_equal(corrupt(corruption, signal((30, 40))).missing.numpy(), mask)
    with pytest.raises(InputError, match=r"as large as the signal, \[40, 30\], got \[30, 40\]"):
        corrupt(corruption, signal((40, 30)))


@pytest.mark.parametrize("units", [BYTES, SOUND], ids=["bytes", "sound"])
@pytest.mark.parametrize("corruption", ALL, ids=kind)
def test_in_file_units_the_range_holds_and_the_rest_is_exact(corruption, units):
    values = (2 * signal((30, 40)) - 1) * units.scale + units.offset
    after = Damage([corruption, Gaussian(2.0)], units)(values, "name")
    fitted = (after.values - units.offset) / units.scale
    assert fitted.min() >= -1.000001
    assert fitted.max() <= 1.000001
    after = Damage([corruption], units)(values, "name")
    assert torch.equal(after.values[~after.region], values[~after.region])
    assert (after.values[after.missing] == units.offset).all()


def test_corruptions_follow_one_another():
    values = 255 * signal((30, 40))
    both = Damage([LOCAL[0], Missing(0.3)], BYTES)(values, "name")
    square = Damage([LOCAL[0]], BYTES)(values, "name")
    assert torch.equal(both.region, square.region | both.missing)
    assert torch.equal(both.values[~both.missing], square.values[~both.missing])
    assert not torch.equal(Damage([LOCAL[0]], BYTES)(values, "other").region, square.region)


@pytest.mark.parametrize("corruption", LOCAL, ids=kind)
def test_a_known_region_is_missing(corruption):
    values = 255 * signal((30, 40))
    unknown, known = (Damage([corruption], BYTES, known)(values, "name") for known in (False, True))
    assert not unknown.missing.any()
    assert torch.equal(known.missing, unknown.region)
    assert (known.values[known.missing] == 127.5).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Occlusion(0), "1 <= stripes <= size, got stripes=4, size=0"),
        (lambda: Occlusion(3, 4), "got stripes=4, size=3"),
        (lambda: corrupt(Occlusion(31), signal((30, 40))), r"fit into the signal, \[30, 40\], got 31"),
        (lambda: ColourJitter(1.0), "0 <= scale < 1 and 0 <= shift <= 1, got 1.0 and 0.1"),
        (lambda: ColourJitter(0.2, -0.1), "got 0.2 and -0.1"),
        (lambda: Missing(0.0), "between 0 and 1, both excluded, got 0.0"),
        (lambda: Missing(0.5, "nowhere.png"), "must be an existing file, got nowhere.png"),
        (lambda: Gaussian(0.0), "must be positive, got 0.0"),
        (lambda: SaltAndPepper(1.0), "both excluded, got 1.0"),
        (lambda: Crop(1.0), "both excluded, got 1.0"),
    ],
)
def test_wrong_options_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
