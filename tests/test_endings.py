"""The end of a training: after so many seconds, or once nothing is gained any more; and optimisers that go on."""

import math

import pytest
import torch
from hydra.errors import InstantiationException
from running import QUICK, assert_resumes, checkpoint, composed, metrics, run, tiny_image
from tiny.signals import TASKS

from conf.command.compose import lift_step_limit
from inr.errors import InputError
from tasks.callbacks import FiniteLoss

WITHOUT_STEPS = [option for option in QUICK if not option.startswith("trainer.max_steps")]
UNLIMITED = [*WITHOUT_STEPS, "data.points=50", "trainer.val_check_interval=1000"]


@pytest.fixture
def rates(monkeypatch):
    """Learning rates after every step, of a computer that takes a second for each step and no time for anything else."""
    now, rates = [100.0], []

    def tick(self, trainer, *_):
        now[0] += 1
        rates.append(trainer.optimizers[0].param_groups[-1]["lr"])

    monkeypatch.setattr(FiniteLoss, "on_train_batch_end", tick)
    monkeypatch.setattr("lightning.pytorch.callbacks.timer.time.monotonic", lambda: now[0])
    return rates


def cosine(share):
    return (1 + math.cos(math.pi * share)) / 2


def test_a_training_ends_after_its_seconds_and_the_schedule_follows_the_clock(rates, tmp_path):
    options = [f"data.path={tiny_image(tmp_path)}", *UNLIMITED, "scheduler=cosine", "optimizer.lr=1.0"]
    folder = run(tmp_path / "run", *options, "trainer.max_seconds=10")
    assert metrics(folder)["steps"] == metrics(folder)["seconds"] == 10
    assert rates == pytest.approx([cosine(second / 10) for second in range(10)])  # told at the start of each step


def test_of_steps_and_seconds_the_first_to_run_out_ends_the_training(rates, tmp_path):
    options = [f"data.path={tiny_image(tmp_path)}", *UNLIMITED, "scheduler=cosine", "optimizer.lr=1.0", "trainer.max_seconds=8"]
    assert metrics(run(tmp_path / "steps", *options, "trainer.max_steps=4"))["steps"] == 4
    assert rates == pytest.approx([cosine(step / 4) for step in range(1, 5)])
    assert metrics(run(tmp_path / "seconds", *options, "trainer.max_steps=400"))["steps"] == 8


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        ([], None),
        (["trainer.max_seconds=60"], -1),
        (["trainer.stop=plateau"], -1),
        (["trainer.max_seconds=60", "trainer.max_steps=7"], 7),
        (["trainer.max_seconds=null"], None),
    ],
)
@pytest.mark.parametrize("task", TASKS)
def test_steps_that_nobody_named_do_not_end_a_training_by_the_clock(task, words, steps, tmp_path):
    cfg, default = composed(tmp_path, f"task={task}", *words), composed(tmp_path, f"task={task}").trainer.max_steps
    lift_step_limit(cfg, [f"task={task}", *words])
    assert cfg.trainer.max_steps == (default if steps is None else steps)


def test_a_resumed_training_goes_on_with_the_seconds_that_it_has_taken(rates, tmp_path):
    options = [f"data.path={tiny_image(tmp_path)}", *UNLIMITED, "scheduler=constant"]
    whole = run(tmp_path / "whole", *options, "trainer.max_seconds=7")
    first = run(tmp_path / "first", *options, "trainer.max_seconds=4")
    again = run(tmp_path / "again", f"ckpt_path={first}", "trainer.max_seconds=7")
    assert [metrics(folder)["seconds"] for folder in (whole, first, again)] == [7, 4, 7]
    one, other = checkpoint(whole), checkpoint(again)  # their curves differ by the validation that the first one ended with
    assert str(one["optimizer_states"]) == str(other["optimizer_states"])
    assert all(torch.equal(weights, other["state_dict"][name]) for name, weights in one["state_dict"].items())
    rates.clear()
    run(tmp_path / "cosine", f"ckpt_path={first}", "trainer.max_seconds=6", "scheduler=cosine", "optimizer.lr=1.0")
    assert rates == pytest.approx([cosine(second / 6) for second in (4, 5)])
    with pytest.raises(InputError, match=r"needs trainer\.max_seconds beyond the 7\.0 seconds that the run has, got 7"):
        run(tmp_path / "over", f"ckpt_path={again}", "trainer.max_seconds=7")
    assert (
        metrics(run(tmp_path / "steps", f"ckpt_path={again}", "trainer.max_seconds=null", "trainer.max_steps=9"))["steps"] == 9
    )


def test_a_training_ends_where_validations_gain_nothing_and_says_so(tmp_path, capsys):
    options = [f"data.path={tiny_image(tmp_path)}", *WITHOUT_STEPS, "trainer.val_check_interval=3", "data.points=50"]
    options += ["trainer.stop=plateau", "trainer.patience=2", "scheduler=constant"]
    folder = run(tmp_path / "still", *options, "optimizer.lr=0.0")
    assert metrics(folder)["steps"] == 9  # a first validation, and two that are no better
    assert "training ended after 9 steps: its last 2 validations did not gain 0.05 dB" in capsys.readouterr().out
    learning = ["optimizer.lr=1e-3", "trainer.max_steps=15"]
    assert metrics(run(tmp_path / "learning", *options, *learning, "trainer.gain=0"))["steps"] == 15
    assert "training ended" not in capsys.readouterr().out
    assert metrics(run(tmp_path / "greedy", *options, *learning, "trainer.gain=50"))["steps"] == 9


def test_a_resumed_training_goes_on_counting_validations_without_a_gain(tmp_path):
    options = [f"data.path={tiny_image(tmp_path)}", *WITHOUT_STEPS, "trainer.val_check_interval=3", "data.points=50"]
    options += ["trainer.stop=plateau", "trainer.patience=3", "scheduler=constant", "optimizer.lr=0.0"]
    first = run(tmp_path / "first", *options, "trainer.max_steps=7")
    assert metrics(run(tmp_path / "same", f"ckpt_path={first}", "trainer.max_steps=99"))["steps"] == 12
    assert metrics(run(tmp_path / "sooner", f"ckpt_path={first}", "trainer.max_steps=99", "trainer.patience=2"))["steps"] == 9


@pytest.mark.parametrize("option", ["max_seconds=0", "max_seconds=-3", "patience=0", "gain=-1.0"])
def test_endings_out_of_range_are_refused(option, tmp_path):
    with pytest.raises(InstantiationException, match=f"trainer.{option.partition('=')[0]} (must|counts)"):
        run(tmp_path / "run", f"data.path={tiny_image(tmp_path)}", *QUICK, "scheduler=constant", f"trainer.{option}")


def test_a_cosine_without_an_end_names_what_it_needs(tmp_path):
    with pytest.raises(InstantiationException, match=r"give trainer\.max_steps or trainer\.max_seconds, or choose"):
        run(tmp_path / "run", f"data.path={tiny_image(tmp_path)}", *UNLIMITED, "trainer.stop=plateau", "scheduler=cosine")


@pytest.mark.parametrize("model", ["sine", "wire"])
def test_half_a_run_with_muon_and_its_resume_equal_the_whole(model, tmp_path):
    options = [f"data.path={tiny_image(tmp_path)}", *QUICK, "data.points=50", f"model={model}"]
    resumed = assert_resumes(tmp_path, *options, "optimizer=muon", "optimizer.rest_lr=3e-3", half=4, whole=7)
    assert [group["kind"] for group in checkpoint(resumed)["optimizer_states"][0]["param_groups"]] == ["rest", "hidden"]


def test_a_resumed_run_takes_new_rates_of_every_group(tmp_path):
    first = run(tmp_path / "first", f"data.path={tiny_image(tmp_path)}", *QUICK, "optimizer=muon")
    for name, moves in (("lr", "hidden"), ("rest_lr", "rest")):
        rates = {"optimizer.lr": "0.0", "optimizer.rest_lr": "0.0", f"optimizer.{name}": "1e-3"}
        words = [f"{option}={rate}" for option, rate in rates.items()]
        second = run(tmp_path / name, f"ckpt_path={first}", "trainer.max_steps=3", "optimizer=muon", *words)
        before, after = (checkpoint(folder)["state_dict"] for folder in (first, second))
        moved = {key for key in before if not torch.equal(before[key], after[key])}
        hidden = {key for key in moved if key.endswith("weight") and ".layers.0." not in key and ".layers.8." not in key}
        assert moved == hidden if moves == "hidden" else moved and not hidden


def test_another_optimiser_starts_from_the_weights_alone_and_says_so(tmp_path):
    first = run(tmp_path / "first", f"data.path={tiny_image(tmp_path)}", *QUICK)
    with pytest.warns(
        UserWarning, match=r"had inr\.optimisers\.adam\.Adam; inr\.optimisers\.muon\.Muon starts from its weights"
    ):
        second = run(tmp_path / "second", f"ckpt_path={first}", "trainer.max_steps=4", "optimizer=muon")
    assert metrics(second)["steps"] == 4
    (state,) = checkpoint(second)["optimizer_states"]
    counts = {float(one["step"]) for one in state["state"].values() if "step" in one}
    assert counts == {2}
