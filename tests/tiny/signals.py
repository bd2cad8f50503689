"""Models by name, built as the command line builds them, and tiny analytic signals."""

from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import OmegaConf

import conf
from inr.field import TABLES, Field, Signals

CONF = Path(conf.__file__).parent
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
LAYERED = [model for model in MODELS if model not in ("radiance", "cascade", "spline")]  # of one chain of layers, for all tasks
TRUNKS = [model for model in LAYERED if model != "nid_moe"]
CODERS = sorted(path.stem for path in (CONF / "model" / "coder").glob("*.yaml"))
OF_SCENES = ("radiance", "cascade")  # models for task=nerf alone
ANYWHERE = [model for model in MODELS if model not in OF_SCENES]
OF_SCANS = ("ramp",)  # supervision for whole views alone
SUPERVISIONS = sorted({path.stem for path in (CONF / "supervision").glob("*.yaml")} - {*OF_SCANS})
TASKS = sorted(path.stem for path in (CONF / "task").glob("*.yaml"))
SIGNALS, EXPERTS = 3, 8


def network(model: str, in_features: int = 2, out_features: int = 3, parts: Any = None, **options: Any) -> Any:
    """A small network from its yaml file; of a dictionary the trunk is small. `parts` chooses its `trunk` and `coder`."""
    groups = {"trunk": "model@model.trunk", "coder": "model/coder"}
    overrides = [f"{groups[name]}={choice}" for name, choice in (parts or {}).items()]
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        composed = compose(f"model/{model}", overrides=overrides)
    grid = [32] * in_features
    shape = {"in_features": in_features, "out_features": out_features, "shape": grid, "training_shape": grid}
    data = shape | {"signals": SIGNALS, "input_scale": 1.0}
    hints = {"kaiming": True, "kernel": "quadratic", "fineness": None, "growth": 1.5, "coarsest": 16, "omega": 30.0}
    hints |= {"spline": {"kernel": "cubic", "fineness": 1.0}}
    given = {"data": data, "fit": {"refine": None}, "hints": hints, "model": OmegaConf.to_container(composed.model)}
    node = OmegaConf.create(given)
    sizes = {"hidden_features": 16, "hidden_layers": 3} | {key: options.pop(key) for key in list(options) if "hidden" in key}
    layers = node.model.get("trunk", node.model)
    layers.update({name: size for name, size in sizes.items() if name in layers})  # of explicit fields there are none
    node.model.update(({"experts": EXPERTS} if "experts" in node.model else {}) | options)
    made = instantiate(node.model)
    for name, parameter in made.named_parameters():
        if name.rpartition(".")[2] in TABLES:  # explicit fields begin with next to nothing, of which laws would see nothing
            torch.nn.init.normal_(parameter)
    return made


def every_signal(network: torch.nn.Module) -> Signals:
    """All signals of a network: one, or those of a codebook."""
    codes = getattr(getattr(network, "coder", None), "codes", [None])
    return Signals(torch.arange(len(codes)))


def field_of(network: Any) -> Field:
    """The fields of all signals of a network."""
    return network.field(every_signal(network))
