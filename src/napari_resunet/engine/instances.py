"""Maps to objects: a marker-controlled watershed on kept maps.

The other direction, labels to maps, is `targets`. Markers by threshold on the
smoothed inner distance, as in deep watershed (Bai & Urtasun 2017,
https://arxiv.org/abs/1611.08303); flooding by Meyer's watershed in scikit-image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import watershed

from napari_resunet.engine.targets import MIN_OBJECT_PIXELS
from napari_resunet.types import LabelArray, Levels, Share

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
        return _between(self.foreground, 0.0, levels.foreground, 1.0)

    def certainty_level(self, levels: Levels) -> float:
        """Compute the mean probability from which an object is one."""
        return _between(self.foreground, 0.0, levels.certainty, 1.0)

    def seed_level(self, levels: Levels) -> float:
        """Compute the inner distance from which a pixel is a seed."""
        return _between(self.split, LOWEST_SEED, levels.seed, HIGHEST_SEED)


def _between(slider: float, low: float, middle: float, high: float) -> float:
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
        seeds = _fallen_apart(ridge, seeds, level + rise, SMALLEST_PART * disc)
    labels = _flooded(ridge, seeds, foreground)
    areas = np.bincount(labels.ravel())
    sums = np.bincount(labels.ravel(), maps[0].ravel())
    sure = sums >= decoding.certainty_level(levels) * areas
    return _kept(labels, sure & (areas >= max(MIN_OBJECT_PIXELS, smallest)))


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


def _fallen_apart(
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


def _flooded(
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


def _kept(labels: npt.NDArray[Any], keep: npt.NDArray[np.bool_]) -> LabelArray:
    """Take the other objects away and number these anew."""
    keep[0] = False
    renumbered = np.zeros(len(keep), np.int32)
    renumbered[keep] = np.arange(1, int(keep.sum()) + 1)
    return renumbered[labels]
