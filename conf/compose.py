"""From the options as given to a whole configuration: resumed runs, described data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from inr.errors import InputError
from inr.runs import checkpoint_of, read_checkpoint

DESCRIBED = ("in_features", "out_features", "shape", "training_shape", "signals", "input_scale")
FIXED = ("task", "model", "data")
PATHS = ("path", "root")


def instantiate_data(cfg: DictConfig) -> Any:
    """The datamodule; what it says of its data enters the configuration, from which the rest then follows.

    Raises: InputError if a resumed run's data no longer have the shape that it was fitted to.
    """
    for name in PATHS:
        if cfg.data.get(name):
            cfg.data[name] = str(Path(cfg.data[name]).expanduser().absolute())
    options: Any = OmegaConf.to_container(cfg.data, resolve=True)
    data = instantiate({name: value for name, value in options.items() if name not in DESCRIBED})
    description = data.describe()
    for name, value in description.items():
        if name in cfg.data and cfg.data[name] != value:
            raise InputError(f"The data of a resumed run must not change: data.{name} was {cfg.data[name]}, now it is {value}.")
    with open_dict(cfg):
        cfg.data.update(description)
    return data


def resume(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The saved options of the run at `ckpt_path`, with this command's options on top.

    A group named in the command (logger=wandb) replaces the run's group; a single option replaces that option.
    Raises: InputError for a change of task, model or data, and for training that would already be over.
    """
    checkpoint = read_checkpoint(cfg.ckpt_path)
    base = OmegaConf.create(checkpoint["options"])
    keys = [override.key_or_group for override in OverridesParser.create().parse_overrides(list(overrides))]
    groups = [key for key in keys if "." not in key]
    for key in [*groups, *(key for key in keys if "." in key)]:
        if key in ("experiment", "debug"):
            refuse_changes(cfg, base, FIXED)
            continue
        refuse_changes(cfg, base, [key] if key.split(".")[0] in FIXED else [])
        OmegaConf.update(base, key, OmegaConf.select(cfg, key), merge=False, force_add=True)
    steps = checkpoint["global_step"]
    if base.train and 0 <= base.trainer.max_steps <= steps:
        raise InputError(
            f"Training on needs trainer.max_steps beyond the {steps} steps that the run has, got {base.trainer.max_steps}; to"
            " evaluate it instead, add train=false."
        )
    folder = checkpoint_of(cfg.ckpt_path).parent.parent
    base.resumed = {"folder": str(folder.absolute()) if base.train else None, "steps": steps}
    return base


def refuse_changes(cfg: DictConfig, base: DictConfig, keys: Sequence[str]) -> None:
    """Raise InputError if an option below one of the keys differs from the run's."""
    for key in keys:
        wanted, had = leaves(cfg, key), leaves(base, key)
        changed = [name for name in sorted(wanted) if name not in had or str(wanted[name]) != str(had[name])]
        changed = [name for name in changed if name.removeprefix("data.") not in (*DESCRIBED, *PATHS)] or [
            name for name in changed if name.removeprefix("data.") in PATHS and Path(wanted[name]).absolute() != Path(had[name])
        ]
        if changed:
            name = changed[0]
            raise InputError(
                f"ckpt_path goes on with the task, model and data of its run; {name} was {had.get(name)}, got {wanted[name]}."
                " Leave it out, or start a new run."
            )


def leaves(cfg: DictConfig, key: str) -> dict[str, Any]:
    """All options at and below a key by dotted name, interpolations as they stand."""
    node = OmegaConf.select(cfg, key) if OmegaConf.select(cfg, key, throw_on_missing=False) is not None else None
    if not isinstance(node, DictConfig):
        return {key: node}
    found: dict[str, Any] = {}
    for name in node:
        raw = node._get_node(name)
        if isinstance(raw, DictConfig):
            found |= leaves(cfg, f"{key}.{name}")
        else:
            found[f"{key}.{name}"] = OmegaConf.to_container(node, resolve=False)[name]  # type: ignore[index,call-overload]
    return found
