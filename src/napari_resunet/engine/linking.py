"""Links the objects of consecutive slices: into volumes through Z, or tracks through T.

Own code instead of laptrack's `OverLapTrack`, which needs scikit-learn and takes minutes
where this takes seconds: see docs/research/stacks.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from napari_resunet.engine.divisions import divisions
from napari_resunet.engine.metrics import Objects, Pairs, objects_of, overlaps
from napari_resunet.errors import Cancelled
from napari_resunet.events import CancelToken, Progress
from napari_resunet.types import LabelArray

MIN_IOU = 0.25
MIN_SHARE = 0.75
"""Of the smaller object that lies in the other: an object's ends are much smaller than what
comes next, so that their IoU says nothing."""

GAP = 1
"""Slices in which an object may be missing."""


@dataclass(eq=False)
class _Slice:
    """The objects of a slice, their numbers in the stack, and which go on later."""

    objects: Objects
    numbers: npt.NDArray[np.int32]
    continued: npt.NDArray[np.bool_]


def link_slices(
    labels: npt.NDArray[Any], token: CancelToken | None = None, divide: bool = False
) -> Generator[Progress, None, LabelArray]:
    """Give the objects of consecutive slices that are one object the same number.

    An object goes on in the next slice, or in the one after that if it is missing there,
    as the object that it overlaps (IoU of at least 0.25). If neither of two has such a
    partner, they are one object where three quarters of the smaller lie in the larger.
    Each has at most one continuation, and of all assignments, the one with the highest sum
    of IoU is chosen. Objects never fuse.

    Parameters
    ----------
    labels : integer array, shape (n_slices, …, Y, X)
        Objects of each slice, each slice with numbers of its own; 0 and below is
        background. Slices may be volumes.
    token : CancelToken or None
        Checked between slices.
    divide : bool
        Whether an object may divide: then it ends, and both daughters get new numbers. See
        `divisions`.

    Yields
    ------
    Progress
        After each slice.

    Returns
    -------
    int32 array, shape of `labels`
        Numbered from 1 without gaps, in the order in which objects appear.

    Raises
    ------
    Cancelled
        If the token says so.
    """
    linked = np.zeros(labels.shape, np.int32)
    recent: deque[_Slice] = deque(maxlen=GAP + 1)
    n_objects = 0
    for k, plane in enumerate(labels):
        if token is not None and token.cancelled:
            raise Cancelled("Linking was cancelled.")
        objects = objects_of(plane)
        numbers = _continued(recent, objects, divide)
        new = numbers == 0
        numbers[new] = n_objects + 1 + np.arange(new.sum())
        n_objects += int(new.sum())
        linked[k] = _painted(objects, numbers).reshape(plane.shape)
        recent.appendleft(_Slice(objects, numbers, np.zeros(numbers.size, bool)))
        yield Progress(k + 1, len(labels), f"linking slice {k + 1} of {len(labels)}")
    return linked


def number_apart(labels: npt.NDArray[Any]) -> LabelArray:
    """Give the objects of all slices numbers from 1, none of them in two slices.

    Parameters
    ----------
    labels : integer array, shape (n_slices, …, Y, X)
        Objects of each slice; 0 and below is background.

    Returns
    -------
    int32 array, shape of `labels`
    """
    apart = np.zeros(labels.shape, np.int32)
    n_before = 0
    for k, plane in enumerate(labels):
        objects = objects_of(plane)
        numbers = n_before + 1 + np.arange(len(objects.ids), dtype=np.int32)
        apart[k] = _painted(objects, numbers).reshape(plane.shape)
        n_before += len(numbers)
    return apart


def _continued(
    recent: deque[_Slice], objects: Objects, divide: bool
) -> npt.NDArray[np.int32]:
    """Return the number of the object that each one continues; 0 if it is new."""
    numbers = np.zeros(len(objects.ids), np.int32)
    candidates = [(earlier, overlaps(earlier.objects, objects)) for earlier in recent]
    for is_near in (_by_iou, _by_share):
        for earlier, pairs in candidates:
            free = ~earlier.continued[pairs.rows] & (numbers[pairs.columns] == 0)
            near = is_near(pairs, earlier.objects, objects)
            rows, columns = _matched(pairs, free & near)
            numbers[columns] = earlier.numbers[rows]
            earlier.continued[rows] = True
    if divide and candidates:
        _end_divided(*candidates[0], objects, numbers)
    return numbers


def _end_divided(
    earlier: _Slice, pairs: Pairs, objects: Objects, numbers: npt.NDArray[np.int32]
) -> None:
    """Make the daughters of objects that divide new objects."""
    now = numbers[pairs.columns]
    possible = (now == 0) | (now == earlier.numbers[pairs.rows])
    for row, daughters in divisions(pairs, earlier.objects, objects, possible):
        numbers[list(daughters)] = 0
        earlier.continued[row] = True


def _by_iou(pairs: Pairs, first: Objects, second: Objects) -> npt.NDArray[np.bool_]:
    return pairs.iou >= MIN_IOU


def _by_share(pairs: Pairs, first: Objects, second: Objects) -> npt.NDArray[np.bool_]:
    areas = first.areas[pairs.rows], second.areas[pairs.columns]
    overlap = pairs.iou * np.add(*areas) / (1 + pairs.iou)
    return overlap >= MIN_SHARE * np.minimum(*areas)


def _matched(
    pairs: Pairs, possible: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Choose pairs without a common object, with the highest sum of IoU.

    The solver wants a partner for each row, so each gets a column of its own to fall back
    on. Each edge weighs 1 more, because it takes 0 for no edge.
    """
    n_rows, n_columns = pairs.shape
    every = np.arange(n_rows)
    rows = np.concatenate([pairs.rows[possible], every])
    columns = np.concatenate([pairs.columns[possible], n_columns + every])
    weights = np.concatenate([1 + pairs.iou[possible], np.ones(n_rows)])
    graph = sparse.csr_array((weights, (rows, columns)), (n_rows, n_columns + n_rows))
    rows, columns = min_weight_full_bipartite_matching(graph, maximize=True)
    real = columns < n_columns
    return rows[real], columns[real]


def _painted(objects: Objects, numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the number at each pixel."""
    return np.append(numbers, np.int32(0))[np.maximum(objects.places, -1)]
