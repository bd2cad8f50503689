"""Take a finished run back into Python: no Hydra, no Lightning."""

import importlib
import json
import pickle
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from inr.dictionary.coders import Codebook
from inr.errors import InputError
from inr.field import Network
from inr.saved.fitted_field import FittedField

Plain = dict[str, Any]  # containers of containers, numbers and words (and tensors), as JSON and checkpoints hold them
FIELD = "field"
FIELDS = "fields"  # the name of these files where each signal has a row in the description
LISTED = 8  # names in a message
# Errors of torch.load over files that are broken or of another kind.
BROKEN = (EOFError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, struct.error, pickle.UnpicklingError)
CARRIED = ("config", "options", "units", "signals", "state_dict", "global_step")


def build(config: object) -> Any:
    """Build the object that a plain config describes: every `_target_` is called with the other entries.

    Raises: InputError for a target outside of inr.
    """
    # hydra.utils.instantiate would call any name: a checkpoint of unknown origin could run what it likes.
    if isinstance(config, list):
        return [build(entry) for entry in config]
    if not isinstance(config, Mapping):
        return config
    arguments = {name: build(entry) for name, entry in config.items() if not name.startswith("_")}
    if "_target_" not in config:
        return arguments
    module, _, name = config["_target_"].rpartition(".")
    if not module.startswith("inr."):
        raise InputError(f"A saved field is built from classes of inr alone, got {config['_target_']}.")
    return getattr(importlib.import_module(module), name)(**arguments)


def checkpoint_of(run: str | Path) -> Path:
    """Return the checkpoint file that a run folder or a checkpoint path means.

    Raises: InputError if there is none, with the layout that was expected.
    """
    path = Path(run).expanduser()
    file = path / "checkpoints" / "last.ckpt" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"A run is a folder with checkpoints/last.ckpt, or a .ckpt file; got {run}, which is neither.")
    return file


def read_checkpoint(run: str | Path) -> Plain:
    """Read a run's checkpoint: tensors and plain containers only.

    Raises: InputError if it cannot be read or was not written by this project.
    """
    file = checkpoint_of(run)
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)  # no code of a pickle is run
    except (OSError, *BROKEN) as error:
        rule = "A checkpoint must be whole and hold tensors and plain options"
        raise InputError(f"{rule}, {file} does not; use another one.") from error
    missing = [name for name in CARRIED if not isinstance(checkpoint, dict) or name not in checkpoint]
    if missing:
        rule = f"A checkpoint of this project carries {', '.join(CARRIED)}"
        raise InputError(f"{rule}; {file} has no {missing[0]}: use one that a run wrote.")
    return checkpoint


def below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names have a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], source: str | Path) -> None:
    """Copy saved tensors into a module. Raises: InputError if their names or shapes are not the module's."""
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"The weights of a checkpoint must fit its model, {source}: {reason} Use another one.") from error


def signal_of(network: nn.Module, trained: Sequence[str], signal: int | str | None, source: Path) -> int:
    """Return the row of a signal, given by position or name, in a network that may have the codes or the weights of many.

    Raises: InputError if there is no such signal, or several and none is chosen.
    """
    coder = getattr(network, "coder", None)  # of dictionaries alone
    if coder is not None and not isinstance(coder, Codebook):
        raise InputError(f"{source} computes codes from observations; fit signals first: regime=fit dictionary=RUN.")
    names = trained or ["0"] if coder is None else coder.names or [str(row) for row in range(len(coder.codes))]
    found = 0 if signal is None and len(names) == 1 else names.index(signal) if signal in names else signal
    if not isinstance(found, int) or not 0 <= found < len(names):
        listed = ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
        rule = f"One of the {len(names)} signals in {source} must be chosen"
        raise InputError(f"{rule}, got signal={signal}; there are {listed}.")
    return found


def assemble(description: Plain, tensors: Mapping[str, Tensor], source: Path, signal: int | str | None = None) -> FittedField:
    """Build a fitted field from its description and its tensors."""
    network: Network = build(description["model"])
    load_weights(network, {name: tensor for name, tensor in tensors.items() if name != "constant"}, source)
    row = signal_of(network, [one["name"] for one in description.get("signals", [])], signal, source)
    measurement = build(description["measurement"])
    constant = tensors["constant"][min(row, len(tensors["constant"]) - 1)]
    worlds = description.get("worlds")  # of scenes alone
    world = None if worlds is None else torch.tensor(worlds[row], dtype=torch.float64)
    return FittedField(network.eval(), measurement, **description["units"], constant=constant, signal=row, world=world)


def describe(checkpoint: Plain) -> tuple[Plain, dict[str, Tensor]]:
    """Return the plain description and the tensors of a checkpoint that a field needs."""
    config, units = checkpoint["config"], checkpoint["units"]
    measurements = config["task"]["measurements"]
    stack = config.get("regime", {}).get("network")
    description = {
        "model": config["model"] if stack is None or stack["signals"] == 1 else {**stack, "single": config["model"]},
        "measurement": measurements.get("result", measurements["data"]),
        "units": {"axes": len(config["data"]["shape"]), **{name: units[name] for name in ("scale", "offset", "unit")}},
        "shape": config["data"]["shape"],
        "worlds": units.get("worlds"),
        "signals": [{"name": name} for name in checkpoint["signals"]],
    }
    state = checkpoint["state_dict"]
    return description, below("network.", state) | {"constant": state["constant.value"]}


def load(run: str | Path, signal: int | str | None = None) -> FittedField:
    """Load the field of a run folder, a checkpoint file, or an exported `field.safetensors`, callable at coordinates.

    `signal` chooses one of several by its position or its name.
    Units:  coordinates in steps of the sensor's index, values as in the file that was fitted (see `unit` of the result).
    Raises: InputError if the path holds no such thing, or no such signal.
    """
    path = Path(run).expanduser()
    if path.suffix != ".safetensors":
        return assemble(*describe(read_checkpoint(path)), checkpoint_of(path), signal)
    description = path.with_suffix(".json")
    try:
        return assemble(json.loads(description.read_text()), load_file(path), path, signal)
    except (OSError, SafetensorError, json.JSONDecodeError, KeyError) as error:
        raise InputError(f"An exported field is {path.name} beside {description.name}; {path}: {error}.") from error


def save(folder: Path, checkpoint: Plain, stem: str = FIELD, rows: Sequence[Plain] = ()) -> None:
    """Write `field.safetensors` and `field.json`, or of another stem: all that `load` needs, without the optimiser.

    rows: the name of each signal, and what else is to be known of it.
    """
    description, tensors = describe(checkpoint)
    if rows:
        description["signals"] = list(rows)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / f"{stem}.safetensors")
    (folder / f"{stem}.json").write_text(json.dumps(description, indent=2) + "\n")
