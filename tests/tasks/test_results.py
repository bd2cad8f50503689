"""The files that a run leaves."""

import pytest
from running import STEPS, collection, metrics, run, small, tiny


def test_parameters_are_counted_by_the_values_that_they_stand_for(tmp_path):
    image = metrics(run(tmp_path / "image", *tiny("image", tmp_path), "model=spline", *STEPS))
    assert image["parameters_per_value"] == pytest.approx(image["parameters"] / (24 * 24 * 3))
    options = [*collection("image", tmp_path), *small("nid_moe"), *STEPS, "regime=dictionary"]
    several = metrics(run(tmp_path / "images", *options))
    assert several["parameters_per_value"] == pytest.approx(several["parameters"] / (3 * 12 * 12 * 3))


@pytest.mark.parametrize("task", ["sdf", "nerf"])
def test_shapes_and_scenes_are_no_lattice_of_values(task, tmp_path):
    assert "parameters_per_value" not in metrics(run(tmp_path / "run", *tiny(task, tmp_path), *small("relu"), *STEPS))
