"""All corrected regions of this run of the program, each as it was last learned from.

Kept in memory; the same records are what a folder on disk would hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.types import Example, MaskArray

Key = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class Correction:
    """One plane's corrected region.

    Attributes
    ----------
    image_id : str
        Which image.
    index : tuple of int
        Which plane of it.
    window : tuple of slice
        Rows and columns of the crop in image pixels.
    labels : int32 array, shape of the window
        Copied from the layer.
    checked, touched : bool array, shape of the window
        Where the user vouches for, and where they changed, the labels.
    """

    image_id: str
    index: tuple[int, ...]
    window: tuple[slice, slice]
    labels: npt.NDArray[np.int32]
    checked: MaskArray
    touched: MaskArray

    @property
    def n_objects(self) -> int:
        """Objects with a checked pixel."""
        return int(np.count_nonzero(np.unique(self.labels[self.checked])))


class CorrectionLog:
    """The training set so far: one example for each corrected plane of each image."""

    def __init__(self) -> None:
        self._examples: dict[Key, Example] = {}

    def record(self, correction: Correction, example: Example) -> None:
        """Keep a correction with its image crop; a later one of the same plane replaces it.

        Parameters
        ----------
        correction : Correction
            Whose plane it is.
        example : Example
            What to learn from it.
        """
        key = (correction.image_id, correction.index)
        self._examples.pop(key, None)
        self._examples[key] = example

    def examples(self) -> list[Example]:
        """List all, the latest last."""
        return list(self._examples.values())

    def __len__(self) -> int:
        return len(self._examples)


def as_example(correction: Correction, image: npt.NDArray[Any], **known: Any) -> Example:
    """Join a correction with its image crop.

    Parameters
    ----------
    correction : Correction
        Labels and masks.
    image : array, shape of the window and channels
        The crop.
    **known
        ``scale`` and ``statistics`` of the whole image.

    Returns
    -------
    Example
    """
    return Example(
        image, correction.labels, correction.checked, correction.touched, **known
    )
