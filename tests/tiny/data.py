"""A tiny data set for every yaml file in conf/data: files where it needs some, and options that make it small."""

import numpy as np
import running
from omegaconf import OmegaConf
from PIL import Image
from tiny.captures import generated, write_blender, write_colmap, write_llff, write_nerfstudio
from tiny.signals import CONF
from tiny.solids import ball, box

DATA = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
FEW = ["data.held_out=2", "data.batch_signals=2"]
MANY = [*FEW, "data.tuning=1", "data.points=5"]
SCENE = ["data.points=7", "data.validation_points=30"]
SHAPES = [*(word for word in running.SOLID if word.startswith("data.")), "data.points=7"]


def tiny_cifar(folder):
    """Two training batches of four pictures and a test batch of three."""
    noise = np.random.default_rng(0).integers(0, 256, (11, 3073), dtype=np.uint8)
    for name, rows in {"data_batch_1": noise[:4], "data_batch_2": noise[4:8], "test_batch": noise[8:]}.items():
        rows.tofile(folder / f"{name}.bin")
    return [f"data.root={folder}"]


def tiny_scene(write):
    """A generated scene of eight photographs in the layout of a writer."""

    def made(folder):
        return [f"data.root={write(folder, generated(12, 8, 4))}", *SCENE]

    return made


def tiny_sinogram(folder):
    """The sinogram of a blob beside the axis."""
    angles, bins = np.linspace(0, np.pi, 12, endpoint=False), np.arange(16)[:, None]
    blob = np.exp(-(((bins - 7.5 - 2 * np.cos(angles)) / 2) ** 2))
    np.savez(folder / "sinogram.npz", sinogram=blob, angles=np.rad2deg(angles))
    return [f"data.path={folder / 'sinogram.npz'}", "data.every=2", "data.points=9"]


def tiny_slices(folder):
    """Six pictures of discs."""
    rows, columns = np.mgrid[-1:1:16j, -1:1:16j]
    for place in range(6):
        np.save(folder / f"{place}.npy", (np.hypot(rows, columns - 0.05 * place) < 0.5).astype(np.float32))
    return [f"data.root={folder}", "data.size=12", *MANY]


def tiny_solids(folder):
    """Six boxes and balls as meshes."""
    import trimesh

    for place in range(6):
        mesh = box(1 + 0.1 * place) if place % 2 else ball(0.5 + 0.1 * place, 1)
        trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(folder / f"{place}.ply")
    return [f"data.root={folder}", *SHAPES, *MANY]


def tiny_volume(folder):
    """Distances to a ball on a grid."""
    steps = np.linspace(-1, 1, 9)
    np.save(folder / "ball.npy", np.sqrt(sum(axis**2 for axis in np.meshgrid(steps, steps, steps, indexing="ij"))) - 0.6)
    return [f"data.path={folder / 'ball.npy'}", "data.spacing=0.25", *SHAPES]


def tiny_distances(folder):
    """Distances to a ball at random points, as DeepSDF stores them."""
    points = np.random.default_rng(0).uniform(-1, 1, (600, 3))
    table = np.concatenate([points, np.linalg.norm(points, axis=1, keepdims=True) - 0.6], 1)
    np.savez(folder / "ball.npz", pos=table[table[:, 3] >= 0], neg=table[table[:, 3] < 0])
    return [f"data.path={folder / 'ball.npz'}", *SHAPES]


def tiny_frames(folder):
    """A folder of frames."""
    for place in range(6):
        Image.fromarray(np.full((8, 10), 40 * place, np.uint8)).save(folder / f"{place}.png")
    return [f"data.path={folder}", *MANY]


OPTIONS = {
    "image": lambda folder: [f"data.path={running.tiny_image(folder)}", "data.factor=2", "data.points=11"],
    "audio": lambda folder: [f"data.path={running.tiny_sound(folder)}", "data.factor=3", "data.points=11"],
    **dict.fromkeys(("images", "faces"), lambda folder: [*running.tiny_images(folder)[1:], *MANY]),
    "celeba": lambda folder: [*running.tiny_celeba(folder), "data.size=16"],
    "olivetti": lambda folder: [*running.tiny_olivetti(folder), *MANY],
    "cifar10": tiny_cifar,
    "sounds": lambda folder: [*running.tiny_sounds(folder)[1:], *MANY],
    "video": tiny_frames,
    "spheres": lambda folder: ["data.size=12", "data.views=8", "data.hold_every=4", *SCENE],
    "llff": tiny_scene(write_llff),
    "blender": tiny_scene(write_blender),
    "nerfstudio": tiny_scene(write_nerfstudio),
    "colmap": tiny_scene(write_colmap),
    "scene": lambda folder: [f"data.path={write_blender(folder, generated(12, 8, 4))}", *SCENE],
    "scenes": lambda folder: ["data.scenes=5", "data.views=8", "data.size=12", *FEW, *SCENE],
    "slice": lambda folder: ["data.size=16", "data.points=9"],
    "slices": tiny_slices,
    "phantoms": lambda folder: ["data.count=6", "data.size=12", *MANY],
    "sinogram": tiny_sinogram,
    "mesh": lambda folder: SHAPES,
    "pointcloud": lambda folder: [running.tiny_cloud(folder), *SHAPES],
    "volume": tiny_volume,
    "distances": tiny_distances,
    "shapes": tiny_solids,
    "tori": lambda folder: ["data.count=6", *SHAPES, *MANY],
}


def tiny_options(name, folder):
    """The options of a yaml file's data set in a folder of its own; one without tiny options must be small by itself."""
    words = OPTIONS.get(name, lambda folder: [])(folder)
    data = running.composed(folder / "run", f"data={name}", "regime=dictionary", *words).data
    return OmegaConf.to_container(data, resolve=True)
