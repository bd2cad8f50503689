"""Radiance fields: what a run leaves, and what its figures mean."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from running import RAYS, STEPS, assert_resumes, checkpoint, curve, metrics, run, tiny
from tiny.captures import LAYOUTS, generated, read, world_poses, write_blender, write_nerfstudio
from torch.testing import assert_close

import inr
from datamodules.grids.read_video import ffmpeg, read_video
from datamodules.scenes.capture import similarity
from datamodules.scenes.generated import GeneratedScene
from inr.errors import InputError
from inr.measurements.rendering import VolumeRendering
from inr.metrics.figures import psnr
from inr.networks.activations import Sine
from inr.networks.mlp import MLP
from inr.supervision.losses import SquaredError
from inr.supervision.terms import Supervision
from tasks.base import Training
from tasks.evaluation import Seen
from tasks.nerf import NerfTask

QUICK = ("model=relu", "model.hidden_features=16", *STEPS)
PICTURES = "callbacks.results.pictures=true"
FILM = "mp4" if ffmpeg() else "gif"
SIZE, FRAMES = 12, 2
BARE = ("supervision=val", "export=views", "scheduler=constant")
NOISY = (  # all that is random within a step
    "task.measurements.data.importance=8",
    "task.measurements.data.density=relu",
    "task.measurements.data.noise=1",
    "task.measurements.data.open_end=true",
)


def written(folder):
    """Files of a folder, by path."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def pixels(path):
    with Image.open(path) as image:
        return np.array(image)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A short run of a scene in the layout of NeRF's, in a world twice as large, with everything it can write."""
    folder = tmp_path_factory.mktemp("nerf")
    scene = dataclasses.replace(generated(SIZE, views=6, hold_every=3), world=np.diag([2.0, 2.0, 2.0, 1.0]))
    data = [f"data.root={write_blender(folder / 'scene', scene)}", "data.near=2", "data.far=10", "data.bound=2"]
    rays = [option for option in RAYS if not option.startswith("data.size")]
    return run(folder / "run", "task=nerf", "data=blender", *data, *rays, *QUICK, PICTURES, "trainer.max_steps=20")


@pytest.fixture
def scene(fitted):
    return read("blender", fitted.parent / "scene", near=2.0, far=10.0, bound=2.0)


# what a run leaves


def test_figures_are_there_for_the_network_and_the_references(fitted):
    found = metrics(fitted)
    names = {"psnr", "ssim"} | {f"{row}/{name}" for row in ("mean colour", "nearest view") for name in ("psnr", "ssim")}
    assert all(np.isfinite(found[name]) for name in names)
    assert found["steps"] == 20
    assert "psnr_uncorrected" not in found


def test_pictures_and_exports_are_written(fitted, scene):
    views = [scene.names[view].replace("/", "_") for view in scene.test]
    assert written(fitted / "pictures") == ["views.png"]
    there = written(fitted / "export")
    assert [name for name in there if name.startswith("views/")] == [f"views/{view}.png" for view in views]
    assert {f"video.{FILM}", f"video_depth.{FILM}", "pointcloud.ply"} <= set(there)
    assert {f"depth/{view}{ending}" for view in views for ending in (".npy", "_opacity.npy", ".png")} <= set(there)
    assert pixels(fitted / "pictures" / "views.png").shape[-1] == 3


def test_views_score_as_the_figures_say(fitted, scene):
    found = []
    for view in scene.test:
        picture = pixels(fitted / "export" / "views" / f"{scene.names[view].replace('/', '_')}.png")
        assert picture.shape == (SIZE, SIZE, 3)
        found.append(psnr(torch.from_numpy(picture) / 255, torch.from_numpy(scene.read(view)) / 255, 1.0))
    assert sum(found) / len(found) == pytest.approx(metrics(fitted)["psnr"], abs=0.05)  # up to rounding to bytes


def test_depths_are_in_the_units_of_the_file(fitted, scene):
    assert (scene.near, scene.far) == (1.0, 5.0)
    for view in scene.test:
        file = fitted / "export" / "depth" / f"{scene.names[view].replace('/', '_')}.npy"
        depth, opacity = np.load(file), np.load(file.with_name(f"{file.stem}_opacity.npy"))
        assert depth.shape == opacity.shape == (SIZE, SIZE)
        assert ((opacity >= 0) & (opacity <= 1 + 1e-5)).all()
        assert ((depth >= 2 - 1e-3) & (depth <= 10 + 1e-3)).all()
        assert np.median(depth) > 4  # cameras stand 6.4 away from a cube of half side 2
        assert pixels(file.with_suffix(".png")).shape == (SIZE, SIZE, 3)


def test_films_have_the_frames_that_were_asked_for(fitted):
    for name in ("video", "video_depth"):
        film, rate = read_video(fitted / "export" / f"{name}.{FILM}")
        assert film.shape == (FRAMES, SIZE, SIZE, 3)
        assert rate == 15


def test_the_point_cloud_lies_in_the_world_of_the_file(fitted):
    cloud = trimesh.load(fitted / "export" / "pointcloud.ply")
    points = np.asarray(cloud.vertices)
    assert 0 < len(points) <= 200
    assert cloud.colors.shape[0] == len(points)
    assert np.abs(points).max() <= 2 + 1e-2  # the cube of half side 2
    assert np.abs(points).max() > 1  # of which a scene unit covers but half


# evaluation


def test_an_evaluation_writes_what_it_is_asked_for_as_the_run_did(fitted, tmp_path):
    again = run(tmp_path / "again", "train=false", f"ckpt_path={fitted}", "export=views", "trainer=cpu")
    assert {name.split("/")[0] for name in written(again / "export")} == {"views", "field.json", "field.safetensors"}
    for name in written(fitted / "export" / "views"):
        assert np.array_equal(pixels(again / "export" / "views" / name), pixels(fitted / "export" / "views" / name))
    for name in ("psnr", "ssim", "mean colour/psnr"):
        assert metrics(again)[name] == metrics(fitted)[name]


@pytest.mark.parametrize("only", ["depth", "pointcloud", "video"])
def test_one_export_is_the_same_alone(only, fitted, tmp_path):
    again = run(tmp_path / "again", "train=false", f"ckpt_path={fitted}", f"export={only}", "trainer=cpu")
    there = [name for name in written(again / "export") if name.startswith(only)]
    assert there == [name for name in written(fitted / "export") if name.startswith(only)]
    assert not (again / "export" / "views").exists()
    for name in there:
        assert (again / "export" / name).read_bytes() == (fitted / "export" / name).read_bytes()


def test_a_finer_export_is_larger_and_shows_the_same(fitted, scene, tmp_path):
    again = run(tmp_path / "again", "train=false", f"ckpt_path={fitted}", "export=views", "export.scale=2", "trainer=cpu")
    for name in written(fitted / "export" / "views"):
        fine, coarse = pixels(again / "export" / "views" / name), pixels(fitted / "export" / "views" / name)
        means = fine.reshape(SIZE, 2, SIZE, 2, 3).mean((1, 3))
        assert np.abs(means - coarse).mean() < 4
        assert np.abs(means - coarse).mean() < np.abs(means - coarse.mean((0, 1))).mean()


def test_a_film_without_frames_is_refused():
    for option in ("frames", "rate", "film_scale", "cloud"):
        with pytest.raises(InputError, match=rf"^task\.{option} must be positive, got 0\.$"):
            task_of(lonely(), **{option: 0})


# training


@pytest.mark.parametrize("options", [(), NOISY], ids=["plain", "noisy"])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(options, tmp_path):
    more = assert_resumes(tmp_path, *tiny("nerf", tmp_path), *QUICK, *BARE, *options, "data.points=64")
    assert metrics(more)["psnr"] == metrics(tmp_path / "whole")["psnr"]


def test_figures_do_not_depend_on_how_many_rays_are_rendered_at_a_time(tmp_path):
    words = (*tiny("nerf", tmp_path), *QUICK, "supervision=val", "export=views", "data.points=64")
    all_at_once, few = (metrics(run(tmp_path / f"{chunk}", *words, f"data.chunk={chunk}")) for chunk in (4096, 37))
    for name in ("psnr", "ssim", "mean colour/psnr"):
        assert few[name] == pytest.approx(all_at_once[name], abs=1e-5)


def test_derivatives_alone_leave_the_constant_to_be_estimated(tmp_path):
    folder = run(tmp_path / "run", *tiny("nerf", tmp_path), *QUICK, "supervision=der", "export=views", "data.points=64")
    constant = checkpoint(folder)["state_dict"]["constant.value"]
    found = metrics(folder)
    assert constant.shape == (1, 3)
    assert (constant != 0).all()
    assert found["psnr"] > found["psnr_uncorrected"]
    assert "estimated" in (folder / "metrics.json").read_text()


def test_a_field_that_was_saved_sees_from_any_camera(fitted, scene):
    field = inr.load(fitted)
    view = scene.test[0]
    poses, intrinsics = (torch.from_numpy(array[view])[None, None].float() for array in (scene.poses, scene.intrinsics))
    field.measurement = field.measurement.within(poses=poses, intrinsics=intrinsics)
    grid = torch.stack(torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij"), -1)
    picture = pixels(fitted / "export" / "views" / f"{scene.names[view].replace('/', '_')}.png")
    assert_close(field(grid).clamp(0, 255), torch.from_numpy(picture).float(), rtol=0, atol=0.51)


FILES = {  # options of a layout, and where the scene lies in its file
    "nerfstudio": ([], [500.0, -300.0, 20.0]),
    "llff": (["data.downscale=1"], [500.0, -300.0, 20.0]),
    "blender": (["data.near=2", "data.far=12", "data.bound=2.5"], [0.0, 0.0, 0.0]),
}


@pytest.mark.parametrize("layout", FILES)
def test_a_saved_scene_is_seen_by_cameras_as_its_file_has_them(layout, tmp_path):
    options, position = FILES[layout]
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    frame = np.column_stack([turn * np.linalg.det(turn), position])
    scene = dataclasses.replace(generated(SIZE, views=6, hold_every=3), world=similarity(2.5, frame))
    write, _ = LAYOUTS[layout]
    rays = [option for option in RAYS if not option.startswith("data.size")]
    data = [f"data={layout}", f"data.root={write(tmp_path / 'scene', scene)}", *options]
    folder = run(tmp_path / "run", "task=nerf", *data, *rays, *QUICK, *BARE)
    grid = torch.stack(torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij"), -1)
    poses = torch.from_numpy(world_poses(scene)[0])[:, None, None, :3]
    lenses = torch.from_numpy(scene.intrinsics)[:, None, None]
    files = list((folder / "export" / "views").glob("*.png"))
    assert files
    for file in files:
        (view,) = (place for place, name in enumerate(scene.names) if file.stem.endswith(name))
        for source in (folder, folder / "export" / "field.safetensors"):
            seen = inr.load(source).within(poses=poses[view], intrinsics=lenses[view])(grid)
            assert_close(seen.clamp(0, 255), torch.from_numpy(pixels(file)).float(), rtol=0, atol=0.51)


def test_a_coarse_and_a_fine_network_learn_from_a_term_each(tmp_path):
    root = write_blender(tmp_path / "scene", generated(SIZE, views=6, hold_every=3))
    narrow = [f"model.{net}.{part}hidden_features=16" for net in ("coarse", "fine") for part in ("trunk.", "")]
    samples = ["task.measurements.data.samples=8", "task.measurements.data.importance=8", "task.frames=2", "task.cloud=60"]
    words = ["experiment=nerf/blender", f"data.root={root}", *narrow, *samples, "data.points=64", *STEPS]
    folder = run(tmp_path / "run", *words, "callbacks.checkpoints.every=1", "trainer.max_steps=1")
    more = run(tmp_path / "more", f"ckpt_path={folder}", "trainer.max_steps=2")
    for row in [row for row in curve(folder) + curve(more) if row.get("train/loss")]:
        assert float(row["train/loss"]) == pytest.approx(float(row["train/value"]) + float(row["train/coarse"]), rel=1e-5)
    before, after = (checkpoint(path)["state_dict"] for path in (folder, more))
    for network in ("network.coarse", "network.fine"):
        names = [name for name in before if name.startswith(network) and name.endswith("weight")]
        assert names
        assert any(not torch.equal(before[name], after[name]) for name in names)


# figures


def lonely(**options):
    data = GeneratedScene(size=SIZE, views=6, hold_every=3, **options)
    data.setup()
    return data


def truths_of(data):
    return torch.stack([data.normalise(data.truth(place).truth) for place in range(len(data.tested))])


class Known(NerfTask):
    """A task on data without a trainer, which has seen nothing."""

    data = None
    seen = Seen(torch.empty(0, 3), {})


def task_of(data, **options):
    network, camera = MLP(3, 4, Sine(), hidden_features=4, hidden_layers=1), VolumeRendering(1.0, 5.0, box=True)
    training = Training(network, Supervision({"value": SquaredError()}), torch.optim.Adam)
    task = Known(training, {"data": camera}, channels=3, **options)
    task.data = data
    return task


def test_psnr_is_the_mean_over_views():
    data = lonely()
    task, truth = task_of(data), truths_of(data)
    off = torch.tensor([0.1, 0.001])[:, None, None, None] * torch.where(truth > 0.5, -1.0, 1.0)
    figures = task.score((truth + off).flatten(0, 2))
    assert figures["psnr"].value == pytest.approx((20 + 60) / 2, abs=1e-2)
    assert "mean over 2" in figures["psnr"].definition
    alone = [task.figure_set(image, data.truth(place))["ssim"].value for place, image in enumerate(truth + off)]
    assert figures["ssim"].value == pytest.approx(np.mean(alone))
    assert task.score(truth.flatten(0, 2))["ssim"].value == pytest.approx(1)


def test_hidden_pixels_do_not_change_any_figure():
    data = lonely()
    task, truth = task_of(data), truths_of(data)
    mask = torch.ones(SIZE, SIZE, dtype=torch.bool)
    mask[:, -1] = mask[3, 3] = False
    wrong = truth[0] + 0.1 * torch.rand(SIZE, SIZE, 3, generator=torch.Generator().manual_seed(0))
    scored = dataclasses.replace(data.truth(0), masks={"psnr": mask})
    figures = task.figure_set(wrong, scored)
    assert figures["psnr"].value == pytest.approx(psnr(wrong.clamp(0, 1)[mask], truth[0][mask]))
    for figure, value in task.figure_set(torch.where(mask[..., None], wrong, 0.9), scored).items():
        assert value.value == pytest.approx(figures[figure].value), figure
    assert figures["ssim"].value < 1 == task.figure_set(torch.where(mask[..., None], truth[0], 0.9), scored)["ssim"].value


@pytest.mark.parametrize("scale", [1, 2])
def test_views_of_different_sizes_are_written_as_large_as_their_photographs(scale, tmp_path):
    root = write_nerfstudio(tmp_path / "scene", generated(SIZE, views=6, hold_every=3))
    content = json.loads((root / "transforms.json").read_text())
    sizes = {}
    for place, frame in enumerate(content["frames"]):
        rows, columns = sizes[frame["file_path"][7:-4]] = (SIZE, 8) if place % 2 else (9, SIZE)
        frame |= {"h": rows, "w": columns}
        Image.fromarray(pixels(root / frame["file_path"])[:rows, :columns]).save(root / frame["file_path"])
    (root / "transforms.json").write_text(json.dumps(content))
    rays = [option for option in RAYS if not option.startswith("data.size")]
    words = ["task=nerf", "data=nerfstudio", f"data.root={root}", *rays, *QUICK, PICTURES, "trainer.max_steps=1"]
    folder = run(tmp_path / "run", *words, "export=all", f"export.scale={scale}")
    views = sorted((folder / "export" / "views").iterdir())
    assert len(views) == 2
    for view in views:
        rows, columns = sizes[view.stem.removeprefix("images_")]
        assert pixels(view).shape == (scale * rows, scale * columns, 3)
    assert {figure for figure in metrics(folder) if "psnr" in figure} == {"psnr", "mean colour/psnr", "nearest view/psnr"}


def test_colours_beyond_white_and_black_are_clipped():
    data = lonely(background="black")
    truth = truths_of(data)
    extreme = torch.where(truth == 0, -5.0, truth)
    assert task_of(data).score(extreme.flatten(0, 2))["psnr"].value > 100


def test_figures_of_baselines_are_those_of_their_pictures():
    data = lonely()
    truth = truths_of(data)
    figures = task_of(data).score(torch.zeros(truth.numel() // 3, 3))
    for row, pictures in data.baselines().items():
        expected = [psnr(picture, one, 1.0) for picture, one in zip(pictures(), truth, strict=True)]
        assert figures[f"{row}/psnr"].value == pytest.approx(np.mean(expected))
