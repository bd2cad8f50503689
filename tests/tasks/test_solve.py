"""Splines that are solved for instead of trained, through the whole program."""

import json

import pytest
import torch
from hydra.errors import InstantiationException
from running import QUICK, STEPS, checkpoint, collection, curve, metrics, run, tiny, tiny_image, tiny_images

from inr.errors import InputError

FEW = ["model=spline", *STEPS]


@pytest.mark.parametrize("task", ["image", "audio", "ct", "sdf"])
@pytest.mark.parametrize("supervision", ["val", "val_der", "der"])
def test_a_spline_is_solved_for_without_steps(task, supervision, tmp_path):
    folder = run(tmp_path / "run", *tiny(task, tmp_path), *FEW, "solver=tv", f"supervision={supervision}")
    found = metrics(folder)
    assert found["steps"] == 0
    assert not (folder / "metrics.csv").exists() or not any(row.get("train/loss") for row in curve(folder))
    assert 0 <= found["gap"] <= 1
    assert found["tv_weight"] > 0
    assert float(checkpoint(folder)["state_dict"]["network.level.table"].abs().max()) > 0.1
    if task != "sdf" and supervision != "der":
        assert found["psnr"] > (12 if task == "ct" else 18)


@pytest.mark.parametrize("solver", ["ridge", "l1"])
def test_least_squares_solve_for_splines_too(solver, tmp_path):
    found = metrics(run(tmp_path / "run", *tiny("image", tmp_path), "model=spline", f"solver={solver}", *STEPS))
    assert (found["steps"], found["ridge"] > 0, found["psnr"] > 18) == (0, True, True)


def test_only_what_is_shown_is_read(tmp_path):
    (path,) = (word for word in tiny("image", tmp_path) if word.startswith("data.path"))
    words = ["task=image", path, *FEW, "solver=tv", "solver.weight=1e-3", "supervision=val"]
    sizes = {}
    for factor in (1, 2):
        folder = run(tmp_path / f"factor{factor}", *words, f"data.factor={factor}", "model.shape=[9,9]")
        sizes[factor] = json.loads((folder / "metrics.json").read_text())["solve_seconds"]["definition"]
    assert "576 equations of 121 unknowns" in sizes[1]
    assert "144 equations of 121 unknowns" in sizes[2]


def test_missing_samples_are_filled_in(tmp_path):
    words = ["task=image", *tiny_images(tmp_path, side=20), "data.held_out=2", "data.corruption=missing", *FEW]
    found = metrics(run(tmp_path / "run", *words, "solver=tv"))
    assert found["psnr_altered"] > found["input/psnr_altered"] + 6


def test_missing_pixels_of_one_image_are_filled_in(tmp_path):
    words = ["task=image", f"data.path={tiny_image(tmp_path)}", "data.corruption=missing", *FEW, "supervision=val"]
    folder = run(tmp_path / "run", *words, "solver=tv")
    found = metrics(folder)
    assert found["psnr_altered"] > found["input/psnr_altered"] + 10
    assert found["psnr_intact"] > 30
    assert "biharmonic/psnr_altered" in found
    assert "288 equations" in json.loads((folder / "metrics.json").read_text())["solve_seconds"]["definition"]
    assert (folder / "export" / "observed.png").exists()


def test_a_solved_run_is_evaluated_and_loaded_like_any_other(tmp_path):
    options = [*tiny("image", tmp_path), *FEW, "solver=tv"]
    solved = run(tmp_path / "solved", *options)
    again = run(tmp_path / "again", "train=false", f"ckpt_path={solved}")
    for name in ("psnr", "gap", "tv_weight", "solve_seconds"):
        assert metrics(again)[name] == pytest.approx(metrics(solved)[name])
    import inr

    field = inr.load(solved)
    assert field.value([[3.0, 4.0]]).shape == (1, 3)
    assert torch.isfinite(field.jacobian([[3.5, 4.0]])).all()


def test_what_is_no_linear_problem_is_refused(tmp_path):
    image = tiny("image", tmp_path)
    with pytest.raises(
        InputError, match=r"linear in its parameters, got MLP; choose model=spline, or leave solver out for steps"
    ):
        run(tmp_path / "mlp", *image, *QUICK, "solver=tv")
    with pytest.raises(InputError, match=r"linear in the field, got VolumeRendering; leave solver out"):
        run(tmp_path / "nerf", *tiny("nerf", tmp_path), "model=spline", *STEPS, "solver=tv")
    with pytest.raises(InputError, match=r"solver=TopK finds codes in a dictionary; .* choose solver=tv, ridge or l1"):
        run(tmp_path / "topk", *image, "model=spline", *STEPS, "solver=topk")
    with pytest.raises(InputError, match=r"solves for one signal, got 6; choose one by regime.signals=\[0\]"):
        run(tmp_path / "many", *collection("image", tmp_path), *FEW, "solver=tv", "regime.signals=null")
    with pytest.raises(
        InstantiationException, match=r"coefficients of a spline \(model=spline regime=single\); for codes in a dictionary"
    ):
        run(tmp_path / "codes", *collection("image", tmp_path), "model=nid_moe", *STEPS, "solver=tv", "regime=dictionary")


def test_steps_are_the_default_and_can_be_asked_for(tmp_path):
    for place, words in enumerate(([], ["solver=adam"])):
        found = metrics(run(tmp_path / str(place), *tiny("image", tmp_path), "model=spline", *STEPS, *words))
        assert found["steps"] == 2
        assert "gap" not in found
