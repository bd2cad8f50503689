import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from datamodules.shapes.distances import DistanceData
from datamodules.shapes.read_distances import read_distances
from inr.errors import InputError

CENTRE, RADIUS = np.array([0.1, 0.0, -0.1]), 0.5


def samples(count=4000):
    """Points of a cube with their distances from a ball, most of them near it."""
    random = np.random.default_rng(0)
    directions = random.normal(size=(count // 2, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    near = CENTRE + (RADIUS + 0.05 * random.normal(size=(count // 2, 1))) * directions
    points = np.concatenate([near, random.uniform(-1, 1, (count // 2, 3))])
    return np.concatenate([points, np.linalg.norm(points - CENTRE, axis=1, keepdims=True) - RADIUS], 1)


def deepsdf(path, table, **more):
    table = table.astype(np.float32)
    np.savez(path, pos=table[table[:, 3] >= 0], neg=table[table[:, 3] < 0], **more)


WRITERS = {
    "deepsdf.npz": deepsdf,
    "table.npz": lambda path, table: np.savez(path, table),
    "table.npy": lambda path, table: np.save(path, table.astype(">f8")),
    "table.txt": np.savetxt,
    "table.csv": lambda path, table: np.savetxt(path, table, delimiter=","),
}


@pytest.mark.parametrize("name", WRITERS)
def test_samples_are_distances_in_the_cube_with_directions(name, tmp_path):
    WRITERS[name](tmp_path / name, samples())
    shape = read_distances(tmp_path / name)
    drawn = shape.samples(3000, 0, None)
    at = shape.frame.to_file(drawn.points.double().numpy())
    away = at - CENTRE
    assert len(drawn.distance) == 3000
    assert_allclose(drawn.distance * shape.frame.scale, np.linalg.norm(away, axis=1) - RADIUS, atol=1e-6)
    cosine = (drawn.gradient.numpy() * away).sum(1) / np.linalg.norm(away, axis=1)
    assert drawn.certain.float().mean() > 0.9
    assert cosine[drawn.certain.numpy()].mean() > 0.99
    assert_allclose(abs(shape.points).max(), 1, atol=1e-6)
    on = np.linalg.norm(shape.frame.to_file(shape.surface.points) - CENTRE, axis=1)
    assert_allclose(on, RADIUS, atol=1e-3)


def test_rows_that_are_not_finite_are_left_out_and_the_sign_can_be_turned(tmp_path):
    table = samples()
    deepsdf(tmp_path / "a.npz", np.concatenate([table, np.full((3, 4), np.nan)]))
    np.savez(tmp_path / "a.npz", pos=np.concatenate([table, np.full((3, 4), np.nan)]), neg=table[:0])
    with pytest.warns(UserWarning, match="3 of 4003 samples are not finite and are left out"):
        assert len(read_distances(tmp_path / "a.npz").points) == 4000
    np.save(tmp_path / "b.npy", table * [1, 1, 1, -1])
    with pytest.raises(InputError, match=r"those of .*b\.npy are negative on its rim; use data\.flip=true"):
        read_distances(tmp_path / "b.npy")
    np.save(tmp_path / "c.npy", table)
    assert_allclose(read_distances(tmp_path / "b.npy", flip=True).values, read_distances(tmp_path / "c.npy").values)


@pytest.mark.parametrize(
    ("name", "arrays", "words"),
    [
        ("a.npz", {"pos": np.ones((200, 4)), "neg": np.ones((200, 3))}, r"tables x y z distance, .* \(200, 4\) and \(200, 3\)"),
        ("a.npz", {"pos": np.ones((9, 4)), "neg": np.ones((9, 4))}, "need 100 samples or more, .* has 18"),
        ("a.npz", {"pos": np.ones((200, 4)), "neg": np.ones((0, 4))}, "ranges from 1 to 1: there is no surface in it"),
        ("a.npz", {"points": np.ones((200, 3)), "sdf": np.ones(200)}, "must hold one array, .* has points, sdf"),
        ("a.npy", np.ones((5, 5, 5)), r"a table x y z distance, .* has \(5, 5, 5\) of float64; a grid .* data=volume"),
        ("a.npy", np.ones((5, 4), complex), "a table x y z distance"),
        ("a.mat", np.ones((5, 4)), r"must end in \.xyz, .*, \.npz, got .*a\.mat; convert it"),
    ],
)
def test_what_holds_no_distances_is_refused_in_one_line(name, arrays, words, tmp_path):
    if isinstance(arrays, dict):
        np.savez(tmp_path / name, **arrays)
    else:
        with (tmp_path / name).open("wb") as file:
            np.save(file, arrays)
    with pytest.raises(InputError, match=rf"\A.*(?:{words}).*\Z"):
        read_distances(tmp_path / name)


def test_samples_are_all_that_is_known_of_the_shape(tmp_path):
    deepsdf(tmp_path / "a.npz", samples())
    data = DistanceData(path=str(tmp_path / "a.npz"), resolution=9, validation_points=50, points=64)
    points, distances = data.evaluated.truth.samples_of(0)
    assert len(points) == 50
    away = torch.from_numpy(data.frame.to_file(points.double().numpy()) - CENTRE).norm(dim=-1) - RADIUS
    assert_allclose(data.restore(distances)[:, 0], away, atol=1e-6)
    assert data.trained.size == 4000  # no more than there are
    assert data.baselines() == data.truth(0).masks == {}
    with pytest.raises(InputError, match=r"data.path must name a file of points and distances .*got null"):
        DistanceData()
