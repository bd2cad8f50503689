"""Files of transforms: json that lists photographs and cameras, in the layouts of NeRF's synthetic scenes and of nerfstudio."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from datamodules.common.files import listing
from datamodules.scenes.lenses import UNDISTORT, UNDISTORTED, Lens, check_lens
from datamodules.scenes.photograph_files import ENDINGS, PhotographFiles, find_photograph
from datamodules.scenes.poses import rotations
from inr.errors import InputError

Settings = Mapping[str, object]  # an object of a json file, its values as yet unchecked
FOCAL = ("fl_x", "fl_y", "camera_angle_x", "camera_angle_y")
CENTRE = ("cx", "cy")
SIZE = ("w", "h")
RADIAL = ("k1", "k2", "k3", "k4")
TANGENTIAL = ("p1", "p2")
FOREIGN = ("k5", "k6", "s1", "s2", "s3", "s4", "skew", "rolling_shutter")  # change rays, and are not known to ours
MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
FISHEYES = ("OPENCV_FISHEYE", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE")
LISTS = ("frames", "train_filenames", "val_filenames", "test_filenames")
OF_FRAMES = ("file_path", "transform_matrix", "mask_path", "camera_model", "is_fisheye")
# of other programs: cubes of theirs, moves already done, sharpness, depths, an animation's turn
HARMLESS = (
    *("aabb_scale", "scale", "offset", "applied_transform", "applied_scale", "ply_file_path", "sharpness", "colmap_im_id"),
    *("depth_file_path", "depth_path", "rotation", "n_frames", "orientation_override", "auto_scale_poses_override"),
)
KNOWN = {*FOCAL, *CENTRE, *SIZE, *RADIAL, *TANGENTIAL, *FOREIGN, *LISTS, *OF_FRAMES, *HARMLESS}
AGREE = 0.02  # relative difference up to which two ways to give a focal length say the same


@dataclass(frozen=True)
class Frame:
    """A photograph and its camera."""

    path: str  # of the photograph, whose ending may be left out, with / between folders
    settings: Settings  # of the camera: what the file says of all frames, and of this one above that
    file: Path  # that says so

    @property
    def name(self) -> str:
        """The name of the view: its path without an ending."""
        path = PurePosixPath(self.path)
        return str(path.with_suffix("") if path.suffix.lower() in ENDINGS else path)

    def lens(self, size: tuple[int, int]) -> Lens:
        """Return the lens of the photograph, whose rows and columns are known.

        Raises: InputError if it is of an unknown model, or of another size.
        """
        check_size(self, size)
        lens = Lens(focal_lengths(self, size), centre_of(self, size), distortion_of(self))
        check_lens(self.name, lens, size)
        return lens


@dataclass(frozen=True)
class Shots:
    """Photographs with their names, their cameras in the world of the file, and their lenses."""

    names: tuple[str, ...]
    photographs: PhotographFiles
    poses: np.ndarray
    lenses: tuple[Lens, ...]


def read_transforms(file: Path) -> tuple[Settings, Sequence[Frame]]:
    """Read the settings and the frames of a file of cameras, the frames being there and naming photographs and poses.

    Raises: InputError if it is missing, cannot be read, or lacks something. Settings that are not read give a warning.
    """
    if not file.is_file():
        rule = "Cameras and photographs are listed in a file of transforms"
        raise InputError(f"{rule}, {file} is not there; {file.parent} holds {listing(file.parent)}.")
    try:
        settings: object = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"A file of transforms must be json, {file} is not: {error}; write it anew.") from error
    listed = settings.get("frames") if isinstance(settings, dict) else None
    if not isinstance(settings, dict) or not isinstance(listed, list) or not listed:
        raise InputError(f"A file of transforms must list its photographs as frames, {file} has none; write it anew.")
    frames = [frame_of(frame, settings, place, file) for place, frame in enumerate(listed)]
    unknown = sorted({key for frame in frames for key in frame.settings} - KNOWN)
    if unknown:
        warnings.warn(f"{file}: the settings {', '.join(unknown)} are not known and not used.", stacklevel=3)
    return settings, frames


def frame_of(frame: object, shared: Settings, place: int, file: Path) -> Frame:
    """Return an entry of the list of frames, its settings above those that all frames share."""
    if not isinstance(frame, dict):
        raise InputError(f"A file of transforms must list its photographs as frames, {file} has none; write it anew.")
    for key in ("file_path", "transform_matrix"):
        if key not in frame:
            raise InputError(f"Frames must have file_path and transform_matrix, frame {place} of {file} has no {key}; add it.")
    if not isinstance(frame["file_path"], str):
        raise InputError(f"file_path must be text, frame {place} of {file} has {frame['file_path']}; correct it.")
    # A frame's own focal length stands for those of the file however each is given: angles are not mixed with lengths.
    others = {key: value for key, value in shared.items() if key not in FOCAL or not set(FOCAL) & frame.keys()}
    return Frame(slashed(frame["file_path"]), {**others, **frame}, file)


def slashed(path: str) -> str:
    """Return a path with / between folders, which Windows parts by backslashes, and without a leading ./."""
    return path.replace("\\", "/").removeprefix("./")


def shots_of(frames: Sequence[Frame], folder: Path, background: tuple[float, ...], downscale: int) -> Shots:
    """Read the cameras of frames, and the headers of their photographs, which lie in a folder.

    Raises: InputError if a photograph or a mask is missing, for poses that are none and lenses that are not known.
    """
    files = files_of(frames, folder)
    masks = tuple(mask_of(frame, folder) for frame in frames)
    photographs = PhotographFiles(files, background, downscale, masks if any(masks) else ())
    lenses = tuple(frame.lens(size) for frame, size in zip(frames, photographs.stored, strict=True))
    return Shots(tuple(frame.name for frame in frames), photographs, poses_of(frames), lenses)


def files_of(frames: Sequence[Frame], folder: Path) -> tuple[Path, ...]:
    """Return the photographs of frames, with a warning if paths of another machine are taken for ones in the folder."""
    files = []
    moved = []
    for frame in frames:
        file = find_photograph(folder, frame.path)
        if file is None:
            # The end of a path that is right on another machine may be right in this folder.
            parts = PurePosixPath(frame.path).parts
            tails = ("/".join(parts[start:]) for start in range(1, len(parts)))
            file = next((found for tail in tails if (found := find_photograph(folder, tail))), None)
            moved.append(frame)
        if file is None:
            path = folder / frame.path
            raise InputError(f"Photographs of all frames must be there, {path} is missing, nor is there a .png; add it.")
        files.append(file)
    if moved:
        taken = files[frames.index(moved[0])].relative_to(folder)
        warnings.warn(f"{moved[0].file}: {moved[0].path} is not there, {taken} is taken, as for {len(moved)}.", stacklevel=4)
    return tuple(files)


def mask_of(frame: Frame, folder: Path) -> Path | None:
    """Return the mask of a frame; None if it has none."""
    path = frame.settings.get("mask_path")
    if not path:
        return None
    file = find_photograph(folder, slashed(path)) if isinstance(path, str) else None
    if file is None:
        raise InputError(f"Masks must be there, that of {frame.name}, {path}, is not in {folder}; add it, or remove mask_path.")
    return file


def poses_of(frames: Sequence[Frame]) -> np.ndarray:
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
            rule = "transform_matrix must be 4 x 4 numbers"
            raise InputError(f"{rule}, that of {frame.name} in {frame.file} is not; correct it.")
        if len(matrix) == 4 and matrix[3, :3].any():
            rule = "The last row of transform_matrix must be 0, 0, 0, 1, positions stand in the last column"
            raise InputError(f"{rule}, that of {frame.name} in {frame.file} is {matrix[3].tolist()}; transpose it.")
        poses[place] = matrix[:3]
    return rotations([frame.name for frame in frames], poses)


def number(frame: Frame, key: str) -> float:
    """Return a finite number of a frame.

    Raises: InputError if it is none.
    """
    value = frame.settings[key]
    if not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise InputError(f"{key} must be a finite number, {frame.file} has {value}; correct it.")
    return float(value)


def length(frame: Frame, side: str, pixels: int) -> float | None:
    """Return the focal length along x or y, given as fl or as the angle that is seen; None if it is not given.

    Raises: InputError if it is not positive, if the angle is not in radians, or if both are given and differ.
    """
    found = {}
    # The angle that a fisheye sees does not say how long it is.
    for key in (f"fl_{side}", *([] if is_fisheye(frame) else [f"camera_angle_{side}"])):
        if frame.settings.get(key) is None:
            continue
        value = number(frame, key)
        if value <= 0:
            raise InputError(f"{key} must be a positive number, {frame.file} has {value:g}; correct it.")
        if key.startswith("camera_angle") and value >= np.pi:
            raise InputError(f"{key} must be in radians, below pi, {frame.file} has {value:g}; correct it.")
        found[key] = value if key.startswith("fl") else focal_of(value, pixels)
    values = list(found.values())
    if len(values) == 2 and abs(values[0] - values[1]) > AGREE * values[0]:
        rule = f"fl_{side} and camera_angle_{side} must say the same of {pixels} pixels"
        raise InputError(f"{rule}, for {frame.name} they say {values[0]:g} and {values[1]:g}; remove one from {frame.file}.")
    return values[0] if values else None


def focal_lengths(frame: Frame, size: tuple[int, int]) -> tuple[float, float]:
    """Return focal lengths for rows and columns; pixels are square where one of them is not given."""
    column = length(frame, "x", size[1])
    row = length(frame, "y", size[0])
    if column is None and row is None:
        raise InputError(f"A file of transforms must give fl_x or camera_angle_x, {frame.file} does not; add it.")
    return row or column or 0.0, column or row or 0.0


def centre_of(frame: Frame, size: tuple[int, int]) -> tuple[float, float]:
    """Return the pixels from the upper left corner to the optical axis: cy and cx, or the middle."""
    row = number(frame, "cy") if frame.settings.get("cy") is not None else size[0] / 2
    return row, number(frame, "cx") if frame.settings.get("cx") is not None else size[1] / 2


def is_fisheye(frame: Frame) -> bool:
    """Tell a fisheye from a lens with perspective.

    Raises: InputError for other cameras.
    """
    model = frame.settings.get("camera_model") or "OPENCV"
    if model not in MODELS + FISHEYES:
        rule = f"camera_model must be one of {', '.join(MODELS + FISHEYES)}"
        raise InputError(f"{rule}, {frame.name} has {model}; {UNDISTORT}.")
    return model in FISHEYES or bool(frame.settings.get("is_fisheye"))


def distortion_of(frame: Frame) -> tuple[float, ...]:
    """Return k1, k2, k3, k4, p1, p2, and 1 for a fisheye, else 0.

    Raises: InputError for coefficients that no ray follows.
    """
    fisheye = is_fisheye(frame)
    for key in FOREIGN + (TANGENTIAL if fisheye else ()):
        value = frame.settings.get(key) or 0.0
        numbers = value if isinstance(value, list) else [value]
        if all(isinstance(one, int | float) and abs(one) < UNDISTORTED for one in numbers):
            continue
        known = ", ".join(RADIAL if fisheye else RADIAL + TANGENTIAL)
        raise InputError(f"Distortion is that of {known}, {frame.name} has {key}={value}, too; {UNDISTORT}.")
    coefficients = [number(frame, key) if frame.settings.get(key) is not None else 0.0 for key in RADIAL + TANGENTIAL]
    return (*coefficients, float(fisheye))


def check_size(frame: Frame, size: tuple[int, int]) -> None:
    """Refuse a photograph of another size than that of its camera."""
    stated = frame.settings.get("h") or size[0], frame.settings.get("w") or size[1]
    if stated != size:
        rule = "Photographs must be as large as h and w of their cameras"
        found = f"{frame.name} is {size[0]} x {size[1]} for {stated[0]} x {stated[1]}"
        remedy = "turn it upright" if stated == size[::-1] else "correct them, and the intrinsics"
        raise InputError(f"{rule}, {found}; {remedy}.")


def focal_of(angle: float, pixels: int) -> float:
    """Return the focal length [pixels] of a camera that sees an angle [rad] over as many pixels."""
    return float(0.5 * pixels / np.tan(0.5 * angle))  # half the picture is seen under half the angle
