"""A small file of every kind that the program reads, the same whenever and wherever they are made."""

import json
import math
from pathlib import Path

import numpy as np
import soundfile
import trimesh
from PIL import Image


def picture(side: int, phase: float) -> Image.Image:
    """Waves with an edge."""
    down, right = np.mgrid[:side, :side] / side
    waves = np.stack([np.sin(3 * down + phase + channel) * np.cos((1 + phase) * right) for channel in range(3)], -1)
    return Image.fromarray((255 * (0.45 + 0.25 * waves + 0.2 * (down > right)[..., None])).astype(np.uint8))


def write_capture(folder: Path) -> None:
    """Views from around the origin in the layout of NeRF's synthetic scenes."""
    for split, angles in (("train", range(0, 360, 60)), ("test", (30, 210))):
        frames = []
        (folder / split).mkdir(parents=True)
        for angle in angles:
            turn = math.radians(angle)
            back = np.array([math.cos(turn), math.sin(turn), 0.5]) / math.sqrt(1.25)
            right = np.array([-math.sin(turn), math.cos(turn), 0.0])
            pose = np.eye(4)
            pose[:3] = np.stack([right, np.cross(back, right), back, 4 * back], -1)
            picture(12, turn).save(folder / split / f"{angle}.png")
            frames.append({"file_path": f"{split}/{angle}", "transform_matrix": pose.tolist()})
        (folder / f"transforms_{split}.json").write_text(json.dumps({"camera_angle_x": 0.7, "frames": frames}))


def write_files(folder: Path) -> None:
    """A small file or folder of every kind."""
    write_capture(folder / "capture")
    picture(24, 0).save(folder / "picture.png")
    soundfile.write(folder / "tone.wav", 0.5 * np.sin(np.arange(400) ** 1.2 / 9), 8000)
    for name in ("pictures", "sounds", "solids"):
        (folder / name).mkdir()
    for place in range(6):
        picture(12, place).save(folder / "pictures" / f"{place}.png")
        soundfile.write(folder / "sounds" / f"{place}.wav", 0.5 * np.sin(np.arange(64) * (1 + place) / 10), 8000)
        solid = trimesh.creation.torus(1.0, 0.3 + 0.05 * place, 24, 12)
        solid.export(folder / "solids" / f"{place}.{('ply', 'obj', 'stl')[place % 3]}")
    ring = trimesh.creation.torus(1.0, 0.4, 24, 12)
    ring.export(folder / "ring.ply")
    np.savetxt(folder / "ring.xyz", np.concatenate([ring.vertices, ring.vertex_normals], 1))
    down, right = np.mgrid[:16, :16] - 7.5
    np.save(folder / "slice.npy", 1.0 * (down**2 + right**2 < 40) + (down > right) * (down**2 + right**2 < 25))
    angles = np.arange(0, 180, 15)
    offsets = np.arange(16)[:, None] - 8 - 2 * np.cos(np.deg2rad(angles))  # of lines from the centre of a disc beside the axis
    np.savez(folder / "sinogram.npz", sinogram=2 * np.sqrt(np.clip(16 - offsets**2, 0, None)), angles=angles)
