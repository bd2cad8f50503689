import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.grids.images import ImageCollection

CPU = torch.device("cpu")
STEPS, LIMIT = 50, 2**30  # bytes
STREAM = f"""
import itertools, json, sys, torch
from datamodules.grids.images import ImageCollection

torch.set_num_threads(1)
cpu = torch.device("cpu")
data = ImageCollection(root=sys.argv[1], size=64, memory=64, test_signals=256)
data.setup()
for draw in itertools.islice(data.train_dataloader(), {STEPS}):
    assert data.training_batch(draw, cpu).parts["data"].targets["jacobian"].shape == (64, 1024, 3, 2)
batches = (data.evaluation_batch(draw, cpu) for draw in data.test_dataloader())
samples = sum(len(batch.signals.index) * batch.parts["data"].coordinates.shape[1] for batch in batches)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
found = dict(peak=int(status["VmHWM"].split()[0]) * 1024, samples=samples, streams=not data.trained.fits)
print(json.dumps(found))
"""


def write_pictures(folder, count):
    """Smooth colour pictures with noise, every other one as JPEG."""
    random = np.random.default_rng(0)
    waves = np.sin(np.linspace(0, 6, 64))[:, None, None] + np.cos(np.linspace(0, 4, 64))[None, :, None]
    for place in range(count):
        picture = 128 + 40 * waves * random.normal(size=3) + random.normal(scale=4, size=(64, 64, 3))
        path = folder / f"{place // 1000:02d}" / f"{place:05d}.{'jpg' if place % 2 else 'png'}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def few(tmp_path):
    """A collection of 64 pictures of which none may be kept."""
    write_pictures(tmp_path, 64)
    data = ImageCollection(root=str(tmp_path), size=64, memory=0, batch_signals=5, held_out=8, tuning=4)
    data.setup()
    return data


@pytest.mark.parametrize("ahead", [0, 1])  # trainers ask for the next draw before they use one
def test_no_more_than_the_next_steps_are_kept(few, ahead):
    draws = itertools.islice(few.train_dataloader(), 30 + ahead)
    waiting = list(itertools.islice(draws, ahead))
    for draw in draws:
        waiting.append(draw)
        assert len(few.trained.pending) <= (2 + ahead) * 5
        batch = few.training_batch(waiting.pop(0), CPU)
        assert len(few.trained.pending) <= (1 + ahead) * 5
        assert batch.signals.index.shape == (5,)
    assert few.trained.cache.made is None


def test_evaluation_and_passes_keep_nothing(few):
    for draw in few.test_dataloader():
        few.evaluation_batch(draw, CPU)
    for batches in (
        few.training_batches(CPU),
        few.tuning_batches(torch.arange(few.tuning_signals), CPU),
        few.observation_batches(torch.arange(8), CPU),
    ):
        assert list(batches)
    few.baselines()
    for stack in (few.trained, few.tuned, few.tuned.truth, few.evaluated):
        assert stack.pending == {}
        assert stack.cache.made is None


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
def test_twenty_thousand_pictures_are_trained_on_in_a_gibibyte(tmp_path):
    write_pictures(tmp_path, 20_000)
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", STREAM, str(tmp_path)]  # what a process inherits counts in its ru_maxrss, not in VmHWM
    found = json.loads(subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout)
    assert found["streams"]
    assert found["samples"] == 256 * 64 * 64
    assert found["peak"] < LIMIT, found
