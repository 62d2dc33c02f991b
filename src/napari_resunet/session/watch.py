"""What of a plane is not yet as last captured: compared block by block, never as a whole.

A stroke costs the comparison of the few blocks that it may have edited, however large
the image is. Where to look is the caller's matter; this only compares and copies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.corrections.review import ReviewMask
from napari_resunet.session.store.delta import CHANGED, LabelDelta, LabelsSnapshot, marks_of
from napari_resunet.types import Window

BLOCK = 256
"""Side of a block in pixels."""

Corner = tuple[int, int]


def corners(shape: tuple[int, int], window: Window | None = None) -> Iterator[Corner]:
    """List the blocks of a plane that a window touches.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the plane.
    window : tuple of slice or None
        Rows and columns; None means all.

    Yields
    ------
    tuple of int
        First row and column of a block.
    """
    rows, columns = window or (slice(0, shape[0]), slice(0, shape[1]))
    for row in range(rows.start // BLOCK * BLOCK, rows.stop, BLOCK):
        for column in range(columns.start // BLOCK * BLOCK, columns.stop, BLOCK):
            yield row, column


class BlockDiff:
    """The last captured state of a plane.

    Parameters
    ----------
    shape : tuple of int
        Height and width.
    state : LabelsSnapshot or None
        What is on the disk already; None where nothing is.
    """

    def __init__(self, shape: tuple[int, int], state: LabelsSnapshot | None = None) -> None:
        self._captured = state or LabelsSnapshot.empty(shape)

    def capture(
        self, corner: Corner, plane: npt.NDArray[Any], review: ReviewMask
    ) -> LabelDelta | None:
        """Copy a block if it is not as last captured.

        Parameters
        ----------
        corner : tuple of int
            First row and column of the block.
        plane : integer array, shape (Y, X)
            The labels now.
        review : ReviewMask
            Of the plane.

        Returns
        -------
        LabelDelta or None
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
        patch = LabelDelta(*corner, labels, before, marks)
        old.labels[window], old.marks[window] = labels, marks
        return patch

    def forget(self) -> None:
        """Take every block for changed: what was on the disk is gone."""
        # No review has such marks.
        self._captured.marks[:] = 255
