"""Equal tiles that overlap, and the weights that blend them without a seam.

Tiles are spaced evenly, so that all have one size and none is a sliver; in each
overlap the weight goes over linearly from one tile to the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.network.resnet_unet import STRIDE
from napari_resunet.types import FloatArray

Line = npt.NDArray[np.floating[Any]]

OVERLAP = 32
"""Smallest overlap of neighbours in working pixels: a halo of 16 for each."""


@dataclass(frozen=True)
class Strip:
    """The tiles along one axis: `size` pixels from each of `starts`, `n` in all."""

    n: int
    size: int
    starts: tuple[int, ...]

    def weights(self, i: int) -> FloatArray:
        """Compute the blending weights of tile `i`, float32 of length `size`, 0 to 1."""
        position = np.arange(self.size) + self.starts[i] + 0.5
        weight = np.ones(self.size, np.float32)
        if i > 0:
            weight = np.minimum(weight, self._ramp(i - 1, position))
        if i < len(self.starts) - 1:
            weight = np.minimum(weight, 1 - self._ramp(i, position))
        return weight.astype(np.float32)

    def _ramp(self, i: int, position: Line) -> Line:
        """Rise from 0 to 1 in the middle of the overlap of tiles `i` and `i + 1`."""
        middle = (self.starts[i] + self.size + self.starts[i + 1]) / 2
        return np.clip((position - middle) / OVERLAP + 0.5, 0.0, 1.0)


def strip(n: int, largest: int) -> Strip:
    """Cover an axis with equal tiles.

    Parameters
    ----------
    n : int
        Length in working pixels, at least 1.
    largest : int
        Largest tile side, a multiple of 32, at least 96.

    Returns
    -------
    Strip
        One tile, that may reach beyond the end, or several inside.
    """
    count = 1 if n <= largest else int(np.ceil((n - OVERLAP) / (largest - OVERLAP)))
    exact = (n + (count - 1) * OVERLAP) / count
    size = int(np.ceil(exact / STRIDE)) * STRIDE
    if count == 1:
        return Strip(n, size, (0,))
    starts = np.linspace(0, n - size, count).round().astype(int)
    return Strip(n, size, tuple(int(s) for s in starts))
