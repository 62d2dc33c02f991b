"""Masks of other tools as labels: the only module that knows what mask files look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import CorrectionError
from napari_resunet.types import MAX_MAPS, LabelArray, Task

TABLE_SIZE = 2**16
"""Labels may always be this large, because a table of as many entries is cheap."""


@dataclass(frozen=True, eq=False)
class MaskLabels:
    """Labels made from a mask.

    Attributes
    ----------
    labels : int32 array, shape (Y, X)
        Objects numbered from 1, or classes; 0 is background.
    notice : str
        What was changed, in one sentence; may be empty.
    """

    labels: LabelArray
    notice: str = ""


def labels_from_mask(
    mask: npt.ArrayLike, task: Task = "instances", n_classes: int | None = None
) -> MaskLabels:
    """Turn a mask into labels, or say why it cannot be one.

    Parameters
    ----------
    mask : array, shape (Y, X), (Y, X, 1), or (Y, X, 3 or 4) with equal colours
        Any numeric dtype. Fractions, infinities, and negative numbers are refused; NaN is
        background.
    task : {"instances", "classes"}
        Whether each number is an object or a class. A binary mask of objects is split
        into its connected components.
    n_classes : int or None
        For ``classes``, the number of classes, background included.

    Raises
    ------
    CorrectionError
        If the mask is not a labels image.
    """
    numbers = _whole_numbers(_plane(np.asarray(mask)))
    if task == "classes":
        return MaskLabels(_classes(numbers, n_classes))
    return _objects(numbers)


def fits_table(labels: npt.NDArray[Any]) -> bool:
    """Return whether no label is negative or too large to be the index of a small table."""
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    return low >= 0 and high <= max(labels.size, TABLE_SIZE)


BAND = 2**20
"""Pixels that are compared at once."""


def numbers_in(labels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """List the labels in use, ascending, without 0."""
    flat = labels.ravel()
    # Looking at the first pixel of each run only is several times as fast.
    starts = [flat[:1]]
    for first in range(0, flat.size, BAND):
        band = flat[max(0, first - 1) : first + BAND]
        starts.append(band[1:][band[1:] != band[:-1]])
    found = np.concatenate(starts)
    if not fits_table(found):
        return np.unique(found[found != 0]).astype(np.int64)
    there = np.zeros(int(found.max(initial=0)) + 1, bool)
    there[found] = True
    there[0] = False
    return np.flatnonzero(there)


def compact(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Set negative labels to 0, and renumber objects that would not fit a small table."""
    objects = np.maximum(labels, 0)
    if fits_table(objects):
        return objects
    values, places = np.unique(objects, return_inverse=True)
    # Without background the first value is an object.
    return places.reshape(objects.shape) + int(values[0] > 0)


def _plane(mask: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the only plane of a mask."""
    if mask.ndim == 3 and mask.shape[-1] in (3, 4):
        colours = mask[..., :3]
        if (colours == colours[..., :1]).all():
            return colours[..., 0]
        raise CorrectionError(
            "The mask is a colour picture: save it as a labels image, in which each "
            "object (or class) has its own whole number and 0 is background."
        )
    if mask.ndim > 2:
        mask = mask.reshape([n for n in mask.shape if n > 1] or [1, 1])
    if mask.ndim != 2:
        raise CorrectionError(
            f"The mask has the shape {mask.shape}: give the labels of one plane, with "
            "rows and columns only."
        )
    return mask


def _whole_numbers(mask: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if mask.dtype.kind not in "buif":
        raise CorrectionError(f"The mask holds {mask.dtype}, not whole numbers.")
    if mask.dtype.kind == "f":
        known = np.where(np.isnan(mask), 0, mask)
        if mask.size and np.isnan(mask).all():
            raise CorrectionError("The mask holds no numbers at all: choose another one.")
        if not np.isfinite(known).all() or (known != np.floor(known)).any():
            raise CorrectionError(
                "The mask holds fractions or infinities, not labels: if they are "
                "probabilities, apply a threshold first."
            )
        mask = known
    if mask.size and mask.min() < 0:
        raise CorrectionError(
            f"The mask holds negative labels (down to {mask.min():g}): set them to 0 "
            "(background), or leave out what is not annotated."
        )
    return mask


def _classes(numbers: npt.NDArray[Any], n_classes: int | None) -> LabelArray:
    most = int(numbers.max(initial=0))
    if most >= (n := n_classes or MAX_MAPS):
        raise CorrectionError(
            f"The mask holds the class {most}, but there can only be the background (0) "
            f"and {n - 1} classes: correct the mask, or name more classes."
        )
    return numbers.astype(np.int32)


def _objects(numbers: npt.NDArray[Any]) -> MaskLabels:
    from skimage.measure import label

    values = np.unique(numbers[numbers > 0])
    if len(values) == 1:
        pieces = label(numbers > 0, connectivity=1)
        if (n := int(pieces.max(initial=0))) > 1:
            return MaskLabels(
                pieces.astype(np.int32),
                f"The mask is binary: its {n} connected pieces were taken as {n} objects.",
            )
    return MaskLabels(compact(numbers).astype(np.int32))
