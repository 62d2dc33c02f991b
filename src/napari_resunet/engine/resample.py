"""Image to working resolution and back, the same for a tile and for the whole.

A separable triangle filter, widened where it shrinks, so that nothing aliases: what
``torch.nn.functional.interpolate(antialias=True)`` and Pillow's BILINEAR compute, but
for any window, from exactly the pixels that the window needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from napari_resunet.types import FloatArray


@dataclass(frozen=True)
class Axis:
    """One axis of `n_image` pixels at `n_working` working pixels."""

    n_image: int
    n_working: int

    @classmethod
    def scaled(cls, n_image: int, scale: float) -> Axis:
        """Apply a scale factor; never fewer than one pixel."""
        return cls(n_image, max(1, round(n_image * scale)))

    @property
    def scale(self) -> float:
        """The factor in effect, after rounding."""
        return self.n_working / self.n_image

    def matrix(self, start: int, stop: int) -> tuple[slice, sparse.csr_matrix]:
        """Compute the filter of some working pixels.

        Parameters
        ----------
        start, stop : int
            Working pixels.

        Returns
        -------
        window : slice
            The image pixels that they need.
        weights : csr matrix, shape (stop - start, length of the window)
            Rows add up to 1.
        """
        centres = (np.arange(start, stop) + 0.5) / self.scale - 0.5
        support = max(1.0, 1.0 / self.scale)
        first = int(np.clip(np.ceil(centres[0] - support), 0, self.n_image - 1))
        last = int(np.clip(np.floor(centres[-1] + support), 0, self.n_image - 1))
        n_taps = int(np.ceil(2 * support)) + 1
        taps = np.ceil(centres - support)[:, None].astype(np.int64) + np.arange(n_taps)
        weights = np.clip(1.0 - np.abs(taps - centres[:, None]) / support, 0.0, None)
        weights[(taps < 0) | (taps >= self.n_image)] = 0.0
        weights /= weights.sum(1, keepdims=True)
        rows = np.repeat(np.arange(stop - start), n_taps)
        columns = np.clip(taps, first, last).ravel() - first
        matrix = sparse.csr_matrix(
            (weights.ravel().astype(np.float32), (rows, columns)),
            shape=(stop - start, last - first + 1),
        )
        return slice(first, last + 1), matrix

    def nearest_working(self, window: slice) -> npt.NDArray[np.int64]:
        """Map image pixels to the working pixel that each lies in."""
        image = np.arange(window.start, window.stop)
        return np.minimum(((image + 0.5) * self.scale).astype(np.int64), self.n_working - 1)

    def image_window(self, start: int, stop: int) -> slice:
        """Map working pixels to the image pixels whose centres lie in them."""
        first = int(np.ceil(start / self.scale - 0.5))
        last = int(np.ceil(stop / self.scale - 0.5))
        return slice(max(0, first), min(self.n_image, last))


def read_working(
    read: Callable[[slice, slice], FloatArray],
    axes: tuple[Axis, Axis],
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> FloatArray:
    """Read a window at the working resolution.

    Parameters
    ----------
    read : callable
        From a window of rows and columns in image pixels to a float32 array
        (h, w, C).
    axes : tuple of Axis
        Rows, columns.
    rows, columns : tuple of int
        The window in working pixels.

    Returns
    -------
    float32 array, shape (h, w, C)
    """
    if all(axis.n_image == axis.n_working for axis in axes):
        return read(slice(*rows), slice(*columns))
    row_window, row_weights = axes[0].matrix(*rows)
    column_window, column_weights = axes[1].matrix(*columns)
    pixels = read(row_window, column_window)
    channels = [
        (column_weights @ (row_weights @ pixels[..., c]).T).T
        for c in range(pixels.shape[-1])
    ]
    return np.ascontiguousarray(np.stack(channels, axis=-1), dtype=np.float32)
