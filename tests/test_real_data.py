"""Published protocols on the pictures and sounds they were published with; INR_DATA names the folder that holds them."""

import os
from pathlib import Path

import pytest
from running import QUICK, metrics, run

DATA = Path(os.environ.get("INR_DATA", "nowhere"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="needs INR_DATA")

SET5 = ("experiment=sobolev/set5", f"data.root={DATA / 'set5'}", "data.name=butterfly", "callbacks.progress.refresh_rate=0")
BACH = ("experiment=sobolev/audio", f"data.path={DATA / 'audio' / 'gt_bach.wav'}", "callbacks.progress.refresh_rate=0")
FEW = [option for option in QUICK if not option.startswith("callbacks.progress")]


def test_reference_rows_of_an_image_are_registered_to_its_grid(tmp_path):
    figures = metrics(run(tmp_path / "run", *SET5, *FEW))
    assert figures["bicubic/psnr"] == pytest.approx(20.97, abs=0.05)
    assert figures["hermite/psnr"] > 23.09


def test_reference_rows_of_a_sound_are_registered_to_its_grid(tmp_path):
    figures = metrics(run(tmp_path / "run", *BACH, *FEW))
    expected = {"linear/psnr": 39.8, "spline/psnr": 44.6, "hermite/psnr": 50.0}
    assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("picture", ["ct/chest.png", "kodak/kodim19.png", "set5/baby.png"])
def test_pictures_of_all_kinds_are_fitted_and_exported(picture, tmp_path):
    figures = metrics(run(tmp_path / "run", f"data.path={DATA / picture}", "data.factor=8", *QUICK))
    assert figures["bicubic/psnr"] > figures["nearest/psnr"] > figures["psnr"]
    assert (tmp_path / "run" / "export" / "reconstruction.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "psnr", "ssim"),
    [
        (["supervision=val"], 21.95, 0.804),
        (["supervision=val_der"], 26.00, 0.908),
        (["supervision=val_der", "trainer.precision=bf16-mixed"], 26.00, 0.908),
    ],
)
def test_images_reach_the_published_figures(options, psnr, ssim, tmp_path):
    figures = metrics(run(tmp_path / "run", *SET5, *options, "trainer.max_steps=300"))
    assert figures["psnr"] == pytest.approx(psnr, abs=0.3)
    assert figures["ssim"] == pytest.approx(ssim, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("options", "steps", "psnr"), [(["supervision=val"], 50, 19.9), (["supervision=val_der"], 75, 22.9)])
def test_sounds_reach_the_published_figures(options, steps, psnr, tmp_path):
    figures = metrics(run(tmp_path / "run", *BACH, *options, f"trainer.max_steps={steps}"))
    assert figures["psnr"] == pytest.approx(psnr, abs=0.5)
