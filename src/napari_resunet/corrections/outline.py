"""The outline of a region, for display."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.measure import approximate_polygon, find_contours

from napari_resunet.types import MaskArray

FINEST = 2048
"""Larger planes are outlined from every second pixel, or every third, and so on."""

TOLERANCE = 0.75
"""How far a simplified outline may be off, in sampled pixels."""


def outlines(region: MaskArray) -> list[npt.NDArray[Any]]:
    """Trace the outlines of a region, holes included, along the edges of its pixels.

    Returns closed lines, each a float array of rows and columns, shape (n, 2).
    """
    stride = -(-max(region.shape) // FINEST)
    padded = np.pad(region[::stride, ::stride], 1).astype(np.float32)
    lines = [approximate_polygon(c, TOLERANCE) for c in find_contours(padded, 0.5)]
    # From sampled pixel to pixel: the centre of the first one lies at (stride - 1) / 2.
    return [(line - 1) * stride + (stride - 1) / 2 for line in lines]
