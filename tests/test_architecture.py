"""Who may know whom, and what every file promises."""

import ast
from pathlib import Path

import pytest

import train

ROOT = Path(train.__file__).parent
LAYERS = {
    "inr": {"hydra", "omegaconf", "lightning", "tasks", "datamodules", "conf", "train"},
    "datamodules": {"hydra", "omegaconf", "tasks", "conf", "train"},
    "tasks": {"hydra", "omegaconf", "conf", "train"},
}
FILES = [file for layer in LAYERS for file in sorted((ROOT / layer).rglob("*.py"))]


def imports(file: Path) -> set[str]:
    """Top-level names of the packages that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_layers_know_only_those_below(file):
    assert not imports(file) & LAYERS[file.relative_to(ROOT).parts[0]]


@pytest.mark.parametrize("file", [*FILES, *sorted((ROOT / "conf").glob("*.py")), ROOT / "train.py"], ids=lambda file: file.name)
def test_files_stay_small(file):
    assert len(file.read_text().splitlines()) <= 300


def test_top_level_holds_what_the_layout_names():
    folders = {entry.name for entry in ROOT.iterdir() if (entry / "__init__.py").is_file()}
    assert folders == {"conf", "inr", "tasks", "datamodules"}
