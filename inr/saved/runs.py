"""Take a finished run back into Python: no Hydra, no Lightning."""

import importlib
import json
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from inr.errors import InputError
from inr.saved.fitted_field import FittedField

TENSORS, DESCRIPTION = "field.safetensors", "field.json"
SHOWN = 8  # names in a message
UNREADABLE = (  # what torch.load raises over files that are broken or of another kind
    OSError,
    EOFError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    struct.error,
    pickle.UnpicklingError,
)
CARRIED = ("config", "options", "units", "signals", "state_dict", "global_step")


def build(config: Any) -> Any:
    """What a plain config describes: every `_target_` is called with the other entries.

    Only names inside this package are called, so a checkpoint of unknown origin cannot run anything else.
    Raises: InputError for any other target.
    """
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
    """The checkpoint file that a run folder or a checkpoint path means.

    Raises: InputError if there is none, with the layout that was expected.
    """
    path = Path(run).expanduser()
    file = path / "checkpoints" / "last.ckpt" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"A run is a folder with checkpoints/last.ckpt, or a .ckpt file; got {run}, which is neither.")
    return file


def read_checkpoint(run: str | Path) -> dict[str, Any]:
    """The contents of a run's checkpoint: tensors and plain containers only.

    Raises: InputError if it cannot be read or was not written by this project.
    """
    file = checkpoint_of(run)
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        rule = "A checkpoint must be whole and hold tensors and plain options"
        raise InputError(f"{rule}, {file} does not; use another one.") from error
    missing = [name for name in CARRIED if not isinstance(checkpoint, dict) or name not in checkpoint]
    if missing:
        rule = f"A checkpoint of this project carries {', '.join(CARRIED)}"
        raise InputError(f"{rule}; {file} has no {missing[0]}: use one that a run wrote.")
    return checkpoint


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], source: str | Path) -> None:
    """Put saved tensors into a module.

    Raises: InputError if their names or shapes are not the module's.
    """
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"The weights of a checkpoint must fit its model, {source}: {reason} Use another one.") from error


def signal_of(network: nn.Module, signal: int | str | None, source: Path) -> int:
    """The position of a signal, given by position or name, in a network that may have the codes of many.

    Raises: InputError if there is no such signal, or several and none is chosen.
    """
    coder = getattr(network, "coder", None)
    names: list[str] = getattr(coder, "names", []) or [str(place) for place in range(len(getattr(coder, "codes", "0")))]
    if coder is not None and not hasattr(coder, "codes"):
        raise InputError(f"{source} computes codes from observations; fit signals first: regime=fit dictionary=RUN.")
    found = 0 if signal is None and len(names) == 1 else names.index(signal) if signal in names else signal
    if not isinstance(found, int) or not 0 <= found < len(names):
        listed = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        raise InputError(
            f"One of the {len(names)} signals in {source} must be chosen, got signal={signal}; there are {listed}."
        )
    return found


def assemble(
    description: Mapping[str, Any], tensors: Mapping[str, Tensor], source: Path, signal: int | str | None = None
) -> FittedField:
    """A fitted field from its description and its tensors."""
    network, measurement = build(description["model"]), build(description["measurement"])
    load_weights(network, {name: tensor for name, tensor in tensors.items() if name != "constant"}, source)
    place, config = signal_of(network, signal, source), dict(description)
    constant = tensors["constant"][min(place, len(tensors["constant"]) - 1)]
    return FittedField(network.eval(), measurement, **description["units"], constant=constant, signal=place, config=config)


def describe(checkpoint: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a field needs of a checkpoint: plain description and tensors."""
    config, units = checkpoint["config"], checkpoint["units"]
    measurements = config["task"]["measurements"]
    description = {
        "model": config["model"],
        "measurement": measurements.get("result", measurements["data"]),
        "units": {"axes": len(config["data"]["shape"]), **{name: units[name] for name in ("scale", "offset", "unit")}},
        "shape": config["data"]["shape"],
    }
    state = checkpoint["state_dict"]
    tensors = {name.removeprefix("network."): value for name, value in state.items() if name.startswith("network.")}
    return description, tensors | {"constant": state["constant.value"]}


def load(run: str | Path, signal: int | str | None = None) -> FittedField:
    """The field of a run folder, a checkpoint file, or an exported `field.safetensors`, callable at sensor coordinates.

    `signal` chooses one of several by its position or its name.

    Units:  coordinates in steps of the sensor's index, values as in the file that was fitted (see `unit` of the result).
    Raises: InputError if the path holds no such thing, or no such signal.
    """
    path = Path(run).expanduser()
    if path.suffix != ".safetensors":
        return assemble(*describe(read_checkpoint(path)), checkpoint_of(path), signal)
    try:
        return assemble(json.loads((path.parent / DESCRIPTION).read_text()), load_file(path), path, signal)
    except (OSError, SafetensorError, json.JSONDecodeError, KeyError) as error:
        raise InputError(f"An exported field is {TENSORS} beside {DESCRIPTION}; {path}: {error}.") from error


def save(folder: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write `field.safetensors` and `field.json`, all that `load` needs, without the optimiser."""
    description, tensors = describe(checkpoint)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / TENSORS)
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
