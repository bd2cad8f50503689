"""What the loggers hold, read back from their files; sweeps."""

import csv
import json
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import QUICK, command, curve, metrics, run, tiny_image


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


def wandb_history(folder: Path) -> dict[str, float]:
    """The last value of every figure in an offline run."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("*.wandb")
    values: dict[str, float] = {}
    for data in leveldb_records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for item in record.history.item:
            values[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return values


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
