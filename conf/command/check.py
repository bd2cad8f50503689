"""Options against the constructors that they are meant for: names and types, before anything is built."""

import inspect
import json
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig

from inr.errors import InputError

Target = Callable[..., object]  # a class or function that a `_target_` names

SPELLED: dict[object, str] = {
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
TOP = {
    "seed": int,
    "train": bool,
    "compile": bool | Literal["auto"],
    "ckpt_path": str | None,
    "dictionary": str | None,
    "start": str | None,
    "objective": str | None,
}
REST = "**"  # stands for all other names among the arguments of a constructor


def members(annotation: object) -> Iterator[object]:
    """Yield the types that a union allows, or the one type."""
    if get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from members(member)
    else:
        yield annotation


def accepts(kind: object, value: object) -> bool:
    """Return True unless the type rules the value out; annotations that are no plain types rule out nothing."""
    origin = get_origin(kind) or kind
    if origin is Literal:
        return value in get_args(kind)
    if origin in (Any, inspect.Parameter.empty) or not isinstance(origin, type):
        return True
    if origin in (int, float):  # in Python True is an int; in the command true is no number, and 1 is also a float
        return isinstance(value, int if origin is int else int | float) and not isinstance(value, bool)
    return isinstance(value, origin) or (origin is tuple and isinstance(value, list))  # yaml knows no tuples


def spell(kind: object) -> str:
    """Return a type in words."""
    if get_origin(kind) is Literal:
        return ", ".join(map(str, get_args(kind)))
    origin = get_origin(kind) or kind
    return SPELLED.get(origin, getattr(origin, "__name__", str(kind)))


def written(value: object) -> str:
    """Return a value as the command writes it: null, true, false."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def refuse_type(name: str, value: object, annotation: object) -> None:
    """Raise InputError unless the annotation of the option allows the value."""
    kinds = list(members(annotation))
    if not any(accepts(kind, value) for kind in kinds):
        rule = " or ".join(dict.fromkeys(map(spell, kinds)))
        quoted = f"write text in quotes: {name}='\"{written(value)}\"'"
        remedy = quoted if set(kinds) <= {str, NoneType} else "--help shows the default"
        raise InputError(f"{name} must be {rule}, got {written(value)}; {remedy}.")


def arguments_of(maker: Target) -> dict[str, object]:
    """Return the annotations of one function by argument, those written as strings resolved; `**options` is REST."""
    try:
        hints: dict[str, object] = get_type_hints(maker)
    except NameError:  # a name that is imported for type checkers alone
        hints = {}
    arguments = inspect.signature(maker).parameters.values()
    names = {one.name: REST if one.kind == one.VAR_KEYWORD else one.name for one in arguments}
    return {shown: hints.get(name, inspect.Parameter.empty) for name, shown in names.items()}


def parameters(target: Target) -> dict[str, object]:
    """Return the annotations of a class or function by argument: of a dataclass its fields, inherited ones included.

    A constructor with `**options` takes what its bases take, and REST: it may use others itself.
    """
    bases = target.__mro__ if inspect.isclass(target) else ()
    found: dict[str, object] = {}
    for maker in [vars(base)["__init__"] for base in bases if "__init__" in vars(base)] or [target]:
        arguments = arguments_of(maker)
        found = arguments | found
        if REST not in arguments:
            break
    return {name: annotation for name, annotation in found.items() if name != "self"}


def find_target(name: str, target: str) -> Target:
    """Return the class or function that a `_target_` names. Raises: InputError if there is none."""
    try:
        return pkgutil.resolve_name(target)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{name} must name a class or function, got {target}: {error}; correct it.") from error


def takes(options: Mapping[Any, object], name: str = "") -> dict[str, object]:
    """Return the arguments of the constructor that some options are for; none if they name no `_target_`."""
    return parameters(find_target(f"{name}._target_", str(options["_target_"]))) if "_target_" in options else {}


def check_node(options: object, path: str) -> None:
    """Raise InputError for an option, here or below, that its constructor does not know or whose type it does not take."""
    below = options.items() if isinstance(options, Mapping) else enumerate(options) if isinstance(options, list) else ()
    for name, option in below:
        check_node(option, f"{path}.{name}")
    if not isinstance(options, Mapping) or "_target_" not in options:
        return
    known = takes(options, path)
    for name, value in options.items():
        if name.startswith("_") or (isinstance(value, Mapping) and "_target_" in value):
            continue  # the instance that such a node becomes is checked by the node itself
        if name not in known and REST not in known:
            raise InputError(f"There is no option {path}.{name}; {options['_target_']} takes {', '.join(known)}.")
        refuse_type(f"{path}.{name}", value, known.get(name, Any))


def check_run(cfg: DictConfig) -> None:
    """Raise InputError if the options of the run itself, its seed, switches and checkpoint, allow no run at all."""
    for name, annotation in TOP.items():
        refuse_type(name, cfg[name], annotation)
    if not 0 <= cfg.seed < 2**32:
        raise InputError(f"seed must be in 0 .. 2^32 - 1, got {cfg.seed}.")
    if cfg.start is not None and "start" not in cfg.regime.callbacks:
        raise InputError(f"start=RUN is for one signal, got start={cfg.start}; use regime=single, or leave it out.")
    if not cfg.train and cfg.ckpt_path is None:
        raise InputError("train=false evaluates a finished run and needs ckpt_path, got null; add ckpt_path=RUN, or train.")
