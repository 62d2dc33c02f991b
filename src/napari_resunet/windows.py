"""Arithmetic of windows: rows and columns as slices, with both ends given."""

from __future__ import annotations

from collections.abc import Sequence

from napari_resunet.types import Window


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
