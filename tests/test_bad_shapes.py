"""Shapes with a trait that real files have are fitted, exported and loaded as if they had none."""

import json

import numpy as np
import pytest
import trimesh
from running import SOLID, STEPS, metrics, run
from tiny.solids import ball

import inr

SMALL = ("task=sdf", "model=sine", *SOLID, *STEPS, "model.hidden_features=16")
FITTED = ("model.hidden_features=32", "optimizer.lr=1e-3", "data.points=256", "data.pool=4000", "trainer.max_steps=40")
AWAY = np.array([500000.25, 4500000.5, 120.0])


def spread(count=643):
    """A cloud of points of a ball, one of which occurs twice."""
    normals = np.random.default_rng(0).normal(size=(count - 1, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    table = np.concatenate([normals, normals], 1)
    return np.concatenate([table, table[:1]])


def write(path, mesh):
    rows = ["v {!r} {!r} {!r}".format(*row) for row in mesh.vertices.tolist()]
    path.write_text("\n".join([*rows, *("f {} {} {}".format(*face) for face in (mesh.faces + 1).tolist())]))
    return f"data.path={path}"


def test_a_point_that_occurs_twice_is_fitted(tmp_path):
    np.savetxt(tmp_path / "onedup.xyz", spread())
    folder = run(tmp_path / "run", *SMALL, "data=pointcloud", f"data.path={tmp_path / 'onedup.xyz'}")
    assert np.isfinite(metrics(folder)["eikonal"])


def fit(folder, size, place):
    """A ball of a size somewhere."""
    solid = ball(size, 3)
    path = write(folder / "ball.obj", solid._replace(vertices=solid.vertices + place))
    return run(folder / "run", *SMALL, *FITTED, path, "data.resolution=12", "task.resolution=20")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("plain"), 1.0, np.zeros(3))


@pytest.mark.parametrize(("size", "place"), [(1.0, AWAY), (1e-9, np.zeros(3))], ids=["far away", "tiny"])
def test_results_do_not_depend_on_place_and_size_in_the_file(size, place, plain, tmp_path):
    folder = fit(tmp_path, size, place)
    for ending in ("ply", "obj", "glb"):
        meshes = [trimesh.load(one / "export" / f"mesh.{ending}", force="mesh", process=False) for one in (plain, folder)]
        steps = (np.asarray(meshes[1].vertices) - place) / size
        assert steps == pytest.approx(np.asarray(meshes[0].vertices), abs=1e-3)
        assert len(np.unique(meshes[1].vertices, axis=0)) == len(steps) > 100
        assert meshes[1].faces.tolist() == meshes[0].faces.tolist()
    assert np.load(folder / "export" / "volume.npy") == pytest.approx(
        size * np.load(plain / "export" / "volume.npy"), abs=1e-3 * size
    )
    measured = json.loads((folder / "export" / "field.json").read_text())["measurement"]
    assert measured["centre"] == pytest.approx(place.tolist(), abs=1e-12)
    at = np.linspace(0.9, 1.0, 11)[:, None] * [1, 0, 0]  # in steps that single precision does not know far away
    expected, field = inr.load(plain), inr.load(folder)
    assert field(place + size * at) / size == pytest.approx(expected(at), abs=1e-3)
    assert field.jacobian(place + size * at) == pytest.approx(expected.jacobian(at), abs=0.01)
    assert np.array_equal(field(place + size * at), field((place + size * at).tolist()))
    assert np.array_equal(field(place + size * at), inr.load(folder / "export" / "field.safetensors")(place + size * at))


def test_samples_of_distances_are_fitted_and_scored_by_their_surface(tmp_path):
    random = np.random.default_rng(0)
    points = random.uniform(-1, 1, (6000, 3))
    table = np.concatenate([points, np.linalg.norm(points, axis=1, keepdims=True) - 0.6], 1).astype(np.float32)
    np.savez(tmp_path / "ball.npz", pos=table[table[:, 3] >= 0], neg=table[table[:, 3] < 0])
    options = ["data=distances", f"data.path={tmp_path / 'ball.npz'}", "task.resolution=30", "data.resolution=24"]
    folder = run(tmp_path / "run", *SMALL, *FITTED, *options, "trainer.max_steps=100")
    assert metrics(folder)["chamfer"] < 0.1
    assert "psnr" not in metrics(folder)  # between the samples nothing is known
    mesh = trimesh.load(folder / "export" / "mesh.ply", process=False)
    assert np.linalg.norm(mesh.vertices, axis=1) == pytest.approx(0.6, abs=0.15)
