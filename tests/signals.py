"""Models by name, built as the command line builds them, and tiny analytic signals."""

from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

import conf

CONF = Path(conf.__file__).parent
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
SUPERVISIONS = sorted(path.stem for path in (CONF / "supervision").glob("*.yaml"))
TASKS = sorted(path.stem for path in (CONF / "task").glob("*.yaml"))


def network(model: str, in_features: int = 2, out_features: int = 3, **options: Any) -> torch.nn.Module:
    """A small network from its yaml file."""
    config = OmegaConf.load(CONF / "model" / f"{model}.yaml")
    shape = {"in_features": in_features, "out_features": out_features, "training_shape": [32] * in_features}
    node = OmegaConf.create({"data": shape | {"input_scale": 1.0}, "model": config})
    node.model.update({"hidden_features": 16, "hidden_layers": 3} | options)
    return instantiate(node.model)
