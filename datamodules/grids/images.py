"""Collections of images: a folder of pictures, the Olivetti faces, CIFAR-10, CelebA."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from datamodules.common.batch import Units
from datamodules.common.files import existing_folder, files_below, listing, one_line, require, tell_left_out
from datamodules.common.named_arrays import load_matlab
from datamodules.common.pictures import DAMAGE, bytes_of, colour_of, read_image
from datamodules.common.splits import read_names
from datamodules.grids.collection import CollectionData
from datamodules.grids.store import Source
from inr.errors import InputError

COMPRESSED = (".jpg", ".jpeg", ".jfif", ".jp2", ".webp", ".avif")
ENDINGS = (".png", *COMPRESSED, ".bmp", ".gif", ".tif", ".tiff", ".tga", ".pgm", ".ppm", ".pbm", ".pnm")
COLOURS = {"rgb": "RGB", "grey": "L"}
CROPS = ("centre", "none")
SIDE = 32  # pixels of a CIFAR picture
PLANES = 3  # of its colours
RECORD = 1 + PLANES * SIDE * SIDE  # bytes: the label and the planes
OLIVETTI = 64  # pixels of a face
PER_PERSON = 10  # faces


def bytes_units() -> Units:
    """Return the range of 8-bit values."""
    return Units(127.5, 127.5, 255.0, "8-bit value (0..255)", "uint8")


def centred(rows: int, columns: int, size: tuple[int, int] | None) -> tuple[int, int, int, int]:
    """Return top, left, height, width of the largest centred block of the proportions of `size`; all if that is None."""
    tall, wide = size or (rows, columns)
    height = min(rows, max(1, columns * tall // wide))
    width = min(columns, max(1, rows * wide // tall))
    return (rows - height) // 2, (columns - width) // 2, height, width


@dataclass(kw_only=True, eq=False)
class ImageCollection(CollectionData):
    """All pictures in the folder `root` and its subfolders, brought to one size and to 8 bits; of several frames the first.

    Names are paths inside the folder, with their endings.

    crop: comes first: centre (the largest block of the proportions of `size`), none, or [top, left, height, width].
    size: one number for a square or [rows, columns], reached by Lanczos resampling; None: the pictures have one size already.

    Units:  coordinates (row, column) in pixels after resizing; values 0..255.
    Raises: InputError for a folder without pictures, an unreadable one, or, without `size`, one of another size.
    """

    root: str | None = None
    size: int | Sequence[int] | None = 64
    crop: str | Sequence[int] = "centre"
    colour: str | None = None  # rgb, grey; None: as the first picture
    background: str | Sequence[float] = "white"  # under transparency

    def __post_init__(self) -> None:
        super().__post_init__()
        self.folder = existing_folder("data.root", self.root)
        size = self.size
        crop = self.crop
        sides = [size, size] if isinstance(size, int) else list(size or [])
        if size is not None and (len(sides) != 2 or min(sides) < 2):
            raise InputError(f"data.size must be a number of pixels, at least 2, or [rows, columns], or null, got {size}.")
        self.sides = (sides[0], sides[1]) if sides else None
        if crop not in CROPS and (isinstance(crop, str) or len(crop) != 4 or min(crop) < 0 or min(crop[2:]) < 1):
            raise InputError(f"data.crop must be one of {', '.join(CROPS)}, or [top, left, height, width], got {crop}.")
        rule = f"must be one of {', '.join(COLOURS)}, or null for that of the first"
        require("data.colour", self.colour in (None, *COLOURS), rule, self.colour)
        self.backdrop = colour_of(self.background)

    def scan(self) -> Source:
        """Return names of the pictures; the first decides what the options leave open."""
        files = files_below(self.folder, ENDINGS, "data.root must hold pictures")
        tell_left_out(self.folder, {*files, str(self.held_out)})  # which may be a list in the folder
        paths = list(files.values())
        first = self.picture(paths[0], None if self.colour is None else COLOURS[self.colour])

        def read(position: int) -> np.ndarray:
            array = self.picture(paths[position], "RGB" if first.shape[-1] == 3 else "L")
            if array.shape != first.shape:
                rule = f"Pictures must have one size, {paths[0]} has {list(first.shape[:2])}"
                raise InputError(f"{rule}, but {paths[position]} has {list(array.shape[:2])}; give data.size.")
            return array

        return Source(list(files), first.shape[:2], first.shape[2], read, bytes_units)

    def picture(self, path: Path, mode: str | None) -> np.ndarray:
        """Read one picture (rows, columns, channels): cut, in colour or grey, resized."""
        array = bytes_of(read_image(path, 0, self.backdrop), "A picture of a collection", path)
        rows, columns = array.shape[:2]
        whole = (0, 0, rows, columns)
        box = centred(rows, columns, self.sides) if self.crop == "centre" else whole if self.crop == "none" else self.crop
        top, left, height, width = (int(part) for part in box)
        if top + height > rows or left + width > columns:
            raise InputError(f"data.crop={list(self.crop)} must lie in the picture, {path} has {[rows, columns]}.")
        cut = np.ascontiguousarray(array[top : top + height, left : left + width])
        image = Image.fromarray(cut[..., 0] if cut.shape[-1] == 1 else cut)
        image = image if mode is None else image.convert(mode)
        if self.sides is not None and self.sides != (height, width):
            image = image.resize(self.sides[::-1], Image.Resampling.LANCZOS)
        return np.array(image).reshape(image.height, image.width, -1)


@dataclass(kw_only=True, eq=False)
class CelebA(ImageCollection):
    """The aligned CelebA faces as published: `img_align_celeba/*.jpg` in `root`, `list_eval_partition.txt` there or beside it.

    With held_out=None the validation and test partitions of that list are held out.
    """

    size: int | Sequence[int] | None = 128
    held_out: float | int | str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.given_folder = self.folder
        inside = self.folder / "img_align_celeba"
        self.folder = inside if inside.is_dir() else self.folder

    @property
    def listed_held_out(self) -> set[str] | None:
        """Names in the partitions 1 and 2."""
        lists = [folder / "list_eval_partition.txt" for folder in (self.given_folder, self.given_folder.parent)]
        found = [path for path in lists if path.is_file()]
        if not found and self.held_out is None:
            raise InputError(f"data.held_out=null reads the partition list, {lists[0]}, which is missing; copy it there.")
        return read_names(found[0]) if found else None


@dataclass(kw_only=True, eq=False)
class Olivetti(CollectionData):
    """The Olivetti faces of AT&T, people x 10 grey pictures: `olivettifaces.mat`, or the folder of s1, s2, ... with *.pgm.

    Names are person/picture, such as s01/10, so that held_out=50 holds out the last five people.

    Raises: InputError for a file or folder of another layout.
    """

    path: str | None = None  # the file or the folder

    def __post_init__(self) -> None:
        super().__post_init__()
        self.place = Path("" if self.path is None else self.path).expanduser()
        given = self.path is not None and self.place.exists()
        rule = "must be olivettifaces.mat or the folder of s1, s2, ..."
        require("data.path", given, rule, self.path or None, "correct it")
        self.folder = self.place if self.place.is_dir() else self.place.parent

    def scan(self) -> Source:
        """Return the columns of the matrix, or the names in the folder."""
        return self.scan_folder() if self.place.is_dir() else self.scan_matrix()

    def scan_matrix(self) -> Source:
        """Read the published matrix: a column per picture, itself column by column."""
        try:
            faces = load_matlab(self.place).get("faces", np.empty(0))
        except InputError:
            raise
        except DAMAGE as error:
            rule = "data.path must be a matrix file of MATLAB"
            raise InputError(f"{rule}, {self.place} is not: {one_line(error)}; copy it anew.") from error
        if faces.shape[:1] != (OLIVETTI**2,) or faces.dtype != np.uint8:
            rule = "olivettifaces.mat has a variable faces of (4096, 400) bytes"
            raise InputError(f"{rule}, in {self.place} it is {faces.shape} of {faces.dtype}; use the published file.")
        shape = (OLIVETTI, OLIVETTI)
        names = [f"s{1 + place // PER_PERSON:02d}/{1 + place % PER_PERSON:02d}" for place in range(faces.shape[1])]
        return Source(names, shape, 1, lambda place: faces[:, place].reshape(*shape, 1, order="F").copy(), bytes_units)

    def scan_folder(self) -> Source:
        """List the published folder: a subfolder per person."""
        files = {
            f"s{int(path.parent.name[1:]):02d}/{int(path.stem):02d}": path
            for path in self.place.glob("s*/*.pgm")
            if path.parent.name[1:].isdigit() and path.stem.isdigit()
        }
        if not files:
            raise InputError(f"data.path must hold s1/1.pgm and so on, {self.place} has {listing(self.place)}; correct it.")
        names = sorted(files)
        first = read_image(files[names[0]])

        def read(position: int) -> np.ndarray:
            face = read_image(files[names[position]])
            if face.shape != first.shape or face.dtype != np.uint8 or face.shape[-1] != 1:
                rule = "Faces must be grey, of 8 bits and of one size"
                raise InputError(f"{rule}, {files[names[position]]} differs; replace it.")
            return face.copy()  # what Pillow gives is read-only, which tensors are not

        return Source(names, (first.shape[0], first.shape[1]), 1, read, bytes_units)


@dataclass(kw_only=True, eq=False)
class Cifar10(CollectionData):
    """CIFAR-10 in its binary version: `data_batch_*.bin` and `test_batch.bin` in `root`.

    With held_out=None the test batch is held out. Names are batch/number.

    Raises: InputError for a folder of another version, or a file that is not whole.
    """

    root: str | None = None
    held_out: float | int | str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.folder = existing_folder("data.root", self.root)
        inside = self.folder / "cifar-10-batches-bin"
        self.folder = inside if inside.is_dir() else self.folder

    @cached_property
    def records(self) -> dict[str, np.ndarray]:
        """Records (pictures, label and planes) by file, mapped into memory."""
        files = sorted(self.folder.glob("data_batch_*.bin")) + sorted(self.folder.glob("test_batch.bin"))
        if not files:
            found = f"the folder {self.folder} has {listing(self.folder)}"
            rule = "data.root must hold the binary version of CIFAR-10"
            raise InputError(f"{rule}, data_batch_1.bin and so on, {found}; take that.")
        broken = [file for file in files if file.stat().st_size % RECORD or file.stat().st_size == 0]
        if broken:
            raise InputError(f"A CIFAR-10 file must be whole records of {RECORD} bytes, {broken[0]} is not; copy it anew.")
        return {file.stem: np.memmap(file, np.uint8, "r").reshape(-1, RECORD) for file in files}

    def scan(self) -> Source:
        """Return a name per record."""
        places = [(batch, record) for batch, records in self.records.items() for record in range(len(records))]
        names = [f"{batch}/{record:05d}" for batch, record in places]

        def read(position: int) -> np.ndarray:
            batch, record = places[position]
            planes = np.array(self.records[batch][record, 1:]).reshape(PLANES, SIDE, SIDE)
            return np.ascontiguousarray(planes.transpose(1, 2, 0))

        tested = {name for name in names if name.startswith("test_batch/")}
        return Source(names, (SIDE, SIDE), PLANES, read, bytes_units, tested or None)
