"""Labels to what the network learns: the other direction of `instances`.

The normalised inner distance follows the idea of a learned distance transform
(Bai & Urtasun 2017, https://arxiv.org/abs/1611.08303).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import find_boundaries

from napari_resunet.types import FloatArray

MIN_OBJECT_PIXELS = 4


def compact(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Renumber objects where a table indexed by label would not fit into memory.

    Parameters
    ----------
    labels : integer array
        Objects; 0 and below is background.

    Returns
    -------
    integer array of equal shape
        Objects, none larger than both 65,536 and the number of pixels; 0 is background.
    """
    objects = np.maximum(labels, 0)
    if objects.max(initial=0) <= max(2**16, objects.size):
        return objects
    values, places = np.unique(objects, return_inverse=True)
    # Without background the first value is an object.
    return places.reshape(objects.shape) + int(values[0] > 0)


def inner_distance(labels: npt.NDArray[Any]) -> FloatArray:
    """Compute the distance to the object's own edge, over its largest value.

    Parameters
    ----------
    labels : integer array, shape (Y, X)
        Objects; 0 and below is background.

    Returns
    -------
    float32 array, shape (Y, X)
        0 on background, up to 1 in the middle of each object, whatever its size.
    """
    objects = compact(labels)
    inside = objects > 0
    core = inside & ~find_boundaries(objects, mode="inner")
    distance: npt.NDArray[np.float64] = ndimage.distance_transform_edt(core)
    distance[inside] += 1.0
    n = int(objects.max(initial=0)) + 1
    largest = np.zeros(n)
    np.maximum.at(largest, objects[inside], distance[inside])
    result = np.zeros(labels.shape, np.float32)
    result[inside] = distance[inside] / largest[objects[inside]]
    return result


def median_diameter(labels: npt.NDArray[Any]) -> float | None:
    """Measure the median equal-area diameter of the objects.

    Parameters
    ----------
    labels : integer array, shape (Y, X)
        Objects; 0 and below is background.

    Returns
    -------
    float or None
        In pixels; None where there is no object of at least 4 pixels.
    """
    areas = np.bincount(compact(labels).ravel())[1:]
    areas = areas[areas >= MIN_OBJECT_PIXELS]
    if areas.size == 0:
        return None
    return float(np.median(np.sqrt(4.0 * areas / np.pi)))
