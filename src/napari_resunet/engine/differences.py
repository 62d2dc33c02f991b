"""What differs between two proposals for one area: objects, or pixels of classes.

The pictures show it: objects that are the same as contours, the others as areas. Colours
belong to whoever draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_resunet.engine.metrics import score
from napari_resunet.types import LabelArray, MaskArray, Task, Window

SAME_OUTLINE = 0.8
"""IoU from which two matched objects are the same, not changed."""

Kind = Literal["more", "gone", "changed"]
"""Found by the second model only, by the first only, or by both with another outline."""

MIN_PATCH = 9
"""Fewer pixels of other classes that hang together are not listed."""


@dataclass(frozen=True)
class Difference:
    """One object, or one patch of pixels, that differs.

    Attributes
    ----------
    kind : {"more", "gone", "changed"}
        How it differs.
    window : tuple of slice
        The rows and columns around it, in pixels of the compared area.
    """

    kind: Kind
    window: Window


@dataclass(frozen=True, eq=False)
class Differences:
    """How the proposals of two models differ.

    Attributes
    ----------
    pictures : tuple of two int32 arrays
        What to draw for each proposal. An object has the same number in both; for classes,
        numbers are the classes of the pixels that differ.
    kinds : mapping of int to str
        How the objects of these numbers differ; the others are the same.
    names : mapping of int to int
        Labels of the user for objects that are the same.
    each : tuple of Difference
        All differences, the largest first.
    n_same : int
        Number of objects that are the same.
    fraction : float or None
        Fraction of the pixels that differ, for classes; None for objects.
    """

    pictures: tuple[LabelArray, LabelArray]
    kinds: Mapping[int, Kind] = field(default_factory=dict)
    names: Mapping[int, int] = field(default_factory=dict)
    each: tuple[Difference, ...] = ()
    n_same: int = 0
    fraction: float | None = None

    def count(self, kind: Kind) -> int:
        """Count the differences of one kind."""
        return sum(difference.kind == kind for difference in self.each)


def compare(
    first: LabelArray, second: LabelArray, tasks: set[Task], known: LabelArray | None
) -> Differences:
    """Compare two proposals by their objects, or by their pixels if any is of classes."""
    if tasks == {"instances"}:
        return compare_objects(first, second, known)
    return compare_classes(first, second)


def compare_objects(
    first: LabelArray, second: LabelArray, known: LabelArray | None = None
) -> Differences:
    """Match the objects of two proposals, and of the user's labels, by their overlap.

    Parameters
    ----------
    first, second : int32 array, shape (Y, X)
        Objects numbered from 1.
    known : integer array, shape (Y, X), or None
        The user's labels, whose numbers the objects of `second` pass on.
    """
    matched = score(first, second).matched
    numbers = [_table(first), _table(second)]
    kinds: dict[int, Kind] = {}
    for number, (one, other, iou) in enumerate(matched, 1):
        numbers[0][one] = numbers[1][other] = number
        if iou < SAME_OUTLINE:
            kinds[number] = "changed"
    n = len(matched)
    n = _number_rest(numbers[0], first, n, "gone", kinds)
    _number_rest(numbers[1], second, n, "more", kinds)
    shown = numbers[0][first], numbers[1][second]
    return Differences(
        pictures=(_picture(*shown, kinds), _picture(*shown[::-1], kinds)),
        kinds=kinds,
        names=_names(shown[1], known),
        each=_largest_first(shown, kinds),
        n_same=len(matched) - sum(kind == "changed" for kind in kinds.values()),
    )


def compare_classes(first: LabelArray, second: LabelArray) -> Differences:
    """Find the pixels to which two models give different classes."""
    differs = first != second
    patches, _ = ndimage.label(differs)
    areas = np.bincount(patches.ravel())
    windows = ndimage.find_objects(patches)
    order = [int(i) for i in np.argsort(-areas[1:], kind="stable")]
    each = [Difference("changed", windows[i]) for i in order if areas[i + 1] >= MIN_PATCH]
    one, other = (np.where(differs, x, 0).astype(np.int32) for x in (first, second))
    return Differences((one, other), each=tuple(each), fraction=float(differs.mean()))


def _table(labels: LabelArray) -> npt.NDArray[np.int32]:
    return np.zeros(int(labels.max(initial=0)) + 1, np.int32)


def _number_rest(
    table: npt.NDArray[np.int32],
    labels: LabelArray,
    n: int,
    kind: Kind,
    kinds: dict[int, Kind],
) -> int:
    """Give numbers above `n` to the objects without a partner; return the last one."""
    present = np.unique(labels)
    for label in present[(present > 0) & (table[present] == 0)].tolist():
        n += 1
        table[label] = n
        kinds[n] = kind
    return n


def _picture(shown: LabelArray, other: LabelArray, kinds: Mapping[int, Kind]) -> LabelArray:
    """Draw areas that differ, contours of the same, contours of what only `other` has."""
    differs = np.zeros(max(int(shown.max(initial=0)), int(other.max(initial=0))) + 1, bool)
    differs[list(kinds)] = True
    # A seam of one pixel keeps two areas of one colour apart.
    areas = differs[shown] & ~_seams(shown)
    picture = np.where(areas | (_contours(shown) & ~differs[shown]), shown, 0)
    absent = differs[other] & _contours(other) & (picture == 0)
    drawn: LabelArray = np.where(absent, other, picture).astype(np.int32)
    return drawn


def _contours(labels: LabelArray) -> MaskArray:
    """Mark the pixels of objects that touch another label."""
    edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        steps = np.diff(labels, axis=axis) != 0
        before, after = [slice(None)] * 2, [slice(None)] * 2
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        edge[tuple(before)] |= steps
        edge[tuple(after)] |= steps
    return edge & (labels > 0)


def _seams(labels: LabelArray) -> MaskArray:
    """Mark one side of the border between two objects that touch."""
    seams = np.zeros(labels.shape, bool)
    right, below = (labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])
    seams[:, :-1] |= (right[0] != right[1]) & (right[0] > 0) & (right[1] > 0)
    seams[:-1] |= (below[0] != below[1]) & (below[0] > 0) & (below[1] > 0)
    return seams


def _names(numbers: LabelArray, known: LabelArray | None) -> dict[int, int]:
    if known is None:
        return {}
    return {one: label for one, label, _ in score(numbers, known).matched}


def _largest_first(
    shown: tuple[LabelArray, LabelArray], kinds: Mapping[int, Kind]
) -> tuple[Difference, ...]:
    windows = [ndimage.find_objects(numbers) for numbers in shown]
    # A changed object is framed where the second model sees it.
    each = [
        Difference(kind, windows[kind != "gone"][number - 1])
        for number, kind in kinds.items()
    ]
    return tuple(sorted(each, key=_extent, reverse=True))


def _extent(difference: Difference) -> int:
    rows, columns = difference.window
    return (rows.stop - rows.start) * (columns.stop - columns.start)
