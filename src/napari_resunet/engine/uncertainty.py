"""Where a model is least sure: windows of a plane, ranked.

The criterion is one function, `mean_doubt`, so that another one can be put in its place and
compared (``docs/research/next-region.md``). Windows are those that a user would
correct at one go, about 256² working pixels; what is verified already does not count.

Binary entropy of the foreground as a measure of doubt: Settles 2009, "Active learning
literature survey", section 3.1 (uncertainty sampling).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_resunet.engine.postprocess import PredictionMaps
from napari_resunet.types import FloatArray, LabelArray, MaskArray, ModelInfo, Window

REGION = 256
"""Working pixels: the side of a window that is corrected at one go."""

DOUBT = 0.35
"""An object whose pixels have a larger mean entropy, in bits, is one of doubt."""

MISSED = 0.2
"""A foreground probability from which something without a label may be an object."""

MOSTLY_VERIFIED = 0.5
"""A window of which a larger share is verified is done."""

Criterion = Callable[[FloatArray, MaskArray, ModelInfo], float]
"""From maps (n, h, w), what still counts (h, w) and the model's contract to a score."""


@dataclass(frozen=True)
class Region:
    """A window where a look is worth it.

    Attributes
    ----------
    window : tuple of slice
        Rows and columns in image pixels.
    score : float
        The criterion there: larger is less sure.
    n_doubts : int
        Objects that the model is unsure of.
    """

    window: Window
    score: float
    n_doubts: int


def mean_doubt(maps: FloatArray, counts: MaskArray, info: ModelInfo) -> float:
    """Average the doubt over all that still counts.

    Over the background too: a window with many objects of some doubt teaches more than one
    with few of much. But not its sum: windows are not equally large.

    Parameters
    ----------
    maps : float array, shape (n_maps, h, w)
        Probabilities: foreground first; or of classes, background first.
    counts : bool array, shape (h, w)
        Where doubt counts.
    info : ModelInfo
        What the maps mean.

    Returns
    -------
    float
        0 to 1, in bits.
    """
    return float(doubt(maps, info)[counts].mean())


def priority(region: Region, verified: float) -> tuple[float, float]:
    """Order regions of different planes: the largest is the next one to look at.

    Where less is verified comes first, for regions of one image teach the same; then where
    the model is less sure.

    Parameters
    ----------
    region : Region
        Of some plane.
    verified : float
        Share of that plane that is verified. A few hundredths more or less are no reason.

    Returns
    -------
    tuple of float
    """
    return -round(verified, 1), region.score


def doubt(maps: FloatArray, info: ModelInfo) -> FloatArray:
    """Compute how unsure the model is of each pixel.

    Parameters
    ----------
    maps : float array, shape (n_maps, h, w)
        Probabilities: foreground first; or of classes, which sum up to 1.
    info : ModelInfo
        Which of both.

    Returns
    -------
    float array, shape (h, w)
        Entropy: 0 (sure) to 1 (as good as a guess).
    """
    if info.task == "instances":
        return entropy(maps[0])
    p = np.clip(maps, 1e-6, 1)
    shares: FloatArray = -(p * np.log(p)).sum(0) / np.log(len(p))
    return shares


def entropy(probability: FloatArray) -> FloatArray:
    """Compute the binary entropy of probabilities.

    Parameters
    ----------
    probability : float array
        0 to 1.

    Returns
    -------
    float32 array of equal shape
        In bits: 0 (sure) to 1 (as good as a guess).
    """
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    bits: FloatArray = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    return bits


def foreground_of(maps: FloatArray, info: ModelInfo) -> FloatArray:
    """Read the probability that there is something.

    Parameters
    ----------
    maps : float array, shape (n_maps, h, w)
        Of objects: foreground first. Of classes: background first.
    info : ModelInfo
        Which of both.

    Returns
    -------
    float array, shape (h, w)
    """
    foreground: FloatArray = 1 - maps[0] if info.task == "classes" else maps[0]
    return foreground


def rank(
    kept: PredictionMaps,
    labels: LabelArray,
    verified: MaskArray | None,
    core: Window,
    criterion: Criterion = mean_doubt,
) -> list[Region]:
    """Rank the windows of a proposal, the least sure first.

    Parameters
    ----------
    kept : PredictionMaps
        Of the proposal.
    labels : int32 array, shape `kept.shape`
        As decoded from them.
    verified : bool array, shape `kept.shape`, or None
        What is done; None for nothing.
    core : tuple of slice
        The part of the proposal to divide into windows, in its image pixels.
    criterion : callable
        What to rank by.

    Returns
    -------
    list of Region
        Windows in the proposal's image pixels, without those that are mostly verified;
        equal scores in the order of rows and columns.
    """
    done = np.zeros(kept.shape, bool) if verified is None else verified
    places = np.ix_(*(_centres(axis.n_network, axis.scale) for axis in kept.axes))
    working_labels, working_done = labels[places], done[places]
    regions = []
    for window in windows(core, (kept.axes[0].scale, kept.axes[1].scale)):
        if done[window].mean() > MOSTLY_VERIFIED:
            continue
        part = _to_working(window, kept)
        maps = kept.maps[:, part[0], part[1]].astype(np.float32)
        counts = ~working_done[part]
        score = criterion(maps, counts, kept.info)
        n_doubts = count_doubts(maps, working_labels[part], counts, kept.info)
        regions.append(Region(window, score, n_doubts))
    return sorted(regions, key=lambda r: -r.score)


def count_doubts(
    maps: FloatArray, labels: LabelArray, counts: MaskArray, info: ModelInfo
) -> int:
    """Count the objects that the model is unsure of, and those it may have missed.

    Parameters
    ----------
    maps : float array, shape (n_maps, h, w)
        Probabilities.
    labels : int array, shape (h, w)
        Objects.
    counts : bool array, shape (h, w)
        Where to count.
    info : ModelInfo
        What the maps mean, and how large an object is.

    Returns
    -------
    int
    """
    foreground = foreground_of(maps, info)
    doubt = entropy(foreground)
    objects = np.unique(labels[counts & (labels > 0)])
    means = np.asarray(ndimage.mean(doubt, labels, objects) if len(objects) else ())
    missed, n_missed = ndimage.label((foreground >= MISSED) & (labels == 0) & counts)
    areas = np.bincount(missed.ravel(), minlength=n_missed + 1)[1:]
    thick = areas >= info.disc / 4
    return int(np.count_nonzero(means > DOUBT) + thick.sum())


def windows(core: Window, scales: tuple[float, float]) -> Iterator[Window]:
    """Divide a part of an image into equal windows to correct at one go.

    Parameters
    ----------
    core : tuple of slice
        The part, in image pixels.
    scales : tuple of float
        Factors from image to working pixels.

    Yields
    ------
    tuple of slice
        In the order of rows and columns.
    """
    edges = [
        np.linspace(c.start, c.stop, max(1, round((c.stop - c.start) * s / REGION)) + 1)
        for c, s in zip(core, scales, strict=True)
    ]
    rows, columns = (np.round(e).astype(int).tolist() for e in edges)
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield slice(top, bottom), slice(left, right)


def _centres(n: int, scale: float) -> npt.NDArray[Any]:
    return ((np.arange(n) + 0.5) / scale).astype(int)


def _to_working(window: Window, kept: PredictionMaps) -> Window:
    rows, columns = (
        slice(begin := int(w.start * a.scale), max(begin + 1, int(w.stop * a.scale)))
        for w, a in zip(window, kept.axes, strict=True)
    )
    return rows, columns
