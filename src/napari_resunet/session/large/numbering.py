"""The numbers of objects in a part of a large image that was corrected."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.masks import fits_table, numbers_in


def number_part(
    labels: npt.NDArray[Any], before: npt.NDArray[Any], highest: int
) -> tuple[npt.NDArray[np.uint32], int]:
    """Give new objects numbers that no other object of the image ever had.

    Parameters
    ----------
    labels : integer array, shape (Y, X)
        The part now; 0 is background, no label is negative.
    before : integer array, shape (Y, X)
        The part as it was: objects of these numbers keep them.
    highest : int
        The highest number that an object of the image ever had.

    Returns
    -------
    labels : uint32 array, shape (Y, X)
    highest : int
        The same after that.
    """
    numbers = numbers_in(labels)
    new = ~np.isin(numbers, numbers_in(before))
    names = numbers.copy()
    names[new] = highest + 1 + np.arange(np.count_nonzero(new))
    return _renamed(labels, numbers, names), highest + int(np.count_nonzero(new))


def _renamed(
    labels: npt.NDArray[Any],
    numbers: npt.NDArray[np.int64],
    names: npt.NDArray[np.int64],
) -> npt.NDArray[np.uint32]:
    if fits_table(labels):
        table = np.zeros(int(labels.max(initial=0)) + 1, np.uint32)
        table[numbers] = names
        found: npt.NDArray[np.uint32] = table[labels]
        return found
    every = np.append(0, names).astype(np.uint32)
    return every[np.where(labels == 0, 0, np.searchsorted(numbers, labels) + 1)]
