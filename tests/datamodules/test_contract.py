"""Laws of the contract between data and task, over every data set there is; new yaml files enter by themselves."""

import itertools

import pytest
import torch
from hydra.utils import get_class, instantiate
from tiny.data import DATA, tiny_options
from torch.testing import assert_close

from datamodules.common.signal_data import Wanted

CPU = torch.device("cpu")
STEPS = 5
BOTH = frozenset({"value", "jacobian"})


@pytest.fixture(scope="module", params=DATA)
def options(request, tmp_path_factory):
    return tiny_options(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def make(options):
    """Make the data set."""
    get_class(options["_target_"])  # imported before `ranked` looks for modules

    def make():
        data = instantiate(options)
        data.setup()
        return data

    return make


def take(data, count, step=0):
    draws = itertools.islice(data.training_draws(step), count)
    return [data.transfer_batch_to_device(draw, CPU, 0) for draw in draws]


def same(one, other):
    """Whether two trees of tensors and other things are equal."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_draws_go_on_where_the_step_says(make):
    data = make()
    for one, other in zip(take(data, STEPS)[2:], take(make(), STEPS - 2, 2), strict=True):
        assert same(one.signals.index, other.signals.index)
        assert same(
            {name: vars(part) for name, part in one.parts.items()}, {name: vars(part) for name, part in other.parts.items()}
        )


def test_ranks_together_are_one_process(make, ranked):
    def show(rank, ranks):
        ranked(rank, ranks)
        data = make()
        data.serve(Wanted({"data": BOTH, "result": frozenset({"value"}), "space": frozenset({"value"})}))
        return take(data, 2)

    for whole, *shares in zip(show(0, 1), show(0, 2), show(1, 2), strict=True):
        for name, part in whole.parts.items():
            mine = [share.parts[name] for share in shares]
            assert torch.equal(torch.cat([one.coordinates for one in mine], 1), part.coordinates)
            for quantity, target in part.targets.items():
                assert torch.equal(torch.cat([one.targets[quantity] for one in mine], 1), target)
        assert all(torch.equal(share.signals.index, whole.signals.index) for share in shares)


def test_a_training_batch_has_targets_of_what_is_wanted(make):
    for quantities in (frozenset({"value"}), BOTH):
        data = make()
        data.serve(Wanted({"data": quantities}))
        for batch in take(data, 2):
            part = batch.parts["data"]
            assert set(part.targets) == quantities
            signals, points = part.targets["value"].shape[:2]
            assert signals == len(batch.signals.index)
            assert part.coordinates.shape[:2] in ((1, points), (signals, points))
            if "jacobian" in quantities:
                assert part.targets["jacobian"].shape == (*part.targets["value"].shape, part.coordinates.shape[-1])


def test_the_test_covers_every_sample_of_every_item_once(make):
    data = make()
    seen = []
    for draw in data.test_dataloader():
        assert not draw.trains
        batch = data.transfer_batch_to_device(draw, CPU, 0)
        ((_, part),) = batch.parts.items()
        places = part.coordinates.expand(len(draw.signals), -1, -1)
        items = draw.signals[:, None, None].expand(*places.shape[:2], 1).to(places)
        seen.append(torch.cat([items, places], -1).flatten(0, 1))
    seen = torch.cat(seen)
    count = len(data.names[: data.most_items["test"]]) * data.pieces
    assert len(seen) == count * data.lattice_size
    assert len(seen.unique(dim=0)) == len(seen)
    assert seen[:, 0].unique().tolist() == list(range(count))


def test_validated_values_are_those_of_the_validation_draws(make):
    data = make()
    batches = [data.transfer_batch_to_device(draw, CPU, 0) for draw in data.val_dataloader()]
    counts = [len(batch.signals.index) * next(iter(batch.parts.values())).coordinates.shape[1] for batch in batches]
    pairs = list(data.validated(torch.rand(sum(counts), data.truth(0).truth.shape[-1])))
    assert sum(seen[..., 0].numel() for seen, _, _ in pairs) == sum(counts)
    assert all(seen.shape == truth.shape for seen, truth, _ in pairs)


def test_what_is_held_out_never_trains(make):
    data = make()
    if not data.trains_on_evaluated:
        assert not set(data.trained.names) & set(data.evaluated.names)
        shown = {bytes(value) for batch in take(data, STEPS) for value in batch.parts["data"].targets["value"].numpy()}
        held_out = data.observation_batches(torch.arange(len(data.evaluated)), CPU)
        assert not shown & {bytes(value) for batch in held_out for value in batch.parts["data"].targets["value"].numpy()}


def test_normalising_and_restoring_invert_each_other(make):
    data = make()
    truth = data.truth(0).truth.float()
    assert_close(data.restore(data.normalise(truth)), truth, rtol=1e-5, atol=1e-5 * data.units.peak)


def test_truth_and_baselines_have_the_shape_of_a_reconstruction(make):
    data = make()
    scored = data.truth(0)
    assert scored.name == data.names[0]
    assert scored.masks.keys() <= data.definitions().keys()
    assert all(mask is None or mask.shape == scored.truth.shape[:-1] for mask in scored.masks.values())
    for name, reconstruct in data.baselines().items():
        items = reconstruct()
        assert items.shape == (len(data.names[: data.most_items["test"]]), *scored.truth.shape), name
        assert items.isfinite().all()


def test_the_header_describes_what_is_observed(make):
    data = make()
    header = data.describe()
    assert header["signals"] == len(data.trained)
    assert header["shape"] == list(data.shape)
    assert all(1 <= coarse <= fine for coarse, fine in zip(header["training_shape"], header["shape"], strict=False))
