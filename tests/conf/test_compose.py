"""A resumed run keeps its task, model and data; some choices are made by the data."""

import pytest
from omegaconf import OmegaConf
from running import QUICK, RAYS, STEPS, assert_resumes, checkpoint, run, tiny_image, tiny_sound

from conf.command.compose import refuse_changes
from datamodules.grids.image import ImageData
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


@pytest.mark.parametrize(("task", "write", "other"), [("image", tiny_image, "sine"), ("audio", tiny_sound, "spline")])
def test_a_signal_on_which_every_sample_trains_has_model_and_supervision_of_its_own(task, write, other, tmp_path):
    path = write(tmp_path)

    def chosen(name, *words):
        folder = run(tmp_path / name, f"task={task}", f"data.path={path}", *STEPS, *words)
        config = checkpoint(folder)["config"]
        return config["model"]["_target_"], set(config["supervision"]["terms"]), folder

    def of(model):
        return chosen(model, f"model={model}", "supervision=val")[0]

    whole, terms, folder = chosen("whole")
    assert (whole, terms) == (of("grid"), {"value"})
    assert chosen("again", f"ckpt_path={folder}", "trainer.max_steps=3")[:2] == (whole, {"value"})
    for name, words in {
        "factor": ["data.factor=2"],
        "limit": ["data.limit=50"],
        "missing": ["data.corruption=missing"],
        "noise": ["data.corruption=gaussian"],
    }.items():
        assert chosen(name, *words)[:2] == (of(other), {"value", "jacobian"})
    for name, (words, model, supervised) in {
        "model": (["model=finer"], of("finer"), {"value"}),
        "model of own": (["model@whole.model=finer"], of("finer"), {"value"}),
        "supervision": (["supervision=der"], whole, {"jacobian"}),
        "supervision of own": (["supervision@whole.supervision=der"], whole, {"jacobian"}),
        "weight": (["supervision.terms.jacobian.weight=0.1"], whole, {"value", "jacobian"}),
        "penalty": (["penalty=nonnegative"], whole, {"value", "jacobian", "nonnegative"}),
    }.items():
        assert chosen(name, *words)[:2] == (model, supervised)


def test_scenes_train_on_slopes_where_pixels_are_kept_back(tmp_path):
    for factor, terms in {1: {"value"}, 2: {"value", "jacobian"}}.items():
        folder = run(tmp_path / str(factor), "task=nerf", "data=spheres", *RAYS, *STEPS, f"data.factor={factor}")
        assert set(checkpoint(folder)["config"]["supervision"]["terms"]) == terms


def test_omega_auto_is_measured_once_and_saved(tmp_path):
    words = [f"data.path={tiny_image(tmp_path)}", "data.factor=2", *QUICK, "model.activation.omega=auto"]
    resumed = assert_resumes(tmp_path, *words)
    data = ImageData(path=str(tmp_path / "tiny.png"), factor=2)
    omega = checkpoint(resumed)["config"]["model"]["activation"]["omega"]
    assert omega == pytest.approx(3 * (3**0.5 * 2 * data.slope()) ** 0.6, abs=0.05)


def test_omega_auto_counts_points_as_they_are_stretched(tmp_path):
    words = ["task=audio", "model=sine", f"data.path={tiny_sound(tmp_path)}", *QUICK, "model.activation.omega=auto"]
    omegas = {}
    for stretch in (1.0, 4.0):
        folder = run(tmp_path / str(stretch), *words, f"model.input_scale={stretch}")
        omegas[stretch] = checkpoint(folder)["config"]["model"]["activation"]["omega"]
    assert omegas[1.0] == pytest.approx(4**0.6 * omegas[4.0], rel=0.02)


def test_omega_auto_is_refused_where_the_field_is_not_sampled(tmp_path):
    for name, words in {"ct": ["task=ct", "model=sine"], "nerf": ["task=nerf", "model=sine"]}.items():
        with pytest.raises(InputError, match=r"of one image, sound or shape, got \w+; give model.activation.omega a number"):
            run(tmp_path / name, *words, *STEPS, "model.activation.omega=auto")
