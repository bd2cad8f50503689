"""Show that two checkouts of this project compute the same, to the bit: short runs of every kind in both, compared one by one.

    python benchmarks/same.py OLD NEW [RUN ...]
    python benchmarks/same.py --list

Every run is a command of its own on the CPU, in both checkouts at once and with the same small files, which are made anew.
Compared are the curve (bytes of `metrics.csv`), the final weights (bits of all tensors in `last.ckpt`), the figures
(`metrics.json`, but for times) and exported files (their bytes). What differs is listed below the table, and the exit status
is 1. RUN restricts it to some runs and those that they build on.
"""

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import soundfile
import torch
from runs import header, say
from small_files import write_files

# Where NEW has renamed an option: OLD's word -> NEW's. {"data.points": "data.samples"} whatever the value, {"model=relu":
# "model=mlp"} for one value; several words of NEW have spaces between them, and "" leaves the option out.
NEW_WORDS = {"model=positional": "model=relu", "model@model.trunk=positional": "model@model.trunk=relu"}
# Where NEW has renamed weights: the beginning of OLD's name -> that of NEW's.
NEW_NAMES = {"constant": "constant.value", "network.own.": "network.residuals."}
TIMES = ("seconds", "encode_seconds")
COMMON = (
    "trainer.max_steps=4 trainer.val_check_interval=2 trainer.log_every_n_steps=1 callbacks.progress.refresh_rate=0"
    " callbacks.results.pictures=false callbacks.results.export=false"
)
EXPORT = "callbacks.results.export=true"
NARROW = "model.hidden_features=16"
CODED = "model.trunk.hidden_features=16 model.experts=8"
HELD_OUT = "data.held_out=2 data.tuning=1"
PICTURE = f"task=image data.path={{files}}/picture.png data.factor=2 data.points=40 {NARROW}"
PICTURES = f"task=image data=images data.root={{files}}/pictures data.size=null data.points=32 {HELD_OUT}"
FIT = f"{PICTURES} regime=fit dictionary={{dictionary}}"
RAYS = "data.points=32 task.measurements.data.samples=8 task.frames=2 task.cloud=40"
SOLID = "data.pool=300 data.resolution=8 data.validation_points=64 task.resolution=8 data.points=64 optimizer.lr=3e-3"
# The options of each run as OLD calls them; {files} is the folder of small files, {RUN} that of an earlier run.
RUNS = {
    "image": f"{PICTURE} supervision=val_der {EXPORT}",
    "resume": "ckpt_path={image} trainer.max_steps=8",
    "evaluation": f"train=false ckpt_path={{image}} export.scale=2 {EXPORT}",
    "ddp": f"{PICTURE} trainer=ddp trainer.devices=2 trainer.accelerator=cpu",
    "derivatives": f"{PICTURE} supervision=der model=finer data.points=null data.filter=sobel penalty=[tv,nonnegative]",
    "audio": f"task=audio data.path={{files}}/tone.wav data.factor=4 supervision=val model=gauss {NARROW} {EXPORT}"
    " trainer.precision=bf16-mixed scheduler=exponential",
    "scene": f"experiment=nerf/blender supervision=val_der data.root={{files}}/capture {RAYS} {EXPORT}"
    " task.measurements.data.importance=8 model.coarse.trunk.hidden_features=16 model.fine.trunk.hidden_features=16",
    "scenes": "task=nerf data=scenes data.scenes=4 data.views=6 data.size=12 data.held_out=1 supervision=val model=nid_moe"
    f" model@model.trunk=positional regime=dictionary {CODED} {RAYS}",
    "slice": "task=ct model=sine data.path={files}/slice.npy data.beam=fan data.source=40 data.detector=40 data.photons=1e4"
    f" {NARROW} penalty=tv {EXPORT}",
    "sinogram": f"task=ct data=sinogram data.path={{files}}/sinogram.npz data.every=2 model=positional {NARROW}",
    "slices": f"experiment=nid/ct data.count=6 data.size=12 {HELD_OUT} {CODED}",
    "mesh": f"task=sdf data.path={{files}}/ring.ply penalty=eikonal {SOLID} {NARROW} {EXPORT}",
    "points": f"experiment=siren/pointcloud data.path={{files}}/ring.xyz {SOLID} {NARROW}",
    "shapes": f"experiment=nid/sdf data=shapes data.root={{files}}/solids {HELD_OUT} {CODED} {SOLID}",
    "dictionary": f"{PICTURES} model=nid_moe model.top_k=6 regime=dictionary {CODED} {EXPORT}",
    "ridge": f"{FIT} solver=ridge",
    "topk": f"{FIT} solver=topk solver.k=4 supervision=val data.corruption=missing data.mask=known",
    "l1": f"{FIT} solver=l1 data.corruption=occlusion data.corruptions.occlusion.size=4",
    "adam": f"{FIT} solver=adam optimizer.lr=1e-2",
    "refine": f"{FIT} fit.refine=all optimizer=adamw scheduler=cosine",
    "sounds": f"task=audio data=sounds data.root={{files}}/sounds model=nid_moe model/coder=conv regime=dictionary {HELD_OUT}"
    f" {CODED}",
    "video": f"experiment=nid/robust_pca data.path={{files}}/pictures data.points=64 {CODED} {EXPORT}",
}


class Verdict(NamedTuple):
    """A cell of the table, and a line for each thing that differs."""

    cell: str
    differences: list[str]


def translated(word: str) -> list[str]:
    """An option as NEW calls it."""
    name, equals, value = word.partition("=")
    if name in NEW_WORDS and word not in NEW_WORDS:
        return [f"{renamed}{equals}{value}" for renamed in NEW_WORDS[name].split()]
    return NEW_WORDS.get(word, word).split()


def words_of(name: str, new: bool, files: Path, folder: Path) -> list[str]:
    """The options of a run as OLD or NEW calls them, into a folder where earlier runs are."""
    own = RUNS[name].split()
    given = [] if any(word.startswith("trainer=") for word in own) else ["trainer=cpu"]
    words = [one for word in [*given, *COMMON.split(), *own] for one in (translated(word) if new else [word])]
    for place, path in ({"files": files} | {earlier: folder / earlier for earlier in RUNS}).items():
        words = [word.replace(f"{{{place}}}", str(path)) for word in words]
    return [*words, f"hydra.run.dir={folder / name}"]


def with_earlier(names: Sequence[str]) -> list[str]:
    """The runs of these names and those that they build on, in order."""
    wanted = set(names)
    for name in reversed(RUNS):
        wanted |= {earlier for earlier in RUNS if name in wanted and f"{{{earlier}}}" in RUNS[name]}
    return [name for name in RUNS if name in wanted]


def run_in(checkout: Path, words: Sequence[str]) -> tuple[float, str]:
    """The seconds that a run of a checkout took, and the last line of its complaint if it failed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}  # leaves the checkouts as they are
    begin = time.perf_counter()
    command = [sys.executable, "train.py", *words]
    ended = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    complaint = ended.stderr.strip().splitlines() or ["no reason given"]
    return time.perf_counter() - begin, complaint[-1] if ended.returncode else ""


def contents(file: Path) -> bytes:
    """The bytes of a file, of a sound its samples, since a header may hold the time; nothing if it is not there."""
    if file.suffix == ".wav" and file.is_file():
        return soundfile.read(file, dtype="float32")[0].tobytes()
    return file.read_bytes() if file.is_file() else b""


def compare_curves(old: Path, new: Path) -> Verdict:
    """The bytes of the curves of two runs."""
    one, other = (contents(folder / "metrics.csv") for folder in (old, new))
    if one == other:
        return Verdict("equal" if one else "-", [])
    before, after = (list(csv.DictReader(text.decode().splitlines())) for text in (one, other))
    differences = [
        f"{name} in row {place}: {row.get(name)}, {others.get(name)}"
        for place, (row, others) in enumerate(zip(before, after, strict=False))
        for name in row | others
        if row.get(name) != others.get(name)
    ]
    return Verdict("differs", differences[:1] or [f"{len(before)}, {len(after)} rows"])


def bits(tensor: torch.Tensor) -> tuple[Any, ...]:
    """All that can differ between tensors, also the sign of zero."""
    return tensor.dtype, tensor.shape, tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def renamed(name: str, others: Container[str]) -> str:
    """The name that a tensor of OLD has in NEW."""
    names = [new + name.removeprefix(old) for old, new in NEW_NAMES.items() if name.startswith(old) and name not in others]
    return names[0] if names else name


def compare_weights(old: Path, new: Path) -> Verdict:
    """The bits of the final weights of two runs by name; by order where names differ but shapes do not."""
    files = [folder / "checkpoints" / "last.ckpt" for folder in (old, new)]
    one, other = (torch.load(file, weights_only=True)["state_dict"] if file.is_file() else {} for file in files)
    one = {renamed(name, other): weights for name, weights in one.items()}
    way = ""
    if one.keys() != other.keys():
        if [weights.shape for weights in one.values()] != [weights.shape for weights in other.values()]:
            return Verdict("differ", [f"other names and shapes: {', '.join(sorted(one.keys() ^ other.keys()))}"])
        way = f" by order, {len(one.keys() - other.keys())} renamed"
        other = dict(zip(one, other.values(), strict=True))
    apart = [name for name in one if bits(one[name]) != bits(other[name])]
    if apart:
        return Verdict(f"differ{way}", [f"{len(apart)} of {len(one)} tensors, the first {apart[0]}"])
    return Verdict(f"equal{way}" if one else "-", [])


def relative(one: Any, other: Any) -> float:
    """The difference of two figures as a share of the larger; infinite where one of them is no number."""
    numbers = isinstance(one, int | float) and isinstance(other, int | float)
    return abs(one - other) / max(abs(one), abs(other)) if numbers else math.inf


def compare_figures(old: Path, new: Path) -> Verdict:
    """The final figures of two runs, but for times."""
    one, other = (json.loads((folder / "metrics.json").read_text()) for folder in (old, new))
    names = [name for name in one | other if name.split("/")[-1] not in TIMES]
    pairs = {name: tuple(table[name]["value"] if name in table else "missing" for table in (one, other)) for name in names}
    apart = {name: relative(*pair) for name, pair in pairs.items() if pair[0] != pair[1]}
    if not apart:
        return Verdict("equal", [])
    lines = [f"{name}: {pairs[name][0]}, {pairs[name][1]}, relative {share:.2g}" for name, share in apart.items()]
    return Verdict(f"{len(apart)} of {len(names)} differ, at most {max(apart.values()):.2g}", lines)


def compare_exports(old: Path, new: Path) -> Verdict:
    """The bytes of exported files of two runs, but for the fields, which are the weights under their names."""
    files = {file.relative_to(folder) for folder in (old, new) for file in folder.glob("export/**/*") if file.stem != "field"}
    apart = sorted(str(file) for file in files if contents(old / file) != contents(new / file))
    return Verdict("differ", [", ".join(apart)]) if apart else Verdict("equal" if files else "-", [])


COMPARED = {"curve": compare_curves, "weights": compare_weights, "figures": compare_figures, "exports": compare_exports}


def compare(name: str, checkouts: Sequence[Path], folder: Path) -> list[str]:
    """Make a run in both checkouts at once, print its row of the table, and return what differs."""
    places = [folder / "old", folder / "new"]
    words = [words_of(name, place == places[1], folder, place) for place in places]
    with ThreadPoolExecutor(2) as both:
        ended = list(both.map(run_in, checkouts, words))
    faults = [f"{which} failed: {fault}" for which, (_, fault) in zip(("OLD", "NEW"), ended, strict=True) if fault]
    verdicts = {} if faults else {what: differ(*(place / name for place in places)) for what, differ in COMPARED.items()}
    cells = [verdicts[what].cell if what in verdicts else "failed" for what in COMPARED]
    say(f"| {name} | {' | '.join(cells)} | {' / '.join(f'{seconds:.1f}' for seconds, _ in ended)} |")
    return [*faults, *(f"{what}: {line}" for what, verdict in verdicts.items() for line in verdict.differences)]


def main(words: Sequence[str] | None = None) -> int:
    """Parse the command line and compare; 0 if all is equal, 1 otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("given", nargs="*", metavar="OLD NEW [RUN ...]")
    parser.add_argument("--list", action="store_true", help="the names of all runs and their options")
    options = parser.parse_args(words)
    if options.list:
        say("\n".join(f"{name}: {own}" for name, own in RUNS.items()))
        return 0
    checkouts, names = [Path(name).resolve() for name in options.given[:2]], options.given[2:] or list(RUNS)
    if len(checkouts) < 2 or not all((checkout / "train.py").is_file() for checkout in checkouts):
        parser.error("OLD and NEW must be folders with a train.py")
    if unknown := set(names) - RUNS.keys():
        parser.error(f"RUN must be one of {', '.join(RUNS)}, got {', '.join(sorted(unknown))}")
    say(header("OLD and NEW", [*COMPARED, "seconds"]))
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder))
        lines = [f"- {name}, {line}" for name in with_earlier(names) for line in compare(name, checkouts, Path(folder))]
    say("\n".join(["", *lines] if lines else ["", "all equal"]))
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
