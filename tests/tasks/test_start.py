"""Networks that begin as the field of an earlier run, through the whole program."""

import pytest
import torch
from hydra.errors import InstantiationException
from running import QUICK, STEPS, assert_resumes, checkpoint, collection, metrics, run, small, tiny

from inr import load
from inr.errors import InputError

KINDS = ["image", "audio", "ct"]
FIRST = "regime.callbacks.start"


@pytest.mark.parametrize("task", KINDS)
def test_a_network_begins_as_the_field_of_a_run(task, tmp_path):
    options = [*tiny(task, tmp_path), "model=sine", "model.activation.omega=30", *QUICK, "trainer.max_steps=1"]
    first = run(tmp_path / "first", *options, "model.hidden_features=24", "seed=1")
    begun = [f"start={first}", "optimizer.lr=3e-3", f"{FIRST}.steps=150", f"{FIRST}.points=500"]
    points = 2 * torch.rand(200, 1 if task == "audio" else 2) - 1
    target, plain = (load(run_).at_points(points) for run_ in (first, run(tmp_path / "plain", *options)))
    found = load(run(tmp_path / "run", *options, *begun)).at_points(points)
    assert (found - target).square().mean() < 0.2 * (plain - target).square().mean()


def test_a_start_from_a_spline_is_resumed_to_the_bit(tmp_path):
    options = tiny("image", tmp_path)
    solved = run(tmp_path / "solved", *options, "model=spline", "solver=tv", "supervision=val", *STEPS)
    words = [*options, *QUICK, f"start={solved / 'checkpoints' / 'last.ckpt'}", f"{FIRST}.steps=5", f"{FIRST}.points=64"]
    words = ["scheduler=constant", *words]
    resumed = assert_resumes(tmp_path, *words)
    assert checkpoint(resumed)["config"]["start"] == words[-3].removeprefix("start=")
    without = run(tmp_path / "without", *options, *QUICK, "trainer.max_steps=4")
    assert metrics(without)["psnr"] != metrics(resumed)["psnr"]
    exported = run(tmp_path / "exported", *words, "trainer.max_steps=4", f"start={solved / 'export' / 'field.safetensors'}")
    assert metrics(exported)["psnr"] == metrics(resumed)["psnr"]


def test_a_start_that_cannot_be_is_refused(tmp_path):
    options = [*tiny("image", tmp_path), *QUICK]
    image = run(tmp_path / "image", *options)
    sound = [*tiny("audio", tmp_path), "model=sine", *QUICK]
    with pytest.raises(
        InputError, match=r"over 1 axes, without directions of view, got 2 axes; use a run on data of this kind"
    ):
        run(tmp_path / "sound", *sound, f"start={image}")
    with pytest.raises(InputError, match="must have 1 channels as these data have, got 3"):
        run(tmp_path / "slice", *tiny("ct", tmp_path), "model=sine", *QUICK, f"start={image}")
    with pytest.raises(InputError, match=r"start=RUN is for one signal.*use regime=single"):
        run(tmp_path / "many", *collection("image", tmp_path), *small("nid_moe"), *STEPS, "regime=dictionary", f"start={image}")
    with pytest.raises(InstantiationException, match=r"got solver=TotalVariation and start="):
        run(tmp_path / "both", *options[: -len(QUICK)], *STEPS, "model=spline", "solver=tv", f"start={image}")
    with pytest.raises(InputError, match=r"needs a sensor that is linear in the field, .*got VolumeRendering; leave start out"):
        run(tmp_path / "scene", *tiny("nerf", tmp_path), *QUICK, f"start={image}")
    with pytest.raises(InputError, match=r"checkpoints/last\.ckpt"):
        run(tmp_path / "none", *options, f"start={tmp_path / 'nothing'}")
    with pytest.raises(InstantiationException, match=r"start\.steps must be at least 1, got 0"):
        run(tmp_path / "few", *options, f"start={image}", f"{FIRST}.steps=0")
