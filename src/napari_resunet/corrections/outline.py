"""The outline of a region, for showing it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.measure import approximate_polygon, find_contours

from napari_resunet.types import MaskArray

FINEST = 2048
"""Larger planes are outlined from every second pixel, or third, and so on."""

TOLERANCE = 0.75
"""Sampled pixels by which a simplified outline may be off."""


def outlines(region: MaskArray) -> list[npt.NDArray[Any]]:
    """Trace the outlines of a region along the edges of its pixels.

    Parameters
    ----------
    region : bool array, shape (Y, X)
        The region.

    Returns
    -------
    list of float arrays, each of shape (n, 2)
        Closed lines, rows and columns in pixels; those of holes too.
    """
    stride = -(-max(region.shape) // FINEST)
    padded = np.pad(region[::stride, ::stride], 1).astype(np.float32)
    lines = [approximate_polygon(c, TOLERANCE) for c in find_contours(padded, 0.5)]
    # From sampled pixel to pixel: the centre of the first one lies at (stride - 1) / 2.
    return [(line - 1) * stride + (stride - 1) / 2 for line in lines]
