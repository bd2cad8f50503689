"""Several signals fitted at once by networks of their own, through the whole program."""

import csv
import json
from pathlib import Path

import pytest
import torch
from running import QUICK, STEPS, assert_same_run, checkpoint, collection, metrics, run, small, tiny, tiny_images
from tiny.signals import MODELS, OF_SCENES, TASKS
from torch.testing import assert_close

import inr
from inr.errors import InputError

FEW = [*QUICK, "model.hidden_layers=2", "trainer.max_steps=4", "optimizer.lr=1e-3"]
TARGET = "regime.callbacks.independent"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The parameters of a run by the names that they have in one network."""
    state = checkpoint(folder)["state_dict"]
    kept = {name: value for name, value in state.items() if name.startswith("network.")}
    return {name.replace("network.single.", "network."): value for name, value in kept.items()}


def rows(folder: Path) -> list[dict[str, str]]:
    """The figures of each signal."""
    with (folder / "signals.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():  # in float32, whose rounding differs from one signal to several at once
        assert_close(other[name], value, rtol=1e-3, atol=2e-5, msg=name)


@pytest.mark.parametrize("supervision", ["val", "val_der"])
@pytest.mark.parametrize("task", ["image", "audio", "ct", "sdf"])
def test_signals_fitted_together_are_fitted_as_each_alone(task, supervision, tmp_path):
    words = [*collection(task, tmp_path), "model=relu", *FEW, f"supervision={supervision}"]
    together = run(tmp_path / "together", *words, "regime.signals=[0,3,1]")
    alone = run(tmp_path / "alone", *words, "regime.signals=[3]")
    names = checkpoint(together)["signals"]
    assert len(names) == 3
    assert checkpoint(alone)["signals"] == names[1:2]
    assert_alike(weights(alone), {name: value[1] for name, value in weights(together).items()})
    assert not any(torch.equal(value[0], value[1]) for value in weights(together).values())
    assert float(rows(together)[1]["psnr"]) == pytest.approx(metrics(alone)["psnr"], abs=0.01)


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd"])
def test_every_optimiser_fits_them_as_each_alone(optimizer, tmp_path):
    words = [*collection("image", tmp_path), "model=sine", *FEW, f"optimizer={optimizer}"]
    together = run(tmp_path / "together", *words, "regime.signals=null")
    assert len(checkpoint(together)["signals"]) == 6  # the whole collection
    alone = run(tmp_path / "alone", *words, "regime.signals=[4]")
    assert_alike(weights(alone), {name: value[4] for name, value in weights(together).items()})


SINGLES = [model for model in MODELS if model not in (*OF_SCENES, "nid_moe")]
PAIRS = [*(("image", model) for model in SINGLES), *((task, "sine") for task in TASKS if task != "image"), ("sdf", "grid")]


@pytest.mark.parametrize(("task", "model"), PAIRS)
def test_every_task_and_every_model_fits_several_signals(task, model, tmp_path):
    folder = run(tmp_path / "run", *collection(task, tmp_path), *small(model), *STEPS, "regime.signals=[0,1]", "export=fields")
    assert all(len(value) == 2 for name, value in weights(folder).items() if not name.endswith("directions"))
    names = [row["name"] for row in rows(folder)]
    assert names == checkpoint(folder)["signals"]
    manifest = json.loads((folder / "export" / "fields.json").read_text())
    assert [row["name"] for row in manifest["signals"]] == names
    for file in (folder, folder / "export" / "fields.safetensors"):
        fields = [inr.load(file, signal) for signal in (0, names[1])]
        points = torch.rand(5, 1 if task == "audio" else 3 if task in ("nerf", "sdf") else 2)
        seen = [field.network.field(inr.Signals(torch.tensor([field.signal])))(points[None]) for field in fields]
        assert not torch.equal(*seen)
        again = inr.load(folder, 1)
        assert_close(again.network.field(inr.Signals(torch.tensor([again.signal])))(points[None]), seen[1])


def test_a_target_ends_each_fit_and_the_run_with_the_last(tmp_path):
    words = [*tiny_images(tmp_path), "task=image", "data.held_out=2", *FEW, "supervision=val", "trainer.max_steps=400"]
    options = [*words, "regime.signals=null", f"{TARGET}.every=5", "scheduler=constant", "model=sine"]
    folder = run(tmp_path / "run", *options, "regime.target=22", "export=fields")
    found = rows(folder)
    steps = [int(row["steps"]) for row in found]
    assert len(set(steps)) > 1
    assert metrics(folder)["steps"] == max(steps) < 400
    assert metrics(folder)["steps_mean"] == pytest.approx(sum(steps) / 6)
    assert all(float(row["psnr_train"]) >= 22 for row in found)
    first = min(range(6), key=steps.__getitem__)
    alone = run(tmp_path / "alone", *options, f"regime.signals=[{first}]", "regime.target=22")
    assert metrics(alone)["steps"] == steps[first]
    short = run(tmp_path / "short", *options, f"trainer.max_steps={steps[first]}")
    # what has ended stays as it was then, to the bit
    ended = {name: value[first] for name, value in weights(folder).items()}
    assert_alike({name: value[first] for name, value in weights(short).items()}, ended)
    manifest = json.loads((folder / "export" / "fields.json").read_text())
    assert [row["steps"] for row in manifest["signals"]] == steps
    again = run(tmp_path / "again", "train=false", f"ckpt_path={folder}")
    assert metrics(again)["steps_median"] == metrics(folder)["steps_median"]
    same, further = (
        run(tmp_path / name, f"ckpt_path={folder}", "trainer.max_steps=500", f"regime.target={target}")
        for name, target in (("same", 22), ("further", 23))
    )
    assert rows(same) == found  # nothing was left to do
    assert all(int(row["steps"]) > max(steps) and float(row["psnr_train"]) >= 23 for row in rows(further))


def test_a_resumed_run_goes_on_with_what_is_left_to_the_bit(tmp_path):
    words = [*tiny_images(tmp_path), "task=image", "data.held_out=2", *FEW, "regime.signals=0:4", "scheduler=constant"]
    words = [*words, "supervision=val", "model=sine", "regime.target=18", f"{TARGET}.every=2"]
    whole = run(tmp_path / "whole", *words, "trainer.max_steps=60")
    steps = sorted(int(row["steps"]) for row in rows(whole))
    assert steps[0] < steps[-1] - 2
    half = run(tmp_path / "half", *words, f"trainer.max_steps={steps[0] + 1}")
    resumed = run(tmp_path / "resumed", f"ckpt_path={half}", "trainer.max_steps=60")
    assert_same_run(whole, resumed)
    assert rows(whole) == rows(resumed)


def test_groups_change_rounding_alone(tmp_path):
    words = [*collection("image", tmp_path), "model=sine", *FEW, "regime.signals=null"]
    one, other = (weights(run(tmp_path / f"by{group}", *words, f"{TARGET}.group={group}")) for group in (1, 6))
    assert_alike(one, other)


def test_one_signal_is_fitted_as_ever(tmp_path):
    words = [*collection("image", tmp_path), "model=sine", *FEW]
    folder = run(tmp_path / "run", *words)
    assert "network.layers.0.weight" in checkpoint(folder)["state_dict"]
    assert not (folder / "signals.csv").exists()
    assert "psnr_train" not in metrics(folder)
    assert inr.load(folder)([[1.0, 2.0]]).shape == (1, 3)
    held_out = run(tmp_path / "held_out", *words, "regime.shown=held_out")
    assert_same_run(folder, held_out)


def test_what_would_tie_signals_together_is_refused(tmp_path):
    words = [*collection("image", tmp_path), *STEPS, "regime.signals=[0,1]"]
    with pytest.raises(InputError, match=r"gradient_clip_val=1.0 would clip by the gradients of all 2 signals"):
        run(tmp_path / "clip", *words, "trainer.gradient_clip_val=1.0")
    with pytest.raises(InputError, match=r"solver=TotalVariation .* solves for one signal, got 2; .*or solver=adam for steps"):
        run(tmp_path / "spline", *collection("ct", tmp_path), *STEPS, "regime.signals=[0,1]")
    with pytest.raises(InputError, match=r"PSNR of values, which this supervision does not determine, got 30"):
        run(tmp_path / "der", *words, "supervision=der", "regime.target=30")
    with pytest.raises(InputError, match=r"a network of one field, got NeuralDictionary"):
        run(tmp_path / "dictionary", *words, *small("nid_moe"))
    with pytest.raises(InputError, match=r"solves for one signal, got 2; choose one by regime.signals=\[0\]"):
        run(tmp_path / "solver", *words, "solver=ridge")
    with pytest.raises(InputError, match=r"0 \.\. 5, the signals shown, or a range such as 0:2, got 4:9"):
        run(tmp_path / "range", *words, "regime.signals=4:9")
    with pytest.raises(InputError, match=r"has one signal, got regime.signals=\[0, 1\]"):
        run(tmp_path / "image", *tiny("image", tmp_path), *QUICK, "regime.signals=[0,1]")
