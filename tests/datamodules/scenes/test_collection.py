"""Several scenes: which are shown, and whose rays a batch holds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny.captures import write_blender, write_llff, write_nerfstudio
from torch.testing import assert_close

from datamodules.scenes.collection import SceneCollection
from datamodules.scenes.spheres import read_spheres
from inr.errors import InputError
from inr.supervision.differences import jacobian_at

CPU = torch.device("cpu")
NAMES = [f"spheres_{variant:02d}" for variant in range(5)]


def scenes(**options):
    """Five small generated scenes, of which the last two are held out."""
    data = SceneCollection(**{"scenes": 5, "size": 12, "views": 7, "held_out": 2, "points": 9} | options)
    data.setup()
    return data


def written(folder, sizes, write=write_blender):
    """Folders of scenes, each with photographs of another size."""
    for variant, (name, size) in enumerate(sizes.items()):
        write(folder / name, read_spheres(size, views=6, hold_every=3, variant=variant))
    return str(folder)


def photographs(variant, size=12, views=7):
    capture = read_spheres(size, views, variant=variant)
    return torch.from_numpy(np.stack([capture.read(view) for view in range(views)])), capture


def test_shown_scenes_train_or_are_held_out():
    shown, held_out = scenes(), scenes(shown="held_out")
    assert (shown.scene_names, held_out.scene_names) == (NAMES[:3], NAMES[3:])
    assert shown.train_names == NAMES[:3]
    assert scenes(choose=[2, 0]).scene_names == [NAMES[2], NAMES[0]]
    assert (shown.describe()["signals"], held_out.describe()["signals"]) == (3, 2)
    shuffled = {name: scenes(shuffle=True, shown=name).scene_names for name in ("train", "held_out")}
    assert sorted(shuffled["train"] + shuffled["held_out"]) == NAMES


def test_test_views_are_named_after_their_scenes():
    data = scenes()
    test = data.captures[0].test
    assert data.tested == [(scene, view) for scene in range(3) for view in test]
    assert data.names == [f"{name}/view_{view:02d}" for name in NAMES[:3] for view in test]
    assert len(scenes(test_views=1).names) == 3


def test_folders_are_scenes_by_name(tmp_path):
    root = written(tmp_path, {"bench": 12, "arch": 12, "car": 12})
    data = scenes(root=root, held_out=1)
    assert data.scene_names == ["arch", "bench"]
    assert torch.equal(data.photographs[1].pixels[0], torch.from_numpy(read_spheres(12, 6, 3).read(data_view(data, 1))))
    assert scenes(root=root, held_out=1, shown="held_out").scene_names == ["car"]


def data_view(data, scene):
    """Which generated view comes first in a written scene."""
    return int(data.captures[scene].names[0].rpartition("_")[2])


@pytest.mark.parametrize("held_out", ["list.txt", "car"])
def test_names_of_scenes_hold_out(held_out, tmp_path):
    root = written(tmp_path / "scenes", {"arch": 12, "bench": 12, "car": 12})
    (tmp_path / "scenes" / "list.txt").write_text("car\n")
    assert scenes(root=root, held_out=held_out, shown="held_out").scene_names == ["car"]


def test_scenes_that_do_not_go_together_are_refused(tmp_path):
    differ = scenes_of(written(tmp_path / "sizes", {"arch": 12, "bench": 14}))
    with pytest.raises(InputError, match=r"photographs of one size.*bench differs, there are sizes \[\(12, 12\), \(14, 14\)\]"):
        differ.describe()
    forward = scenes_of(written(tmp_path / "forward", {"arch": 12, "bench": 12}, write_llff))
    with pytest.raises(InputError, match="not in normalised device coordinates; arch differs"):
        forward.describe()
    write_nerfstudio(tmp_path / "kinds" / "bench", read_spheres(12, views=6, hold_every=3))
    kinds = scenes_of(written(tmp_path / "kinds", {"arch": 12}))
    with pytest.raises(InputError, match=r"cameras of one kind.*bench differs"):  # it has no cube
        kinds.describe()


def scenes_of(root):
    return SceneCollection(root=root, held_out=0)


@pytest.mark.parametrize("options", [{"scenes": 0}, {"batch_signals": 0}, {"shown": "some"}, {"held_out": 5}, {"choose": [3]}])
def test_wrong_options_are_refused_in_one_line(options):
    with pytest.raises(InputError, match=rf"^data.{next(iter(options))}[^\n]*$|data.shown=train needs signals[^\n]*$"):
        scenes(**options)


def test_rays_begin_and_end_where_those_of_all_scenes_do():
    data, (early, late) = SceneCollection(scenes=2, held_out=0), (read_spheres(12, 7, variant=variant) for variant in range(2))
    data.readers = {"early": lambda: replace(early, near=0.5), "late": lambda: replace(late, far=9.0)}
    camera = data.describe()["camera"]
    assert (camera["near"], camera["far"], camera["box"], camera["ndc"]) == (0.5, 9.0, True, None)


@pytest.mark.parametrize("batch_signals", [2, 3, None])
def test_targets_of_a_signal_come_from_its_own_scene(batch_signals):
    data = scenes(batch_signals=batch_signals)
    for step in range(3):
        drawn = data.draw(step)
        count = batch_signals or 3
        signals = drawn.signals.tolist()
        assert len(set(signals)) == len(signals) == count
        batch = data.transfer_batch_to_device(drawn, CPU, 0)
        part = batch.parts["data"]
        assert batch.signals.index.tolist() == signals
        shapes = [part.coordinates.shape, *(part.targets[name].shape for name in ("value", "jacobian"))]
        assert shapes == [(count, 9, 2), (count, 9, 3), (count, 9, 3, 2)]
        assert part.context["poses"].shape == (count, 9, 3, 4)
        for place, signal in enumerate(signals):
            pixels, capture = photographs(signal)
            views, at = drawn.views[place], drawn.pixels[place]
            assert set(views.tolist()) <= set(capture.train)
            assert_close(part.targets["value"][place], pixels[views, at[:, 0], at[:, 1]] / 255)
            slopes = torch.stack([jacobian_at(pixels[view], one[None])[0] for view, one in zip(views, at, strict=True)])
            assert_close(part.targets["jacobian"][place], slopes / 255)
            assert_close(part.context["poses"][place], torch.from_numpy(capture.poses).float()[views])


def test_scenes_take_turns_and_look_at_pixels_of_their_own():
    data = scenes(batch_signals=2)
    shown = torch.cat([data.signals_at(step) for step in range(30)])
    assert shown.bincount().tolist() == [20, 20, 20]
    drawn = scenes(batch_signals=None).draw(0)
    assert not torch.equal(drawn.pixels[0], drawn.pixels[1])


def test_every_shown_scene_is_evaluated_in_its_own_test_views():
    data = scenes(shown="held_out", validation_points=100)
    draws = list(data.test_dataloader())
    assert [(int(drawn.signals[0]), int(drawn.views[0, 0])) for drawn in draws] == data.tested
    for picture, (scene, view) in enumerate(data.tested):
        pixels, _ = photographs(3 + scene)
        assert torch.equal(data.scored(picture).truth, pixels[view])
    ((_, truth, _),) = data.validated(torch.zeros(100, 3))
    assert truth.shape == (100, 3)
    seen = torch.cat([data.on(CPU, int(d.signals[0])).pixels[d.views[0], *d.pixels[0].long().T] for d in data.val_dataloader()])
    assert_close(truth, seen / 255)


def test_references_are_made_of_each_scene_alone():
    data = scenes()
    references = {name: make() for name, make in data.references({}).items()}
    for picture, (scene, view) in enumerate(data.tested):
        pixels, capture = photographs(scene)
        train = list(capture.train)
        mean = pixels[train].double().mean((0, 1, 2)) / 255
        assert_close(references["mean colour"][picture].double(), mean.expand(12, 12, 3), rtol=1e-6, atol=0)
        away = np.linalg.norm(capture.poses[train, :, 3] - capture.poses[view, :, 3], axis=-1)
        assert_close(references["nearest view"][picture], pixels[train[away.argmin()]] / 255)


def test_constants_are_estimated_scene_by_scene():
    batches = list(scenes(chunk=20).constant_batches(CPU))
    assert [batch.signals.index.tolist() for batch in batches] == [[0], [1], [2]]
    for signal, batch in enumerate(batches):
        pixels, capture = photographs(signal)
        part = batch.parts["data"]
        assert part.coordinates.shape == (1, 20, 2)
        rows, columns = part.coordinates[0].long().T
        poses = torch.from_numpy(capture.poses).float()
        views = [next(view for view in capture.train if torch.equal(poses[view], pose)) for pose in part.context["poses"][0]]
        assert_close(part.targets["value"][0], pixels[views, rows, columns] / 255)


def test_observations_for_an_encoder_are_those_of_the_asked_scenes():
    data = scenes()
    (batch,) = data.observation_batches(torch.tensor([2, 0]), CPU)
    assert batch.signals.index.tolist() == [2, 0]
    assert batch.parts["data"].targets["value"].shape == (2, 9, 3)
