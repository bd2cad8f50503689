"""Options against the constructors that they are meant for: names and types, before anything is built."""

import inspect
import json
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from omegaconf import DictConfig

from inr.errors import InputError

SPELLED: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    NoneType: "null",
    list: "a list",
    tuple: "a list",
    Sequence: "a list",
    dict: "a group of options",
    Mapping: "a group of options",
}
TOP = {"seed": int, "train": bool, "compile": bool, "ckpt_path": str | None, "dictionary": str | None}


def members(annotation: Any) -> Iterator[Any]:
    """The types that a union allows, or the one type."""
    if get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from members(member)
    else:
        yield annotation


def accepts(kind: Any, value: Any) -> bool:
    """Whether an option may take this value; what an annotation leaves open is accepted."""
    origin = get_origin(kind) or kind
    if origin is Literal:
        return value in get_args(kind)
    if origin in (Any, inspect.Parameter.empty) or not isinstance(origin, type):
        return True
    if origin in (int, float):
        return isinstance(value, int if origin is int else int | float) and not isinstance(value, bool)
    return isinstance(value, origin) or (origin is tuple and isinstance(value, list))


def spell(kind: Any) -> str:
    """A type in words."""
    if get_origin(kind) is Literal:
        return ", ".join(map(str, get_args(kind)))
    origin = get_origin(kind) or kind
    return SPELLED.get(origin, getattr(origin, "__name__", str(kind)))


def shown(value: Any) -> str:
    """A value as it is written in the command: null, true, false."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def refuse_type(name: str, value: Any, annotation: Any) -> None:
    """Raise InputError unless the annotation of the option allows the value."""
    kinds = list(members(annotation))
    if not any(accepts(kind, value) for kind in kinds):
        rule = " or ".join(dict.fromkeys(map(spell, kinds)))
        quoted = f"write text in quotes: {name}='\"{shown(value)}\"'"
        remedy = quoted if set(kinds) <= {str, NoneType} else "--help shows the default"
        raise InputError(f"{name} must be {rule}, got {shown(value)}; {remedy}.")


def parameters(target: Any) -> dict[str, Any]:
    """Annotations by argument of a class or function; where it takes **options, also those of its bases, and any other: **."""
    bases = target.__mro__ if inspect.isclass(target) else ()
    found: dict[str, Any] = {}
    for maker in [vars(base)["__init__"] for base in bases if "__init__" in vars(base)] or [target]:
        arguments = inspect.signature(maker).parameters.values()
        rest = {"**": Any} if any(argument.kind == argument.VAR_KEYWORD for argument in arguments) else {}
        found = {argument.name: argument.annotation for argument in arguments} | rest | found
        if not rest:
            break
    return found


def find_target(name: str, target: str) -> Any:
    """The class or function that a `_target_` names."""
    try:
        return pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{name} must name a class or function, got {target}: {error}; correct it.") from error


def takes(options: Mapping[Any, Any], name: str = "") -> dict[str, Any]:
    """What the constructor of some options takes, by argument; nothing if they have none."""
    return parameters(find_target(f"{name}._target_", options["_target_"])) if "_target_" in options else {}


def check_node(options: Any, path: str) -> None:
    """Raise InputError for an option, here or below, that its constructor does not know or whose type it does not take."""
    below = options.items() if isinstance(options, Mapping) else enumerate(options) if isinstance(options, list) else ()
    for name, option in below:
        check_node(option, f"{path}.{name}")
    known = takes(options, path) if isinstance(options, Mapping) else {}
    for name, value in options.items() if known else ():
        if name.startswith("_") or (isinstance(value, Mapping) and "_target_" in value):
            continue
        if name not in known and "**" not in known:
            names = ", ".join(name for name in known if name != "self")
            raise InputError(f"There is no option {path}.{name}; {options['_target_']} takes {names}.")
        refuse_type(f"{path}.{name}", value, known.get(name, Any))


def check_run(cfg: DictConfig) -> None:
    """Raise InputError for what no part of a run could go on with: its seed, its switches, its checkpoint."""
    for name, annotation in TOP.items():
        refuse_type(name, cfg[name], annotation)
    if not 0 <= cfg.seed < 2**32:
        raise InputError(f"seed must be in 0 .. 2^32 - 1, got {cfg.seed}.")
    if not cfg.train and cfg.ckpt_path is None:
        raise InputError("train=false evaluates a finished run and needs ckpt_path, got null; add ckpt_path=RUN, or train.")
