"""Kept maps to the labels of an image: by task, in blocks, back at image resolution.

The watershed itself is `instances`. A large plane is decoded in blocks with a margin;
each object belongs to the block that holds its centre, so that none is cut or doubled.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import expand_labels

from napari_resunet.engine.instances import Decoding, decode
from napari_resunet.engine.predict import Maps
from napari_resunet.engine.resample import Axis
from napari_resunet.types import LabelArray, ModelInfo

BLOCK = 1024
MARGIN_DIAMETERS = 3
"""Objects up to twice so many working diameters are whole in the block of their centre."""

N_THREADS = min(4, os.cpu_count() or 1)
"""Blocks decoded at once: watershed and filters do not hold Python's lock."""

Core = tuple[tuple[int, int], tuple[int, int]]
"""Rows and columns of a block in working pixels, each from and to."""


@dataclass(frozen=True)
class KeptMaps:
    """What the sliders act on.

    Attributes
    ----------
    maps : float16 array, shape (n_maps, Y, X) in working pixels
        Probabilities.
    axes : tuple of Axis
        Rows and columns, image and working.
    info : ModelInfo
        Of the model that made them.
    """

    maps: Maps
    axes: tuple[Axis, Axis]
    info: ModelInfo

    @property
    def shape(self) -> tuple[int, int]:
        """Of the labels, in image pixels."""
        return self.axes[0].n_image, self.axes[1].n_image


def decode_labels(kept: KeptMaps, decoding: Decoding) -> LabelArray:
    """Decode a plane in full.

    Parameters
    ----------
    kept : KeptMaps
        Of the plane.
    decoding : Decoding
        The sliders.

    Returns
    -------
    int32 array, shape (Y, X) in image pixels
        Objects numbered from 1, or class values.
    """
    labels = np.zeros(kept.shape, np.int32)
    cores = _cores(kept)
    if kept.info.task == "classes":
        for core in cores:
            _decode_classes(labels, kept, decoding, core)
        return labels
    n_objects = 0
    with ThreadPoolExecutor(N_THREADS) as pool:
        for first in range(0, len(cores), N_THREADS):
            # A few at a time: their labels are small beside those of the whole plane.
            few = cores[first : first + N_THREADS]
            found = list(pool.map(lambda core: _found(kept, decoding, core), few))
            for core, objects in zip(few, found, strict=True):
                target = labels[_image_window(kept, _with_margin(kept, core))]
                write = (objects > 0) & (target == 0)
                target[write] = objects[write] + n_objects
                n_objects += int(objects.max(initial=0))
    return labels


def _cores(kept: KeptMaps) -> list[Core]:
    rows, columns = (
        [
            (begin, min(begin + BLOCK, axis.n_working))
            for begin in range(0, axis.n_working, BLOCK)
        ]
        for axis in kept.axes
    )
    return list(product(rows, columns))


def _decode_classes(
    labels: LabelArray, kept: KeptMaps, decoding: Decoding, core: Core
) -> None:
    window = _image_window(kept, core)
    maps = np.stack([_to_image(m, kept, window) for m in kept.maps])
    named = maps[1:].argmax(0) + 1
    # At a level of 0.5 the likelier of background and foreground wins.
    level = decoding.foreground_level(kept.info.levels)
    labels[window] = np.where(1.0 - maps[0] >= level, named, 0)


def _with_margin(kept: KeptMaps, core: Core) -> Core:
    margin = int(MARGIN_DIAMETERS * kept.info.diameter)
    rows, columns = (
        (max(0, begin - margin), min(axis.n_working, end + margin))
        for (begin, end), axis in zip(core, kept.axes, strict=True)
    )
    return rows, columns


def _found(kept: KeptMaps, decoding: Decoding, core: Core) -> LabelArray:
    """Decode a block: the objects whose centre it holds, in its and its margin's pixels."""
    outer = _with_margin(kept, core)
    block = kept.maps[:, slice(*outer[0]), slice(*outer[1])]
    info = kept.info
    found = decode(block, decoding, info.levels, info.smallest * info.disc, info.disc)
    if outer != core:
        found = _owned(found, core, outer)
    window = _image_window(kept, outer)
    return _labels_to_image(found, (outer[0][0], outer[1][0]), kept, window, decoding)


def _owned(found: LabelArray, core: Core, outer: Core) -> LabelArray:
    """Keep the objects whose centre lies in the core; number them from 1."""
    slices = ndimage.find_objects(found)
    keep = np.zeros(len(slices) + 1, np.int32)
    for label, box in enumerate(slices, start=1):
        centre = [(s.start + s.stop) / 2 + o[0] for s, o in zip(box, outer, strict=True)]
        inside = [begin <= c < end for c, (begin, end) in zip(centre, core, strict=True)]
        keep[label] = all(inside)
    numbered = np.where(keep > 0, np.cumsum(keep), 0).astype(np.int32)
    return numbered[found]


def _labels_to_image(
    found: LabelArray,
    origin: tuple[int, int],
    kept: KeptMaps,
    window: tuple[slice, slice],
    decoding: Decoding,
) -> LabelArray:
    if all(axis.n_image == axis.n_working for axis in kept.axes):
        return found
    shrunk = kept.axes[0].n_working < kept.axes[0].n_image
    if shrunk:
        # The contour comes from the interpolated foreground, not from square steps.
        found = expand_labels(found, 1)
    rows = kept.axes[0].nearest_working(window[0]) - origin[0]
    columns = kept.axes[1].nearest_working(window[1]) - origin[1]
    labels: LabelArray = found[np.ix_(rows, columns)]
    if shrunk:
        level = decoding.foreground_level(kept.info.levels)
        labels[_to_image(kept.maps[0], kept, window) < level] = 0
    return labels


def maps_at(kept: KeptMaps, window: tuple[slice, slice]) -> npt.NDArray[np.float32]:
    """Interpolate all kept maps at a window of image pixels.

    Parameters
    ----------
    kept : KeptMaps
        Of a plane, or a part of one.
    window : tuple of slice
        Rows and columns within `kept.shape`.

    Returns
    -------
    float32 array, shape (n_maps, h, w)
    """
    return np.stack([_to_image(values, kept, window) for values in kept.maps])


def _to_image(
    values: npt.NDArray[np.float16], kept: KeptMaps, window: tuple[slice, slice]
) -> npt.NDArray[np.float32]:
    """Interpolate a working map at a window of image pixels."""
    if all(axis.n_image == axis.n_working for axis in kept.axes):
        return values[window].astype(np.float32)
    back = [Axis(axis.n_working, axis.n_image) for axis in kept.axes]
    row_need, row_weights = back[0].matrix(window[0].start, window[0].stop)
    column_need, column_weights = back[1].matrix(window[1].start, window[1].stop)
    part = values[row_need, column_need].astype(np.float32)
    result: npt.NDArray[np.float32] = (column_weights @ (row_weights @ part).T).T
    return np.ascontiguousarray(result)


def _image_window(kept: KeptMaps, core: Core) -> tuple[slice, slice]:
    return (kept.axes[0].image_window(*core[0]), kept.axes[1].image_window(*core[1]))
