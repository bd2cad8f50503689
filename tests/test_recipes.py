"""The README's recipes for a model and a data set, written out and run as they stand there."""

import re
import shutil
import subprocess
import sys

from running import QUICK, ROOT, metrics

README = (ROOT / "README.md").read_text()
ROOMS = ("conf", "inr", "tasks", "datamodules", "train.py")


def recipes():
    """The files that the README shows, by path."""
    blocks = re.findall(r"```(?:python|yaml)\n# ((?:inr|datamodules|conf)/\S+)\n(.*?)```", README, re.DOTALL)
    return dict(blocks)


def test_a_model_of_ten_lines_and_a_data_set_of_fifteen_run(tmp_path):
    files = recipes()
    code = {path: [line for line in text.splitlines() if line.strip()] for path, text in files.items()}
    assert len(code["inr/networks/bump.py"]) <= 10
    assert len(code["datamodules/grids/rings.py"]) <= 16
    for room in ROOMS:
        place = ROOT / room
        (shutil.copytree if place.is_dir() else shutil.copy)(place, tmp_path / room)
    for path, text in files.items():
        (tmp_path / path).write_text(text)
    command = re.search(r"python train\.py (data=rings \S+)", README)[1].split()
    words = [*command, *QUICK, "trainer.max_steps=5", f"hydra.run.dir={tmp_path / 'run'}"]
    subprocess.run([sys.executable, "train.py", *words], cwd=tmp_path, check=True, capture_output=True)
    found = metrics(tmp_path / "run")
    assert found["steps"] == 5
    assert {"psnr", "hermite/psnr"} <= found.keys()
    assert found["parameters"] == 2 * 16 + 16 + 3 * (16 * 16 + 16) + 16 + 1
