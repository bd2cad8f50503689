"""Collections whose held-out signals are corrupted, and what classical methods make of them."""

import pytest
import torch
from tiny.pictures import COUNT, CPU, NAMES, PICTURES, collection, observed, originals, take, values_of
from torch.testing import assert_close

import datamodules.grids.baselines
from datamodules.common.signal_data import Wanted
from inr.supervision.differences import complete_at

# corruption


def test_only_held_out_signals_are_corrupted_and_the_truth_stays():
    data = collection(held_out=4, corruption=["square", "noise"], points=None)
    batch = take(data, 1)[0]
    clean = data.normalise(originals(batch.signals.index)).flatten(1, 2)
    assert torch.equal(batch.parts["data"].targets["value"], clean)
    for image in range(4):
        scored = data.truth(image)
        assert scored.name == NAMES[16 + image]
        assert torch.equal(scored.truth, torch.from_numpy(PICTURES[16 + image]))
        assert not torch.equal(scored.observed, scored.truth.float())
    plain = collection(held_out=4).truth(0)
    assert plain.observed is None
    assert plain.masks == {"psnr": None}


@pytest.mark.parametrize(
    ("corruption", "mask"),
    [(name, mask) for name in ("square", "missing", ["square", "missing"], None) for mask in ("known", "unknown")]
    + [("noise", "unknown")],
)
@pytest.mark.parametrize("patch_size", [None, [3, 4]])
def test_what_is_scored_is_what_a_batch_observed(corruption, mask, patch_size):
    data = collection(held_out=4, corruption=corruption, mask=mask, patch_size=patch_size)
    targets = data.merge(values_of(data.observation_batches(torch.arange(len(data.evaluated)), CPU), data))
    for image in range(4):
        assert torch.equal(data.normalise(observed(data, image)), targets[image])
        masks = data.truth(image).masks
        assert masks.keys() <= data.definitions().keys()
        if masks.keys() == {"psnr"}:
            assert corruption in ("noise", None)
            continue
        assert torch.equal(masks["psnr_altered"], ~masks["psnr_intact"])
        intact = masks["psnr_intact"]
        assert torch.equal(observed(data, image)[intact], data.truth(image).truth[intact].float())
        assert (observed(data, image) != data.truth(image).truth).any(-1)[~intact].float().mean() > 0.9


def test_validations_are_compared_with_the_truth():
    data = collection(held_out=4, corruption="noise", patch_size=[3, 4], validation_signals=2)
    values = torch.rand(2 * 48, 3)
    seen, truth, masks = zip(*data.validated(values), strict=True)
    assert torch.equal(torch.stack(seen), data.merge(values.reshape(-1, 3, 4, 3)))
    assert torch.equal(torch.stack(truth), data.normalise(originals([16, 17])))
    assert masks == (None, None)


def test_the_corruption_of_a_signal_depends_on_its_name_and_the_seed_alone():
    def seen(name, **options):
        data = collection(corruption=["square", "missing", "jitter"], **options)
        return observed(data, data.names.index(name))

    expected = seen(NAMES[17], held_out=4)
    assert torch.equal(expected, seen(NAMES[17], held_out=8, shown="held_out", choose=[7, 5], memory=0))
    assert torch.equal(expected, seen(NAMES[17], held_out="b", patch_size=2))
    assert torch.equal(expected, seen(NAMES[17], held_out=COUNT, shown="held_out", tuning=0.5))
    assert not torch.equal(expected, seen(NAMES[17], held_out=4, seed=1))


@pytest.mark.parametrize("patch_size", [None, [3, 4]])
@pytest.mark.parametrize(("corruption", "mask"), [("missing", "unknown"), (["square"], "known"), (["square"], "unknown")])
def test_weights_are_zero_exactly_where_something_missing_is_read(corruption, mask, patch_size):
    data = collection(shown="held_out", held_out=4, corruption=corruption, mask=mask, patch_size=patch_size)
    data.serve(Wanted(observations=True))
    (batch,) = data.observation_batches(torch.arange(len(data.evaluated)), CPU)
    part = batch.parts["data"]
    if mask == "unknown" and corruption == ["square"]:
        assert part.weights == {}
        return
    missing = torch.stack([data.truth(image).masks["psnr_altered"] for image in range(4)])
    assert torch.equal(data.merge(part.weights["value"].reshape(-1, *data.shape, 1))[..., 0] == 0, missing)
    seen = data.merge(batch.signals.observations)
    assert (seen[missing] == 0).all()
    assert_close(data.restore(seen), torch.stack([observed(data, image) for image in range(4)]))
    known = part.weights["value"].reshape(-1, *data.shape) == 1
    complete = complete_at(known.movedim(0, -1), part.coordinates[0].long(), "central", "one_sided")
    assert torch.equal(part.weights["jacobian"] == 1, complete.T)


def test_missing_samples_do_not_reach_targets_that_weigh_something():
    def targets(corruption):
        data = collection(shown="held_out", held_out=4, corruption=corruption, mask="known")
        (batch,) = data.observation_batches(torch.arange(4), CPU)
        return batch.parts["data"]

    clean, broken = targets(None), targets(["missing", "square"])
    for quantity in ("value", "jacobian"):
        counts = broken.weights[quantity] == 1
        assert 0 < counts.sum() < counts.numel()
        assert_close(broken.targets[quantity][counts], clean.targets[quantity][counts], rtol=1e-5, atol=1e-6)


# references


def made(data):
    return {name: make() for name, make in data.baselines().items()}


@pytest.mark.parametrize("patch_size", [None, [3, 4]])
def test_the_mean_is_that_of_training_and_tuning_signals(patch_size):
    data = collection(held_out=5, tuning=4, patch_size=patch_size)
    whole = data.normalise(originals(range(15)))
    cut = torch.cat([data.patches.cut(one) for one in whole])
    rows = made(data)
    assert_close(rows["mean"], data.merge(cut.mean(0).expand(len(data.evaluated), *cut.shape[1:])))
    assert not {"input", "biharmonic"} & set(rows)


@pytest.mark.parametrize("patch_size", [None, [3, 4]])
def test_all_components_reproduce_what_they_were_taken_of(patch_size):
    data = collection(held_out=0, components=[2, 7, 10**6], patch_size=patch_size)
    rows = made(data)
    most = 19 if patch_size is None else 36  # one less than signals, or as many as numbers
    assert list(rows) == ["mean", "pca 2", "pca 7", f"pca {most}"]
    truth = data.normalise(originals(range(COUNT)))
    assert_close(rows[f"pca {most}"], truth, rtol=0, atol=1e-4)
    errors = [(rows[name] - truth).square().mean() for name in rows]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("corruption", [["square"], ["missing"], ["noise"]])
def test_corrupted_signals_are_a_row_of_their_own(corruption):
    data = collection(held_out=4, corruption=corruption, test_signals=3)
    rows = made(data)
    assert_close(data.restore(rows["input"]), torch.stack([observed(data, image) for image in range(3)]))
    assert ("biharmonic" in rows) == (corruption == ["missing"])


@pytest.mark.parametrize("patch_size", [None, 2])
def test_inpainting_fills_only_what_is_missing(patch_size):
    data = collection(held_out=4, corruption=["square"], mask="known", patch_size=patch_size)
    rows = made(data)
    missing = torch.stack([data.truth(image).masks["psnr_altered"] for image in range(4)])
    truth = data.normalise(originals(range(16, 20)))
    assert_close(rows["biharmonic"][~missing], truth[~missing])
    assert (rows["biharmonic"] != rows["input"])[missing].any(-1).float().mean() > 0.9


@pytest.mark.parametrize(("patch_size", "most"), [(None, 7), (None, 100), ([3, 4], 7), ([3, 4], 10), ([3, 4], 2)])
def test_references_read_no_more_training_signals_than_they_may(patch_size, most, monkeypatch):
    numbers = 144 if patch_size is None else 36
    monkeypatch.setattr(datamodules.grids.baselines, "LARGEST", most * numbers + numbers - 1)
    data = collection(held_out=4, tuning=3, memory=0, patch_size=patch_size, test_signals=2)
    data.baselines()
    trained = sorted(place for place in data.reads if place < 16)
    patches = data.patches.count
    assert len(trained) == len(set(trained)) == min(max(1, most // patches), 16)
    assert set(data.reads) - set(trained) == {16, 17}
    assert len(trained) == 1 or max(trained) - min(trained) >= 8  # of all of them
