"""Changed rectangles of a plane: found by comparing blocks, and packed into bytes.

A rectangle holds three arrays: the labels; `before`, the labels as the program last wrote
or saw them, where they differ; and the marks, one bit for each state of a pixel.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.corrections.review import ReviewMask
from napari_resunet.types import LabelArray, Window

PROPOSED, EDITED, VERIFIED, CHANGED = 1, 2, 4, 8
"""Bits of the marks; `before` is valid where CHANGED is set."""

MAX_SIDE = 1024
LEVEL = 1
"""Level of zlib, the fastest: labels shrink to a hundredth all the same."""

Marks = npt.NDArray[np.uint8]
_COUNT = struct.Struct("<I")
_HEAD = struct.Struct("<IIIII")


@dataclass(frozen=True, eq=False)
class LabelDelta:
    """The new content of a rectangle.

    Attributes
    ----------
    row, column : int
        First row and column.
    labels, before : int32 array, shape (h, w)
        The labels now, and before the user changed them.
    marks : uint8 array, shape (h, w)
        Bits PROPOSED, EDITED, VERIFIED, CHANGED.
    """

    row: int
    column: int
    labels: LabelArray
    before: LabelArray
    marks: Marks

    @property
    def window(self) -> Window:
        """Rows and columns in the plane."""
        height, width = self.labels.shape
        return slice(self.row, self.row + height), slice(self.column, self.column + width)


@dataclass(frozen=True, eq=False)
class LabelsSnapshot:
    """The arrays of a `LabelDelta` for a whole plane."""

    labels: LabelArray
    before: LabelArray
    marks: Marks

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> LabelsSnapshot:
        """Make a snapshot without labels and marks."""
        return cls(
            np.zeros(shape, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.uint8)
        )

    def put(self, delta: LabelDelta) -> None:
        """Write a rectangle into the arrays."""
        self.labels[delta.window] = delta.labels
        self.before[delta.window] = delta.before
        self.marks[delta.window] = delta.marks

    def checksum(self, place: str) -> str:
        """Compute the CRC-32 of a plane's name and of the arrays."""
        crc = zlib.crc32(place.encode())
        for array in (self.labels, self.before, self.marks):
            crc = zlib.crc32(np.ascontiguousarray(array).data, crc)
        return f"crc32:{crc:08x}"

    def review(self) -> ReviewMask:
        """Make the review mask that this snapshot was taken from."""
        changed = (self.marks & CHANGED) > 0
        return ReviewMask(
            last_written=np.where(changed, self.before, self.labels).astype(np.int32),
            proposed=(self.marks & PROPOSED) > 0,
            edited=(self.marks & EDITED) > 0,
            verified=(self.marks & VERIFIED) > 0,
        )


def marks_of(review: ReviewMask, window: Window, labels: npt.NDArray[np.int32]) -> Marks:
    """Pack the masks of a window into bits; `labels` are those in the window now."""
    marks = review.proposed[window].astype(np.uint8)
    for mask, bit in (
        (review.edited[window], EDITED),
        (review.verified[window], VERIFIED),
        (labels != review.last_written[window], CHANGED),
    ):
        marks |= mask.view(np.uint8) * np.uint8(bit)
    return marks


def encode(deltas: Sequence[LabelDelta]) -> bytes:
    """Pack rectangles into bytes."""
    parts = [_COUNT.pack(len(deltas))]
    for delta in deltas:
        arrays = (delta.labels, delta.before, delta.marks)
        packed = zlib.compress(b"".join(a.tobytes() for a in arrays), LEVEL)
        height, width = delta.labels.shape
        parts += [_HEAD.pack(delta.row, delta.column, height, width, len(packed)), packed]
    return b"".join(parts)


def decode(data: bytes, shape: tuple[int, int]) -> Iterator[LabelDelta]:
    """Unpack rectangles of a plane of a known shape.

    Raises
    ------
    ValueError
        If `encode` did not make the bytes, or a rectangle lies outside the plane.
    """
    try:
        (count,) = _COUNT.unpack_from(data, 0)
        at = _COUNT.size
        for _ in range(count):
            row, column, height, width, n_bytes = _HEAD.unpack_from(data, at)
            _check(row, column, height, width, shape)
            at += _HEAD.size
            yield _delta(row, column, (height, width), data[at : at + n_bytes])
            at += n_bytes
    except (struct.error, zlib.error) as error:
        raise ValueError(f"damaged rectangle: {error}") from error


def _check(row: int, column: int, height: int, width: int, shape: tuple[int, int]) -> None:
    fits = row + height <= shape[0] and column + width <= shape[1]
    if not (fits and 0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise ValueError("a rectangle lies outside its plane")


def _delta(row: int, column: int, size: tuple[int, int], packed: bytes) -> LabelDelta:
    n = size[0] * size[1]
    raw = zlib.decompressobj().decompress(packed, 9 * n + 1)
    if len(raw) != 9 * n:
        raise ValueError("a rectangle has another size than it says")
    labels = np.frombuffer(raw, np.int32, n).reshape(size)
    before = np.frombuffer(raw, np.int32, n, 4 * n).reshape(size)
    marks = np.frombuffer(raw, np.uint8, n, 8 * n).reshape(size)
    return LabelDelta(row, column, labels, before, marks)


BLOCK = 256
"""Side of a block, in pixels."""

Corner = tuple[int, int]


def corners(shape: tuple[int, int], window: Window | None = None) -> Iterator[Corner]:
    """List the first row and column of each block that a window touches; None: of all."""
    rows, columns = window or (slice(0, shape[0]), slice(0, shape[1]))
    for row in range(rows.start // BLOCK * BLOCK, rows.stop, BLOCK):
        for column in range(columns.start // BLOCK * BLOCK, columns.stop, BLOCK):
            yield row, column


class BlockDiff:
    """Finds the blocks of a plane that changed since they were last captured.

    Parameters
    ----------
    shape : tuple of int
        Height and width.
    state : LabelsSnapshot or None
        What is on the disk already; None if nothing is.
    """

    def __init__(self, shape: tuple[int, int], state: LabelsSnapshot | None = None) -> None:
        self._captured = state or LabelsSnapshot.empty(shape)

    def capture(
        self, corner: Corner, plane: npt.NDArray[Any], review: ReviewMask
    ) -> LabelDelta | None:
        """Copy a block if it changed since it was last captured.

        Parameters
        ----------
        corner : tuple of int
            First row and column of the block.
        plane : integer array, shape (Y, X)
            The labels now.
        review : ReviewMask
            Review mask of the plane.

        Returns
        -------
        LabelDelta or None
            None if the block is the same.
        """
        window = slice(corner[0], corner[0] + BLOCK), slice(corner[1], corner[1] + BLOCK)
        labels = plane[window].astype(np.int32)
        marks = marks_of(review, window, labels)
        old = self._captured
        if np.array_equal(labels, old.labels[window]) and np.array_equal(
            marks, old.marks[window]
        ):
            return None
        before = np.where(marks & CHANGED, review.last_written[window], 0).astype(np.int32)
        delta = LabelDelta(*corner, labels, before, marks)
        old.labels[window], old.marks[window] = labels, marks
        return delta

    def forget(self) -> None:
        """Treat every block as changed, because the files vanished."""
        # No review mask has such marks.
        self._captured.marks[:] = 255
