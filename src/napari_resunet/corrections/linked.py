"""Gives linked objects of a stack one number, and never renumbers an object of the user."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.masks import fits_table
from napari_resunet.types import LabelArray, MaskArray


@dataclass(frozen=True, eq=False)
class _Plane:
    """The labels of a plane, the track of each, and whether it is the user's."""

    labels: npt.NDArray[Any]
    tracks: npt.NDArray[Any]
    protected: MaskArray

    def objects(self) -> list[tuple[int, int, bool]]:
        """List (label, track, whether it is the user's), without background."""
        known = zip(
            self.labels.tolist(), self.tracks.tolist(), self.protected.tolist(), strict=True
        )
        return [(label, track, own) for label, track, own in known if label > 0]


def with_linked_numbers(
    labels: LabelArray, linked: LabelArray, protected: MaskArray
) -> LabelArray:
    """Give linked objects one number; those that the user edited or verified keep theirs.

    Parameters
    ----------
    labels : int32 array, shape (n_planes, Y, X)
        Labels now; 0 and below is background.
    linked : int32 array, same shape
        The same objects, with one number for those that are one object.
    protected : bool array, same shape
        What the user edited or verified. An object with such a pixel keeps its number.

    Returns
    -------
    int32 array, same shape
        Linked objects have the number of the user's object among them, or else the number
        that the first of them has, or a new one if that is another object's. Objects of a
        plane stay apart.
    """
    planes = [_plane(*arrays) for arrays in zip(labels, linked, protected, strict=True)]
    names = _names(planes)
    result = labels.copy()
    for plane, pixels in zip(planes, result, strict=True):
        moved = [(label, names[track]) for label, track, own in plane.objects() if not own]
        if moved:
            table = np.arange(int(pixels.max()) + 1, dtype=np.int32)
            before, after = zip(*moved, strict=True)
            table[list(before)] = after
            pixels[...] = table[pixels]
    return result


def _plane(labels: LabelArray, linked: LabelArray, protected: MaskArray) -> _Plane:
    if not fits_table(labels):  # no model proposes such numbers, so they are the user's
        found, first = np.unique(labels, return_index=True)
        return _Plane(found, linked.ravel()[first], np.ones(len(found), bool))
    counts = np.bincount(labels.ravel())
    tracks, owned = np.zeros(counts.size, np.int64), np.zeros(counts.size, bool)
    tracks[labels] = linked
    owned[labels[protected]] = True
    present = np.flatnonzero(counts)
    return _Plane(present, tracks[present], owned[present])


def _names(planes: list[_Plane]) -> dict[int, int]:
    """Choose the number of each track."""
    objects: list[tuple[int, int, bool]] = [x for plane in planes for x in plane.objects()]
    owners: dict[int, set[int]] = defaultdict(set)
    for label, track, own in objects:
        if own:
            owners[label].add(track)
    names: dict[int, int] = {}
    for label, track, own in objects:
        if own and len(owners[label]) == 1:
            names.setdefault(track, label)
    used = set(owners)
    free = max((label for label, _, _ in objects), default=0) + 1
    for label, track, _ in objects:
        if track in names:
            continue
        if label in used:
            label, free = free, free + 1
        names[track] = label
        used.add(label)
    return names
