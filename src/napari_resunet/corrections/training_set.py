"""All corrected regions of the session, each as it was last learned from.

Kept in memory; ``session/store/corrections.py`` keeps the same on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.corrections.object_edits import count_objects
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
    verified, edited : bool array, shape of the window
        Where the user vouches for, and where they changed, the labels.
    """

    image_id: str
    index: tuple[int, ...]
    window: tuple[slice, slice]
    labels: npt.NDArray[np.int32]
    verified: MaskArray
    edited: MaskArray

    @property
    def key(self) -> Key:
        """Image and plane."""
        return self.image_id, self.index

    @property
    def n_objects(self) -> int:
        """Objects with a verified pixel."""
        return count_objects(self.labels[self.verified])


class CorrectionLog:
    """The training set so far: one example for each corrected plane of each image.

    Attributes
    ----------
    fresh : list of (Correction, Example)
        What was recorded and not yet taken to be kept on disk.
    """

    def __init__(self) -> None:
        self._kept: dict[Key, tuple[Correction, Example]] = {}
        self.fresh: list[tuple[Correction, Example]] = []

    def record(self, correction: Correction, example: Example) -> None:
        """Keep a correction with its image crop; a later one of the same plane replaces it.

        Parameters
        ----------
        correction : Correction
            Whose plane it is.
        example : Example
            What to learn from it.
        """
        self.restore(correction, example)
        self.fresh.append((correction, example))

    def restore(self, correction: Correction, example: Example) -> None:
        """Keep a correction that comes from the disk."""
        self._kept.pop(correction.key, None)
        self._kept[correction.key] = correction, example

    def mark_unsaved(self) -> None:
        """Have all kept on disk once more, in another place."""
        self.fresh = list(self._kept.values())

    def clear(self) -> None:
        """Forget all, when another session is opened."""
        self._kept.clear()
        self.fresh.clear()

    def latest(self, key: Key) -> tuple[Correction, Example] | None:
        """Get what was last learned from a plane of an image, if anything was."""
        return self._kept.get(key)

    def examples(self) -> list[Example]:
        """List all, the latest last."""
        return [example for _, example in self._kept.values()]

    @property
    def n_images(self) -> int:
        """From how many images they are."""
        return len({image_id for image_id, _ in self._kept})

    def __len__(self) -> int:
        return len(self._kept)


def as_example(correction: Correction, image: npt.NDArray[Any], **known: Any) -> Example:
    """Join a correction with its image crop.

    Parameters
    ----------
    correction : Correction
        Labels and masks.
    image : array, shape of the window and channels
        The crop.
    **known
        ``scale`` and ``statistics`` of the whole image, and what is ``held_out``.

    Returns
    -------
    Example
    """
    return Example(
        image, correction.labels, correction.verified, correction.edited, **known
    )
