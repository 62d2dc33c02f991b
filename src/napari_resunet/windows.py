"""Arithmetic of windows: rows and columns as slices, with both ends given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_resunet.types import MaskArray, Window


def relative(part: Window, whole: Window) -> Window:
    """Express a window in the pixels of a larger one that holds it."""
    rows, columns = (
        slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, whole, strict=True)
    )
    return rows, columns


def moved(part: Window, whole: Window) -> Window:
    """Undo `relative`: express a window of a window in the pixels around both."""
    rows, columns = (
        slice(p.start + w.start, p.stop + w.start) for p, w in zip(part, whole, strict=True)
    )
    return rows, columns


def grown(window: Window, margin: int, shape: Sequence[int]) -> Window:
    """Add a margin on each side, as far as a plane of that shape goes."""
    rows, columns = (
        slice(max(0, w.start - margin), min(n, w.stop + margin))
        for w, n in zip(window, shape, strict=True)
    )
    return rows, columns


def overlap(one: Window, other: Window) -> Window:
    """Cut a window to another one; nothing in common gives an empty window."""
    rows, columns = (
        slice(start := max(a.start, b.start), max(start, min(a.stop, b.stop)))
        for a, b in zip(one, other, strict=True)
    )
    return rows, columns


def bounding_window(mask: MaskArray, margin: int) -> Window:
    """Find the smallest window around a mask, and a margin.

    Parameters
    ----------
    mask : bool array, shape (Y, X)
        At least one pixel is True.
    margin : int
        Pixels to add on each side, as far as the plane goes.

    Returns
    -------
    tuple of slice
    """
    where = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
    rows, columns = (slice(int(w[0]), int(w[-1]) + 1) for w in where)
    return grown((rows, columns), margin, mask.shape)
