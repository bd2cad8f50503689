"""Background and foreground of a film."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.testing import assert_array_equal
from PIL import Image
from running import assert_resumes, metrics, run
from torch.testing import assert_close

from datamodules.grids.read_video import ffmpeg, read_video
from datamodules.grids.video import VideoCollection
from inr.dictionary.coders import Codebook
from inr.errors import InputError
from inr.measurements.pointwise import Pointwise
from inr.metrics.figures import psnr
from inr.networks.activations import Sine
from inr.networks.mlp import MLP
from inr.supervision.losses import AbsoluteError
from inr.supervision.terms import Supervision
from tasks.background import BackgroundTask, difference, leading, mean_psnr, opened, overlap
from tasks.base import Training

QUICK = (
    "experiment=nid/robust_pca",
    "data.size=16",
    "data.points=32",
    "model.experts=3",
    "model.trunk.hidden_features=16",
    "model.trunk.encoding.frequencies=8",
    "trainer=cpu",
    "trainer.max_steps=3",
    "trainer.val_check_interval=2",
    "callbacks.progress.refresh_rate=0",
)
ENDING = "mp4" if ffmpeg() else "gif"
EXPORTS = {f"background.{ENDING}", f"foreground.{ENDING}", f"mask.{ENDING}", "background.png", "mask.npy"}


def task_of(data, **options):
    """A task at work on data."""
    network = MLP(2, 3, Sine(), hidden_features=4, hidden_layers=1)
    training = Training(network, Supervision({"value": AbsoluteError()}), torch.optim.Adam)
    task = BackgroundTask(training, {"data": Pointwise(data.shape)}, **options)
    task._trainer = SimpleNamespace(datamodule=data, ckpt_path=None)
    return task


def values_of(task, background):
    """What a network would have to give for this background in 0..255."""
    return task.data.normalise(torch.as_tensor(background)).flatten(0, 2)


@pytest.fixture(scope="module")
def scored():
    """The generated film and the figures of its true background."""
    task = task_of(VideoCollection(), opening=1)
    return task, task.score(values_of(task, task.data.background))


@pytest.mark.parametrize("options", [{}, {"first": 3, "step": 2, "test_signals": 5, "held_out": 8}], ids=["all", "some"])
def test_the_true_background_is_perfect(options):
    data = VideoCollection(**options)
    task = task_of(data, opening=1)
    figures = task.score(values_of(task, data.background[data.evaluated.positions]))
    assert len(task.result.mask) == options.get("test_signals", 40)
    assert figures["psnr_background"].value > 120  # up to float32
    assert figures["iou"].value > 0.99  # what is missing is noise
    assert figures["precision"].value == pytest.approx(figures["iou"].value)
    assert figures["recall"].value == 1


def test_references_are_those_over_time_and_rank_as_they_must(scored):
    task, figures = scored
    frames = task.data.video.frames
    assert_array_equal(task.rows()["median"]()[7].numpy(), np.median(frames, 0))
    assert_close(task.rows()["mean"]()[7].double(), torch.from_numpy(frames.mean(0)), atol=1e-3, rtol=0)
    assert figures["median/psnr_background"].value > 35 > 30 > figures["mean/psnr_background"].value
    assert figures["median/iou"].value > 0.98
    names = {"psnr_background", "iou", "precision", "recall"}
    assert set(figures) == names | {f"{row}/{name}" for row in ("median", "mean", "svd 1") for name in names}


def test_a_film_of_changing_light_has_rank_one():
    picture, light = torch.rand(5, 6, 3), torch.linspace(0.5, 1, 8)
    frames = (255 * light[:, None, None, None] * picture).round().to(torch.uint8)
    assert (leading(frames) - frames).abs().max() < 1.0
    assert_close(leading(frames, rank=8), frames.float(), atol=1e-2, rtol=0)


def test_the_threshold_follows_the_noise(scored):
    task, _ = scored
    result = task.separate(torch.from_numpy(task.data.background).float())
    assert result.threshold == pytest.approx(5 * 1.4826)  # noise of 2 grey levels has a median of 1.4, rounded to 1
    assert task.separate(task.frames.float()).threshold == pytest.approx(5 / np.sqrt(12))
    assert not task.separate(task.frames.float()).mask.any()


def test_a_given_threshold_counts(scored):
    task = task_of(VideoCollection(), threshold=300.0)
    figures = task.score(values_of(task, task.data.background))
    assert (figures["iou"].value, figures["recall"].value) == (0, 0)
    assert np.isnan(figures["precision"].value)


def test_without_truth_the_median_is_the_measure(tmp_path):
    frames = VideoCollection().video.frames
    for place, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{place:02d}.png")
    task = task_of(VideoCollection(path=str(tmp_path)))
    median = np.median(frames, 0)
    figures = task.score(values_of(task, np.broadcast_to(median, frames.shape).copy()))
    assert figures["psnr_median"].value > 120
    assert "median" in figures["psnr_median"].definition
    assert figures["foreground"].value == pytest.approx(VideoCollection().foreground.mean(), rel=0.05)
    assert 1.5 < figures["residual"].value < 3
    assert "median/psnr_median" not in figures
    assert {"median/foreground", "mean/psnr_median", "svd 1/residual"} <= set(figures)
    compared = mean_psnr(torch.from_numpy(frames).float(), torch.from_numpy(median).expand(frames.shape))
    figures = [psnr(seen, true, task.peak) for seen, true, _ in task.validated(values_of(task, frames))]
    assert sum(figures) / len(figures) == pytest.approx(compared)


def test_overlap_counts_pixels():
    mask, truth = torch.zeros(2, 4, 4, dtype=torch.bool), torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[0, :2], truth[0, 1:3] = True, True
    found = {name: figure.value for name, figure in overlap(mask, truth, "").items()}
    assert found == {"iou": 4 / 12, "precision": 0.5, "recall": 0.5}
    nothing = torch.zeros_like(mask)
    assert overlap(nothing, nothing, "")["iou"].value == 1
    assert overlap(nothing, truth, "")["iou"].value == 0


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_an_opening_is_the_union_of_the_squares_inside_also_at_the_border(side):
    masks = np.random.default_rng(0).random((5, 9, 12)) < np.array([0.5, 0.8, 0.9, 0.95, 1])[:, None, None]
    for mask, result in zip(masks, opened(torch.from_numpy(masks), side).numpy(), strict=True):
        padded = np.pad(mask, side, mode="edge")
        union = np.zeros_like(padded)
        for row, column in np.argwhere(sliding_window_view(padded, (side, side)).all((-2, -1))):
            union[row : row + side, column : column + side] = True
        assert_array_equal(result, union[side:-side, side:-side])


def test_the_difference_is_grey_where_there_is_none():
    frame = torch.tensor([[[0, 128, 255]]], dtype=torch.uint8)
    assert_close(difference(frame, frame.float()), torch.full((1, 1, 3), 127.5))
    assert_close(difference(frame, torch.tensor([[[255.0, 128, 0]]])), torch.tensor([[[0.0, 127.5, 255]]]))


@pytest.mark.parametrize("options", [{"cutoff": 0.0}, {"threshold": 0.0}, {"opening": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=r"task.cutoff and task.threshold must be positive and task.opening at least 1"):
        task_of(VideoCollection(), **options)


def test_all_frames_begin_with_the_code_of_one():
    task = task_of(VideoCollection())
    codes = torch.nn.Parameter(torch.randn(4, 3))
    task.network.coder = Codebook(4, 2, 1)
    task.network.coder.codes = codes
    first = codes.detach()[:1].clone()
    for path, alike in (("run.ckpt", False), (None, True)):
        task._trainer.ckpt_path = path
        task.on_fit_start()
        assert torch.equal(codes.detach(), first.expand(4, 3)) is alike


@pytest.mark.parametrize("colour", ["rgb", "grey"])
def test_a_run_writes_films_masks_and_pictures(colour, tmp_path):
    folder = run(tmp_path / "run", *QUICK, f"data.colour={colour}", "export.scale=2")
    written = {path.name for path in (folder / "export").iterdir()}
    assert written >= EXPORTS
    assert (folder / "pictures" / "separation.png").is_file()
    mask = np.load(folder / "export" / "mask.npy")
    assert (mask.shape, mask.dtype) == ((40, 16, 16), bool)
    with Image.open(folder / "export" / "background.png") as picture:
        assert picture.size == (32, 32)
    found = metrics(folder)
    assert {"psnr_background", "iou", "precision", "recall", "median/iou", "mean/psnr_background", "svd 1/iou"} <= set(found)
    if ffmpeg():
        frames, rate = read_video(folder / "export" / "mask.mp4")
        assert (len(frames), rate) == (40, 25)
        assert ((frames[..., 0] > 127) == mask).mean() > 0.99


def test_a_run_on_an_own_film_needs_no_truth(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "frames").mkdir()
    for place in range(3):
        Image.fromarray(random.integers(0, 256, (17, 20, 3), dtype=np.uint8)).save(tmp_path / "frames" / f"{place}.png")
    options = [option for option in QUICK if not option.startswith("data.size")]
    folder = run(tmp_path / "run", *options, f"data.path={tmp_path / 'frames'}")
    assert {"psnr_median", "foreground", "residual", "mean/residual"} <= set(metrics(folder))
    assert {path.name for path in (folder / "export").iterdir()} >= EXPORTS


def test_a_resumed_run_goes_on_from_its_codes(tmp_path):
    more = assert_resumes(tmp_path, *QUICK, "scheduler=constant", whole=3)
    assert metrics(more)["psnr_background"] == metrics(tmp_path / "whole")["psnr_background"]
