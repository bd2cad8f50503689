from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from datamodules.common.files import files_below, tell_left_out
from datamodules.grids.images import ImageCollection
from datamodules.grids.read_video import read_video
from datamodules.grids.sounds import SoundCollection


@pytest.fixture
def folder(tmp_path):
    """Two files of every kind that is read, one in a subfolder, beside others."""
    (tmp_path / "sub").mkdir()
    (tmp_path / ".cache").mkdir()
    for place in ("", "sub", ".cache"):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / place / "a.png")
        soundfile.write(tmp_path / place / "a.wav", np.ones(9), 8000)
    for name in ("b.heic", "c.HEIC", "sub/labels.csv", "README", ".hidden"):
        (tmp_path / name).touch()
    return tmp_path


def test_hidden_files_and_folders_are_left_out(folder):
    assert list(files_below(folder, [".png"], "There must be some")) == ["a.png", "sub/a.png"]


READERS = {
    "pictures": (lambda at: ImageCollection(root=at).describe(), "2 .heic, 2 .wav, 1 .csv, 1 readme"),
    "sounds": (lambda at: SoundCollection(root=at).describe(), "2 .heic, 2 .png, 1 .csv, 1 readme"),
    "frames": (lambda at: read_video(Path(at)), "2 .heic, 1 .wav, 1 readme"),
}


@pytest.mark.parametrize("kind", READERS)
def test_folders_say_what_they_leave_out(folder, kind):
    read, _ = READERS[kind]
    with pytest.warns(UserWarning, match="by their endings, files are left out") as caught:
        read(str(folder))
    (message,) = (str(warning.message) for warning in caught)
    assert sorted(message.rstrip(".").split("out: ")[1].lower().split(", ")) == sorted(READERS[kind][1].split(", "))


def test_a_list_that_is_read_is_not_left_out(tmp_path):
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / name)
    (tmp_path / "held.txt").write_text("b.png\n")
    assert ImageCollection(root=str(tmp_path), held_out="held.txt", tuning=0).names == ["b.png"]


def test_long_lists_of_kinds_are_cut(tmp_path):
    for place in range(12):
        (tmp_path / f"a.k{place:02d}").touch()
    with pytest.warns(UserWarning, match=r"1 \.k07 and 4 kinds more\."):
        tell_left_out(tmp_path, [])
