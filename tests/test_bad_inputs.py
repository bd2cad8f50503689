"""What a user gets wrong ends in one line on stderr, which names the rule, the value received and the remedy, and code 1."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tifffile
import torch
from lightning_utilities.core.imports import RequirementCache
from PIL import Image
from running import QUICK, STEPS, checkpoint, run, tiny_image

import train
from conf.command.cli import ASKED, FULL

ROOT = Path(train.__file__).parent
SMALL = (*QUICK, "model.hidden_features=8", "model.hidden_layers=1")
SOUND, IMAGE, RESUME = "task=audio data.path={bad}/", "data.path={bad}/", "trainer.max_steps=4 ckpt_path={bad}/"

FILES = {  # words of the command, then what the line must say
    "missing file": (IMAGE + "nothing.png", "must be an existing file", "{bad}/nothing.png", "its folder holds"),
    "missing folder": (IMAGE + "nowhere/a.png", "must be an existing file", "nowhere/a.png", "nor is there a folder"),
    "folder as path": ("data.path={bad}", "must be a file", "got the folder {bad}", "name one of them"),
    "missing root": ("data.root={bad}/nowhere data.name=a", "must be an existing folder", "{bad}/nowhere", "correct it"),
    "unknown name": ("data.root={bad} data.name=nobody", "must name one file", "got nobody", "there are", "alpha.png"),
    "ambiguous name": ("data.root={bad} data.name=truncated", "must name one file", "truncated.wav", "add the ending"),
    "name without root": ("data.name=baby", "names a file in data.root", "data.name=baby", "add data.root"),
    "empty file": (IMAGE + "empty.png", "must be a whole file", "empty.png", "choose another"),
    "truncated png": (IMAGE + "truncated.png", "must be a whole file", "truncated", "save it anew"),
    "truncated png of 16 bits": (IMAGE + "truncated16.png", "must be a whole file", "too short", "save it anew"),
    "text as png": (IMAGE + "text.png", "must be a whole file of a known kind", "text.png", "choose another"),
    "truncated tiff": (IMAGE + "truncated.tif", "must be a whole file", "truncated.tif", "save it anew"),
    "text as tiff": (IMAGE + "text.tif", "must be a whole file", "not a TIFF file", "choose another"),
    "gif of several frames": (IMAGE + "frames.gif", "is one frame", "has 3", "data.frame=0"),
    "tiff of several pages": (IMAGE + "pages.tif", "is one frame", "has 3", "data.frame=0"),
    "frame out of range": (IMAGE + "frames.gif data.frame=3", "must be in 0 .. 2", "got 3", "choose one"),
    "image smaller than the factor": (IMAGE + "good.png data.factor=24", "at least two", "of [24, 24]", "smaller data.factor"),
    "background": (IMAGE + "alpha.png data.background=pink", "white, black, grey", "got pink"),
    "background of an opaque image": (IMAGE + "good.png data.background=[0,0,2]", "white, black, grey", "got [0, 0, 2]"),
    "nan in npy": (IMAGE + "nan.npy", "must be finite", "got nan at [3, 2, 0]", "replace"),
    "inf in npy": (IMAGE + "inf.npy", "must be finite", "got -inf at [3, 2, 0]", "replace"),
    "beyond float32": (IMAGE + "huge.npy", "must be finite in float32", "64 such", "rescale"),
    "strings in npy": (IMAGE + "strings.npy", "real numbers", "<U1", "save integers or floats"),
    "objects in npy": (IMAGE + "objects.npy", "plain numbers", "objects.npy", "Object arrays cannot be loaded"),
    "complex npy": (IMAGE + "complex.npy", "real numbers", "complex64", "save integers or floats"),
    "channels first": (IMAGE + "first.npy", "Channels come last", "(3, 8, 8)", "transpose it"),
    "one axis": (IMAGE + "line.npy", "(rows, columns)", "(8,)", "reshape it"),
    "no rows": (IMAGE + "none.npy", "none of them 0", "(0, 8, 3)", "reshape it"),
    "truncated npy": (IMAGE + "truncated.npy", "saved by numpy", "truncated.npy", "Failed to read"),
    "text as npy": (IMAGE + "text.npy", "saved by numpy", "text.npy"),
    "two arrays": (IMAGE + "two.npz", "must hold one array", "one, other", "save the one as .npy"),
    "truncated npz": (IMAGE + "truncated.npz", "saved by numpy", "truncated.npz"),
    "missing sound": (SOUND + "nothing.wav", "must be an existing file", "nothing.wav", "its folder holds"),
    "empty sound": (SOUND + "empty.wav", "must have samples", "empty.wav", "choose another"),
    "silent sound": (SOUND + "silent.wav", "must not be silent", "silent.wav", "choose another"),
    "truncated wav": (SOUND + "truncated.wav", "must be whole", "truncated.wav", "of 800 bytes 378", "copy it anew"),
    "truncated flac": (SOUND + "truncated.flac", "truncated.flac", "copy it anew"),
    "text as sound": (SOUND + "text.wav", "must be a file of a known kind", "text.wav", "choose another"),
    "nan in a sound": (SOUND + "nan.wav", "must be finite", "got nan at [7, 0]", "replace"),
    "excerpt beyond the end": (SOUND + "good.wav data.start=2", "must lie in the 0.050 s", "data.start=2", "start earlier"),
    "excerpt of no length": (SOUND + "good.wav data.duration=0", "data.duration positive", "got 0.0 and 0", "null for all"),
    "sound as image": (IMAGE + "good.wav", "must be a whole file of a known kind", "good.wav", "choose another"),
}

OPTIONS = {
    "model": ("model=sin", "must be one of", "finer, fourier", "got sin", "Did you mean sine?"),
    "experiment": ("experiment=sobolev/set4", "must be one of", "audio, llff", "got set4", "Did you mean set5?"),
    "nested experiment": ("experiment=sobolv", "must be one of", "sobolev/set5", "got sobolv"),
    "group": ("modle=sine", "There is no option modle", "Did you mean model?", "supervision"),
    "option": ("model.activation.omga=30", "There is no option model.activation.omga", "Did you mean model.activation.omega?"),
    "option left out in yaml": ("trainer.accumulate_grad_batches=2", "needs a plus sign", "+trainer.accumulate_grad_batches="),
    "added option": ("+model.widht=3", "There is no option model.widht", "takes", "hidden_features"),
    "target": ("model._target_=inr.networks.mlp.PML", "must name a class", "got inr.networks.mlp.PML", "correct it"),
    "steps in words": ("trainer.max_steps=abc", "trainer.max_steps must be a whole number", "got abc", "--help"),
    "fraction of a step": ("trainer.max_steps=1.5", "trainer.max_steps must be a whole number", "got 1.5"),
    "factor in words": ("data.factor=two", "data.factor must be a whole number or null", "got two"),
    "factor as a switch": ("data.factor=true", "data.factor must be a whole number or null", "got true"),
    "path as a number": ("data.path=5", "data.path must be text or null", "got 5", "write text in quotes"),
    "omega in words": ("model.activation.omega=fast", "model.activation.omega must be a number", "got fast"),
    "rate in words": ("optimizer.lr=fast", "optimizer.lr must be a number", "got fast"),
    "switch": ("compile=maybe", "compile must be true or false", "got maybe"),
    "seed": ("seed=-1", "seed must be in 0 .. 2^32 - 1", "got -1"),
    "syntax": ("model=[", "Options are written name=value", "got model=[", "in quotes"),
    "spaces": ("model = sine", "without spaces", "got"),
    "sweep without -m": ("model=sine,relu", "model=sine,relu", "--multirun"),
    "factor": ("data.factor=0", "data.factor must be at least 1", "got 0"),
    "offset": ("data.factor=4 data.offset=4", "data.offset must be between 0 and factor - 1 = 3", "got 4"),
    "train_pixels": ("data.train_pixels=some", "grid, stencil, all, random", "got some"),
    "filter": ("data.filter=scharr", "must be one of central, sobel", "got scharr"),
    "border": ("data.border=mirror", "one_sided, replicate, periodic", "got mirror"),
    "aspect": ("data.aspect=square", "must be stretch or keep", "square"),
    "points": ("data.points=0", "data.points must be at least 1, or null", "got 0"),
    "chunk": ("data.chunk=0", "data.chunk must be at least 1", "got 0"),
    "omega": ("model.activation.omega=0", "omega must be positive", "omega=0"),
    "negative omega": ("model.activation.omega=-3", "omega must be positive", "omega=-3"),
    "layers": ("model.hidden_layers=0", "hidden_layers >= 1", "8, 0"),
    "scale": ("export.scale=0", "export.scale", "above 0 and at most 64", "got 0"),
    "rate": ("optimizer.lr=-1", "torch.optim.Adam must accept", "optimizer.lr=-1", "choose others"),
    "weight": ("supervision.terms.value.weight=-1", "finite and not negative", "weight=-1"),
    "warmup": ("scheduler=cosine scheduler.warmup=2", "more steps than its warmup of 2", "steps=2"),
    "checkpoint interval": ("callbacks.checkpoints.every=0", "must be at least 1", "got 0"),
    "validation interval": ("trainer.val_check_interval=0", "must be positive", "got 0", "leave it out"),
    "clipping": ("trainer.gradient_clip_val=-1", "must be positive", "got -1", "leave it out"),
    "too many gpus": ("trainer=gpu trainer.devices=99", "GPUs", "trainer.devices=99", "use trainer=cpu"),
    "accelerator": ("trainer.accelerator=gpuu", "must fit", "trainer.accelerator=gpuu", "use trainer=cpu"),
    "devices": ("trainer.devices=0", "must fit", "trainer.devices=0", "Ask for what there is"),
    "precision": ("trainer.precision=half", "32-true, bf16-mixed, 16-mixed", "got half"),
    "bf16-true": ("trainer.precision=bf16-true", "32-true, bf16-mixed, 16-mixed", "got bf16-true", "float32"),
    "16-true": ("trainer.precision=16-true", "32-true, bf16-mixed, 16-mixed", "got 16-true", "float32"),
    "64-true": ("trainer.precision=64-true", "32-true, bf16-mixed, 16-mixed", "got 64-true", "float32"),
    "evaluation of nothing": ("train=false", "needs ckpt_path", "got null", "add ckpt_path=RUN"),
    "used folder": ("hydra.run.dir={run}", "must not hold another run", "{run} has metrics.json", "choose another folder"),
}

COLLECTION = "model=nid_moe regime=dictionary data=images data.root={bad}/images "
REGIMES = {  # words of the command without those that make a single network small
    "no folder": ("data=images", "data.root must be an existing folder", "got null"),
    "folder of nothing": ("data=images data.root={bad}/nobody", "data.root must be an existing folder", "nobody"),
    "sizes that differ": (COLLECTION + "data.size=null", "size", "data.size"),
    "everything held out": (COLLECTION + "data.held_out=3", "needs signals to show", "hold out fewer"),
    "too many held out": (COLLECTION + "data.held_out=30", "a count of at most 3", "got 30"),
    "held out by nothing": (COLLECTION + "data.held_out=list.txt", "data.held_out must be an existing file", "list.txt"),
    "patches that do not fit": (COLLECTION + "data.size=12 data.patch_size=5", "does not divide 12", "4 and 6"),
    "unknown corruption": (COLLECTION + "data.corruption=rain", "among occlusion, colour", "got rain"),
    "occluder too large": (COLLECTION + "data.size=12 data.held_out=1 data.corruption=occlusion", "must fit", "got 24"),
    "model without codes": ("regime=dictionary", "need a model with codes, got MLP", "model=nid_moe"),
    "one signal": ("regime=dictionary model=nid_moe", "need a collection of signals", "data=images"),
    "fit without a dictionary": (
        "regime=fit model=nid_moe data=images data.root={bad}/images data.held_out=1",
        "dictionary=RUN",
    ),
    "dictionary without one": ("regime=fit dictionary={run}", "must be a run of regime=dictionary", "MLP"),
    "dictionary missing": ("regime=fit dictionary={bad}/nothing", "a folder with checkpoints/last.ckpt", "nothing"),
    "dictionary for nothing": ("dictionary={run}", "regime=fit", "add regime=fit"),
    "unknown solver": (COLLECTION + "solver=lasso", "solver must be one of adam, l1, ridge, topk; got lasso"),
    "more gates than experts": (COLLECTION + "model.top_k=600", "top_k must be in 1 .. experts = 512", "got top_k=600"),
    "negative ridge": (COLLECTION + "solver.ridge=-1", "finite and not negative", "got -1"),
    "solver of steps": (COLLECTION + "data.size=12 data.held_out=1 solver=adam", "in closed form", "got solver=adam"),
    "unknown coder": (COLLECTION + "model/coder=vit", "codebook, conv, pointnet, resnet", "vit"),
}

CHECKPOINTS = {
    "missing": (RESUME + "nothing.ckpt", "a folder with checkpoints/last.ckpt, or a .ckpt file", "nothing.ckpt"),
    "folder without checkpoint": ("ckpt_path={bad}", "a folder with checkpoints/last.ckpt", "got {bad}"),
    "truncated": (RESUME + "truncated.ckpt", "must be whole", "truncated.ckpt", "use another one"),
    "text": (RESUME + "text.ckpt", "must be whole", "text.ckpt", "use another one"),
    "pickled module": (RESUME + "module.ckpt", "tensors and plain options", "module.ckpt", "use another one"),
    "of another program": (RESUME + "foreign.ckpt", "of this project carries", "foreign.ckpt has no config", "a run wrote"),
    "weights of another shape": (RESUME + "unfit.ckpt", "must fit its model", "unfit.ckpt: size mismatch", "Use another one"),
    "lacking weights": (RESUME + "lacking.ckpt", "must fit its model", "Missing key", "Use another one"),
    "calls of strangers": (RESUME + "hostile.ckpt", "may only call classes of inr", "wants os.system", "If you trust it"),
    "other model": (
        RESUME + "last.ckpt model=relu",
        "the task, model and data of its run",
        "model.activation._target_",
        "ReLU",
    ),
    "other option": (RESUME + "last.ckpt model.activation.omega=31", "omega was 30.0, got 31", "Leave it out"),
    "other task": (RESUME + "last.ckpt task=audio", "task._target_ was tasks.image.ImageTask", "Leave it out"),
    "other data": (RESUME + "last.ckpt data.path={bad}/good.png", "data.path was", "got {bad}/good.png", "start a new run"),
    "other factor": (RESUME + "last.ckpt data.factor=2", "data.factor was null, got 2", "Leave it out"),
    "already over": ("ckpt_path={run}", "beyond the 2 steps that the run has", "got 2", "add train=false"),
}


def write_files(bad: Path) -> None:
    """Good files to break, and broken ones."""
    (bad / "images").mkdir()
    for side in (12, 13, 14):
        Image.fromarray(np.full((side, side, 3), 10 * side, np.uint8)).save(bad / "images" / f"{side}.png")
    tiny_image(bad).rename(bad / "good.png")
    (bad / "empty.png").touch()
    for name in ("text.png", "text.tif", "text.npy", "text.wav", "text.ckpt"):
        (bad / name).write_text("hello")
    random = np.random.default_rng(0)
    frames = [Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)) for _ in range(3)]
    frames[0].save(bad / "frames.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(random.integers(0, 256, (8, 8, 4), np.uint8)).save(bad / "alpha.png")
    Image.fromarray(random.integers(0, 65536, (8, 8), np.uint16)).save(bad / "16.png")
    tifffile.imwrite(bad / "pages.tif", np.stack([np.asarray(frame) for frame in frames]), photometric="rgb")
    numbers = random.random((8, 8, 3), np.float32)
    for name, value in (("nan", np.nan), ("inf", -np.inf)):
        broken = numbers.copy()
        broken[3, 2, 0] = value
        np.save(bad / f"{name}.npy", broken)
    np.save(bad / "huge.npy", np.full((8, 8), 1e300))
    np.save(bad / "strings.npy", np.full((8, 8), "a"))
    np.save(bad / "objects.npy", np.full((8, 8), None), allow_pickle=True)
    np.save(bad / "complex.npy", numbers[..., 0] * 1j)
    np.save(bad / "first.npy", numbers.transpose(2, 0, 1))
    np.save(bad / "line.npy", numbers[0, :, 0])
    np.save(bad / "none.npy", numbers[:0])
    np.savez(bad / "two.npz", one=numbers, other=numbers)
    tone = np.sin(np.arange(400) / 3).astype(np.float32)
    soundfile.write(bad / "good.wav", tone, 8000)
    soundfile.write(bad / "good.flac", tone, 8000)
    soundfile.write(bad / "silent.wav", 0 * tone, 8000)
    soundfile.write(bad / "empty.wav", tone[:0], 8000)
    soundfile.write(bad / "nan.wav", np.where(np.arange(400) == 7, np.nan, tone), 8000, subtype="FLOAT")
    for whole, half in (("good.png", "truncated.png"), ("16.png", "truncated16.png"), ("pages.tif", "truncated.tif")):
        cut(bad / whole, bad / half)
    for whole, half in (("nan.npy", "truncated.npy"), ("two.npz", "truncated.npz"), ("good.flac", "truncated.flac")):
        cut(bad / whole, bad / half)
    cut(bad / "good.wav", bad / "truncated.wav")


def cut(whole: Path, half: Path) -> None:
    """The first half of a file."""
    content = whole.read_bytes()
    half.write_bytes(content[: len(content) // 2])


def write_checkpoints(bad: Path, finished: Path) -> None:
    """The checkpoint of a finished run, whole and broken."""
    last = bad / "last.ckpt"
    shutil.copy(finished / "checkpoints" / "last.ckpt", last)
    cut(last, bad / "truncated.ckpt")
    torch.save({"weights": torch.zeros(3)}, bad / "foreign.ckpt")
    torch.save(torch.nn.Linear(2, 2), bad / "module.ckpt")
    content = checkpoint(finished)
    hostile = content["options"] | {"scheduler": {"_target_": "os.system", "command": "exit"}}
    torch.save(content | {"options": hostile}, bad / "hostile.ckpt")
    weights = content["state_dict"]
    first = next(name for name in weights if name.endswith("weight"))
    torch.save(content | {"state_dict": weights | {first: torch.zeros(5, 5)}}, bad / "unfit.ckpt")
    torch.save(content | {"state_dict": {name: weights[name] for name in weights if name != first}}, bad / "lacking.ckpt")


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, Path]:
    """A folder of bad files, and a finished run."""
    bad, fitted = tmp_path_factory.mktemp("bad"), tmp_path_factory.mktemp("fitted")
    write_files(bad)
    finished = run(fitted / "run", *SMALL, f"data.path={tiny_image(fitted)}")
    write_checkpoints(bad, finished)
    return {"bad": bad, "run": finished}


def check(lines: list[str], *phrases: str) -> None:
    """One line, and it says all that."""
    (line,) = lines
    assert line.startswith("error: ")
    for phrase in phrases:
        assert phrase in line


@pytest.mark.parametrize("case", FILES | OPTIONS)
def test_bad_files_and_options(case, refusal, places):
    words, *phrases = (text.format(**places) for text in (FILES | OPTIONS)[case])
    check(refusal(*SMALL, *words.split()), *phrases)


@pytest.mark.parametrize("case", REGIMES)
def test_bad_dictionaries_and_collections(case, refusal, places):
    words, *phrases = (text.format(**places) for text in REGIMES[case])
    check(refusal(*STEPS, *words.split()), *phrases)


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_bad_checkpoints(case, refusal, places):
    words, *phrases = (text.format(**places) for text in CHECKPOINTS[case])
    check(refusal(*words.split()), *phrases)


def test_data_that_changed_since(refusal, places):
    picture = places["run"].parent / "tiny.png"
    content = picture.read_bytes()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(picture)
    lines = refusal(f"ckpt_path={places['run']}", "trainer.max_steps=4")
    picture.write_bytes(content)
    check(lines, "must not change", "data.shape was [24, 24], now it is [16, 16]", "start a new run")


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


@pytest.mark.parametrize(
    ("logger", "flags"),
    [
        ("wandb", ["lightning.pytorch.loggers.wandb._WANDB_AVAILABLE"]),
        (
            "tensorboard",
            [
                "lightning.fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE",
                "lightning.fabric.loggers.tensorboard._TENSORBOARDX_AVAILABLE",
            ],
        ),
    ],
)
def test_a_logger_whose_package_is_missing(logger, flags, refusal, places, monkeypatch):
    for flag in flags:
        monkeypatch.setattr(flag, RequirementCache(f"{logger}>=9999"))
    lines = refusal(*SMALL, f"data.path={places['bad']}/good.png", f"logger={logger}")
    check(lines, "a package that is not installed", logger, "leave the option out")


def test_compile_without_a_compiler(refusal, places, monkeypatch):
    def fail(*_: object) -> None:  # inductor's own error takes seconds to import
        raise type("InvalidCxxCompiler", (RuntimeError,), {})("No working C++ compiler found in cpp.cxx=(None, 'g++')")

    monkeypatch.setattr(torch, "compile", lambda function: fail)
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
