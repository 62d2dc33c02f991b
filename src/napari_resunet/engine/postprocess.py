"""From prediction maps to labels, back at image resolution.

Objects: a marker-controlled watershed. Markers come from a threshold on the smoothed inner
distance, as in deep watershed (Bai & Urtasun 2017, https://arxiv.org/abs/1611.08303);
flooding is Meyer's watershed in scikit-image. A large plane is processed in blocks with a
margin; an object belongs to the block that holds its centre, so none is cut or doubled.
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
from napari_resunet.types import LabelArray, Levels, ModelInfo, Share

LOWEST_SEED, HIGHEST_SEED = 0.05, 0.85
"""Inner distances that the ends of the split slider mean."""

RISES = (0.1, 0.2)
"""So much over the seed level, a seed may fall apart."""

SMALLEST_PART = 0.13
"""A part of a seed is one of its own from this share of a typical object's area on."""


@dataclass(frozen=True)
class Decoding:
    """The two sliders.

    Attributes
    ----------
    foreground : float
        0 (all is foreground) to 1 (nothing); 0.5 is the model's own level. Objects whose
        pixels are less sure on the mean than it asks are left out.
    split : float
        0 (merge) to 1 (split): low joins neighbours, high keeps them apart; 0.5 is the
        model's own level.
    """

    foreground: Share = 0.5
    split: Share = 0.5

    def foreground_level(self, levels: Levels) -> float:
        """Compute the probability from which a pixel is foreground."""
        return _interp(self.foreground, 0.0, levels.foreground, 1.0)

    def certainty_level(self, levels: Levels) -> float:
        """Compute the mean probability from which an object is one."""
        return _interp(self.foreground, 0.0, levels.certainty, 1.0)

    def seed_level(self, levels: Levels) -> float:
        """Compute the inner distance from which a pixel is a seed."""
        return _interp(self.split, LOWEST_SEED, levels.seed, HIGHEST_SEED)


def _interp(slider: float, low: float, middle: float, high: float) -> float:
    return float(np.interp(slider, (0.0, 0.5, 1.0), (low, middle, high)))


def decode(
    maps: npt.NDArray[Any],
    decoding: Decoding,
    levels: Levels,
    smallest: float,
    disc: float,
) -> LabelArray:
    """Turn maps into objects.

    Parameters
    ----------
    maps : float array, shape (3, Y, X)
        Foreground probability, normalised inner distance, boundary probability.
    decoding : Decoding
        The sliders.
    levels : Levels
        What their middle means.
    smallest : float
        Objects of fewer pixels are dust.
    disc : float
        Pixels of a disc of the working diameter.

    Returns
    -------
    int32 array, shape (Y, X)
        Objects numbered from 1.
    """
    foreground = maps[0] >= decoding.foreground_level(levels)
    # The boundary map helps the network to learn, but taking it off here gained nothing.
    ridge = ndimage.gaussian_filter(maps[1].astype(np.float32), levels.smoothing)
    level = decoding.seed_level(levels)
    seeds = _seeds(ridge, foreground, level)
    for rise in RISES:
        seeds = _split_seeds(ridge, seeds, level + rise, SMALLEST_PART * disc)
    labels = _watershed(ridge, seeds, foreground)
    areas = np.bincount(labels.ravel())
    sums = np.bincount(labels.ravel(), maps[0].ravel())
    sure = sums >= decoding.certainty_level(levels) * areas
    return _renumbered(labels, sure & (areas >= max(MIN_OBJECT_PIXELS, smallest)))


def _seeds(
    ridge: npt.NDArray[np.float32], foreground: npt.NDArray[np.bool_], level: float
) -> npt.NDArray[np.int32]:
    """Label what lies over the level; foreground without a seed becomes one."""
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
    smallest: float,
) -> npt.NDArray[np.int32]:
    """Replace seeds that have several large parts over a higher level by these parts.

    One step up the tree of components (Jones 1999, https://doi.org/10.1006/cviu.1999.0777):
    neighbours are told apart by the saddle between them, whatever their height.
    """
    parts, n = ndimage.label((ridge > level) & (seeds > 0))
    large = np.bincount(parts.ravel()) >= smallest
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
    """Grow the seeds by watershed; only their rims enter the queue, which saves a third."""
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
    """Take the other objects away and number these anew."""
    keep[0] = False
    renumbered = np.zeros(len(keep), np.int32)
    renumbered[keep] = np.arange(1, int(keep.sum()) + 1)
    return renumbered[labels]


BLOCK = 1024
MARGIN_DIAMETERS = 3
"""Objects up to twice so many working diameters are whole in the block of their centre."""

N_THREADS = min(4, os.cpu_count() or 1)
"""Blocks decoded at once: watershed and filters do not hold Python's lock."""

Core = tuple[tuple[int, int], tuple[int, int]]
"""Rows and columns of a block in working pixels, each from and to."""


@dataclass(frozen=True)
class PredictionMaps:
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


def decode_labels(maps_: PredictionMaps, decoding: Decoding) -> LabelArray:
    """Decode a plane in full.

    Parameters
    ----------
    maps_ : PredictionMaps
        Of the plane.
    decoding : Decoding
        The sliders.

    Returns
    -------
    int32 array, shape (Y, X) in image pixels
        Objects numbered from 1, or class values.
    """
    labels = np.zeros(maps_.shape, np.int32)
    cores = _cores(maps_)
    if maps_.info.task == "classes":
        for core in cores:
            _decode_classes(labels, maps_, decoding, core)
        return labels
    n_objects = 0
    with ThreadPoolExecutor(N_THREADS) as pool:
        for first in range(0, len(cores), N_THREADS):
            # A few at a time: their labels are small beside those of the whole plane.
            few = cores[first : first + N_THREADS]
            found = list(pool.map(lambda core: _found(maps_, decoding, core), few))
            for core, objects in zip(few, found, strict=True):
                target = labels[_image_window(maps_, _with_margin(maps_, core))]
                write = (objects > 0) & (target == 0)
                target[write] = objects[write] + n_objects
                n_objects += int(objects.max(initial=0))
    return labels


def _cores(maps_: PredictionMaps) -> list[Core]:
    rows, columns = (
        [
            (begin, min(begin + BLOCK, axis.n_network))
            for begin in range(0, axis.n_network, BLOCK)
        ]
        for axis in maps_.axes
    )
    return list(product(rows, columns))


def _decode_classes(
    labels: LabelArray, maps_: PredictionMaps, decoding: Decoding, core: Core
) -> None:
    window = _image_window(maps_, core)
    maps = np.stack([_to_image(m, maps_, window) for m in maps_.maps])
    named = maps[1:].argmax(0) + 1
    # At a level of 0.5 the likelier of background and foreground wins.
    level = decoding.foreground_level(maps_.info.levels)
    labels[window] = np.where(1.0 - maps[0] >= level, named, 0)


def _with_margin(maps_: PredictionMaps, core: Core) -> Core:
    margin = int(MARGIN_DIAMETERS * maps_.info.diameter)
    rows, columns = (
        (max(0, begin - margin), min(axis.n_network, end + margin))
        for (begin, end), axis in zip(core, maps_.axes, strict=True)
    )
    return rows, columns


def _found(maps_: PredictionMaps, decoding: Decoding, core: Core) -> LabelArray:
    """Decode a block: the objects whose centre it holds, in its and its margin's pixels."""
    outer = _with_margin(maps_, core)
    block = maps_.maps[:, slice(*outer[0]), slice(*outer[1])]
    info = maps_.info
    found = decode(block, decoding, info.levels, info.smallest * info.disc, info.disc)
    if outer != core:
        found = _owned(found, core, outer)
    window = _image_window(maps_, outer)
    return _labels_to_image(found, (outer[0][0], outer[1][0]), maps_, window, decoding)


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
    maps_: PredictionMaps,
    window: tuple[slice, slice],
    decoding: Decoding,
) -> LabelArray:
    if all(axis.n_image == axis.n_network for axis in maps_.axes):
        return found
    shrunk = maps_.axes[0].n_network < maps_.axes[0].n_image
    if shrunk:
        # The contour comes from the interpolated foreground, not from square steps.
        found = expand_labels(found, 1)
    rows = maps_.axes[0].nearest_network(window[0]) - origin[0]
    columns = maps_.axes[1].nearest_network(window[1]) - origin[1]
    labels: LabelArray = found[np.ix_(rows, columns)]
    if shrunk:
        level = decoding.foreground_level(maps_.info.levels)
        labels[_to_image(maps_.maps[0], maps_, window) < level] = 0
    return labels


def maps_at(maps_: PredictionMaps, window: tuple[slice, slice]) -> npt.NDArray[np.float32]:
    """Interpolate all kept maps at a window of image pixels.

    Parameters
    ----------
    maps_ : PredictionMaps
        Of a plane, or a part of one.
    window : tuple of slice
        Rows and columns within `maps_.shape`.

    Returns
    -------
    float32 array, shape (n_maps, h, w)
    """
    return np.stack([_to_image(values, maps_, window) for values in maps_.maps])


def _to_image(
    values: npt.NDArray[np.float16], maps_: PredictionMaps, window: tuple[slice, slice]
) -> npt.NDArray[np.float32]:
    """Interpolate a working map at a window of image pixels."""
    if all(axis.n_image == axis.n_network for axis in maps_.axes):
        return values[window].astype(np.float32)
    back = [Axis(axis.n_network, axis.n_image) for axis in maps_.axes]
    row_need, row_weights = back[0].matrix(window[0].start, window[0].stop)
    column_need, column_weights = back[1].matrix(window[1].start, window[1].stop)
    part = values[row_need, column_need].astype(np.float32)
    result: npt.NDArray[np.float32] = (column_weights @ (row_weights @ part).T).T
    return np.ascontiguousarray(result)


def _image_window(maps_: PredictionMaps, core: Core) -> tuple[slice, slice]:
    return (maps_.axes[0].image_window(*core[0]), maps_.axes[1].image_window(*core[1]))
