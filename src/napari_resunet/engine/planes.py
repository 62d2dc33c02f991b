"""An array with named axes as 2D planes, read window by window.

Works alike for numpy, dask, zarr and anything that slices like them; never loads
more than the window asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.engine.normalize import N_INPUTS, SAMPLE_PIXELS, statistics
from napari_resunet.errors import ImageError
from napari_resunet.types import Normalization, Statistics

KNOWN_AXES = "PTZCYXS"
SAMPLE_BLOCK = 256
SAMPLE_BLOCKS = 24
PIXEL_AXES = "YX"
CHANNEL_AXES = "CS"


class Planes:
    """One image: its planes, its channels, its whole-image statistics.

    Parameters
    ----------
    levels : sequence of arrays
        The image, finest level first (one level for an ordinary image).
    axes : str or None
        One letter of "PTZCYXS" for each dimension; C and S hold channels (S are the
        samples of RGB or RGBA, the alpha of which is left out). None guesses.
    channels : sequence of int or None
        Which one to three channels feed the network; None takes the colours of RGB
        or the first channel.

    Raises
    ------
    ImageError
        If axes, channels or dtype cannot be used.
    """

    def __init__(
        self,
        levels: Sequence[Any],
        axes: str | None = None,
        channels: Sequence[int] | None = None,
    ) -> None:
        self.levels = tuple(levels)
        shape = tuple(self.levels[0].shape)
        self.axes = (axes or guess_axes(shape)).upper()
        _check(shape, self.axes, self.levels[0].dtype)
        self.height = shape[self.axes.index("Y")]
        self.width = shape[self.axes.index("X")]
        self.stack_axes = tuple(a for a in self.axes if a not in PIXEL_AXES + CHANNEL_AXES)
        self.stack_shape = tuple(shape[self.axes.index(a)] for a in self.stack_axes)
        self.channels = self._chosen(shape, channels)

    @property
    def is_rgb(self) -> bool:
        """Whether the channels are the samples of one colour image."""
        return "S" in self.axes

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the labels: stack axes, then height and width."""
        return (*self.stack_shape, self.height, self.width)

    @property
    def window(self) -> tuple[slice, slice]:
        """All rows and columns."""
        return slice(0, self.height), slice(0, self.width)

    def indices(self) -> Iterator[tuple[int, ...]]:
        """Iterate over the planes of the stack; once, with (), where there is none."""
        return product(*(range(n) for n in self.stack_shape))

    def read(
        self, index: tuple[int, ...], rows: slice, columns: slice, level: int = 0
    ) -> npt.NDArray[Any]:
        """Read a window of a plane.

        Parameters
        ----------
        index : tuple of int
            Position along the stack axes.
        rows, columns : slice
            The window in pixels of that level.
        level : int
            Resolution level, 0 the finest.

        Returns
        -------
        array, shape (h, w, C)
            The chosen channels, dtype as stored.
        """
        where: dict[str, Any] = dict(zip(self.stack_axes, index, strict=True))
        where |= {"Y": rows, "X": columns}
        array = self.levels[level]
        order = [a for a in self.axes if a in PIXEL_AXES]
        planes = []
        for channel in self.channels:
            where |= {"C": channel, "S": channel}
            plane = np.asarray(array[tuple(where[a] for a in self.axes)])
            planes.append(plane if order == ["Y", "X"] else plane.T)
        return np.stack(planes, axis=-1)

    def measure(self, contract: Normalization) -> Statistics:
        """Measure the statistics of the whole image.

        Parameters
        ----------
        contract : Normalization
            The model's.

        Returns
        -------
        Statistics
            Of all pixels, or of blocks spread evenly over a coarse level.
        """
        blocks = [self._flat_block(*where) for where in self._sample_windows()]
        if not blocks:
            zeros = (0.0,) * len(self.channels)
            return Statistics(zeros, zeros)
        return statistics(np.concatenate(blocks), contract, joint=self.is_rgb)

    def _flat_block(
        self, index: tuple[int, ...], rows: slice, columns: slice, level: int
    ) -> npt.NDArray[Any]:
        block = self.read(index, rows, columns, level)
        return block.reshape(-1, block.shape[-1])

    def _sample_windows(self) -> Iterator[tuple[tuple[int, ...], slice, slice, int]]:
        level = self._sample_level()
        shape = self.levels[level].shape
        height, width = shape[self.axes.index("Y")], shape[self.axes.index("X")]
        # The planes of a pyramid's coarse level may be fewer than the finest's.
        stack = tuple(shape[self.axes.index(a)] for a in self.stack_axes)
        n_planes = int(np.prod(stack, dtype=np.int64))
        if n_planes * height * width == 0:
            return
        if n_planes * height * width <= 2 * SAMPLE_PIXELS:
            for index in np.ndindex(stack):
                yield index, slice(0, height), slice(0, width), level
            return
        # A golden-ratio lattice: spread evenly over planes, rows and columns at once.
        for k in range(SAMPLE_BLOCKS):
            plane = int((k + 0.5) * n_planes / SAMPLE_BLOCKS)
            top = int((k * 0.7548776662 % 1) * max(0, height - SAMPLE_BLOCK))
            left = int((k * 0.5698402910 % 1) * max(0, width - SAMPLE_BLOCK))
            rows, columns = slice(top, top + SAMPLE_BLOCK), slice(left, left + SAMPLE_BLOCK)
            index = tuple(int(i) for i in np.unravel_index(plane, stack)) if stack else ()
            yield index, rows, columns, level

    def _sample_level(self) -> int:
        """Take the coarsest level that still has enough pixels."""
        sizes = [int(np.prod(a.shape, dtype=np.int64)) for a in self.levels]
        enough = [i for i, size in enumerate(sizes) if size >= SAMPLE_PIXELS // 4]
        return enough[-1] if enough else 0

    def _chosen(
        self, shape: tuple[int, ...], channels: Sequence[int] | None
    ) -> tuple[int, ...]:
        axis = next((a for a in self.axes if a in CHANNEL_AXES), None)
        if axis is None:
            if channels not in (None, (0,), [0]):
                raise ImageError("The image has one channel only: leave the choice out.")
            return (0,)
        available = shape[self.axes.index(axis)]
        if axis == "S":
            available = min(available, N_INPUTS)
        default = range(available) if axis == "S" else (0,)
        chosen = tuple(default if channels is None else channels)
        if not 1 <= len(chosen) <= N_INPUTS or not all(0 <= c < available for c in chosen):
            raise ImageError(
                f"Choose one to three of the image's {available} channels (0 to "
                f"{available - 1}), not {list(chosen)}."
            )
        return chosen


def guess_axes(shape: tuple[int, ...]) -> str:
    """Guess what the dimensions of an array are.

    Parameters
    ----------
    shape : tuple of int
        Of the array.

    Returns
    -------
    str
        "YX", "YXS" or "ZYXS" where the last dimension has 3 or 4 entries, "ZYX",
        "TZYX" or "TZCYX".

    Raises
    ------
    ImageError
        If there are fewer than two or more than five dimensions.
    """
    colour = len(shape) in (3, 4) and shape[-1] in (3, 4)
    guesses = {2: "YX", 3: "YXS" if colour else "ZYX", 4: "ZYXS" if colour else "TZYX"}
    guesses[5] = "TZCYX"
    if len(shape) not in guesses:
        raise ImageError(
            f"An image of {len(shape)} dimensions cannot be used: give two (rows and "
            "columns) up to five, and name them with axes, for example axes='TZCYX'."
        )
    return guesses[len(shape)]


def _check(shape: tuple[int, ...], axes: str, dtype: np.dtype[Any]) -> None:
    if len(axes) != len(shape):
        raise ImageError(
            f"axes='{axes}' names {len(axes)} dimensions but the image has {len(shape)}."
        )
    wrong = set(axes) - set(KNOWN_AXES)
    doubled = len(set(axes)) != len(axes) or {"C", "S"} <= set(axes)
    if wrong or doubled or not {"Y", "X"} <= set(axes):
        raise ImageError(
            f"axes='{axes}' cannot be used: each letter once, of T, Z, C (or S for RGB), "
            "Y and X; Y and X must be there."
        )
    if np.dtype(dtype).kind not in "buif":
        raise ImageError(
            f"Pixels of type {dtype} cannot be used: convert the image to whole or real "
            "numbers first."
        )
