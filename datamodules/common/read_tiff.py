"""A page of a TIFF file as its tags mean it: colours, transparency, orientation.

tifffile gives the numbers as they are stored, of every depth and layout. Pillow knows what tags mean for some of them, and cuts
or mistakes the others.
"""

import logging
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.color import lab2xyz, xyz2rgb
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, TiffFile, TiffPage

from datamodules.common.decoded import Decoded, check_size, choose_frame, peak_of, round_to
from datamodules.common.read_pillow import read_picture
from inr.errors import InputError

ORIENTATION = 274  # numbers of tags
INK_SET = 332
NO_DATA = 42113  # of maps: the number of pixels that were not measured
OTHER_INKS = 2  # of the tag InkSet: not cyan, magenta, yellow and black
CANON = b"CR"  # behind the header of Canon's raw photographs
# samples of a pixel that make its colour; the others are transparency or further bands
COLOURS: dict[int, int] = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.MASK: 1,
    PHOTOMETRIC.SEPARATED: 4,
    PHOTOMETRIC.YCBCR: 3,
    PHOTOMETRIC.CIELAB: 3,
    PHOTOMETRIC.ICCLAB: 3,
}
PLAIN = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB, PHOTOMETRIC.MASK)  # numbers are what they are
ALPHAS = (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)
JPEGS = (COMPRESSION.JPEG, COMPRESSION.JPEG_LOSSY, COMPRESSION.ALT_JPEG)  # decoders that turn YCbCr into RGB themselves
# compressions that libtiff, in Pillow, knows and tifffile does not
OLD = (COMPRESSION.CCITTRLE, COMPRESSION.CCITT_T4, COMPRESSION.CCITT_T6, COMPRESSION.OJPEG)
# XYZ relative to the white D50, in which L*a*b* is stored, to the white D65 of sRGB: Bradford's adaptation
D50_TO_D65 = np.array(
    [[0.9555766, -0.0230393, 0.0631636], [-0.0282895, 1.0099416, 0.0210077], [0.0122982, -0.0204830, 1.3299098]]
)
LIGHTEST = 65280  # L* = 100 of ICC's 16 bits


def refuse(path: Path, kind: str, remedy: str) -> InputError:
    """Make the error about a TIFF whose numbers cannot be read as a picture."""
    return InputError(f"A TIFF must be grey, colour or bands of numbers, {path} is {kind}; {remedy}.")


def pictures_in(file: TiffFile, path: Path) -> list[TiffPage]:
    """Return the pages that are pictures of their own, no previews or masks of others.

    Raises: InputError for raw photographs, and for several pictures in one page.
    """
    pages = [page.aspage() for page in file.pages]
    pictures = [page for page in pages if not (page.is_reduced or page.is_mask)]
    file.filehandle.seek(8)
    if not pictures or file.filehandle.read(2) == CANON:
        raise refuse(path, "a camera's raw photograph and holds previews alone", "develop it, and save it as tiff or png")
    if (file.is_imagej or file.is_shaped) and file.series[0].is_truncated:
        if pages[0].dataoffsets[0] + file.series[0].nbytes > file.filehandle.size:
            raise ValueError("it ends before its last picture")
        kind = f"a stack {file.series[0].shape} in one page"
        raise refuse(path, kind, "save every picture as a page of its own, or the one as .npy")
    return pictures


def mapped(page: TiffPage) -> np.ndarray:
    """Map a page into memory: the file itself, or one for the time being into which tiles are decoded one by one."""
    if page.dtype is None or not page.is_memmappable:
        return page.asarray(out="memmap")
    number = np.dtype(page.parent.byteorder + page.dtype.char)
    # Copied where something is written, which tensors may ask for and nothing does.
    return np.memmap(page.parent.filehandle.path, number, "c", page.dataoffsets[0], page.shape)


def stored(page: TiffPage, large: bool) -> np.ndarray:
    """Return the numbers (rows, columns, samples) of a page; fewer bits than the type has are stretched to all of them."""
    array = mapped(page) if large else page.asarray()
    if page.axes not in ("YX", "YXS", "SYX"):
        raise ValueError(f"its axes are {page.axes}, not rows, columns and samples")
    array = array[..., None] if page.axes == "YX" else np.moveaxis(array, 0, -1) if page.axes == "SYX" else array
    array = array.view(np.uint8) if array.dtype == bool else array
    is_whole = array.dtype.kind != "u" or page.bitspersample >= 8 * array.dtype.itemsize
    if is_whole or page.photometric == PHOTOMETRIC.PALETTE:
        return array
    return round_to(array * (peak_of(array) / (2**page.bitspersample - 1)), array.dtype)


def inverted(array: np.ndarray) -> np.ndarray:
    """Return how far numbers lie below the peak of their type."""
    if array.dtype.kind == "i" or (array.dtype.kind == "f" and not (array.min() >= 0 and array.max() <= 1)):
        raise ValueError(f"numbers of {array.dtype} that count from white have no black; save them from black to white")
    return round_to(peak_of(array) - array.astype(float), array.dtype)


def from_inks(array: np.ndarray) -> np.ndarray:
    """Turn cyan, magenta, yellow and black into red, green and blue: (1 - ink) (1 - black)."""
    light = inverted(array)
    peak = peak_of(array)
    return round_to(light[..., :3].astype(float) * light[..., 3:] / peak, array.dtype)


def from_palette(array: np.ndarray, page: TiffPage) -> np.ndarray:
    """Look colours up, in 8 bits if the palette has no more."""
    if page.colormap is None:
        raise ValueError("it has a palette of no colours")
    colours = page.colormap.T  # (colours, 3), 16 bits
    if colours.max() <= 255:  # some programs write bytes as they are
        return colours.astype(np.uint8)[array[..., 0]]
    low = colours & 255  # bytes are written as 256 or 257 times themselves
    is_bytes = not low.any() or (low == colours >> 8).all()
    return (colours >> 8).astype(np.uint8)[array[..., 0]] if is_bytes else colours[array[..., 0]]


def from_luma(array: np.ndarray) -> np.ndarray:
    """Turn luma and differences of colour, of 8 bits, into red, green and blue."""
    if array.dtype != np.uint8:
        raise ValueError(f"YCbCr of {array.dtype} is not known, save it as RGB")
    rows, columns, _ = array.shape
    return np.asarray(Image.frombytes("YCbCr", (columns, rows), array.tobytes()).convert("RGB"))


def from_lab(array: np.ndarray, offset: bool) -> np.ndarray:
    """Turn CIE L*a*b* relative to the white D50 into sRGB.

    offset: a* and b* are stored with half the range added, as ICC has them, instead of signed.

    Source: Adobe, TIFF Technical Notes (2002), on the white point and on ICCLAB.
    """
    lab = array.astype(float)
    if array.dtype.kind in "ui":
        bits = 8 * array.dtype.itemsize
        unsigned = array.view(f"u{array.dtype.itemsize}").astype(float)
        half = 2.0 ** (bits - 1)
        lightest = LIGHTEST if offset and bits == 16 else 2.0**bits - 1
        signed = unsigned - half if offset else (unsigned + half) % (2 * half) - half  # two's complement
        lab = np.concatenate([unsigned[..., :1] / lightest * 100, signed[..., 1:] / 2 ** (bits - 8)], -1)
    colours = xyz2rgb(lab2xyz(lab, illuminant="D50") @ D50_TO_D65.T)
    wide = array.dtype if array.dtype.kind == "f" else np.dtype(f"u{array.dtype.itemsize}")
    return round_to(colours * (1 if wide.kind == "f" else np.iinfo(wide).max), wide)


def colours_of(array: np.ndarray, page: TiffPage) -> np.ndarray:
    """Turn the colours of a page into grey or red, green and blue."""
    kind = page.photometric
    if kind == PHOTOMETRIC.MINISWHITE:
        return inverted(array)
    if kind == PHOTOMETRIC.SEPARATED:
        return from_inks(array)
    if kind == PHOTOMETRIC.PALETTE:
        return from_palette(array, page)
    if kind == PHOTOMETRIC.YCBCR and page.compression not in JPEGS:
        return from_luma(array)
    if kind in (PHOTOMETRIC.CIELAB, PHOTOMETRIC.ICCLAB):
        return from_lab(array, kind == PHOTOMETRIC.ICCLAB)
    return array


def remarks(array: np.ndarray, page: TiffPage, undeclared: int) -> str | None:
    """Return what the user of a page should know of its samples, of which so many have no declared meaning."""
    found = []
    if undeclared and array.shape[2] in (2, 4):  # most such files mean transparency, and say so
        found.append("does not declare its last sample as transparency, which is read as a channel")
    if page.tags.valueof(NO_DATA) is not None and (missing := int((array == page.nodata).any(-1).sum())):
        found.append(f"has {missing} pixels without data, which are read as the {page.nodata:g} that marks them: replace them")
    return " and ".join(found) or None


def interpreted(array: np.ndarray, page: TiffPage) -> Decoded:
    """Tell the colours, further bands and transparency of a page (rows, columns, samples) apart."""
    count = COLOURS[page.photometric]
    further = array.shape[2] - count
    if further < 0:
        raise ValueError(f"it has {array.shape[2]} samples per pixel where its colours need {count}")
    known = page.extrasamples[:further]
    alphas = [count + place for place, kind in enumerate(known) if kind in ALPHAS]
    turn = page.tags.valueof(ORIENTATION)
    note = remarks(array, page, further - len(known))
    if page.photometric in PLAIN and not alphas:
        return Decoded(array, orientation=turn, note=note)
    colours = colours_of(array[..., :count], page)
    bands = [array[..., [place]] for place in range(count, array.shape[2]) if place not in alphas[:1]]
    if bands and colours.dtype != array.dtype:
        raise ValueError(f"its palette is of {colours.dtype} and its other bands of {array.dtype}")
    values = np.concatenate([colours, *bands], -1)
    if not alphas:
        return Decoded(values, orientation=turn, note=note)
    premultiplied = known[alphas[0] - count] == EXTRASAMPLE.ASSOCALPHA
    return Decoded(values, array[..., alphas[:1]], len(bands), premultiplied, turn, note)


def read_tiff(path: Path, frame: int | None, large: bool = False) -> Decoded:
    """Return a page of a TIFF file in its number type, with the colours that its tags mean.

    Grey, RGB, palettes, CMYK, YCbCr and L*a*b*, of 1 to 64 bits or floats, in tiles, strips or planes, of every compression
    that imagecodecs knows. Samples beyond the colours are channels, unless they are declared as transparency.

    large: map the page into memory instead of reading it; what has to be converted is in memory all the same.

    Raises: InputError for raw photographs, other inks than CMYK, other kinds of colour, and several pictures in one page.
    """
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it finds wrong is raised, too
    with TiffFile(path) as file:
        pages = pictures_in(file, path)
        choose_frame(len(pages), frame, path)
        page = pages[frame or 0]
        check_size(page.imagelength, page.imagewidth, path)
        if page.compression in OLD:
            return read_picture(path, page.index)
        kind = page.photometric
        if kind not in COLOURS:
            raise refuse(path, f"of the kind {kind.name if isinstance(kind, PHOTOMETRIC) else kind}", "save it as RGB")
        if kind == PHOTOMETRIC.SEPARATED and page.tags.valueof(INK_SET) == OTHER_INKS:
            raise refuse(path, "of inks that are not cyan, magenta, yellow and black", "save it as RGB")
        array = stored(page, large)
        return interpreted(array, page)
