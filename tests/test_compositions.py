"""Every task x model x supervision there is; new yaml files enter by themselves."""

from itertools import product

import lightning as L
import pytest
import torch
from hydra.utils import instantiate
from running import STEPS, checkpoint, collection, curve, metrics, run, small, tiny
from signals import MODELS, SUPERVISIONS, TASKS

from inr.errors import InputError

CODED = "nid_moe"


@pytest.mark.parametrize(("task", "model"), list(product(TASKS, MODELS)))
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
        assert metrics(folder)["psnr"] > 0
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
    assert metrics(fitted)["steps"] == 0
    assert metrics(fitted)["psnr"] > metrics(fitted)["mean/psnr"] - 3
    assert metrics(fitted)["psnr"] == pytest.approx(metrics(learned)["psnr"], abs=0.01)  # which encodes the same signals


@pytest.mark.parametrize(("task", "model"), [pair for pair in product(TASKS, MODELS) if pair[1] != CODED])
def test_models_without_codes_name_the_one_that_has_them(task, model, tmp_path):
    options = [*collection(task, tmp_path), *small(model), *STEPS]
    for regime in ("dictionary", "fit"):
        with pytest.raises(InputError, match="model=nid_moe"):
            run(tmp_path / regime, *options, f"regime={regime}")
