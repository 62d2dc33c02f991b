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


NOWHERE, NO_LABELS = np.zeros(0, np.int64), np.zeros(0, np.int32)
NOTHING = Edit(NOWHERE, NOWHERE, NO_LABELS, NO_LABELS)
"""The edit that changes no pixel."""


def free_label(*planes: Labels) -> int:
    """Return the first label above all that are in use.

    Parameters
    ----------
    *planes : integer arrays
        Where it must be free.

    Returns
    -------
    int
    """
    return 1 + max(int(plane.max(initial=0)) for plane in planes)


def count_objects(plane: Labels) -> int:
    """Count the labels in use.

    Parameters
    ----------
    plane : integer array
        Labels of a plane or of a part of it.

    Returns
    -------
    int
    """
    low, high = plane.min(initial=0), plane.max(initial=0)
    if low < 0 or high > plane.size:  # no table of all labels, or too large a one
        return int(np.count_nonzero(np.unique(plane)))
    return int(np.count_nonzero(np.bincount(plane.ravel())[1:]))


def label_at(labels: Labels, point: Point) -> int:
    """Read the label at a point; 0 outside the plane."""
    inside = all(0 <= p < n for p, n in zip(point, labels.shape, strict=True))
    return int(labels[point]) if inside else 0
