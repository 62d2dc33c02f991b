"""A rectangle of a plane as the user's work changed it, and as bytes.

A patch holds three arrays: the labels; `before`, what the labels were when the program
last took note of them, where that differs; and the marks, one bit for each state.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_resunet.corrections.review import ReviewMask
from napari_resunet.types import LabelArray, Window

PROPOSED, EDITED, VERIFIED, CHANGED = 1, 2, 4, 8
"""Bits of the marks; CHANGED is where `before` counts."""

MAX_SIDE = 1024
LEVEL = 1
"""Of zlib: labels shrink to a hundredth at the fastest level."""

Marks = npt.NDArray[np.uint8]
_COUNT = struct.Struct("<I")
_HEAD = struct.Struct("<IIIII")


@dataclass(frozen=True, eq=False)
class LabelDelta:
    """The new content of a rectangle.

    Attributes
    ----------
    row, column : int
        Of its corner.
    labels, before : int32 array, shape (h, w)
        The labels now, and, where they were changed since, as last taken note of.
    marks : uint8 array, shape (h, w)
        Bits PROPOSED, TOUCHED, CHECKED, CHANGED.
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
    """All that is kept of a plane: the arrays of a `LabelDelta`, of the plane's shape."""

    labels: LabelArray
    before: LabelArray
    marks: Marks

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> LabelsSnapshot:
        """Start with no labels and no marks."""
        return cls(
            np.zeros(shape, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.uint8)
        )

    def put(self, delta: LabelDelta) -> None:
        """Write a patch into the arrays."""
        self.labels[delta.window] = delta.labels
        self.before[delta.window] = delta.before
        self.marks[delta.window] = delta.marks

    def checksum(self, place: str) -> str:
        """Compute what tells this state from a damaged one, and from another plane's."""
        crc = zlib.crc32(place.encode())
        for array in (self.labels, self.before, self.marks):
            crc = zlib.crc32(np.ascontiguousarray(array).data, crc)
        return f"crc32:{crc:08x}"

    def review(self) -> ReviewMask:
        """Make the review that this was taken from."""
        changed = (self.marks & CHANGED) > 0
        return ReviewMask(
            last_written=np.where(changed, self.before, self.labels).astype(np.int32),
            proposed=(self.marks & PROPOSED) > 0,
            edited=(self.marks & EDITED) > 0,
            verified=(self.marks & VERIFIED) > 0,
        )


def marks_of(review: ReviewMask, window: Window, labels: npt.NDArray[np.int32]) -> Marks:
    """Put the masks of a review's window into bits.

    Parameters
    ----------
    review : ReviewMask
        Of the plane.
    window : tuple of slice
        Rows and columns.
    labels : int32 array, shape of the window
        The labels there now.

    Returns
    -------
    uint8 array, shape of the window
    """
    marks = review.proposed[window].astype(np.uint8)
    for mask, bit in (
        (review.edited[window], EDITED),
        (review.verified[window], VERIFIED),
        (labels != review.last_written[window], CHANGED),
    ):
        marks |= mask.view(np.uint8) * np.uint8(bit)
    return marks


def encode(deltas: Sequence[LabelDelta]) -> bytes:
    """Pack patches into bytes."""
    parts = [_COUNT.pack(len(deltas))]
    for delta in deltas:
        arrays = (delta.labels, delta.before, delta.marks)
        packed = zlib.compress(b"".join(a.tobytes() for a in arrays), LEVEL)
        height, width = delta.labels.shape
        parts += [_HEAD.pack(delta.row, delta.column, height, width, len(packed)), packed]
    return b"".join(parts)


def decode(data: bytes, shape: tuple[int, int]) -> Iterator[LabelDelta]:
    """Unpack patches of a plane of a known shape.

    Yields
    ------
    LabelDelta

    Raises
    ------
    ValueError
        If the bytes are not what `encode` makes, or a patch lies outside the plane.
    """
    try:
        (count,) = _COUNT.unpack_from(data, 0)
        at = _COUNT.size
        for _ in range(count):
            row, column, height, width, n_bytes = _HEAD.unpack_from(data, at)
            _check(row, column, height, width, shape)
            at += _HEAD.size
            yield _patch(row, column, (height, width), data[at : at + n_bytes])
            at += n_bytes
    except (struct.error, zlib.error) as error:
        raise ValueError(f"damaged patch: {error}") from error


def _check(row: int, column: int, height: int, width: int, shape: tuple[int, int]) -> None:
    fits = row + height <= shape[0] and column + width <= shape[1]
    if not (fits and 0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise ValueError("a patch lies outside its plane")


def _patch(row: int, column: int, size: tuple[int, int], packed: bytes) -> LabelDelta:
    n = size[0] * size[1]
    raw = zlib.decompressobj().decompress(packed, 9 * n + 1)
    if len(raw) != 9 * n:
        raise ValueError("a patch has another size than it says")
    labels = np.frombuffer(raw, np.int32, n).reshape(size)
    before = np.frombuffer(raw, np.int32, n, 4 * n).reshape(size)
    marks = np.frombuffer(raw, np.uint8, n, 8 * n).reshape(size)
    return LabelDelta(row, column, labels, before, marks)
