"""Sounds that were written to a pipe: their headers do not know how long they are."""

import io
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_array_equal

from datamodules.grids.audio import AudioData
from datamodules.grids.read_sound import read_header, read_samples
from datamodules.grids.sounds import SoundCollection
from inr.errors import InputError

CASES = Path(os.environ.get("INR_DATA", "nowhere")) / "cases" / "audio"
RATE, SAMPLES = 8000, 300
SOUND = np.random.default_rng(0).integers(-(2**15), 2**15, (SAMPLES, 2)).astype(np.int16)
BYTES = SOUND.nbytes
LIST = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf60.16.100\0"


def written(kind, sound=SOUND, **options):
    file = io.BytesIO()
    soundfile.write(file, sound, RATE, format=kind, **options)
    return file.getvalue()


def put(content, at, layout, *numbers):
    """Content with other numbers at a place, or behind a name."""
    place = content.index(at) + len(at) if isinstance(at, bytes) else at
    new = struct.pack(layout, *numbers)
    return content[:place] + new + content[place + len(new) :]


def wav(data, riff=0, before=b""):
    """A WAV file whose header names lengths of its own."""
    content = put(put(written("WAV"), b"data", "<I", data), b"RIFF", "<I", riff)
    return content.replace(b"data", before + b"data", 1)


def aiff(sound_bytes, frames, form):
    content = put(put(written("AIFF"), b"SSND", ">I", sound_bytes), b"FORM", ">I", form)
    return put(content, content.index(b"COMM") + 10, ">I", frames)


def flac(samples=0, **options):
    content = written("FLAC", **options)
    return put(content, 21, ">BI", content[21] & 0xF0 | samples >> 32, samples & 0xFFFFFFFF)


def rf64(number):
    content = written("RF64")
    return put(content, content.index(b"ds64") + 8, "<QQQ", number, number, number)


STREAMS = {
    "sox.wav": wav(0x7FFFF000, 0x7FFFF024),
    "ffmpeg.wav": wav(0xFFFFFFFF, 0xFFFFFFFF, LIST),
    "arecord.wav": wav(0x80000000, 0x80000024),
    "arecord of odd length.wav": wav(0x7FFFFFFE, 0x7FFFFFFF),
    "zero.wav": wav(0, 36),
    "zero with a list.wav": wav(0, 0, LIST),
    "zero.rf64": rf64(0),
    "all ones.rf64": rf64(2**64 - 1),
    "ffmpeg.au": put(written("AU"), 8, ">I", 0xFFFFFFFF),
    "zero.au": put(written("AU"), 8, ">I", 0),
    "sox.aiff": aiff(0x7F000008, 0x7F000000 // 4, 0x7F00002E),
    "zero.aiff": aiff(8, 0, 0),
    "empty.aiff": aiff(0, 0, 0),
    "zero.w64": put(written("W64"), written("W64").index(b"data") + 16, "<Q", 0),
    "unknown.caf": put(written("CAF"), b"data", ">q", -1),
    "16 bits.flac": flac(),
    "24 bits.flac": flac(subtype="PCM_24"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_streams_are_read_to_their_end_with_a_note(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(STREAMS[name])
    with pytest.warns(
        UserWarning, match=f"{re.escape(name)}: its header does not know its length, all {SAMPLES} samples, 0.037"
    ):
        assert read_header(path) == (RATE, SAMPLES, 2)
    assert_array_equal(read_samples(path, 0, SAMPLES) * 2**15, SOUND)
    assert_array_equal(read_samples(path, 100, 200) * 2**15, SOUND[100:200])


WHOLE = {
    **{kind: written(kind) for kind in ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC")},
    "list before": wav(BYTES, BYTES + 70, LIST),
    "list behind": put(written("WAV") + LIST, b"RIFF", "<I", BYTES + 70),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_files_pass_without_a_word(tmp_path, kind):
    (tmp_path / "a").write_bytes(WHOLE[kind])
    assert read_header(tmp_path / "a") == (RATE, SAMPLES, 2)
    assert_array_equal(read_samples(tmp_path / "a", 0, SAMPLES) * 2**15, SOUND)


@pytest.mark.parametrize("samples", [1, 65536, 65537, 140000])
def test_streams_of_flac_are_counted_to_the_sample(tmp_path, samples):
    ramp = (np.arange(samples) % 2**15).astype(np.int16)
    (tmp_path / "a.flac").write_bytes(flac(sound=ramp))
    with pytest.warns(UserWarning, match=f"all {samples} samples"):
        assert AudioData(path=str(tmp_path / "a.flac")).info.samples == samples
    assert_array_equal(read_samples(tmp_path / "a.flac", samples - 1, samples)[:, 0] * 2**15, ramp[-1:])


EMPTY = {"a.wav": written("WAV", SOUND[:0]), "b.wav": written("WAV", SOUND[:0]) + LIST, "c.au": written("AU", SOUND[:0])}


@pytest.mark.parametrize("name", EMPTY)
def test_files_without_samples_are_no_streams(tmp_path, name):
    (tmp_path / name).write_bytes(EMPTY[name])
    with pytest.raises(InputError, match="must have samples"):
        AudioData(path=str(tmp_path / name)).describe()


def test_what_lies_behind_the_named_length_is_mentioned(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(BYTES // 2, BYTES // 2 + 36))
    with pytest.warns(UserWarning, match=rf"behind the {SAMPLES // 2} samples that its header names bytes follow"):
        assert read_header(tmp_path / "a.wav").samples == SAMPLES // 2


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "SVX"])
def test_truncated_files_are_refused(tmp_path, kind):
    content = written(kind, SOUND[:, 0])
    (tmp_path / "a").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"a is truncated: of \d+ bytes \d+ are there; copy it anew"):
        read_header(tmp_path / "a")


def test_a_file_that_is_written_anew_is_read_anew(tmp_path):
    path = tmp_path / "a.flac"
    for length in (200, 300):
        path.write_bytes(flac(sound=SOUND[:length]))
        os.utime(path, (length, length))
        with pytest.warns(UserWarning, match=f"all {length} samples"):
            assert read_header(path).samples == length


@pytest.mark.parametrize("kind", ["MAT4", "MAT5"])
def test_matrices_are_no_sounds(tmp_path, kind):
    (tmp_path / "a.mat").write_bytes(written(kind))
    with pytest.raises(InputError, match=r"a\.mat is a matrix of MATLAB; save it there by audiowrite"):
        AudioData(path=str(tmp_path / "a.mat")).describe()


@pytest.mark.parametrize("name", ["a.raw", "a.m4a", "a.wav"])
def test_unknown_files_name_the_way_out(tmp_path, name):
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftypM4A " + bytes(99))
    with pytest.raises(InputError, match=r"must be a file of a known kind .*; convert it to wav, or choose another"):
        AudioData(path=str(tmp_path / name)).describe()


def test_streams_in_a_folder_are_cut_as_the_others(tmp_path):
    (tmp_path / "a.wav").write_bytes(written("WAV"))
    (tmp_path / "b.wav").write_bytes(STREAMS["zero.wav"])
    data = SoundCollection(root=str(tmp_path), held_out=1, tuning=0)
    with pytest.warns(UserWarning, match=r"b\.wav: its header does not know its length"):
        data.setup()
    assert_array_equal(data.truth(0).truth.numpy() * 2**15, SOUND)


@pytest.mark.skipif(not CASES.is_dir(), reason="needs INR_DATA")
@pytest.mark.parametrize("name", ["stream_sox.wav", "stream.flac"])
def test_streams_that_people_have_are_whole(name):
    with pytest.warns(UserWarning, match="all 4000 samples, 0.500 s"):
        assert read_header(CASES / name) == (RATE, 4000, 1)
    assert read_samples(CASES / name, 0, 4000).std() > 0.1
