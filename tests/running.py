"""Run the program in this process, as its command line would, on tiny signals."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict
from PIL import Image

import train

ROOT = Path(train.__file__).parent
QUICK = (
    "model.hidden_features=16",
    "trainer=cpu",
    "trainer.max_steps=2",
    "trainer.log_every_n_steps=1",
    "callbacks.results.pictures=false",
    "callbacks.progress.refresh_rate=0",
)


def tiny_image(folder: Path, side: int = 24, channels: int = 3) -> Path:
    """A smooth picture with an edge."""
    rows, columns = np.mgrid[:side, :side] / side
    waves = np.stack([np.sin(3 * rows + phase) * np.cos(2 * columns) for phase in range(channels)], -1)
    pixels = (255 * (0.4 + 0.3 * waves + 0.2 * (rows > columns)[..., None])).astype(np.uint8)
    path = folder / "tiny.png"
    Image.fromarray(pixels.squeeze()).save(path)
    return path


def tiny_sound(folder: Path, samples: int = 400, channels: int = 1) -> Path:
    """A decaying tone."""
    time = np.arange(samples) / 8000
    tones = [np.exp(-20 * time) * np.sin(2 * np.pi * pitch * time) for pitch in (220, 330)[:channels]]
    path = folder / "tiny.wav"
    soundfile.write(path, 0.5 * np.stack(tones, -1), 8000, subtype="FLOAT")
    return path


TINY = {"image": tiny_image, "audio": tiny_sound}


def tiny(task: str, folder: Path) -> list[str]:
    """Options that give a task a tiny signal with every second sample shown; tasks without one run their own default."""
    if task not in TINY:
        return [f"task={task}"]
    return [f"task={task}", f"data.path={TINY[task](folder)}", "data.factor=2", "data.points=null"]


def composed(folder: Path, *options: str) -> DictConfig:
    """The configuration of a run into a folder."""
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("train", overrides=[*options, f"hydra.run.dir={folder}"], return_hydra_config=True)
    cfg.hydra.runtime.output_dir = str(folder)
    cfg.hydra.mode = "RUN"
    HydraConfig.instance().set_config(cfg)
    folder.mkdir(parents=True, exist_ok=True)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def run(folder: Path, *options: str) -> Path:
    """Run to the end; the folder."""
    train.run(composed(folder, *options))
    return folder


def checkpoint(folder: Path, name: str = "last") -> dict[str, Any]:
    """A run's checkpoint."""
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def curve(folder: Path) -> list[dict[str, str]]:
    """A run's rows by step."""
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def metrics(folder: Path) -> dict[str, Any]:
    """A run's figures."""
    return {name: metric["value"] for name, metric in json.loads((folder / "metrics.json").read_text()).items()}


def command(*options: str) -> list[str]:
    """The words of a run in a process of its own."""
    return [sys.executable, str(ROOT / "train.py"), *options]
