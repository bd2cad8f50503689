"""The command's edge: a user's mistake ends in one line on stderr and exit code 1, without a traceback."""

import contextlib
import difflib
import errno
import functools
import multiprocessing
import os
import re
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from hydra import compose, errors, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from conf.command import help
from conf.command.check import takes
from inr.errors import InputError, Stopped

FULL = "HYDRA_FULL_ERROR"  # set to 1: Hydra raises errors as they are, instead of printing them itself
ASKED = "INR_FULL_ERROR"  # what the user had set FULL to, before `command` did
LISTED = 24  # options that a message names at most
FLAGS = re.compile(  # of Hydra, all that may begin with two hyphens
    "--(hydra-help|version|cfg|resolve|package|run|multirun|shell-completion|config-path|config-name|config-dir|info"
    "|experimental-rerun)"
)
PLAIN = re.compile(r"[\w./~:+-]*", re.ASCII)  # values that Hydra's grammar takes as they stand
LEFT_OUT = ("logger=null", "callbacks=null")  # groups that a run does without
FILES = ("path", "root", "angles", "dir", "ckpt_path", "dictionary")  # last parts of options that name a file or folder
FAULTS = {  # part of the text or of the type's name -> what to do
    "torchvision::": "torchvision must match torch: remove it (pip uninstall torchvision), or install the matching pair",
    "InvalidCxxCompiler": "compile=true needs a C++ compiler (g++ or clang): install one, or leave compile out",
    "out of memory": "the run must fit into memory: lower data.points, data.chunk or model.hidden_features",
    "can't allocate memory": "the run must fit into memory: lower data.points, data.chunk or model.hidden_features",
}
Job = TypeVar("Job")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and its causes, outermost first."""
    while error is not None:
        yield error
        error = error.__cause__


def option_names(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    """Yield dotted names of all options, without resolving anything."""
    for name in (str(name) for name in cfg if not str(name).startswith("_")):
        node = cfg._get_node(name)  # cfg[name] would follow interpolations, which lead nowhere before the data are known
        yield f"{prefix}{name}"
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_interpolation():
            yield from option_names(node, f"{prefix}{name}.")


def without(unknown: str) -> DictConfig:
    """Compose the configuration that the command would have had without the unknown option, as far as it composes."""
    GlobalHydra.instance().clear()
    words = [word for word in sys.argv[1:] if "=" in word and not word.lstrip("+~").startswith(f"{unknown}=")]
    words = [word for word in words if "," not in word and not word.startswith("hydra")]  # sweeps are no single configuration
    with initialize_config_module("conf", version_base="1.3"):
        try:
            return compose("train", overrides=words)
        except (errors.HydraException, OmegaConfBaseException):  # a second mistake: the defaults still have most of the options
            return compose("train")


def nearest(word: str, choices: Sequence[str]) -> str:
    """Return the closest choice, as a question, or nothing."""
    # Whole names first; then last parts, so that omga finds model.activation.omega.
    tails = {choice.rsplit(".", 1)[-1]: choice for choice in reversed(choices)}
    close = difflib.get_close_matches(word, choices, 1) or difflib.get_close_matches(word.rsplit(".", 1)[-1], list(tails), 1)
    return f" Did you mean {tails.get(close[0], close[0])}?" if close else ""


def choices_of(group: str) -> list[str]:
    """Return the names of the yaml files of a group, none if there is no such group."""
    folder = Path(__file__).parents[1] / group
    return sorted(str(file.relative_to(folder).with_suffix("")) for file in folder.rglob("*.yaml"))


def unknown_choice(error: errors.MissingConfigException) -> str | None:
    """Explain that a group has no such choice."""
    group, _, choice = (error.missing_cfg_file or "").rpartition("/")
    options = error.options or choices_of(group)
    return f"{group} must be one of {', '.join(options)}; got {choice}.{nearest(choice, options)}" if options else None


def unknown_option(error: errors.ConfigCompositionException) -> str | None:
    """Explain that there is no option, or no group, of this name."""
    match = re.search(r"Could not (?:override|delete)[^']*'([^'=]+)", str(error))  # Hydra has no field for the name
    if match is None:
        return None
    name = match.group(1)
    parent, _, option = name.rpartition(".")
    cfg = without(name)
    node = OmegaConf.select(cfg, parent) if parent else cfg
    if isinstance(node, DictConfig) and option in takes(node):
        return f"An option that the yaml files leave out needs a plus sign, got {name}; write +{name}=VALUE."
    choices = [choice for choice in option_names(cfg) if choice != name]
    siblings = [choice for choice in choices if choice.rpartition(".")[0] == parent]
    listed = ", ".join(siblings[:LISTED]) or ", ".join(choice for choice in choices if "." not in choice)
    return f"There is no option {name}.{nearest(name, choices)} Options here: {listed}."


def unreadable(error: errors.OverrideParseException) -> str:
    """Explain that a word is no option, with the line to type for a value with special characters."""
    name, equals, value = str(error.override).partition("=")
    line = shlex.quote(in_quotes(name.strip(), value.strip())) if equals else f"{name}=VALUE"
    return f"Options are written name=value without spaces, got {error.override}; put text in quotes: {line}."


def refused_options(error: errors.InstantiationException) -> str | None:
    """Explain that a constructor of another library did not like its options."""
    target = re.search(r"'([\w.]+)'", str(error))
    return f"{target.group(1)} must accept its options: {error.__cause__}." if target and error.__cause__ else None


def unusable_file(error: OSError) -> str | None:
    """Explain that a file or folder cannot be read or written."""
    if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT):  # of the program's making, not the user's
        return None
    return f"Files must be readable and folders have room: {error}; mend this, or choose another path."


def broken_installation(error: RuntimeError) -> str | None:
    """Explain known faults of an installation or a machine."""
    text = f"{type(error).__name__}: {error}"
    return next((f"{advice} ({str(error).splitlines()[0]})" for part, advice in FAULTS.items() if part in text), None)


def failed_search(error: ValueError) -> str | None:
    """Explain that Optuna found no best job, since none gave a figure."""
    return (
        "A search needs a job that ends with its objective; mend what failed." if "No trials are compl" in str(error) else None
    )


EXPLANATIONS: dict[type[BaseException], Callable[..., str | None]] = {  # the most telling first
    InputError: str,
    errors.MissingConfigException: unknown_choice,
    errors.OverrideParseException: unreadable,
    errors.ConfigCompositionException: unknown_option,
    ModuleNotFoundError: "An option needs a package that is not installed: {}; install it, or leave the option out.".format,
    RuntimeError: broken_installation,
    ValueError: failed_search,
    OSError: unusable_file,
    errors.InstantiationException: refused_options,
    errors.HydraException: str,
    OmegaConfBaseException: str,
}


def explain(error: BaseException) -> str | None:
    """Return one line for an error that the user can mend; None for one that only a developer can."""
    # Libraries wrap what they catch: whichever cause has the most telling explanation speaks, wherever in the chain it is.
    for kind, explanation in EXPLANATIONS.items():
        for cause in causes(error):
            line = explanation(cause) if isinstance(cause, kind) else None
            if line:
                return re.sub(r"\.+(;|\.$)", r"\1", " ".join(line.split()))  # texts of libraries end in a stop, or not
    return None


@contextlib.contextmanager
def one_line(about: str = "", ends: bool = True) -> Iterator[None]:
    """Turn an error into one line on stderr, or a traceback if only a developer can mend it or HYDRA_FULL_ERROR=1 asks."""
    try:
        yield
    except KeyboardInterrupt:  # before the run or between two jobs
        sys.stderr.write(f"Stopped by SIGINT{about}; start again.\n")
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        line = None if os.environ.get(ASKED) == "1" else explain(error)
        if line is None:
            traceback.print_exception(error)
        else:
            sys.stderr.write(f"error: {about}{line}\n")
        if ends:
            sys.exit(1)


def told(message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
    """Write a warning of data or options as one line, without the place in the code that the user cannot mend."""
    if category is UserWarning and os.environ.get(ASKED) != "1":
        return f"warning: {message}\n"
    return f"{filename}:{lineno}: {category.__name__}: {message}\n"


def in_quotes(name: str, value: str) -> str:
    """Write an option whose value Hydra is to take as text."""
    mark = "'" if '"' in value else '"'
    # The grammar knows backslashes only before a quote, the closing one included: there they are doubled.
    escaped = re.sub(rf"(\\*)({mark}|$)", lambda match: 2 * match[1] + (match[2] and f"\\{mark}"), value)
    return f"{name}={mark}{escaped}{mark}"


def readable(word: str) -> bool:
    """Return True if Hydra's grammar knows the word."""
    try:
        OverridesParser.create().parse_override(word)
    except errors.HydraException:
        return False
    return True


def with_files(word: str) -> str:
    """Put the value of an option into Hydra's quotes if it names a file, whatever its characters: data.path=IMG (1).png."""
    name, _, value = word.partition("=")
    if PLAIN.fullmatch(value):
        return word
    is_file = os.path.exists(os.path.expanduser(value))
    is_meant = name.rpartition(".")[2] in FILES and not readable(word)  # no such file: the reader lists what is there
    return in_quotes(name, value) if is_file or is_meant else word


def rewritten(words: Sequence[str]) -> list[str]:
    """Write the words as Hydra's grammar wants them: options of files in quotes, -m first, a group left out with a tilde."""
    written = ["~" + word.removesuffix("=null") if word in LEFT_OUT else with_files(word) for word in words]
    return sorted(written, key=lambda word: word not in ("-m", "--multirun"))


def refuse_words(words: Sequence[str]) -> None:
    """Raise InputError for a value without a name, for options with hyphens, and for the parts of a name with spaces."""
    for place, word in enumerate(words):
        option, equals, value = word.partition("=")
        if equals and not option:
            raise InputError(f"Options are written name=value without spaces, got {word}; put the name before it.")
        if value == "null" and word not in LEFT_OUT and (choices := choices_of(option)):
            raise InputError(f"{option} must be one of {', '.join(choices)}, got null; choose one, or leave it out.")
        if word.startswith("--") and not FLAGS.fullmatch(option):
            agent = "in the yaml of a wandb sweep: command with ${args_no_hyphens}"
            raise InputError(f"Options are written without hyphens, got {word}; write {word[2:]} ({agent}).")
        for end in range(place + 2, len(words) + 1):
            whole = " ".join(words[place:end])
            if equals and "=" not in words[end - 1] and os.path.exists(os.path.expanduser(whole.partition("=")[2])):
                raise InputError(f"A name with spaces is one word, got {end - place}; write {shlex.quote(whole)}.")


def refuse_ddp_sweeps(cfg: DictConfig) -> None:
    """Raise InputError if a sweep in this process would start further processes, each of which would sweep again."""
    hydra = HydraConfig.get()
    here = "submitit" not in str(hydra.launcher.get("_target_", ""))
    if hydra.mode == RunMode.MULTIRUN and here and "ddp" in str(cfg.trainer.get("strategy", "")).lower():
        raise InputError("A sweep (-m) of trainer=ddp would run again on every process; use hydra/launcher=submitit_slurm.")


def refuse_settings(cfg: DictConfig) -> None:
    """Raise InputError for settings of Hydra under which options mean something else, or a search has nothing to look for."""
    hydra = HydraConfig.get()
    if hydra.job.chdir:
        rule = "hydra.job.chdir must be false: paths are those of the folder that the command is typed in"
        raise InputError(f"{rule}, and all files go to the run's folder; leave it out, or choose that with hydra.run.dir.")
    sweeper = str(hydra.sweeper.get("_target_", ""))
    if hydra.mode != RunMode.MULTIRUN or sweeper.startswith("hydra._internal"):
        return
    if cfg.objective is None:
        raise InputError(f"{sweeper} needs one number to optimise, got objective=null; add objective=psnr, or another figure.")
    if "optuna" in sweeper and not any("direction" in str(word) for word in hydra.overrides.hydra):
        rule = "Optuna minimises unless it is told otherwise"
        raise InputError(f"{rule}; add hydra.sweeper.direction=maximize (as of psnr) or hydra.sweeper.direction=minimize.")


def job(function: Callable[[DictConfig], Job]) -> Callable[[DictConfig], Job | None]:
    """Turn a function of the options into a Hydra job: an error ends a single run; a sweep says which job and goes on."""

    @functools.wraps(function)
    def guarded(cfg: DictConfig) -> Job | None:
        sweeps = HydraConfig.get().mode == RunMode.MULTIRUN
        warnings.formatwarning = told
        with one_line():
            refuse_settings(cfg)
            refuse_ddp_sweeps(cfg)
        if multiprocessing.current_process().name != "MainProcess":  # of joblib
            return side_by_side(function, cfg)
        with one_line(f"[{' '.join(HydraConfig.get().overrides.task)}] " if sweeps else "", ends=not sweeps):
            return function(cfg)
        return None

    return guarded


def side_by_side(function: Callable[[DictConfig], Job], cfg: DictConfig) -> Job | None:
    """Run a job in one of the processes of a sweep, which passes signals on; after one this process takes no more jobs."""
    from tasks.interruption import DEFAULTS, ENDING, begin_no_more

    if signal.getsignal(signal.SIGTERM) == signal.SIG_IGN:
        return None
    for one in ENDING:
        if signal.getsignal(one) in DEFAULTS:
            signal.signal(one, begin_no_more)
    with one_line(f"[{' '.join(HydraConfig.get().overrides.task)}] ", ends=False):
        try:
            return function(cfg)
        except Stopped:  # raised further it would have the sweep kill the others, which still save
            begin_no_more(signal.SIGTERM, None)
    return None


def command(function: Callable[[], None]) -> None:
    """Run a Hydra command, or print the help; a mistake in its words ends in one line too."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        return help.show()
    os.environ.setdefault(ASKED, os.environ.get(FULL, "0"))  # further processes inherit what this one was asked
    os.environ[FULL] = "1"  # lets errors pass through Hydra as they are
    with one_line():
        refuse_words(sys.argv[1:])
        sys.argv[1:] = rewritten(sys.argv[1:])
        function()
