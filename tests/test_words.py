"""The words of a command as people type them: odd names of files, used folders, settings of Hydra, searches."""

import csv
import os
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from running import QUICK, checkpoint, metrics, run, tiny_image

import train
from conf.command.cli import in_quotes, rewritten, told
from inr.errors import InputError

ODD = ["IMG 2024 (1).png", "größe_図.png", "a=b.png", "x,y.png", "it's {one}, [two].png", "qu\"ote's.png", "back\\slash.png"]
SMALL = [option for option in QUICK if "hidden" not in option]


@pytest.fixture
def typed(monkeypatch, tmp_path):
    """A command of this process, typed in a folder."""
    monkeypatch.chdir(tmp_path)

    def run_words(*words: str) -> None:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        train.main()

    return run_words


@pytest.mark.parametrize("name", ODD)
def test_a_file_is_named_as_it_is(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_image(tmp_path).rename(tmp_path / name)
    for path in (name, f"./{name}", str(tmp_path / name)):
        (word,) = rewritten([f"data.path={path}"])
        assert OverridesParser.create().parse_override(word).value() == path


@pytest.mark.parametrize("value", ["a b", "it's", 'say "so"', "end\\", "both ' \"", "\\'", '\\\\"'])
def test_text_in_quotes_is_the_same_text(value):
    assert OverridesParser.create().parse_override(in_quotes("option", value)).value() == value


def test_warnings_of_data_are_one_line(monkeypatch):
    monkeypatch.delenv("INR_FULL_ERROR", raising=False)
    assert told("the surface is open", UserWarning, "meshes.py", 27) == "warning: the surface is open\n"
    assert told("use y", DeprecationWarning, "x.py", 3) == "x.py:3: DeprecationWarning: use y\n"
    monkeypatch.setenv("INR_FULL_ERROR", "1")
    assert told("the surface is open", UserWarning, "meshes.py", 27) == "meshes.py:27: UserWarning: the surface is open\n"


def test_other_words_stay_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("sine", "relu", "null"):
        (tmp_path / name).touch()
    words = [
        "model=sine",
        "data.path='a b'",
        "seed=0,1",
        "data.size=[3,4]",
        "data.path=null",
        "~experiment",
        "hydra.run.dir=x${seed}",
    ]
    assert rewritten(words) == words
    assert rewritten(["seed=0,1", "-m", "logger=null"]) == ["-m", "seed=0,1", "~logger"]


def test_a_run_of_an_oddly_named_file_and_its_resume(typed, tmp_path):
    tiny_image(tmp_path).rename(tmp_path / ODD[0])
    typed(f"data.path={ODD[0]}", *QUICK, "hydra.run.dir=my run", "logger=null")
    assert not (tmp_path / "my run" / "metrics.csv").exists()
    typed("ckpt_path=my run", "trainer.max_steps=3", "hydra.run.dir=second (1)")
    assert checkpoint(tmp_path / "second (1)")["global_step"] == 3


@pytest.mark.parametrize(
    ("words", "phrases"),
    [
        (["data.path=IMG 2025 (1).png"], ("must be an existing file, got", "its folder holds IMG 2024 (1).png")),
        (["data.path=IMG", "2024", "(1).png"], ("one word, got 3; write 'data.path=IMG 2024 (1).png'",)),
        (["seed=a b (c)"], ("got seed=a b (c)", "in quotes: 'seed=\"a b (c)\"'")),
        (["--optimizer.lr=0.1"], ("without hyphens, got --optimizer.lr=0.1; write optimizer.lr=0.1", "args_no_hyphens")),
        (["hydra.run.dir='USED 0'"], ("must not hold another run, USED 0 has metrics.json",)),
        (['hydra.run.dir="USED 0"'], ("must not hold another run, USED 0 has metrics.json",)),
        (["hydra.run.dir=USED 0"], ("must not hold another run, USED 0 has metrics.json",)),
        (["hydra.run.dir=USED ${seed}"], ("must not hold another run, USED 0 has metrics.json",)),
        (["hydra.sweep.dir='USED 0'", "-m", "seed=0,1"], ("must not hold another run, USED 0 has metrics.json",)),
        (["hydra.run.dir=${unused:/proc/outputs}"], ("needs a folder", "/proc/outputs", "choose one: hydra.run.dir=DIR")),
        (["hydra.job.chdir=true"], ("hydra.job.chdir must be false", "leave it out")),
        (["+trainer.fast_dev_run=true"], ("trainer.fast_dev_run would evaluate a part", "debug=limit")),
        (["+trainer.limit_test_batches=1"], ("trainer.limit_test_batches would evaluate a part", "debug=limit")),
        (["trainer.precision=16"], ("trainer.precision must be 32-true, bf16-mixed, 16-mixed, got 16",)),
        (["objective=psnrr", "data.path=IMG 2024 (1).png", *QUICK], ("must be a figure of the test, psnr,", "got psnrr")),
        (["-m", "hydra/sweeper=optuna", "seed=0,1"], ("one number to optimise", "add objective=psnr")),
        (["-m", "hydra/sweeper=optuna", "seed=0,1", "objective=psnr"], ("minimises", "hydra.sweeper.direction=maximize")),
    ],
)
def test_words_that_cannot_be_meant_end_in_one_line(words, phrases, refusal, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_image(tmp_path).rename(tmp_path / "IMG 2024 (1).png")
    used = tmp_path / "my run 0"
    used.mkdir()
    (used / "metrics.json").touch()
    words = [word.replace("USED", str(used)[:-2]) for word in words]
    (line,) = [line for line in refusal(*words) if line.startswith("error: ")]  # Optuna has its own words
    for phrase in phrases:
        assert phrase.replace("USED", str(used)[:-2]) in line


def test_a_search_finds_the_best_of_its_jobs(typed, tmp_path, capfd):
    words = ["hydra/sweeper=optuna", "objective=psnr", "hydra.sweeper.direction=maximize", "hydra.sweeper.n_trials=3"]
    words += ["hydra.sweeper.sampler.seed=1", "model.hidden_features=choice(0,8,16)", "hydra.sweep.dir=search"]
    with pytest.raises(SystemExit) as end:  # a job fails, the others go on
        typed("-m", *words, f"data.path={tiny_image(tmp_path)}", *SMALL)
    assert end.value.code == 1
    best = OmegaConf.load(tmp_path / "search" / "optimization_results.yaml")
    found = {}
    for job in range(3):
        if (tmp_path / "search" / str(job) / "metrics.json").is_file():
            found[job] = metrics(tmp_path / "search" / str(job))["psnr"]
    assert best.best_value == pytest.approx(max(found.values()))
    assert len(found) in (1, 2)
    assert f"best psnr {best.best_value:.4g}: model.hidden_features=" in capfd.readouterr().out


def test_jobs_of_a_sweep_run_side_by_side(typed, tmp_path):
    options = [f"data.path={tiny_image(tmp_path)}", *QUICK]
    typed("-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=sweep", "seed=0,1", *options)
    with (tmp_path / "sweep" / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows] == ["0", "1"]
    alone = run(tmp_path / "alone", *options, "seed=1")
    assert float(rows[1]["psnr"]) == pytest.approx(metrics(alone)["psnr"])


@pytest.mark.parametrize("whole", [True, False])
def test_a_notebook_composes_and_runs(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    GlobalHydra.instance().clear()
    options = [f"data.path={tiny_image(tmp_path)}", *QUICK]
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("train", overrides=[*options, "objective=psnr"], return_hydra_config=whole)
        again = compose("train", overrides=["ckpt_path=RUN"], return_hydra_config=False)
    figures = [train.run(cfg), train.run(cfg)]
    first, second = sorted((tmp_path / "outputs" / "image").iterdir())
    assert figures == [pytest.approx(metrics(folder)["psnr"]) for folder in (first, second)]
    assert not HydraConfig.initialized()
    with pytest.raises(InputError, match="return_hydra_config=True"):
        train.run(again)
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("train", overrides=[f"ckpt_path={first}", "trainer.max_steps=3"], return_hydra_config=True)
    train.run(cfg)
    newest: Path = max((tmp_path / "outputs" / "image").iterdir(), key=os.path.getmtime)
    assert checkpoint(newest)["global_step"] == 3
