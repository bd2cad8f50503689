"""No option is accepted and ignored: every one changes what a run learns, or what it leaves."""

import shutil
import subprocess

import pytest
import torch
from PIL import Image
from running import QUICK, STEPS, checkpoint, collection, command, metrics, run, small, tiny, tiny_image

BASE = (*QUICK, "supervision=val_der", "data.points=64", "trainer.max_steps=3")
CHANGES = """
seed=1; model.hidden_layers=3; model.hidden_features=24; model.input_scale=2.0; model.activation.omega=20
model=relu model.activation.normal=false; model=gauss model.activation.sigma=0.2
model=wire model.activation.omega=5; model=wire model.activation.sigma=5
model=finer model.activation.first_bias=5; model=finer model.activation.first_bias=null
model=relu model.encoding.bands=4; model=relu model.encoding.lowest=1; model=relu model.encoding=null
model=grid model.encoding.kernel=cubic; model=grid model.encoding.features=3; model=grid model.encoding.rows=50
model=grid model.encoding.fineness=0.5; model=grid model.encoding.growth=1.2; model=grid model.encoding.coarsest=4
model=fourier model.encoding.frequencies=8; model=fourier model.encoding.scale=3
supervision.terms.jacobian.weight=0.5; supervision.terms.jacobian.reduction=mean; supervision.terms.jacobian.axes=[0]
supervision.directions=random; supervision.terms.value._target_=inr.supervision.losses.AbsoluteError
optimizer=adamw; optimizer=sgd; optimizer.lr=1e-3; optimizer=sgd trainer.gradient_clip_val=1e-3; trainer.precision=bf16-mixed
optimizer=muon; optimizer=muon optimizer.lr=1e-2; optimizer=muon optimizer.rest_lr=1e-2; optimizer=muon optimizer.momentum=0.5
optimizer=muon optimizer.iterations=3; model=grid optimizer.tables_lr=3e-3; model=grid optimizer=muon optimizer.tables_lr=3e-3
scheduler=constant; scheduler=cosine scheduler.warmup=1; scheduler=exponential scheduler.decay_steps=1
data.points=32; data.points=null; data.limit=40; data.filter=sobel; data.aspect=keep
data.border=replicate; data.border=periodic; data.factor=2; data.factor=2 data.offset=1
data.factor=2 data.train_pixels=stencil; data.factor=2 data.train_pixels=random; data.factor=2 data.train_pixels=all
"""


def weights(folder) -> list[torch.Tensor]:
    return [tensor for name, tensor in checkpoint(folder)["state_dict"].items() if name.startswith("network.")]


def learned(folder, *options: str) -> list[torch.Tensor]:
    return weights(run(folder, *options))


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("picture")
    path = tiny_image(folder)
    with Image.open(path) as image:
        image.crop((0, 0, 18, 24)).save(path)
    return path


@pytest.mark.parametrize("change", [words.strip() for line in CHANGES.splitlines() for words in line.split(";") if words])
def test_the_last_option_changes_what_is_learned(change, picture, tmp_path):
    options, words = [f"data.path={picture}", *BASE], change.split()
    without = learned(tmp_path / "without", *options, *words[:-1])
    changed = learned(tmp_path / "changed", *options, *words)
    assert len(without) != len(changed) or not all(map(torch.equal, without, changed))


COMPILED = {
    "sine": lambda folder: [f"data.path={tiny_image(folder)}", *BASE],
    "dictionary": lambda folder: [*collection("image", folder), *small("nid_moe"), *STEPS, "regime=dictionary"],
    "radiance": lambda folder: [*tiny("nerf", folder), *small("radiance"), *STEPS, "data.points=16"],
    "ct": lambda folder: [*tiny("ct", folder), "model=sine", *QUICK, "data.points=64"],
}


@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="compiling needs a C++ compiler")
@pytest.mark.parametrize("kind", COMPILED)
def test_compiled_functions_learn_what_eager_ones_do(kind, tmp_path):
    options = COMPILED[kind](tmp_path)
    eager = learned(tmp_path / "eager", *options)
    words = command(*options, "compile=true", f"hydra.run.dir={tmp_path / 'compiled'}")
    subprocess.run(words, check=True, capture_output=True, timeout=600)
    compiled = weights(tmp_path / "compiled")
    assert any(not torch.equal(one, other) for one, other in zip(eager, compiled, strict=True))
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(eager, compiled, strict=True))


def test_chunks_change_nothing_but_memory(picture, tmp_path):
    options = [f"data.path={picture}", "data.factor=2", *BASE]
    whole, parts = (metrics(run(tmp_path / str(chunk), *options, f"data.chunk={chunk}")) for chunk in (100000, 7))
    for name in ("psnr", "ssim", "psnr_train"):
        assert whole[name] == pytest.approx(parts[name], rel=1e-5)


def test_a_seed_repeats_a_run_to_the_bit(picture, tmp_path):
    one, other = (learned(tmp_path / name, f"data.path={picture}", *BASE, "seed=3") for name in ("one", "other"))
    assert all(map(torch.equal, one, other))
