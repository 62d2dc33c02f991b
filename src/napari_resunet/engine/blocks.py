"""Labels of a plane from its prediction maps, block by block, in image pixels.

Not one pixel differs from what the whole plane would give at once: a block sees a margin,
and `postprocess.find_objects` tells whether that was enough; if not, the margin grows. An
object is named after the position of its seed in the plane, so two blocks name it alike
without knowing of each other.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.engine.image_reader import Axis
from napari_resunet.engine.postprocess import (
    Sides,
    find_objects,
    foreground_level,
    smoothing_radius,
)
from napari_resunet.engine.predict import Maps
from napari_resunet.types import Decoding, FloatArray, LabelArray, ModelInfo, Window
from napari_resunet.windows import grown, overlap, relative

BLOCK = 1024
"""About the rows and columns of a block at network resolution."""

MARGINS = 3, 12
"""Object diameters that a block sees around itself: at first, and if that is too little."""

MAX_AT_ONCE = 10**8
"""Pixels at network resolution that are decoded as one block, if its margins are short."""

N_THREADS = min(4, os.cpu_count() or 1)
"""Blocks decoded in parallel: watershed and filters release Python's lock."""

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PredictionMaps:
    """The prediction maps of a plane, or of a part of it.

    Attributes
    ----------
    maps : float16 array, shape (n_maps, Y, X)
        Probabilities at network resolution.
    axes : tuple of Axis
        Rows and columns of the plane.
    info : ModelInfo
        Of the model.
    part : tuple of slice or None
        Which rows and columns of the plane the maps cover, at network resolution; None if
        all of them.
    """

    maps: Maps
    axes: tuple[Axis, Axis]
    info: ModelInfo
    part: Window | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the plane in image pixels."""
        return self.axes[0].n_image, self.axes[1].n_image

    @property
    def n_network(self) -> tuple[int, int]:
        """Shape of the plane at network resolution."""
        return self.axes[0].n_network, self.axes[1].n_network

    @property
    def covered(self) -> Window:
        """Rows and columns that the maps cover, at network resolution."""
        rows, columns = self.n_network
        return self.part or (slice(0, rows), slice(0, columns))

    def image_window(self, part: Window) -> Window:
        """Return the image pixels whose centres are in a part, at network resolution."""
        rows, columns = (
            axis.image_window(s.start, s.stop)
            for axis, s in zip(self.axes, part, strict=True)
        )
        return rows, columns

    def read(self, where: Window) -> Maps:
        """Return the maps of rows and columns of the plane, at network resolution."""
        return self.maps[:, *relative(where, self.covered)]


@dataclass(frozen=True)
class BlockLabels:
    """The labels of a part of a plane, before all objects of the plane are numbered.

    Attributes
    ----------
    labels : int32 array, shape (h, w)
        Numbered from 1 in no particular order, or class values; in image pixels.
    ids : int64 array, shape (n + 1,)
        The name of each label in the plane: one more than the position of its seed in the
        flattened plane at network resolution. The first entry is 0, the background.
    owned : int64 array
        Names of the objects whose seed begins in this part, ascending. Each object of the
        plane is owned by exactly one part.
    whole : bool
        Whether all objects here are as in the undivided plane.
    """

    labels: LabelArray
    ids: Ids
    owned: Ids
    whole: bool = True


def decode_labels(predicted: PredictionMaps, decoding: Decoding) -> LabelArray:
    """Decode all maps of a plane to labels in image pixels.

    Returns
    -------
    int32 array
        Objects numbered from 1 in the order of their seeds, or class values.
    """
    found = decode_part(predicted, decoding, predicted.covered)
    if predicted.info.task == "classes":
        return found.labels
    return number_labels(found, found.owned)


def number_labels(found: BlockLabels, names: Ids) -> LabelArray:
    """Give each label the rank of its name among all names of the plane.

    Parameters
    ----------
    found : BlockLabels
        What a block found.
    names : int64 array
        Names of all objects that may be here, ascending.
    """
    numbers = np.searchsorted(names, found.ids).astype(np.int32) + 1
    numbers[0] = 0
    return numbers.take(found.labels)


def decode_part(predicted: PredictionMaps, decoding: Decoding, core: Window) -> BlockLabels:
    """Decode a part of a plane.

    Parameters
    ----------
    predicted : PredictionMaps
        Maps of the part and a margin around it.
    decoding : Decoding
        The sliders.
    core : tuple of slice
        Rows and columns of the part at network resolution.
    """
    blocks = _blocks(core)
    window = predicted.image_window(core)
    labels = np.zeros([s.stop - s.start for s in window], np.int32)
    if predicted.info.task == "classes":
        for block in blocks:
            here = predicted.image_window(block)
            labels[relative(here, window)] = _classes(predicted, decoding, here)
        return BlockLabels(labels, np.zeros(1, np.int64), np.zeros(0, np.int64))
    found: list[BlockLabels] = []
    with ThreadPoolExecutor(N_THREADS) as pool:
        for first in range(0, len(blocks), N_THREADS):
            # A few at a time, because each takes memory, and one that is cut ends it.
            few = blocks[first : first + N_THREADS]
            parts = list(pool.map(lambda b: _grow_until_whole(predicted, decoding, b), few))
            if not all(p.whole for p in parts) and _size(predicted.covered) <= MAX_AT_ONCE:
                return _decode_block(predicted, decoding, core, predicted.covered)
            for block, part in zip(few, parts, strict=True):
                target = labels[relative(predicted.image_window(block), window)]
                n = sum(len(f.ids) - 1 for f in found)
                np.add(part.labels, n, out=target, where=part.labels > 0)
                found.append(part)
    return _joined(labels, found)


def _joined(labels: LabelArray, parts: Sequence[BlockLabels]) -> BlockLabels:
    ids = np.concatenate([np.zeros(1, np.int64), *(part.ids[1:] for part in parts)])
    owned = np.sort(np.concatenate([part.owned for part in parts]))
    return BlockLabels(labels, ids, owned, all(part.whole for part in parts))


def _blocks(core: Window) -> list[Window]:
    rows, columns = (_evenly(s) for s in core)
    return list(product(rows, columns))


def _evenly(span: slice) -> list[slice]:
    n = max(1, round((span.stop - span.start) / BLOCK))
    edges = np.linspace(span.start, span.stop, n + 1).round().astype(int).tolist()
    return [slice(a, b) for a, b in pairwise(edges)]


def _size(window: Window) -> int:
    return (window[0].stop - window[0].start) * (window[1].stop - window[1].start)


def margin_around(info: ModelInfo, diameters: float = MARGINS[0]) -> int:
    """Compute how many pixels at network resolution a block sees around itself."""
    return int(diameters * info.diameter) + smoothing_radius(info.levels)


def _grow_until_whole(
    predicted: PredictionMaps, decoding: Decoding, block: Window
) -> BlockLabels:
    for diameters in MARGINS:
        margin = margin_around(predicted.info, diameters)
        outer = overlap(grown(block, margin, predicted.n_network), predicted.covered)
        found = _decode_block(predicted, decoding, block, outer)
        if found.whole:
            break
    return found


def _decode_block(
    predicted: PredictionMaps, decoding: Decoding, block: Window, outer: Window
) -> BlockLabels:
    """Find the objects of a block, looking at a larger window."""
    info, shape = predicted.info, predicted.n_network
    sides = _open_sides(outer, shape)
    found = find_objects(
        predicted.read(outer),
        decoding,
        info.levels,
        info.min_size_fraction * info.reference_area,
        info.reference_area,
        sides,
        (outer[0].start, outer[1].start),
    )
    radius = smoothing_radius(info.levels)
    top, left = (s.start + radius * side[0] for s, side in zip(outer, sides, strict=True))
    rows, columns = np.divmod(found.summits, found.labels.shape[1])
    ids = (rows + top) * shape[1] + (columns + left) + 1
    ids[0] = 0
    inside = _inside(rows + top, block[0]) & _inside(columns + left, block[1])
    inside[0] = False
    # Neighbours of the block's pixels matter, too, when labels are resampled.
    height, width = found.labels.shape
    known = slice(top, top + height), slice(left, left + width)
    near = overlap(grown(block, 2, shape), known)
    core, there = _compact(found.labels[relative(near, known)], len(ids))
    window = predicted.image_window(block)
    labels = labels_to_image(core, near, predicted, window, decoding)
    whole = not found.cut[there].any()
    return BlockLabels(labels, ids[there], np.sort(ids[inside]), whole)


def _compact(labels: LabelArray, n: int) -> tuple[LabelArray, Ids]:
    """Renumber labels, of which there are `n`, and list those that there are."""
    there = np.bincount(labels.ravel(), minlength=n) > 0
    there[0] = True
    numbers = np.cumsum(there, dtype=np.int32) - 1
    return numbers.take(labels), np.flatnonzero(there)


def _open_sides(outer: Window, shape: tuple[int, int]) -> Sides:
    rows, columns = ((s.start > 0, s.stop < n) for s, n in zip(outer, shape, strict=True))
    return rows, columns


def _inside(positions: npt.NDArray[Any], span: slice) -> npt.NDArray[np.bool_]:
    return (positions >= span.start) & (positions < span.stop)


def _classes(predicted: PredictionMaps, decoding: Decoding, window: Window) -> LabelArray:
    maps = maps_at(predicted, window)
    named = maps[1:].argmax(0) + 1
    # At a level of 0.5 the more probable of background and foreground wins.
    level = foreground_level(decoding, predicted.info.levels)
    return np.where(1.0 - maps[0] >= level, named, 0).astype(np.int32)


def labels_to_image(
    found: LabelArray,
    where: Window,
    predicted: PredictionMaps,
    window: Window,
    decoding: Decoding,
) -> LabelArray:
    """Resample labels of a window at network resolution in one of image pixels."""
    shrunk = predicted.axes[0].n_network < predicted.axes[0].n_image
    if shrunk:
        # The outline follows the interpolated foreground instead of coarse pixels.
        found = _one_pixel_larger(found)
    rows = predicted.axes[0].nearest_network(window[0]) - where[0].start
    columns = predicted.axes[1].nearest_network(window[1]) - where[1].start
    labels: LabelArray = found.take(columns, axis=1).take(rows, axis=0)
    if shrunk:
        level = foreground_level(decoding, predicted.info.levels)
        labels[_to_image(predicted, 0, window) < level] = 0
    return labels


def _one_pixel_larger(labels: LabelArray) -> LabelArray:
    """Let objects grow into the background next to them."""
    around, larger = np.pad(labels, 1), labels.copy()
    inner = slice(1, -1)
    for ends in (slice(-2), slice(2, None)):
        for neighbours in (around[ends, inner], around[inner, ends]):
            np.copyto(larger, neighbours, where=larger == 0)
    return larger


def maps_at(predicted: PredictionMaps, window: Window) -> FloatArray:
    """Interpolate all maps in a window of image pixels, shape (n_maps, h, w)."""
    return np.stack([_to_image(predicted, i, window) for i in range(len(predicted.maps))])


def _to_image(predicted: PredictionMaps, number: int, window: Window) -> FloatArray:
    """Interpolate one map in a window of image pixels."""
    if all(axis.n_image == axis.n_network for axis in predicted.axes):
        return predicted.read(window)[number].astype(np.float32)
    back = [Axis(axis.n_network, axis.n_image) for axis in predicted.axes]
    row_need, row_weights = back[0].matrix(window[0].start, window[0].stop)
    column_need, column_weights = back[1].matrix(window[1].start, window[1].stop)
    part = predicted.read((row_need, column_need))[number].astype(np.float32)
    result: FloatArray = (column_weights @ (row_weights @ part).T).T
    return np.ascontiguousarray(result)
