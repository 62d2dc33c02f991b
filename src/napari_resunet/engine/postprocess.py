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

from napari_resunet.engine.basins import Basins, Numbers, Rim, find_basins
from napari_resunet.engine.patches import MIN_OBJECT_PIXELS
from napari_resunet.types import Decoding, FloatArray, LabelArray, Levels, MaskArray

LOWEST_SEED, HIGHEST_SEED = 0.05, 0.85
"""Inner distances that the ends of the split slider mean."""

RISES = (0.1, 0.2)
"""How much above the seed level a seed may split."""

MIN_PART_FRACTION = 0.13
"""Smallest part of a split seed, as a fraction of a typical object's area; in a volume,
the same side counts."""

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


@dataclass(frozen=True)
class FoundObjects:
    """Objects of a window, numbered from 1.

    Attributes
    ----------
    labels : int32 array, shape (Y, X)
        On open sides, `smoothing_radius` pixels less than the maps.
    summits : int array, shape (n + 1,)
        Position in the flattened labels of the highest pixel of each object's seed.
    cut : bool array, shape (n + 1,)
        Whether the object could be another one if the maps went on: those are near open
        sides. All others are equal, pixel for pixel, to objects of the whole plane.
    """

    labels: LabelArray
    summits: Numbers
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
    on the rim, and floods like a seed. What comes from outside has to cross the rim, so
    what is neither in it nor beside it has nothing to do with the outside.

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
    ridge = _smoothed(maps[1], levels)
    open_sides = open_sides or ((False, False),) * ridge.ndim
    inside = _within(ridge.shape, open_sides, smoothing_radius(levels))
    ridge, probability = ridge[inside], maps[0][inside]
    begin = tuple(
        o + s.start for o, s in zip(origin or (0,) * ridge.ndim, inside, strict=True)
    )
    foreground = probability >= foreground_level(decoding, levels)
    basins = find_basins(ridge, foreground, begin, _rim(open_sides))
    min_part = MIN_PART_FRACTION ** (ridge.ndim / 2) * typical_size
    seeds = _seeds(basins, _seed_level(decoding, levels), min_part)
    other = int(seeds.max(initial=0)) + 1
    seeds[_at_rim(basins, seeds, other)[seeds]] = other
    seeds[basins.at_rim] = other
    owners = basins.flooded(seeds)
    cut = _beside(owners[basins.edges], other)
    areas = np.bincount(owners, basins.areas, other + 1)
    sums = np.bincount(owners, basins.sums(probability), other + 1)
    keep = sums >= _certainty_level(decoding, levels) * areas
    keep &= areas >= max(MIN_OBJECT_PIXELS, min_size)
    # The other objects have no pixels where there is nothing at the rim.
    keep = (keep | cut) & (areas > 0)
    keep[0] = True  # background stays the first entry
    numbers = (np.cumsum(keep, dtype=np.int32) - 1) * keep
    labels = np.zeros(ridge.shape, np.int32)
    labels.ravel()[basins.pixels] = numbers[owners].take(basins.basin)
    return FoundObjects(labels, _summits(basins, seeds, other + 1)[keep], cut[keep])


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


def _at_rim(basins: Basins, numbers: Numbers, highest: int) -> MaskArray:
    """Tell which numbers, of basins, are at the rim; background never is."""
    there = np.zeros(highest + 1, bool)
    there[numbers[basins.at_rim]] = True
    there[0] = False
    return there


def _beside(ends: Numbers, other: int) -> MaskArray:
    """Tell which labels are, or touch, another one, given the labels where edges end."""
    beside = np.zeros(other + 1, bool)
    beside[ends[:, (ends == other).any(axis=0)]] = True
    return beside


def _summits(basins: Basins, seeds: Numbers, n: int) -> Numbers:
    """Return the position of the highest pixel of each seed."""
    upwards = np.argsort(basins.summit_heights, kind="stable")
    summits = np.zeros(n, np.intp)
    summits[seeds[upwards]] = basins.summits[upwards]  # of several, the last one stays
    return summits


def _seeds(basins: Basins, level: float, min_part: float) -> Numbers:
    """Find seeds above a level; a foreground island without a seed becomes one."""
    seeds = basins.parts_above(level)
    islands = basins.islands
    seeded = _at_rim(basins, islands, basins.n)  # or may have a seed outside
    seeded[islands[seeds > 0]] = True
    seeded[0] = True  # the background needs none
    seeds = np.where(seeded[islands], seeds, basins.n + islands)
    for rise in RISES:
        seeds = _split_seeds(basins, seeds, level + rise, min_part)
    return seeds


def _split_seeds(basins: Basins, seeds: Numbers, level: float, min_part: float) -> Numbers:
    """Split seeds that have several large parts above a higher level into these parts.

    This is one step up the component tree (Jones 1999,
    https://doi.org/10.1006/cviu.1999.0777): the saddle between neighbours separates them,
    however high they are. A seed that goes on outside, but has several large parts here, is
    split whatever comes there, and only those of its parts that reach the rim go on.
    """
    parts = np.where(seeds > 0, basins.parts_above(level), 0)
    large = np.bincount(parts, basins.areas_above(level), basins.n + 1) >= min_part
    large[0] = False
    parent = np.zeros(len(large), np.intp)
    parent[parts] = seeds
    several = np.bincount(parent[large], minlength=int(seeds.max(initial=0)) + 1) > 1
    chosen = (large | _at_rim(basins, parts, basins.n)) & several[parent]
    names = np.zeros(len(large), np.intp)
    names[chosen] = len(several) + np.arange(np.count_nonzero(chosen))
    return np.where(several[seeds], names[parts], seeds)


def _smoothed(distance: npt.NDArray[Any], levels: Levels) -> FloatArray:
    """Smooth by a Gaussian, in float32: twice as fast as in scipy, which uses float64."""
    radius = smoothing_radius(levels)
    if not radius:
        return distance.astype(np.float32)
    weights = np.exp(-0.5 * (np.arange(radius + 1) / levels.smoothing) ** 2)
    weights = (weights / (2 * weights.sum() - 1)).astype(np.float32)
    for axis, n in enumerate(distance.shape):
        margins = [(radius * (i == axis),) * 2 for i in range(distance.ndim)]
        padded = np.pad(distance, margins, mode="symmetric").astype(np.float32, copy=False)
        lines = np.moveaxis(padded, axis, 0)
        distance = weights[0] * lines[radius : radius + n]
        for k in range(1, radius + 1):
            sides = lines[radius - k : radius - k + n] + lines[radius + k : radius + k + n]
            distance += weights[k] * sides
        distance = np.moveaxis(distance, 0, axis)
    return distance
