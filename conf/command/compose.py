"""From the options as given to a whole configuration: resumed runs, described data, options that were checked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from conf.command.check import check_node, shown
from inr.errors import InputError
from inr.saved.runs import checkpoint_of, read_checkpoint

HINTS = {"input_scale": 1.0, "kaiming": True, "derivative_weight": 1.0}  # unless the data say otherwise
SENSORS = {"camera", "scanner", "cube"}  # of scenes, projections, shapes
DESCRIBED = {"in_features", "out_features", "shape", "training_shape", "signals", "result", *HINTS, *SENSORS}
FIXED = ("task", "model", "data")
DICTIONARY, CODEBOOK = "inr.dictionary.network.NeuralDictionary", "inr.dictionary.coders.Codebook"
RULE = "ckpt_path goes on with the task, model and data of its run"
PATHS = ("path", "root", "angles")
TRUSTED = ("inr.", "tasks.", "datamodules.", "lightning.", "torch.optim.")


def instantiate_data(cfg: DictConfig) -> Any:
    """The datamodule; what it says of its data enters the configuration, from which the rest follows and is checked.

    Raises: InputError if a resumed run's data no longer have the shape that it was fitted to, and for options that the
            constructors do not take.
    """
    given: Any = OmegaConf.to_container(cfg.data, resolve=True)
    options = {name: value for name, value in given.items() if name not in DESCRIBED}
    check_node(options, "data")
    for name in PATHS:
        if options.get(name) and isinstance(options[name], str):
            options[name] = cfg.data[name] = str(Path(options[name]).expanduser().absolute())
    data = instantiate(options)
    description = HINTS | data.describe()
    for name, value in description.items():
        if name in cfg.data and cfg.data[name] != value:
            raise InputError(
                f"The data of a resumed run must not change: data.{name} was {cfg.data[name]}, now it is {value}; bring back"
                " the old file, or start a new run."
            )
    with open_dict(cfg):
        cfg.data.update(description)
    if cfg.dictionary:
        refuse_misfit(cfg)
    everything: Any = OmegaConf.to_container(cfg, resolve=True)
    for name, node in everything.items():
        if name != "data":
            check_node(node, name)
    return data


def instantiate_optimizer(cfg: DictConfig) -> Any:
    """The factory, parameters -> optimiser, once tried on a single number.

    Raises: InputError for options that the optimiser refuses, before anything is computed.
    """
    factory = instantiate(cfg.optimizer)
    try:
        factory([torch.nn.Parameter(torch.zeros(1))])
    except ValueError as error:
        given = ", ".join(f"optimizer.{name}={value}" for name, value in cfg.optimizer.items() if not str(name).startswith("_"))
        raise InputError(f"{cfg.optimizer._target_} must accept its options, got {given}: {error}; choose others.") from error
    return factory


def resume(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The saved options of the run at `ckpt_path`, with this command's options on top.

    A group named in the command (logger=wandb) replaces the run's group; a single option replaces that option.
    Raises: InputError for a change of task, model or data, and for training that would already be over.
    """
    checkpoint = read_checkpoint(cfg.ckpt_path)
    refuse_foreign_targets(checkpoint["options"], targets(OmegaConf.to_container(cfg, resolve=False)))
    base = OmegaConf.create(checkpoint["options"])
    keys = [path_of(override) for override in OverridesParser.create().parse_overrides(list(overrides))]
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
    checkpoints = checkpoint_of(cfg.ckpt_path).absolute().parent
    has_curve = base.train and checkpoints.name == "checkpoints"  # a checkpoint elsewhere has left its run behind
    base.resumed = {"folder": str(checkpoints.parent) if has_curve else None, "steps": steps}
    return base


def adopt(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The options of a fit, with the model of the run at `dictionary` and a codebook for the signals to encode.

    Raises: InputError for a run without a dictionary, another regime than fit, and model options that are not that run's.
    """
    if not any("dictionary" in callback for callback in cfg.regime.callbacks.values()):
        raise InputError(
            f"dictionary=RUN is what regime=fit encodes signals in, got dictionary={cfg.dictionary}; add regime=fit."
        )
    checkpoint = read_checkpoint(cfg.dictionary)
    model = checkpoint["config"]["model"]
    if model["_target_"] != DICTIONARY:
        raise InputError(
            f"dictionary must be a run of regime=dictionary model=nid_moe, {cfg.dictionary} has model {model['_target_']}."
        )
    refuse_foreign_targets(model, set())
    base = OmegaConf.create({"model": checkpoint["options"]["model"]})
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = path_of(override)
        if key == "model" and cfg.model._target_ != DICTIONARY:
            raise InputError(
                f"regime=fit needs a model with codes, got {cfg.model._target_}; choose model=nid_moe, or leave it out."
            )
        if key.startswith("model."):
            refuse_changes(cfg, base, [key], "dictionary takes over the model of its run")
    adopted = cfg.copy()
    with open_dict(adopted):
        adopted.dictionary = str(checkpoint_of(cfg.dictionary).absolute())
        coder = {
            "_target_": CODEBOOK,
            "signals": "${data.signals}",
            "experts": "${model.experts}",
            "channels": "${model.out_features}",
        }
        adopted.model = model | {"coder": coder, "residuals": "${fit.refine}"}
    return adopted


def refuse_misfit(cfg: DictConfig) -> None:
    """Raise InputError if signals have other axes or channels than those that the dictionary was learned from."""
    sizes = {"out_features": cfg.model.out_features, "in_features": cfg.model.trunk.in_features}
    for name, learned in sizes.items():
        if cfg.data[name] != learned:
            what = {"out_features": "channels", "in_features": "axes"}[name]
            raise InputError(
                f"Signals must have the {what} that the dictionary was learned from, {learned}, got {cfg.data[name]}; convert"
                " them (data.colour), or learn a dictionary from such signals."
            )


def path_of(override: Any) -> str:
    """The dotted place in the configuration that an override changes."""
    return str(override.package or override.key_or_group).replace("/", ".")


def targets(options: Any) -> set[str]:
    """All names of classes and functions that some options would call."""
    if isinstance(options, list):
        return set().union(*(targets(option) for option in options))
    if not isinstance(options, dict):
        return set()
    own = {str(options["_target_"])} if "_target_" in options else set()
    return own | targets(list(options.values()))


def refuse_foreign_targets(options: Any, known: set[str]) -> None:
    """Raise InputError if a checkpoint would call what neither this project nor this command names: it may be anybody's."""
    foreign = sorted(name for name in targets(options) - known if not name.startswith(TRUSTED))
    if foreign:
        raise InputError(
            f"A checkpoint may only call classes of {', '.join(name.rstrip('.') for name in TRUSTED)}, or those that the"
            f" command names too; it wants {foreign[0]}. If you trust it, name that class in the command."
        )


def differs(name: str, wanted: Any, had: Any) -> bool:
    """Whether an option is not the run's; paths are saved absolute, and what describes the data follows from them."""
    option = name.removeprefix("data.")
    if option in PATHS and isinstance(wanted, str):
        wanted = Path(str(wanted)).expanduser().absolute()
    return option not in DESCRIBED and str(wanted) != str(had)


def refuse_changes(cfg: DictConfig, base: DictConfig, keys: Sequence[str], rule: str = RULE) -> None:
    """Raise InputError if an option below one of the keys differs from the run's."""
    for key in keys:
        wanted, had = leaves(cfg, key), leaves(base, key)
        changed = [name for name in sorted(wanted) if differs(name, wanted[name], had.get(name))]
        if changed:
            was, got = shown(had.get(changed[0])), shown(wanted[changed[0]])
            raise InputError(f"{rule}; {changed[0]} was {was}, got {got}. Leave it out, or start a new run.")


def leaves(cfg: DictConfig, key: str) -> dict[str, Any]:
    """All options at and below a key by dotted name, interpolations as they stand."""
    node = OmegaConf.select(cfg, key) if OmegaConf.select(cfg, key, throw_on_missing=False) is not None else None
    if not isinstance(node, DictConfig):
        return {key: node}
    found: dict[str, Any] = {}
    for name in map(str, node):
        raw = node._get_node(name)
        if isinstance(raw, DictConfig):
            found |= leaves(cfg, f"{key}.{name}")
        else:
            found[f"{key}.{name}"] = OmegaConf.to_container(node, resolve=False)[name]  # type: ignore[index,call-overload]
    return found
