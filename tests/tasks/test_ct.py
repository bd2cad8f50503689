import json

import numpy as np
import pytest
import tifffile
import torch
from hydra.errors import InstantiationException
from PIL import Image
from running import QUICK, STEPS, assert_resumes, checkpoint, collection, curve, metrics, run, small
from tiny.slices import write_dicom

import inr
import tasks.ct
from datamodules.scans.phantoms import rasterise, shepp_logan
from inr.errors import InputError

BRIEF = ("task=ct", "data.points=64", "model=sine", "model.hidden_features=32", "optimizer.lr=1e-3", *STEPS)
TINY = (*BRIEF, "data.size=16")
SLICE = rasterise(shepp_logan(), 16, 16)  # four times as fine, and that four times
DISC = np.hypot(*np.mgrid[-1:1:16j, -1:1:16j]) < 1


def exported(folder):
    return np.load(folder / "export" / "reconstruction.npy")


def psnr(error):
    return -10 * np.log10(np.square(error, dtype=float).mean())


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A run, and the panels of its pictures by title, the first of each."""
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        panels = tasks.ct.panels
        patch.setattr(tasks.ct, "panels", lambda rows: drawn.extend(rows) or panels(rows))
        options = ("callbacks.results.pictures=true", "trainer.max_steps=60", "supervision=val")
        folder = run(tmp_path_factory.mktemp("ct") / "run", *TINY, *options)
    return folder, {title: panel for row in reversed(drawn) for title, panel in row}


def test_figures_are_those_of_the_exported_slice(fitted):
    found, error = metrics(fitted[0]), exported(fitted[0]) - SLICE
    assert found["psnr"] == pytest.approx(psnr(error), abs=1e-4)
    assert found["psnr_disc"] == pytest.approx(psnr(error[DISC]), abs=1e-4)
    assert found["rmse"] == pytest.approx(np.sqrt(np.square(error[DISC]).mean()), rel=1e-4)
    assert found["psnr"] > psnr(SLICE - SLICE.mean())
    assert found["psnr_views"] > 25
    assert {row.split("/")[0] for row in found if "/" in row} == {"fbp", "fbp hann", "sart", "tv"}
    definitions = json.loads((fitted[0] / "metrics.json").read_text())
    assert "not measured" in definitions["psnr_between"]["definition"]


def test_all_files_of_a_slice_say_the_same(fitted):
    picture = exported(fitted[0])
    with tifffile.TiffFile(fitted[0] / "export" / "reconstruction.tiff") as file:
        assert np.array_equal(file.asarray(), picture)
        assert json.loads(file.pages[0].description)["unit"] == "density (0..1)"
    with Image.open(fitted[0] / "export" / "reconstruction.png") as grey:
        assert json.loads(grey.text["window"]) == [0.0, 1.0]
        assert abs(np.asarray(grey) / 255 - picture.clip(0, 1)).max() < 0.01


def test_pictures_show_the_slice_and_its_sinogram(fitted):
    folder, panels = fitted
    picture, sinogram = exported(folder), np.load(folder / "export" / "sinogram.npz")["sinogram"]
    known = {
        "slice": SLICE.clip(0, 1)[..., None],
        "reconstruction": picture.clip(0, 1)[..., None],
        "|error| [density (0..1)]": abs(picture - SLICE),
        "measured sinogram": (np.subtract(sinogram, sinogram.min()) / np.ptp(sinogram))[..., None],
    }
    for title, expected in known.items():
        assert np.allclose(panels[title], expected, atol=1e-5), title
    difference = abs(panels["measured sinogram"] - panels["predicted sinogram"])[..., 0] * np.ptp(sinogram) / sinogram.max()
    assert (panels["|residual|, of the largest"] >= difference - 1e-5).all()  # of which grey cuts off what is out of range
    for name in ("slice", "sinogram"):
        assert np.asarray(Image.open(folder / "pictures" / f"{name}.png")).ndim == 3


def test_the_loaded_field_is_the_slice(fitted):
    field = inr.load(fitted[0])
    places = torch.cartesian_prod(torch.arange(16.0), torch.arange(16.0))
    assert np.allclose(field.value(places).reshape(16, 16), exported(fitted[0]), atol=1e-5)
    step = 1e-2
    slope = (field.value([[8.0, 5.0 + step]]) - field.value([[8.0, 5.0 - step]])) / (2 * step)
    assert torch.allclose(field.jacobian([[8.0, 5.0]])[0, :, 1], slope[0], rtol=0.02, atol=2e-3)


def test_what_was_measured_can_be_reconstructed_without_the_slice(fitted, tmp_path):
    options = [f"data.path={fitted[0] / 'export' / 'sinogram.npz'}", "data.largest=1", "data.every=2", "supervision=val"]
    again = run(tmp_path / "again", *BRIEF, "data=sinogram", *options, "trainer.max_steps=60")
    found, first, second = metrics(again), exported(fitted[0]), exported(again)
    assert "psnr" not in found
    assert found["psnr_between"] > 20
    moved = {"rows": second[::-1], "columns": second[:, ::-1], "turned": second.T}
    assert all(abs(first - second).mean() < abs(first - other).mean() for other in moved.values())


def test_hounsfield_units_come_back(tmp_path):
    rows, columns = np.mgrid[:16, :16] - 7.5
    stored = np.where(np.hypot(rows, columns - 1) < 5, 40, -1000) + 1024
    write_dicom(tmp_path / "slice.dcm", stored.astype(np.int16), intercept=-1024, spacing=0.5, window=(40, 400))
    options = [f"data.path={tmp_path / 'slice.dcm'}", "supervision=val", "data.beam=fan", "data.photons=1e6"]
    folder = run(tmp_path / "run", *BRIEF, *options, "trainer.max_steps=200")
    assert abs(exported(folder)[6:10, 7:11].mean() - 40) < 150
    assert json.loads((folder / "metrics.json").read_text())["rmse"]["unit"] == "HU"


def test_a_resumed_run_is_the_same_to_the_bit(tmp_path):
    assert_resumes(tmp_path, *TINY, "data.jitter=true", "penalty=tv", "scheduler=constant")


def test_the_constant_that_derivatives_leave_open_comes_from_the_mean_of_the_sinogram(tmp_path):
    der = ("supervision=der", "trainer.max_steps=20")
    folder = run(tmp_path / "run", *TINY, *der)
    found = metrics(folder)
    assert found["psnr"] > found["psnr_uncorrected"]
    assert not exported(folder)[~DISC].any()  # no ray comes there, and no constant
    np.testing.assert_allclose(torch.cat(list(inr.load(folder).rows((16, 16))))[..., 0], exported(folder), atol=1e-6)
    sinogram = f"data.path={folder / 'export' / 'sinogram.npz'}"
    again = metrics(run(tmp_path / "again", *BRIEF, *der, "data=sinogram", sinogram, "data.largest=1"))
    assert not {"psnr", "psnr_uncorrected"} & set(again)  # of a slice that nobody knows
    assert again["psnr_views"] == pytest.approx(found["psnr_views"], abs=3)


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
    options = (*TINY, "supervision=val", "trainer.max_steps=20")
    both = ("penalty=[tv,nonnegative]", "supervision.terms.tv.weight=1")
    plain, smooth, strong = (
        run(tmp_path / name, *options, *penalty) for name, penalty in (("plain", ()), ("tv", ("penalty=tv",)), ("both", both))
    )
    assert {"train/tv", "train/value"} <= set(curve(smooth)[0])
    rough, flat, flatter = (abs(np.diff(exported(folder))).mean() for folder in (plain, smooth, strong))
    assert flatter < min(rough, flat)


def test_a_dictionary_learned_from_slices_never_sees_those_that_are_held_out(tmp_path):
    options = [*collection("ct", tmp_path), *STEPS, *small("nid_moe"), "supervision=val", "data.views=4"]
    learned = run(tmp_path / "learned", *options, "regime=dictionary", "supervision.terms.value.part=result")
    assert {"psnr_train", "encode_seconds", "mean/psnr", "fbp/psnr"} <= set(metrics(learned))
    encoded = run(tmp_path / "encoded", *options, "regime=fit", f"dictionary={learned}")
    assert metrics(encoded)["seen"] == 0
    assert metrics(encoded)["psnr"] == pytest.approx(metrics(learned)["psnr"], abs=0.05)
    sinogram = encoded / "export" / "sinogram" / "phantom_0004.npz"
    alone = [f"data.path={sinogram}", "data.largest=1", "supervision=val", *STEPS, "regime=fit", f"dictionary={learned}"]
    found = metrics(run(tmp_path / "alone", "task=ct", "data=sinogram", *alone))
    assert found["steps"] == 0
    assert found["psnr_views"] > 10
    leak = ["fit.refine=head", "supervision.terms.value.part=result"]
    with pytest.raises(InputError, match="needs a target value; part result has none"):
        run(tmp_path / "leak", *options, "regime=fit", f"dictionary={learned}", *leak)


def test_an_encoder_sees_back_projections_and_the_table_says_so(tmp_path):
    options = [*collection("ct", tmp_path), *STEPS, *small("nid_moe"), "supervision=val", "model/coder=conv"]
    learned = run(tmp_path / "learned", *options, "regime=dictionary")
    text = json.loads((learned / "metrics.json").read_text())["encode_seconds"]["definition"]
    assert "back-projection" in text


def test_by_default_the_slice_is_solved_for_as_the_row_of_total_variation_is(tmp_path):
    small = ("task=ct", "data.size=20", "data.views=14", "supervision=val")
    found = metrics(run(tmp_path / "solved", *small, "regime.callbacks.solve.row=null"))
    assert found["steps"] == 0
    assert found["psnr"] == pytest.approx(found["tv/psnr"], abs=1e-3)
    assert found["psnr"] >= max(figure for name, figure in found.items() if name.endswith("/psnr")) - 1e-3
    without = metrics(run(tmp_path / "without", *small))
    assert without["psnr"] == found["psnr"]
    assert {name for name in found if name not in without} == {name for name in found if name.startswith("tv/")}
    assert metrics(run(tmp_path / "sine", *small, "model=sine", *STEPS))["steps"] == 2
    assert metrics(run(tmp_path / "steps", *small, "solver=adam", *STEPS))["steps"] == 2


def test_a_penalty_that_a_solver_does_not_see_is_told(tmp_path, capsys):
    run(tmp_path / "solved", "task=ct", "data.size=20", "data.views=14", "supervision=val", "penalty=tv")
    assert "minimises an objective of its own, without tv" in " ".join(capsys.readouterr().out.split())


def test_whole_slices_are_trained_on_and_resumed_to_the_bit(tmp_path):
    words = ["task=ct", "model=sine", "data.size=16", "data.views=6", "data.points=null", *QUICK]
    whole = assert_resumes(tmp_path, *words, "supervision=ramp", "penalty=tv", "scheduler=constant")
    assert checkpoint(whole)["config"]["task"]["measurements"]["data"]["_target_"].endswith("WholeSlices")
    rays = run(tmp_path / "rays", *words, "supervision=val", "data.whole=false", "data.samples=64")
    lattice = run(tmp_path / "lattice", *words, "supervision=val", "data.oversample=2")
    # the same losses but for the quadrature
    losses = [[float(row["train/value"]) for row in curve(folder)] for folder in (rays, lattice)]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)
    assert losses[0] != losses[1]


def test_whole_slices_that_cannot_be_are_refused(tmp_path):
    for options, rule in (
        (["data.whole=true"], "data.whole sees all rays in every step; add data.points=null"),
        (["data.points=null", "data.whole=true", "data.jitter=true"], "nothing to jitter"),
        (["data.points=null", "data.oversample=3"], "1 or 2 cells per pixel"),
        (["supervision=ramp"], "needs whole views in every step"),
    ):
        with pytest.raises((InputError, InstantiationException), match=rule):
            run(tmp_path / "run", "task=ct", "model=sine", "data.size=16", "data.views=6", *QUICK, *options)
