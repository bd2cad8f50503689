import numpy as np
import pytest
import trimesh
from numpy.testing import assert_allclose
from tiny.solids import ball

from inr.shapes.write_mesh import WRITERS, Placed


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("centre", [(0.0, 0.0, 0.0), (5e5 + 0.25, -4.5e6, 120.0)])
def test_meshes_keep_every_digit(centre, size, ending, tmp_path):
    if size < 1 and any(centre):
        centre = tuple(1e-5 * np.array(centre))  # as far as double precision reaches
    solid = ball(1.0, 3)
    mesh = Placed(centre, size * solid.vertices, solid.faces, solid.vertices)
    WRITERS[ending](tmp_path / f"a.{ending}", mesh)
    read = trimesh.load(tmp_path / f"a.{ending}", force="mesh", process=False)
    steps = np.asarray(read.vertices, np.float64) - centre
    seen = {"ply": 1e-15, "obj": 1e-15, "glb": 1e-7}[ending]
    assert_allclose(steps, mesh.steps, rtol=0, atol=seen * size + 4e-16 * np.abs(centre).max())
    assert len(np.unique(read.vertices, axis=0)) == len(solid.vertices)
    if size >= 1:  # trimesh drops the normals of faces as small as 1e-18
        assert_allclose(read.vertex_normals, solid.vertices, atol=0.01)
    assert read.faces.tolist() == solid.faces.tolist()
