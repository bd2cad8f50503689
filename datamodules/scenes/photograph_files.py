"""Photographs in files, as bytes: reduced, laid over a background, filled up to a common size, with what is hidden of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from datamodules.common.decoded import BACKGROUNDS, SWAPPED, peak_of
from datamodules.common.files import files_below, one_line, require
from datamodules.common.pictures import DAMAGE, bytes_of, check_array, reader_of
from inr.errors import InputError

BLACK = BACKGROUNDS["black"]
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")


@dataclass(frozen=True)
class PhotographFiles:
    """Files by their views: a call reads one as bytes, without transparency, reduced by a whole factor.

    Photographs lie in the upper left corner of a frame that has room for each of them; what is left of it is hidden.

    masks: a picture per view whose dark pixels hide those of the photograph; None: nothing is hidden.

    Shapes: view -> (rows, columns, 3), the frame.
    Raises: InputError if a file cannot be read, or if a mask has another size than its photograph, or hides all of it.
    """

    files: tuple[Path, ...]
    background: tuple[float, ...] = BLACK
    factor: int = 1
    masks: tuple[Path | None, ...] = ()

    def __call__(self, view: int) -> np.ndarray:
        """Read the photograph of a view."""
        file = self.files[view]
        image = bytes_of(read_stored(file, self.background), "A photograph", file)
        # A copy, as tensors want to write where Pillow lets nobody.
        colours = np.array(np.broadcast_to(image, (*image.shape[:2], 3)), order="C")
        return filled(shrink(colours, self.factor), self.frame)

    @cached_property
    def stored(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of all files, which only have their headers read.

        Raises: InputError if one cannot be read, or if the factor leaves nothing of it.
        """
        # Many photographs take long to decode, their headers a moment: a wrong one is refused before training.
        sizes = tuple(stored_size(file) for file in self.files)
        for rows, columns in sizes:
            rule = f"must leave pixels of {rows} x {columns}"
            require("downscale", self.factor <= min(rows, columns), rule, self.factor, "choose a smaller one")
        return sizes

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of the photographs as they are read, in the frame."""
        return tuple((rows // self.factor, columns // self.factor) for rows, columns in self.stored)

    @cached_property
    def frame(self) -> tuple[int, int]:
        """Rows and columns that have room for every photograph."""
        rows, columns = zip(*self.sizes, strict=True)
        return max(rows), max(columns)

    @property
    def hides(self) -> bool:
        """True if some pixels of the frame are no part of a photograph, or masked."""
        return len(set(self.stored)) > 1 or any(self.masks)

    def shown(self, view: int) -> np.ndarray:
        """Return the pixels (rows, columns) of the frame that are of the photograph, and not masked."""
        size = self.stored[view]
        mask = self.masks[view] if self.masks else None
        whole = np.ones(size, np.uint8) if mask is None else read_mask(mask, size)
        # A square of pixels is shown where all of them are.
        rows, columns = self.sizes[view]
        squares = whole[: rows * self.factor, : columns * self.factor].reshape(rows, self.factor, columns, self.factor)
        return filled(squares.min((1, 3))[..., None], self.frame)[..., 0].astype(bool)

    def one_size(self) -> tuple[int, int]:
        """Return rows and columns of the photographs as they are read.

        Raises: InputError if they differ.
        """
        for file, size in zip(self.files, self.stored, strict=True):
            if size != self.stored[0]:
                rows, columns = self.stored[0]
                found = f"{self.files[0]} has {rows} x {columns} and {file.name} has {size[0]} x {size[1]}"
                raise InputError(f"Photographs must be of one size, {found} pixels; resize or remove them.")
        return self.sizes[0]


def unreadable(file: Path, error: Exception) -> InputError:
    """Make the error about a file that is no photograph."""
    if isinstance(error, InputError):
        return error
    if isinstance(error, FileNotFoundError):
        return InputError(f"Photographs must be there, {file} is missing; add it, or leave its view out.")
    return InputError(f"A photograph must be a whole picture (png, jpeg, ...), {file} is not: {one_line(error)}; copy it anew.")


def read_stored(file: Path, background: tuple[float, ...]) -> np.ndarray:
    """Read a picture (rows, columns, channels) as it lies in its file, without transparency; the first of several frames."""
    # A tag that asks to turn a photograph is not followed, as the programs that find cameras do not follow it either.
    try:
        return check_array(reader_of(file, large=False)(file, 0).stored(background), file)
    except DAMAGE as error:
        raise unreadable(file, error) from error


def stored_size(file: Path) -> tuple[int, int]:
    """Read rows and columns from the header of a file, as they lie in it."""
    try:
        with Image.open(file) as image:
            # Of TIFF alone Pillow has those that are shown.
            lies = image.format == "TIFF" and image.getexif().get(ExifTags.Base.Orientation) in SWAPPED
            return (image.width, image.height) if lies else (image.height, image.width)
    except DAMAGE as error:
        raise unreadable(file, error) from error


def read_mask(file: Path, size: tuple[int, int]) -> np.ndarray:
    """Read a mask as ones and zeros (rows, columns), of which zeros hide."""
    # Black hides, and so does transparency where a mask was cut out.
    array = read_stored(file, BLACK)
    grey = array.mean(-1)
    half = peak_of(array) / 2
    if grey.shape != size:
        rule = "A mask must be as large as its photograph"
        found = f"{file} has {grey.shape[0]} x {grey.shape[1]} pixels for {size[0]} x {size[1]}"
        raise InputError(f"{rule}, {found}; resize it, or remove its mask_path.")
    shown = grey > (half if grey.max() > half else 0)  # masks without bright pixels count 0 and 1
    if not shown.any():
        raise InputError(f"A mask must show some of its photograph, {file} is black; remove its view, or its mask_path.")
    return shown.astype(np.uint8)


def photographs_in(folder: Path) -> tuple[Path, ...]:
    """Return the photographs of a folder, sorted by name.

    Raises: InputError if there are none.
    """
    rule = "A folder of photographs must hold some"
    return tuple(files_below(folder, ENDINGS, rule, subfolders=False, remedy="add them").values())


def find_photograph(folder: Path, path: str) -> Path | None:
    """Return the file in a folder that a path means, whose ending may be missing or another one; None if there is none.

    Folders may be parted by backslashes, and endings differ in case.
    """
    file = folder / path.replace("\\", "/")
    if file.is_file():
        return file
    if not file.parent.is_dir():
        return None
    stems = [file.name, *([file.stem] if file.suffix.lower() in ENDINGS else [])]
    there = {entry.name: entry for entry in sorted(file.parent.iterdir()) if entry.suffix.lower() in ENDINGS}
    wanted = [stem + ending for stem in stems for ending in ENDINGS]
    by_case = {name.lower(): entry for name, entry in reversed(there.items())}
    return next((by_case[name.lower()] for name in [file.name, *wanted] if name.lower() in by_case), None)


def shrink(image: np.ndarray, factor: int) -> np.ndarray:
    """Take the means of squares of pixels; rows and columns that fill no square are cut off.

    Shapes: (rows, columns, 3) -> (rows // factor, columns // factor, 3), bytes.
    """
    if factor == 1:
        return image
    # `reduce` takes the mean of each square alone; resampling filters would mix neighbours into it.
    rows, columns = (side // factor * factor for side in image.shape[:2])
    return np.array(Image.fromarray(image).reduce(factor, (0, 0, columns, rows)))


def filled(image: np.ndarray, frame: Sequence[int]) -> np.ndarray:
    """Fill an image (rows, columns, channels) up with zeros below and to the right."""
    rows, columns = image.shape[:2]
    return np.pad(image, ((0, frame[0] - rows), (0, frame[1] - columns), (0, 0))) if (rows, columns) != tuple(frame) else image
