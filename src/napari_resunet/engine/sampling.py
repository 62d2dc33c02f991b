"""Where to cut patches from corrections: which image, and around which pixel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from napari_resunet.engine.patches import TrainingImage


class Sampler:
    """Draws patch centres: around what was touched, and across all that is checked.

    Parameters
    ----------
    images : sequence of TrainingImage
        Each with a pixel of weight over 0; drawn by the side of its checked area.
    touched_share : float
        Share of the centres that lie on a checked pixel that was touched, if any was.
    """

    def __init__(self, images: Sequence[TrainingImage], touched_share: float) -> None:
        # Found once: scanning whole images for every patch took a tenth of the time.
        self._images = images
        self._touched_share = touched_share
        self._checked = [np.flatnonzero(image.weight > 0) for image in images]
        self._touched = [_touched(image) for image in images]
        sides = np.sqrt([where.size for where in self._checked])
        self._shares = sides / sides.sum()

    def draw(self, rng: np.random.Generator) -> tuple[TrainingImage, tuple[float, float]]:
        """Draw an image and a centre.

        Parameters
        ----------
        rng : numpy Generator
            Source of all chance.

        Returns
        -------
        TrainingImage
        tuple of float
            Row and column in image pixels.
        """
        number = int(rng.choice(len(self._images), p=self._shares))
        image, where = self._images[number], self._checked[number]
        if rng.random() < self._touched_share and self._touched[number].size:
            where = self._touched[number]
        row, column = divmod(int(rng.choice(where)), image.weight.shape[1])
        return image, (float(row), float(column))


def _touched(image: TrainingImage) -> npt.NDArray[np.intp]:
    """Find the checked pixels that were touched; none where all labels are the truth."""
    if image.touched is None:
        return np.empty(0, np.intp)
    return np.flatnonzero(image.touched & (image.weight > 0))
