"""TIFF files as arrays with named axes, as the file states them.

Only the given file is read, never another that it names.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from napari_resunet.tiff_images import images_in, left_out, main_image
from napari_resunet.tiff_metadata import channel_names, steps_of
from napari_resunet.types import PIXEL_SIZES

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

PIXEL_AXES = "YX"
STACK_AXES = "PTZ"
KNOWN_AXES = "PTZCYXS"
UNNAMED_AXES = "IQ"
"""What tifffile calls dimensions that the file does not name."""

MAX_CHANNELS = 4
"""An unnamed last dimension of up to this length holds channels, not columns."""

MAX_PLANES = 10**6
HARMLESS_BYTES = 2**28
MAX_RATIO = 4096
"""No compression used in microscopy exceeds this."""

PICTURE_CODECS = ("JP", "WEBP")
PICTURE_FORMATS = ("JPEG", "JPEG2000", "WEBP")
HARMLESS_PIXELS = 2**24

COLOURS = ("RGB", "YCBCR")
UNSUPPORTED_COLOURS = ("SEPARATED", "CIELAB", "ICCLAB", "ITULAB", "LOGL", "LOGLUV")
ALPHA = (1, 2)
"""Values of the tag ExtraSamples for transparency."""


class UnreadableError(Exception):
    """Why a TIFF cannot be read; the message does not name the file."""


@dataclass(frozen=True, eq=False)
class StoredImage:
    """An image as its file stores it.

    Attributes
    ----------
    array : array
        The pixels.
    axes : str
        One letter of "PTZCYXS" per dimension.
    notices : tuple of str
        What was left out, one sentence each.
    pixel_size : float or None
        Side of a pixel in micrometres; None if the file does not state it.
    steps : mapping of str to float
        From pixel to pixel along X, Y, and Z, in micrometres, and along T, in seconds;
        only what the file states.
    """

    array: npt.NDArray[Any]
    axes: str
    notices: tuple[str, ...] = ()
    pixel_size: float | None = None
    steps: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class StatedAxes:
    """What a TIFF says of its first image, pixels aside.

    Attributes
    ----------
    shape : tuple of int
        Its shape.
    axes : str
        One letter of tifffile's for each dimension; "I" and "Q" are unnamed ones.
    channels : tuple of str
        Names of the channels; empty if it does not name each.
    """

    shape: tuple[int, ...]
    axes: str
    channels: tuple[str, ...]


class _OnlyThisFile(io.BufferedReader):
    """A stream without a file descriptor, so that tifffile opens no companion files."""

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")


def read_tiff(path: Path, number: int | None = None) -> StoredImage:
    """Read a regular file as TIFF.

    Parameters
    ----------
    path : Path
        The file.
    number : int or None
        Which of its images, from 1; see `image_in`.

    Returns
    -------
    StoredImage
        Images that match are stacked. Without transparency. Unnamed stack axes become Z,
        then T, then P.

    Raises
    ------
    UnreadableError
        If it holds no such image, or not the pixels that it states.
    Exception
        Anything that tifffile raises on damaged files.
    """
    with opened(path) as (tiff, is_whole):
        return _read(tiff, path.stat().st_size, is_whole, number)


def count_images(path: Path) -> int:
    """Count the images of a regular file; see `tiff_images.images_in`."""
    with opened(path) as (tiff, _):
        return len(images_in(tiff))


def image_in(tiff: TiffFile, number: int | None) -> list[TiffPageSeries]:
    """Return an image, counted from 1, as series that are stacked.

    None is the first one and all that match it; of a slide, the largest one.

    Raises
    ------
    UnreadableError
        If there is no such image.
    """
    if number is None:
        return main_image(tiff)
    images = images_in(tiff)
    if not 1 <= number <= len(images):
        raise UnreadableError(f"it has no image number {number}")
    return images[number - 1]


def read_axes(path: Path, number: int = 1) -> StatedAxes:
    """Read what a regular file says of the axes and channels of an image, pixels aside.

    Raises
    ------
    UnreadableError
        If it holds no image.
    Exception
        Anything that tifffile raises on damaged files.
    """
    with opened(path) as (tiff, _):
        first = image_in(tiff, number)[0]
        n = dict(zip(first.axes, first.shape, strict=True)).get("C", 0)
        names = channel_names(tiff, number)
        named = len(names) == n == len(set(names)) and all(names)
        return StatedAxes(tuple(first.shape), first.axes, names if named else ())


@contextmanager
def opened(path: Path) -> Iterator[tuple[TiffFile, bool]]:
    """Open a file that holds an image; also tell whether its last page is there."""
    import tifffile

    # Micro-Manager's index of planes can ask for any amount of memory. Its files are also
    # OME-TIFFs or ImageJ stacks.
    with (
        _OnlyThisFile(io.FileIO(path)) as stream,
        tifffile.TiffFile(stream, is_mmstack=False) as tiff,
    ):
        is_whole = _pages_end(tiff)
        _check_stated_planes(tiff)
        if not tiff.series:
            raise UnreadableError("it holds no image")
        yield tiff, is_whole


def _read(tiff: TiffFile, n_bytes: int, is_whole: bool, number: int | None) -> StoredImage:
    alike = image_in(tiff, number)
    first = alike[0]
    check_page(first.keyframe)
    _check_size(alike, n_bytes)
    _check_pieces(tiff, alike)
    parts = [_pixels(series) for series in alike]
    if len({(p.axes, p.array.shape) for p in parts}) > 1:
        alike, parts = alike[:1], parts[:1]
    array, axes = parts[0].array, parts[0].axes
    if len(parts) > 1:
        array = np.stack([part.array for part in parts])
        axes = ("P" if first.kind == "ome" else "I") + axes
    array = inverted_back(array, first.keyframe, inverted=not tiff.is_imagej)
    array, axes = with_known_samples(array, axes, first.keyframe)
    array, axes = with_channels_last(array, axes)
    notices = (*parts[0].notices, *notices_on(tiff, alike, is_whole, number))
    steps = steps_of(tiff, number or 1)
    return StoredImage(array, named_axes(axes), notices, side_from(steps), steps)


def notices_on(
    tiff: TiffFile, read: Sequence[TiffPageSeries], is_whole: bool, number: int | None
) -> tuple[str, ...]:
    """Say what of a file was not read, apart from images that are numbered."""
    notices = left_out(tiff, read) if number is None else []
    if not is_whole:
        notices.append("The file is damaged or was cut short: its last pages are missing.")
    return tuple(notices)


def side_from(steps: Mapping[str, float]) -> float | None:
    """Return the side of a pixel in micrometres; None if it is not known."""
    side = math.sqrt(steps.get("Y", 0) * steps.get("X", 0))
    return side if PIXEL_SIZES[0] <= side <= PIXEL_SIZES[1] else None


def _pages_end(tiff: TiffFile) -> bool:
    """Return whether the last page is there: tifffile skips pages that were cut off.

    Raises if the pages form a loop, which tifffile would follow for ever.
    """
    layout, stream = tiff.tiff, tiff.filehandle
    offset, seen = tiff.pages.first.offset, set[int]()
    while 0 < offset < stream.size:
        if offset in seen or len(seen) > MAX_PLANES:
            raise UnreadableError("its pages have no end: the file is damaged")
        seen.add(offset)
        stream.seek(offset)
        n_tags = struct.unpack(layout.tagnoformat, stream.read(layout.tagnosize))[0]
        stream.seek(offset + layout.tagnosize + n_tags * layout.tagsize)
        after = stream.read(layout.offsetsize)
        if len(after) < layout.offsetsize:
            return False
        offset = struct.unpack(layout.offsetformat, after)[0]
    return offset == 0


def _check_stated_planes(tiff: TiffFile) -> None:
    """Refuse OME-XML that states too many planes, because tifffile lists them all."""
    if not tiff.is_ome or not (text := tiff.ome_metadata):
        return
    try:
        elements = list(ElementTree.fromstring(text).iter())
    except ElementTree.ParseError:
        return
    for element in elements:
        sizes = [_number(element, f"Size{axis}") for axis in "ZCT"]
        counts = [_number(element, n) for n in ("PlaneCount", "NumPlanes", "IFD")]
        if max(math.prod(sizes), *counts) > MAX_PLANES:
            raise UnreadableError("its description names far more planes than a file holds")


def _number(element: ElementTree.Element, name: str) -> int:
    try:
        return max(1, int(element.attrib.get(name, 1)))
    except ValueError:
        return 1


def check_page(page: TiffPage) -> None:
    """Refuse colours and compressions that cannot be read.

    Raises
    ------
    UnreadableError
        If they cannot, or if the page holds no pixels.
    """
    from tifffile import TIFF

    colours = getattr(page.photometric, "name", "")
    if colours in UNSUPPORTED_COLOURS:
        raise UnreadableError(
            f"its colours are {colours}, not grey or RGB: convert it to RGB first"
        )
    if not page.shape or page.dtype is None:
        raise UnreadableError("its first page holds no pixels that can be read")
    if page.compression != 1 and page.compression not in TIFF.DECOMPRESSORS:
        codec = getattr(page.compression, "name", page.compression)
        raise UnreadableError(
            f"its pixels are compressed as {codec}, which is not known here: run pip "
            "install --upgrade imagecodecs, or save it as an uncompressed TIFF"
        )


def _check_size(series: Sequence[TiffPageSeries], n_bytes: int) -> None:
    page = series[0].keyframe
    pages = sum(1 for one in series for page in _pages(one) if page is not None)
    stated = sum(one.nbytes for one in series)
    if series[0].kind == "ome":
        stated = pages * page.nbytes
    check_stated(stated, n_bytes)


def check_stated(stated: int, n_bytes: int) -> None:
    """Refuse a file that states far more bytes of pixels than it can hold.

    Raises
    ------
    UnreadableError
        If it does.
    """
    if stated > max(HARMLESS_BYTES, MAX_RATIO * n_bytes):
        raise UnreadableError(
            f"it says that it holds {stated / 2**30:.1f} GB of pixels in a file of "
            f"{n_bytes / 2**20:.1f} MB"
        )


def _check_pieces(tiff: TiffFile, series: Sequence[TiffPageSeries]) -> None:
    """Refuse pieces that were cut off, or pictures much larger than the page states."""
    page, stream = series[0].keyframe, tiff.filehandle
    pictures = are_pictures(page)
    for each in (page for one in series for page in one if page is not None):
        for offset, n_bytes in zip(each.dataoffsets, each.databytecounts, strict=True):
            if offset + n_bytes > stream.size:
                raise UnreadableError("a part of its pixels was cut off: copy it again")
            if pictures:
                stream.seek(offset)
                check_picture(page, stream.read(n_bytes))


def are_pictures(page: TiffPage) -> bool:
    """Return whether the tiles or strips of a page are pictures that state their size."""
    codec = getattr(page.compression, "name", "")
    return any(name in codec for name in PICTURE_CODECS)


def check_picture(page: TiffPage, data: bytes) -> None:
    """Refuse a picture that is much larger than the tiles or strips of its page.

    Raises
    ------
    UnreadableError
        If it is.
    """
    if _picture_size(data) > max(HARMLESS_PIXELS, 2 * math.prod(page.chunks)):
        raise UnreadableError("its pieces are far larger than it says: it is damaged")


def _picture_size(data: bytes) -> float:
    """Return the number of pixels that a picture states, 0 if unknown."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=PICTURE_FORMATS) as picture:
                return math.prod(picture.size)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        return math.inf
    except (OSError, ValueError, SyntaxError, struct.error):  # decoding it will fail
        return 0


def _pages(series: TiffPageSeries) -> list[Any]:
    """List the pages of an OME-TIFF; None for a plane that is in another file."""
    return list(series) if series.kind == "ome" else []


def _pixels(series: TiffPageSeries) -> StoredImage:
    pages = _pages(series)
    if None not in pages:
        return StoredImage(np.asarray(series.asarray()), series.axes)
    return _own_planes(series, pages)


def _own_planes(series: TiffPageSeries, pages: list[Any]) -> StoredImage:
    """Read the planes in this file, as the smallest block that holds them."""
    sizes = zip(
        series.get_axes(squeeze=False), series.get_shape(squeeze=False), strict=True
    )
    stack = {axis: n for axis, n in sizes if axis not in "YXS"}
    own = [number for number, page in enumerate(pages) if page is not None]
    array = np.stack([pages[number].asarray() for number in own])
    where = np.unravel_index(own, tuple(stack.values()))
    counts = {a: len(np.unique(w)) for a, w in zip(stack, where, strict=True)}
    if math.prod(counts.values()) == len(own):
        sizes_here = {axis: n for axis, n in counts.items() if n > 1}
    else:
        sizes_here = {max(counts, key=lambda axis: counts[axis]): len(own)}
    notice = (
        f"It holds {len(own)} of the {len(pages)} planes that its description names: only "
        "these were read; the others are in other files, or missing."
    )
    page = pages[own[0]]
    array = array.reshape(*sizes_here.values(), *page.shape)
    return StoredImage(array, "".join(sizes_here) + page.axes, (notice,))


def inverted_back(
    array: npt.NDArray[Any], page: TiffPage, inverted: bool
) -> npt.NDArray[Any]:
    """Invert pixels stored with 0 as white, except those of ImageJ, which need not be."""
    white_is_zero = getattr(page.photometric, "name", "") == "MINISWHITE"
    if not (inverted and white_is_zero and array.dtype.kind in "bu"):
        return array
    if array.dtype.kind == "b":
        return ~array
    most = array.dtype.type(2 ** int(page.bitspersample) - 1)
    return np.asarray(most - array)


def with_known_samples(
    array: npt.NDArray[Any], axes: str, page: TiffPage
) -> tuple[npt.NDArray[Any], str]:
    """Keep the samples of RGB(A); turn others into channels, without transparency."""
    if "S" not in axes:
        return array, axes
    place = axes.index("S")
    colours = 3 if getattr(page.photometric, "name", "") in COLOURS else 1
    if colours == 3 and array.shape[place] in (3, 4):
        return array, axes
    hidden = {colours + i for i, kind in enumerate(page.extrasamples) if int(kind) in ALPHA}
    shown = [n for n in range(array.shape[place]) if n not in hidden]
    array = np.take(array, shown, axis=place)
    if len(shown) == 1:
        return array.squeeze(place), axes.replace("S", "")
    return array, axes.replace("S", "C" if "C" not in axes else "I")


def with_channels_last(array: npt.NDArray[Any], axes: str) -> tuple[npt.NDArray[Any], str]:
    """Recognize (…, Y, X, channels) if the file does not name its dimensions."""
    unnamed = set(axes) <= {*PIXEL_AXES, *UNNAMED_AXES}
    if len(axes) < 3 or not unnamed:
        return array, axes
    n = array.shape[-1]
    if not n <= MAX_CHANNELS < min(array.shape[-3:-1]):
        return array, axes
    axes = "I" * (len(axes) - 3) + PIXEL_AXES
    if n == 1:
        return array.squeeze(-1), axes
    return array, axes + ("S" if n >= 3 else "C")


def named_axes(axes: str) -> str:
    """Replace unnamed and unknown dimensions by free letters of `KNOWN_AXES`."""
    named = ["" if axis not in KNOWN_AXES else axis for axis in axes]
    if "C" in named and "S" in named:
        named[named.index("C")] = ""
    unknown = [place for place, axis in enumerate(named) if not axis]
    free = [axis for axis in STACK_AXES if axis not in named]
    if len(unknown) == 3 and not {"T", "Z", "C", "S"} & set(named):
        free = ["T", "Z", "C"]
    if len(unknown) > len(free):
        raise UnreadableError(
            f"it has {len(axes)} dimensions, more than can be told apart: save each "
            "position or time point as a file of its own"
        )
    for place, axis in zip(unknown, free[len(free) - len(unknown) :], strict=True):
        named[place] = axis
    return "".join(named)
