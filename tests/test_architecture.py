"""The house: which room may know which, no circles, and the size that things keep."""

import ast
import re
from pathlib import Path

import pytest

import train

ROOT = Path(train.__file__).parent
ROOMS = ("inr", "datamodules", "tasks", "conf", "train")  # from the ground up
FOREIGN = {
    "inr": {"hydra", "omegaconf", "lightning"},
    "datamodules": {"hydra", "omegaconf"},
    "tasks": {"hydra", "omegaconf"},
}
FILES = [*sorted(file for room in ROOMS[:-1] for file in (ROOT / room).rglob("*.py")), ROOT / "train.py"]
MODULES = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in FILES}
QUESTIONS = re.compile(r"(What|Which|How|Where|Whether|Who)\b")


def imports(file):
    """Full names of the modules that a file imports anywhere, under TYPE_CHECKING and in functions, too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in inside)


GRAPH = {name: sorted(set(imports(file)) & (MODULES.keys() - {name})) for name, file in MODULES.items()}


def folder(module):
    """The folder of a module; a loose file stands for itself."""
    parts = module.split(".")
    return ".".join(parts[:2])


def circle(graph):
    """A path that ends where it began, if there is one."""
    finished = set()

    def walk(node, path):
        if node in path:
            return [*path[path.index(node) :], node]
        if node in finished:
            return None
        finished.add(node)
        return next(filter(None, (walk(following, [*path, node]) for following in graph.get(node, ()))), None)

    return next(filter(None, (walk(node, []) for node in graph)), None)


def test_no_files_and_no_folders_import_each_other():
    assert circle(GRAPH) is None
    folders = {}
    for module, known in GRAPH.items():
        folders.setdefault(folder(module), set()).update(folder(one) for one in known if folder(one) != folder(module))
    assert circle(folders) is None
    assert circle({"a": ["b"], "b": ["c"], "c": ["a"]}) == ["a", "b", "c", "a"]  # the search itself can fail


@pytest.mark.parametrize("module", MODULES)
def test_rooms_know_only_those_below(module):
    room = module.split(".")[0]
    above = set(ROOMS[ROOMS.index(room) + 1 :])
    names = {name.split(".")[0] for name in imports(MODULES[module])}
    assert not names & (above | FOREIGN.get(room, set()))


def test_kinds_of_data_know_only_what_they_have_in_common():
    kinds = {"grids", "scenes", "scans", "shapes"}
    for module, known in GRAPH.items():
        if module.startswith("datamodules."):
            mine = module.split(".")[1]
            others = {name.split(".")[1] for name in known if name.startswith("datamodules.")} - {mine, "common"}
            assert not others & kinds, f"{module} knows {others}"


def test_the_layout_is_that_of_the_readme():
    assert {entry.name for entry in ROOT.iterdir() if (entry / "__init__.py").is_file()} == set(ROOMS[:-1])
    loose = {room: [file.name for file in (ROOT / room).glob("*.py") if file.name != "__init__.py"] for room in ROOMS[:-1]}
    assert loose["datamodules"] == loose["conf"] == []
    assert len(loose["inr"]) <= 7


@pytest.mark.parametrize("module", MODULES)
def test_things_are_small_and_say_what_they_are(module):
    tree = ast.parse(MODULES[module].read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            assert node.end_lineno - node.lineno < (200 if isinstance(node, ast.ClassDef) else 60), node.name
            assert not QUESTIONS.match(ast.get_docstring(node) or ""), node.name
    for node in tree.body:
        targets = node.targets[0] if isinstance(node, ast.Assign) else None
        assert not isinstance(targets, ast.Tuple), f"line {node.lineno}: constants stand one per line"


def test_comments_say_why():
    lines = [line for file in FILES for line in file.read_text().splitlines() if line.strip()]
    assert sum("#" in line for line in lines) >= 0.06 * len(lines)


def test_any_is_rare():
    text = [line for file in FILES for line in file.read_text().splitlines()]
    assert sum(bool(re.search(r"\bAny\b", line)) and not line.startswith("from typing") for line in text) <= 60
    assert sum("type: ignore" in line for line in text) <= 12
