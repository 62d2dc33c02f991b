"""How good labels are: object matching for instances, Dice for classes.

Average precision as in the Data Science Bowl 2018 and StarDist: TP / (TP + FP + FN) at an
IoU threshold (Caicedo et al. 2019, https://doi.org/10.1038/s41592-019-0612-7), with
one-to-one matching that maximizes the total IoU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components

THRESHOLDS = tuple(np.arange(0.5, 0.81, 0.05))
EDIT_IOU = 0.7
"""A matched object with a lower IoU would have to be corrected."""


@dataclass(frozen=True)
class Score:
    """Comparison of labels with the truth.

    Attributes
    ----------
    ap50, ap75 : float
        TP / (TP + FP + FN) at IoU 0.5 and 0.75; 1 if both have no objects.
    f1 : float
        2 TP / (2 TP + FP + FN) at IoU 0.5.
    mean_iou : float
        Mean IoU of the pairs matched at 0.5; 0 if there are none.
    edits : int
        Missed objects, false objects, and matched objects with an IoU below 0.7.
    n_true, n_found : int
        Number of objects.
    matched : tuple of (int, int, float)
        True label, found label, and IoU of each pair matched at 0.5.
    """

    ap50: float
    ap75: float
    f1: float
    mean_iou: float
    edits: int
    n_true: int
    n_found: int
    matched: tuple[tuple[int, int, float], ...]


def score(true_labels: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Score:
    """Compare objects with the truth; 0 is background.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    pairs = overlapping_pairs(true_labels, labels)
    rows, columns, matched = _match(pairs, 0.5)
    tp50, tp75, tp_edit = (len(_match(pairs, t)[0]) for t in (0.5, 0.75, EDIT_IOU))
    n_true, n_found = pairs.shape
    total = n_true + n_found
    return Score(
        ap50=_ratio(tp50, total - tp50),
        ap75=_ratio(tp75, total - tp75),
        f1=_ratio(2 * tp50, total),
        mean_iou=float(matched.mean()) if matched.size else 0.0,
        edits=(tp50 - tp_edit) + (n_true - tp50) + (n_found - tp50),
        n_true=n_true,
        n_found=n_found,
        matched=tuple(
            (int(pairs.true_ids[r]), int(pairs.found_ids[c]), float(iou))
            for r, c, iou in zip(rows, columns, matched, strict=True)
        ),
    )


@dataclass(frozen=True)
class Tolerance:
    """Objects to score leniently, because their outline is not known exactly.

    Attributes
    ----------
    accepted : integer array or None
        True labels that were proposed and left unchanged. They prove that there is an
        object, not where its outline is, so from IoU 0.5 they match at every threshold.
    cut_true, cut_found : integer array
        Labels cut off by the edge of the known area. They do not count, nor does what
        they match.
    """

    accepted: npt.NDArray[Any] | None
    cut_true: npt.NDArray[Any]
    cut_found: npt.NDArray[Any]


def mean_ap(
    true_labels: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    tolerance: Tolerance | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
) -> float:
    """Average TP / (TP + FP + FN) over IoU thresholds of at least 0.5."""
    pairs = overlapping_pairs(true_labels, labels)
    if tolerance is not None:
        pairs = _apply(tolerance, pairs)
    hits = [len(_match(pairs, t)[0]) for t in thresholds]
    total = sum(pairs.shape)
    return float(np.mean([_ratio(tp, total - tp) for tp in hits]))


def count_found(
    true_labels: npt.NDArray[Any], labels: npt.NDArray[Any], ignored: npt.NDArray[Any]
) -> tuple[int, int]:
    """Count the true objects that are found (IoU of 0.5 or more), and all of them.

    The true labels in `ignored` do not count.
    """
    pairs = overlapping_pairs(true_labels, labels)
    counts = ~np.isin(pairs.true_ids, ignored)
    rows, _, _ = _match(pairs, 0.5)
    return int(counts[rows].sum()), int(counts.sum())


def links_kept(true_labels: npt.NDArray[Any], labels: npt.NDArray[Any]) -> tuple[int, int]:
    """Count the links between consecutive frames that are right, and all of them.

    A true object that is there in two consecutive frames is a link. It is right if the
    objects found in its place (IoU of 0.5 or more) have one number in both frames.

    Parameters
    ----------
    true_labels, labels : integer arrays, shape (n_frames, …, Y, X)
        Numbers are those of tracks; 0 is background.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    pairs = map(overlapping_pairs, true_labels, labels)
    frames = [(set(p.true_ids.tolist()), _partners(p)) for p in pairs]
    right = total = 0
    for (before, was), (after, now) in pairwise(frames):
        links = before & after
        total += len(links)
        right += sum(i in was and was[i] == now.get(i) for i in links)
    return right, total


def _partners(pairs: Pairs) -> dict[int, int]:
    rows, columns, _ = _match(pairs, 0.5)
    true, found = pairs.true_ids[rows], pairs.found_ids[columns]
    return dict(zip(true.tolist(), found.tolist(), strict=True))


def _apply(tolerance: Tolerance, pairs: Pairs) -> Pairs:
    iou = pairs.iou
    if tolerance.accepted is not None:
        accepted = np.isin(pairs.true_ids, tolerance.accepted)[pairs.rows]
        iou = np.where(accepted & (iou >= 0.5), 1.0, iou)
        pairs = replace(pairs, iou=iou)
    true = ~np.isin(pairs.true_ids, tolerance.cut_true)
    found = ~np.isin(pairs.found_ids, tolerance.cut_found)
    rows, columns, _ = _match(pairs, 0.5)
    true[rows] = found[columns] = true[rows] & found[columns]
    keep = true[pairs.rows] & found[pairs.columns]
    # Positions of the remaining objects.
    rows, columns = np.cumsum(true) - 1, np.cumsum(found) - 1
    return Pairs(
        pairs.true_ids[true],
        pairs.found_ids[found],
        rows[pairs.rows[keep]],
        columns[pairs.columns[keep]],
        iou[keep],
    )


def dice(
    true_labels: npt.NDArray[Any], labels: npt.NDArray[Any], n_classes: int
) -> tuple[float, ...]:
    """Compute Dice for each class but the background; 1 if a class is in neither."""
    pairs = [(true_labels == c, labels == c) for c in range(1, n_classes)]
    return tuple(
        _ratio(2 * int((a & b).sum()), int(a.sum()) + int(b.sum())) for a, b in pairs
    )


@dataclass(frozen=True)
class Pairs:
    """The objects of two label images, and the pairs that overlap.

    Attributes
    ----------
    true_ids, found_ids : arrays, shape (n_true,) and (n_found,)
        Labels of the objects.
    rows, columns : int arrays, shape (n_pairs,)
        Positions of each pair in `true_ids` and `found_ids`.
    iou : float64 array, shape (n_pairs,)
        Intersection over union, above 0.
    """

    true_ids: npt.NDArray[Any]
    found_ids: npt.NDArray[Any]
    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]
    iou: npt.NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of true and of found objects."""
        return len(self.true_ids), len(self.found_ids)


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of a label image.

    Attributes
    ----------
    ids : integer array, shape (n,)
        Their labels, ascending.
    places : int array, one for each pixel
        Position in `ids`; negative in the background.
    areas : int array, shape (n,)
        Pixels of each.
    """

    ids: npt.NDArray[Any]
    places: npt.NDArray[np.intp]
    areas: npt.NDArray[np.intp]


def overlapping_pairs(true_labels: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Pairs:
    """Compute the IoU of each pair of objects that overlap, in memory for these only.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if true_labels.shape != labels.shape:
        raise ValueError(f"Shapes differ: {true_labels.shape} and {labels.shape}.")
    return overlaps(objects_of(true_labels), objects_of(labels))


def overlaps(true: Objects, found: Objects) -> Pairs:
    """Compute what `overlapping_pairs` does, of objects of images of the same shape."""
    both = (true.places >= 0) & (found.places >= 0)
    codes, overlap = np.unique(
        true.places[both] * len(found.ids) + found.places[both], return_counts=True
    )
    rows, columns = np.divmod(codes, max(1, len(found.ids)))
    union = true.areas[rows] + found.areas[columns] - overlap
    return Pairs(true.ids, found.ids, rows, columns, overlap / union)


def objects_of(labels: npt.NDArray[Any]) -> Objects:
    """List the objects of a label image; 0 and below is background."""
    flat = labels.ravel()
    # Counting takes a fiftieth of the time of sorting, but memory for the largest label.
    if flat.size and flat.min() >= 0 and flat.max() <= flat.size:
        counts = np.bincount(flat.astype(np.intp, copy=False))
        ids = np.flatnonzero(counts[1:]) + 1
        places = np.full(counts.size, -1)
        places[ids] = np.arange(ids.size)
        return Objects(ids, places[flat], counts[ids])
    ids, places, areas = np.unique(flat, return_inverse=True, return_counts=True)
    n_background = int((ids <= 0).sum())
    return Objects(ids[n_background:], places - n_background, areas[n_background:])


def _match(
    pairs: Pairs, threshold: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Match one to one: as many pairs over the threshold as possible, then highest IoU.

    Returns positions in `true_ids` and `found_ids`, and the IoU.
    """
    hits = one_to_one(pairs, np.flatnonzero(pairs.iou >= threshold), _best)
    return pairs.rows[hits], pairs.columns[hits], pairs.iou[hits]


def one_to_one(
    pairs: Pairs,
    chosen: npt.NDArray[np.intp],
    best: Callable[[Pairs, npt.NDArray[np.intp]], npt.NDArray[np.intp]],
) -> npt.NDArray[np.intp]:
    """Choose among pairs so that no object is in two.

    Parameters
    ----------
    pairs : Pairs
        All pairs.
    chosen : int array
        Positions of those that are possible.
    best : callable
        Chooses among the positions of a few pairs that share objects.

    Returns
    -------
    int array
        Positions in `pairs`.
    """
    rows, columns = pairs.rows[chosen], pairs.columns[chosen]
    # Nearly every object overlaps only one other; time grows with the square of the rest.
    one = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    groups = _groups(pairs, chosen[~one])
    return np.concatenate([chosen[one], *(best(pairs, few) for few in groups)])


def _groups(pairs: Pairs, chosen: npt.NDArray[np.intp]) -> list[npt.NDArray[np.intp]]:
    """Divide the chosen pairs into groups that share no object."""
    if not chosen.size:
        return []
    n_true, n_found = pairs.shape
    edges = pairs.rows[chosen], n_true + pairs.columns[chosen]
    graph = sparse.coo_array((np.ones(chosen.size), edges), (n_true + n_found,) * 2)
    group = connected_components(graph, directed=False)[1][edges[0]]
    order = np.argsort(group, kind="stable")
    return np.split(chosen[order], np.flatnonzero(np.diff(group[order])) + 1)


def _best(pairs: Pairs, few: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Choose as many pairs without a common object as possible, with the highest IoU."""
    rows, columns = (
        np.unique(places[few], return_inverse=True)[1]
        for places in (pairs.rows, pairs.columns)
    )
    gain = np.zeros((rows.max() + 1, columns.max() + 1))
    gain[rows, columns] = 1.0 + pairs.iou[few] / (2 * few.size)
    matched = np.full(len(gain), -1)
    places = linear_sum_assignment(gain, maximize=True)
    matched[places[0]] = places[1]
    return few[matched[rows] == columns]


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
