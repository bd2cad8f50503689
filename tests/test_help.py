"""--help lists every choice, and below it every option that its yaml file holds."""

import sys

from omegaconf import OmegaConf
from tiny.signals import CONF

import train


def test_help_names_every_choice_with_its_options(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", "--help"])
    train.main()
    sections = {}
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("  ") and line[2] != " ":
            section = sections.setdefault(line.strip().partition(", with the options of")[0], [])
        elif line.startswith("    "):
            section.append(line.strip().partition(":")[0])
    for file in CONF.rglob("*/**/*.yaml"):
        top, *rest, name = file.relative_to(CONF).with_suffix("").parts
        sign = "/" if "base" in rest else "="
        title = f"{top}={'/'.join([*rest, name])}" if top == "experiment" else f"{'/'.join([top, *rest])}{sign}{name}"
        if top != "hydra":
            options = {str(option) for option in OmegaConf.load(file) if not str(option).startswith("_")} - {"defaults"}
            assert options <= set(sections[title]), file
