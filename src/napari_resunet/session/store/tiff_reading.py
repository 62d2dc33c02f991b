"""TIFFs that we wrote, read back strip by strip, so that one bad strip costs its rows.

A session may come from anyone: nothing is unpacked to more than it should hold, and no
format is known here that brings in other files (OME, Micro-Manager, NDTiff).
"""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import SessionError

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

HARMLESS = 2**28
"""Bytes of pixels that may come out of however small a file."""

MAX_RATIO = 1100
"""zlib packs zeros 1 : 1032; more than this is no TIFF that we wrote."""

UNPACKED, ZLIB = 1, (8, 32946)
"""Values of the compression tag."""


def read_tiff(
    path: Path, shape: tuple[int, ...], kinds: str = "ui", ratio: int = MAX_RATIO
) -> npt.NDArray[Any]:
    """Read a TIFF that must have a known shape, looking before unpacking.

    Parameters
    ----------
    path : Path
        The file.
    shape : tuple of int
        What it must hold.
    kinds : str
        numpy's letters of the dtypes that are allowed.
    ratio : int
        How much a large file may grow when it is unpacked.

    Returns
    -------
    array

    Raises
    ------
    SessionError
        If it is missing, damaged, or not what it should be.
    """
    array, good = read_rows(path, shape, kinds, ratio)
    if not good.all():
        raise _damaged(path)
    return array


def read_rows(
    path: Path, shape: tuple[int, ...], kinds: str = "ui", ratio: int = MAX_RATIO
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Read what can be read of a TIFF; see `read_tiff`.

    Returns
    -------
    array : array
        Zeros where it is damaged.
    good : bool array, shape (pages, rows)
        Which rows could be read.

    Raises
    ------
    SessionError
        If it is missing or not what it should be.
    """
    if path.is_symlink() or not path.is_file():
        raise SessionError(f"There is no file '{path}': the session is not whole.")
    try:
        with _opened(path) as tiff:
            pages = [_page(path, page, kinds) for page in tiff.pages]
            one = pages[0].shape
            if not _fits(len(pages), one, shape):
                raise _unexpected(path)
            if any((p.shape, p.dtype) != (one, pages[0].dtype) for p in pages):
                raise _unexpected(path)
            n_bytes = math.prod(shape) * np.dtype(pages[0].dtype).itemsize
            if n_bytes > max(HARMLESS, ratio * path.stat().st_size):
                raise _unexpected(path)
            array = np.zeros((len(pages), *one), pages[0].dtype)
            good = np.zeros(array.shape[:2], bool)
            for number, page in enumerate(pages):
                _fill(tiff, page, array[number], good[number])
    except SessionError:
        raise
    except Exception as error:  # a damaged file raises whatever the parser met
        raise _damaged(path) from error
    return array.reshape(shape), good


def read_note(path: Path, name: str) -> Any:
    """Read a value from the description that a TIFF carries; None if it has none.

    Raises
    ------
    SessionError
        If the file is damaged.
    """
    try:
        with _opened(path) as tiff:
            text = tiff.pages.first.description
    except Exception as error:  # a damaged file raises whatever the parser met
        raise _damaged(path) from error
    try:
        return json.loads(text).get(name)
    except (ValueError, AttributeError, RecursionError):
        return None


def _opened(path: Path) -> TiffFile:
    """Open a TIFF as nothing but a list of pages."""
    import tifffile

    formats: dict[str, Any] = {f"is_{f}": False for f in tifffile.TIFF.FILE_FLAGS}
    return tifffile.TiffFile(path, _multifile=False, **formats)


def _page(path: Path, page: Any, kinds: str) -> TiffPage:
    """Make sure that a page is of the kind that we write."""
    import tifffile

    page = page.aspage()
    known = page.compression == UNPACKED or page.compression in ZLIB
    contiguous = page.samplesperpixel == 1 or page.planarconfig == 1
    plain = page.predictor == 1 and not page.is_tiled and contiguous
    if page.dtype is None or page.dtype.kind not in kinds or not (known and plain):
        raise _unexpected(path)
    assert isinstance(page, tifffile.TiffPage)
    return page


def _fill(
    tiff: TiffFile, page: TiffPage, array: npt.NDArray[Any], good: npt.NDArray[np.bool_]
) -> None:
    """Read the strips of a page into an array, and tell which rows are good."""
    height = array.shape[0]
    row_bytes = array[:1].nbytes
    dtype = array.dtype.newbyteorder(tiff.byteorder)
    step = min(max(1, page.rowsperstrip), height)
    strips = zip(page.dataoffsets, page.databytecounts, strict=False)
    for row, (offset, count) in zip(range(0, height, step), strips, strict=False):
        rows = min(step, height - row)
        raw = _strip(tiff, page.compression, offset, count, rows * row_bytes)
        if raw is not None:
            values = np.frombuffer(raw, dtype).reshape((rows, *array.shape[1:]))
            array[row : row + rows] = values
            good[row : row + rows] = True


def _strip(
    tiff: TiffFile, compression: int, offset: int, count: int, size: int
) -> bytes | None:
    """Read a strip that unpacks to a known number of bytes; None if it does not."""
    if offset + count > tiff.filehandle.size:
        return None
    tiff.filehandle.seek(offset)
    data = tiff.filehandle.read(count)
    if compression == UNPACKED:
        return data if len(data) == size else None
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(data, size + 1)
    except zlib.error:
        return None
    return raw if len(raw) == size and unpacker.eof else None


def _fits(n_pages: int, one: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Tell whether so many pages of one shape make the whole."""
    page, whole = _plain(one), _plain(shape)
    ends = whole[len(whole) - len(page) :] == page
    return ends and n_pages * math.prod(one) == math.prod(shape)


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Leave out dimensions of one: TIFF does not keep them."""
    return tuple(n for n in shape if n != 1)


def _unexpected(path: Path) -> SessionError:
    return SessionError(
        f"'{path}' does not hold what the session says it does: the session is damaged "
        "or not from napari-resunet. Choose another one."
    )


def _damaged(path: Path) -> SessionError:
    return SessionError(
        f"'{path}' is damaged: restore it from a copy, or choose another session."
    )
