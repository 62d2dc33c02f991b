"""Windows of a plane, ranked by how uncertain the model is.

A window is about as large as what a user corrects at once. The criterion is the mean
entropy of the unverified pixels (``docs/research/next-region.md``), as in uncertainty
sampling (Settles 2009, "Active learning literature survey", section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_resunet.engine.blocks import PredictionMaps
from napari_resunet.types import FloatArray, LabelArray, MaskArray, ModelInfo, Window

REGION = 256
"""Side of a window at network resolution."""

UNCERTAIN_ENTROPY = 0.35
"""An object whose pixels have a higher mean entropy, in bits, is uncertain."""

MISSED = 0.2
"""Foreground probability from which unlabelled pixels may be a missed object."""

MOSTLY_VERIFIED = 0.5
"""A window is left out if a larger fraction of it is verified."""


@dataclass(frozen=True)
class Region:
    """A window to look at.

    Attributes
    ----------
    window : tuple of slice
        Rows and columns in image pixels.
    score : float
        Mean normalized entropy of its unverified pixels, 0 (certain) to 1.
    n_uncertain : int
        Number of objects that the model is uncertain of.
    """

    window: Window
    score: float
    n_uncertain: int


def mean_uncertainty(maps: FloatArray, unverified: MaskArray, info: ModelInfo) -> float:
    """Average the uncertainty of all unverified pixels, background included.

    With background, a window of many slightly uncertain objects ranks above one of few very
    uncertain objects: it teaches more.
    """
    return float(uncertainty(maps, info)[unverified].mean())


def priority(region: Region, verified: float) -> tuple[float, float]:
    """Return a sort key for regions of different planes; the highest is next.

    Planes with a smaller verified fraction, to one decimal, come first, because regions of
    the same image teach much the same. Then the score decides.
    """
    return -round(verified, 1), region.score


def uncertainty(maps: FloatArray, info: ModelInfo) -> FloatArray:
    """Compute the normalized entropy of each pixel, 0 (certain) to 1."""
    if info.task == "instances":
        return entropy(maps[0])
    p = np.clip(maps, 1e-6, 1)
    normalized: FloatArray = -(p * np.log(p)).sum(0) / np.log(len(p))
    return normalized


def entropy(probability: FloatArray) -> FloatArray:
    """Compute the binary entropy of probabilities in bits, 0 (certain) to 1."""
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    bits: FloatArray = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    return bits


def foreground_of(maps: FloatArray, info: ModelInfo) -> FloatArray:
    """Return the foreground probability from the maps of objects or classes."""
    foreground: FloatArray = 1 - maps[0] if info.task == "classes" else maps[0]
    return foreground


def rank(
    predicted: PredictionMaps,
    labels: LabelArray,
    verified: MaskArray | None,
    roi: Window,
) -> list[Region]:
    """Rank the windows of a proposal, the least certain first.

    Parameters
    ----------
    predicted : PredictionMaps
        Maps of the proposal.
    labels : int32 array, shape `predicted.shape`
        The labels decoded from them.
    verified : bool array, shape `predicted.shape`, or None
        The verified area; None means that nothing is verified.
    roi : tuple of slice
        The part of the proposal to divide into windows, in its image pixels.

    Returns
    -------
    list of Region
        Windows in the proposal's image pixels, without those that are mostly verified.
    """
    done = np.zeros(predicted.shape, bool) if verified is None else verified
    places = np.ix_(*(_centres(axis.n_network, axis.scale) for axis in predicted.axes))
    network_labels, network_verified = labels[places], done[places]
    regions = []
    for window in windows(roi, (predicted.axes[0].scale, predicted.axes[1].scale)):
        if done[window].mean() > MOSTLY_VERIFIED:
            continue
        part = _to_network(window, predicted)
        maps = predicted.maps[:, part[0], part[1]].astype(np.float32)
        unverified = ~network_verified[part]
        score = mean_uncertainty(maps, unverified, predicted.info)
        n_uncertain = count_uncertain(
            maps, network_labels[part], unverified, predicted.info
        )
        regions.append(Region(window, score, n_uncertain))
    return sorted(regions, key=lambda r: -r.score)


def count_uncertain(
    maps: FloatArray, labels: LabelArray, unverified: MaskArray, info: ModelInfo
) -> int:
    """Count the objects that the model is uncertain of or may have missed.

    Parameters
    ----------
    maps : float array, shape (n_maps, h, w)
        Probabilities.
    labels : int array, shape (h, w)
        Objects.
    unverified : bool array, shape (h, w)
        The pixels that are not verified.
    info : ModelInfo
        What the maps mean, and the size of a typical object.
    """
    foreground = foreground_of(maps, info)
    uncertainty = entropy(foreground)
    objects = np.unique(labels[unverified & (labels > 0)])
    means = np.asarray(ndimage.mean(uncertainty, labels, objects) if len(objects) else ())
    missed, n_missed = ndimage.label((foreground >= MISSED) & (labels == 0) & unverified)
    areas = np.bincount(missed.ravel(), minlength=n_missed + 1)[1:]
    thick = areas >= info.reference_area / 4
    return int(np.count_nonzero(means > UNCERTAIN_ENTROPY) + thick.sum())


def windows(roi: Window, scales: tuple[float, float]) -> Iterator[Window]:
    """Divide a part of an image into equal windows of about `REGION` pixels.

    Parameters
    ----------
    roi : tuple of slice
        The part, in image pixels.
    scales : tuple of float
        Rescale factors of rows and columns.
    """
    edges = [
        np.linspace(c.start, c.stop, max(1, round((c.stop - c.start) * s / REGION)) + 1)
        for c, s in zip(roi, scales, strict=True)
    ]
    rows, columns = (np.round(e).astype(int).tolist() for e in edges)
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield slice(top, bottom), slice(left, right)


def _centres(n: int, scale: float) -> npt.NDArray[Any]:
    return ((np.arange(n) + 0.5) / scale).astype(int)


def _to_network(window: Window, predicted: PredictionMaps) -> Window:
    rows, columns = (
        slice(begin := int(w.start * a.scale), max(begin + 1, int(w.stop * a.scale)))
        for w, a in zip(window, predicted.axes, strict=True)
    )
    return rows, columns
