"""Finds the cells of a film that divide, by how their daughters overlap them.

Labels hold no parents, so these are found again wherever they are needed, in the labels as
the user corrected them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.engine.metrics import Objects, Pairs, objects_of, overlaps

MIN_INSIDE = 0.35
"""Of a daughter that lies where its parent was."""

MIN_RATIO = 0.5
"""Of the areas of two daughters, the smaller to the larger."""

MAX_AREA = 0.75
"""Of the larger daughter, as a fraction of its parent. A neighbour that comes near leaves
the other cell as large as it was."""

MIN_COVERED = 0.25
"""IoU of a parent with both of its daughters."""

Division = tuple[int, tuple[int, int]]
"""The position of a parent, and those of its daughters."""


def divisions(
    pairs: Pairs, first: Objects, second: Objects, possible: npt.NDArray[np.bool_]
) -> Iterator[Division]:
    """Yield the objects of a frame that divide into two of the next frame.

    Parameters
    ----------
    pairs : Pairs
        What overlaps.
    first, second : Objects
        The objects of both frames.
    possible : bool array, shape (n_pairs,)
        The pairs that may be a parent and its daughter.
    """
    overlap = pairs.iou * (first.areas[pairs.rows] + second.areas[pairs.columns])
    overlap = overlap / (1 + pairs.iou)
    inside = possible & (overlap >= MIN_INSIDE * second.areas[pairs.columns])
    rows, counts = np.unique(pairs.rows[inside], return_counts=True)
    for row in rows[counts > 1].tolist():
        here = np.flatnonzero(inside & (pairs.rows == row))
        two = here[np.argsort(-overlap[here], kind="stable")[:2]]
        columns = pairs.columns[two]
        if _is_division(int(first.areas[row]), second.areas[columns], overlap[two]):
            one, other = columns.tolist()
            yield row, (one, other)


def _is_division(
    parent: int, daughters: npt.NDArray[np.intp], overlap: npt.NDArray[np.float64]
) -> bool:
    both = float(overlap.sum())
    covered = both / (parent + int(daughters.sum()) - both)
    return bool(
        daughters.min() >= MIN_RATIO * daughters.max()
        and daughters.max() <= MAX_AREA * parent
        and covered >= MIN_COVERED
    )


def parents_of(frames: npt.NDArray[Any]) -> dict[int, int]:
    """Find the parent of each track that begins with a division.

    Parameters
    ----------
    frames : integer array, shape (n_frames, …, Y, X)
        An object has the number of its track, and 0 and below is
        background.

    Returns
    -------
    dict
        The number of the parent of each daughter. A parent ends in the frame before its
        daughters begin.
    """
    ids = [objects_of(frame).ids for frame in frames]
    before, after = _ever(ids), _ever(ids[::-1])[::-1]
    parents: dict[int, int] = {}
    for time in range(len(ids) - 1):
        ended = np.setdiff1d(ids[time], after[time + 1])
        begun = np.setdiff1d(ids[time + 1], before[time])
        if len(ended) and len(begun) > 1:
            parents |= _parents(frames[time], frames[time + 1], ended, begun)
    return parents


def _parents(
    frame: npt.NDArray[Any],
    following: npt.NDArray[Any],
    ended: npt.NDArray[Any],
    begun: npt.NDArray[Any],
) -> dict[int, int]:
    """Find the parents of tracks that begin among those that end."""
    first, second = objects_of(frame), objects_of(following)
    pairs = overlaps(first, second)
    possible = np.isin(first.ids, ended)[pairs.rows]
    possible &= np.isin(second.ids, begun)[pairs.columns]
    return {
        int(second.ids[column]): int(first.ids[row])
        for row, daughters in divisions(pairs, first, second, possible)
        for column in daughters
    }


def _ever(ids: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """Return for each frame the labels that were in it, or in one before it."""
    seen = [ids[0]] if ids else []
    for here in ids[1:]:
        seen.append(np.union1d(seen[-1], here))
    return seen
