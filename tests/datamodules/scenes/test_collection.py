"""Several scenes: which are shown, and whose rays a batch holds."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny.captures import LAYOUTS, forward, generated, write_llff
from torch.testing import assert_close

from datamodules.scenes.collection import SceneCollection
from inr.errors import InputError
from inr.supervision.differences import jacobian_at

CPU = torch.device("cpu")
NAMES = [f"spheres_{variant:02d}" for variant in range(5)]


def scenes(**options):
    """Five small generated scenes, of which the last two are held out."""
    data = SceneCollection(**{"scenes": 5, "size": 12, "views": 7, "held_out": 2, "points": 9} | options)
    data.setup()
    return data


def names(**options):
    return scenes(**options).trained.names


def written(folder, sizes, layout="blender"):
    """Folders of scenes, each with photographs of another size."""
    write, _ = LAYOUTS[layout]
    for variant, (name, size) in enumerate(sizes.items()):
        write(folder / name, generated(size, views=6, hold_every=3, variant=variant))
    return str(folder)


def photographs(variant):
    capture = generated(12, 7, variant=variant)
    return torch.from_numpy(np.stack([capture.read(view) for view in range(7)])), capture


def views_of(poses, capture):
    """The views that rays belong to, told by their poses (points, 3, 4)."""
    return (poses[:, None] == torch.from_numpy(capture.poses).float()).all((-1, -2)).long().argmax(1)


def test_shown_scenes_train_or_are_held_out():
    shown, held_out = scenes(), scenes(shown="held_out")
    assert (shown.trained.names, held_out.trained.names) == (NAMES[:3], NAMES[3:])
    assert names(choose=[2, 0]) == [NAMES[2], NAMES[0]]
    assert (shown.describe()["signals"], held_out.describe()["signals"]) == (3, 2)
    assert sorted(names(shuffle=True) + names(shuffle=True, shown="held_out")) == NAMES


def test_test_views_are_named_after_their_scenes():
    data = scenes()
    test = data.trained.captures[0].test
    assert data.tested == list(itertools.product(range(3), test))
    assert data.names == [f"{name}/view_{view:02d}" for name in NAMES[:3] for view in test]
    assert len(scenes(test_views=1).names) == 3


def test_folders_are_scenes_by_name(tmp_path):
    root = written(tmp_path, {"bench": 12, "arch": 12, "car": 12})
    data = scenes(root=root, held_out=1)
    assert data.trained.names == ["arch", "bench"]
    bench = generated(12, 6, 3)  # the first that was written
    view = int(data.trained.captures[1].names[0].rpartition("_")[2])
    assert torch.equal(data.trained.photograph(1, 0, 1), torch.from_numpy(bench.read(view)))
    assert names(root=root, held_out=1, shown="held_out") == ["car"]


@pytest.mark.parametrize("held_out", ["list.txt", "car"])
def test_names_of_scenes_hold_out(held_out, tmp_path):
    root = written(tmp_path / "scenes", {"arch": 12, "bench": 12, "car": 12})
    (tmp_path / "scenes" / "list.txt").write_text("car\n")
    assert names(root=root, held_out=held_out, shown="held_out") == ["car"]


def test_scenes_that_do_not_go_together_are_refused(tmp_path):
    differ = written(tmp_path / "sizes", {"arch": 12, "bench": 14})
    with pytest.raises(InputError, match=r"photographs of one size.*bench differs, there are sizes \[\(12, 12\), \(14, 14\)\]"):
        scenes(root=differ, held_out=0)
    for name in ("arch", "bench"):
        write_llff(tmp_path / "forward" / name, forward(generated(12, views=6, hold_every=3)))
    with pytest.raises(InputError, match="not in normalised device coordinates; arch differs"):
        scenes(root=str(tmp_path / "forward"), held_out=0)
    kinds = written(tmp_path / "kinds", {"arch": 12})
    written(tmp_path / "kinds", {"bench": 12}, "nerfstudio")
    with pytest.raises(InputError, match=r"cameras of one kind.*bench differs"):  # it has no cube
        scenes(root=kinds, held_out=0)


@pytest.mark.parametrize("options", [{"scenes": 0}, {"batch_signals": 0}, {"shown": "some"}, {"held_out": 5}, {"choose": [3]}])
def test_wrong_options_are_refused_in_one_line(options):
    with pytest.raises(InputError, match=rf"^data.{next(iter(options))}[^\n]*$|data.shown=train needs signals[^\n]*$"):
        scenes(**options)


def test_rays_begin_and_end_where_those_of_all_scenes_do(monkeypatch):
    early, late = (generated(12, 7, variant=variant) for variant in range(2))
    captures = [replace(early, near=0.5), replace(late, far=9.0)]
    monkeypatch.setattr(SceneCollection, "read", lambda data, position: captures[position])
    camera = scenes(scenes=2, held_out=0).describe()["camera"]
    assert (camera["near"], camera["far"], camera["box"], camera["ndc"]) == (0.5, 9.0, True, None)


@pytest.mark.parametrize("batch_signals", [2, 3, None])
def test_targets_of_a_signal_come_from_its_own_scene(batch_signals):
    data = scenes(batch_signals=batch_signals)
    count = batch_signals or 3
    for drawn in itertools.islice(data.train_dataloader(), 3):
        signals = drawn.signals.tolist()
        assert len(set(signals)) == len(signals) == count
        batch = data.transfer_batch_to_device(drawn, CPU, 0)
        part = batch.parts["data"]
        assert batch.signals.index.tolist() == signals
        assert part.coordinates.shape == (count, 9, 2)
        for place, signal in enumerate(signals):
            pixels, capture = photographs(signal)
            views, at = views_of(part.context["poses"][place], capture), part.coordinates[place].long()
            assert set(views.tolist()) <= set(capture.train)
            assert_close(part.targets["value"][place], pixels[views, *at.T] / 255)
            slopes = torch.stack([jacobian_at(pixels[view], one[None])[0] for view, one in zip(views, at, strict=True)])
            assert_close(part.targets["jacobian"][place], slopes / 255)


def test_scenes_take_turns_and_look_at_pixels_of_their_own():
    drawn = itertools.islice(scenes(batch_signals=2).train_dataloader(), 30)
    assert torch.cat([draw.signals for draw in drawn]).bincount().tolist() == [20, 20, 20]
    first, second, _ = next(iter(scenes(batch_signals=None).train_dataloader())).samples
    assert not torch.equal(first, second)


def test_every_shown_scene_is_evaluated_in_its_own_test_views():
    data = scenes(shown="held_out", validation_points=100)
    batches = [data.transfer_batch_to_device(draw, CPU, 0) for draw in data.test_dataloader()]
    for picture, ((scene, view), batch) in enumerate(zip(data.tested, batches, strict=True)):
        pixels, capture = photographs(3 + scene)
        assert torch.equal(data.truth(picture).truth, pixels[view])
        assert batch.signals.index.tolist() == [scene]
        assert set(views_of(batch.parts["data"].context["poses"][0], capture).tolist()) == {view}


def test_baselines_are_made_of_each_scene_alone():
    data = scenes()
    rows = {name: make() for name, make in data.baselines().items()}
    for picture, (scene, view) in enumerate(data.tested):
        pixels, capture = photographs(scene)
        train = list(capture.train)
        mean = pixels[train].double().mean((0, 1, 2)) / 255
        assert_close(rows["mean colour"][picture].double(), mean.expand(12, 12, 3), rtol=1e-6, atol=0)
        away = np.linalg.norm(capture.poses[train, :, 3] - capture.poses[view, :, 3], axis=-1)
        assert_close(rows["nearest view"][picture], pixels[train[away.argmin()]] / 255)


def test_constants_are_estimated_scene_by_scene():
    batches = list(scenes(chunk=20).constant_batches(CPU))
    assert [batch.signals.index.tolist() for batch in batches] == [[0], [1], [2]]
    for signal, batch in enumerate(batches):
        pixels, capture = photographs(signal)
        part = batch.parts["data"]
        assert part.coordinates.shape == (1, 20, 2)
        views = views_of(part.context["poses"][0], capture)
        assert set(views.tolist()) <= set(capture.train)
        assert_close(part.targets["value"][0], pixels[views, *part.coordinates[0].long().T] / 255)
