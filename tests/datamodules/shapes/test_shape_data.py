import numpy as np
import pytest
import torch
import trimesh
from running import tiny_cloud
from tiny.solids import ball
from torch.testing import assert_close

from datamodules.common.draws import Draw
from datamodules.shapes.clouds import CloudData
from datamodules.shapes.meshes import MeshData, ShapeFolder, Tori
from datamodules.shapes.volumes import VolumeData
from inr.errors import InputError

CPU = torch.device("cpu")
FEW = {"pool": 400, "resolution": 9, "validation_points": 50, "points": 64}
SHAPE, SPACING, CENTRE, RADIUS = (21, 31, 25), 0.5, (5.0, 8.0, 6.0), 4.0


def grid(folder, sign=1.0):
    """Distances from a ball on a grid whose sides differ."""
    axes = np.meshgrid(*[SPACING * np.arange(side) for side in SHAPE], indexing="ij")
    values = np.sqrt(sum((axis - middle) ** 2 for axis, middle in zip(axes, CENTRE, strict=True))) - RADIUS
    np.save(folder / "grid.npy", sign * values)
    return str(folder / "grid.npy")


def places(data, points):
    """Points of the cube in the file's coordinates."""
    frame = data.frame
    return points * frame["scale"] + torch.tensor(frame["centre"])


def test_voxels_of_a_grid_are_distances_in_the_cube(tmp_path):
    data = VolumeData(grid(tmp_path), SPACING, **FEW | {"pool": 5000})
    data.setup()
    part = data.passes(data.displayed, torch.tensor([0]), CPU)
    (points, value, jacobian) = next((one.parts["data"].coordinates, *one.parts["data"].targets.values()) for one in part)
    at = places(data, points) - torch.tensor(CENTRE)
    assert points.abs().max() == 1  # along the longest side
    assert points[..., 0].abs().max() == pytest.approx(20 / 30)
    assert_close(value[..., 0] * data.units.scale, at.norm(dim=-1) - RADIUS, rtol=1e-5, atol=1e-5)
    far = (at.norm(dim=-1) > 2) & (points.abs() < 0.6).all(-1)
    assert_close(jacobian[..., 0, :][far], (at / at.norm(dim=-1, keepdim=True))[far], rtol=0, atol=0.02)


def test_between_voxels_distances_are_trilinear_and_the_surface_is_where_they_are_zero(tmp_path):
    data = VolumeData(grid(tmp_path), SPACING, **FEW)
    data.setup()
    at = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.6
    expected = (places(data, at) - torch.tensor(CENTRE)).norm(dim=-1) - RADIUS
    smooth = expected > 1.5 - RADIUS  # away from the middle, where the distance has a kink
    assert_close((data.only.distances(at) * data.units.scale)[smooth], expected[smooth], rtol=0, atol=0.06)
    vertices = places(data, torch.from_numpy(data.only.mesh.vertices).float())
    assert_close((vertices - torch.tensor(CENTRE)).norm(dim=-1), torch.full((len(vertices),), RADIUS), rtol=0, atol=0.05)


def test_a_grid_the_wrong_way_round_is_refused_or_turned(tmp_path):
    with pytest.raises(InputError, match=r"negative on all its sides; use data.flip=true"):
        VolumeData(grid(tmp_path, -1), SPACING, **FEW).describe()
    turned = VolumeData(grid(tmp_path, -1), SPACING, flip=True, **FEW).only.values
    assert torch.equal(turned, VolumeData(grid(tmp_path), SPACING, **FEW).only.values)


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
        VolumeData(str(tmp_path / "grid.npy"), **FEW).describe()


def test_clouds_can_be_their_points_and_nothing_else(tmp_path):
    data = CloudData(tiny_cloud(tmp_path).partition("=")[2], **FEW | {"points": None, "pool": 300, "surface": 1, "near": 0})
    data.setup()
    data.in_space = True
    batch = data.training_batch(Draw(torch.tensor([0]), None, 5), CPU)
    part, space = batch.parts["data"], batch.parts["space"]
    assert part.coordinates.shape == (1, 300, 3)
    assert not part.targets["value"].any()
    assert_close(part.targets["jacobian"][..., 0, :] * 0.9, part.coordinates, rtol=0, atol=0.05)  # of a ball, about
    assert space.coordinates.shape == (1, 300, 3)
    assert (space.coordinates.amin() < -0.9) & (space.coordinates.amax() > 0.9)
    assert not space.targets
    assert data.references({}) == {}
    assert not data.scored(0).masks


def test_a_step_is_a_function_of_its_number():
    data = MeshData(**FEW)
    data.setup()
    data.in_space = True
    draws = [next(data.schedule.draws(step, lambda signals: None)) for step in (3, 3, 4)]
    one, again, other = (data.training_batch(draw, CPU).parts for draw in draws)
    for name in ("data", "space"):
        assert torch.equal(one[name].coordinates, again[name].coordinates)
        assert not torch.equal(one[name].coordinates, other[name].coordinates)
    assert one["data"].coordinates.shape == (1, 64, 3)
    assert set(one["data"].weights) == {"jacobian"}


def test_of_held_out_shapes_only_the_samples_asked_for_are_used():
    data = Tori(count=6, held_out=2, tuning=1, observed=40, **FEW)
    data.setup()
    assert [len(part) for part in (data.displayed, data.evaluated, data.tuned)] == [3, 2, 1]
    assert [part.size for part in (data.displayed, data.evaluated, data.tuned)] == [400, 40, 40]
    (batch,) = data.observation_batches(torch.tensor([1]), CPU)
    assert batch.parts["data"].coordinates.shape == (1, 40, 3)
    assert data.evaluated.names == ["torus_004", "torus_005"]
    data.encodes = True
    (batch,) = data.observation_batches(torch.tensor([1]), CPU)
    assert batch.signals.observations.shape == (1, 40, 6)
    assert data.encoded_as == "as 40 points of its surface"


def test_held_out_shapes_are_compared_with_training_shapes_alone():
    data = Tori(count=6, held_out=2, tuning=1, **FEW)
    data.setup()
    rows = {name: make() for name, make in data.references({}).items()}
    assert set(rows) == {"linear", "mean", "nearest training shape"}
    known = torch.stack([data.pools([place], 1).truth(0, 9) for place in range(4)])
    assert_close(rows["mean"][0, ..., 0], known.mean(0))
    for place in range(2):
        errors = (known - data.evaluated.truth(place, 9)).abs().flatten(1).mean(1)
        assert torch.equal(rows["nearest training shape"][place, ..., 0], known[errors.argmin()])


def test_folders_may_bring_their_own_split(tmp_path):
    for name in ("train/a.off", "train/b.off", "test/c.off", "test/d.off"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        solid = ball(subdivisions=1)
        trimesh.Trimesh(solid.vertices, solid.faces).export(tmp_path / name)
    data = ShapeFolder(str(tmp_path), held_out=None, tuning=0, **FEW)
    data.setup()
    assert data.train_names == ["train/a", "train/b"]
    assert data.names == ["test/c", "test/d"]


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"surface": 0.7, "near": 0.5}, "at most 1 together"),
        ({"sigmas": [0.1, 0]}, "positive lengths"),
        ({"resolution": 1}, "at least 2, got 1"),
        ({"pool": 0}, "data.pool must be at least 1"),
    ],
)
def test_samples_that_cannot_be_are_refused(options, rule):
    with pytest.raises(InputError, match=rule):
        MeshData(**FEW | options)
