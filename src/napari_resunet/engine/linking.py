"""Links the objects of consecutive slices: into volumes through Z, or tracks through T.

Own code instead of laptrack's `OverLapTrack`, which needs scikit-learn and takes minutes
where this takes seconds: see docs/research/stacks.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from napari_resunet.engine.divisions import divisions
from napari_resunet.engine.metrics import Objects, Pairs, objects_of, one_to_one, overlaps
from napari_resunet.errors import Cancelled
from napari_resunet.events import CancelToken, Progress
from napari_resunet.types import LabelArray

MIN_IOU = 0.25
MIN_SHARE = 0.75
"""Of the smaller object that lies in the other: an object's ends are much smaller than what
comes next, so that their IoU says nothing."""

GAP = 1
"""Slices in which an object may be missing."""


Numbers = npt.NDArray[np.int64]
Overlap = tuple[Numbers, Numbers, Numbers]
"""Positions of objects in two slices that overlap, and how many pixels they share."""


@dataclass(eq=False)
class _Slice:
    """The objects of a slice, their numbers in the stack, and which go on later."""

    place: int
    objects: Objects
    numbers: Numbers
    continued: npt.NDArray[np.bool_]


class _Chain:
    """Gives the objects of one slice after the other their numbers."""

    def __init__(self, divide: bool) -> None:
        self._divide = divide
        self._recent: deque[_Slice] = deque(maxlen=GAP + 1)
        self._n_slices = 0
        self.n_objects = 0

    def add(self, objects: Objects, pairs_with: Callable[[_Slice], Pairs]) -> Numbers:
        """Give the objects of the next slice their numbers."""
        candidates = [(earlier, pairs_with(earlier)) for earlier in self._recent]
        numbers = _continued(candidates, objects, self._divide)
        new = numbers == 0
        numbers[new] = self.n_objects + 1 + np.arange(new.sum())
        self.n_objects += int(new.sum())
        nowhere = np.zeros(numbers.size, bool)
        self._recent.appendleft(_Slice(self._n_slices, objects, numbers, nowhere))
        self._n_slices += 1
        return numbers


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
    chain = _Chain(divide)
    for k, plane in enumerate(labels):
        if token is not None and token.cancelled:
            raise Cancelled("Linking was cancelled.")
        objects = objects_of(plane)
        numbers = chain.add(objects, partial(_overlaps, objects))
        linked[k] = _painted(objects, numbers.astype(np.int32)).reshape(plane.shape)
        yield Progress(k + 1, len(labels), f"linking slice {k + 1} of {len(labels)}")
    return linked


def _overlaps(objects: Objects, earlier: _Slice) -> Pairs:
    return overlaps(earlier.objects, objects)


def link_tables(
    areas: Iterable[Numbers], overlap: Callable[[int, int], Overlap], divide: bool = False
) -> tuple[list[Numbers], int]:
    """Link slices that are not in memory, of which only areas and overlaps are known.

    Parameters
    ----------
    areas : iterable of int array
        Pixels of each object of a slice, in the order of the labels; slice by slice.
    overlap : callable
        Gets two slices, the earlier one first, and returns which of their objects overlap.
    divide : bool
        As in `link_slices`.

    Returns
    -------
    numbers : list of int array
        For each slice the numbers of its objects, as `link_slices` gives them.
    n_objects : int
        How many objects there are.
    """
    chain, found = _Chain(divide), list[Numbers]()
    for k, sizes in enumerate(areas):
        objects = Objects(np.arange(len(sizes)), np.zeros(0, np.intp), sizes)
        found.append(chain.add(objects, partial(_tabled, overlap, k, objects)))
    return found, chain.n_objects


def _tabled(
    overlap: Callable[[int, int], Overlap], k: int, objects: Objects, earlier: _Slice
) -> Pairs:
    rows, columns, n_shared = overlap(earlier.place, k)
    union = earlier.objects.areas[rows] + objects.areas[columns] - n_shared
    return Pairs(earlier.objects.ids, objects.ids, rows, columns, n_shared / union)


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
    candidates: list[tuple[_Slice, Pairs]], objects: Objects, divide: bool
) -> Numbers:
    """Return the number of the object that each one continues; 0 if it is new."""
    numbers = np.zeros(len(objects.ids), np.int64)
    for is_near in (_by_iou, _by_share):
        for earlier, pairs in candidates:
            free = ~earlier.continued[pairs.rows] & (numbers[pairs.columns] == 0)
            near = is_near(pairs, earlier.objects, objects)
            hits = one_to_one(pairs, np.flatnonzero(free & near), _heaviest)
            numbers[pairs.columns[hits]] = earlier.numbers[pairs.rows[hits]]
            earlier.continued[pairs.rows[hits]] = True
    if divide and candidates:
        _end_divided(*candidates[0], objects, numbers)
    return numbers


def _end_divided(earlier: _Slice, pairs: Pairs, objects: Objects, numbers: Numbers) -> None:
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


def _heaviest(pairs: Pairs, few: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Choose among pairs, so that no object is in two and the sum of IoU is the highest.

    The solver wants a partner for each row, so each gets a column of its own to fall back
    on. Each edge weighs 1 more, because it takes 0 for no edge.
    """
    rows, columns = (
        np.unique(places[few], return_inverse=True)[1]
        for places in (pairs.rows, pairs.columns)
    )
    every, n_columns = np.arange(rows.max() + 1), columns.max() + 1
    edges = np.append(rows, every), np.append(columns, n_columns + every)
    weights = np.append(1 + pairs.iou[few], np.ones(len(every)))
    shape = len(every), n_columns + len(every)
    graph = sparse.csr_array((weights, edges), shape)
    _, partners = min_weight_full_bipartite_matching(graph, maximize=True)
    return few[partners[rows] == columns]


def _painted(objects: Objects, numbers: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the number at each pixel."""
    return np.append(numbers, np.int32(0))[np.maximum(objects.places, -1)]
