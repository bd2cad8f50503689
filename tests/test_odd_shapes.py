"""A shape that is merely odd is fitted: it is not refused, and its frame is its own."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
import trimesh
from running import SOLID, STEPS, metrics, run
from tiny.solids import ball, box, joined, moved

from inr.shapes.meshes import Mesh

ODD = {
    "self-intersecting.ply": joined(box(), moved(box(), 0.4, 0.3, 0.2)),
    "several bodies.ply": joined(ball(0.3, 2), moved(ball(0.3, 2), 2.0, 0, 0), moved(box(0.2), 0, 2.0, 0)),
    "huge.off": Mesh(ball(subdivisions=2).vertices * 1e12 + 1e13, ball(subdivisions=2).faces),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_shapes_are_fitted(name, tmp_path):
    mesh, path = ODD[name], tmp_path / name.replace(" ", "_")
    trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(path)
    notes = pytest.warns(UserWarning, match="overlap") if "self" in name else nullcontext()
    with notes:
        folder = run(
            tmp_path / "run", "task=sdf", "model=sine", f"data.path={path}", *SOLID, *STEPS, "model.hidden_features=16"
        )
    assert np.isfinite(metrics(folder)["psnr"])
    assert 0 < metrics(folder)["linear/iou"] <= 1
    frame = json.loads((folder / "export" / "field.json").read_text())["measurement"]
    assert frame["scale"] == pytest.approx(np.ptp(mesh.vertices, 0).max() / 1.8, rel=1e-6)
