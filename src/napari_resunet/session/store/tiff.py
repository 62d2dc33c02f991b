"""Writes the files of a session, and reads its TIFFs back without trusting them."""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import SessionError
from napari_resunet.files import atomic_path, cannot_write
from napari_resunet.session.store.safety import set_aside

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

BIG = 2**31
"""Bytes above which a TIFF needs 64-bit offsets."""


def write_tiff(
    path: Path,
    array: npt.NDArray[Any],
    note: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    """Write an array as a compressed TIFF, all or nothing, and sync it to the disk.

    Parameters
    ----------
    path : Path
        The file.
    array : array
        Booleans become 0 and 255.
    note : dict or None
        Written into the description, in addition to the shape.
    **options
        Options of ``tifffile.imwrite``.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    import tifffile

    if array.dtype == bool:
        array = array.view(np.uint8) * np.uint8(255)
    narrow = array.ndim > 2 and array.shape[-1] == 1
    with whole_file(path) as temporary:
        tifffile.imwrite(
            temporary,
            iter(array.reshape(-1, *array.shape[-2:])) if narrow else array,
            shape=array.shape,
            dtype=array.dtype,
            compression="zlib",
            compressionargs={"level": 1},
            bigtiff=array.nbytes > BIG,
            maxworkers=1,
            **described(array.shape, note or {}),
            **options,
        )


def described(shape: tuple[int, ...], note: dict[str, Any]) -> dict[str, Any]:
    """Return options of ``tifffile.imwrite`` that put a note into the description."""
    if len(shape) > 2 and shape[-1] == 1:
        # With its own metadata, tifffile reads a last axis of length 1 as samples.
        return {"metadata": None, "description": json.dumps(note)}
    return {"metadata": note}


def label_dtype(labels: npt.NDArray[np.int32]) -> npt.NDArray[Any]:
    """Convert labels to what other tools expect: unsigned, with 16 bits if they fit."""
    if labels.min(initial=0) < 0:
        return labels
    return labels.astype(np.uint16 if labels.max(initial=0) < 2**16 else np.uint32)


def write_text(path: Path, text: str) -> None:
    """Write a text file anywhere, all or nothing.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    sync_folder(path.parent)


def store_text(path: Path, text: str) -> None:
    """Write a text file of a session; see `whole_file`."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes a file of a session, all or nothing, and synced.

    A folder with the file's name is set aside.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    make_folder(path.parent)
    with atomic_path(path) as temporary:
        yield temporary
        if path.is_dir():
            set_aside(path)
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents; a file in the way is set aside.

    Raises
    ------
    FileError
        If it cannot be made.
    """
    try:
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        if not nearest.is_dir():
            set_aside(nearest)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to the disk, if the system can do that.

    Raises
    ------
    FileError
        If it fails.
    """
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise cannot_write(folder, error) from error


HARMLESS = 2**28
"""Bytes of pixels that a file of any size may hold."""

MAX_RATIO = 1100
"""Bytes of pixels per byte of a larger file: zlib packs zeros 1 : 1032 at best."""

UNPACKED, ZLIB = 1, (8, 32946)
"""Values of the compression tag."""


def read_tiff(
    path: Path, shape: tuple[int, ...], kinds: str = "ui", ratio: int = MAX_RATIO
) -> npt.NDArray[Any]:
    """Read a TIFF of a known shape, and check it before unpacking it.

    Parameters
    ----------
    path : Path
        The file.
    shape : tuple of int
        The shape that it must have.
    kinds : str
        numpy's letters for the kinds of dtype that are allowed.
    ratio : int
        Bytes of pixels per byte of a large file, at most.

    Returns
    -------
    array
        Of that shape.

    Raises
    ------
    SessionError
        If the file is missing, damaged, or not what it should be.
    """
    array, good = read_rows(path, shape, kinds, ratio)
    if not good.all():
        raise _damaged(path)
    return array


def read_rows(
    path: Path, shape: tuple[int, ...], kinds: str = "ui", ratio: int = MAX_RATIO
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Read as much as possible of a TIFF; see `read_tiff`.

    Returns
    -------
    array : array
        0 in damaged rows.
    good : bool array, shape (pages, rows)
        Which rows could be read.

    Raises
    ------
    SessionError
        If the file is missing, or not what it should be.
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
    except Exception as error:  # a damaged file can raise anything
        raise _damaged(path) from error
    return array.reshape(shape), good


def read_note(path: Path, name: str) -> Any:
    """Read a value from the description of a TIFF; None if it has none.

    Raises
    ------
    SessionError
        If the file is damaged.
    """
    try:
        with _opened(path) as tiff:
            text = tiff.pages.first.description
    except Exception as error:  # a damaged file can raise anything
        raise _damaged(path) from error
    try:
        return json.loads(text).get(name)
    except (ValueError, AttributeError, RecursionError):
        return None


def _opened(path: Path) -> TiffFile:
    """Open a TIFF as a plain list of pages, whatever format it says it has."""
    import tifffile

    formats: dict[str, Any] = {f"is_{f}": False for f in tifffile.TIFF.FILE_FLAGS}
    return tifffile.TiffFile(path, _multifile=False, **formats)


def _page(path: Path, page: Any, kinds: str) -> TiffPage:
    """Check that a page is of the kind that we write."""
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
    """Read the strips of a page into an array, and mark the good rows."""
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
    """Read a strip; None unless it unpacks to exactly `size` bytes."""
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
    """Return whether `n_pages` pages of one shape make up the whole."""
    page, whole = _plain(one), _plain(shape)
    ends = whole[len(whole) - len(page) :] == page
    return ends and n_pages * math.prod(one) == math.prod(shape)


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Drop dimensions of length 1: a TIFF does not store them."""
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
