"""Writes labels at the levels of an image piece by piece, for labels of any size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.types import Index

SIDE = 1024
"""Rows and columns of a chunk."""

PIECE = 2048
"""Rows and columns of labels that are read at once to make those of another level."""

Place = tuple[int | slice, ...]


@dataclass(frozen=True)
class ImageLabels:
    """Labels that lie on the levels of an image; all get the nearest label of one level.

    Attributes
    ----------
    folder : Path
        Where they are written.
    shapes : tuple of tuple of int
        Of the levels; rows and columns last.
    names : tuple of str
        Of the axes.
    version : {"0.4", "0.5"}
        Of NGFF.
    base : int
        The level that is written first.
    """

    folder: Path
    shapes: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]
    version: str
    base: int

    @property
    def chunk(self) -> int:
        """Rows and columns of a chunk."""
        return SIDE

    def create(self, dtype: npt.DTypeLike) -> None:
        """Create the arrays, empty."""
        for level, shape in enumerate(self.shapes):
            folder = self.folder / str(level)
            create_array(folder, shape, dtype, self.version, self.names, SIDE)

    def write(self, level: int, where: Place, labels: npt.NDArray[Any]) -> None:
        """Write a part of a level; two parts of one chunk only one after the other."""
        self._open(level)[where] = labels

    def resample(self, level: int, index: Index, rows: slice, columns: slice) -> None:
        """Write a part of a level from the one that was written first."""
        labels = nearest(self._open(self.base), self.shapes[level], index, rows, columns)
        self.write(level, (*index, rows, columns), labels)

    def _open(self, level: int) -> Any:
        import zarr

        return zarr.open_array(str(self.folder / str(level)), mode="r+")


def create_array(
    folder: Path,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    version: str,
    names: Sequence[str],
    side: int,
) -> Any:
    """Create a zarr array for labels, which other programs can read.

    Parameters
    ----------
    folder : Path
        Of the array.
    shape : tuple of int
        Rows and columns last.
    dtype : dtype
        Of the labels.
    version : {"0.4", "0.5"}
        Of NGFF.
    names : sequence of str
        Of the axes.
    side : int
        Rows and columns of a chunk.
    """
    import zarr
    from numcodecs import Blosc

    v3 = version == "0.5"
    return zarr.create_array(
        store=str(folder),
        shape=shape,
        dtype=np.dtype(dtype),
        chunks=(*(1 for _ in shape[:-2]), *(max(1, min(side, n)) for n in shape[-2:])),
        fill_value=0,
        # What programs that read zarr 2 know; zarr's own choice is newer than they are.
        compressors="auto" if v3 else Blosc(),
        zarr_format=3 if v3 else 2,
        dimension_names=list(names) if v3 else None,
        chunk_key_encoding=None if v3 else {"name": "v2", "separator": "/"},
    )


def parts_of(shape: tuple[int, ...], side: int) -> Iterator[tuple[Index, slice, slice]]:
    """Split a level into parts: the plane, rows, and columns, at most `side` of each."""
    *stack, height, width = shape
    rows, columns = (
        [slice(i, min(i + side, n)) for i in range(0, n, side)] for n in (height, width)
    )
    return product(np.ndindex(*stack), rows, columns)


def nearest(
    labels: Any, shape: tuple[int, ...], index: Index, rows: slice, columns: slice
) -> npt.NDArray[Any]:
    """Take a part of a level from labels of another shape.

    Parameters
    ----------
    labels : array, or zarr array
        Of any size: what is needed is read.
    shape : tuple of int
        Of the level; rows and columns last.
    index : tuple of int
        The plane of the level.
    rows, columns : slice
        Of the level.

    Returns
    -------
    array, shape of the part
        Of a level of half the size, this is every second pixel, the first one included.
    """
    plane = tuple(
        i * m // n for i, n, m in zip(index, shape[:-2], labels.shape[:-2], strict=True)
    )
    height, width = labels.shape[-2:]
    part = np.empty((rows.stop - rows.start, columns.stop - columns.start), labels.dtype)
    for to_rows, from_rows in _pieces(rows, shape[-2], height):
        for to_columns, from_columns in _pieces(columns, shape[-1], width):
            top, left = from_rows[0], from_columns[0]
            window = slice(top, from_rows[-1] + 1), slice(left, from_columns[-1] + 1)
            piece = labels[(*plane, *window)]
            part[to_rows, to_columns] = piece[from_rows - top][:, from_columns - left]
    return part


def _pieces(
    span: slice, n: int, n_labels: int
) -> Iterator[tuple[slice, npt.NDArray[np.int64]]]:
    """Yield slices of a part, and the nearest of `n_labels` pixels: few enough to read."""
    step = max(1, PIECE * n // n_labels)
    for start in range(span.start, span.stop, step):
        stop = min(start + step, span.stop)
        places = np.arange(start, stop) * n_labels // n
        yield slice(start - span.start, stop - span.start), places
