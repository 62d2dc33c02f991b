"""Kept maps to the labels of an image: by task, in blocks, back at image resolution.

The watershed itself is `instances`. A large plane is decoded in blocks with a margin;
each object belongs to the block that holds its centre, so that none is cut or doubled.
"""

from __future__ import annotations

from collections.abc import Iterator
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
MARGIN_DIAMETERS = 4
"""Objects up to so many working diameters are whole in the block of their centre."""


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
    for _ in decode_into(labels, kept, decoding):
        pass
    return labels


def decode_into(
    labels: LabelArray, kept: KeptMaps, decoding: Decoding
) -> Iterator[tuple[slice, slice]]:
    """Decode a plane block by block.

    Parameters
    ----------
    labels : int32 array, shape (Y, X) in image pixels
        Zeros; filled in place.
    kept : KeptMaps
        Of the plane.
    decoding : Decoding
        The sliders.

    Yields
    ------
    tuple of slice
        The window of the image that was filled last.
    """
    rows, columns = kept.axes
    n_objects = 0
    for top, left in product(
        range(0, rows.n_working, BLOCK), range(0, columns.n_working, BLOCK)
    ):
        core = (
            (top, min(top + BLOCK, rows.n_working)),
            (left, min(left + BLOCK, columns.n_working)),
        )
        if kept.info.task == "classes":
            yield _decode_classes(labels, kept, decoding, core)
        else:
            window, n_objects = _decode_instances(labels, kept, decoding, core, n_objects)
            yield window


Core = tuple[tuple[int, int], tuple[int, int]]


def _decode_classes(
    labels: LabelArray, kept: KeptMaps, decoding: Decoding, core: Core
) -> tuple[slice, slice]:
    window = _image_window(kept, core)
    maps = np.stack([_to_image(m, kept, window) for m in kept.maps])
    named = maps[1:].argmax(0) + 1
    # At 0.5 the likelier of background and foreground wins.
    labels[window] = np.where(1.0 - maps[0] >= decoding.foreground, named, 0)
    return window


def _decode_instances(
    labels: LabelArray, kept: KeptMaps, decoding: Decoding, core: Core, n_objects: int
) -> tuple[tuple[slice, slice], int]:
    margin = int(MARGIN_DIAMETERS * kept.info.diameter)
    outer = tuple(
        (max(0, begin - margin), min(axis.n_working, end + margin))
        for (begin, end), axis in zip(core, kept.axes, strict=True)
    )
    block = kept.maps[:, slice(*outer[0]), slice(*outer[1])]
    found = decode(block, decoding, kept.info.smallest * kept.info.disc)
    if outer != core:
        found = _owned(found, core, outer)
    n_found = int(found.max(initial=0))
    window = _image_window(kept, (outer[0], outer[1]))
    target = labels[window]
    new = _labels_to_image(found, (outer[0][0], outer[1][0]), kept, window, decoding)
    write = (new > 0) & (target == 0)
    target[write] = new[write] + n_objects
    return window, n_objects + n_found


def _owned(found: LabelArray, core: Core, outer: tuple[tuple[int, int], ...]) -> LabelArray:
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
        labels[_to_image(kept.maps[0], kept, window) < decoding.foreground] = 0
    return labels


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
