"""How good labels are: object matching for instances, Dice for classes.

Average precision as in the Data Science Bowl 2018 and StarDist:
TP / (TP + FP + FN) at a threshold on the intersection over union (IoU)
(Caicedo et al. 2019, https://doi.org/10.1038/s41592-019-0612-7), one-to-one
matching of greatest total.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

EDIT_IOU = 0.7
"""An object matched less well than this would have to be corrected."""


@dataclass(frozen=True)
class Score:
    """The comparison of labels with the truth.

    Attributes
    ----------
    ap50, ap75 : float
        TP / (TP + FP + FN) at IoU 0.5 and 0.75; 1 where both are empty.
    f1 : float
        2 TP / (2 TP + FP + FN) at IoU 0.5.
    mean_iou : float
        Mean IoU of the pairs matched at 0.5; 0 without any.
    edits : int
        Missed plus false objects, an object of IoU under 0.7 counting as one.
    n_true, n_found : int
        Number of objects.
    matched : tuple of (int, int, float)
        True label, found label and IoU of each pair matched at 0.5.
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
    """Compare instance labels with the truth.

    Parameters
    ----------
    true_labels, labels : integer arrays of equal shape
        Objects; 0 is background.

    Returns
    -------
    Score

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    iou, true_ids, found_ids = iou_matrix(true_labels, labels)
    rows, columns = _match(iou, 0.5)
    tp50, tp75 = len(rows), len(_match(iou, 0.75)[0])
    tp_edit = len(_match(iou, EDIT_IOU)[0])
    n_true, n_found = iou.shape
    total = n_true + n_found
    matched = iou[rows, columns]
    return Score(
        ap50=_ratio(tp50, total - tp50),
        ap75=_ratio(tp75, total - tp75),
        f1=_ratio(2 * tp50, total),
        mean_iou=float(matched.mean()) if matched.size else 0.0,
        edits=(tp50 - tp_edit) + (n_true - tp50) + (n_found - tp50),
        n_true=n_true,
        n_found=n_found,
        matched=tuple(
            (int(true_ids[r]), int(found_ids[c]), float(iou[r, c]))
            for r, c in zip(rows, columns, strict=True)
        ),
    )


@dataclass(frozen=True)
class Rough:
    """Objects whose outline is not exactly known.

    Attributes
    ----------
    let_pass : integer array or None
        True labels that are proposals which a user let pass: they say that an object is
        there, not where its outline is exactly. From IoU 0.5 on they hit every threshold.
    cut_true, cut_found : integer array
        Labels cut by the edge of what is known: not counted, nor what they hit.
    """

    let_pass: npt.NDArray[Any] | None
    cut_true: npt.NDArray[Any]
    cut_found: npt.NDArray[Any]


def mean_ap(
    true_labels: npt.NDArray[Any], labels: npt.NDArray[Any], rough: Rough | None = None
) -> float:
    """Average TP / (TP + FP + FN) over the IoU thresholds 0.5, 0.55 … 0.8.

    Parameters
    ----------
    true_labels, labels : integer arrays of equal shape
        Objects; 0 is background.
    rough : Rough or None
        Objects to judge less strictly.

    Returns
    -------
    float
        0 to 1.
    """
    iou, true_ids, found_ids = iou_matrix(true_labels, labels)
    if rough is not None:
        iou = _eased(iou, true_ids, found_ids, rough)
    hits = [len(_match(iou, t)[0]) for t in np.arange(0.5, 0.81, 0.05)]
    total = sum(iou.shape)
    return float(np.mean([_ratio(tp, total - tp) for tp in hits]))


def _eased(
    iou: npt.NDArray[np.float64],
    true_ids: npt.NDArray[Any],
    found_ids: npt.NDArray[Any],
    rough: Rough,
) -> npt.NDArray[np.float64]:
    if rough.let_pass is not None:
        let_pass = np.isin(true_ids, rough.let_pass)[:, None] & (iou >= 0.5)
        iou = np.where(let_pass, 1.0, iou)
    rows, columns = ~np.isin(true_ids, rough.cut_true), ~np.isin(found_ids, rough.cut_found)
    for row, column in zip(*_match(iou, 0.5), strict=True):
        rows[row] = columns[column] = rows[row] and columns[column]
    return iou[np.ix_(rows, columns)]


def dice(
    true_labels: npt.NDArray[Any], labels: npt.NDArray[Any], n_classes: int
) -> tuple[float, ...]:
    """Compute Dice for each class but the background.

    Parameters
    ----------
    true_labels, labels : integer arrays of equal shape
        Class values.
    n_classes : int
        Background included.

    Returns
    -------
    tuple of float
        2 |A∩B| / (|A|+|B|) for the classes 1, 2 …; 1 where both are empty.
    """
    pairs = [(true_labels == c, labels == c) for c in range(1, n_classes)]
    return tuple(
        _ratio(2 * int((a & b).sum()), int(a.sum()) + int(b.sum())) for a, b in pairs
    )


def iou_matrix(
    true_labels: npt.NDArray[Any], labels: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[Any], npt.NDArray[Any]]:
    """Compute the IoU of every pair of objects.

    Parameters
    ----------
    true_labels, labels : integer arrays of equal shape
        Objects; 0 is background.

    Returns
    -------
    iou : float64 array, shape (n_true, n_found)
    true_ids, found_ids : arrays
        The labels of the rows and columns.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if true_labels.shape != labels.shape:
        raise ValueError(f"Shapes differ: {true_labels.shape} and {labels.shape}.")
    true_ids, rows = np.unique(true_labels, return_inverse=True)
    found_ids, columns = np.unique(labels, return_inverse=True)
    shape = (len(true_ids), len(found_ids))
    flat = np.ravel_multi_index((rows.ravel(), columns.ravel()), shape)
    overlap = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)
    union = overlap.sum(1, keepdims=True) + overlap.sum(0, keepdims=True) - overlap
    keep = np.ix_(true_ids > 0, found_ids > 0)
    return (overlap[keep] / union[keep]), true_ids[true_ids > 0], found_ids[found_ids > 0]


def _match(
    iou: npt.NDArray[np.float64], threshold: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Match one to one: most pairs over the threshold first, then greatest total IoU."""
    valid = iou >= threshold
    rows, columns = linear_sum_assignment(
        -(valid * (1.0 + iou / (2 * max(iou.shape, default=1) + 1)))
    )
    hit = valid[rows, columns]
    return rows[hit], columns[hit]


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
