"""--help lists every choice and every option that a yaml file holds."""

import sys

from omegaconf import OmegaConf
from tiny.signals import CONF

import train


def test_help_names_every_choice_and_option(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", "--help"])
    train.main()
    text = capsys.readouterr().out
    for file in CONF.rglob("*.yaml"):
        group, *rest = file.relative_to(CONF).with_suffix("").parts
        if group in ("hydra", "train"):
            continue
        if group != "experiment":
            group, rest = "/".join([group, *rest[:-1]]), rest[-1:]
        assert f"{group}={'/'.join(rest)}" in text or group == "data/base"
        for option in OmegaConf.load(file):
            assert str(option).startswith("_") or option == "defaults" or f"{option}:" in text, f"{file.name}: {option}"
