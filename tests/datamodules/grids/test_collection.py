"""Collections of signals."""

import itertools

import pytest
import torch
from tiny.pictures import CORRUPTIONS, COUNT, CPU, NAMES, SHAPE, Pictures, assert_equal, collection, originals, take, values_of
from torch.testing import assert_close

import datamodules.common.signal_data
import datamodules.common.splits
from datamodules.common.signal_data import Wanted
from datamodules.grids.patches import Patches
from inr.errors import InputError
from inr.supervision.differences import BORDERS, FILTERS, jacobian_at


@pytest.fixture
def listed(tmp_path):
    (tmp_path / "names.txt").write_text("a/03\nb/17\n\n")
    (tmp_path / "partition.txt").write_text("\n".join(f"{name} {place % 3}" for place, name in enumerate(NAMES)))
    return tmp_path


# which signals


SPLITS = [
    ({"held_out": 0.1}, {18, 19}),
    ({"held_out": 0}, set()),
    ({"held_out": 3}, {17, 18, 19}),
    ({"held_out": 0.5, "limit": 4}, {10, 15}),
    ({"held_out": "b"}, set(range(12, 20))),
    ({"held_out": "{}/names.txt"}, {3, 17}),
    ({"held_out": "{}/partition.txt"}, {place for place in range(COUNT) if place % 3}),
    ({"held_out": None}, {0, 7}),
]


@pytest.mark.parametrize("tuning", [0, 0.3, 1])
@pytest.mark.parametrize(("options", "held_out"), SPLITS)
def test_training_tuning_and_held_out_signals_are_disjoint_and_together_all(options, held_out, tuning, listed, monkeypatch):
    monkeypatch.setattr(Pictures, "own", frozenset({NAMES[0], NAMES[7]}))
    if isinstance(options["held_out"], str):
        options = options | {"held_out": options["held_out"].format(listed)}
    data = collection(tuning=tuning, **options)
    chosen, tuned, trained = (set(data.positions[part]) for part in ("held_out", "tuning", "train"))
    rest = ({0, 5, 10, 15} if "limit" in options else set(range(COUNT))) - held_out
    assert chosen == held_out
    assert data.holds_out == bool(held_out)
    assert trained | tuned == rest
    assert not trained & tuned
    assert len(tuned) == (0 if not held_out else tuning if tuning == 1 else round(tuning * len(rest)))
    assert max(trained) < min(tuned, default=COUNT)
    assert data.names == [NAMES[place] for place in sorted(held_out)] or not held_out
    assert data.trained.names == [NAMES[place] for place in sorted(trained)]


@pytest.mark.parametrize(("held_out", "tuning", "trained"), [(18, 2, 1), (18, 0.9, 1), (19, 1, 1), (20, 0.5, 0)])
def test_tuning_leaves_a_signal_to_train_if_there_is_one(held_out, tuning, trained):
    data = collection(shown="held_out", held_out=held_out, tuning=tuning)
    assert len(data.positions["train"]) == trained
    assert len(data.positions["tuning"]) == COUNT - held_out - trained


def test_shuffled_splits_depend_on_the_seed_alone():
    def held_out(**options):
        return collection(held_out=6, **options).names

    assert held_out(shuffle=True) == held_out(shuffle=True, batch_signals=3) == sorted(held_out(shuffle=True))
    assert len({tuple(held_out(shuffle=True, seed=seed)) for seed in range(4)} | {tuple(held_out())}) == 5
    assert not set(held_out(shuffle=True)) & set(collection(held_out=6, shuffle=True).trained.names)


def test_the_layout_of_the_files_may_hold_out(monkeypatch):
    monkeypatch.setattr(Pictures, "own", frozenset(NAMES[::4]) | {"elsewhere"})
    assert collection(held_out=None).names == NAMES[::4]


def test_the_held_out_signals_can_be_shown_and_chosen():
    data = collection(shown="held_out", held_out=5, choose=[3, 0], test_signals=1)
    assert data.names == data.trained.names == [NAMES[18], NAMES[15]]
    assert data.describe()["signals"] == len(data.evaluated) == 2
    assert len(data.positions["train"]) == 15
    assert [draw.signals.tolist() for draw in data.test_dataloader()] == [[0]]
    assert [draw.signals.tolist() for draw in data.val_dataloader()] == [[0, 1]]
    assert collection(held_out=5, choose=[3, 0]).trained.names == [NAMES[3], NAMES[0]]
    assert collection(held_out=5, test_signals=2).names == NAMES[15:17]
    assert collection(held_out=0, test_signals=2).names == NAMES[:2]


def test_nothing_is_read_before_it_is_asked_for():
    data = collection(memory=0)
    data.describe()
    assert data.reads == []
    data.truth(0)
    assert data.reads == [18]


# patches


@pytest.mark.parametrize(("whole", "size"), [((6, 8), (3, 2)), ((6, 8), 2), ((6, 8), None), ((12,), 4), ((4, 6, 2), (2, 3, 1))])
def test_merging_inverts_cutting(whole, size):
    patches, signals = Patches(whole, size), torch.rand(5, *whole, 3)
    cut = torch.cat([patches.cut(signal) for signal in signals])
    assert cut.shape == (5 * patches.count, *patches.shape, 3)
    assert torch.equal(patches.merge(cut), signals)
    assert len(set(patches.names("x"))) == patches.count


def test_patches_are_named_by_row_and_column():
    patches, picture = Patches((6, 8), (3, 4)), torch.arange(48).reshape(6, 8, 1)
    assert patches.names("x") == ["x#0,0", "x#0,1", "x#1,0", "x#1,1"]
    assert torch.equal(patches.cut(picture)[2], picture[3:, :4])
    assert Patches((6, 8)).names("x") == ["x"]


def test_patches_are_signals_of_their_own_and_shown_an_image_at_a_time():
    data = collection(patch_size=[3, 4], batch_signals=11, held_out=2)
    assert data.describe() | {"signals": 72, "shape": [3, 4]} == data.describe()
    assert len(data.evaluated) == 8
    batch = take(data, 1)[0]
    assert batch.signals.index.reshape(2, 4).diff(dim=1).unique().tolist() == [1]
    whole, some = (values_of(data.observation_batches(index, CPU), data) for index in (torch.arange(8), torch.tensor([6, 1])))
    assert_close(data.restore(data.merge(whole)), originals([18, 19]).float())
    assert torch.equal(some, whole[[6, 1]])
    assert not {name.partition("#")[0] for name in data.trained.names} & set(data.names)


# batches


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("points", [None, 7])
def test_targets_are_those_of_every_single_signal(points, border, filter):
    data = collection(points=points, batch_signals=5, filter=filter, border=border)
    for batch in take(data, 2):
        part = batch.parts["data"]
        assert part.weights == {}
        indices = part.coordinates[0].long()
        for row, signal in enumerate(batch.signals.index.tolist()):
            fitted = data.normalise(originals([NAMES.index(data.trained.names[signal])])[0])
            assert_close(part.targets["value"][row], fitted[tuple(indices.T)])
            assert_close(part.targets["jacobian"][row], jacobian_at(fitted, indices, filter, border), rtol=1e-5, atol=1e-6)
    assert data.normalise(torch.tensor([0, 255])).tolist() == [-1, 1]


@pytest.mark.parametrize("shown", ["train", "held_out"])
@pytest.mark.parametrize("options", [{}, {"patch_size": [3, 4]}, {"corruption": ["square", "missing"], "mask": "known"}])
def test_reading_for_each_step_gives_what_memory_does(options, shown):
    options = options | {"shown": shown, "held_out": 6, "batch_signals": 4, "points": 9}
    kept, read = collection(**options), collection(memory=0, **options)
    for one in (kept, read):
        one.serve(Wanted(observations=True))
    for one, other in zip(take(kept, 12), take(read, 12), strict=True):
        assert_equal(one, other)
    assert len(kept.reads) == (14 if shown == "train" else 6)
    assert len(read.reads) >= 12 * (1 if "patch_size" in options else 3)


def test_the_signals_of_the_next_step_are_read_ahead():
    data = collection(memory=0, batch_signals=3)
    first, second = itertools.islice(data.train_dataloader(), 2)
    pending = set(data.trained.pending)
    assert pending >= {*first.signals.tolist(), *second.signals.tolist()}
    assert pending >= set(data.schedule.signals(2).tolist())
    data.transfer_batch_to_device(first, CPU, 0)
    assert not set(data.trained.pending) & set(first.signals.tolist())
    assert collection(batch_signals=3).trained.pending == {}


def test_the_batch_of_everything_is_built_once():
    data = collection(points=None, batch_signals=None)
    one, other = take(data, 2)
    assert one.parts["data"].targets is other.parts["data"].targets
    assert one.signals.index.tolist() == list(range(18))


@pytest.mark.parametrize("chunk", [10, 48, 100, 10**6])
@pytest.mark.parametrize(("loader", "count"), [("val_dataloader", 2), ("test_dataloader", 4)])
def test_evaluation_covers_every_sample_of_every_signal_in_order(loader, count, chunk):
    data = collection(chunk=chunk, held_out=5, validation_signals=2, test_signals=4)
    sweep = getattr(data, loader)()
    batches = [data.transfer_batch_to_device(one, CPU, 0) for one in sweep]
    values = [batch.parts["data"].targets["value"] for batch in batches]
    assert max(value.shape[0] * value.shape[1] for value in values) <= max(chunk, 48)
    assert set(batches[0].parts["data"].targets) == {"value"}
    flat = torch.cat([value.flatten(0, 1) for value in values])
    assert_close(data.restore(flat).reshape(count, *SHAPE, 3), originals(range(15, 15 + count)).float())


def tuning(data, altered=True):
    return data.tuning_batches(torch.arange(data.tuning_signals), CPU, altered=altered)


PASSES = {
    "training": (lambda data: data.training_batches(CPU), range(10), False),
    "tuning": (tuning, range(10, 15), True),
    "tuning, as they are": (lambda data: tuning(data, altered=False), range(10, 15), False),
    "held out": (lambda data: data.observation_batches(torch.arange(5), CPU), range(15, 20), True),
}


@pytest.mark.parametrize("memory", [0, 1])
@pytest.mark.parametrize("name", PASSES)
def test_a_pass_covers_its_signals_in_chunks(name, memory, ranked):
    batches, positions, corrupted = PASSES[name]
    data = collection(held_out=5, tuning=5, chunk=10 * len(positions), corruption="noise", memory=memory)
    parts = [batch.parts["data"] for batch in batches(data)]
    assert [part.coordinates.shape[1] for part in parts] == [10, 10, 10, 10, 8]
    whole, truth = values_of(batches(data), data), data.normalise(originals(positions))
    assert torch.equal(whole, truth) != corrupted
    shares = []
    for rank in (0, 1):
        ranked(rank, 2)
        shares.append(list(batches(data)))
    if name == "training":  # a figure of all samples, in every process
        assert all(torch.equal(values_of(share, data), whole) for share in shares)
    else:
        assert torch.equal(values_of([batch for share in shares for batch in share], data), whole)


@pytest.mark.parametrize("mask", ["known", "unknown"])
@pytest.mark.parametrize("patch_size", [None, [3, 4]])
def test_tuning_signals_are_observed_as_if_they_were_held_out(patch_size, mask):
    options = {"corruption": ["square", "missing", "jitter"][: 2 if mask == "known" else 3], "mask": mask}
    options |= {"patch_size": patch_size}
    tunes = collection(held_out=5, tuning=4, **options)
    encodes = collection(held_out=9, **options)
    for one in (tunes, encodes):
        one.serve(Wanted(observations=True))
    observed = encodes.observation_batches(torch.arange(len(tunes.tuned)), CPU)
    for one, other in zip(tuning(tunes), observed, strict=True):
        assert_equal(one, other)


@pytest.mark.parametrize("memory", [0, 1])
def test_training_and_tuning_look_at_few_of_many_images(memory, monkeypatch):
    for module in (datamodules.common.signal_data, datamodules.common.splits):
        monkeypatch.setattr(module, "TUNED", 3)
    data = collection(held_out=5, tuning=5, patch_size=[3, 4], memory=memory)
    (trained,), (tuned,) = data.training_batches(CPU), tuning(data)
    assert trained.signals.index.tolist() == list(range(3 * 4))
    assert tuned.signals.index.tolist() == [0, 4, 8]  # a patch of each image
    assert memory or data.reads == [0, 1, 2, 10, 11, 12]


@pytest.mark.parametrize(("options", "count"), [({"shown": "held_out", "held_out": 5}, 5), ({"held_out": 0}, 4), ({}, 0)])
def test_constants_are_estimated_from_one_evaluated_signal_at_a_time_if_it_was_shown(options, count):
    data = collection(test_signals=4, chunk=30, **options)
    batches = list(data.constant_batches(CPU))
    assert [batch.signals.index.tolist() for batch in batches] == [[signal] for signal in range(count) for _ in range(2)]
    positions = [NAMES.index(name) for name in data.names[:count]]
    for signal, position in enumerate(positions):
        values = values_of(batches[2 * signal : 2 * signal + 2], data)
        assert torch.equal(values, data.normalise(originals([position])))


# errors


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shown": "test"}, ["data.shown must be one of train, held_out", "got test"]),
        ({"mask": "maybe"}, ["data.mask must be one of unknown, known", "got maybe"]),
        ({"points": 0}, ["data.points must be at least 1", "got 0"]),
        ({"chunk": 0}, ["data.chunk must be at least 1"]),
        ({"memory": -1}, ["data.memory must not be negative", "got -1"]),
        ({"filter": "prewitt"}, ["one of central, sobel"]),
        ({"corruption": "rain"}, ["among square, jitter, missing, noise", "got rain"]),
        *(({"held_out": some}, ["a fraction below 1, or a count of at most 20", f"got {some}"]) for some in (-0.1, 1.5, 21)),
        ({"held_out": 20}, ["data.shown=train needs signals", "hold out fewer"]),
        ({"held_out": 0, "shown": "held_out"}, ["data.shown=held_out needs signals", "hold out more"]),
        ({"held_out": None}, ["data.held_out=null", "have none", "a fraction"]),
        ({"held_out": "nowhere"}, ["data.held_out must be an existing file", "got nowhere"]),
        ({"held_out": "{}/typo.txt"}, ["names of the collection, such as a/00", "has c/00"]),
        ({"held_out": "{}/bytes.txt"}, ["must be a text file of names", "bytes.txt"]),
        *(({"choose": some}, ["different positions in 0 .. 15", f"got {some}"]) for some in ([16], [1, 1], [])),
        ({"tuning": -0.1}, ["data.tuning must not be negative", "got -0.1"]),
        *(({"tuning": some}, ["data.tuning must be a fraction below 1, or a count of at most 18"]) for some in (1.5, 19)),
        ({"patch_size": 4}, ["does not divide 6", "3 and 6"]),
        ({"patch_size": [3, 5]}, ["does not divide 8", "4 and 8"]),
        ({"patch_size": [2]}, ["one positive number per axis, 2 in all", "got [2]"]),
        ({"patch_size": [1, 2]}, ["two samples or more", "[1, 2]"]),
    ],
)
def test_wrong_options_end_in_one_sentence(options, words, tmp_path):
    (tmp_path / "typo.txt").write_text("a/00\nc/00\n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\xfa")
    options = {name: value.format(tmp_path) if isinstance(value, str) else value for name, value in options.items()}
    with pytest.raises(InputError) as error:
        Pictures(corruptions=CORRUPTIONS, **options).describe()
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value)


def test_signals_of_which_nothing_is_known_are_refused():
    with pytest.raises(InputError, match=r"of b/18 none is left; use data\.mask=unknown"):
        collection(corruption="jitter", mask="known").truth(0)
