"""From the options as given to a whole configuration: resumed runs, described data, options that were checked."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from conf.command.check import check_node, written
from datamodules.common.files import fingerprint
from datamodules.common.sampled import Sampled
from datamodules.common.signal_data import SignalData
from inr.errors import InputError
from inr.field import Network
from inr.networks.activations import frequency_of
from inr.optimisers.parameters import Parameters
from inr.saved.runs import checkpoint_of, read_checkpoint

SENSORS = {"camera", "scanner", "sensor", "cube"}  # of scenes, projections, shapes
SHAPES = {"in_features", "out_features", "shape", "training_shape", "signals", "input_scale"}
DESCRIBED = {*SHAPES, "result", "whole_views", "smoothed", "seen", *SENSORS}
FIXED = ("task", "hints", "model", "data")  # groups that a resumed run keeps: its weights fit nothing else
DICTIONARY = "inr.dictionary.network.NeuralDictionary"
CODEBOOK = "inr.dictionary.coders.Codebook"
RULE = "ckpt_path goes on with the task, model and data of its run"
PATHS = ("path", "root", "angles")  # options of data that may name a file or folder
RUNS = {"experiment", "dictionary", "regime", "ckpt_path"}  # options that come with both of the following
NAMES = {"model": {*RUNS, "solver"}, "supervision": {*RUNS, "penalty"}}  # options that come with a choice of a group
UNLIMITED = -1  # steps, in the words of Lightning
TRUSTED = ("inr.", "tasks.", "datamodules.", "lightning.", "torch.optim.")  # a checkpoint may call nothing else


def plain(cfg: DictConfig, resolve: bool = True) -> dict[str, Any]:
    """Return a part of the configuration as dictionaries and lists."""
    container = OmegaConf.to_container(cfg, resolve=resolve)
    return {str(name): value for name, value in container.items()} if isinstance(container, dict) else {}


def instantiate_data(cfg: DictConfig) -> SignalData:
    """Build the datamodule and enter its description into the configuration, which is then checked as a whole.

    Raises: InputError if a resumed run's data no longer have the shape that it was fitted to, and for options that the
            constructors do not take.
    """
    # A resumed run has the earlier description among its options; it is compared below, not handed to the constructor.
    options = {name: value for name, value in plain(cfg.data).items() if name not in DESCRIBED}
    check_node(options, "data")
    for name in PATHS:
        if options.get(name) and isinstance(options[name], str):
            # absolute, so that the checkpoint can be resumed from any folder
            options[name] = cfg.data[name] = str(Path(options[name]).expanduser().absolute())
    seen = recognise(cfg)
    data: SignalData = instantiate(options)
    description = data.describe()
    for name, value in description.items():
        if name in cfg.data and cfg.data[name] != value:
            rule = f"The data of a resumed run must not change: data.{name} was {cfg.data[name]}, now it is {value}"
            raise InputError(f"{rule}; bring back the old file, or start a new run.")
    with open_dict(cfg):
        cfg.data.update(description | {"seen": seen})
    measure(cfg, data)
    if cfg.dictionary:
        refuse_misfit(cfg)
    nodes = plain(cfg)  # every interpolation can be resolved now
    for name in sorted(nodes, key=lambda name: name != "trainer"):  # first, as schedules take their length from there
        if name != "data":
            check_node(nodes[name], name)
    return data


def measure(cfg: DictConfig, data: SignalData) -> None:
    """Put the frequency that suits the training samples in the place of every `omega: auto` of the model."""
    asked = [key for key, value in leaves(cfg.model, "model").items() if key.endswith(".activation.omega") and value == "auto"]
    for key in asked:
        if not isinstance(data, Sampled):
            rule = "omega=auto is measured on the samples of one image, sound or shape"
            raise InputError(f"{rule}, got {type(data).__name__}; give model.activation.omega a number.")
        stretch = OmegaConf.select(cfg, key.removesuffix(".activation.omega")).input_scale
        OmegaConf.update(cfg, key, round(frequency_of(data.slope() / stretch, cfg.data.in_features), 1))


def paths_of(cfg: DictConfig) -> dict[str, Path]:
    """Return the files and folders that the data come from, by option."""
    return {name: Path(cfg.data[name]) for name in PATHS if isinstance(cfg.data.get(name), str)}


def gone_data(cfg: DictConfig) -> str | None:
    """Return words about data of a resumed run that are not where they were; None if all are there."""
    gone = {name: path for name, path in paths_of(cfg).items() if cfg.ckpt_path and not path.exists()}
    if not gone:
        return None
    found = " and ".join(f"data.{name}={path}" for name, path in gone.items())
    remedy = " ".join(f"data.{name}=PATH" for name in gone)
    return f"The data of a resumed run must be there, {found} is not; if they moved, add {remedy}."


def recognise(cfg: DictConfig) -> dict[str, dict[str, str]]:
    """Return fingerprints of the files and folders that the data come from.

    Raises: InputError if those of a resumed run are gone, or if a file has been changed since.
    """
    paths = paths_of(cfg)
    if gone := gone_data(cfg):
        raise InputError(f"{gone} Without them train=false exports the field, and inr.load(RUN) has it.")
    for name, path in paths.items() if cfg.ckpt_path else ():
        if path.is_file() and not was_seen(cfg, name, path):
            rule = f"The data of a resumed run must not change, but {path} has other contents than it had"
            raise InputError(f"{rule}; bring back the old file, or start a new run.")
    return {name: fingerprint(path) for name, path in paths.items() if path.exists()}


def was_seen(cfg: DictConfig, option: str, path: Path) -> bool:
    """Return True if a run saw there what lies at the path; of runs before there were fingerprints, too."""
    seen = OmegaConf.select(cfg, f"data.seen.{option}")
    return seen is None or (path.exists() and set(seen.items()) <= set(fingerprint(path).items()))


def instantiate_all(cfg: DictConfig | None) -> list[Any]:
    """Build what a group of options has several of, such as loggers; none of a group that is null."""
    return [] if cfg is None else list(instantiate(cfg).values())


def instantiate_network(cfg: DictConfig) -> Network:
    """Build the model; where the regime fits signals by networks of their own, a stack of it for several."""
    single: Network = instantiate(cfg.model)
    stack = instantiate(cfg.regime.get("network"))
    return single if stack is None else stack(single)


def instantiate_optimizer(cfg: DictConfig, network: Network) -> Callable[[Parameters], torch.optim.Optimizer]:
    """Return the factory, parameters -> optimiser, once tried. Raises: InputError for options that the optimiser refuses."""
    factory = instantiate(cfg.optimizer)
    try:
        factory(Parameters(network))
    except ValueError as error:
        given = ", ".join(f"optimizer.{name}={value}" for name, value in cfg.optimizer.items() if not str(name).startswith("_"))
        raise InputError(f"{cfg.optimizer._target_} must accept its options, got {given}: {error}; choose others.") from error
    return factory


def lift_step_limit(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Let the clock or a plateau end the training if the command asks for that and names no number of steps beside it."""
    named = {path_of(override) for override in OverridesParser.create().parse_overrides(list(overrides))}
    trainer = cfg.trainer
    ends = {name for name in ("max_seconds", "stop") if trainer.get(name) is not None and f"trainer.{name}" in named}
    if ends and "trainer.max_steps" not in named:
        trainer.max_steps = UNLIMITED


def choose(cfg: DictConfig, data: SignalData, overrides: Sequence[str]) -> list[str]:
    """Let model and supervision be those for data on which every sample trains, unless the command says anything of them.

    Return what the run says about that.
    """
    named = {path_of(override).partition(".")[0] for override in OverridesParser.create().parse_overrides(list(overrides))}
    free = [group for group in cfg.get("whole") or () if data.complete and not named & {group, *NAMES[group]}]
    for group in free:
        cfg[group] = cfg.whole[group]
    return [f"every sample trains, so {group} is that of {group}@whole.{group}" for group in free]


def resume(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Return the saved options of the run at `ckpt_path`, with this command's options on top.

    A group named in the command (logger=wandb) replaces the run's group; a single option replaces that option.
    Raises: InputError for a change of task, model or data, and for training that would already be over.
    """
    checkpoint = read_checkpoint(cfg.ckpt_path)
    refuse_foreign_targets(checkpoint["options"], targets(plain(cfg, resolve=False)))
    base = DictConfig(checkpoint["options"])
    keys = [path_of(override) for override in OverridesParser.create().parse_overrides(list(overrides))]
    groups = [key for key in keys if "." not in key]
    # A group replaces all of its options, those named in the same command too, so single options come after the groups.
    for key in [*groups, *(key for key in keys if "." in key)]:
        if key in ("experiment", "debug"):  # no nodes of their own: what they set is spread over the other groups
            refuse_changes(cfg, base, FIXED)
            continue
        refuse_changes(cfg, base, [key] if key.split(".")[0] in FIXED else [])
        OmegaConf.update(base, key, OmegaConf.select(cfg, key), merge=False, force_add=True)
    lift_step_limit(base, overrides)
    steps = checkpoint["global_step"]
    if base.train:
        refuse_finished(base.trainer, checkpoint)
    checkpoints = checkpoint_of(cfg.ckpt_path).absolute().parent
    has_curve = base.train and checkpoints.name == "checkpoints"  # a checkpoint elsewhere has left its run behind
    wandb = checkpoint["config"].get("logger", {}).get("wandb", {}).get("id")
    base.resumed = {"folder": str(checkpoints.parent) if has_curve else None, "steps": steps, "wandb": wandb}
    return base


def refuse_finished(trainer: DictConfig, checkpoint: dict[str, Any]) -> None:
    """Raise InputError if a run has had its steps or its seconds already."""
    spent = checkpoint.get("callbacks", {}).get("FitTimer", {}).get("time_elapsed", {}).get("train", 0.0)
    for name, unit, limit, had in (
        ("max_steps", "steps", trainer.max_steps, checkpoint["global_step"]),
        ("max_seconds", "seconds", trainer.get("max_seconds"), spent),
    ):
        if limit is not None and 0 <= limit <= had:
            rule = f"Training on needs trainer.{name} beyond the {round(had, 1)} {unit} that the run has"
            raise InputError(f"{rule}, got {limit}; to evaluate it instead, add train=false.")


def adopt(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Return the options of a fit: the model of the run at `dictionary`, and a codebook for the signals to encode.

    Raises: InputError for a run without a dictionary, another regime than fit, and model options that are not that run's.
    """
    if not any("dictionary" in callback for callback in cfg.regime.callbacks.values()):
        rule = "dictionary=RUN is what regime=fit encodes signals in"
        raise InputError(f"{rule}, got dictionary={cfg.dictionary}; add regime=fit.")
    checkpoint = read_checkpoint(cfg.dictionary)
    model = checkpoint["config"]["model"]
    if model["_target_"] != DICTIONARY:
        rule = "dictionary must be a run of regime=dictionary model=nid_moe"
        raise InputError(f"{rule}, {cfg.dictionary} has model {model['_target_']}.")
    refuse_foreign_targets(model, set())
    base = OmegaConf.create({"model": checkpoint["options"]["model"]})  # as given, as the command's options are
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = path_of(override)
        if key == "model" and cfg.model._target_ != DICTIONARY:
            rule = "regime=fit needs a model with codes"
            raise InputError(f"{rule}, got {cfg.model._target_}; choose model=nid_moe, or leave it out.")
        if key.startswith("model."):
            refuse_changes(cfg, base, [key], "dictionary takes over the model of its run")
    adopted = cfg.copy()
    with open_dict(adopted):
        adopted.dictionary = str(checkpoint_of(cfg.dictionary).absolute())
        sizes = {"signals": "${data.signals}", "experts": "${model.experts}", "channels": "${model.out_features}"}
        # resolved, since its sizes follow from the data that it was learned from, not from the signals to encode
        adopted.model = model | {"coder": {"_target_": CODEBOOK, **sizes}, "residuals": "${fit.refine}"}
    return adopted


def refuse_misfit(cfg: DictConfig) -> None:
    """Raise InputError if signals have other axes or channels than those that the dictionary was learned from."""
    channels, axes = cfg.model.out_features, cfg.model.trunk.in_features
    for name, what, learned in (("out_features", "channels", channels), ("in_features", "axes", axes)):
        if cfg.data[name] != learned:
            rule = f"Signals must have the {what} that the dictionary was learned from, {learned}, got {cfg.data[name]}"
            raise InputError(f"{rule}; convert them (data.colour), or learn a dictionary from such signals.")


def path_of(override: Override) -> str:
    """Return the dotted place in the configuration that an override changes: model@model.trunk=sine changes model.trunk."""
    return str(override.package or override.key_or_group).replace("/", ".")


def targets(options: object) -> set[str]:
    """Return all names of classes and functions that some options would call."""
    if isinstance(options, list):
        return set().union(*(targets(option) for option in options))
    if not isinstance(options, dict):
        return set()
    return ({str(options["_target_"])} if "_target_" in options else set()) | targets(list(options.values()))


def refuse_foreign_targets(options: object, known: set[str]) -> None:
    """Raise InputError if a checkpoint would call what neither this project nor this command names: it may be anybody's."""
    # `instantiate` calls any function by name: without this a checkpoint from elsewhere could run os.system.
    foreign = sorted(name for name in targets(options) - known if not name.startswith(TRUSTED))
    if foreign:
        raise InputError(
            f"A checkpoint may only call classes of {', '.join(name.rstrip('.') for name in TRUSTED)}, or those that the"
            f" command names too; it wants {foreign[0]}. If you trust it, name that class in the command."
        )


def differs(name: str, wanted: object, base: DictConfig, had: object) -> bool:
    """Return True if an option is not the run's; paths are saved absolute, and descriptions of the data follow from them."""
    option = name.removeprefix("data.").split(".")[0]
    if option in PATHS and isinstance(wanted, str):
        path = Path(wanted).expanduser().absolute()
        moved = OmegaConf.select(base, f"data.seen.{option}") is not None and was_seen(base, option, path)
        return not moved and str(path) != str(had)
    return option not in DESCRIBED and str(wanted) != str(had)


def refuse_changes(cfg: DictConfig, base: DictConfig, keys: Sequence[str], rule: str = RULE) -> None:
    """Raise InputError if an option below one of the keys differs from the run's."""
    for key in keys:
        wanted = leaves(OmegaConf.select(cfg, key), key)
        had = leaves(OmegaConf.select(base, key), key)
        changed = [name for name in sorted(wanted) if differs(name, wanted[name], base, had.get(name))]
        if changed:
            was, got = written(had.get(changed[0])), written(wanted[changed[0]])
            raise InputError(f"{rule}; {changed[0]} was {was}, got {got}. Leave it out, or start a new run.")


def leaves(node: object, key: str) -> dict[str, object]:
    """Return all options at and below a key by dotted name, interpolations as they stand."""
    if isinstance(node, DictConfig | ListConfig):
        node = OmegaConf.to_container(node, resolve=False)
    if not isinstance(node, dict):
        return {key: node}
    return {name: value for part, below in node.items() for name, value in leaves(below, f"{key}.{part}").items()}
