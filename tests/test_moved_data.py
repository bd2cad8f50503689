"""A run whose data lie elsewhere now goes on with them, and with no others."""

import shutil

import numpy as np
import pytest
from PIL import Image
from running import (
    QUICK,
    RAYS,
    STEPS,
    assert_same_run,
    collection,
    run,
    small,
    tiny_image,
    tiny_images,
    tiny_sound,
)
from tiny.captures import generated, write_nerfstudio
from torch.testing import assert_close

import inr
from datamodules.common.files import fingerprint
from inr.errors import InputError

LONGER = "trainer.max_steps=3"


def test_a_file_that_moved_and_has_another_name(tmp_path):
    path = tiny_image(tmp_path)
    options = [f"data.path={path}", *QUICK, "scheduler=constant"]
    first = run(tmp_path / "first", *options)
    whole = run(tmp_path / "whole", *options, LONGER)
    new = path.rename(tmp_path / "moved.PNG")
    rule = rf"must be there, data\.path={path} is not; if they moved, add data\.path=PATH.*inr\.load\(RUN\)"
    with pytest.raises(InputError, match=rule):
        run(tmp_path / "gone", f"ckpt_path={first}", LONGER)
    resumed = run(tmp_path / "resumed", f"ckpt_path={first}", f"data.path={new}", LONGER)
    assert_same_run(whole, resumed)
    run(tmp_path / "again", f"ckpt_path={resumed}", "trainer.max_steps=4")  # which knows the new place
    other = tiny_image(tmp_path, channels=1).rename(tmp_path / "other.png")
    with pytest.raises(InputError, match=rf"data\.path was {path}, got {other}"):
        run(tmp_path / "other", f"ckpt_path={first}", f"data.path={other}", LONGER)
    tiny_image(tmp_path, channels=1)
    with pytest.raises(InputError, match="has other contents than it had"):
        run(tmp_path / "changed", f"ckpt_path={first}", LONGER)


def test_a_sound_and_a_folder_that_moved(tmp_path):
    sound = tiny_sound(tmp_path)
    tiny_images(tmp_path)
    folder, moved = tmp_path / "images", tmp_path / "elsewhere"
    of_sound = run(tmp_path / "sound", "task=audio", "model=sine", f"data.path={sound}", *QUICK)
    of_images = run(tmp_path / "pictures", "data=images", f"data.root={folder}", "data.size=null", *QUICK)
    run(tmp_path / "sound on", f"ckpt_path={of_sound}", f"data.path={sound.rename(tmp_path / 'other.wav')}", LONGER)
    shutil.move(folder, moved)
    (moved / "later").mkdir()
    (moved / ".hidden").touch()
    run(tmp_path / "pictures on", f"ckpt_path={of_images}", f"data.root={moved}", LONGER)
    pixels = np.array(Image.open(moved / "3.png"))
    Image.fromarray(255 - pixels).save(moved / "3.png")
    with pytest.raises(InputError, match=rf"data\.root was {folder}, got {moved}"):
        run(tmp_path / "changed", f"ckpt_path={of_images}", f"data.root={moved}", LONGER)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_field_is_exported_where_its_data_are_gone(scale, tmp_path, caplog):
    path = tiny_image(tmp_path)
    first = run(tmp_path / "first", f"data.path={path}", *QUICK)
    words = ["train=false", f"ckpt_path={first}", f"export.scale={scale}"]
    pixels = np.array(Image.open(run(tmp_path / "there", *words) / "export" / "reconstruction.png"))
    path.unlink()
    folder = run(tmp_path / "gone", *words)
    assert f"data.path={path} is not; if they moved, add data.path=PATH. The field alone is exported" in caplog.text
    alone = np.load(folder / "export" / "reconstruction.npy")
    np.testing.assert_array_equal(alone.round().clip(0, 255), pixels)
    assert_close(inr.load(folder / "export" / "field.safetensors")([[3, 5]]), inr.load(first)([[3, 5]]))


def test_all_signals_are_exported_where_their_folder_is_gone(tmp_path):
    tiny_images(tmp_path)
    learned = run(tmp_path / "learned", *collection("image", tmp_path), *small("nid_moe"), *STEPS, "regime=dictionary")
    fitted = run(tmp_path / "fitted", *collection("image", tmp_path), *STEPS, "regime=fit", f"dictionary={learned}")
    shutil.rmtree(tmp_path / "images")
    folder = run(tmp_path / "gone", "train=false", f"ckpt_path={fitted}") / "export" / "reconstruction"
    assert sorted(file.name for file in folder.iterdir()) == ["4.png.npy", "5.png.npy"]
    assert np.load(folder / "5.png.npy").shape == (12, 12, 3)


def test_views_of_a_scene_need_the_cameras_of_its_capture(tmp_path):
    (tmp_path / "capture").mkdir()
    root = write_nerfstudio(tmp_path / "capture", generated(12, 8, 4))
    options = ["task=nerf", "data=nerfstudio", f"data.root={root}", *(word for word in RAYS if word != "data.size=12")]
    first = run(tmp_path / "first", *options, *QUICK)
    shutil.move(root, tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"data\.root=.* is not; if they moved, add data\.root=PATH\. The field alone"):
        run(tmp_path / "gone", "train=false", f"ckpt_path={first}")


def test_a_run_of_generated_data_takes_no_file(tmp_path):
    first = run(tmp_path / "first", "task=ct", "model=sine", "data.size=16", "data.points=null", *QUICK)
    with pytest.raises(InputError, match=r"data\.path was null, got"):
        run(tmp_path / "other", f"ckpt_path={first}", f"data.path={tiny_image(tmp_path)}", LONGER)


def test_fingerprints_tell_contents_names_and_sizes_apart(tmp_path):
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    large = bytearray(3 * 2**20)
    for name in ("a", "sub/b"):
        (folder / name).write_bytes(large)
    first = fingerprint(folder)
    assert set(first) == {".", "sub"}
    (folder / "sub" / "b").rename(folder / "sub" / "c")
    second = fingerprint(folder)
    assert (second["."], second["sub"]) == (first["."], second["sub"])
    assert second["sub"] != first["sub"]
    large[-1] = 1
    (folder / "a").write_bytes(large)
    assert fingerprint(folder)["."] != first["."]
    assert fingerprint(folder / "a") != fingerprint(folder / "sub" / "c")
    shutil.copy(folder / "a", tmp_path / "b")
    assert fingerprint(folder / "a") == fingerprint(tmp_path / "b")
