"""From prediction maps to labels at image resolution.

Objects come from a watershed. Its seeds are where the smoothed inner distance exceeds a
threshold, as in deep watershed (Bai & Urtasun 2017, https://arxiv.org/abs/1611.08303). A
large plane is processed in blocks with a margin, and each object belongs to the block that
contains its centre, so none is cut or duplicated.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import expand_labels, watershed

from napari_resunet.engine.image_reader import Axis
from napari_resunet.engine.patches import MIN_OBJECT_PIXELS
from napari_resunet.engine.predict import Maps
from napari_resunet.types import Decoding, FloatArray, LabelArray, Levels, ModelInfo, Window

LOWEST_SEED, HIGHEST_SEED = 0.05, 0.85
"""Inner distances that the ends of the split slider mean."""

RISES = (0.1, 0.2)
"""How much above the seed level a seed may split."""

MIN_PART_FRACTION = 0.13
"""Smallest part of a split seed, as a fraction of a typical object's area."""


def _foreground_level(decoding: Decoding, levels: Levels) -> float:
    """Compute the probability from which a pixel is foreground."""
    return _interp(decoding.foreground, 0.0, levels.foreground, 1.0)


def _certainty_level(decoding: Decoding, levels: Levels) -> float:
    """Compute the mean probability from which an object is kept."""
    return _interp(decoding.foreground, 0.0, levels.certainty, 1.0)


def _seed_level(decoding: Decoding, levels: Levels) -> float:
    """Compute the inner distance from which a pixel is a seed."""
    return _interp(decoding.split, LOWEST_SEED, levels.seed, HIGHEST_SEED)


def _interp(slider: float, low: float, middle: float, high: float) -> float:
    return float(np.interp(slider, (0.0, 0.5, 1.0), (low, middle, high)))


def decode(
    maps: npt.NDArray[Any],
    decoding: Decoding,
    levels: Levels,
    min_size: float,
    reference_area: float,
) -> LabelArray:
    """Turn maps into objects numbered from 1.

    Parameters
    ----------
    maps : float array, shape (3, Y, X)
        Foreground probability, normalized inner distance, boundary probability.
    decoding : Decoding
        The sliders.
    levels : Levels
        The model's own thresholds, at the sliders' middle.
    min_size : float
        Smaller objects are removed, in pixels.
    reference_area : float
        Area of a typical object in pixels.
    """
    foreground = maps[0] >= _foreground_level(decoding, levels)
    # The boundary map helps the network to learn; subtracting it here gained nothing.
    ridge = ndimage.gaussian_filter(maps[1].astype(np.float32), levels.smoothing)
    level = _seed_level(decoding, levels)
    seeds = _seeds(ridge, foreground, level)
    for rise in RISES:
        seeds = _split_seeds(ridge, seeds, level + rise, MIN_PART_FRACTION * reference_area)
    labels = _watershed(ridge, seeds, foreground)
    areas = np.bincount(labels.ravel())
    sums = np.bincount(labels.ravel(), maps[0].ravel())
    sure = sums >= _certainty_level(decoding, levels) * areas
    return _renumbered(labels, sure & (areas >= max(MIN_OBJECT_PIXELS, min_size)))


def _seeds(
    ridge: npt.NDArray[np.float32], foreground: npt.NDArray[np.bool_], level: float
) -> npt.NDArray[np.int32]:
    """Label seeds above a level; a foreground island without a seed becomes one."""
    seeds, n_seeds = ndimage.label((ridge > level) & foreground)
    islands, n_islands = ndimage.label(foreground)
    seeded = np.zeros(n_islands + 1, bool)
    seeded[islands[seeds > 0]] = True
    orphan = foreground & ~seeded[islands]
    result: npt.NDArray[np.int32] = seeds.astype(np.int32, copy=False)
    result[orphan] = n_seeds + islands[orphan]
    return result


def _split_seeds(
    ridge: npt.NDArray[np.float32],
    seeds: npt.NDArray[np.int32],
    level: float,
    min_size: float,
) -> npt.NDArray[np.int32]:
    """Split seeds that have several large parts above a higher level into these parts.

    This is one step up the component tree (Jones 1999,
    https://doi.org/10.1006/cviu.1999.0777): the saddle between neighbours separates them,
    however high they are.
    """
    parts, n = ndimage.label((ridge > level) & (seeds > 0))
    large = np.bincount(parts.ravel()) >= min_size
    large[0] = False
    parent = np.zeros(n + 1, np.int32)
    parent[parts] = seeds
    several = np.bincount(parent[large], minlength=int(seeds.max(initial=0)) + 1) > 1
    chosen = large & several[parent]
    names = np.zeros(n + 1, np.int32)
    names[chosen] = len(several) + np.arange(np.count_nonzero(chosen))
    result: npt.NDArray[np.int32] = np.where(several[seeds], names[parts], seeds)
    return result


def _watershed(
    ridge: npt.NDArray[np.float32],
    seeds: npt.NDArray[np.int32],
    foreground: npt.NDArray[np.bool_],
) -> npt.NDArray[np.int32]:
    """Grow the seeds by watershed; queueing only their rims saves a third of the time."""
    inner = seeds > 0
    for axis in (0, 1):
        same = np.diff(seeds, axis=axis) == 0
        before, after = ((slice(None),) * axis + (s,) for s in (slice(-1), slice(1, None)))
        inner[before] &= same
        inner[after] &= same
    rims = np.where(inner, 0, seeds)
    labels: npt.NDArray[np.int32] = watershed(-ridge, rims, mask=foreground & ~inner)
    labels[inner] = seeds[inner]
    return labels


def _renumbered(labels: npt.NDArray[Any], keep: npt.NDArray[np.bool_]) -> LabelArray:
    """Remove the other objects and renumber these."""
    keep[0] = False
    renumbered = np.zeros(len(keep), np.int32)
    renumbered[keep] = np.arange(1, int(keep.sum()) + 1)
    return renumbered[labels]


BLOCK = 1024
MARGIN_DIAMETERS = 3
"""Objects up to twice as many diameters are whole in the block of their centre."""

N_THREADS = min(4, os.cpu_count() or 1)
"""Blocks decoded in parallel: watershed and filters release Python's lock."""

Block = tuple[tuple[int, int], tuple[int, int]]
"""Rows and columns of a block at network resolution, each from and to."""


@dataclass(frozen=True)
class PredictionMaps:
    """The prediction maps of a plane, or of a part of it.

    Attributes
    ----------
    maps : float16 array, shape (n_maps, Y, X)
        Probabilities at network resolution.
    axes : tuple of Axis
        Rows and columns.
    info : ModelInfo
        Of the model.
    """

    maps: Maps
    axes: tuple[Axis, Axis]
    info: ModelInfo

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the labels in image pixels."""
        return self.axes[0].n_image, self.axes[1].n_image


def decode_labels(predicted: PredictionMaps, decoding: Decoding) -> LabelArray:
    """Decode all maps to objects numbered from 1, or to classes, in image pixels."""
    labels = np.zeros(predicted.shape, np.int32)
    blocks = _blocks(predicted)
    if predicted.info.task == "classes":
        for block in blocks:
            _decode_classes(labels, predicted, decoding, block)
        return labels
    n_objects = 0
    with ThreadPoolExecutor(N_THREADS) as pool:
        for first in range(0, len(blocks), N_THREADS):
            # A few at a time, because their labels take memory, too.
            few = blocks[first : first + N_THREADS]
            found = list(pool.map(lambda b: _decode_block(predicted, decoding, b), few))
            for block, objects in zip(few, found, strict=True):
                target = labels[_image_window(predicted, _with_margin(predicted, block))]
                write = (objects > 0) & (target == 0)
                target[write] = objects[write] + n_objects
                n_objects += int(objects.max(initial=0))
    return labels


def _blocks(predicted: PredictionMaps) -> list[Block]:
    rows, columns = (
        [
            (begin, min(begin + BLOCK, axis.n_network))
            for begin in range(0, axis.n_network, BLOCK)
        ]
        for axis in predicted.axes
    )
    return list(product(rows, columns))


def _decode_classes(
    labels: LabelArray, predicted: PredictionMaps, decoding: Decoding, block: Block
) -> None:
    window = _image_window(predicted, block)
    maps = np.stack([_to_image(m, predicted, window) for m in predicted.maps])
    named = maps[1:].argmax(0) + 1
    # At a level of 0.5 the more probable of background and foreground wins.
    level = _foreground_level(decoding, predicted.info.levels)
    labels[window] = np.where(1.0 - maps[0] >= level, named, 0)


def _with_margin(predicted: PredictionMaps, block: Block) -> Block:
    margin = int(MARGIN_DIAMETERS * predicted.info.diameter)
    rows, columns = (
        (max(0, begin - margin), min(axis.n_network, end + margin))
        for (begin, end), axis in zip(block, predicted.axes, strict=True)
    )
    return rows, columns


def _decode_block(
    predicted: PredictionMaps, decoding: Decoding, block: Block
) -> LabelArray:
    """Find the objects centred in a block, in image pixels of it and its margin."""
    outer = _with_margin(predicted, block)
    maps = predicted.maps[:, slice(*outer[0]), slice(*outer[1])]
    info = predicted.info
    min_size = info.min_size_fraction * info.reference_area
    found = decode(maps, decoding, info.levels, min_size, info.reference_area)
    if outer != block:
        found = _centred_in(found, block, outer)
    window = _image_window(predicted, outer)
    return _labels_to_image(found, (outer[0][0], outer[1][0]), predicted, window, decoding)


def _centred_in(found: LabelArray, block: Block, outer: Block) -> LabelArray:
    """Keep the objects whose centre is in the block, numbered from 1."""
    slices = ndimage.find_objects(found)
    keep = np.zeros(len(slices) + 1, np.int32)
    for label, box in enumerate(slices, start=1):
        centre = [(s.start + s.stop) / 2 + o[0] for s, o in zip(box, outer, strict=True)]
        inside = [begin <= c < end for c, (begin, end) in zip(centre, block, strict=True)]
        keep[label] = all(inside)
    numbered = np.where(keep > 0, np.cumsum(keep), 0).astype(np.int32)
    return numbered[found]


def _labels_to_image(
    found: LabelArray,
    origin: tuple[int, int],
    predicted: PredictionMaps,
    window: Window,
    decoding: Decoding,
) -> LabelArray:
    if all(axis.n_image == axis.n_network for axis in predicted.axes):
        return found
    shrunk = predicted.axes[0].n_network < predicted.axes[0].n_image
    if shrunk:
        # The outline follows the interpolated foreground instead of coarse pixels.
        found = expand_labels(found, 1)
    rows = predicted.axes[0].nearest_network(window[0]) - origin[0]
    columns = predicted.axes[1].nearest_network(window[1]) - origin[1]
    labels: LabelArray = found[np.ix_(rows, columns)]
    if shrunk:
        level = _foreground_level(decoding, predicted.info.levels)
        labels[_to_image(predicted.maps[0], predicted, window) < level] = 0
    return labels


def maps_at(predicted: PredictionMaps, window: Window) -> FloatArray:
    """Interpolate all maps in a window of image pixels, shape (n_maps, h, w)."""
    return np.stack([_to_image(values, predicted, window) for values in predicted.maps])


def _to_image(
    values: npt.NDArray[np.float16], predicted: PredictionMaps, window: Window
) -> FloatArray:
    """Interpolate a map in a window of image pixels."""
    if all(axis.n_image == axis.n_network for axis in predicted.axes):
        return values[window].astype(np.float32)
    back = [Axis(axis.n_network, axis.n_image) for axis in predicted.axes]
    row_need, row_weights = back[0].matrix(window[0].start, window[0].stop)
    column_need, column_weights = back[1].matrix(window[1].start, window[1].stop)
    part = values[row_need, column_need].astype(np.float32)
    result: FloatArray = (column_weights @ (row_weights @ part).T).T
    return np.ascontiguousarray(result)


def _image_window(predicted: PredictionMaps, block: Block) -> Window:
    rows, columns = predicted.axes
    return rows.image_window(*block[0]), columns.image_window(*block[1])
