import resource
import subprocess
import sys
import weakref

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from datamodules.grids.read_video import read_video
from tasks.drawing.videos import write_video

SMOOTH = (128 + 90 * np.sin(np.indices((9, 32, 48, 3)).sum(0) / 12)).astype(np.uint8)
GREY = SMOOTH[..., 0]


def distance(one, other):
    return np.abs(one.astype(int) - other)


@pytest.mark.parametrize("size", [(32, 48), (31, 48), (32, 47), (31, 47), (1, 1)])
@pytest.mark.parametrize(("frames", "rate"), [(SMOOTH, 25), (SMOOTH, 12.5), (GREY, 24)], ids=["25", "12.5", "grey"])
def test_videos_come_back_within_a_few_grey_levels_with_odd_rows_and_columns_doubled(tmp_path, capfd, frames, rate, size):
    frames = frames[:, : size[0], : size[1]]
    path = write_video(tmp_path / "new" / "run.1", frames, rate)
    assert path == tmp_path / "new" / "run.1.mp4"
    read, found = read_video(path)
    assert found == rate
    colour = frames if frames.ndim == 4 else frames[..., None].repeat(3, -1)
    expected = np.pad(colour, ((0, 0), (0, size[0] % 2), (0, size[1] % 2), (0, 0)), mode="edge")
    assert read.shape == expected.shape
    assert distance(read, expected).max() <= 10
    assert distance(read, expected).mean() <= 2
    assert capfd.readouterr() == ("", "")
    log = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", path], capture_output=True, text=True).stderr
    assert "Video: h264" in log  # with yuv420p, as every viewer plays it
    assert "yuv420p" in log


def test_without_ffmpeg_a_gif_is_written(tmp_path, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    frames = SMOOTH[:, :31] // 128 * 255
    frames[:, 0, 0] = np.arange(9)[:, None]  # a gif joins frames that are equal
    path = write_video(tmp_path / "run.1", iter(frames), 10)
    assert path == tmp_path / "run.1.gif"
    with Image.open(path) as film:
        assert (film.n_frames, film.size) == (len(frames), (48, 31))
        assert (film.info["duration"], film.info["loop"]) == (100, 0)
        for index, frame in enumerate(frames):
            film.seek(index)
            assert distance(np.asarray(film.convert("RGB")), frame).max() <= 8
    assert capfd.readouterr() == ("", "")


def test_frames_are_drawn_one_by_one_and_then_forgotten(tmp_path):
    drawn = []

    def frames():
        for index in range(200):
            frame = np.full((32, 48, 3), index, np.uint8)
            drawn.append(weakref.ref(frame))
            yield frame
            del frame
            assert sum(reference() is not None for reference in drawn) <= 3

    read, _ = read_video(write_video(tmp_path / "film", frames(), 25), 100, 199, 99)
    assert distance(read.mean((1, 2, 3)), [100, 199]).max() <= 2


MISTAKES = [
    ([], 25, "one frame or more, got none"),
    (SMOOTH, 0, "rate > 0, got rate=0"),
    (SMOOTH / 255, 25, r"uint8, got \(32, 48, 3\) of float64"),
    (SMOOTH[..., :2], 25, r"\(rows, columns, 3\) of uint8, got \(32, 48, 2\)"),
    ([SMOOTH[0], SMOOTH[1, :-1]], 25, r"of one size, got \(32, 48\) and \(31, 48\)"),
]


@pytest.mark.parametrize(("frames", "rate", "message"), MISTAKES)
def test_mistakes_are_named(tmp_path, frames, rate, message):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "film", frames, rate)


def test_a_video_is_whole_or_refused(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as on a full disk
    try:
        with pytest.raises(OSError, match=r"could not be written to .*film\.mp4: .+\."):
            write_video(tmp_path / "film", SMOOTH, 25)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_the_reason_is_told_where_it_cannot_be_written(tmp_path, capfd):
    (tmp_path / "film.mp4").mkdir()
    with pytest.raises(OSError, match=r"could not be written to .*film\.mp4: .*Is a directory"):
        write_video(tmp_path / "film", [*SMOOTH] * 100, 25)
    assert capfd.readouterr() == ("", "")
