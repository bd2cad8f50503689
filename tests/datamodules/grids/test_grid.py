import itertools

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from datamodules.grids.corruptions import Crop, Missing, Occlusion
from datamodules.grids.grid import GridSignal
from datamodules.grids.image import ImageData
from inr.errors import InputError
from inr.randomness import draw_indices
from inr.supervision.differences import BORDERS, FILTERS, jacobian_at

SIDES = (13, 11)
random = np.random.default_rng(1)
PICTURE = random.normal(size=(*SIDES, 3))
RGB = random.integers(0, 256, (9, 7, 3), dtype=np.uint8)
DEEP = random.integers(0, 65536, (9, 7, 3), dtype=np.uint16)
NODES = list(itertools.product(*map(range, SIDES)))
GRIDS = [(1, 0), (2, 0), (3, 2), (4, 1)]
CPU = torch.device("cpu")
BOTH = ("value", "jacobian")


@pytest.fixture
def load(tmp_path):
    """Image data of an array that is written first."""

    def load(array, **options):
        np.save(tmp_path / "picture.npy", array)
        data = ImageData(path=str(tmp_path / "picture.npy"), **options)
        data.setup()
        return data

    return load


@pytest.fixture
def picture(load):
    """Image data of a random array, with its options."""
    return lambda **options: load(PICTURE, **options)


def flat(mask):
    return mask.flatten().nonzero().flatten()


def on_grid(factor, offset):
    return torch.tensor([all(part % factor == offset for part in node) for node in NODES]).reshape(SIDES)


@pytest.mark.parametrize("train_pixels", ["grid", "random", "all", "stencil"])
@pytest.mark.parametrize(("factor", "offset"), GRIDS)
def test_train_pixels_choose_the_samples(picture, train_pixels, factor, offset):
    data = picture(factor=factor, offset=offset, train_pixels=train_pixels)
    chosen, grid = data.train_samples.tolist(), flat(on_grid(factor, offset)).tolist()
    assert chosen == sorted(set(chosen))
    described = data.describe()["training_shape"]
    if train_pixels == "all" or factor == 1:
        assert chosen == list(range(len(NODES)))
    elif train_pixels == "random":
        assert len(chosen) == len(grid)
        again, other = (picture(factor=factor, offset=offset, train_pixels="random", seed=seed) for seed in (0, 1))
        assert grid != chosen == again.train_samples.tolist() != other.train_samples.tolist()
    else:
        assert chosen == {"grid": grid, "stencil": flat(~data.unread()).tolist()}[train_pixels]
    step = 1 if train_pixels in ("all", "stencil") else factor
    assert described == [len(range(offset if step > 1 else 0, side, step)) for side in SIDES]


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize(("factor", "offset"), GRIDS)
def test_unseen_and_unread_samples_do_not_reach_the_targets(picture, factor, offset, border, filter):
    data = picture(factor=factor, offset=offset, border=border, filter=filter)
    if factor == 1:
        assert data.unseen().all()
        assert data.unread().all()
        return
    read = {quantity: torch.zeros(SIDES, dtype=torch.bool) for quantity in BOTH}
    original = data.trained.samples
    before = data.trained.batch(data.train_samples, BOTH).parts["data"].targets
    for node in NODES:
        data.trained = GridSignal(original.clone(), data.units, filter, border)
        data.trained.samples[node] += 1
        after = data.trained.batch(data.train_samples, BOTH).parts["data"].targets
        for quantity, mask in read.items():
            mask[node] = not torch.equal(before[quantity], after[quantity])
    assert torch.equal(data.unseen(), ~read["value"])
    assert torch.equal(data.unread(), ~(read["value"] | read["jacobian"]))


@pytest.mark.parametrize("train_pixels", ["grid", "random", "all", "stencil"])
def test_limit_keeps_some_of_the_training_samples(picture, train_pixels):
    everything = picture(factor=3, train_pixels=train_pixels).train_samples
    some = picture(factor=3, train_pixels=train_pixels, limit=6)
    assert len(some.train_samples) == 6
    assert set(some.train_samples.tolist()) < set(everything.tolist())
    assert torch.equal(picture(factor=3, train_pixels=train_pixels, limit=10**6).train_samples, everything)
    assert not torch.equal(picture(factor=3, train_pixels=train_pixels, limit=6, seed=1).train_samples, some.train_samples)
    assert torch.equal(some.unseen(), picture(factor=3).unseen())


@pytest.mark.parametrize("array", [PICTURE, RGB, DEEP])
@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("border", BORDERS)
def test_a_batch_holds_the_fitted_numbers_and_their_derivatives(load, array, border, filter):
    data = load(array, filter=filter, border=border)
    samples = torch.randperm(data.lattice_size, generator=torch.Generator().manual_seed(0))[:20]
    part, fitted = data.trained.batch(samples, BOTH).parts["data"], data.normalise(data.trained.samples)
    indices = part.coordinates[0].long()
    assert torch.equal(indices @ torch.tensor([data.shape[1], 1]), samples)
    assert_close(part.targets["value"], fitted[tuple(indices.T)][None])
    assert_close(part.targets["jacobian"], jacobian_at(fitted, indices, filter, border)[None], rtol=1e-5, atol=1e-6)
    assert part.targets["jacobian"].dtype == part.targets["value"].dtype == torch.float32


def take(data, count, step=0):
    return [draw.samples for draw in itertools.islice(data.training_draws(step), count)]


@pytest.mark.parametrize("points", [5, 10, 41])
def test_every_epoch_of_draws_shows_every_training_sample_once(picture, points):
    data = picture(factor=2, points=points)
    epoch = len(data.train_samples)
    drawn = torch.cat(take(data, 2 * epoch // points + 1))
    for half in (drawn[:epoch], drawn[epoch : 2 * epoch]):
        assert torch.equal(half.sort().values, data.train_samples)
    assert not torch.equal(drawn[:points], take(picture(factor=2, points=points, seed=1), 1)[0])


@pytest.mark.parametrize("points", [None, 42, 1000])
def test_enough_points_make_one_batch_that_is_built_once(picture, points):
    data = picture(factor=2, points=points)
    assert len(data.train_samples) == 42
    assert take(data, 3, 5) == [None] * 3
    everything, again = itertools.islice(data.training_draws(0), 2)
    whole = data.training_batch(everything, CPU)
    repeated = data.training_batch(again, CPU).parts["data"]
    assert whole.parts["data"].coordinates is repeated.coordinates
    assert whole.parts["data"].targets is repeated.targets
    assert [part.context["randomness"].step for part in (whole.parts["data"], repeated)] == [0, 1]
    expected = data.trained.batch(data.train_samples, BOTH).parts["data"]
    assert torch.equal(whole.parts["data"].coordinates, expected.coordinates)
    assert_close(whole.parts["data"].targets, expected.targets)


@pytest.mark.parametrize("chunk", [1, 20, 143, 10**6])
def test_the_chunk_bounds_what_is_looked_at_together(picture, chunk):
    data = picture(chunk=chunk)
    for loader, expected in ((data.test_dataloader(), torch.arange(143)), (data.val_dataloader(), data.validation_samples)):
        parts = [torch.arange(143) if draw.samples is None else draw.samples for draw in loader]
        assert len(parts) == len(loader) == -(-len(expected) // chunk)
        assert max(map(len, parts)) == min(chunk, len(expected))
        assert torch.equal(torch.cat(parts), expected)
    (batch,) = data.constant_batches(CPU)
    rows, columns = batch.parts["data"].coordinates[0].long().T
    even = 11 * rows + columns
    assert len(even) == min(chunk, 143)
    assert even[0] == 0
    assert torch.equal(even, even.unique())


@pytest.mark.parametrize("validation_points", [1, 50, 143, 1000, None])
def test_validation_looks_at_so_many_samples_the_same_every_time(picture, validation_points):
    looked_at, again = (picture(validation_points=validation_points).validation_samples for _ in range(2))
    assert len(looked_at.unique()) == len(looked_at) == min(validation_points or 143, 143)
    assert torch.equal(looked_at, again)
    if validation_points == 50:
        assert not torch.equal(looked_at, picture(validation_points=50, seed=1).validation_samples)


@pytest.mark.parametrize("train_pixels", ["grid", "random", "all", "stencil"])
@pytest.mark.parametrize(("factor", "offset"), GRIDS)
def test_what_is_scored_was_shown_or_not(picture, train_pixels, factor, offset):
    data = picture(factor=factor, offset=offset, train_pixels=train_pixels)
    scored = data.truth(0)
    unseen, unread, trained = (scored.masks[name] for name in ("psnr", "psnr_unread", "psnr_train"))
    assert scored.observed is None
    assert torch.equal(scored.truth, data.trained.samples)
    assert flat(trained).tolist() == data.train_samples.tolist()
    assert not (unread & ~unseen).any()
    if factor > 1 and train_pixels in ("grid", "stencil"):
        assert torch.equal(trained, ~{"grid": unseen, "stencil": unread}[train_pixels])


def test_the_words_say_how_many_of_the_scored_samples_were_trained_on(picture):
    assert "(" not in picture(factor=2).definitions()["psnr"]
    everything = picture(factor=2, train_pixels="all").definitions()["psnr"]
    assert everything.endswith("of factor 2 and offset 0 (101 of 101 were trained on)")
    assert "143 of 143" in picture().definitions()["psnr"]


@pytest.mark.parametrize("validation_points", [50, None])
def test_validations_are_compared_with_the_truth_at_their_samples(picture, validation_points):
    data = picture(factor=2, validation_points=validation_points)
    values = torch.rand(validation_points or 143, 3)
    ((seen, truth, mask),) = data.validated(values)
    samples = data.validation_samples
    assert torch.equal(seen, values)
    assert torch.equal(truth, data.normalise(data.trained.samples).flatten(0, 1)[samples])
    assert torch.equal(mask, data.unseen().flatten()[samples])


@pytest.mark.parametrize(("factor", "offset"), GRIDS)
def test_references_reproduce_the_samples_that_they_are_made_of(picture, factor, offset):
    data = picture(factor=factor, offset=offset)
    rows = data.baselines()
    assert list(rows) == ([] if factor == 1 else ["nearest", "bilinear", "bicubic", "hermite"])
    truth, shown = data.normalise(data.trained.samples), on_grid(factor, offset)
    for make in rows.values():
        assert_close(make()[0][shown], truth[shown])


@pytest.mark.parametrize("options", [{}, {"factor": 2, "train_pixels": "all"}, {"limit": 10**6}])
def test_samples_that_all_train_are_drawn_without_a_list_of_them(picture, options):
    data = picture(points=20, **options)
    draws = list(itertools.islice(data.training_draws(0), 9))
    next(data.constant_batches(CPU))
    assert "train_samples" not in vars(data)  # which takes eight bytes for each of them
    for step, draw in enumerate(draws):
        places = draw_indices(step, 20, len(data.train_samples), data.seed)
        assert torch.equal(draw.samples, data.train_samples[places])


MISSING = {"corruption": "missing", "corruptions": {"missing": Missing(0.2)}}


@pytest.mark.parametrize("train_pixels", ["grid", "stencil", "all"])
@pytest.mark.parametrize(("factor", "offset"), GRIDS)
def test_missing_samples_are_not_trained_on(picture, train_pixels, factor, offset):
    options = {"factor": factor, "offset": offset, "train_pixels": train_pixels, "points": 3}
    clean, data = picture(**options), picture(**options, **MISSING)
    missing = data.trained.missing.flatten()
    assert int(missing.sum()) == round(0.2 * len(NODES))
    assert data.train_samples.tolist() == [sample for sample in clean.train_samples.tolist() if not missing[sample]]
    draws = itertools.islice(data.training_draws(0), 40)
    assert not any(missing[draw.samples].any() for draw in draws)
    (constants,) = data.constant_batches(CPU)
    assert constants.parts["data"].coordinates.shape[1] == len(data.train_samples)


@pytest.mark.parametrize("filter", FILTERS)
def test_derivatives_of_missing_samples_weigh_nothing(picture, filter):
    data = picture(filter=filter, **MISSING)
    part = data.training_batch(next(data.training_draws(0)), CPU).parts["data"]
    clean = picture(filter=filter).trained.jacobian(part.coordinates[0].long())
    known = part.weights["jacobian"][0].bool()
    assert 0 < int(known.sum()) < len(known)
    assert_close(part.targets["jacobian"][0][known], clean[known])
    wrong = (part.targets["jacobian"][0][~known] - clean[~known]).abs().amax((1, 2))
    assert (wrong > 1e-4).all()  # what is not there reads as zero, which noise never is
    assert part.weights["value"].all()


def test_a_corrupted_signal_is_scored_against_the_clean_one(picture):
    clean, data = picture(), picture(**MISSING)
    scored, missing = data.truth(0), data.trained.missing
    assert torch.equal(scored.truth, clean.truth(0).truth)
    assert torch.equal(scored.observed[~missing], scored.truth.float()[~missing])
    assert torch.equal(scored.masks["psnr_altered"], missing)
    assert torch.equal(scored.masks["psnr_intact"], scored.masks["psnr_train"])
    assert {"psnr_altered", "psnr_intact"} <= set(data.definitions())
    values = torch.rand(len(NODES), 3)
    assert torch.equal(*(next(iter(one.validated(values)))[1] for one in (clean, data)))
    rows = data.baselines()
    assert list(rows) == ["input", "biharmonic"]
    for row in rows.values():
        assert_close(row()[0][~missing], data.normalise(scored.truth)[~missing])
    assert picture(factor=2, **MISSING).baselines() == {}


def test_an_occluder_is_trained_on_unless_it_is_known(picture):
    occluded = {"corruption": "occlusion", "corruptions": {"occlusion": Occlusion(4, 2)}}
    unknown, known = picture(**occluded), picture(**occluded, mask="known")
    assert (len(unknown.train_samples), len(known.train_samples)) == (len(NODES), len(NODES) - 16)
    assert list(unknown.baselines()) == ["input"]
    with pytest.raises(InputError, match=r"data.corruption must leave training samples, got none; use a smaller data.factor"):
        _ = picture(factor=6, offset=5, corruption="crop", corruptions={"crop": Crop(0.01)}).train_samples


@pytest.mark.parametrize("aspect", ["stretch", "keep"])
@pytest.mark.parametrize("factor", [1, 2])
def test_the_slope_of_a_wave_is_its_wave_number(load, aspect, factor):
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(128.0), indexing="ij")
    turns = torch.tensor([2 * torch.pi * 3 / 64, 2 * torch.pi * 5 / 128])  # whole periods [radians per pixel]
    wave = (turns[0] * rows + turns[1] * columns).sin()
    data = load(wave[..., None].numpy(), aspect=aspect, factor=factor, border="periodic")
    half = torch.tensor([63 / 2, 127 / 2] if aspect == "stretch" else [127 / 2, 127 / 2])
    differences = (factor * turns).sin() / factor  # of a sine, by central differences
    assert data.slope() == pytest.approx(float((half * differences).norm()), rel=1e-3)
    assert load(5 * wave[..., None].numpy() + 7, aspect=aspect, factor=factor, border="periodic").slope() == pytest.approx(
        data.slope(), rel=1e-4
    )


def test_the_slope_is_that_of_training_samples_alone(picture, load):
    hidden = PICTURE.copy()
    hidden[1::2] += 9
    hidden[:, 1::2] += 9
    assert picture(factor=2).slope() == load(hidden, factor=2).slope() != picture().slope()
    assert picture(**MISSING).slope() == pytest.approx(picture().slope(), rel=0.2)
    with pytest.raises(InputError, match=r"so that omega=auto sees neighbours, got random and data.limit=None"):
        picture(factor=2, train_pixels="random").slope()
