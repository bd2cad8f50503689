import os
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from datamodules.grids.read_video import read_video
from inr.errors import InputError

FRAMES, ROWS, COLUMNS, RATE = 11, 18, 22, 12.5
FILM = np.random.default_rng(0).integers(0, 256, (FRAMES, ROWS, COLUMNS, 3), dtype=np.uint8)
SMOOTH = (128 + 90 * np.sin(np.indices((FRAMES, 32, 48, 3)).sum(0) / 12)).astype(np.uint8)
LOSSLESS = {"rawvideo": "bgr24", "ffv1": "bgr0", "png": "rgb24"}
DATA = Path(os.environ.get("INR_DATA", "nowhere")) / "video"


def write(path, film=FILM, codec="rawvideo", pixels="bgr24", rate=RATE):
    """A film by ffmpeg, told everything by hand."""
    sizes = f"{film.shape[2]}x{film.shape[1]}"
    options = f"-y -v error -f rawvideo -pix_fmt rgb24 -s {sizes} -r {rate} -i - -c:v {codec} -pix_fmt {pixels}".split()
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *options, f"file:{path}"], input=film.tobytes(), check=True)
    return path


def write_folder(folder, film=FILM):
    """A film as numbered pictures, among other things."""
    folder.mkdir()
    for index, frame in enumerate(film):
        Image.fromarray(frame).save(folder / f"frame_{index:03}.png")
    (folder / ".frame_000.png").write_bytes(b"left by a file manager")
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """The same film in a file and in a folder."""
    folder = tmp_path_factory.mktemp("films")
    return {"file": write(folder / "film.avi"), "folder": write_folder(folder / "film")}


@pytest.mark.parametrize("codec", LOSSLESS)
def test_lossless_films_are_read_exactly(tmp_path, codec):
    frames, rate = read_video(write(tmp_path / "50%d of: it.avi", codec=codec, pixels=LOSSLESS[codec]))
    assert_array_equal(frames, FILM)
    assert (rate, frames.dtype, frames.flags.writeable) == (RATE, np.uint8, True)


@pytest.mark.parametrize("ending", ["mp4", "mov", "avi"])
def test_compressed_films_are_close_to_what_was_written(tmp_path, ending):
    path = write(tmp_path / f"film.{ending}", SMOOTH, codec="libx264 -crf 8", pixels="yuv444p", rate=25)
    frames, rate = read_video(path)
    assert (rate, frames.shape) == (25, SMOOTH.shape)
    assert np.abs(frames.astype(int) - SMOOTH).max() <= 8


def test_animated_gifs_are_films(tmp_path):
    film = FILM // 128 * 255
    first, *others = map(Image.fromarray, film)
    first.save(tmp_path / "film.gif", save_all=True, append_images=others, duration=40)
    frames, rate = read_video(tmp_path / "film.gif")
    assert_array_equal(frames, film)
    assert rate == 25


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("first", [0, 3, FRAMES - 1])
@pytest.mark.parametrize("last", [3, 7, FRAMES - 1, None])
@pytest.mark.parametrize("step", [1, 2, 4])
def test_every_choice_of_frames_is_a_slice_of_the_film(films, kind, first, last, step):
    last = last and max(first, last)
    frames, rate = read_video(films[kind], first, last, step)
    assert_array_equal(frames, FILM[first : FRAMES if last is None else last + 1 : step])
    assert rate == {"file": RATE, "folder": 25}[kind]


def test_nothing_after_the_last_frame_is_read(tmp_path):
    path = write_folder(tmp_path / "film", FILM)
    (path / "frame_009.png").write_bytes(b"broken")
    assert_array_equal(read_video(path, 2, 8)[0], FILM[2:9])


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_frames_that_depend_on_others_are_found_by_number(tmp_path, codec):
    path = write(tmp_path / "film.avi", SMOOTH, codec=codec, pixels="yuv420p")
    whole, _ = read_video(path)
    assert len(whole) == FRAMES
    assert_array_equal(read_video(path, 4, 9, 2)[0], whole[4:10:2])


def test_pictures_of_other_kinds_become_colours_of_8_bits(tmp_path):
    grey = FILM[0, ..., :1]
    np.save(tmp_path / "a.npy", grey)
    np.save(tmp_path / "b.npy", FILM[1].astype(np.uint16) * 257)
    Image.fromarray(grey[..., 0]).save(tmp_path / "c.PNG")
    frames, _ = read_video(tmp_path)
    assert_array_equal(frames, [grey.repeat(3, -1), FILM[1], grey.repeat(3, -1)])


def holding(path, content=b""):
    path.write_bytes(content)
    return path


def cut(path, left):
    return holding(path, path.read_bytes()[:left])


def two_sizes(folder):
    path = write_folder(folder / "film", FILM[:2])
    Image.fromarray(FILM[2, :-1]).save(path / "frame_002.png")
    return path


def real(folder):
    np.save(folder / "frame.npy", FILM[0] / 255)
    return folder


def avi(folder):
    return write(folder / "film.avi")


def mp4(folder):
    return write(folder / "film.mp4", SMOOTH, codec="libx264", pixels="yuv420p")


def pictures(folder):
    return write_folder(folder / "film")


UNKNOWN = r"whole and of a known kind .*film\.{}.*; copy it anew"
MISTAKES = [
    (lambda at: at / "nothing.avi", {}, r"must be an existing file, got .*nothing\.avi, which is not there"),
    (lambda at: holding(at / "film.avi", b"not a film"), {}, UNKNOWN.format(r"avi is not: .*Invalid data")),
    (lambda at: holding(at / "film.mp4"), {}, UNKNOWN.format("mp4 is not: ")),
    (lambda at: cut(avi(at), -2000), {}, UNKNOWN.format("avi is not: .*corrupt")),
    (lambda at: cut(mp4(at), 1000), {}, UNKNOWN.format("mp4 is not: ")),
    (avi, {"first": -1}, r"0 <= first <= last and step >= 1, got first=-1, last=null, step=1; correct them"),
    (avi, {"first": 4, "last": 3}, r"0 <= first <= last .* got first=4, last=3, step=1"),
    (avi, {"step": 0}, r"step >= 1, got .*step=0"),
    (avi, {"first": 11}, r"which has 11, counted from 0; got first=11, last=null, step=1: choose"),
    (avi, {"first": 9, "last": 11}, r"which has 11, counted from 0; got first=9, last=11, step=1: choose"),
    (pictures, {"first": 11}, r"which has 11, counted from 0; got first=11"),
    (pictures, {"last": 11}, r"which has 11, counted from 0; got first=0, last=11"),
    (lambda at: holding(at / "notes.txt").parent, {}, r"must hold pictures \(\.png, .*\), .* has notes\.txt; choose another"),
    (two_sizes, {}, r"of one size, .*frame_000\.png has 18 x 22 and frame_002\.png has 17 x 22 pixels; resize them"),
    (real, {}, r"of 8 or 16 bits, .*frame\.npy is float64 of 3 channels; convert it"),
]


@pytest.mark.parametrize(("build", "choice", "message"), MISTAKES)
def test_mistakes_are_named(tmp_path, build, choice, message):
    with pytest.raises(InputError, match=rf"\A.*(?:{message}).*\Z"):
        read_video(build(tmp_path), **choice)


def test_without_ffmpeg_folders_are_read_and_films_name_the_remedy(films, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert_array_equal(read_video(films["folder"])[0], FILM)
    with pytest.raises(InputError, match=r"not there for .*film\.avi; pip install imageio-ffmpeg"):
        read_video(films["file"])


@pytest.mark.skipif(not DATA.is_dir(), reason="needs INR_DATA")
def test_real_films_have_their_known_sizes():
    for name, choice, shape, speed in (("highway", (1, 200), (200, 240, 320, 3), 60), ("demo", (), (51, 48, 48, 3), 15)):
        frames, rate = read_video(DATA / f"{name}.avi", *choice)
        assert (frames.shape, rate) == (shape, speed)
