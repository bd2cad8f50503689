"""Signals: the step at work is saved, one line says how to go on, and the resumed run equals the undisturbed one."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from running import QUICK, assert_same_run, checkpoint, command, run, tiny_image

from tasks.image import ImageTask
from tasks.interruption import Interruption

OPTIONS = (*QUICK, "callbacks.checkpoints.every=1000", "trainer.val_check_interval=3", "data.points=50")
SLURM = {"SLURM_NTASKS": "1", "SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}


def started(words: list[str], folder: Path, curve: Path, environment: dict[str, str] | None = None) -> subprocess.Popen:
    """A run in a process of its own that has written its first rows."""
    process = subprocess.Popen(
        words, cwd=folder, env=os.environ | (environment or {}), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 120
    while not curve.is_file() and time.monotonic() < until:
        time.sleep(0.02)
    return process


@pytest.fixture
def stopped(monkeypatch, capfd) -> Callable[..., tuple[int, str]]:
    """A run in this process that sends itself signals in a step of the task: its exit code and its line."""
    monkeypatch.setattr("tasks.interruption.PAUSE", 0.0)

    def stop(folder: Path, ending: signal.Signals, step: str, at: int, *options: str, times: int = 1) -> tuple[int, str]:
        plain = getattr(ImageTask, step)
        calls = iter(range(1, 1000))

        def signalled(self: ImageTask, *args: object, **options: object) -> object:
            if next(calls) == at:
                for _ in range(times):
                    signal.raise_signal(ending)
            return plain(self, *args, **options)

        capfd.readouterr()
        monkeypatch.setattr(ImageTask, step, signalled)
        with pytest.raises(SystemExit) as end:
            run(folder, *options)
        monkeypatch.setattr(ImageTask, step, plain)
        assert signal.getsignal(ending) in (signal.SIG_DFL, signal.default_int_handler)
        (line,) = capfd.readouterr().err.splitlines()
        return end.value.code, line

    return stop


@pytest.mark.parametrize(
    ("ending", "step", "at", "saved"),
    [
        (signal.SIGTERM, "training_step", 5, 5),
        (signal.SIGINT, "training_step", 5, 5),
        (signal.SIGUSR1, "training_step", 6, 6),  # after which a validation follows
        (signal.SIGHUP, "training_step", 1, 1),
        (signal.SIGUSR2, "training_step", 4, 4),
        (signal.SIGTERM, "validation_step", 2, 6),
    ],
)
def test_a_signal_saves_the_step_and_says_how_to_go_on(ending, step, at, saved, stopped, tmp_path):
    options = [f"data.path={tiny_image(tmp_path)}", *OPTIONS, "trainer.max_steps=10"]
    folder = tmp_path / "stopped"
    line = f"Stopped by {ending.name}; step {saved} is saved, go on with: python train.py ckpt_path={folder}"
    assert stopped(folder, ending, step, at, *options) == (128 + ending, line)
    assert checkpoint(folder)["global_step"] == saved
    assert_same_run(run(tmp_path / "whole", *options), run(tmp_path / "resumed", f"ckpt_path={folder}"))


def test_a_signal_without_a_step_to_wait_for_ends_at_once(stopped, tmp_path):
    options = [f"data.path={tiny_image(tmp_path)}", *OPTIONS, "trainer.max_steps=3"]
    with_step, without = tmp_path / "with step", tmp_path / "without"
    line = f"Stopped by SIGTERM; all steps are saved, go on with: python train.py train=false 'ckpt_path={with_step}'"
    assert stopped(with_step, signal.SIGTERM, "test_step", 1, *options) == (143, line)
    assert stopped(with_step, signal.SIGTERM, "training_step", 3, *options) == (143, line)
    early = "Stopped by SIGINT before a step was saved; start again."
    assert stopped(without, signal.SIGINT, "setup", 1, *options) == (130, early)
    assert stopped(without, signal.SIGINT, "training_step", 2, *options, times=2) == (130, early)
    evaluated = ("train=false", f"ckpt_path={with_step}", "callbacks.progress.refresh_rate=0")
    assert stopped(without, signal.SIGINT, "test_step", 1, *evaluated) == (130, early)


def test_signals_that_others_handle_or_ignore_stay_theirs(tmp_path, monkeypatch):
    for handler in (signal.SIG_IGN, lambda number, frame: None):
        earlier = signal.signal(signal.SIGHUP, handler)
        with Interruption(str(tmp_path)):
            signal.raise_signal(signal.SIGHUP)
        assert signal.signal(signal.SIGHUP, earlier) is handler


def test_a_job_of_slurm_leaves_nothing_where_it_was_started(tmp_path):
    here, folder = tmp_path / "here", tmp_path / "stopped"
    here.mkdir()
    words = command(f"data.path={tiny_image(tmp_path)}", *OPTIONS, "trainer.max_steps=1000000", f"hydra.run.dir={folder}")
    process = started(words, here, folder / "metrics.csv", SLURM)
    process.send_signal(signal.SIGUSR1)
    _, lines = process.communicate(timeout=120)
    assert process.returncode == 138
    steps = checkpoint(folder)["global_step"]
    assert lines == f"Stopped by SIGUSR1; step {steps} is saved, go on with: python train.py ckpt_path={folder}\n"
    assert not list(here.iterdir())


def test_a_signal_ends_a_sweep(tmp_path):
    words = command("-m", f"data.path={tiny_image(tmp_path)}", *OPTIONS, "seed=0,1", "trainer.max_steps=1000000")
    process = started([*words, "hydra.sweep.dir=sweep"], tmp_path, tmp_path / "sweep" / "0" / "metrics.csv")
    process.send_signal(signal.SIGTERM)
    _, lines = process.communicate(timeout=120)
    assert process.returncode == 143
    assert f"go on with: python train.py ckpt_path={tmp_path / 'sweep' / '0'}" in lines
    assert not (tmp_path / "sweep" / "1").exists()


def test_no_run_begins_with_what_another_left(tmp_path, monkeypatch):
    first = run(tmp_path / "first", f"data.path={tiny_image(tmp_path)}", *QUICK)
    monkeypatch.chdir(tmp_path)
    (first / "checkpoints" / "last.ckpt").rename(tmp_path / "hpc_ckpt_1.ckpt")
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    second = run(tmp_path / "second", f"data.path={tiny_image(tmp_path)}", *QUICK)
    assert checkpoint(second)["global_step"] == 2
