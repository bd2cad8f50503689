"""Runs from Python, a notebook for one: what Hydra's `compose` gives lacks the folder and the words that a command has."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from inr.errors import InputError

BOTH = "compose('train', overrides=[...], return_hydra_config=True)"


@contextlib.contextmanager
def known_to_hydra(cfg: DictConfig) -> Iterator[DictConfig]:
    """Give a composed configuration a new run folder for as long as it runs; that of a command has one.

    Raises: InputError if options are to go above those of another run, and Hydra's part does not say which were given.
    """
    if "hydra" not in cfg and HydraConfig.initialized():
        yield cfg
        return
    if "hydra" not in cfg and (cfg.ckpt_path or cfg.dictionary):
        raise InputError(f"From Python, ckpt_path and dictionary need to know which options were given; use {BOTH}.")
    whole = cfg.copy()
    earlier = HydraConfig.instance().cfg
    with open_dict(whole):
        whole.hydra = cfg.hydra if "hydra" in cfg else part_of_hydra(cfg)
        whole.hydra.mode = "RUN"
    try:
        HydraConfig.instance().set_config(whole)  # which the folder's name refers to
        folder = Path(str(OmegaConf.select(whole, "hydra.run.dir"))).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.set_readonly(whole.hydra, False)
        with open_dict(whole):
            whole.hydra.runtime.output_dir = str(folder)
        HydraConfig.instance().set_config(whole)
        options = whole.copy()
        with open_dict(options):
            del options["hydra"]
        yield options
    finally:
        HydraConfig.instance().cfg = earlier


def part_of_hydra(cfg: DictConfig) -> DictConfig:
    """Return Hydra's own part of a configuration that was composed without it."""
    here = (
        contextlib.nullcontext()
        if GlobalHydra.instance().is_initialized()
        else initialize_config_module("conf", version_base="1.3")
    )
    with here:
        hydra = compose("train", return_hydra_config=True).hydra
    OmegaConf.set_readonly(hydra, False)
    with open_dict(hydra):
        hydra.runtime.choices.task = cfg.task._target_.split(".")[1]  # which names the folder
    return hydra
