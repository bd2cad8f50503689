"""The export of a finished run whose data are gone: its field alone, as figures and pictures need what was fitted."""

import logging
from pathlib import Path

import numpy as np

from inr.errors import InputError
from inr.saved.runs import Plain, describe, load, read_checkpoint, save
from tasks.evaluation import item_path

log = logging.getLogger(__name__)


def export_field(run: str, folder: Path, scale: float, missing: str) -> None:
    """Write `reconstruction.npy` in file units, `scale` times as fine as the data were, and `field.safetensors`.

    missing: a sentence that says what is gone.
    Raises: InputError for a scene, whose views need the cameras of its capture.
    """
    checkpoint: Plain = read_checkpoint(run)
    shape = describe(checkpoint)[0]["shape"]
    names = checkpoint["signals"] or ["field"]
    if not load(run, 0).measurement.linear:
        raise InputError(f"{missing} The field alone needs no data: inr.load(RUN).")
    folder.mkdir(parents=True, exist_ok=True)
    save(folder, checkpoint)
    for place in range(len(names)):
        rows = load(run, place).rows(shape, scale)
        np.save(f"{item_path(folder, 'reconstruction', names, place)}.npy", np.concatenate([slab.numpy() for slab in rows]))
    log.warning("%s The field alone is exported to %s, without figures and pictures.", missing, folder)
