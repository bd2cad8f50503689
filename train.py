"""Fit coordinate networks: compose, seed, instantiate, fit, test."""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from conf.command.cli import command, job
from conf.command.hooks import chosen, finish  # the module also registers the resolver of run folders

if TYPE_CHECKING:
    from tasks.interruption import Interruption


def run(cfg: DictConfig) -> dict[str, float] | float:
    """Run what the options ask for and write its files; from Python, what Hydra's `compose` gives.

    Return the figures of the final test, or the one that is the `objective`.
    """
    # imported here, so that --help and mistakes in the words of a command answer at once
    from hydra.core.hydra_config import HydraConfig

    from conf.command.check import check_run
    from conf.command.notebook import known_to_hydra
    from tasks.interruption import Interruption

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)  # Lightning against the newest torch
    with known_to_hydra(cfg) as options, Interruption(HydraConfig.get().runtime.output_dir) as interruption:
        check_run(options)
        figures = fit_and_test(options, interruption)
    return figures if cfg.objective is None else chosen(figures, cfg.objective)


def fit_and_test(cfg: DictConfig, interruption: "Interruption") -> dict[str, float]:
    """Build data, network and trainer, fit and test."""
    import lightning as L
    from hydra.core.hydra_config import HydraConfig
    from hydra.utils import instantiate

    from conf.command.compose import (
        adopt,
        choose,
        gone_data,
        instantiate_all,
        instantiate_data,
        instantiate_network,
        instantiate_optimizer,
        lift_step_limit,
        plain,
        resume,
    )
    from inr.saved.runs import checkpoint_of, load_weights, read_checkpoint
    from tasks.base import Training
    from tasks.loggers import replay
    from tasks.without_data import export_field

    lift_step_limit(cfg, HydraConfig.get().overrides.task)
    checkpoint = checkpoint_of(cfg.ckpt_path) if cfg.ckpt_path else None
    if checkpoint is not None:
        cfg = resume(cfg, HydraConfig.get().overrides.task)
    elif cfg.dictionary:
        cfg = adopt(cfg, HydraConfig.get().overrides.task)
    folder = HydraConfig.get().runtime.output_dir  # where Lightning looks for checkpoints and leaves what it has to
    if not cfg.train and checkpoint is not None and (gone := gone_data(cfg)):
        export_field(str(checkpoint), Path(folder) / "export", cfg.export.scale, gone)
        return {}
    data = instantiate_data(cfg)
    notes = choose(cfg, data, HydraConfig.get().overrides.task)
    L.seed_everything(cfg.seed, verbose=False)
    network = instantiate_network(cfg)
    supervision = instantiate(cfg.supervision)
    training = Training(network, supervision, instantiate_optimizer(cfg, network), instantiate(cfg.scheduler), cfg.compile)
    task = instantiate(cfg.task, _partial_=True)(training)
    task.notes = [*task.notes, *notes]
    task.given = plain(cfg, resolve=False)  # what a resumed run composes its options from
    task.config = plain(cfg)
    if checkpoint is not None:
        load_weights(task, read_checkpoint(checkpoint)["state_dict"], checkpoint)
    callbacks = [interruption, *instantiate_all(cfg.get("callbacks")), *instantiate_all(cfg.regime.callbacks)]
    loggers = instantiate_all(cfg.get("logger"))
    for logger in loggers:
        logger.log_hyperparams(task.config)
    replay(loggers)
    trainer: L.Trainer = instantiate(cfg.trainer, callbacks=callbacks, logger=loggers, default_root_dir=folder)
    try:
        if cfg.train:
            trainer.fit(task, data, ckpt_path=checkpoint)
        (figures,) = trainer.test(task, data, ckpt_path=None if cfg.train else checkpoint, verbose=False)
    finally:
        finish(loggers)
    return dict(figures)


def main() -> None:
    """Run the command line."""
    command(hydra.main("conf", "train", version_base="1.3")(job(run)))


if __name__ == "__main__":
    main()
