"""Benchmarks run at toy size and print the tables that they promise."""

import importlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from running import SOLID, STEPS, collection, composed, metrics, run, small, tiny, tiny_image

import train

FOLDER = Path(train.__file__).parent / "benchmarks"
SIZE = ["--signals", "3", "--points", "16", "--hidden", "8", "--rounds", "1"]
TOY = [*SIZE, "--experts", "4", "8", "--naive-experts", "8", "--top-k", "2"]


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module
    for name in (
        "runs",
        "sdf",
        "ct",
        "nerf",
        "quality",
        "faces",
        "dictionary",
        "step",
        "same",
        "small_files",
        "optimisers",
        "many",
    ):
        sys.modules.pop(name, None)


def rows(text: str) -> list[list[str]]:
    """The cells of all rows of tables, headers left out."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    rules = {place for place, row in enumerate(cells) if row[0].startswith("---")}
    return [row for place, row in enumerate(cells) if not {place, place + 1} & rules]


def test_steps_of_all_forms_are_compared(benchmarks, capsys):
    dictionary = benchmarks("dictionary")
    dictionary.main([*TOY, "--skip-memory"])
    *experts, forms = capsys.readouterr().out.partition("losses of all forms agree")
    assert [row[0] for row in rows(experts[0])] == ["4", "8"]
    assert len(rows(forms)) == 2 * len(dictionary.FORMS)


@pytest.mark.parametrize("top_k", [2, None])
def test_all_forms_have_the_same_values_and_gradients(benchmarks, top_k, float64):
    dictionary = benchmarks("dictionary")
    size = dictionary.Size(3, 16, 8, "cpu")
    points, found = 2 * torch.rand(1, 16, 2) - 1, []
    for form in dictionary.FORMS.values():
        network = size.dictionary(8, top_k)
        values = form(network, points)
        values.square().sum().backward()
        found.append([values, *(parameter.grad for parameter in network.parameters())])
    for others in found[:-1]:
        torch.testing.assert_close(others, found[-1])


def test_both_optimisers_fit_a_picture_at_all_their_rates(benchmarks, tmp_path, capsys):
    rates = ["--steps", "2", "--points", "64", "--adam", "1e-3", "--muon", "1e-2", "1e-1", "--models", "sine"]
    small = [word for word in STEPS if "max_steps" not in word] + ["model.hidden_features=8", "model.activation.omega=30"]
    benchmarks("optimisers").main([str(tiny_image(tmp_path)), *rates, *small])
    table = rows(capsys.readouterr().out)
    assert [row[0] for row in table] == ["Adam 0.001", "Muon 0.01, 0.001", "Muon 0.1, 0.001"]
    assert len({row[1] for row in table}) == 3


def test_a_run_on_many_pictures_finds_what_a_bare_loop_finds(benchmarks, capsys):
    sizes = ["--count", "3", "--side", "8", "--steps", "9", "--hidden", "8", "--layers", "1", "--jobs", "0"]
    benchmarks("many").main(sizes)
    table = rows(capsys.readouterr().out)
    assert len(table) == 8
    for run_, _, loop, _ in (table[:4], table[4:]):
        assert float(run_[3]) == pytest.approx(float(loop[3]), abs=0.02)


def test_held_out_faces_are_encoded_refined_and_fitted_from_scratch(benchmarks, tmp_path, capsys):
    ramp = np.linspace(0, 1, 64)
    faces = [np.outer(np.sin(3 * ramp + place), np.cos(ramp * place / 9)) for place in range(60)]
    columns = np.stack([(127.5 + 120 * face).astype(np.uint8).flatten(order="F") for face in faces], 1)
    scipy.io.savemat(tmp_path / "olivettifaces.mat", {"faces": columns})
    data = ["data=olivetti", f"data.path={tmp_path / 'olivettifaces.mat'}", "supervision=val"]
    learned = run(tmp_path / "run", "task=image", *small("nid_moe"), *data, *STEPS, "regime=dictionary")
    capsys.readouterr()
    words = [str(tmp_path / "olivettifaces.mat"), "--count", "1", "--steps", "2"]
    benchmarks("faces").main([*words, "--dictionary", str(learned), "--plot", str(tmp_path / "curves.png")])
    table = rows(capsys.readouterr().out)
    assert [row[1] for row in table] == ["50", "1", "1", "1", "1", "1"]
    assert (tmp_path / "curves.png").is_file()


RAYS = ["--rays", "3", "--samples", "4", "--hidden", "8", "--rounds", "1", "--view", "6", "8"]


def test_steps_are_held_against_the_machine_and_the_trainer_against_a_loop(benchmarks, capsys, monkeypatch):
    step = benchmarks("step")
    eager = {way: words for way, words in step.WAYS.items() if not words[2]}
    monkeypatch.setattr(step, "WAYS", eager)
    monkeypatch.setattr(step, "FITS", {name: fit._replace(steps=step.WARM + 2) for name, fit in step.FITS.items()})
    monkeypatch.setattr("sys.argv", ["step.py", "--points", "64", "--rounds", "1", "--skip-memory"])
    step.main()
    table = rows(capsys.readouterr().out)
    assert [row[0] for row in table] == [*eager, *step.FITS]
    assert {row[3] for row in table if row[0].endswith("value only")} == {"1.00"}
    for half in ("", ", bf16"):
        assert step.value_only(f"random direction{half}, compiled") == f"value only{half}, compiled"


def test_products_of_a_step_are_those_of_its_passes(benchmarks):
    step = benchmarks("step")
    points, hidden = 512, 256
    weights = 3 * hidden**2  # between features; the first and the last layer add the rest
    value, direction, every = (step.products(way, points, "cpu") for way in ("value only", "random direction", "analytic"))
    assert value == pytest.approx(
        6 * points * (weights + 2 * hidden + 3 * hidden), rel=0.01
    )  # to the points none goes back: a hundredth
    assert direction == pytest.approx(2 * value, rel=0.01)
    assert every == pytest.approx(3 * value, rel=0.01)


def test_random_directions_lose_what_all_axes_do_in_the_mean(benchmarks):
    step = benchmarks("step")
    jacobian, target = torch.randn(1, 6, 3, 2).double(), torch.randn(1, 6, 3, 2).double()
    whole = step.Derivatives(jacobian).loss(target)
    turns = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])]
    some = [step.Derivatives((jacobian * v).sum(-1, keepdim=True), v.expand(1, 6, 2)).loss(target) for v in turns]
    torch.testing.assert_close(sum(some) / 2, whole)


def test_steps_of_a_radiance_field_agree_and_are_compared(benchmarks, capsys):
    nerf = benchmarks("nerf")
    eager = [way for way, (*_, compiled) in nerf.WAYS.items() if not compiled]
    nerf.main([*RAYS, "--skip-memory", "--ways", *eager])
    words = capsys.readouterr().out
    assert "the same jacobian" in words
    assert [row[0] for row in rows(words)] == eager


def test_a_way_that_is_wrong_is_not_timed(benchmarks, monkeypatch):
    nerf = benchmarks("nerf")
    right = nerf.predict_jvp
    monkeypatch.setattr(nerf, "predict_jvp", lambda *given: (right(*given)[0], 1.01 * right(*given)[1]))
    with pytest.raises(AssertionError, match="not close"):
        nerf.main([*RAYS, "--skip-memory"])


@pytest.mark.parametrize(
    ("name", "words", "way"),
    [
        ("dictionary", TOY, "naive: trunk and every expert per signal, messages | top 2"),
        ("nerf", RAYS, "double backward"),
        ("nerf", RAYS, "render"),
    ],
)
def test_memory_is_measured(name, words, way, benchmarks, monkeypatch, capsys):
    benchmark = benchmarks(name)
    monkeypatch.setattr(benchmark, "resident", {"VmRSS": 40.0, "VmHWM": 42.5}.get)
    benchmark.main([*words, "--memory-of", way])
    assert float(capsys.readouterr().out) == 2.5  # the peak, less what was held before


def test_a_view_is_rendered_in_proportion(benchmarks, monkeypatch, capsys):
    nerf = benchmarks("nerf")
    monkeypatch.setattr(nerf, "CHUNK", 10)
    nerf.main([*RAYS, "--render", "--chunks", "2", "--skip-memory", "--ways", "render", "render, bf16"])
    words = capsys.readouterr().out
    assert "2 of 5 chunks of 10 rays" in words
    assert [row[0] for row in rows(words)] == ["render", "render, bf16"]


@pytest.fixture
def here(benchmarks, monkeypatch, tmp_path):
    """A benchmark whose runs take place in this process."""

    def module_of(name):
        module, places = benchmarks(name), iter(range(100))

        def fit(options, program=None):
            words = [*(word for word in STEPS if "max_steps" not in word), *options]
            return metrics(run(tmp_path / f"run{next(places)}", *words))

        monkeypatch.setattr(module, "run", fit)
        return module

    return module_of


def test_every_model_reconstructs_a_slice(here, capsys, tmp_path):
    np.save(tmp_path / "slice.npy", np.arange(64.0).reshape(8, 8))
    words = ["--views", "30", "--models", "sine", "relu", "--steps", "1", "data.size=12", "model.hidden_features=8"]
    here("ct").main(["models", str(tmp_path / "slice.npy"), *words])
    found = [row[0] for row in rows(capsys.readouterr().out)]
    assert found == ["sine, val", "sine, val_der", "relu, val", "relu, val_der", "fbp", "fbp hann", "sart", "tv"]


def test_classical_rows_are_measured_on_finer_slices(here, capsys, tmp_path):
    np.save(tmp_path / "slice.npy", np.random.default_rng(0).random((32, 32)))
    here("ct").main(["rows", str(tmp_path / "slice.npy"), "--size", "16", "--views", "12", "6", "--photons", "1e4"])
    found = rows(capsys.readouterr().out)
    assert [row[0] for row in found] == ["fbp", "fbp hann", "sart", "tv"] * 4
    assert all(len(row) == 4 for row in found)


def test_quality_is_measured_by_the_clock(here, capsys, tmp_path, monkeypatch):
    quality = here("quality")
    words = [*tiny("image", tmp_path), "data.factor=4", "model.hidden_features=16"]
    monkeypatch.setitem(quality.WORKS, "tiny", quality.Work(" ".join(words), ("psnr", "ssim")))
    figures = tmp_path / "figures.json"
    arms = ["--arms", "default", "grid", "--seconds", "0.05", "0.1"]
    quality.main([str(tmp_path), "tiny", *arms, "--json", str(figures), "--plots", str(tmp_path / "plots")])
    text = capsys.readouterr().out
    found = rows(text)
    assert [row[0] for row in found][:4] == ["default, 0.05 s", "grid, 0.05 s", "default, 0.1 s", "grid, 0.1 s"]
    assert {"nearest", "bilinear", "bicubic"} <= {row[0] for row in found}
    assert (tmp_path / "plots" / "tiny.png").is_file()
    fits = json.loads(figures.read_text())["tiny"]["grid"]
    assert [f"{one['psnr']:.2f}" for one in fits] == [row[1] for row in found[1:4:2]]
    assert fits[0]["steps"] < fits[1]["steps"]
    first = next((f"after {one['seconds']:.1f} s" for one in fits if one["psnr"] >= fits[-1]["nearest/psnr"]), "never")
    assert re.search(rf"^not below nearest .*grid {first}$", text, re.MULTILINE)


def test_what_is_solved_has_one_row_and_seeds_are_averaged(here, capsys, tmp_path, monkeypatch):
    quality = here("quality")
    monkeypatch.setitem(quality.WORKS, "tiny", quality.Work(" ".join([*tiny("image", tmp_path), "data.points=16"])))
    monkeypatch.setitem(quality.ARMS, "solved", "model=spline solver=ridge supervision=val")
    fitted = []
    single = quality.run
    monkeypatch.setattr(quality, "run", lambda *words: fitted.append(single(*words)) or fitted[-1])
    quality.main([str(tmp_path), "tiny", "--arms", "solved", "grid", "--seconds", "0.01", "0.02", "--seeds", "0", "1"])
    found = {row[0]: row[1:] for row in rows(capsys.readouterr().out)}
    assert [name for name in found if name.startswith("solved")] == ["solved, solved"]
    one, other = (metrics["psnr"] for metrics in fitted[-2:])
    assert one != other
    assert [float(cell) for cell in found["grid, 0.02 s"][:2]] == pytest.approx([(one + other) / 2, abs(one - other)], abs=0.01)


def test_phantoms_are_encoded_and_fitted_from_scratch(here, capsys, tmp_path):
    tiny = ["data.count=8", "data.size=12", "data.tuning=2"]
    words = ["experiment=nid/ct", *tiny, *small("nid_moe")[1:], "model.experts=260", "data.held_out=2"]
    learned = run(tmp_path / "learned", *words, *STEPS, "trainer.val_check_interval=2")
    here("ct").main(["phantoms", str(learned), "--views", "6", "--count", "2", "--scratch", "1", "--steps", "1", *tiny])
    found = [row[0] for row in rows(capsys.readouterr().out)]
    assert found[:3] == ["ridge", "topk 128", "topk 256"]
    assert {"fbp", "sart", "mean", "sine from scratch, phantom 0"} <= set(found)


def test_ways_of_derivatives_in_space_agree_and_are_compared(benchmarks, capsys):
    benchmarks("sdf").main(["derivatives", "--points", "64", "--rounds", "1"])
    assert len(rows(capsys.readouterr().out)) == 8


def test_a_way_in_space_that_is_wrong_is_not_timed(benchmarks, monkeypatch):
    sdf = benchmarks("sdf")
    exact = sdf.forward
    monkeypatch.setattr(sdf, "forward", lambda network, points: [1.001 * seen for seen in exact(network, points)])
    with pytest.raises(AssertionError):
        sdf.agree()


def test_meshes_are_fitted_by_values_and_with_derivatives(here, capsys):
    here("sdf").main(["meshes", "null", "--steps", "2", *SOLID, "model.hidden_features=8"])
    assert [row[0] for row in rows(capsys.readouterr().out)] == ["sine, val", "sine, val_der", "linear"]


def test_shapes_are_encoded_and_fitted_from_scratch(here, capsys, tmp_path):
    tiny = [*collection("sdf", tmp_path)[1:], "supervision=val"]
    learned = run(tmp_path / "learned", "task=sdf", *tiny, *small("nid_moe"), "regime=dictionary", *STEPS)
    here("sdf").main(["shapes", str(learned), "--observed", "30", "--scratch", "1", "--steps", "1", *tiny])
    found = [row[0] for row in rows(capsys.readouterr().out)]
    assert found[:4] == ["ridge", "linear", "mean", "nearest training shape"]
    assert found[4:] == ["sine from scratch, shape 0", "ridge, shape 0"]


WEIGHTS = {"a": torch.tensor([0.0, float("nan")]), "b": torch.ones((), dtype=torch.bfloat16), "c": torch.ones(2, 3)}


def finished(folder, weights=WEIGHTS, curve="step,loss\n0,0.5\n1,0.25\n", mark=b"\x00", **figures):
    """The files of a run that is over."""
    for name in ("checkpoints", "export"):
        (folder / name).mkdir(parents=True)
    (folder / "metrics.csv").write_text(curve)
    table = {"psnr": 20.0, "ssim": None, "seconds": 1.0} | figures
    (folder / "metrics.json").write_text(json.dumps({name: {"value": value} for name, value in table.items()}))
    torch.save({"state_dict": weights}, folder / "checkpoints" / "last.ckpt")
    (folder / "export" / "picture.png").write_bytes(mark)
    (folder / "export" / "field.json").write_text(json.dumps(sorted(weights)))
    return folder


def verdicts(same, old, new):
    """The cells and differences of all comparisons."""
    found = [differ(old, new) for differ in same.COMPARED.values()]
    return [verdict.cell for verdict in found], [line for verdict in found for line in verdict.differences]


def test_runs_that_differ_in_their_seconds_are_equal(benchmarks, tmp_path):
    same = benchmarks("same")
    old, new = finished(tmp_path / "old"), finished(tmp_path / "new", seconds=2.0)
    assert verdicts(same, old, new) == (["equal"] * 4, [])
    for folder in (old, new):
        (folder / "metrics.csv").unlink()
        (folder / "checkpoints" / "last.ckpt").unlink()
    assert verdicts(same, old, new) == (["-", "-", "equal", "equal"], [])


@pytest.mark.parametrize(
    ("change", "place", "cell", "line"),
    [
        ({"curve": "step,loss\n0,0.5\n1,0.26\n"}, 0, "differs", "loss in row 1: 0.25, 0.26"),
        ({"curve": "step,loss\n0,0.5\n"}, 0, "differs", "2, 1 rows"),
        ({"curve": "step,loss\r\n0,0.5\r\n1,0.25\r\n"}, 0, "differs", "2, 2 rows"),
        ({"weights": WEIGHTS | {"a": torch.tensor([-0.0, float("nan")])}}, 1, "differ", "1 of 3 tensors, the first a"),
        ({"weights": WEIGHTS | {"c": torch.ones(2, 3).double()}}, 1, "differ", "1 of 3 tensors, the first c"),
        ({"weights": {"a": WEIGHTS["a"]}}, 1, "differ", "other names and shapes: b, c"),
        ({"psnr": 25.0}, 2, "1 of 2 differ, at most 0.2", "psnr: 20.0, 25.0, relative 0.2"),
        ({"ssim": 0.5}, 2, "1 of 2 differ, at most inf", "ssim: None, 0.5, relative inf"),
        ({"mae": None}, 2, "1 of 3 differ, at most inf", "mae: missing, None, relative inf"),
        ({"mark": b"\x01"}, 3, "differ", "export/picture.png"),
    ],
)
def test_runs_that_differ_in_anything_else_are_not(change, place, cell, line, benchmarks, tmp_path):
    cells, lines = verdicts(benchmarks("same"), finished(tmp_path / "old"), finished(tmp_path / "new", **change))
    assert cells == [cell if own == place else "equal" for own in range(4)]
    assert lines == [line]


def test_renamed_weights_are_compared_in_their_order(benchmarks, tmp_path):
    same = benchmarks("same")
    old = finished(tmp_path / "old")
    new = finished(tmp_path / "new", {"other": WEIGHTS["a"], **{name: WEIGHTS[name] for name in "bc"}})
    assert verdicts(same, old, new) == (["equal", "equal by order, 1 renamed", "equal", "equal"], [])
    swapped = finished(tmp_path / "swapped", dict(reversed(WEIGHTS.items())))
    assert verdicts(same, old, swapped) == (["equal"] * 4, [])


def test_runs_are_made_in_both_checkouts_after_those_that_they_build_on(benchmarks, monkeypatch, capsys, tmp_path):
    same = benchmarks("same")
    ends = {"image": (1.0, ""), "resume": (2.0, ""), "evaluation": (3.0, "")}

    def run_in(checkout, words):
        folder = Path(words[-1].removeprefix("hydra.run.dir="))
        finished(folder, psnr=len([word for word in words if word == "trainer.max_steps=8"]) * float(checkout.name == "new"))
        return ends[folder.name]

    monkeypatch.setattr(same, "run_in", run_in)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.py").touch()
    assert same.main([str(tmp_path / "old"), str(tmp_path / "new"), "evaluation"]) == 0
    assert [row[0] for row in rows(capsys.readouterr().out)] == ["image", "evaluation"]
    assert same.main([str(tmp_path / "old"), str(tmp_path / "new"), "resume"]) == 1
    words = capsys.readouterr().out
    assert rows(words)[1] == ["resume", "equal", "equal", "1 of 2 differ, at most 1", "equal", "2.0 / 2.0"]
    assert "- resume, figures: psnr: 0.0, 1.0, relative 1" in words
    ends["image"] = (1.0, "error: no")
    assert same.main([str(tmp_path / "old"), str(tmp_path / "new"), "image"]) == 1
    assert "- image, OLD failed: error: no" in capsys.readouterr().out


def test_renamed_options_are_those_of_the_new_checkout_alone(benchmarks, monkeypatch, tmp_path):
    same = benchmarks("same")
    monkeypatch.setattr(same, "NEW_WORDS", {"data.points": "data.samples", "trainer=cpu": "trainer=one a=b", "train": ""})
    old, new = (same.words_of("evaluation", new, tmp_path, tmp_path) for new in (False, True))
    assert (old[0], new[:2]) == ("trainer=cpu", ["trainer=one", "a=b"])
    assert "train=false" in old
    assert "train=false" not in new
    assert f"ckpt_path={tmp_path / 'image'}" in new
    assert same.translated("data.points=3") == ["data.samples=3"]


def test_compared_runs_compose(benchmarks, tmp_path):
    same = benchmarks("same")
    for name in same.RUNS:
        words = same.words_of(name, True, tmp_path, tmp_path)
        assert composed(tmp_path / "run", *words[:-1]).trainer.max_steps in (4, 8)
