"""Dictionaries through the command line's own path: what is learned, what is frozen, what is resumed."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from running import STEPS, assert_resumes, checkpoint, collection, command, metrics, run, small, tiny_sound

import inr
from inr.errors import InputError

GATED = ("model.top_k=3", "model.noise=0.1", "regime.callbacks.dictionary.warmup=2")


def learn(folder: Path, *options: str) -> Path:
    """A tiny dictionary of images."""
    return run(folder / "dictionary", *collection("image", folder), *small("nid_moe"), *STEPS, "regime=dictionary", *options)


def fit(folder: Path, dictionary: Path, *options: str, name: str = "fit") -> Path:
    """Codes of the held-out images in it."""
    words = [*collection("image", folder), *STEPS, "regime=fit", f"dictionary={dictionary}", *options]
    return run(folder / name, *words)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Tensors of the dictionary itself."""
    state = checkpoint(folder)["state_dict"]
    return {name: value for name, value in state.items() if name.startswith(("network.trunk.", "network.experts"))}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether all tensors are equal to the bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("coder", ["codebook", "conv", "resnet"])
def test_held_out_signals_do_not_touch_the_dictionary(coder, tmp_path):
    options = [f"model/coder={coder}", *([] if coder == "codebook" else ["model.coder.width=8"])]
    words = [*collection("image", tmp_path), *small("nid_moe"), *STEPS, "regime=dictionary", *options]
    first = run(tmp_path / "first", *words)
    for name in ("4.png", "5.png"):  # the held-out ones
        pixels = np.asarray(Image.open(tmp_path / "images" / name))
        Image.fromarray(255 - pixels).save(tmp_path / "images" / name)
    again = run(tmp_path / "again", *words)
    assert equal(weights(first), weights(again))
    assert metrics(first)["psnr"] != metrics(again)["psnr"]


@pytest.mark.parametrize(
    "options",
    [
        ["solver=ridge"],
        ["solver=topk", "solver.k=3"],
        ["solver=l1", "solver.iterations=2"],
        ["solver=adam"],
        ["solver=ridge", "fit.refine=head"],
        ["solver=ridge", "fit.refine=all"],
        ["solver=ridge", "supervision=der"],
        ["solver=ridge", "data.corruption=missing"],
        ["solver=l1", "data.corruption=[occlusion,gaussian]", "data.corruptions.occlusion.size=5", "data.mask=unknown"],
        ["solver=ridge", "data.corruption=occlusion", "data.corruptions.occlusion.size=5", "data.mask=known"],
    ],
    ids=" ".join,
)
def test_a_fit_leaves_the_dictionary_as_it_is_to_the_bit(options, tmp_path):
    learned = learn(tmp_path)
    fitted = fit(tmp_path, learned, *options, "callbacks.results.pictures=true")
    assert equal(weights(learned), weights(fitted))
    figures = metrics(fitted)
    steps = "solver=adam" in options or any("refine" in option for option in options)
    assert figures["steps"] == (2 if steps else 0)
    assert ("after 1 steps/psnr" in figures) == steps
    assert figures["seen"] == 0
    assert (fitted / "pictures" / "reconstruction.png").is_file()
    assert sorted(path.name for path in (fitted / "export" / "reconstruction").iterdir()) == ["4.png", "5.png"]
    assert (fitted / "export" / "observed").is_dir() == any("corruption=" in option for option in options)


def test_refinement_starts_at_the_solved_codes_and_gets_closer(tmp_path):
    learned = learn(tmp_path, "trainer.max_steps=20")
    options = ["supervision=val", "data.points=null", "trainer.max_steps=40", "optimizer.lr=1e-3"]
    solved = metrics(fit(tmp_path, learned, "supervision=val", name="solved"))["psnr_all"]
    refined = metrics(fit(tmp_path, learned, *options, "fit.refine=all", name="refined"))
    assert refined["after 0 steps/psnr_all"] == pytest.approx(solved, abs=1e-3)
    assert refined["psnr_all"] > solved + 1


def test_signals_that_were_trained_on_are_counted(tmp_path):
    learned = learn(tmp_path)
    assert metrics(fit(tmp_path, learned, "data.held_out=4", "data.tuning=0"))["seen"] == 1  # 0, 1, 2 train and 3 is tuned on


@pytest.mark.parametrize("regime", ["dictionary", "fit"])
def test_a_resumed_run_goes_on_to_the_bit(regime, tmp_path):
    words = [*collection("image", tmp_path), *STEPS, "data.batch_signals=2", f"regime={regime}"]
    words += [*small("nid_moe"), *GATED] if regime == "dictionary" else ["solver=adam", f"dictionary={learn(tmp_path)}"]
    assert_resumes(tmp_path, *words, half=3, whole=6)


def test_a_finished_fit_is_evaluated_without_its_dictionary_and_loads_by_name(tmp_path):
    learned = learn(tmp_path)
    fitted = fit(tmp_path, learned)
    (learned / "checkpoints" / "last.ckpt").unlink()
    again = run(tmp_path / "again", "train=false", f"ckpt_path={fitted}", "trainer=cpu")
    for name in ("psnr", "ssim", "encode_seconds"):
        assert metrics(again)[name] == metrics(fitted)[name]
    exported = np.asarray(Image.open(fitted / "export" / "reconstruction" / "5.png")).astype(float)
    corner = torch.cartesian_prod(torch.arange(12), torch.arange(12)).float()
    for source in (fitted, fitted / "export" / "field.safetensors"):
        field = inr.load(source, "5.png")
        pixels = field.value(corner).reshape(12, 12, 3).round().clamp(0, 255)
        assert np.abs(pixels.numpy() - exported).max() <= 1
    with pytest.raises(InputError, match="One of the 2 signals"):
        inr.load(fitted)


def test_the_gates_of_an_encoder_are_named_with_what_they_saw(tmp_path):
    learned = learn(tmp_path, "model/coder=resnet", "model.coder.width=8")
    assert "encoder alone/psnr" in metrics(learned)
    fitted = fit(tmp_path, learned, "solver=adam")
    text = json.loads((fitted / "metrics.json").read_text())["encode_seconds"]["definition"]
    assert "ResNetCoder" in text
    assert "observed" in text
    before = metrics(learned)["encoder alone/psnr"]
    assert metrics(fitted)["after 0 steps/psnr"] == pytest.approx(before, abs=1e-3)


def test_patches_are_merged_for_figures_and_exports(tmp_path):
    learned = learn(tmp_path, "data.patch_size=4", "data.points=null")
    fitted = fit(tmp_path, learned, "data.patch_size=4")
    assert np.asarray(Image.open(fitted / "export" / "reconstruction" / "4.png")).shape == (12, 12, 3)
    assert len(checkpoint(fitted)["state_dict"]["network.coder.codes"]) == 2 * 9


def test_excerpts_of_one_sound_are_exported_one_by_one(tmp_path):
    words = ["task=audio", "data=sounds", f"data.root={tiny_sound(tmp_path)}", "data.patch_size=50", "data.held_out=3", *STEPS]
    learned = run(tmp_path / "dictionary", *words, *small("nid_moe"), "regime=dictionary")
    files = sorted((learned / "export" / "reconstruction").iterdir())
    assert [file.name for file in files] == ["tiny.wav#5.wav", "tiny.wav#6.wav", "tiny.wav#7.wav"]
    assert all(soundfile.info(file).frames == 50 for file in files)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["data.colour=grey"], "channels"),
        (["model=nid_moe", "model.experts=4"], "model.experts was 8"),
        (["model=nid_moe", "model@model.trunk=sine"], "model.trunk"),
        (["model=sine"], "model=nid_moe"),
        (["regime=dictionary"], "regime=fit"),
    ],
)
def test_a_dictionary_of_another_size_or_model_is_refused(change, message, tmp_path):
    learned = learn(tmp_path)
    with pytest.raises(InputError, match=message):
        fit(tmp_path, learned, *change)


def test_a_run_without_a_dictionary_is_no_dictionary(tmp_path):
    single = run(tmp_path / "single", *collection("image", tmp_path), *small("sine"), *STEPS)
    with pytest.raises(InputError, match="nid_moe"):
        fit(tmp_path, single)
    with pytest.raises(InputError, match="dictionary=RUN"):
        run(tmp_path / "none", *collection("image", tmp_path), *small("nid_moe"), *STEPS, "regime=fit")


def test_two_processes_learn_and_fit_what_one_does(tmp_path):
    sharp = "model.trunk.activation.omega=30"  # codes of smooth bases are hardly determined, so rounding would show
    learned = learn(tmp_path, "data.points=33", *GATED, sharp, "trainer.max_steps=4")
    fitted = fit(tmp_path, learned, "data.corruption=missing", "data.points=33")
    shared = [*collection("image", tmp_path), *(word for word in STEPS if word != "trainer=cpu")]
    shared += ["data.points=33", "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]
    constant = fit(tmp_path, learned, "supervision=der", "data.points=33", name="constant")
    again = [f"regime=fit dictionary={learned} data.corruption=missing", "regime=dictionary trainer.max_steps=4"]
    again += [f"regime=fit dictionary={learned} supervision=der"]
    for place, words in enumerate(again):
        own = [*small("nid_moe"), *GATED, sharp] if "regime=dictionary" in words else []
        every = [*shared, *own, *words.split(), f"hydra.run.dir={tmp_path / str(place)}"]
        subprocess.run(command(*every), check=True, cwd=tmp_path, capture_output=True, timeout=300)
    for one, two in ((fitted, tmp_path / "0"), (learned, tmp_path / "1"), (constant, tmp_path / "2")):
        first, second = checkpoint(one)["state_dict"], checkpoint(two)["state_dict"]
        for name in first:
            torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-5, msg=name)
        assert metrics(one)["psnr"] == pytest.approx(metrics(two)["psnr"], abs=1e-3)
