"""Shape annotations of `inr` are checked at run time in every test; law tests run in float64."""

import sys
from collections.abc import Callable

import jaxtyping
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

with jaxtyping.install_import_hook("inr", "typechecking.check"):
    import inr  # noqa: F401

torch.set_num_threads(1)  # tests run side by side


@pytest.fixture
def float64():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def refusal(monkeypatch, capfd, tmp_path) -> Callable[..., list[str]]:
    """The command line in this process: what it says on stderr as it ends with code 1."""
    import train  # after the import hook
    from conf.command.cli import ASKED, FULL

    def refuse(*words: str) -> list[str]:
        GlobalHydra.instance().clear()
        for name in (FULL, ASKED):
            monkeypatch.setenv(name, "0")
        folders = (f"hydra.run.dir={tmp_path / 'run'}", f"hydra.sweep.dir={tmp_path / 'sweep'}")
        monkeypatch.setattr(sys, "argv", ["train.py", *folders, *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            train.main()
        assert end.value.code == 1
        return capfd.readouterr().err.splitlines()

    return refuse
