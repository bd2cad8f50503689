"""The command's edge: a user's mistake ends in one line and exit code 1, without a traceback."""

import difflib
import functools
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from inr.errors import InputError

FULL = "HYDRA_FULL_ERROR"
WANTS_TRACEBACK = os.environ.get(FULL) == "1"
RUN_FILES = ("metrics.json", "metrics.csv", "checkpoints", ".hydra", "multirun.yaml")
Job = TypeVar("Job")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from, outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def option_names(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    """Dotted names of all options, without resolving anything."""
    for name in cfg:
        node = cfg._get_node(name)
        yield f"{prefix}{name}"
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_interpolation():
            yield from option_names(node, f"{prefix}{name}.")


def known_options(unknown: str) -> list[str]:
    """The names that the command would have had without the unknown option."""
    GlobalHydra.instance().clear()
    words = [word for word in sys.argv[1:] if "=" in word and not word.lstrip("+~").startswith(f"{unknown}=")]
    words = [word for word in words if "," not in word and not word.startswith("hydra")]
    with initialize_config_module("conf", version_base="1.3"):
        try:
            return list(option_names(compose("train", overrides=words)))
        except (HydraException, OmegaConfBaseException):
            return list(option_names(compose("train")))


def nearest(word: str, choices: list[str]) -> str:
    """The closest choice, as a question, or nothing."""
    tails = {choice.rsplit(".", 1)[-1]: choice for choice in reversed(choices)}
    close = difflib.get_close_matches(word, choices, 1) or difflib.get_close_matches(word.rsplit(".", 1)[-1], list(tails), 1)
    return f" Did you mean {tails.get(close[0], close[0])}?" if close else ""


def unknown_choice(error: MissingConfigException) -> str:
    """A group has no such choice."""
    group, _, choice = (error.missing_cfg_file or "").rpartition("/")
    options = list(error.options or [])
    return f"{group} must be one of {', '.join(options)}; got {choice}.{nearest(choice, options)}"


def unknown_option(error: BaseException) -> str | None:
    """There is no option, or no group, of this name."""
    match = re.search(r"Could not (?:override|append|find match for) '?([\w./@-]+?)'?(?:[.\s]|$)", str(error))
    if match is None:
        return None
    name = match.group(1)
    choices = known_options(name)
    parent = name.rpartition(".")[0]
    siblings = [choice for choice in choices if choice.rpartition(".")[0] == parent]
    shown = ", ".join(siblings[:24]) or ", ".join(choice for choice in choices if "." not in choice)
    return f"There is no option {name}.{nearest(name, choices)} Options here: {shown}."


def explain(error: BaseException) -> str | None:
    """One line for an error that the user can mend; None for one that only a developer can."""
    for cause in causes(error):
        if isinstance(cause, InputError):
            return str(cause)
    for cause in causes(error):
        if isinstance(cause, MissingConfigException) and cause.options is not None:
            return unknown_choice(cause)
        if isinstance(cause, ConfigCompositionException) and (line := unknown_option(cause)):
            return line
    if isinstance(error, InstantiationException) and isinstance(error.__cause__, TypeError | ValueError):
        return f"{error.__cause__} (at {error.full_key if hasattr(error, 'full_key') else 'instantiation'})"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return re.sub(r"\s+", " ", str(error)).strip()
    return explain_library(error)


def explain_library(error: BaseException) -> str | None:
    """One line for known faults of the installation."""
    text = str(error)
    if type(error).__name__ == "MisconfigurationException":
        return re.sub(r"\s+", " ", text)
    if type(error).__name__ in ("InvalidCxxCompiler", "BackendCompilerFailed", "InductorError"):
        return f"compile=true needs a C++ compiler (g++ or clang); leave it out, or install one: {text.splitlines()[0]}"
    return None


def refuse_used_folders(words: Sequence[str]) -> None:
    """Raise InputError if the command names a run folder that holds another run, before anything is written into it."""
    is_child_process = os.environ.get("LOCAL_RANK", "0") != "0"
    for word in words:
        option, _, folder = word.partition("=")
        used = [name for name in RUN_FILES if option in ("hydra.run.dir", "hydra.sweep.dir") and (Path(folder) / name).exists()]
        if used and not is_child_process:
            raise InputError(f"{option} must not hold another run, {folder} has {', '.join(used)}; choose another folder.")


def refuse_ddp_sweeps(cfg: DictConfig) -> None:
    """Raise InputError if a sweep in this process would start further processes, each of which would sweep again."""
    hydra = HydraConfig.get()
    here = "submitit" not in str(hydra.launcher.get("_target_", ""))
    if hydra.mode == RunMode.MULTIRUN and here and "ddp" in str(cfg.trainer.get("strategy", "")).lower():
        raise InputError("A sweep (-m) of trainer=ddp would run again on every process; use hydra/launcher=submitit_slurm.")


def end(error: Exception) -> None:
    """Say in one line what the user can mend and exit with code 1; or raise what only a developer can."""
    line = explain(error)
    if line is None or WANTS_TRACEBACK:
        raise error
    sys.stderr.write(f"error: {line}\n")
    sys.exit(1)


def job(function: Callable[[DictConfig], Job]) -> Callable[[DictConfig], Job]:
    """A function of the options as a Hydra job: a single run ends by `end`, a sweep goes on with the other jobs."""

    @functools.wraps(function)
    def guarded(cfg: DictConfig) -> Job:
        try:
            refuse_ddp_sweeps(cfg)
            return function(cfg)
        except Exception as error:
            if HydraConfig.get().mode == RunMode.RUN:
                end(error)
            raise

    return guarded


def command(function: Callable[[], None]) -> None:
    """Run a Hydra command; a mistake in its words ends by `end` too."""
    os.environ[FULL] = "1"                # lets errors pass through Hydra as they are
    try:
        refuse_used_folders(sys.argv[1:])
        function()
    except Exception as error:
        end(error)
