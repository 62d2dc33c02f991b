"""What an edit of labels is: invertible data. Numpy only, quick to import.

How edits come about is `objects` and `grow`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.types import LabelArray, Window

Labels = npt.NDArray[np.integer[Any]]
Path = npt.NDArray[np.floating[Any]]
"""Places on a plane, shape (n, 2): rows and columns, in the order they were drawn."""
Point = tuple[int, int]


@dataclass(frozen=True)
class Edit:
    """Pixels of one plane with their labels before and after.

    Attributes
    ----------
    rows, columns : int array, shape (n,)
        Where.
    before, after : int32 array, shape (n,)
        The labels there; they differ everywhere.
    """

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    before: LabelArray
    after: LabelArray

    @classmethod
    def between(cls, before: Labels, after: Labels, window: Window) -> Edit:
        """Compare two states of a window.

        Parameters
        ----------
        before, after : integer array, shape of the window
            Labels.
        window : tuple of slice
            Where they lie on the plane.

        Returns
        -------
        Edit
        """
        rows, columns = np.nonzero(before != after)
        old, new = before[rows, columns], after[rows, columns]
        return cls(
            rows + window[0].start,
            columns + window[1].start,
            old.astype(np.int32),
            new.astype(np.int32),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def inverse(self) -> Edit:
        """Return the edit that takes this one back."""
        return Edit(self.rows, self.columns, self.after, self.before)

    def apply(self, plane: npt.NDArray[Any]) -> None:
        """Write the labels after the edit.

        Parameters
        ----------
        plane : integer array, shape (Y, X)
            Changed in place.
        """
        plane[self.rows, self.columns] = self.after


HIGHEST = int(np.iinfo(np.int32).max)
"""The largest label."""

ROOM = 2**16
"""So many labels may be new in one edit or one proposal without a look for gaps."""

NOWHERE, NO_LABELS = np.zeros(0, np.int64), np.zeros(0, np.int32)
NOTHING = Edit(NOWHERE, NOWHERE, NO_LABELS, NO_LABELS)
"""The edit that changes no pixel."""


def free_label(*planes: Labels) -> int:
    """Return a label that is not in use, and neither are many above it.

    Parameters
    ----------
    *planes : integer arrays
        Where it must be free.

    Returns
    -------
    int
        The first one above all that are in use; where the numbers end soon after those,
        the first of the widest gap between them.
    """
    most = max(int(plane.max(initial=0)) for plane in planes)
    if most <= HIGHEST - ROOM:
        return most + 1
    used = np.unique(np.concatenate([[0], *(np.unique(plane) for plane in planes)]))
    used = used[used >= 0]
    widest = int(np.argmax(np.diff(used)))
    return int(used[widest]) + 1


def fits_table(labels: Labels) -> bool:
    """Tell whether a table of all labels, from 0 up, is no larger than the labels.

    Parameters
    ----------
    labels : integer array
        Labels of a plane or of a part of it.

    Returns
    -------
    bool
        False also where some are negative: they would count from a table's end.
    """
    low, high = labels.min(initial=0), labels.max(initial=0)
    return bool(low >= 0 and high <= max(labels.size, ROOM))


def count_objects(plane: Labels) -> int:
    """Count the labels in use; negative ones are no objects.

    Parameters
    ----------
    plane : integer array
        Labels of a plane or of a part of it.

    Returns
    -------
    int
    """
    if fits_table(plane):
        return int(np.count_nonzero(np.bincount(plane.ravel())[1:]))
    return int((np.unique(plane) > 0).sum())


def label_at(labels: Labels, point: Point) -> int:
    """Read the label at a point; 0 outside the plane."""
    inside = all(0 <= p < n for p, n in zip(point, labels.shape, strict=True))
    return int(labels[point]) if inside else 0
