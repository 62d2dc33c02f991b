"""The corrected regions of the session, as they were last learned from, in memory.

``session/store/corrections.py`` stores them on disk.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_resunet.corrections.object_edits import count_objects
from napari_resunet.corrections.review import ReviewMask
from napari_resunet.errors import CorrectionError
from napari_resunet.types import Example, Index, LabelArray, MaskArray, Window
from napari_resunet.windows import bounding_window, overlap, relative

Key = tuple[str, Index]


@dataclass(frozen=True)
class Correction:
    """The corrected region of one plane.

    Attributes
    ----------
    image_id : str
        Key of the image.
    index : tuple of int
        Position of the plane in the stack.
    window : tuple of slice
        Rows and columns of the crop in image pixels.
    labels : int32 array, shape of the window
        A copy of the labels.
    verified, edited : bool array, shape of the window
        The pixels that the user verified, and those that the user changed.
    """

    image_id: str
    index: Index
    window: Window
    labels: LabelArray
    verified: MaskArray
    edited: MaskArray

    @property
    def key(self) -> Key:
        """Image and plane."""
        return self.image_id, self.index

    @property
    def n_objects(self) -> int:
        """Number of objects with a verified pixel."""
        return count_objects(self.labels[self.verified])

    @property
    def n_edited(self) -> int:
        """Number of objects with a verified pixel that the user changed."""
        return count_objects(self.labels[self.verified & self.edited])

    @property
    def n_areas(self) -> int:
        """Number of separate verified areas."""
        return count_areas(self.verified)

    def verified_in(self, window: Window) -> MaskArray:
        """Return the verified mask in another window of the plane."""
        mask = np.zeros([s.stop - s.start for s in window], bool)
        common = overlap(self.window, window)
        mask[relative(common, window)] = self.verified[relative(common, self.window)]
        return mask


class CorrectionLog:
    """The training set so far: one example per corrected plane of each image.

    Attributes
    ----------
    unsaved : list of (Correction, Example)
        Corrections that are not saved yet.
    """

    def __init__(self) -> None:
        self._latest: dict[Key, tuple[Correction, Example]] = {}
        self.unsaved: list[tuple[Correction, Example]] = []

    def record(self, correction: Correction, example: Example) -> None:
        """Add a correction with its image crop, replacing that of the same plane."""
        self.restore(correction, example)
        self.unsaved.append((correction, example))

    def restore(self, correction: Correction, example: Example) -> None:
        """Add a correction that comes from disk."""
        self._latest.pop(correction.key, None)
        self._latest[correction.key] = correction, example

    def mark_unsaved(self) -> None:
        """Mark everything as not saved, as when the session moves."""
        self.unsaved = list(self._latest.values())

    def clear(self) -> None:
        """Remove everything, when another session is opened."""
        self._latest.clear()
        self.unsaved.clear()

    def latest(self, key: Key) -> tuple[Correction, Example] | None:
        """Return the last correction of a plane, if any."""
        return self._latest.get(key)

    def examples(self) -> list[Example]:
        """List the examples, the latest last."""
        return [example for _, example in self._latest.values()]

    def other_than(self, keys: Collection[Key]) -> list[Correction]:
        """List the corrections of all planes but these."""
        # One copy first, because a worker thread may add to them.
        latest = list(self._latest.values())
        return [correction for correction, _ in latest if correction.key not in keys]

    @property
    def n_images(self) -> int:
        """Number of images that the corrections come from."""
        return len({image_id for image_id, _ in self._latest})

    def __len__(self) -> int:
        return len(self._latest)


CONTEXT = 64
"""Image pixels around a verified region that the network sees but does not learn from."""


def correction_of(
    image_id: str, index: Index, plane: npt.NDArray[Any], review: ReviewMask
) -> Correction:
    """Copy the verified region of a plane with its labels.

    Parameters
    ----------
    image_id : str
        Key of the image.
    index : tuple of int
        Position of the plane in the stack.
    plane : integer array, shape (Y, X)
        The labels now.
    review : ReviewMask
        What is edited and verified; brought up to date.

    Raises
    ------
    CorrectionError
        If a verified label is negative.
    """
    review.sync(plane)
    if (plane[review.verified] < 0).any():
        where = f" of slice {', '.join(map(str, index))}" if index else ""
        raise CorrectionError(
            f"The labels{where} hold negative numbers, which are neither objects nor "
            "background: erase them, or give them other numbers."
        )
    window = bounding_window(review.verified, CONTEXT)
    return Correction(
        image_id=image_id,
        index=index,
        window=window,
        labels=plane[window].astype(np.int32),
        verified=review.verified[window].copy(),
        edited=review.edited[window].copy(),
    )


COUNTED = 512
"""Areas are counted on a plane of at most about so many rows and columns."""


def count_areas(verified: MaskArray) -> int:
    """Count the separate areas of a mask."""
    step = max(1, max(verified.shape) // COUNTED)
    return int(ndimage.label(verified[::step, ::step], np.ones((3, 3)))[1])


def as_example(correction: Correction, image: npt.NDArray[Any], **known: Any) -> Example:
    """Join a correction with its image crop; `known` holds other fields of `Example`."""
    return Example(
        image, correction.labels, correction.verified, correction.edited, **known
    )
