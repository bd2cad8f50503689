"""A resumed run keeps its task, model and data."""

import pytest
from omegaconf import OmegaConf

from conf.command.compose import refuse_changes
from inr.errors import InputError

RUN = {
    "task": {"_target_": "tasks.image.ImageTask"},
    "data": {"path": "/there/a.png", "factor": None, "shape": [24, 24], "seed": "${seed}"},
    "model": {"activation": {"_target_": "inr.networks.activations.Sine", "omega": 30.0}, "sizes": [1, 2]},
    "seed": 0,
}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("task._target_", "tasks.audio.AudioTask", "of its run; task._target_ was tasks.image.ImageTask, got tasks.audio"),
        ("data.path", "/there/b.png", r"data\.path was /there/a\.png, got /there/b\.png\. Leave it out, or start a new run"),
        ("data.limit", 2, r"data\.limit was null, got 2"),
        ("model.activation.omega", 31, r"model\.activation\.omega was 30\.0, got 31"),
        ("model.sizes", [1, 3], r"model\.sizes was \[1, 2\], got \[1, 3\]"),
    ],
)
def test_changes_are_refused_alone_and_with_their_group(key, value, message):
    base, cfg = OmegaConf.create(RUN), OmegaConf.create(RUN)
    OmegaConf.update(cfg, key, value, force_add=True)
    for changed in (key, key.partition(".")[0]):
        with pytest.raises(InputError, match=message):
            refuse_changes(cfg, base, [changed])


def test_the_same_options_are_no_change(monkeypatch):
    monkeypatch.chdir("/")
    cfg = OmegaConf.create(RUN)
    cfg.data.path = "there/a.png"  # which runs save as an absolute path
    del cfg.data["shape"]  # which runs add when they know it
    refuse_changes(cfg, OmegaConf.create(RUN), ["task", "data", "model", "data.path", "data.seed"])
