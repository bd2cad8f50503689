"""Every task x model x supervision there is; new yaml files enter by themselves."""

from itertools import product

import lightning as L
import pytest
import torch
from hydra.utils import instantiate
from running import QUICK, checkpoint, curve, metrics, run, tiny
from signals import MODELS, SUPERVISIONS, TASKS


@pytest.mark.parametrize(("task", "model"), list(product(TASKS, MODELS)))
def test_every_composition_learns_and_obeys_its_supervision(task, model, tmp_path):
    weights = {}
    for supervision in SUPERVISIONS:
        options = [*tiny(task, tmp_path), f"model={model}", f"supervision={supervision}", *QUICK]
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
