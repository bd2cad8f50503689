"""Runs with random directions: of every task, resumed, evaluated."""

import pytest
import torch
from running import QUICK, STEPS, assert_resumes, checkpoint, collection, metrics, run, small, tiny
from tiny.signals import TASKS

RANDOM = "supervision.directions=random"


def weights(folder) -> list[torch.Tensor]:
    return [tensor for name, tensor in checkpoint(folder)["state_dict"].items() if name.startswith("network.")]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_resumes_to_the_bit_and_is_evaluated_as_ever(task, tmp_path):
    options = [*tiny(task, tmp_path), "supervision=val_der", "model=sine", *QUICK]
    resumed = assert_resumes(tmp_path, *options, RANDOM)
    every = run(tmp_path / "every", *options, "trainer.max_steps=4", "scheduler=constant")
    same = all(torch.allclose(one, other, atol=1e-5) for one, other in zip(weights(resumed), weights(every), strict=True))
    assert same == (task == "audio")  # of one axis, whose derivatives along either direction have the same square
    again = run(tmp_path / "again", "train=false", f"ckpt_path={resumed}", "supervision.directions=all")
    timeless = [{name: figure for name, figure in metrics(one).items() if name != "seconds"} for one in (resumed, again)]
    assert timeless[0] == timeless[1]


def test_the_gradient_of_a_distance_keeps_its_length_while_its_data_are_seen_along_directions(tmp_path):
    options = [*tiny("sdf", tmp_path), "supervision=val_der", "penalty=eikonal", *QUICK]
    first = run(tmp_path / "random", *options, RANDOM, "trainer.max_steps=1")
    every = run(tmp_path / "every", *options, "trainer.max_steps=1")
    rows = [(one / "metrics.csv").read_text().splitlines() for one in (first, every)]
    seen = [dict(zip(*(line.split(",") for line in lines[:2]), strict=True)) for lines in rows]
    assert seen[0]["train/eikonal"] == seen[1]["train/eikonal"]
    assert seen[0]["train/value"] == seen[1]["train/value"]
    assert seen[0]["train/jacobian"] != seen[1]["train/jacobian"]


@pytest.mark.parametrize("task", TASKS)
def test_dictionaries_learn_along_random_directions(task, tmp_path):
    options = [*collection(task, tmp_path), "supervision=val_der", *small("nid_moe"), "regime=dictionary", *STEPS]
    random, every = run(tmp_path / "random", *options, RANDOM), run(tmp_path / "every", *options)
    alike = [torch.allclose(one, other, atol=1e-5) for one, other in zip(weights(random), weights(every), strict=True)]
    assert all(alike) == (task == "audio")


def test_an_error_without_a_known_mean_over_directions_is_refused(refusal):
    absolute = "supervision.terms.jacobian._target_=inr.supervision.losses.AbsoluteError"
    (line,) = refusal("supervision=der", RANDOM, absolute)
    assert "directions=random needs a squared error of a jacobian" in line
    (line,) = refusal("supervision=der", "supervision.directions=some")
    assert "supervision.directions must be all, random, got some" in line
