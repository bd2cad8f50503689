"""Pictures of 16 bits per channel in formats whose colours Pillow cuts to 8 bits, silently: PNG, PPM, JPEG 2000."""

import re
from pathlib import Path

import imagecodecs
import numpy as np
import png
from PIL import Image, ImageFile

FULL = 65535  # the highest number of 16 bits
SIZES = b"\xff\x51"  # the marker of JPEG 2000 before the sizes of a picture
DEPTH = 40  # bytes from there to the depth of the first channel
COMMENT = rb"#[^\n\r]*"


def widen(values: np.ndarray, highest: int) -> np.ndarray:
    """Stretch numbers from 0 .. highest to 16 bits."""
    return (values * (FULL / highest)).round().astype(np.uint16)


def deep_png(image: Image.Image, path: Path) -> np.ndarray | None:
    """Return a PNG of 16 bits per channel; None for others."""
    with path.open("rb") as file:
        # 8 bytes of signature, 8 of chunk length and kind, 4 each for columns and rows, then the bits per channel
        if file.read(25)[24:] != b"\x10":
            return None
        if image.tell():
            raise ValueError("frames of 16 bits behind the first cannot be read")
        file.seek(0)
        columns, rows, values, info = png.Reader(file=file).asDirect()
        array = np.vstack([np.asarray(row, dtype=np.uint16) for row in values]).reshape(rows, columns, info["planes"])
    return widen(array, 2 ** info["bitdepth"] - 1)  # the chunk sBIT may say that fewer bits are significant: pypng cuts to them


def deep_ppm(image: Image.Image, path: Path) -> np.ndarray | None:
    """Return a PPM (colours) whose highest number is more than a byte holds; None for others."""
    assert isinstance(image, ImageFile.ImageFile)
    tile = image.tile[0]
    highest = tile.args[1] if isinstance(tile.args, tuple) else 255
    if image.mode != "RGB" or highest <= 255:
        return None
    content = path.read_bytes()[tile.offset :]
    numbers = re.sub(COMMENT, b"", content).split() if tile.codec_name == "ppm_plain" else np.frombuffer(content, ">u2")
    shape = (image.height, image.width, 3)
    return widen(np.array(numbers, np.uint16)[: np.prod(shape)].reshape(shape), highest)


def deep_jpeg2000(image: Image.Image, path: Path) -> np.ndarray | None:
    """Return a JPEG 2000 of more than 8 bits per channel; None for others."""
    content = path.read_bytes()
    place = content.find(SIZES) + DEPTH
    bits = content[place] + 1  # above 128 for signed numbers, which the decoder refuses
    return None if bits <= 8 else widen(imagecodecs.jpeg2k_decode(content), 2**bits - 1)


READERS = {"PNG": deep_png, "PPM": deep_ppm, "JPEG2000": deep_jpeg2000}
