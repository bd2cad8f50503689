"""A run whose data lie elsewhere now goes on with them, and with no others."""

import shutil

import numpy as np
import pytest
from PIL import Image
from running import QUICK, assert_same_run, run, tiny_image, tiny_images, tiny_sound

from datamodules.common.files import fingerprint
from inr.errors import InputError

LONGER = "trainer.max_steps=3"


def test_a_file_that_moved_and_has_another_name(tmp_path):
    path = tiny_image(tmp_path)
    first = run(tmp_path / "first", f"data.path={path}", *QUICK)
    whole = run(tmp_path / "whole", f"data.path={path}", *QUICK, LONGER)
    new = path.rename(tmp_path / "moved.PNG")
    rule = rf"must be there, data\.path={path} is not; if they moved, add data\.path=PATH.*inr\.load\(RUN\)"
    for words in ([LONGER], ["train=false"]):
        with pytest.raises(InputError, match=rule):
            run(tmp_path / "gone", f"ckpt_path={first}", *words)
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
    of_sound = run(tmp_path / "sound", "task=audio", f"data.path={sound}", *QUICK)
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


def test_a_run_of_generated_data_takes_no_file(tmp_path):
    first = run(tmp_path / "first", "task=ct", "data.size=16", "data.points=null", *QUICK)
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
