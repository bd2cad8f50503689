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
STEPS = (
    "trainer=cpu",
    "trainer.max_steps=2",
    "trainer.log_every_n_steps=1",
    "callbacks.results.pictures=false",
    "callbacks.progress.refresh_rate=0",
)
QUICK = ("model.hidden_features=16", *STEPS)


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


NARROW = {
    "nid_moe": ["model.trunk.hidden_features=16", "model.experts=8"],
    "spline": ["solver=adam"],  # by steps, in task ct too
    "radiance": ["model.trunk.hidden_features=16", "model.hidden_features=16", "data.directions=true"],
}


def small(model: str) -> list[str]:
    """Options that choose a model and make it narrow; of a dictionary the trunk, and few experts."""
    return [f"model={model}", *NARROW.get(model, ["model.hidden_features=16"])]


def tiny_images(folder: Path, count: int = 6, side: int = 12) -> list[str]:
    """A folder of smooth pictures, each unlike the others, of which the last two are held out."""
    rows, columns = np.mgrid[:side, :side] / side
    (folder / "images").mkdir(exist_ok=True)
    for place in range(count):
        waves = [np.sin(3 * rows + place + phase) * np.cos((1 + place) * columns) for phase in range(3)]
        pixels = (255 * (0.5 + 0.4 * np.stack(waves, -1))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{place}.png")
    return ["data=images", f"data.root={folder / 'images'}", "data.size=null"]


def tiny_sounds(folder: Path, count: int = 6, samples: int = 60) -> list[str]:
    """A folder of tones, of which the last two are held out."""
    (folder / "sounds").mkdir(exist_ok=True)
    for place in range(count):
        tone = 0.5 * np.sin(2 * np.pi * (1 + place) * np.arange(samples) / samples + place)
        soundfile.write(folder / "sounds" / f"{place}.wav", tone, 8000, subtype="FLOAT")
    return ["data=sounds", f"data.root={folder / 'sounds'}"]


def tiny_olivetti(folder: Path) -> list[str]:
    """Faces of noise, laid out as AT&T's folders: five people, twelve pictures each."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 64, 64), dtype=np.uint8)
    for place, pixels in enumerate(noise):
        person = folder / "faces" / f"s{1 + place // 12}"
        person.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(person / f"{1 + place % 12}.pgm")
    return [f"data.path={folder / 'faces'}"]


def tiny_celeba(folder: Path) -> list[str]:
    """Six pictures in CelebA's layout, the last of which are held out."""
    (folder / "img_align_celeba").mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (6, 218, 178, 3), dtype=np.uint8)
    for place, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / "img_align_celeba" / f"{place + 1:06d}.jpg")
    lines = [f"{place + 1:06d}.jpg {max(place - 3, 0)}" for place in range(6)]
    (folder / "list_eval_partition.txt").write_text("\n".join(lines))
    return [f"data.root={folder}", "data.tuning=1"]


RAYS = [
    "data.size=12",
    "data.points=576",
    "task.measurements.data.samples=16",
    "optimizer.lr=1e-3",
    "task.frames=2",
    "task.cloud=60",
]


def tiny_scenes(folder: Path) -> list[str]:
    """Generated scenes, of which the last two are held out."""
    return ["data=scenes", "data.scenes=5", "data.views=8", *RAYS]


def tiny_phantoms(folder: Path) -> list[str]:
    """Random heads, of which the last two are held out."""
    return ["data=phantoms", "data.count=6", "data.size=12", "optimizer.lr=1e-3"]


SOLID = ["data.pool=300", "data.resolution=8", "data.validation_points=64", "task.resolution=8"]


def tiny_cloud(folder: Path, count: int = 300) -> str:
    """Points of a ball with their normals, as text; the option that names them."""
    normals = np.random.default_rng(0).standard_normal((count, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    np.savetxt(folder / "ball.xyz", np.concatenate([3 * normals + 7, normals], -1))
    return f"data.path={folder / 'ball.xyz'}"


def tiny_tori(folder: Path) -> list[str]:
    """Generated tori, of which the last two are held out."""
    return ["data=tori", "data.count=6", *SOLID]


COLLECTIONS = {"image": tiny_images, "audio": tiny_sounds, "nerf": tiny_scenes, "ct": tiny_phantoms, "sdf": tiny_tori}


def collection(task: str, folder: Path) -> list[str]:
    """Options that give a task a tiny collection, one signal of which is tuned on if its solver has a weight to choose."""
    tuned = [] if task == "nerf" else ["data.tuning=1"]
    return [f"task={task}", *COLLECTIONS[task](folder), "data.held_out=2", *tuned, "data.points=32"]


TINY = {
    "image": lambda folder: [f"data.path={tiny_image(folder)}", "data.factor=2", "data.points=null"],
    "audio": lambda folder: [f"data.path={tiny_sound(folder)}", "data.factor=2", "data.points=null"],
    "nerf": lambda folder: ["data=spheres", "data.views=6", "data.hold_every=3", *RAYS],
    "ct": lambda folder: ["data.size=16", "data.points=null", "optimizer.lr=3e-4"],
    "sdf": lambda folder: [*SOLID, "data.points=null", "optimizer.lr=1e-4"],
}


def tiny(task: str, folder: Path) -> list[str]:
    """Options that give a task a tiny signal with only some of its samples shown; tasks without run their own default."""
    return [f"task={task}", *TINY.get(task, lambda folder: [])(folder)]


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


def assert_resumes(folder: Path, *options: str, half: int = 2, whole: int = 4) -> Path:
    """Check that half a run and its resume equal the whole run to the bit: weights, optimiser and curve; the resumed folder.

    The rate is constant unless a schedule is named, since a cosine over half a run is not half of a longer one.
    """
    if not any(option.startswith("scheduler=") for option in options):
        options = (*options, "scheduler=constant")
    once = run(folder / "whole", *options, f"trainer.max_steps={whole}")
    first = run(folder / "half", *options, f"trainer.max_steps={half}")
    resumed = run(folder / "resumed", f"ckpt_path={first}", f"trainer.max_steps={whole}")
    assert_same_run(once, resumed)
    return resumed


def assert_same_run(one: Path, other: Path) -> None:
    """Check that weights, optimiser and curve are equal to the bit."""
    first, second = checkpoint(one), checkpoint(other)
    for name, weights in first["state_dict"].items():
        assert torch.equal(weights, second["state_dict"][name]), name
    assert str(first["optimizer_states"]) == str(second["optimizer_states"])
    assert first["global_step"] == second["global_step"]
    assert curve(one) == curve(other)
