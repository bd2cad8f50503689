"""Pictures that Pillow opens, in the number type of the file."""

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from datamodules.common.decoded import Decoded, check_size, choose_frame
from datamodules.common.read_deep import READERS

# colour spaces of Pillow that are no plain channels, and what they become
PLAIN_MODES = {"1": "L", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "HSV": "RGB", "LAB": "RGB", "PA": "RGBA", "RGBX": "RGB"}


def select_frame(image: Image.Image, frame: int | None, path: Path) -> str | None:
    """Go to the frame that is asked for; of photographs with others behind them to the first, with a note."""
    frames = getattr(image, "n_frames", 1)
    if image.format == "PSD":  # the frames are layers, the picture of all of them is open already
        choose_frame(1, frame, path)
        return None
    if image.format == "MPO" and frame is None and frames > 1:  # telephones put depths, brightness or a second view there
        return f"the first of its {frames} pictures is read; data.frame chooses another"
    choose_frame(frames, frame, path)
    image.seek(frame or 0)
    return None


def values_of(image: Image.Image) -> np.ndarray:
    """Return numbers as Pillow has them; palettes and odd colour spaces become RGB."""
    # palettes, and rarely pictures, make one colour transparent instead of having a channel for it
    transparent = image.mode in ("P", "RGB", "L") and "transparency" in image.info
    mode = "RGBA" if transparent else PLAIN_MODES.get(image.mode, image.mode)
    array = np.asarray(image if mode == image.mode else image.convert(mode))
    is_16_bit = mode == "I" and array.min() >= 0 and array.max() < 65536  # Pillow has 32 bits for some of them
    return array.astype(np.uint16) if is_16_bit else array


def read_picture(path: Path, frame: int | None) -> Decoded:
    """Return a picture that Pillow can read, or at least open: colours of 16 bits are left to other readers."""
    with Image.open(path) as image:
        check_size(image.height, image.width, path)
        note = select_frame(image, frame, path)
        deep = READERS.get(image.format or "")
        found = None if deep is None else deep(image, path)
        values = values_of(image) if found is None else found
        # Exif or XMP, in whatever chunk of the file
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    if values.ndim == 2 or values.shape[2] not in (2, 4):
        return Decoded(values, orientation=orientation, note=note)
    return Decoded(values[..., :-1], values[..., -1:], orientation=orientation, note=note)
