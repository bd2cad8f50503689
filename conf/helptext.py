"""What --help prints: the options by group, with defaults and units, straight from the yaml files."""

from pathlib import Path

from rich.console import Console

HERE = Path(__file__).parent
HIDDEN = ("hydra", "__pycache__")
SKIPPED = ("_target_", "_partial_", "_convert_", "defaults:", "- ", "# @package", "resumed:")
HEAD = """\
Fit coordinate networks to images, sounds and more, supervised by values and derivatives.

  python train.py [GROUP=CHOICE] [OPTION=VALUE] ...      -m and commas make a sweep
  python train.py task=image data.path=photo.jpg model=finer trainer.max_steps=2000
  python train.py ckpt_path=RUN trainer.max_steps=5000   go on;  train=false ckpt_path=RUN   evaluate and export
"""


def body(file: Path) -> list[str]:
    """The lines of a yaml file that a user may set, without those that tie it to the code."""
    lines = []
    for line in file.read_text().splitlines():
        if line in ("hydra:", "resumed:"):
            break
        text = line.strip()
        if text and not text.startswith(SKIPPED) and "${hydra:" not in text and "${resumed" not in text:
            lines.append(line)
    return lines


def choices(folder: Path) -> list[str]:
    """The names that may stand behind GROUP=."""
    return sorted(str(file.relative_to(folder).with_suffix("")) for file in folder.rglob("*.yaml"))


def show() -> None:
    """Print the help."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(HEAD)
    console.print("options of the run", style="bold")
    for line in body(HERE / "train.yaml"):
        if not line.startswith("#"):
            console.print(f"  {line}")
    for folder in sorted(entry for entry in HERE.iterdir() if entry.is_dir() and entry.name not in HIDDEN):
        console.print(f"\n{folder.name}= {', '.join(choices(folder))}", style="bold")
        for name in choices(folder):
            console.print(f"  {folder.name}={name}", style="underline")
            for line in body(folder / f"{name}.yaml"):
                console.print(f"    {line}")
