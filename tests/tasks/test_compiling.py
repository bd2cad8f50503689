"""The rule of compile=auto, without compiling."""

import shutil

import pytest
import torch
from running import QUICK, checkpoint, run, small, tiny
from tiny.signals import network

from inr.field import Network
from tasks.base import INRTask, Training
from tasks.compiling import COMPILING, PASSES, RATES, SAVED, Work, has_compiler, pays

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def compiler(monkeypatch):
    monkeypatch.setattr("tasks.compiling.has_compiler", lambda: True)


@pytest.fixture
def compiled(monkeypatch):
    """The networks whose functions were passed through the compiler."""
    seen: list[Network] = []
    monkeypatch.setattr(Network, "compile_functions", lambda self, backend="inductor": seen.append(self))
    return seen


def steps_to_gain(sine, points, half):
    """Steps whose savings are the time of compiling: 3 hidden layers of 16 x 16 here have 512 weights between features."""
    seconds = COMPILING / SAVED[half]
    return seconds * RATES[half] * torch.get_num_threads() / (PASSES * 512 * points)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("points", [1000, 64000])
def test_a_training_is_compiled_once_its_savings_exceed_the_time_that_takes(points, half, compiler):
    sine = network("sine")
    limit = steps_to_gain(sine, points, half)
    few, many = (Work(points, int(factor * limit), None, half) for factor in (0.99, 1.01))
    assert (pays(few, sine, CPU), pays(many, sine, CPU)) == (False, True)
    assert not pays(many, sine, GPU)  # on which as many steps take less time
    enough = COMPILING / SAVED[half]
    by_clock = [Work(points, -1, factor * enough, half) for factor in (0.99, 1.01)]
    assert [pays(work, sine, CPU) for work in by_clock] == [False, True]
    assert not pays(Work(points, many.steps, 0.99 * enough, half), sine, CPU)  # whichever ends first
    assert not pays(Work(points, few.steps, 1.01 * enough, half), sine, CPU)


def test_a_training_of_unknown_length_is_not_compiled(compiler):
    assert not pays(Work(10**9, -1, None, True), network("sine"), CPU)


@pytest.mark.parametrize("model", ["grid", "spline"])
def test_tables_are_not_compiled(model, compiler):
    assert not pays(Work(10**6, 10**9, None, True), network(model), CPU)


def test_without_a_compiler_a_cpu_runs_eager_code(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    forever = Work(10**6, 10**12, None, True)
    assert not has_compiler()
    assert not pays(forever, network("sine"), CPU)
    assert pays(forever, network("sine"), GPU)
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "mine" else None)
    assert not has_compiler()
    monkeypatch.setenv("CXX", "mine")
    assert has_compiler()


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["compile=auto"], 0),
        (["compile=auto", "trainer.max_steps=10000000000"], 1),
        (["compile=auto", "trainer.max_seconds=1e6", "trainer.max_steps=-1"], 1),
        (["compile=auto", "trainer.max_seconds=1", "trainer.max_steps=-1"], 0),
        (["trainer.max_steps=10000000000"], 0),
        (["compile=true"], 1),
    ],
    ids=str,
)
def test_a_run_asks_the_rule_before_its_first_step(words, count, compiled, compiler, tmp_path, monkeypatch):
    monkeypatch.setattr("lightning.pytorch.loops.fit_loop._FitLoop.run", lambda self: None)  # no step is taken
    run(tmp_path / "run", *tiny("image", tmp_path), *QUICK, *words)
    assert len(compiled) == count


SEEN = {"val": 1, "val_der": 3, "val_der supervision.directions=random": 2, "der supervision.terms.jacobian.axes=[0]": 2}


@pytest.mark.parametrize("supervision", SEEN)
def test_points_of_a_step_count_once_per_tangent_more(supervision, tmp_path, monkeypatch):
    works = []
    monkeypatch.setattr("tasks.base.pays", lambda work, *_: works.append(work))
    words = [*tiny("image", tmp_path), *small("sine"), *QUICK, *f"supervision={supervision}".split(), "compile=auto"]
    folder = run(tmp_path / "run", *words, "data.points=50", "trainer.precision=bf16-mixed")
    assert works == [Work(50 * SEEN[supervision], 2, None, True)]
    assert checkpoint(folder)["global_step"] == 2


@pytest.mark.parametrize(("task", "points"), [("nerf", 64 * 16), ("sdf", 64), ("audio", 64)])
def test_every_sample_of_a_ray_is_a_point(task, points, tmp_path, monkeypatch):
    works = []
    monkeypatch.setattr("tasks.base.pays", lambda work, *_: works.append(work))
    words = [*tiny(task, tmp_path), *small("sine"), *QUICK, "supervision=val", "compile=auto", "data.points=64"]
    run(tmp_path / "run", *words)
    assert [work.points for work in works] == [points]


def test_other_values_are_refused(refusal, tmp_path):
    (line,) = refusal("compile=maybe")
    assert "compile must be true or false or auto, got maybe" in line
    with pytest.raises(ValueError, match="compile must be true, false or auto, got compile=maybe"):
        INRTask(Training(network("sine"), None, None, compile="maybe"), {})
