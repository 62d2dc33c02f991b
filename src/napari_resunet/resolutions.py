"""Which resolution level of an image suits the size of its objects, in any format."""

from __future__ import annotations

import math
from collections.abc import Iterable

from napari_resunet.files import shown
from napari_resunet.tiff_reader import PIXEL_AXES
from napari_resunet.types import ObjectSize

SQUEEZED = 0.02
"""Rows and columns of a level are coarser by the same factor, within this fraction."""


def suitable(
    axes: str,
    finest: tuple[int, ...],
    coarsest_first: Iterable[tuple[int, tuple[int, ...]]],
    pixels: float,
    diameter: float,
) -> tuple[int, ObjectSize] | None:
    """Choose the coarsest level whose objects are no smaller than the network wants.

    Parameters
    ----------
    axes : str
        One letter for each dimension.
    finest : tuple of int
        Shape of the finest level.
    coarsest_first : iterable of (int, tuple of int)
        The number and the shape of each coarser level, taken until one suits.
    pixels : float
        Object diameter in pixels of the finest level.
    diameter : float
        Object diameter in pixels at network resolution.

    Returns
    -------
    tuple of int and ObjectSize, or None
        The level, and the size in its pixels; None if only the finest one suits. Levels
        that leave out planes, or show objects squeezed, suit nobody.
    """
    for level, shape in coarsest_first:
        factor = coarser_by(axes, finest, shape)
        if factor is not None and pixels / factor >= diameter:
            return level, ObjectSize(pixels / factor)
    return None


def coarser_by(axes: str, finest: tuple[int, ...], coarse: tuple[int, ...]) -> float | None:
    """Return by how much rows and columns are coarser; None if they do not fit."""
    pairs = dict(zip(axes, zip(finest, coarse, strict=True), strict=True))
    if any(fine != few for axis, (fine, few) in pairs.items() if axis not in PIXEL_AXES):
        return None
    factors = [fine / max(few, 1) for fine, few in (pairs["Y"], pairs["X"])]
    factor = math.sqrt(math.prod(factors))
    squeezed = any(
        abs(few - fine / factor) > max(1, SQUEEZED * few)
        for fine, few in (pairs["Y"], pairs["X"])
    )
    return factor if min(factors) >= 1 and not squeezed else None


def coarse_notice(name: str, axes: str, shape: tuple[int, ...]) -> str:
    """Say which level was read instead of the finest one."""
    sizes = dict(zip(axes, shape, strict=True))
    return (
        f"Its resolution level {shown(name)} was read, {sizes['Y']} × {sizes['X']} pixels, "
        "which suits the diameter; labels in a file of their own have that size."
    )


def memory_bytes() -> int:
    """Return how much memory this computer has."""
    import psutil

    return int(psutil.virtual_memory().total)
