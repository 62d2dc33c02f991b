"""Reads windows of the pages of a TIFF, and no more of the file than they need.

The file is opened for each read: what is read later must still be the same file.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from napari_resunet.tiff_reader import (
    UnreadableError,
    are_pictures,
    check_picture,
)

if TYPE_CHECKING:
    from tifffile import TiffPage

MAX_PIECE = 2**28
"""Bytes of a tile or strip; a larger one is read with its whole image."""

SMALL_PIECE = 2**20
CACHE_BYTES = 2**28
"""Of unpacked tiles and strips, because windows overlap and channels share tiles."""

Pixels = npt.NDArray[Any]


@dataclass(frozen=True)
class SameFile:
    """A file, as it was when it was looked at.

    Attributes
    ----------
    path : Path
        Where it is.
    n_bytes, modified_ns : int
        Its size, and its time.
    """

    path: Path
    n_bytes: int
    modified_ns: int

    @classmethod
    def at(cls, path: Path) -> SameFile:
        """Look at a file."""
        about = path.stat()
        return cls(path, about.st_size, about.st_mtime_ns)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open it.

        Raises
        ------
        UnreadableError
            If it has changed.
        """
        with self.path.open("rb") as stream:
            about = os.fstat(stream.fileno())
            if (about.st_size, about.st_mtime_ns) != (self.n_bytes, self.modified_ns):
                raise UnreadableError("it has changed since it was opened")
            yield stream


class Pages(Protocol):
    """The pages of an image, all alike."""

    def read(
        self, page: int, samples: Sequence[int], rows: slice, columns: slice
    ) -> Pixels:
        """Read a window, shape (h, w, len(samples))."""


@dataclass(frozen=True, eq=False)
class PlainPages:
    """Pages whose pixels lie in the file as they are, row after row.

    Attributes
    ----------
    file : SameFile
        Where they are.
    starts : sequence of int
        Place of the first pixel of each page.
    dtype : dtype
        Of the file, with its order of bytes.
    height, width : int
        Of a page.
    n_samples : int
        Of a page.
    apart : bool
        Whether each sample is a plane of its own.
    """

    file: SameFile
    starts: Sequence[int]
    dtype: np.dtype[Any]
    height: int
    width: int
    n_samples: int
    apart: bool

    def read(
        self, page: int, samples: Sequence[int], rows: slice, columns: slice
    ) -> Pixels:
        """Read a window, shape (h, w, len(samples))."""
        with self.file.opened() as stream:
            if not self.apart:
                return self._window(stream, page, 0, rows, columns)[..., list(samples)]
            planes = [self._window(stream, page, s, rows, columns) for s in samples]
            return np.concatenate(planes, axis=-1)

    def _window(
        self, stream: BinaryIO, page: int, plane: int, rows: slice, columns: slice
    ) -> Pixels:
        together = 1 if self.apart else self.n_samples
        height, width = rows.stop - rows.start, columns.stop - columns.start
        found = np.empty((height, width, together), self.dtype)
        size = together * self.dtype.itemsize
        start = self.starts[page] + plane * self.height * self.width * size
        for row, pixels in zip(range(rows.start, rows.stop), found, strict=True):
            stream.seek(start + (row * self.width + columns.start) * size)
            if stream.readinto(pixels.data.cast("B")) < pixels.nbytes:  # type: ignore[attr-defined]
                raise UnreadableError("a part of its pixels was cut off")
        return found.astype(self.dtype.newbyteorder("="), copy=False)


@dataclass(frozen=True)
class Pieces:
    """Where the tiles or strips of a page are in the file.

    Attributes
    ----------
    offsets, counts : sequence of int
        The first byte, and the number of bytes, of each; 0 if it is left out.
    tables : bytes or None
        What all JPEGs of the page share.
    """

    offsets: Sequence[int]
    counts: Sequence[int]
    tables: bytes | None


class PackedPages:
    """Pages in tiles or strips, compressed or not; those that were used last are kept.

    Parameters
    ----------
    file : SameFile
        Where they are.
    page : tifffile.TiffPage
        What all pages have in common.
    pieces : sequence of Pieces
        Those of each page.
    """

    def __init__(self, file: SameFile, page: TiffPage, pieces: Sequence[Pieces]) -> None:
        self._page = page
        page.decode  # noqa: B018 - what it is made from is read while the file is open
        self._side = piece_side(page)
        self._apart = page.planarconfig == 2 and page.samplesperpixel > 1
        most = max(1, CACHE_BYTES // max(1, piece_bytes(page)))
        # A method would keep this object, and its cache, alive.
        self._piece = lru_cache(maxsize=most)(partial(_unpacked, file, page, pieces))

    def read(
        self, page: int, samples: Sequence[int], rows: slice, columns: slice
    ) -> Pixels:
        """Read a window, shape (h, w, len(samples))."""
        if not self._apart:
            return self._window(page, 0, rows, columns)[..., list(samples)]
        planes = [self._window(page, s, rows, columns) for s in samples]
        return np.concatenate(planes, axis=-1)

    def _window(self, page: int, plane: int, rows: slice, columns: slice) -> Pixels:
        together = 1 if self._apart else self._page.samplesperpixel
        shape = rows.stop - rows.start, columns.stop - columns.start, together
        found = np.empty(shape, self._page.dtype)
        n_rows, n_columns = piece_grid(self._page)
        for i, inside_rows, into_rows in _parts(rows, self._side[0]):
            for j, inside_columns, into_columns in _parts(columns, self._side[1]):
                piece = self._piece(page, (plane * n_rows + i) * n_columns + j)
                target = found[into_rows, into_columns]
                if piece is None:
                    target[...] = self._page.nodata
                else:
                    # Numbers of a larger type would be cut off without a word.
                    np.copyto(target, piece[inside_rows, inside_columns], casting="safe")
        return found


def piece_side(page: TiffPage) -> tuple[int, int]:
    """Return rows and columns of a tile or strip."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return page.rowsperstrip, page.imagewidth


def piece_grid(page: TiffPage) -> tuple[int, int]:
    """Return the number of tiles or strips along rows and columns."""
    height, width = piece_side(page)
    return -(-page.imagelength // height), -(-page.imagewidth // width)


def piece_bytes(page: TiffPage) -> int:
    """Return the size of an unpacked tile or strip in bytes."""
    itemsize = 1 if page.dtype is None else page.dtype.itemsize
    return math.prod(page.chunks) * itemsize


def _parts(span: slice, side: int) -> Iterator[tuple[int, slice, slice]]:
    """Split an interval by pieces: each one's number, what is of it, and where it goes."""
    for number in range(span.start // side, -(-span.stop // side)):
        first = max(span.start, number * side)
        last = min(span.stop, (number + 1) * side)
        inside = slice(first - number * side, last - number * side)
        yield number, inside, slice(first - span.start, last - span.start)


def _unpacked(
    file: SameFile, keyframe: TiffPage, pieces: Sequence[Pieces], page: int, number: int
) -> Pixels | None:
    """Read and unpack a tile or strip, shape (h, w, samples); None if it is left out."""
    where = pieces[page]
    n_bytes = where.counts[number]
    if n_bytes == 0 or where.offsets[number] == 0:
        return None
    if n_bytes > 2 * piece_bytes(keyframe) + SMALL_PIECE:
        raise UnreadableError("its pieces are far larger than it says: it is damaged")
    with file.opened() as stream:
        stream.seek(where.offsets[number])
        data = stream.read(n_bytes)
    if are_pictures(keyframe):
        check_picture(keyframe, data)
    shared = {"jpegtables": where.tables, "jpegheader": keyframe.jpegheader}
    unpacked, _, _ = keyframe.decode(data, number, **shared)
    return None if unpacked is None else unpacked[0]
