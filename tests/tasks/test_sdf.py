import json

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from running import SOLID, STEPS, checkpoint, collection, curve, metrics, run, small, tiny_cloud
from tiny.solids import ball
from torch.testing import assert_close

import inr
from inr.errors import InputError
from tasks.drawing.shapes import WIDTH

TINY = ("task=sdf", "model=sine", "model.hidden_features=32", "optimizer.lr=1e-3", "data.points=512", *SOLID, *STEPS)
FINER = ("data.resolution=24", "data.pool=8000", "task.resolution=40", "trainer.max_steps=200")
CENTRE, RADIUS = np.array([100.0, 20.0, -5.0]), 7.0


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A ball somewhere in the file's coordinates."""
    path = tmp_path_factory.mktemp("mesh") / "ball.stl"
    solid = ball(RADIUS)
    trimesh.Trimesh(solid.vertices + CENTRE, solid.faces).export(path)
    return f"data.path={path}"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, own):
    return run(tmp_path_factory.mktemp("sdf") / "run", *TINY, *FINER, own, "callbacks.results.pictures=true")


def test_a_shape_is_fitted_and_compared(fitted):
    found = metrics(fitted)
    assert found["iou"] > 0.9
    assert found["iou_shell"] < found["iou"]
    assert 0 < found["chamfer"] < 0.05
    assert found["normals"] > 0.95
    assert found["mae"] < 0.1 * RADIUS
    assert found["eikonal"] < 0.3
    assert found["angle"] < 30
    assert found["psnr_shell"] > 25
    assert found["linear/iou"] > 0.9
    definitions = json.loads((fitted / "metrics.json").read_text())
    assert definitions["mae"]["unit"] == "length of the file"
    assert "24^3" in definitions["iou"]["definition"]


def test_meshes_come_in_the_coordinates_of_the_file_with_normals_outward(fitted):
    for ending in ("ply", "obj", "glb"):
        mesh = trimesh.load(fitted / "export" / f"mesh.{ending}", force="mesh", process=False)
        away = mesh.vertices - CENTRE
        assert np.linalg.norm(away, axis=1) == pytest.approx(RADIUS, abs=0.1 * RADIUS)
        assert mesh.volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.1)
        cosines = (mesh.vertex_normals * away).sum(1) / np.linalg.norm(away, axis=1)
        assert cosines.min() > 0.8
    picture = np.asarray(Image.open(fitted / "pictures" / "shape.png")).astype(int)
    discs = 3 * np.pi * (0.9 / WIDTH) ** 2 / 3  # share of three square panels that a ball covers
    assert (picture < 250).any(-1).mean() == pytest.approx(discs, rel=0.3)  # the titles take some more
    assert (picture[..., 0] - picture[..., 2]).max() < 20  # nothing is red: surfaces are seen from outside


def test_the_loaded_field_is_the_distance_in_the_unit_of_the_file(fitted):
    field = inr.load(fitted)
    away = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    for radius in (0.7 * RADIUS, RADIUS, 1.08 * RADIUS):
        at = torch.tensor(CENTRE).float() + radius * away
        assert_close(field(at)[:, 0], torch.full((50,), radius - RADIUS), rtol=0, atol=0.06 * RADIUS)
        slopes = field.jacobian(at)[:, 0]
        assert (slopes * away).sum(-1).mean().item() == pytest.approx(1, abs=0.1)


def test_exported_distances_can_be_fitted_again(fitted, tmp_path):
    volume = np.load(fitted / "export" / "volume.npy")
    assert volume.shape == (24, 24, 24)
    field, scale = inr.load(fitted), RADIUS / 0.9
    corner = torch.tensor(CENTRE - scale).float()
    assert float(field(corner)) == pytest.approx(volume[0, 0, 0], rel=1e-4)
    options = ["data=volume", f"data.path={fitted / 'export' / 'volume.npy'}", f"data.spacing={2 * scale / 23}"]
    again = run(tmp_path / "again", *TINY, *FINER, *options, "trainer.max_steps=60")
    assert metrics(again)["psnr"] > 20


def test_the_constant_that_directions_leave_open_comes_from_the_distances_of_the_samples(own, tmp_path):
    folder = run(tmp_path / "run", *TINY, *FINER, own, "supervision=der")
    found = metrics(folder)
    assert checkpoint(folder)["state_dict"]["constant.value"].abs().item() > 1e-4
    assert found["iou"] > 0.8
    assert found["psnr_uncorrected"] < found["psnr"]


def test_the_eikonal_penalty_makes_gradients_one_long(own, tmp_path):
    options = [*TINY, *FINER, own, "supervision=val"]
    plain = run(tmp_path / "plain", *options)
    even = run(tmp_path / "even", *options, "penalty=eikonal")
    assert "train/eikonal" in curve(even)[0]
    assert metrics(even)["eikonal"] < 0.8 * metrics(plain)["eikonal"]


def test_points_alone_need_terms_on_the_space_around_them(tmp_path):
    options = [*TINY, "data=pointcloud", tiny_cloud(tmp_path), "trainer.val_check_interval=1", "data.surface=1", "data.near=0"]
    points = torch.from_numpy(np.loadtxt(tmp_path / "ball.xyz")[:, :3]).float()
    options.append(f"data.validation_points={len(points)}")
    with pytest.raises(InputError, match=r"penalty=\[eikonal,off_surface\]"):
        run(tmp_path / "open", *options)
    for supervision in ("val_der", "der"):
        folder = run(tmp_path / supervision, *options, "penalty=[eikonal,off_surface]", f"supervision={supervision}")
        assert "psnr" not in metrics(folder)
        assert {"chamfer", "f_score", "normals", "eikonal"} <= set(metrics(folder))
        distances = inr.load(folder)(points) / (np.ptp(points.numpy(), 0).max() / 1.8)
        expected = -10 * distances.square().mean().log10().item()  # the points lie where the distance is zero
        assert float(curve(folder)[-1]["val/psnr"]) == pytest.approx(expected, abs=1e-3)


def test_a_closed_surface_goes_through_points(tmp_path):
    options = ["experiment=siren/pointcloud", tiny_cloud(tmp_path, 1500), "model.hidden_features=64", "optimizer.lr=1e-3"]
    smooth = ["model.activation.omega=10", "data.points=300", "data.resolution=24", "task.resolution=24"]
    folder = run(tmp_path / "run", *options, *smooth, *STEPS, "trainer.max_steps=300")
    assert metrics(folder)["chamfer"] < 0.06
    mesh = trimesh.load(folder / "export" / "mesh.ply", process=False)
    assert np.median(np.linalg.norm(mesh.vertices - 7, axis=1)) == pytest.approx(3, abs=0.1)


def test_what_points_say_of_the_space_around_them_gives_one_closed_surface(tmp_path):
    options = [*TINY, *FINER, "data=pointcloud", tiny_cloud(tmp_path, 1500), "task.resolution=24"]
    folder = run(tmp_path / "run", *options)
    assert metrics(folder)["chamfer"] < 0.03
    mesh = trimesh.load(folder / "export" / "mesh.ply", process=True)
    assert mesh.is_watertight
    assert mesh.body_count == 1
    assert np.linalg.norm(mesh.vertices - 7, axis=1) == pytest.approx(3, abs=0.3)


def test_an_encoder_sees_points_of_the_surface_and_the_table_says_so(tmp_path):
    options = [*collection("sdf", tmp_path), *small("nid_moe"), *STEPS]
    learned = run(tmp_path / "learned", *options, "model/coder=pointnet", "model.coder.width=8", "regime=dictionary")
    assert "encoder alone/psnr" in metrics(learned)
    fitted = run(tmp_path / "fitted", *options, "regime=fit", f"dictionary={learned}", "data.observed=50")
    for folder, points in ((learned, 300), (fitted, 50)):
        definition = json.loads((folder / "metrics.json").read_text())["encode_seconds"]["definition"]
        assert f"saw points on the surface with their normals, through PointNet, as {points} points of" in definition
    with pytest.raises(InputError, match="ConvCoder reads grids, and these signals offer points"):
        run(tmp_path / "grid", *options, "model/coder=conv", "model.coder.shape=[8,8,8]", "regime=dictionary")


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    options = [*collection("sdf", folder), *STEPS, "supervision=val"]
    return options, run(folder / "learned", *options, *small("nid_moe"), "regime=dictionary")


@pytest.mark.parametrize("how", [["solver=topk", "solver.k=4"], ["solver=l1"], ["solver=adam"], ["fit.refine=head"]])
def test_codes_of_shapes_by_every_solver(how, learned, tmp_path):
    options, dictionary = learned
    fitted = run(tmp_path / "fitted", *options, "regime=fit", f"dictionary={dictionary}", *how)
    assert checkpoint(fitted)["signals"] == ["torus_004", "torus_005"]
    codes = checkpoint(fitted)["state_dict"]["network.coder.codes"]
    assert not torch.equal(*codes)
    assert "solver=topk" not in how or (codes[:, :-1] != 0).sum(1).max() <= 4


def test_a_mesh_of_the_user_gets_a_code_in_a_dictionary(own, learned, tmp_path):
    words = [*SOLID, *STEPS, own, "regime=fit", f"dictionary={learned[1]}", "callbacks.results.pictures=true"]
    fitted = run(tmp_path / "fitted", "task=sdf", *words, "supervision=val")
    assert (fitted / "pictures" / "atoms.png").is_file()
    frame = json.loads((fitted / "export" / "field.json").read_text())["measurement"]
    assert [*frame["centre"], frame["scale"]] == pytest.approx([*CENTRE, RADIUS / 0.9], rel=1e-5)
