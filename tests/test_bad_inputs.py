"""What a user gets wrong ends in one line on stderr, which names the rule, the value received and the remedy, and code 1.

One mistake of each kind goes through the command line here; the tables of what constructors and readers refuse lie beside
their tests (`test_refusals.py`, `conf/test_check.py`, `inr/saved/test_checkpoints.py`).
"""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_utilities.core.imports import RequirementCache
from PIL import Image
from running import QUICK, STEPS, checkpoint, run, tiny_image

import train
from conf.command.cli import ASKED, FULL

ROOT = Path(train.__file__).parent
SMALL = (*QUICK, "model.hidden_features=8", "model.hidden_layers=1")
LEARN = "regime=dictionary model=nid_moe "

WORDS = {  # words of the command, then what the line must say
    "choice": ("model=sin", "must be one of", "finer, fourier", "got sin", "Did you mean sine?"),
    "choice in a folder": ("experiment=sobolev/set4", "must be one of", "audio, llff", "got set4", "Did you mean set5?"),
    "choice of a group of folders": ("experiment=sobolv", "must be one of", "sobolev/set5", "got sobolv"),
    "group": ("modle=sine", "There is no option modle", "Did you mean model?", "supervision"),
    "option": ("model.activation.omga=30", "There is no option model.activation.omga", "Did you mean model.activation.omega?"),
    "option left out in yaml": ("trainer.accumulate_grad_batches=2", "needs a plus sign", "+trainer.accumulate_grad_batches="),
    "added option": ("+model.widht=3", "There is no option model.widht", "takes", "hidden_features"),
    "target": ("model._target_=inr.networks.mlp.PML", "must name a class", "got inr.networks.mlp.PML", "correct it"),
    "type": ("trainer.max_steps=abc", "trainer.max_steps must be a whole number", "got abc", "--help"),
    "syntax": ("model=[", "Options are written name=value", "got model=[", "in quotes"),
    "spaces": ("model = sine", "without spaces", "got"),
    "sweep without -m": ("model=sine,relu", "model=sine,relu", "--multirun"),
    "evaluation of nothing": ("train=false", "needs ckpt_path", "got null", "add ckpt_path=RUN"),
    "export": (
        "export=nonsense",
        "one of all, depth, fields, mesh, pointcloud, sinogram, slice, video, views, volume",
        "got nonsense",
    ),
    "export null": (
        "export=null",
        "one of all, depth, fields, mesh, pointcloud, sinogram, slice, video, views, volume",
        "got null",
    ),
    "penalty null": ("penalty=null", "one of eikonal, nonnegative, off_surface, tv", "got null", "leave it out"),
    "export of another task": ("export=video", "export must be one of all, result, fields for this task, got export=video."),
    "used folder": ("hydra.run.dir={run}", "must not hold another run", "{run} has metrics.json", "choose another folder"),
}
PARTS = {  # of a run, in the order in which they are made
    "file": ("task=audio data.path={bad}/nothing.wav", "must be an existing file", "nothing.wav", "its folder holds"),
    "header": ("data.path={bad}/text.png", "must be a whole file of a known kind", "text.png", "choose another"),
    "numbers": ("data.path={bad}/nan.npy", "must be finite", "got nan at [3, 2, 0]", "replace"),
    "collection": ("data=images", "data.root must be an existing folder", "got null"),
    "scan": ("task=ct data=sinogram", "data.path must name the file of a sinogram", "got null"),
    "shape": ("task=sdf data=mesh data.path={bad}/text.ply", "must be a whole file", "text.ply is not", "save it anew"),
    "measurement": ("data.aspect=square", "must be stretch or keep", "square"),
    "model": ("model.activation.omega=0", "omega must be positive", "omega=0"),
    "optimiser": ("optimizer.lr=-1", "inr.optimisers.adam.Adam must accept", "optimizer.lr=-1", "choose others"),
    "momentum": ("optimizer=muon optimizer.momentum=1.0", "Muon needs a momentum in 0..1", "got momentum=1.0"),
    "ending": ("trainer.stop=never", "trainer.stop must be plateau or null", "got never"),
    "seconds": ("trainer.max_seconds=0", "trainer.max_seconds must be positive", "got 0; leave it out"),
    "callback": ("export.scale=0", "export.scale", "above 0 and at most 64", "got 0"),
    "devices": ("trainer=gpu trainer.devices=99", "GPUs", "trainer.devices=99", "use trainer=cpu"),
    "model without codes": (
        "regime=dictionary model=sine task=ct data=phantoms",
        "a model with codes, got MLP",
        "model=nid_moe",
    ),
    "no collection": (LEARN, "need a collection of signals", "data=images"),
    "one signal": (LEARN + "task=ct data=slice", "learns from two signals or more, got 1", "choose a collection"),
    "everything held out": (LEARN + "task=ct data=phantoms data.count=4 data.held_out=4", "needs signals to show"),
    "solver of steps": (
        LEARN + "task=ct data=phantoms data.size=12 data.count=4 data.held_out=1 data.tuning=0 solver=adam",
        "in closed form",
        "got solver=adam",
    ),
    "dictionary without one": ("regime=fit dictionary={run}", "must be a run of regime=dictionary", "MLP"),
    "dictionary for nothing": ("dictionary={run}", "regime=fit", "add regime=fit"),
}
RESUME = "trainer.max_steps=4 ckpt_path={bad}/"
CHECKPOINTS = {
    "no file": (RESUME + "nothing.ckpt", "a folder with checkpoints/last.ckpt, or a .ckpt file", "nothing.ckpt"),
    "text": (RESUME + "text.png", "must be whole", "text.png", "use another one"),
    "weights of another shape": (RESUME + "unfit.ckpt", "must fit its model", "unfit.ckpt: size mismatch", "Use another one"),
    "calls of strangers": (RESUME + "hostile.ckpt", "may only call classes of inr", "wants os.system", "If you trust it"),
    "another group": (
        RESUME + "last.ckpt model=relu",
        "the task, model and data of its run",
        "model.activation._target_",
        "ReLU",
    ),
    "another option": (RESUME + "last.ckpt data.factor=2", "data.factor was null, got 2", "Leave it out"),
    "already over": ("ckpt_path={run}", "beyond the 2 steps that the run has", "got 2", "add train=false"),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, Path]:
    """A folder of bad files and checkpoints, and a finished run."""
    bad, fitted = tmp_path_factory.mktemp("bad"), tmp_path_factory.mktemp("fitted")
    tiny_image(bad).rename(bad / "good.png")
    for name in ("text.png", "text.ply"):
        (bad / name).write_text("hello")
    numbers = np.random.default_rng(0).random((8, 8, 3), np.float32)
    numbers[3, 2, 0] = np.nan
    np.save(bad / "nan.npy", numbers)
    finished = run(fitted / "run", *SMALL, f"data.path={tiny_image(fitted)}")
    shutil.copy(finished / "checkpoints" / "last.ckpt", bad)
    content = checkpoint(finished)
    hostile = content["options"] | {"scheduler": {"_target_": "os.system", "command": "exit"}}
    torch.save(content | {"options": hostile}, bad / "hostile.ckpt")
    first = next(name for name in content["state_dict"] if name.endswith("weight"))
    torch.save(content | {"state_dict": content["state_dict"] | {first: torch.zeros(5, 5)}}, bad / "unfit.ckpt")
    return {"bad": bad, "run": finished}


def check(lines: list[str], *phrases: str) -> None:
    """Assert that there is one line, and that it says all that."""
    (line,) = lines
    assert line.startswith("error: ")
    for phrase in phrases:
        assert phrase in line


@pytest.mark.parametrize("case", WORDS | PARTS | CHECKPOINTS)
def test_a_mistake_ends_in_one_line(case, refusal, places, tmp_path):
    words, *phrases = (text.format(**places) for text in (WORDS | PARTS | CHECKPOINTS)[case])
    check(refusal(*(() if case in CHECKPOINTS else STEPS), *words.split()), *phrases)
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_data_that_changed_since(refusal, places):
    picture = places["run"].parent / "tiny.png"
    content = picture.read_bytes()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(picture)
    lines = refusal(f"ckpt_path={places['run']}", "trainer.max_steps=4")
    picture.write_bytes(content)
    check(lines, "must not change", "tiny.png has other contents than it had", "start a new run")


def test_a_loss_that_is_not_finite_names_its_terms_and_leaves_the_last_good_checkpoint(refusal, places, tmp_path):
    image = f"data.path={places['bad']}/good.png"
    lines = refusal(*SMALL, image, "optimizer.lr=1e20", "callbacks.checkpoints.every=1", "trainer.max_steps=5")
    check(lines, "must stay finite", "value is ", "at step 2", "Lower optimizer.lr")
    assert checkpoint(tmp_path / "run")["global_step"] == 1


def test_a_full_disk_leaves_the_earlier_checkpoint_whole(refusal, places, tmp_path, monkeypatch):
    calls = []

    def fill(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tasks.checkpoints.os.fsync", fill)
    lines = refusal(*SMALL, f"data.path={places['bad']}/good.png", "callbacks.checkpoints.every=1")
    check(lines, "must find room", "No space left on device", "unharmed")
    assert checkpoint(tmp_path / "run")["global_step"] == 1
    assert [file.name for file in (tmp_path / "run" / "checkpoints").iterdir()] == ["last.ckpt"]


def test_a_logger_whose_package_is_missing(refusal, places, monkeypatch):
    for name in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
        monkeypatch.setattr(f"lightning.fabric.loggers.tensorboard.{name}", RequirementCache("tensorboard>=9999"))
    lines = refusal(*SMALL, f"data.path={places['bad']}/good.png", "logger=tensorboard")
    check(lines, "a package that is not installed", "tensorboard", "leave the option out")


def test_compile_without_a_compiler(refusal, places, monkeypatch):
    def fail(*_: object) -> None:  # inductor's own error takes seconds to import
        raise type("InvalidCxxCompiler", (RuntimeError,), {})("No working C++ compiler found in cpp.cxx=(None, 'g++')")

    monkeypatch.setattr(torch, "compile", lambda function, **options: fail)
    lines = refusal(*SMALL, f"data.path={places['bad']}/good.png", "compile=true")
    check(lines, "needs a C++ compiler", "leave compile out", "No working C++ compiler")


def test_a_sweep_goes_on_after_a_bad_job_and_names_it(refusal, places, tmp_path):
    lines = refusal("-m", *SMALL, f"data.path={places['bad']}/good.png", "data.factor=0,2")
    check(lines, "data.factor=0", "must be at least 1, got 0")
    assert not (tmp_path / "sweep" / "0" / "metrics.json").exists()
    assert (tmp_path / "sweep" / "1" / "metrics.json").is_file()
    assert len((tmp_path / "sweep" / "summary.csv").read_text().splitlines()) == 3


def test_a_sweep_over_processes_is_refused_before_it_starts(refusal, tmp_path):
    lines = refusal("-m", *SMALL, "trainer=ddp", "seed=0,1")
    check(lines, "A sweep (-m) of trainer=ddp", "hydra/launcher=submitit_slurm")


def process(tmp_path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    words = (sys.executable, str(ROOT / "train.py"), f"hydra.run.dir={tmp_path / 'run'}", *words)
    clean = {name: value for name, value in os.environ.items() if name not in (FULL, ASKED)}
    return subprocess.run(words, env=clean | environment, capture_output=True, text=True, check=False, cwd=tmp_path)


def test_a_process_ends_with_one_line_and_code_1(tmp_path):
    ended = process(tmp_path, "data.path=nothing.png")
    assert ended.returncode == 1
    assert ended.stdout == ""
    check(ended.stderr.splitlines(), "must be an existing file", "nothing.png")


def test_the_traceback_appears_on_request(tmp_path):
    ended = process(tmp_path, "model=sin", HYDRA_FULL_ERROR="1")
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr


def test_a_torchvision_that_does_not_match_torch(tmp_path):
    (tmp_path / "lightning.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    ended = process(tmp_path, PYTHONPATH=str(tmp_path))
    assert ended.returncode == 1
    check(ended.stderr.splitlines(), "torchvision must match torch", "pip uninstall torchvision", "torchvision::nms")
