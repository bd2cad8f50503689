"""The text of --help: the options by group, with defaults and units, straight from the yaml files."""

import itertools
import re
from pathlib import Path

from rich.console import Console

HERE = Path(__file__).parents[1]
HIDDEN = ("hydra", "__pycache__")
BASE = "base"  # folders of options that several choices share
# Lines that tie an option to the code: nothing that a user sets.
FILLED = re.compile(r"\$\{(hydra:|resumed)")
SKIPPED = ("_target_", "_partial_", "_convert_", "defaults:", "- ", "# @package")
HEAD = """\
Fit coordinate networks to images, sounds and more, supervised by values and derivatives.

  python train.py [GROUP=CHOICE] [OPTION=VALUE] ...      -m and commas make a sweep
  python train.py task=image data.path=photo.jpg model=finer trainer.max_steps=2000
  python train.py task=image model=nid_moe data=images data.root=FOLDER regime=dictionary
  python train.py task=image data=images data.root=FOLDER regime=fit dictionary=RUN solver=ridge
  python train.py ckpt_path=RUN trainer.max_steps=5000   go on;  train=false ckpt_path=RUN   evaluate and export
"""


def body(file: Path) -> list[str]:
    """Return the lines of a yaml file that a user may set, comments included."""
    own = itertools.takewhile(lambda line: not line.startswith(("hydra:", "resumed:")), file.read_text().splitlines())
    # What follows in train.yaml the program fills in itself.
    return [line for line in own if line.strip() and not line.strip().startswith(SKIPPED) and not FILLED.search(line)]


def inherited(file: Path) -> str:
    """Return the files whose options a file has too, as a clause of its heading: those of a defaults list on one line."""
    line = re.search(r"^defaults: \[(.*)\]$", file.read_text(), re.MULTILINE)
    return f", with the options of {line[1].replace('@_here_', '')}" if line else ""


def groups() -> dict[str, list[Path]]:
    """Return the files of every group by what may stand before the equals sign; those of experiments in all their folders."""
    found: dict[str, list[Path]] = {}
    for file in sorted(HERE.rglob("*.yaml")):
        top, *rest = file.relative_to(HERE).parts
        if rest and top not in HIDDEN:
            folder = top if top == "experiment" else file.parent.relative_to(HERE).as_posix()
            found.setdefault(folder, []).append(file)
    return found


def show() -> None:
    """Print the help."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(HEAD)
    console.print("options of the run", style="bold")
    for line in body(HERE / "train.yaml"):
        if not line.startswith("#"):
            console.print(f"  {line}")
    for group, files in groups().items():
        names = [file.relative_to(HERE / group).with_suffix("").as_posix() for file in files]
        parent, _, folder = group.rpartition("/")
        shared = folder == BASE
        heading = f"{parent}: options that several choices have" if shared else f"{group}= {', '.join(names)}"
        console.print(f"\n{heading}", style="bold")
        for name, file in zip(names, files, strict=True):
            console.print(f"  {group}{'/' if shared else '='}{name}{inherited(file)}", style="underline")
            for line in body(file):
                console.print(f"    {line}")
