"""Options are checked against constructors by name and type; dataclasses have one option per field."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest
from omegaconf import OmegaConf

from conf.command.check import REST, check_node, check_run, parameters, refuse_type
from inr.errors import InputError


@dataclass(kw_only=True, eq=False)
class Signals:
    points: "int | None" = None
    border: Literal["one_sided", "periodic"] = "one_sided"
    loaded: list[str] = field(default_factory=list, init=False)


@dataclass(kw_only=True, eq=False)
class Pictures(Signals):
    root: str
    background: "str | Sequence[float]" = "white"


class Passing(Pictures):
    def __init__(self, size: int = 3, **options: object) -> None:
        super().__init__(**options)


TAKEN = {"points": int | None, "border": Literal["one_sided", "periodic"], "root": str, "background": str | Sequence[float]}


def check(options, monkeypatch, kind=Pictures):
    monkeypatch.setattr("conf.command.check.find_target", lambda name, target: kind)
    check_node({"_target_": kind.__qualname__, "root": "here"} | options, "data")


def test_a_dataclass_takes_its_fields_and_those_of_its_bases(monkeypatch):
    assert parameters(Pictures) == TAKEN
    assert parameters(Passing) == TAKEN | {"size": int, REST: object}
    for options in ({}, {"points": 3}, {"points": None, "background": [0, 0, 1]}, {"border": "periodic"}):
        check(options, monkeypatch)
    check({"anything": 3}, monkeypatch, Passing)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"point": 3}, r"There is no option data\.point; Pictures takes points, border, root, background\."),
        ({"loaded": []}, r"There is no option data\.loaded"),
        ({"points": 1.5}, r"data\.points must be a whole number or null, got 1\.5; --help"),
        ({"border": "open"}, r"data\.border must be one_sided, periodic, got open"),
        ({"root": {"_target_": "Pictures", "point": 3}}, r"There is no option data\.root\.point"),
    ],
)
def test_what_a_dataclass_does_not_take_is_refused(options, message, monkeypatch):
    with pytest.raises(InputError, match=message):
        check(options, monkeypatch)


@pytest.mark.parametrize(
    ("value", "annotation", "rule"),
    [
        ("abc", int, "must be a whole number, got abc; --help shows the default"),
        (1.5, int, "must be a whole number, got 1.5"),
        (True, int | None, "must be a whole number or null, got true"),
        ("fast", float, "must be a number, got fast"),
        (5, str | None, "must be text or null, got 5; write text in quotes: option='\"5\"'"),
        ("maybe", bool, "must be true or false, got maybe"),
        (3, list[int], "must be a list, got 3"),
    ],
)
def test_a_value_of_another_type_is_refused(value, annotation, rule):
    for kind, good in ((float, 1), (tuple[int, ...], [1, 2]), (str | None, None), ("unresolved", "x")):
        refuse_type("option", good, kind)
    with pytest.raises(InputError, match=f"^option {rule}"):
        refuse_type("option", value, annotation)


@pytest.mark.parametrize("change", [{"seed": -1}, {"seed": 2**32}, {"seed": "one"}, {"train": "no"}, {"train": False}])
def test_impossible_options_of_a_run_are_refused(change):
    possible = {"seed": 0, "train": True, "compile": False, "ckpt_path": None, "dictionary": None, "objective": None}
    possible |= {"start": None}
    check_run(OmegaConf.create(possible))
    with pytest.raises(InputError, match=rf"^{next(iter(change))}"):
        check_run(OmegaConf.create(possible | change))
