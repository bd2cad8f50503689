"""Threads that wait for work sleep, whichever way a run starts, unless the user has said otherwise."""

import os
import subprocess
import sys

import pytest
from running import ROOT

from conf.command import SPINS

WAYS = {
    "command": [str(ROOT / "train.py"), "--help"],
    "inr and notebooks": ["-c", "import train, torch"],
}


def settings(words: list[str], **environment: str) -> tuple[str, str]:
    """Policy and rounds as the OpenMP library of torch reads them."""
    rest = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    shown = subprocess.run(
        [sys.executable, *words],
        check=True,
        cwd=ROOT,
        env=rest | environment | {"OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
    )
    lines = [line.strip() for line in shown.stderr.splitlines()]
    found = {line.split(" = ")[0].split()[-1]: line.split("'")[1] for line in lines if " = '" in line}
    return found["OMP_WAIT_POLICY"], found["GOMP_SPINCOUNT"]


@pytest.mark.skipif(sys.platform != "linux", reason="torch has another OpenMP library elsewhere")
@pytest.mark.parametrize("way", WAYS)
def test_waiting_threads_sleep(way):
    assert settings(WAYS[way]) == ("PASSIVE", SPINS)


@pytest.mark.skipif(sys.platform != "linux", reason="torch has another OpenMP library elsewhere")
def test_a_choice_of_the_user_stays():
    assert settings(WAYS["command"], OMP_WAIT_POLICY="active")[0] == "ACTIVE"
