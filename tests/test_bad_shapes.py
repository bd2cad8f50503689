"""A shape that cannot be read ends in one line, as in `test_bad_inputs`; one that is merely odd is fitted."""

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from running import SOLID, STEPS, metrics, run
from tiny.solids import ball, box, joined, moved

from inr.shapes.meshes import Mesh

MESH, CLOUD, VOLUME = "data=mesh data.path={bad}/", "data=pointcloud data.path={bad}/", "data=volume data.path={bad}/"

MESHES = {  # words of the command after task=sdf, then what the line must say
    "missing": (MESH + "nothing.ply", "must be an existing file", "nothing.ply", "its folder holds"),
    "unknown ending": (MESH + "notes.txt", "must end in .obj, .ply", "notes.txt", "convert it"),
    "empty": (MESH + "empty.obj", "needs vertices", "empty.obj has none"),
    "garbage": (MESH + "garbage.ply", "must be a whole file", "garbage.ply is not", "save it anew"),
    "points alone": (MESH + "points.ply", "needs faces", "data=pointcloud"),
    "degenerate": (MESH + "needle.off", "faces with an area", "needle.off"),
    "flat": (MESH + "sheet.off", "needs an inside", "sheet.off", "data=pointcloud"),
    "not finite": (MESH + "nan.off", "must be finite", "nan.off has 1 of", "repair"),
    "fill": ("data=mesh data.fill=1.5", "above 0 and at most 1", "got 1.5"),
    "shares": ("data=mesh data.surface=0.9", "at most 1 together", "got 0.9 and 0.6"),
    "sigmas": ("data=mesh data.sigmas=[0.1,-1]", "must be positive lengths", "-1"),
    "resolution": ("data=mesh data.resolution=1", "at least 2", "got 1"),
    "mesh resolution": ("data=mesh task.resolution=4", "task.resolution", "at least 8", "got 4"),
    "up": ("data=mesh task.up=w", "must be y or z", "got w"),
    "power": ("data=mesh penalty=eikonal supervision.terms.eikonal.power=0", "must be at least 1", "got power=0"),
}
OTHERS = {
    "no cloud": ("data=pointcloud", "data.path must name a file of points", "got null"),
    "cloud without normals": (CLOUD + "bare.xyz", "needs normals", "has 3 columns", "estimate them"),
    "cloud not finite": (CLOUD + "nan.xyz", "must be finite", "nan.xyz has 1 of 12 points"),
    "cloud without space": (
        CLOUD + "fine.xyz data.surface=1 data.near=0",
        "say nothing of the space",
        "penalty=[eikonal,off_surface]",
    ),
    "no grid": ("data=volume", "data.path must name the .npy file", "got null"),
    "grid without surface": (VOLUME + "ones.npy", "there is no surface in it", "1 to 1"),
    "grid inside out": (VOLUME + "inverted.npy", "must be positive outside", "data.flip=true"),
    "spacing": (VOLUME + "inverted.npy data.spacing=0", "must be positive", "got 0"),
    "no folder": ("data=shapes", "data.root must be an existing folder"),
    "folder without meshes": ("data=shapes data.root={bad}/none", "must hold two meshes or more", "none has 0"),
    "one torus": ("data=tori data.count=1", "data.count must be at least 2", "got 1"),
    "one shape": ("regime=dictionary model=nid_moe data=mesh", "two signals or more, got 1", "choose a collection"),
    "model without codes": ("regime=dictionary model=sine data=tori", "need a model with codes", "model=nid_moe"),
}


def export(mesh, path):
    trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(path)


@pytest.fixture(scope="module")
def bad(tmp_path_factory) -> Path:
    """A folder of files that are no shapes."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "none").mkdir()
    (folder / "notes.txt").write_text("hello")
    (folder / "empty.obj").write_text("")
    (folder / "garbage.ply").write_bytes(bytes(range(200)))
    solid = box()
    trimesh.PointCloud(solid.vertices).export(folder / "points.ply")
    export(Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), np.array([[0, 1, 2]])), folder / "needle.off")
    export(Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]])), folder / "sheet.off")
    text = (folder / "nan.off", trimesh.Trimesh(solid.vertices, solid.faces).export(file_type="off"))
    lines = text[1].splitlines()
    text[0].write_text("\n".join([*lines[:2], "nan 0 0", *lines[3:]]))
    cloud = np.random.default_rng(0).standard_normal((12, 6))
    np.savetxt(folder / "fine.xyz", cloud)
    np.savetxt(folder / "bare.xyz", cloud[:, :3])
    cloud[3, 1] = np.nan
    np.savetxt(folder / "nan.xyz", cloud)
    np.save(folder / "ones.npy", np.ones((5, 5, 5)))
    inverted = np.full((5, 5, 5), -1.0)
    inverted[2, 2, 2] = 1
    np.save(folder / "inverted.npy", inverted)
    return folder


@pytest.mark.parametrize(("cases", "name"), [(cases, name) for cases in (MESHES, OTHERS) for name in cases])
def test_a_bad_shape_is_refused_in_one_line(cases, name, refusal, bad, tmp_path):
    words, *phrases = (text.format(bad=bad) for text in cases[name])
    (line,) = refusal("task=sdf", *STEPS, *words.split())
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert line.startswith("error: ")
    for phrase in phrases:
        assert phrase in line


ODD = {
    "self-intersecting": joined(box(), moved(box(), 0.4, 0.3, 0.2)),
    "several bodies": joined(ball(0.3, 2), moved(ball(0.3, 2), 2.0, 0, 0), moved(box(0.2), 0, 2.0, 0)),
    "huge": Mesh(ball(subdivisions=2).vertices * 1e12 + 1e13, ball(subdivisions=2).faces),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_shapes_are_fitted(name, tmp_path):
    export(ODD[name], tmp_path / "odd.ply" if name != "huge" else tmp_path / "odd.off")
    (path,) = tmp_path.glob("odd.*")
    folder = run(tmp_path / "run", "task=sdf", f"data.path={path}", *SOLID, *STEPS, "model.hidden_features=16")
    assert np.isfinite(metrics(folder)["psnr"])
    assert 0 < metrics(folder)["linear/iou"] <= 1
    frame = json.loads((folder / "export" / "field.json").read_text())["measurement"]
    assert frame["scale"] == pytest.approx(np.ptp(ODD[name].vertices, 0).max() / 1.8, rel=1e-6)
