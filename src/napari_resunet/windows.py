"""Arithmetic on windows: rows and columns as slices with start and stop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_resunet.types import MaskArray, Window


def relative(part: Window, whole: Window) -> Window:
    """Express a window relative to a larger one that contains it."""
    rows, columns = (
        slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, whole, strict=True)
    )
    return rows, columns


def moved(part: Window, whole: Window) -> Window:
    """Undo `relative`: express `part`, given relative to `whole`, in absolute pixels."""
    rows, columns = (
        slice(p.start + w.start, p.stop + w.start) for p, w in zip(part, whole, strict=True)
    )
    return rows, columns


def grown(window: Window, margin: int, shape: Sequence[int]) -> Window:
    """Add a margin on each side, clipped to a plane of that shape."""
    rows, columns = (
        slice(max(0, w.start - margin), min(n, w.stop + margin))
        for w, n in zip(window, shape, strict=True)
    )
    return rows, columns


def middle(shape: Sequence[int], side: float) -> Window:
    """Return the middle of a plane, with at most about so many rows and columns."""
    rows, columns = (
        slice(start := (n - length) // 2, start + length)
        for n, length in ((n, min(n, max(1, round(side)))) for n in shape)
    )
    return rows, columns


def overlap(one: Window, other: Window) -> Window:
    """Return the intersection of two windows; it may be empty."""
    rows, columns = (
        slice(start := max(a.start, b.start), max(start, min(a.stop, b.stop)))
        for a, b in zip(one, other, strict=True)
    )
    return rows, columns


def hull(windows: Sequence[Window]) -> Window:
    """Return the smallest window that contains all of some."""
    rows, columns = (
        slice(min(w[axis].start for w in windows), max(w[axis].stop for w in windows))
        for axis in (0, 1)
    )
    return rows, columns


def bounding_window(mask: MaskArray, margin: int) -> Window:
    """Return the smallest window around the True pixels of a mask, plus a margin.

    At least one pixel must be True. The margin is clipped to the plane.
    """
    where = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
    rows, columns = (slice(int(w[0]), int(w[-1]) + 1) for w in where)
    return grown((rows, columns), margin, mask.shape)
