"""Every task x model x supervision there is; new yaml files enter by themselves."""

from itertools import product

import lightning as L
import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from running import STEPS, checkpoint, collection, curve, metrics, run, small, tiny
from tiny.signals import ANYWHERE, MODELS, SUPERVISIONS, TASKS

from inr.errors import InputError

CODED, VIEWED = "nid_moe", "radiance"


def composes(pair):
    """Directions of view are for scenes, everything else for everything; a cascade needs a term for its coarse network."""
    return pair[1] in ANYWHERE or pair == ("nerf", VIEWED)


@pytest.mark.parametrize(("task", "model"), list(filter(composes, product(TASKS, MODELS))))
def test_every_composition_learns_and_obeys_its_supervision(task, model, tmp_path):
    weights = {}
    for supervision in SUPERVISIONS:
        options = [*tiny(task, tmp_path), *small(model), f"supervision={supervision}", *STEPS]
        folder = run(tmp_path / supervision, *options)
        weights[supervision] = checkpoint(folder)["state_dict"]
        config = checkpoint(folder)["config"]
        L.seed_everything(config["seed"], verbose=False)
        for name, parameter in instantiate(config["model"]).named_parameters():
            open_to_derivatives = supervision == "der" and name.endswith("bias")
            moved = not torch.equal(weights[supervision][f"network.{name}"], parameter)
            assert moved or open_to_derivatives, f"{name} did not move under {supervision}"
    losses = [float(row["train/value"]) for row in curve(tmp_path / "val")]
    assert losses[1] < losses[0]
    for one, other in (("val", "der"), ("val", "val_der"), ("der", "val_der")):
        assert any(not torch.equal(weights[one][name], weights[other][name]) for name in weights[one])


@pytest.mark.parametrize(("task", "supervision"), list(product(TASKS, SUPERVISIONS)))
def test_a_dictionary_is_learned_and_new_signals_get_codes_in_it(task, supervision, tmp_path):
    options = [*collection(task, tmp_path), f"supervision={supervision}", *STEPS]
    learned = run(tmp_path / "dictionary", *options, *small(CODED), "regime=dictionary")
    fitted = run(tmp_path / "fit", *options, "regime=fit", f"dictionary={learned}")
    before, after = checkpoint(learned)["state_dict"], checkpoint(fitted)["state_dict"]
    shared = [name for name in before if name.startswith(("network.trunk.", "network.experts"))]
    assert len(shared) == 5  # two layers and the experts
    assert all(torch.equal(before[name], after[name]) for name in shared)
    assert metrics(fitted)["steps"] == (2 if task == "nerf" else 0)
    if task == "nerf":  # whose codes have no closed form: they leave the mean of the training scenes step by step
        assert [checkpoint(folder)["signals"][-1] for folder in (learned, fitted)] == ["spheres_02", "spheres_04"]
        start = before["network.coder.codes"].mean(0)
        assert not any(torch.equal(codes, start) for codes in after["network.coder.codes"])
        return
    margin = {"ct": 8, "sdf": 30}.get(task, 3)  # eight random sines hardly make a skull, and tori are much alike
    assert metrics(fitted)["psnr"] > metrics(fitted)["mean/psnr"] - margin
    assert metrics(fitted)["psnr"] == pytest.approx(metrics(learned)["psnr"], abs=0.01)  # which encodes the same signals


def test_scenes_have_no_codes_in_closed_form(tmp_path):
    options = [*collection("nerf", tmp_path), *small(CODED), *STEPS, "regime=dictionary"]
    with pytest.raises(InputError, match=r"linear in the field, got solver=Ridge and VolumeRendering; choose solver=adam"):
        run(tmp_path / "run", *options, "solver=ridge")
    with pytest.raises(InputError, match=r"choose model/coder=codebook"):
        run(tmp_path / "run", *options, "model/coder=conv")


def test_directions_of_view_are_for_scenes(tmp_path):
    with pytest.raises(InstantiationException, match=r"model=radiance is for scenes \(task=nerf\)"):
        run(tmp_path / "image", *tiny("image", tmp_path), "model=radiance", *STEPS)
    options = [*tiny("nerf", tmp_path), *STEPS]
    for words in (["model=radiance"], ["data.directions=true"]):
        with pytest.raises(InputError, match="go together"):
            run(tmp_path / "run", *options, *words)


@pytest.mark.parametrize(("task", "model"), [pair for pair in filter(composes, product(TASKS, MODELS)) if pair[1] != CODED])
def test_models_without_codes_name_the_one_that_has_them(task, model, tmp_path):
    options = [*collection(task, tmp_path), *small(model), *STEPS]
    for regime in ("dictionary", "fit"):
        with pytest.raises(InputError, match="model=nid_moe"):
            run(tmp_path / regime, *options, f"regime={regime}")
