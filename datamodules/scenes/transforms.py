"""Files of transforms: json that lists photographs and cameras, in the layouts of NeRF's synthetic scenes and of nerfstudio."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from datamodules.common.files import listing
from datamodules.scenes.capture import ENDINGS, check_poses
from inr.errors import InputError

Settings = Mapping[str, object]  # an object of a json file, its values as yet unchecked


@dataclass(frozen=True)
class Frame:
    """A photograph and its camera."""

    path: str  # of the photograph, whose ending may be left out
    settings: Settings  # of the camera: what the file says of all frames, and of this one above that

    @property
    def name(self) -> str:
        """The name of the view: its path without an ending."""
        path = PurePosixPath(self.path)
        return str(path.with_suffix("") if path.suffix.lower() in ENDINGS else path)

    def photograph(self, folder: Path) -> Path:
        """Return the file of the photograph.

        Raises: InputError if it is not there.
        """
        path = folder / self.path
        for ending in ("", *ENDINGS):
            if (file := path.with_name(path.name + ending)).is_file():
                return file
        raise InputError(f"Photographs of all frames must be there, {path} is missing, nor is there a .png; add it.")


def read_transforms(file: Path) -> tuple[Settings, Sequence[Frame]]:
    """Read the settings and the frames of a file of cameras, the frames being there and naming photographs and poses.

    Raises: InputError if it is missing, cannot be read, or lacks something.
    """
    if not file.is_file():
        rule = "Cameras and photographs are listed in a file of transforms"
        raise InputError(f"{rule}, {file} is not there; {file.parent} holds {listing(file.parent)}.")
    try:
        settings: object = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"A file of transforms must be json, {file} is not: {error}; write it anew.") from error
    frames = settings.get("frames") if isinstance(settings, dict) else None
    if not isinstance(settings, dict) or not isinstance(frames, list) or not frames:
        raise InputError(f"A file of transforms must list its photographs as frames, {file} has none; write it anew.")
    return settings, [frame_of(frame, settings, place, file) for place, frame in enumerate(frames)]


def frame_of(frame: object, shared: Settings, place: int, file: Path) -> Frame:
    """Return an entry of the list of frames, its settings above those that all frames share."""
    if not isinstance(frame, dict):
        raise InputError(f"A file of transforms must list its photographs as frames, {file} has none; write it anew.")
    for key in ("file_path", "transform_matrix"):
        if key not in frame:
            raise InputError(f"Frames must have file_path and transform_matrix, frame {place} of {file} has no {key}; add it.")
    if not isinstance(frame["file_path"], str):
        raise InputError(f"file_path must be text, frame {place} of {file} has {frame['file_path']}; correct it.")
    return Frame(frame["file_path"], {**shared, **frame})


def poses_of(frames: Sequence[Frame], file: Path) -> np.ndarray:
    """Return the poses of frames, checked.

    Shapes: (frames, 3, 4)
    """
    poses = np.empty((len(frames), 3, 4))
    for place, frame in enumerate(frames):
        try:
            matrix = np.array(frame.settings["transform_matrix"], np.float64)
        except (TypeError, ValueError):
            matrix = np.empty(0)
        if matrix.shape not in ((4, 4), (3, 4)):
            raise InputError(f"transform_matrix must be 4 x 4 numbers, that of {frame.name} in {file} is not; correct it.")
        poses[place] = matrix[:3]
    check_poses([frame.name for frame in frames], poses)
    return poses


def number(settings: Settings, key: str, file: Path) -> float:
    """Return a positive number of a file of transforms.

    Raises: InputError if it is missing or no such number.
    """
    if key not in settings:
        raise InputError(f"A file of transforms must give {key}, {file} does not; add it.")
    value = settings[key]
    if not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise InputError(f"{key} must be a positive number, {file} has {value}; correct it.")
    return float(value)


def angle_of(settings: Settings, key: str, file: Path) -> float:
    """Return the angle [rad] that a camera sees from side to side."""
    angle = number(settings, key, file)
    if angle >= np.pi:
        raise InputError(f"{key} must be in radians, below pi, {file} has {angle:g}; correct it.")
    return angle


def focal_of(angle: float, pixels: int) -> float:
    """Return the focal length [pixels] of a camera that sees an angle [rad] over as many pixels."""
    return float(0.5 * pixels / np.tan(0.5 * angle))  # half the picture is seen under half the angle
