import numpy as np
import pytest
import torch
import trimesh
from running import tiny_cloud
from tiny.solids import ball
from torch.testing import assert_close

from datamodules.common.draws import Draw
from datamodules.common.signal_data import Wanted
from datamodules.shapes.clouds import CloudData
from datamodules.shapes.meshes import MeshData, ShapeFolder, Tori
from datamodules.shapes.volumes import VolumeData
from inr.errors import InputError

CPU = torch.device("cpu")
FEW = {"pool": 400, "resolution": 9, "validation_points": 50, "points": 64}
SHAPE, SPACING, CENTRE, RADIUS = (21, 31, 25), 0.5, (5.0, 8.0, 6.0), 4.0
IN_SPACE = Wanted({"data": frozenset({"value", "jacobian"}), "space": frozenset({"jacobian"})})


def ball_grid(folder, sign=1.0, **options):
    """Distances from a ball on a grid whose sides differ."""
    axes = np.meshgrid(*[SPACING * np.arange(side) for side in SHAPE], indexing="ij")
    values = np.sqrt(sum((axis - middle) ** 2 for axis, middle in zip(axes, CENTRE, strict=True))) - RADIUS
    np.save(folder / "grid.npy", sign * values)
    return VolumeData(path=str(folder / "grid.npy"), spacing=SPACING, **FEW | options)


def from_centre(data, points):
    """Points of the cube as seen from the middle of the ball, in lengths of the file."""
    return points * data.frame.scale + torch.tensor(data.frame.centre) - torch.tensor(CENTRE)


def test_voxels_of_a_grid_are_distances_in_the_cube(tmp_path):
    data = ball_grid(tmp_path, pool=5000)
    part = next(data.training_batches(CPU)).parts["data"]
    points, away = part.coordinates, from_centre(data, part.coordinates)
    assert points.abs().max() == 1  # along the longest side
    assert points[..., 0].abs().max() == pytest.approx(20 / 30)
    assert_close(data.restore(part.targets["value"])[..., 0], away.norm(dim=-1) - RADIUS, rtol=1e-5, atol=1e-5)
    smooth = (away.norm(dim=-1) > 2) & (points.abs() < 0.6).all(-1)
    slopes = part.targets["jacobian"][..., 0, :][smooth]
    assert_close(slopes, (away / away.norm(dim=-1, keepdim=True))[smooth], rtol=0, atol=0.02)


def test_between_voxels_distances_are_trilinear_and_the_surface_is_where_they_are_zero(tmp_path):
    data = ball_grid(tmp_path)
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.6
    expected = from_centre(data, points).norm(dim=-1) - RADIUS
    smooth = expected > 1.5 - RADIUS  # away from the middle, where the distance has a kink
    assert_close(data.restore(data.only.distances(points))[smooth], expected[smooth], rtol=0, atol=0.06)
    vertices = from_centre(data, torch.from_numpy(data.only.mesh.vertices).float())
    assert_close(vertices.norm(dim=-1), torch.full((len(vertices),), RADIUS), rtol=0, atol=0.05)


def test_a_grid_the_wrong_way_round_is_refused_or_turned(tmp_path):
    with pytest.raises(InputError, match=r"negative on all its sides; use data.flip=true"):
        ball_grid(tmp_path, -1).describe()
    turned = ball_grid(tmp_path, -1, flip=True).only.values
    assert torch.equal(turned, ball_grid(tmp_path).only.values)


@pytest.mark.parametrize(
    ("array", "rule"),
    [
        (np.ones((4, 4, 4)), "there is no surface in it"),
        (np.ones((4, 4)), r"has three axes .* has \(4, 4\)"),
        (np.full((4, 4, 4), np.nan), "must be finite"),
        (np.array(["a"]), "has three axes"),
    ],
)
def test_grids_without_a_surface_are_refused(array, rule, tmp_path):
    np.save(tmp_path / "grid.npy", array)
    with pytest.raises(InputError, match=rule):
        VolumeData(path=str(tmp_path / "grid.npy"), **FEW).describe()


@pytest.mark.parametrize(
    ("name", "save", "tolerance"),
    [
        ("one.npz", lambda path, values: np.savez(path, values), 0),
        ("named.npz", lambda path, values: np.savez_compressed(path, sdf=values), 0),
        ("half.npy", lambda path, values: np.save(path, values.astype(np.float16)), 0.01),
        ("big.npy", lambda path, values: np.save(path, values.astype(">f8")), 0),
        ("columns.npy", lambda path, values: np.save(path, np.asfortranarray(values)), 0),
    ],
)
def test_grids_of_every_kind_of_array_are_the_same(name, save, tolerance, tmp_path):
    expected = ball_grid(tmp_path).only
    save(tmp_path / name, np.load(tmp_path / "grid.npy"))
    found = VolumeData(path=str(tmp_path / name), spacing=SPACING, **FEW).only
    assert_close(found.values, expected.values, rtol=0, atol=tolerance)
    assert found.frame == expected.frame


@pytest.mark.parametrize(
    ("name", "arrays", "rule"),
    [
        ("a.npz", {"sdf": np.zeros((4, 4, 4)), "grid": np.zeros(3)}, "must hold one array, .* has sdf, grid"),
        (
            "a.npz",
            {"pos": np.zeros((4, 4)), "neg": np.zeros((4, 4))},
            "has three axes, .* those of DeepSDF at scattered points, pos and neg; use data=distances",
        ),
        ("a.nrrd", {"sdf": np.zeros((4, 4, 4))}, r"is an \.npy file, or an \.npz file of one array, got .*a\.nrrd; convert it"),
    ],
)
def test_files_that_are_no_grid_are_refused(name, arrays, rule, tmp_path):
    with (tmp_path / name).open("wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(InputError, match=rf"\A.*{rule}.*\Z"):
        VolumeData(path=str(tmp_path / name), **FEW).describe()


def test_clouds_can_be_their_points_and_nothing_else(tmp_path):
    path = tiny_cloud(tmp_path).partition("=")[2]
    data = CloudData(path=path, **FEW | {"points": None, "pool": 300, "surface": 1.0, "near": 0.0})
    data.serve(IN_SPACE)
    parts = data.training_batch(Draw(torch.tensor([0]), None, "train", 5), CPU).parts
    points = parts["data"].coordinates
    assert torch.equal(points[0].sort(0).values, torch.from_numpy(data.only.points).float().sort(0).values)
    assert not parts["data"].targets["value"].any()
    assert_close(parts["data"].targets["jacobian"][..., 0, :] * 0.9, points, rtol=0, atol=0.05)  # of a ball, about
    assert data.baselines() == data.truth(0).masks == {}


def test_points_of_space_fill_the_cube_anew_in_each_step():
    data = MeshData(**FEW | {"space_points": 3000})
    data.serve(IN_SPACE)
    draws = [next(data.training_draws(step)) for step in (3, 3, 4)]
    space, again, other = (data.training_batch(draw, CPU).parts["space"].coordinates[0] for draw in draws)
    assert torch.equal(space, again)
    assert not torch.equal(space, other)
    assert space.shape == (3000, 3)
    assert_close(space.mean(0), torch.zeros(3), rtol=0, atol=0.05)
    assert_close(space.var(0), torch.full((3,), 1 / 3), rtol=0, atol=0.03)  # uniform in [-1, 1]


def test_of_held_out_shapes_only_the_samples_asked_for_are_used():
    data = Tori(count=6, held_out=2, tuning=1, observed=40, **FEW)
    sizes = [(len(shapes), shapes.size) for shapes in (data.trained, data.evaluated, data.tuned)]
    assert sizes == [(3, 400), (2, 40), (1, 40)]
    data.serve(Wanted(observations=True))
    (batch,) = data.observation_batches(torch.tensor([1]), CPU)
    assert batch.parts["data"].coordinates.shape == (1, 40, 3)
    assert batch.signals.observations.shape == (1, 40, 6)
    assert data.encoded_as == "as 40 points of its surface"


def test_held_out_shapes_are_compared_with_training_shapes_alone():
    data = Tori(count=6, held_out=2, tuning=1, **FEW)
    rows = {name: make() for name, make in data.baselines().items()}
    assert set(rows) == {"linear", "mean", "nearest training shape"}
    everything = Tori(count=6, held_out=0, **FEW).evaluated
    known = torch.stack([everything.lattice_distances(place) for place in range(4)])
    assert_close(rows["mean"][0, ..., 0], known.mean(0))
    for place in range(2):
        errors = (known - everything.lattice_distances(4 + place)).abs().flatten(1).mean(1)
        assert torch.equal(rows["nearest training shape"][place, ..., 0], known[errors.argmin()])


def test_folders_may_bring_their_own_split(tmp_path):
    for name in ("train/a.off", "train/b.off", "test/c.off", "test/d.off"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        solid = ball(subdivisions=1)
        trimesh.Trimesh(solid.vertices, solid.faces).export(tmp_path / name)
    data = ShapeFolder(root=str(tmp_path), held_out=None, tuning=0, **FEW)
    assert data.trained.names == ["train/a", "train/b"]
    assert data.names == ["test/c", "test/d"]


@pytest.mark.parametrize(
    ("kind", "options", "rule"),
    [
        (MeshData, {"surface": 0.7, "near": 0.5}, "at most 1 together"),
        (MeshData, {"sigmas": [0.1, 0.0]}, "positive lengths"),
        (MeshData, {"resolution": 1}, "at least 2, got 1"),
        (MeshData, {"pool": 0}, "data.pool must be at least 1"),
        (CloudData, {}, "data.path must name a file of points.*got null"),
        (VolumeData, {}, "data.path must name the .npy or .npz file .*got null"),
        (VolumeData, {"path": "grid.npy", "spacing": 0.0}, "data.spacing .*must be positive, got 0"),
        (ShapeFolder, {"root": "{folder}/nowhere"}, "data.root must be an existing folder, got .*nowhere"),
        (ShapeFolder, {"root": "{folder}"}, "must hold two meshes or more .*has 0"),
        (Tori, {"count": 1}, "data.count must be at least 2, got 1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(kind, options, rule, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    given = {name: value.format(folder=tmp_path) if isinstance(value, str) else value for name, value in options.items()}
    with pytest.raises(InputError, match=rf"\A.*{rule}.*\Z"):
        kind(**FEW | given).describe()


def test_the_slope_of_distances_is_that_of_their_deviation(tmp_path):
    data = ball_grid(tmp_path, pool=5000)
    part = next(data.training_batches(CPU)).parts["data"]
    assert data.slope() == pytest.approx(1 / float(part.targets["value"].std()))
