"""From prediction maps to objects, at network resolution.

Objects come from a watershed. Its seeds are where the smoothed inner distance exceeds a
threshold, as in deep watershed (Bai & Urtasun 2017, https://arxiv.org/abs/1611.08303).
Where the maps are a part of a plane, it is known which objects are the same as in the whole
plane; `blocks` puts such parts together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import watershed

from napari_resunet.engine.patches import MIN_OBJECT_PIXELS
from napari_resunet.types import Decoding, LabelArray, Levels, MaskArray

LOWEST_SEED, HIGHEST_SEED = 0.05, 0.85
"""Inner distances that the ends of the split slider mean."""

RISES = (0.1, 0.2)
"""How much above the seed level a seed may split."""

MIN_PART_FRACTION = 0.13
"""Smallest part of a split seed, as a fraction of a typical object's area; in a volume,
the same side counts."""

PRIMES = 7919, 104729, 15485863
"""Pixels of equal value are ordered by a sum of these, once for each row and column."""

TRUNCATE = 4.0
"""Standard deviations after which the smoothing ends."""


def foreground_level(decoding: Decoding, levels: Levels) -> float:
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


Sides = tuple[tuple[bool, bool], ...]
"""For each axis: whether the plane goes on before it, and after it."""


Rim = list[tuple[slice, ...]]
"""The outermost pixels on each open side, as slices."""


@dataclass(frozen=True)
class FoundObjects:
    """Objects of a window, numbered from 1.

    Attributes
    ----------
    labels : int32 array, shape (Y, X)
        On open sides, `smoothing_radius` pixels less than the maps.
    first : int64 array, shape (n + 1,)
        Position in the flattened labels of the first pixel of each object's seed.
    cut : bool array, shape (n + 1,)
        Whether the object could be another one if the maps went on: those are near open
        sides. All others are equal, pixel for pixel, to objects of the whole plane.
    """

    labels: LabelArray
    first: npt.NDArray[np.int64]
    cut: MaskArray


def smoothing_radius(levels: Levels) -> int:
    """Compute how far, in pixels, the smoothing of the inner distance looks."""
    return int(TRUNCATE * levels.smoothing + 0.5)


def decode(
    maps: npt.NDArray[Any],
    decoding: Decoding,
    levels: Levels,
    min_size: float,
    typical_size: float,
) -> LabelArray:
    """Turn the maps of a whole plane, or of a volume, into objects numbered from 1.

    Parameters
    ----------
    maps : float array, shape (2 or 3, …, Y, X)
        Foreground probability, normalized inner distance, boundary probability.
    decoding : Decoding
        The sliders.
    levels : Levels
        The model's own thresholds, at the sliders' middle.
    min_size : float
        Smaller objects are removed, in pixels.
    typical_size : float
        Area of a typical object in pixels; its volume if the maps are those of a volume.
    """
    return find_objects(maps, decoding, levels, min_size, typical_size).labels


def find_objects(
    maps: npt.NDArray[Any],
    decoding: Decoding,
    levels: Levels,
    min_size: float,
    typical_size: float,
    open_sides: Sides | None = None,
    origin: tuple[int, ...] | None = None,
) -> FoundObjects:
    """Find the objects of a part of a plane.

    At open sides, an additional object stands for all that may come from outside: it starts
    on the rim, and floods like a seed. Real seeds outside would flood later, so what is
    neither in it nor beside it has nothing to do with the outside.

    Parameters
    ----------
    maps, decoding, levels, min_size, typical_size
        See `decode`.
    open_sides : Sides or None
        Where the plane goes on; None if the maps are whole.
    origin : tuple of int or None
        Place of the first pixel of the maps in the plane; None if they are whole.
    """
    # The boundary map helps the network to learn; subtracting it here gained nothing.
    ridge = ndimage.gaussian_filter(
        maps[1].astype(np.float32), levels.smoothing, truncate=TRUNCATE
    )
    open_sides = open_sides or ((False, False),) * ridge.ndim
    inside = _within(ridge.shape, open_sides, smoothing_radius(levels))
    ridge, probability = ridge[inside], maps[0][inside]
    begin = tuple(
        o + s.start for o, s in zip(origin or (0,) * ridge.ndim, inside, strict=True)
    )
    foreground = probability >= foreground_level(decoding, levels)
    level = _seed_level(decoding, levels)
    rim = _rim(open_sides)
    seeds, goes_on = _seeds(ridge, foreground, level, rim)
    for rise in RISES:
        min_part = MIN_PART_FRACTION ** (ridge.ndim / 2) * typical_size
        seeds, goes_on = _split_seeds(ridge, seeds, goes_on, rim, level + rise, min_part)
    other = int(seeds.max(initial=0)) + 1
    if rim:
        seeds[goes_on[seeds]] = other
    for line in rim:
        seeds[line][foreground[line]] = other
    labels = _watershed(_without_ties(ridge, begin), seeds, foreground)
    areas = np.bincount(labels.ravel(), minlength=other + 1)
    sums = np.bincount(labels.ravel(), probability.ravel(), other + 1)
    keep = sums >= _certainty_level(decoding, levels) * areas
    keep &= areas >= max(MIN_OBJECT_PIXELS, min_size)
    cut = _beside(labels, other) if rim else np.zeros(other + 1, bool)
    # The other objects have no pixels where there is nothing at the rim.
    keep = (keep | cut) & (areas > 0)
    return _kept(labels, _first_pixels(seeds, other + 1), cut, keep)


def _within(shape: tuple[int, ...], open_sides: Sides, margin: int) -> tuple[slice, ...]:
    """Leave out a margin on the open sides."""
    return tuple(
        slice(margin * before, n - margin * after)
        for n, (before, after) in zip(shape, open_sides, strict=True)
    )


def _rim(open_sides: Sides) -> Rim:
    everything = (slice(None),) * len(open_sides)
    return [
        (*everything[:axis], line, *everything[axis + 1 :])
        for axis, sides in enumerate(open_sides)
        for line, is_open in zip((slice(1), slice(-1, None)), sides, strict=True)
        if is_open
    ]


def _at_rim(labels: LabelArray, n: int, rim: Rim) -> MaskArray:
    """Tell which of `n` labels are at the rim; background never is."""
    there = np.zeros(n, bool)
    for line in rim:
        there[labels[line]] = True
    there[0] = False
    return there


def _beside(labels: LabelArray, other: int) -> MaskArray:
    """Tell which labels are, or touch, another one."""
    beside = np.zeros(other + 1, bool)
    beside[other] = True
    for axis in range(labels.ndim):
        one, next_one = np.moveaxis(labels, axis, 0)[:-1], np.moveaxis(labels, axis, 0)[1:]
        beside[one[next_one == other]] = True
        beside[next_one[one == other]] = True
    beside[0] = False
    return beside


def _first_pixels(seeds: LabelArray, n: int) -> npt.NDArray[np.int64]:
    where = np.flatnonzero(seeds)[::-1]
    first = np.zeros(n, np.int64)
    first[seeds.ravel()[where]] = where  # of several, the last one stays
    return first


def _seeds(
    ridge: npt.NDArray[np.float32],
    foreground: MaskArray,
    level: float,
    rim: Rim,
) -> tuple[npt.NDArray[np.int32], MaskArray]:
    """Label seeds above a level; a foreground island without a seed becomes one.

    Also returned is which of them go on beyond the rim.
    """
    seeds, n_seeds = ndimage.label((ridge > level) & foreground)
    islands, n_islands = ndimage.label(foreground)
    seeded = _at_rim(islands, n_islands + 1, rim)  # or may have a seed outside
    seeded[islands[seeds > 0]] = True
    orphan = foreground & ~seeded[islands]
    result: npt.NDArray[np.int32] = seeds.astype(np.int32, copy=False)
    result[orphan] = n_seeds + islands[orphan]
    return result, _at_rim(result, n_seeds + n_islands + 1, rim)


def _split_seeds(
    ridge: npt.NDArray[np.float32],
    seeds: npt.NDArray[np.int32],
    goes_on: MaskArray,
    rim: Rim,
    level: float,
    min_size: float,
) -> tuple[npt.NDArray[np.int32], MaskArray]:
    """Split seeds that have several large parts above a higher level into these parts.

    This is one step up the component tree (Jones 1999,
    https://doi.org/10.1006/cviu.1999.0777): the saddle between neighbours separates them,
    however high they are. A seed that goes on outside, but has several large parts here, is
    split whatever comes there, and only those of its parts that reach the rim go on.
    """
    parts, n = ndimage.label((ridge > level) & (seeds > 0))
    large = np.bincount(parts.ravel()) >= min_size
    large[0] = False
    parent = np.zeros(n + 1, np.int32)
    parent[parts] = seeds
    several = np.bincount(parent[large], minlength=int(seeds.max(initial=0)) + 1) > 1
    reaches_rim = _at_rim(parts, n + 1, rim)
    chosen = (large | reaches_rim) & several[parent]
    names = np.zeros(n + 1, np.int32)
    names[chosen] = len(several) + np.arange(np.count_nonzero(chosen))
    result: npt.NDArray[np.int32] = np.where(several[seeds], names[parts], seeds)
    return result, np.append(goes_on[: len(several)], reaches_rim[chosen])


def _without_ties(
    ridge: npt.NDArray[np.float32], origin: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    """Make equal values differ, by less than precision, as their place in the plane does.

    Which of them is flooded first must not depend on the window.
    """
    order = np.zeros(ridge.shape, np.uint16)
    for axis, (begin, n) in enumerate(zip(origin, ridge.shape, strict=True)):
        along = ((np.arange(n) + begin) * PRIMES[axis]).astype(np.uint16)
        order += along.reshape([-1 if i == axis else 1 for i in range(ridge.ndim)])
    return ridge + order * 1e-13


def _watershed(
    ridge: npt.NDArray[np.float64],
    seeds: npt.NDArray[np.int32],
    foreground: MaskArray,
) -> npt.NDArray[np.int32]:
    """Grow the seeds by watershed; queueing only their rims saves a third of the time."""
    inner = seeds > 0
    for axis in range(seeds.ndim):
        same = np.diff(seeds, axis=axis) == 0
        before, after = ((slice(None),) * axis + (s,) for s in (slice(-1), slice(1, None)))
        inner[before] &= same
        inner[after] &= same
    rims = np.where(inner, 0, seeds)
    labels: npt.NDArray[np.int32] = watershed(-ridge, rims, mask=foreground & ~inner)
    labels[inner] = seeds[inner]
    return labels


def _kept(
    labels: npt.NDArray[np.int32],
    first: npt.NDArray[np.int64],
    cut: MaskArray,
    keep: MaskArray,
) -> FoundObjects:
    """Remove the other objects and renumber these."""
    keep[0] = False
    renumbered = np.zeros(len(keep), np.int32)
    renumbered[keep] = np.arange(1, int(keep.sum()) + 1)
    keep[0] = True  # background stays the first entry
    return FoundObjects(renumbered[labels], first[keep], cut[keep])
