"""The run-time type checker of the tests: an int may stand for a float; compiled code is not looked into."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from beartype import BeartypeConf, beartype

strict = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its annotations checked at every call."""
    checked = strict(function)
    if isinstance(function, type):
        return checked

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs) if torch.compiler.is_compiling() else checked(*args, **kwargs)

    return guarded
