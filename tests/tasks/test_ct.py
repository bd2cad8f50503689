import json

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from running import STEPS, checkpoint, collection, curve, metrics, run, small
from tiny.slices import write_dicom

import inr
from inr.errors import InputError

TINY = ("task=ct", "data.size=16", "data.points=64", "model=sine", "model.hidden_features=32", "optimizer.lr=1e-3", *STEPS)
PICTURES = ("callbacks.results.pictures=true",)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return run(tmp_path_factory.mktemp("ct") / "run", *TINY, *PICTURES, "trainer.max_steps=60", "supervision=val")


def test_a_slice_is_reconstructed_and_compared(fitted):
    found = metrics(fitted)
    assert found["psnr"] > 14
    assert found["psnr_views"] > 25
    assert found["fbp/psnr"] > 14
    assert {"psnr_disc", "ssim", "rmse", "psnr_window", "psnr_between"} <= set(found)
    assert {row.split("/")[0] for row in found if "/" in row} == {"fbp", "fbp hann", "sart"}
    definitions = json.loads((fitted / "metrics.json").read_text())
    assert "not measured" in definitions["psnr_between"]["definition"]


def test_pictures_and_exports_are_written(fitted):
    for name in ("slice", "sinogram"):
        assert np.asarray(Image.open(fitted / "pictures" / f"{name}.png")).std() > 10
    picture = np.load(fitted / "export" / "reconstruction.npy")
    assert picture.shape == (16, 16)
    with tifffile.TiffFile(fitted / "export" / "reconstruction.tiff") as file:
        assert np.array_equal(file.asarray(), picture)
        assert json.loads(file.pages[0].description)["unit"] == "density (0..1)"
    with Image.open(fitted / "export" / "reconstruction.png") as grey:
        assert json.loads(grey.text["window"]) == [0.0, 1.0]
        assert abs(np.asarray(grey) / 255 - picture.clip(0, 1)).max() < 0.01


def test_the_loaded_field_is_the_slice(fitted):
    field, picture = inr.load(fitted), np.load(fitted / "export" / "reconstruction.npy")
    places = torch.cartesian_prod(torch.arange(16.0), torch.arange(16.0))
    assert np.allclose(field.value(places).reshape(16, 16), picture, atol=1e-5)
    step = 1e-2
    slope = (field.value([[8.0, 5.0 + step]]) - field.value([[8.0, 5.0 - step]])) / (2 * step)
    assert torch.allclose(field.jacobian([[8.0, 5.0]])[0, :, 1], slope[0], rtol=0.02, atol=2e-3)


def test_what_was_measured_can_be_reconstructed_without_the_slice(fitted, tmp_path):
    sinogram = fitted / "export" / "sinogram.npz"
    options = ["data=sinogram", f"data.path={sinogram}", "data.largest=1", "data.every=2", "supervision=val"]
    again = run(tmp_path / "again", *(word for word in TINY if "data.size" not in word), *options, "trainer.max_steps=60")
    found = metrics(again)
    assert "psnr" not in found
    assert found["psnr_between"] > 20
    first, second = (np.load(folder / "export" / "reconstruction.npy") for folder in (fitted, again))
    differences = {name: abs(first - other).mean() for name, other in views(second).items()}
    assert min(differences, key=differences.__getitem__) == "same"


def views(picture):
    """A picture as it is, mirrored and turned."""
    return {"same": picture, "rows": picture[::-1], "columns": picture[:, ::-1], "turned": picture.T}


def test_hounsfield_units_come_back(tmp_path):
    rows, columns = np.mgrid[:16, :16] - 7.5
    stored = np.where(np.hypot(rows, columns - 1) < 5, 40, -1000) + 1024
    write_dicom(tmp_path / "slice.dcm", stored.astype(np.int16), intercept=-1024, spacing=0.5, window=(40, 400))
    options = [f"data.path={tmp_path / 'slice.dcm'}", "supervision=val", "trainer.max_steps=200", "data.beam=fan"]
    folder = run(tmp_path / "run", *(word for word in TINY if "data.size" not in word), *options, "data.photons=1e6")
    picture = np.load(folder / "export" / "reconstruction.npy")
    assert abs(picture[6:10, 7:11].mean() - 40) < 150
    assert json.loads((folder / "metrics.json").read_text())["rmse"]["unit"] == "HU"


def test_a_resumed_run_is_the_same_to_the_bit(tmp_path):
    options = (*TINY, "data.jitter=true", "penalty=tv", "scheduler=constant")
    whole = run(tmp_path / "whole", *options, "trainer.max_steps=4")
    half = run(tmp_path / "half", *options, "trainer.max_steps=2")
    resumed = run(tmp_path / "resumed", f"ckpt_path={half}", "trainer.max_steps=4")
    one, other = (checkpoint(folder)["state_dict"] for folder in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert [row["train/loss"] for row in curve(whole)] == [row["train/loss"] for row in curve(resumed)]


def test_the_constant_that_derivatives_leave_open_comes_from_the_mean_of_the_sinogram(tmp_path):
    folder = run(tmp_path / "run", *TINY, "supervision=der", "trainer.max_steps=20")
    constant = checkpoint(folder)["state_dict"]["constant"]
    assert constant.abs().item() > 1e-4
    found = metrics(folder)
    assert found["psnr_views"] > 10
    assert found["psnr_uncorrected"] != found["psnr"]
    own = [f"data.path={folder / 'export' / 'sinogram.npz'}", "supervision=der", "trainer.max_steps=20"]
    again = run(tmp_path / "own", *(word for word in TINY if "data.size" not in word), "data=sinogram", *own)
    assert "psnr_uncorrected" not in metrics(again)  # of a slice that nobody knows
    assert metrics(again)["psnr_views"] > 0


def test_wide_steps_from_view_to_view_leave_their_derivative_out(tmp_path):
    few = (*TINY, "data.views=8", "supervision=val_der")
    with pytest.warns(UserWarning, match="derivative by the view is left out"):
        one = run(tmp_path / "one", *few)
    named = run(tmp_path / "named", *few, "supervision.terms.jacobian.axes=[0]")
    weights = [checkpoint(folder)["state_dict"] for folder in (one, named)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    with pytest.warns(UserWarning, match="no derivative there"):
        run(tmp_path / "both", *few, "supervision.terms.jacobian.axes=[0,1]")


def test_penalties_act_on_the_slice(tmp_path):
    plain = run(tmp_path / "plain", *TINY, "supervision=val", "trainer.max_steps=20")
    smooth = run(tmp_path / "smooth", *TINY, "supervision=val", "trainer.max_steps=20", "penalty=tv")
    terms = curve(smooth)[0]
    assert {"train/tv", "train/value"} <= set(terms)
    rough, flat = (abs(np.diff(np.load(folder / "export" / "reconstruction.npy"))).mean() for folder in (plain, smooth))
    both = ("penalty=[tv,nonnegative]", "supervision.terms.tv.weight=1")
    strong = run(tmp_path / "strong", *TINY, "supervision=val", "trainer.max_steps=20", *both)
    assert abs(np.diff(np.load(strong / "export" / "reconstruction.npy"))).mean() < min(rough, flat)


def test_a_dictionary_learned_from_slices_never_sees_those_that_are_held_out(tmp_path):
    options = [*collection("ct", tmp_path), *STEPS, *small("nid_moe"), "supervision=val", "data.views=4"]
    learned = run(tmp_path / "learned", *options, "regime=dictionary", "supervision.terms.value.part=result")
    assert [row["train/value"] for row in curve(learned)]
    assert {"psnr_train", "encode_seconds", "mean/psnr", "fbp/psnr"} <= set(metrics(learned))
    fitted = run(tmp_path / "fitted", *options, "regime=fit", f"dictionary={learned}")
    assert metrics(fitted)["seen"] == 0
    assert metrics(fitted)["psnr"] == pytest.approx(metrics(learned)["psnr"], abs=0.05)
    own = [f"data.path={fitted / 'export' / 'sinogram' / 'phantom_0004.npz'}", "data.largest=1", "supervision=val"]
    alone = run(tmp_path / "alone", "task=ct", "data=sinogram", *own, *STEPS, "regime=fit", f"dictionary={learned}")
    assert metrics(alone)["steps"] == 0
    assert metrics(alone)["psnr_views"] > 10
    again = ["fit.refine=head", "supervision.terms.value.part=result"]
    with pytest.raises(InputError, match="needs a target value; part result has none"):
        run(tmp_path / "leak", *options, "regime=fit", f"dictionary={learned}", *again)


def test_an_encoder_sees_back_projections_and_the_table_says_so(tmp_path):
    options = [*collection("ct", tmp_path), *STEPS, *small("nid_moe"), "supervision=val", "model/coder=conv"]
    learned = run(tmp_path / "learned", *options, "regime=dictionary")
    text = json.loads((learned / "metrics.json").read_text())["encode_seconds"]["definition"]
    assert "back-projection" in text
