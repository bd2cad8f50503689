"""Places and counts of shapes that are refused by the constructor or as files are listed, in one sentence."""

import pytest

from datamodules.shapes.clouds import CloudData
from datamodules.shapes.meshes import ShapeFolder, Tori
from datamodules.shapes.volumes import VolumeData
from inr.errors import InputError


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (CloudData, {}, "data.path must name a file of points.*got null"),
        (VolumeData, {}, "data.path must name the .npy file .*got null"),
        (VolumeData, {"path": "grid.npy", "spacing": 0.0}, "data.spacing .*must be positive, got 0"),
        (ShapeFolder, {"root": "{folder}/nowhere"}, "data.root must be an existing folder, got .*nowhere"),
        (ShapeFolder, {"root": "{folder}"}, "must hold two meshes or more .*has 0"),
        (Tori, {"count": 1}, "data.count must be at least 2, got 1"),
    ],
)
def test_a_bad_place_or_count_is_refused_in_one_sentence(kind, options, message, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    given = {name: value.format(folder=tmp_path) if isinstance(value, str) else value for name, value in options.items()}
    with pytest.raises(InputError, match=rf"\A.*{message}.*\Z"):
        kind(**given).describe()
