"""What the loggers hold, read back from their files; sweeps."""

import csv
import json
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import QUICK, assert_resumes, command, curve, metrics, run, tiny_image


def test_tensorboard_holds_metrics_and_pictures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = [f"data.path={tiny_image(tmp_path)}", *QUICK, "callbacks.results.pictures=true", "logger=tensorboard"]
    folder = run(tmp_path / "run", *options)
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    losses = [event.value for event in events.Scalars("train/loss")]
    assert losses == pytest.approx([float(row["train/loss"]) for row in curve(folder)])
    assert events.Scalars("test/psnr")[0].value == pytest.approx(metrics(folder)["psnr"])
    assert {"pictures/reconstruction", "pictures/derivatives"} <= set(events.Tags()["images"])


def test_a_sweep_leaves_a_folder_a_wandb_run_and_a_row_for_each_job(tmp_path):
    options = [option for option in QUICK if "pictures" not in option and "hidden" not in option]
    words = ["-m", f"data.path={tiny_image(tmp_path)}", "data.factor=2", "model=sine,relu", "supervision=val,val_der"]
    environment = os.environ | {"WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true"}
    subprocess.run(
        command(*words, *options, "logger=wandb"), check=True, cwd=tmp_path, env=environment, capture_output=True, timeout=300
    )
    (sweep,) = (tmp_path / "multirun").iterdir()
    with (sweep / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["supervision"]) for row in rows] == [
        (model, supervision) for model in ("sine", "relu") for supervision in ("val", "val_der")
    ]
    runs = set()
    for job, row in enumerate(rows):
        folder = sweep / str(job)
        assert float(row["psnr"]) == pytest.approx(metrics(folder)["psnr"])
        (offline,) = (folder / "wandb").glob("offline-run-*")
        runs.add(offline.name)
        assert list((offline / "files" / "media" / "images" / "pictures").glob("reconstruction*.png"))
        logged = wandb_history(offline)
        assert logged["train/loss"] == pytest.approx(float(curve(folder)[-1]["train/loss"]))
        assert logged["test/psnr"] == pytest.approx(metrics(folder)["psnr"])
    assert len(runs) == 4


def tensorboard_curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of every scalar in a run's events."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def wandb_curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of every figure in a run's offline folder."""
    (offline,) = (folder / "wandb").glob("offline-run-*")
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in wandb_rows(offline):
        for name, value in row.items():
            if "/" in name and not isinstance(value, dict) and name != "trainer/global_step":
                curves.setdefault(name, []).append((row["trainer/global_step"], value))
    return curves


@pytest.mark.parametrize(("logger", "curves"), [("tensorboard", tensorboard_curves), ("wandb", wandb_curves)])
@pytest.mark.parametrize(("interval", "every"), [(4, 100), (5, 2), (3, 3)])
def test_more_steps_after_a_finished_run_give_the_curves_of_a_longer_one(
    logger, curves, interval, every, tmp_path, monkeypatch
):
    monkeypatch.setenv("WANDB_SILENT", "true")
    options = [f"data.path={tiny_image(tmp_path)}", *QUICK, f"logger={logger}", "trainer.log_every_n_steps=2"]
    options += [f"trainer.val_check_interval={interval}", f"callbacks.checkpoints.every={every}", "data.points=50"]
    resumed = assert_resumes(tmp_path, *options, half=6, whole=12)
    whole = curves(tmp_path / "whole")
    assert curves(resumed) == whole
    assert [step for step, _ in whole["train/loss"]] == [1, 3, 5, 7, 9, 11]
    assert len(whole["val/psnr"]) == 12 // interval


def test_a_resumed_run_goes_on_under_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    first = run(tmp_path / "first", f"data.path={tiny_image(tmp_path)}", *QUICK, "logger=wandb")
    second = run(tmp_path / "second", f"ckpt_path={first}", "trainer.max_steps=3", "logger=wandb")
    other = run(tmp_path / "other", f"data.path={tiny_image(tmp_path)}", *QUICK, "logger=wandb")
    names = [file.stem for folder in (first, second, other) for file in (folder / "wandb").glob("offline-run-*/*.wandb")]
    assert names[0] == names[1] != names[2]


def wandb_history(folder: Path) -> dict[str, float]:
    """The last value of every figure in an offline run."""
    return {name: value for row in wandb_rows(folder) for name, value in row.items()}


def wandb_rows(folder: Path) -> Iterator[dict[str, float]]:
    """The rows of an offline run."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("*.wandb")
    for data in leveldb_records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.history.item:
            yield {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}


def leveldb_records(log: bytes, block: int = 32768) -> Iterator[bytes]:
    """Records of a LevelDB log: blocks of fragments, each with checksum (4 bytes), length (2) and type (1: full .. 4: last)."""
    position, parts = 7, b""
    while position + 7 <= len(log):
        if block - position % block < 7:
            position += block - position % block
            continue
        length, kind = struct.unpack_from("<HB", log, position + 4)
        parts += log[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""
