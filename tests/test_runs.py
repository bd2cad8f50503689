"""A run from start to end: resume, evaluate, load, export, several processes, loggers, sweeps."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from running import (
    QUICK,
    ROOT,
    STEPS,
    TINY,
    assert_resumes,
    assert_same_run,
    checkpoint,
    command,
    composed,
    curve,
    metrics,
    run,
    small,
    tiny,
    tiny_image,
    tiny_sound,
)
from torch.testing import assert_close

import inr
from datamodules.common.pictures import read_image
from inr.saved.runs import build

LOGGED = (*QUICK, "callbacks.checkpoints.every=4", "trainer.val_check_interval=3", "data.points=50")


SCHEDULERS = [(1, "constant"), (2, "constant"), (3, "cosine scheduler.steps=12"), (4, "exponential"), (5, "constant")]


@pytest.mark.parametrize(("interval", "scheduler"), SCHEDULERS)
def test_half_a_run_and_its_resume_equal_the_whole_wherever_validations_and_checkpoints_fall(interval, scheduler, tmp_path):
    choices = [f"trainer.val_check_interval={interval}", *f"scheduler={scheduler}".split()]
    options = [f"data.path={tiny_image(tmp_path)}", *LOGGED, *choices]
    resumed = assert_resumes(tmp_path, *options, half=8, whole=12)
    assert sum(bool(row["val/psnr"]) for row in curve(resumed)) == 12 // interval


@pytest.mark.parametrize("interval", [3, 4])
def test_a_killed_run_resumes_as_if_it_had_not_been(interval, tmp_path):
    options = [f"data.path={tiny_image(tmp_path)}", *LOGGED, f"trainer.val_check_interval={interval}", "scheduler=constant"]
    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    words = command(*options, "trainer.max_steps=1000000", f"hydra.run.dir={tmp_path / 'killed'}")
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while not last.is_file() and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    target = max(12, checkpoint(tmp_path / "killed")["global_step"] + 4)
    whole = run(tmp_path / "whole", *options, f"trainer.max_steps={target}")
    resumed = run(tmp_path / "resumed", f"ckpt_path={tmp_path / 'killed'}", f"trainer.max_steps={target}")
    assert_same_run(whole, resumed)


def test_a_resumed_run_takes_the_new_learning_rate(tmp_path):
    first = run(tmp_path / "first", f"data.path={tiny_image(tmp_path)}", *QUICK)
    second = run(tmp_path / "second", f"ckpt_path={first}", "trainer.max_steps=3", "optimizer.lr=0.0")
    for name, weights in checkpoint(first)["state_dict"].items():
        assert torch.equal(weights, checkpoint(second)["state_dict"][name])


def test_evaluation_reproduces_the_figures_of_the_run(tmp_path):
    first = run(tmp_path / "first", f"data.path={tiny_image(tmp_path)}", "data.factor=2", *QUICK)
    second = run(tmp_path / "second", f"ckpt_path={first / 'checkpoints' / 'last.ckpt'}", "train=false", "export.scale=3")
    before, after = metrics(first), metrics(second)
    assert before | {"seconds": 0} == after | {"seconds": 0}
    with Image.open(second / "export" / "reconstruction.png") as picture:
        assert picture.size == (72, 72)


def test_load_gives_the_field_in_the_units_of_the_file(tmp_path):
    folder = run(tmp_path / "run", f"data.path={tiny_image(tmp_path)}", *QUICK, "data.aspect=keep")
    pixels = torch.from_numpy(np.array(Image.open(folder / "export" / "reconstruction.png"))).float()
    grid = torch.cartesian_prod(torch.arange(24), torch.arange(24)).reshape(24, 24, 2)
    for source in (folder, folder / "checkpoints" / "last.ckpt", folder / "export" / "field.safetensors"):
        field = inr.load(source)
        assert field.unit == "8-bit value (0..255)"
        assert_close(field(grid).round().clamp(0, 255), pixels)
        step = torch.tensor([0.0, 1e-2])
        slope = (field.value(grid + step) - field.value(grid - step)) / 2e-2
        assert_close(field.jacobian(grid)[..., 1], slope, rtol=0, atol=0.05 * float(slope.abs().max()))


def test_loading_needs_neither_hydra_nor_lightning(tmp_path):
    folder = run(tmp_path / "run", f"data.path={tiny_image(tmp_path)}", *QUICK)
    code = (
        "import sys, inr; field = inr.load(sys.argv[1]); assert field([[3.0, 4.5]]).shape == (1, 3);"
        "assert not {'hydra', 'omegaconf', 'lightning', 'tasks', 'datamodules'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, cwd=ROOT)


def test_loading_builds_nothing_but_fields():
    with pytest.raises(inr.InputError, match=r"classes of inr alone, got os\.system"):
        build({"_target_": "inr.networks.linear.Chain", "module": {"_target_": "os.system", "command": "exit"}})


def test_a_field_evaluates_in_chunks_as_at_once(tmp_path):
    field = inr.load(run(tmp_path / "run", f"data.path={tiny_image(tmp_path)}", *QUICK))
    coordinates = 23 * torch.rand(100, 2, generator=torch.Generator().manual_seed(0))
    whole = field(coordinates), field.jacobian(coordinates)
    field.chunk = 7
    assert_close((field(coordinates), field.jacobian(coordinates)), whole)


def test_derivatives_alone_take_their_constant_from_training_values(tmp_path):
    folder = run(tmp_path / "run", f"data.path={tiny_image(tmp_path)}", "data.factor=2", "supervision=der", *QUICK)
    image = np.array(Image.open(tmp_path / "tiny.png")).astype(np.float32)
    field = inr.load(folder)
    seen = np.stack(np.meshgrid(np.arange(0, 24, 2), np.arange(0, 24, 2), indexing="ij"), -1)
    assert_close(field(seen).mean((0, 1)), torch.from_numpy(image[::2, ::2].mean((0, 1))), rtol=0, atol=1e-2)
    assert metrics(folder)["psnr_uncorrected"] < metrics(folder)["psnr"]


@pytest.mark.parametrize(("number", "channels"), [("uint8", 1), ("uint8", 3), ("uint16", 1), ("uint16", 3), ("float32", 3)])
def test_pictures_are_exported_in_their_own_numbers(number, channels, tmp_path):
    with Image.open(tiny_image(tmp_path)) as image:
        array = (np.asarray(image)[..., :channels].astype(number) * (257 if number == "uint16" else 1)).astype(number)
    np.save(tmp_path / "array.npy", array)
    folder = run(tmp_path / "run", f"data.path={tmp_path / 'array.npy'}", *QUICK)
    result = read_image(folder / "export" / ("reconstruction.npy" if number == "float32" else "reconstruction.png"))
    assert (result.dtype, result.shape) == (array.dtype, array.shape)
    expected = inr.load(folder)(np.stack(np.indices((24, 24)), -1))
    limit = 65535 if number == "uint16" else 255
    assert_close(torch.from_numpy(result.astype(np.float32)), expected.clamp(0, limit), rtol=0, atol=0.51)


@pytest.mark.parametrize("channels", [1, 2])
def test_sound_is_exported_at_its_own_amplitude(channels, tmp_path):
    path = tiny_sound(tmp_path, channels=channels)
    folder = run(tmp_path / "run", "task=audio", "model=sine", f"data.path={path}", *QUICK, "export.scale=2")
    sound, rate = soundfile.read(folder / "export" / "reconstruction.wav", always_2d=True)
    assert (sound.shape, rate) == ((800, channels), 16000)
    assert_close(torch.from_numpy(sound[::799]).float(), inr.load(folder)([[0.0], [399.0]]))


@pytest.mark.parametrize("task", ["image", "audio"])
def test_pictures_show_what_they_promise(task, tmp_path):
    path = tiny_image(tmp_path) if task == "image" else tiny_sound(tmp_path)
    folder = run(tmp_path / "run", f"task={task}", f"data.path={path}", *STEPS, "callbacks.results.pictures=true")
    pictures = {file.stem: np.array(Image.open(file)) for file in (folder / "pictures").iterdir()}
    expected = {"image": {"reconstruction", "derivatives"}, "audio": {"waveform", "spectrogram", "derivatives"}}
    assert set(pictures) == expected[task]
    assert all(min(picture.shape[:2]) > 200 for picture in pictures.values())


PROCESSES = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]


def in_two_processes(folder, *options: str):
    """Run with two processes on the CPU; the folder."""
    words = [option for option in options if option != "trainer=cpu"]
    words = command(*words, *PROCESSES, f"hydra.run.dir={folder}")
    subprocess.run(words, check=True, cwd=folder.parent, capture_output=True, timeout=300)
    return folder


@pytest.mark.parametrize(("task", "optimizer"), [*((task, "adam") for task in TINY), ("image", "muon")])
def test_two_processes_follow_the_curve_of_one(task, optimizer, tmp_path):
    options = [
        *tiny(task, tmp_path),
        *small("sine"),
        *STEPS,
        f"optimizer={optimizer}",
        "trainer.max_steps=4",
        "trainer.val_check_interval=2",
        "data.points=51",
    ]
    one, two = run(tmp_path / "one", *options), in_two_processes(tmp_path / "two", *options)
    rows = list(zip(curve(one), curve(two), strict=True))
    assert len(rows) == 4
    for alone, together in rows:
        assert alone.keys() == together.keys()
        for name in alone:
            if alone[name]:
                assert float(alone[name]) == pytest.approx(float(together[name]), rel=1e-4), name


def test_checkpoints_hold_plain_containers_only(tmp_path):
    folder = run(tmp_path / "run", f"data.path={tiny_image(tmp_path)}", *QUICK)
    saved = checkpoint(folder)
    assert saved["config"]["data"]["shape"] == [24, 24]
    assert json.loads(json.dumps(saved["options"])) == saved["options"]


def test_bf16_and_float32_reach_the_same_figures(tmp_path):
    options = [f"data.path={tiny_image(tmp_path)}", "data.factor=2", *QUICK, "trainer.max_steps=100", "data.points=null"]
    options += ["model.hidden_features=64", "model.activation.omega=10"]
    exact = run(tmp_path / "exact", *options)
    rough = run(tmp_path / "rough", *options, "trainer.precision=bf16-mixed")
    assert metrics(exact)["psnr"] != metrics(rough)["psnr"]
    assert metrics(exact)["psnr"] == pytest.approx(metrics(rough)["psnr"], abs=0.5)


@pytest.mark.parametrize("choice", ["overfit", "limit", "profiler"])
def test_debug_choices_do_what_they_say(choice, tmp_path):
    options = [option for option in QUICK if not option.startswith(("trainer.max_steps", "trainer.log"))]
    folder = run(tmp_path / "run", f"data.path={tiny_image(tmp_path)}", *options, f"debug={choice}", "model.hidden_features=64")
    losses = [float(row["train/loss"]) for row in curve(folder) if row.get("train/loss")]
    steps = metrics(folder)["steps"]
    if choice == "overfit":
        assert (steps, losses[-1] < 0.01 * losses[0]) == (200, True)
    if choice == "limit":
        assert steps == len(losses) == 4
    if choice == "profiler":
        (table,) = folder.glob("fit-profile*.txt")
        assert "run_training_batch" in table.read_text()
    assert composed(tmp_path / "again", f"debug={choice}").trainer.max_steps == steps


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_in_compiled_bf16_reaches_the_figures_of_the_cpu(tmp_path):
    options = [f"data.path={tiny_image(tmp_path)}", "data.factor=2", *QUICK, "trainer.max_steps=100"]
    options += ["model.hidden_features=64", "model.activation.omega=10"]
    exact = run(tmp_path / "exact", *options)
    words = ["trainer=gpu", "trainer.precision=bf16-mixed", "compile=true", f"hydra.run.dir={tmp_path / 'gpu'}"]
    subprocess.run(command(*(option for option in options if option != "trainer=cpu"), *words), check=True, timeout=600)
    assert metrics(exact)["psnr"] == pytest.approx(metrics(tmp_path / "gpu")["psnr"], abs=0.5)
