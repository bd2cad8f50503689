"""Models of COLMAP: cameras, images and points3D, text or binary, as lenses, poses and points."""

# pycolmap reads them too, at 30 MB of binaries that are not there for every platform; the formats are a page.

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from datamodules.common.files import one_line
from datamodules.scenes.lenses import UNDISTORT, Lens
from inr.errors import InputError

# names and parameters by their numbers in binary files; those that no ray of ours follows end in !
MODELS = (
    ("SIMPLE_PINHOLE", "f cx cy"),
    ("PINHOLE", "fx fy cx cy"),
    ("SIMPLE_RADIAL", "f cx cy k1"),
    ("RADIAL", "f cx cy k1 k2"),
    ("OPENCV", "fx fy cx cy k1 k2 p1 p2"),
    ("OPENCV_FISHEYE", "fx fy cx cy k1 k2 k3 k4"),
    ("FULL_OPENCV", "fx fy cx cy k1 k2 p1 p2 k3 k4! k5! k6!"),
    ("FOV", "fx fy cx cy omega!"),
    ("SIMPLE_RADIAL_FISHEYE", "f cx cy k1"),
    ("RADIAL_FISHEYE", "f cx cy k1 k2"),
    ("THIN_PRISM_FISHEYE", "fx fy cx cy k1 k2 p1! p2! k3 k4 sx1! sy1!"),
)
PARAMETERS = dict(MODELS)
COEFFICIENTS = ("k1", "k2", "k3", "k4", "p1", "p2")
Row = TypeVar("Row")
DAMAGE = (struct.error, ValueError, IndexError, OSError)


class Camera(NamedTuple):
    """A camera: its model, rows and columns of its photographs, and the numbers of the model."""

    model: str
    size: tuple[int, int]
    numbers: Sequence[float]


class Image(NamedTuple):
    """A photograph: its name, camera, rotation (w, x, y, z) and translation from the world to the camera."""

    name: str
    camera: int
    rotation: Sequence[float]
    translation: Sequence[float]


@dataclass(frozen=True)
class Model:
    """Cameras by their numbers, photographs by name, and sparse points (points, 3) in the world."""

    cameras: dict[int, Camera]
    images: Sequence[Image]
    points: np.ndarray

    @property
    def poses(self) -> np.ndarray:
        """Poses (views, 3, 4) from the cameras' axes right, up, backwards to the world."""
        return np.stack([pose_of(image.rotation, image.translation) for image in self.images])

    def lens(self, image: Image, size: tuple[int, int]) -> Lens:
        """Return the lens of a photograph, which may be a reduced one.

        Raises: InputError for a lens that is not known, and for a photograph of other proportions.
        """
        camera = self.cameras[image.camera]
        rows, columns = size
        height, width = camera.size
        if abs(rows - columns * height / width) > 1 + 0.01 * rows:
            found = f"{image.name} has {rows} x {columns} pixels for {height} x {width}"
            raise InputError(f"Photographs must have the proportions of their cameras, {found}; turn or resize it.")
        names = PARAMETERS[camera.model].split()
        numbers = dict(zip(names, camera.numbers, strict=True))
        unknown = [name for name in names if name.endswith("!") and numbers[name]]
        if unknown:
            rule = f"Cameras must have a distortion of {', '.join(COEFFICIENTS)}"
            raise InputError(f"{rule}, {image.name} is of the model {camera.model}; {UNDISTORT}.")
        across = numbers.get("fx", numbers.get("f", 0.0))
        down = numbers.get("fy", numbers.get("f", 0.0))
        bent = [numbers.get(name, 0.0) for name in COEFFICIENTS]
        share = rows / height, columns / width
        focal = (share[0] * down, share[1] * across)
        centre = (share[0] * numbers["cy"], share[1] * numbers["cx"])
        return Lens(focal, centre, (*bent, float("FISHEYE" in camera.model)))


def pose_of(rotation: Sequence[float], translation: Sequence[float]) -> np.ndarray:
    """Return a pose (3, 4) from the way from the world to a camera whose axes are right, down, forward."""
    w, x, y, z = np.array(rotation) / np.linalg.norm(rotation)
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    # The way back from x' = R x + t is x = R^T (x' - t); its second and third axes are turned to up and backwards.
    return np.column_stack([turn.T * [1, -1, -1], -turn.T @ translation])


def read_model(folder: Path) -> Model:
    """Read the model in a folder, binary or text.

    Raises: InputError if a file is missing or broken, without photographs, or for models of cameras that are not known.
    """
    binary = (folder / "cameras.bin").is_file()
    ending = ".bin" if binary else ".txt"
    for name in ("cameras", "images"):
        if not (folder / f"{name}{ending}").is_file():
            raise InputError(f"A model of COLMAP has cameras and images, {folder} has no {name}{ending}; export it anew.")
    cameras = {}
    for number, camera in parsed(folder / f"cameras{ending}", binary_cameras if binary else text_cameras):
        if camera.model not in PARAMETERS:
            known = ", ".join(PARAMETERS)
            raise InputError(f"Cameras must be of a model of {known}, {folder} has {camera.model}; {UNDISTORT}.")
        cameras[number] = camera
    images = sorted(parsed(folder / f"images{ending}", binary_images if binary else text_images))
    lost = [image.name for image in images if image.camera not in cameras]
    if lost or not images:
        found = f"{lost[0]} has none" if lost else "it lists none"
        raise InputError(f"Photographs of a model must have a camera, {found} in {folder}; export it anew.")
    file = folder / f"points3D{ending}"
    points = parsed(file, binary_points if binary else text_points) if file.is_file() else []
    return Model(cameras, images, np.array(points, np.float64).reshape(-1, 3))


def parsed(file: Path, reader: Callable[[Path], Iterator[Row]]) -> list[Row]:
    """Read a file whole."""
    try:
        return list(reader(file))
    except DAMAGE as error:
        raise InputError(f"A file of COLMAP must be whole, {file} is not: {one_line(error)}; export it anew.") from error


def lines_of(file: Path) -> list[str]:
    """Return the lines of a text file without comments."""
    return [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]


def text_cameras(file: Path) -> Iterator[tuple[int, Camera]]:
    """Yield cameras by number: number, model, width, height, parameters."""
    for line in filter(str.strip, lines_of(file)):
        number, model, width, height, *numbers = line.split()
        yield int(number), Camera(model, (int(height), int(width)), [float(value) for value in numbers])


def text_images(file: Path) -> Iterator[Image]:
    """Yield photographs: number, rotation, translation, camera, name; a line of the points that are seen follows each."""
    seen = False  # the next line is that of the points
    for line in lines_of(file):
        words = line.strip().split(maxsplit=9)
        if seen and not names_photograph(words):  # some programs leave the line out
            seen = False
        elif words:
            _, *numbers, camera, name = words
            values = [float(value) for value in numbers]
            yield Image(name, int(camera), values[:4], values[4:])
            seen = True


def names_photograph(words: Sequence[str]) -> bool:
    """Tell a line of a photograph, whose tenth word is a name, from one of points, where it is a number."""
    try:
        float(words[9].split()[0])
    except (IndexError, ValueError):
        return len(words) == 10
    return False


def text_points(file: Path) -> Iterator[Sequence[float]]:
    """Yield points: number, position, and what else is known."""
    for line in filter(str.strip, lines_of(file)):
        yield [float(value) for value in line.split()[1:4]]


class Bytes:
    """The bytes of a file, read from the first on."""

    def __init__(self, file: Path) -> None:
        self.content = file.read_bytes()
        self.place = 0

    def take(self, layout: str) -> tuple[float, ...]:
        """Return the next numbers of a layout of `struct`."""
        found = struct.unpack_from(f"<{layout}", self.content, self.place)
        self.place += struct.calcsize(f"<{layout}")
        return found

    def skip(self, count: int) -> None:
        """Pass over some bytes."""
        self.place += count
        if self.place > len(self.content):
            raise ValueError(f"it ends {self.place - len(self.content)} bytes early")

    def text(self) -> str:
        """Return the text up to the next zero."""
        end = self.content.index(0, self.place)
        found = self.content[self.place : end].decode("utf-8")
        self.place = end + 1
        return found


def binary_cameras(file: Path) -> Iterator[tuple[int, Camera]]:
    """Yield cameras by number."""
    content = Bytes(file)
    for _ in range(int(content.take("Q")[0])):
        number, model, width, height = map(int, content.take("iiQQ"))
        if not 0 <= model < len(MODELS):
            yield number, Camera(f"number {model}", (height, width), ())
            return
        name, parameters = MODELS[model]
        yield number, Camera(name, (height, width), content.take(f"{len(parameters.split())}d"))


def binary_images(file: Path) -> Iterator[Image]:
    """Yield photographs."""
    content = Bytes(file)
    for _ in range(int(content.take("Q")[0])):
        numbers = content.take("I7dI")
        name = content.text()
        (seen,) = content.take("Q")
        content.skip(24 * int(seen))  # two coordinates and a point's number for each
        yield Image(name, int(numbers[8]), numbers[1:5], numbers[5:8])


def binary_points(file: Path) -> Iterator[Sequence[float]]:
    """Yield points."""
    content = Bytes(file)
    for _ in range(int(content.take("Q")[0])):
        _, x, y, z, _, _, _, _, track = content.take("Q3d3BdQ")
        content.skip(8 * int(track))  # a photograph and a place in it for each that sees the point
        yield x, y, z
