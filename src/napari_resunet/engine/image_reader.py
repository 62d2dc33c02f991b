"""Arrays with named axes, read window by window at any resolution.

Works with numpy, dask, zarr, and anything that slices like them, and loads no more than the
window needs. Resampling uses a separable triangle filter, wider when it shrinks, so nothing
aliases. ``torch.nn.functional.interpolate(antialias=True)`` and Pillow's BILINEAR compute
the same, but not for any window.
"""

from __future__ import annotations

import logging
import mmap
import operator
import string
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from napari_resunet.engine.normalize import (
    N_INPUTS,
    SAMPLE_PIXELS,
    normalize,
    statistics,
)
from napari_resunet.errors import ImageError, OutOfMemoryError, ResunetError
from napari_resunet.tiff_reader import PIXEL_AXES
from napari_resunet.types import (
    Channels,
    FloatArray,
    Index,
    Normalization,
    Statistics,
    Window,
    single_channels,
)

log = logging.getLogger(__name__)
STACK_AXES = "TZP"
KNOWN_AXES = STACK_AXES + "CYXS"
SPECTRAL_AXIS = "E"
"""What OME and tifffile call a channel axis of wavelengths."""

SAMPLE_BLOCK = 256
SAMPLE_BLOCKS = 24

CHANNEL_AXES = "CS"
COMBINED = Normalization(mean=0.0, std=1.0)
"""How channels are made comparable before they are combined, whatever the model."""

NUMBERS = "buif"
"""Kinds of dtype that pixels may have."""


class ImageReader:
    """One image: its planes, channels, and intensity statistics.

    Parameters
    ----------
    levels : sequence of arrays
        The resolution levels, finest first; one for an ordinary image.
    axes : str or None
        One letter of "PTZCYXS" per dimension. C and S hold channels; S are the samples of
        RGB(A), whose alpha is ignored. E (wavelengths) is read as C, any other letter as a
        stack axis. None guesses.
    channels : sequence of int or of tuple of int, or None
        The one to three channels for the network; None takes RGB, or the first channel.
        Several channels in one place are combined: see `_combined`.

    Raises
    ------
    ImageError
        If axes, channels, or dtype cannot be used.
    """

    def __init__(
        self,
        levels: Sequence[Any],
        axes: str | None = None,
        channels: Sequence[int | tuple[int, ...]] | None = None,
    ) -> None:
        self.levels = tuple(levels)
        shape = _shape(self.levels[0])
        self.axes = _named(axes.upper()) if axes is not None else guess_axes(shape)
        _check(shape, self.axes, self.levels[0].dtype)
        self.height = shape[self.axes.index("Y")]
        self.width = shape[self.axes.index("X")]
        self.stack_axes = tuple(a for a in self.axes if a not in PIXEL_AXES + CHANNEL_AXES)
        self.stack_shape = tuple(shape[self.axes.index(a)] for a in self.stack_axes)
        self.channels: Channels = self._checked_channels(shape, channels)
        self._spans: dict[int, Statistics] = {}

    def with_channels(self, channels: Channels) -> ImageReader:
        """Return a reader of other channels of the same image."""
        return ImageReader(self.levels, self.axes, channels)

    @property
    def is_rgb(self) -> bool:
        """Whether the channels are the samples of one colour image."""
        return "S" in self.axes

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the labels: stack axes, then height and width."""
        return (*self.stack_shape, self.height, self.width)

    @property
    def window(self) -> Window:
        """All rows and columns."""
        return slice(0, self.height), slice(0, self.width)

    def indices(self) -> Iterator[Index]:
        """Iterate over the planes of the stack; a single plane has the index ()."""
        return product(*(range(n) for n in self.stack_shape))

    def read(
        self, index: Index, rows: slice, columns: slice, level: int = 0
    ) -> npt.NDArray[Any]:
        """Read a window of a plane, in pixels of a resolution level.

        Returns
        -------
        array, shape (h, w, C)
            The chosen channels, with the stored dtype, or float32 where some of them are
            combined.
        """
        where: dict[str, Any] = dict(zip(self.stack_axes, index, strict=True))
        where |= {"Y": rows, "X": columns}
        planes = [
            self._plane(where, channel, level)
            if isinstance(channel, int)
            else self._combined(where, channel, level)
            for channel in self.channels
        ]
        return np.stack(planes, axis=-1)

    def _plane(self, where: dict[str, Any], channel: int, level: int) -> npt.NDArray[Any]:
        where = where | {"C": channel, "S": channel}
        plane = _block(self.levels[level], tuple(where[a] for a in self.axes))
        return plane if self._rows_first else plane.T

    def _combined(
        self, where: dict[str, Any], channels: tuple[int, ...], level: int
    ) -> FloatArray:
        """Return the brightest of several channels, each relative to its own range.

        Not their mean, which would show what only one of them shows at half its contrast.
        """
        parts = [
            normalize(
                self._plane(where, channel, level)[..., None], self._span(channel), COMBINED
            )[..., 0]
            for channel in channels
        ]
        brightest: FloatArray = np.maximum.reduce(parts)
        return brightest

    def _span(self, channel: int) -> Statistics:
        """Measure the range of one channel, at its first use."""
        if channel not in self._spans:
            self._spans[channel] = self.with_channels((channel,)).measure(COMBINED)
        return self._spans[channel]

    @property
    def _rows_first(self) -> bool:
        return self.axes.index("Y") < self.axes.index("X")

    def in_given_order(self, labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Transpose labels of shape `shape` to the image's axes without channels."""
        have = "".join(self.stack_axes) + PIXEL_AXES
        wanted = [a for a in self.axes if a not in CHANNEL_AXES]
        return np.ascontiguousarray(labels.transpose([have.index(a) for a in wanted]))

    def measure(self, normalization: Normalization) -> Statistics:
        """Measure intensities on all pixels, or on blocks spread over a coarse level."""
        blocks = [self._flat_block(*where) for where in self._sample_windows()]
        if not blocks:
            zeros = (0.0,) * len(self.channels)
            return Statistics(zeros, zeros)
        return statistics(np.concatenate(blocks), normalization, joint=self.is_rgb)

    def _flat_block(
        self, index: Index, rows: slice, columns: slice, level: int
    ) -> npt.NDArray[Any]:
        block = self.read(index, rows, columns, level)
        return block.reshape(-1, block.shape[-1])

    def _sample_windows(self) -> Iterator[tuple[Index, slice, slice, int]]:
        level = self._sample_level()
        shape = self.levels[level].shape
        height, width = shape[self.axes.index("Y")], shape[self.axes.index("X")]
        # The coarse level of a pyramid may have fewer planes than the finest.
        stack = tuple(shape[self.axes.index(a)] for a in self.stack_axes)
        n_planes = int(np.prod(stack, dtype=np.int64))
        if n_planes * height * width == 0:
            return
        if n_planes * height * width <= 2 * SAMPLE_PIXELS:
            for index in np.ndindex(stack):
                yield index, slice(0, height), slice(0, width), level
            return
        # A golden-ratio lattice spreads evenly over planes, rows, and columns at once.
        for k in range(SAMPLE_BLOCKS):
            plane = int((k + 0.5) * n_planes / SAMPLE_BLOCKS)
            top = int((k * 0.7548776662 % 1) * max(0, height - SAMPLE_BLOCK))
            left = int((k * 0.5698402910 % 1) * max(0, width - SAMPLE_BLOCK))
            rows, columns = slice(top, top + SAMPLE_BLOCK), slice(left, left + SAMPLE_BLOCK)
            index = tuple(int(i) for i in np.unravel_index(plane, stack)) if stack else ()
            yield index, rows, columns, level

    def _sample_level(self) -> int:
        """Return the coarsest level that has enough pixels."""
        sizes = [int(np.prod(a.shape, dtype=np.int64)) for a in self.levels]
        enough = [i for i, size in enumerate(sizes) if size >= SAMPLE_PIXELS // 4]
        return enough[-1] if enough else 0

    def _checked_channels(
        self, shape: tuple[int, ...], channels: Sequence[int | tuple[int, ...]] | None
    ) -> Channels:
        axis = next((a for a in self.axes if a in CHANNEL_AXES), None)
        if axis is None:
            if channels not in (None, (0,), [0]):
                raise ImageError("The image has one channel only: leave the choice out.")
            return (0,)
        available = shape[self.axes.index(axis)]
        if not available:
            raise ImageError("The image has no channels: give one with pixels.")
        if axis == "S":
            available = min(available, N_INPUTS)
        default = range(available) if axis == "S" else (0,)
        chosen: Channels = tuple(default if channels is None else channels)
        there = all(0 <= c < available for c in single_channels(chosen))
        if not 1 <= len(chosen) <= N_INPUTS or not there or () in chosen:
            raise ImageError(
                f"Choose one to three of the image's {available} channels (0 to "
                f"{available - 1}), not {list(chosen)}."
            )
        return chosen


class JoinedChannels:
    """Channels of several arrays as one array, channels first; nothing is copied.

    Parameters
    ----------
    parts : sequence of (array, int or None, int)
        Each channel: its array, the channel axis of that, and its position along it.
    """

    def __init__(self, parts: Sequence[tuple[Any, int | None, int]]) -> None:
        self._parts = tuple(parts)
        array, axis, _ = self._parts[0]
        shape = [n for i, n in enumerate(array.shape) if i != axis]
        self.shape = (len(self._parts), *shape)
        self.dtype = np.result_type(*(array.dtype for array, _, _ in self._parts))

    def __getitem__(self, where: tuple[Any, ...]) -> npt.NDArray[Any]:
        """Read a part of one channel."""
        array, axis, position = self._parts[where[0]]
        inside = list(where[1:])
        if axis is not None:
            inside.insert(axis, position)
        return _block(array, tuple(inside))


def guess_axes(shape: tuple[int, ...]) -> str:
    """Guess the axes of an array from its shape.

    The guess is "YX", "ZYX", "TZYX", or "TZCYX". If the last of three or four dimensions
    has fewer than five entries, it holds channels: C if one or two, S if three or four.

    Raises
    ------
    ImageError
        If there are fewer than two or more than five dimensions.
    """
    guesses = {2: "YX", 3: "ZYX", 4: "TZYX", 5: "TZCYX"}
    if len(shape) in (3, 4) and shape[-1] <= 4:
        return "ZYX"[-len(shape) + 1 :] + ("S" if shape[-1] > 2 else "C")
    if len(shape) not in guesses:
        raise ImageError(
            f"An image of {len(shape)} dimensions cannot be used: give two (rows and "
            "columns) up to five, and name them with axes, for example axes='TZCYX'."
        )
    return guesses[len(shape)]


def _named(axes: str) -> str:
    """Replace stack axes of other programs (Q, I, A, R, …) by free letters."""
    if SPECTRAL_AXIS in axes and not set(CHANNEL_AXES) & set(axes):
        axes = axes.replace(SPECTRAL_AXIS, "C", 1)
    free = iter([a for a in STACK_AXES if a not in axes])
    foreign = set(string.ascii_uppercase) - set(KNOWN_AXES)
    return "".join(next(free, a) if a in foreign else a for a in axes)


def _shape(array: Any) -> tuple[int, ...]:
    try:
        return tuple(operator.index(n) for n in array.shape)
    except TypeError as error:
        raise ImageError(
            f"The size of the image is not known (its shape is {array.shape!r:.60}): give "
            "a numpy array; of dask, call compute_chunk_sizes() first."
        ) from error


def _check(shape: tuple[int, ...], axes: str, dtype: Any) -> None:
    if len(axes) != len(shape):
        raise ImageError(
            f"axes='{axes:.20}' names {len(axes)} dimensions but the image has "
            f"{len(shape)}: give one letter for each."
        )
    wrong = set(axes) - set(KNOWN_AXES)
    doubled = len(set(axes)) != len(axes) or {"C", "S"} <= set(axes)
    if wrong or doubled or not {"Y", "X"} <= set(axes):
        raise ImageError(
            f"axes='{axes:.20}' cannot be used: each letter once, of T, Z, C (or S for "
            "RGB), Y and X; Y and X must be there, and up to three of a stack."
        )
    if _kind(dtype) not in NUMBERS:
        raise ImageError(
            f"Pixels of type {dtype!s:.50} cannot be used: convert the image to whole or "
            "real numbers first."
        )


def _kind(dtype: Any) -> str:
    try:
        return np.dtype(dtype).kind
    except TypeError:
        return "unknown to numpy"


def _block(array: Any, where: tuple[Any, ...]) -> npt.NDArray[Any]:
    """Read a part of an array, and convert the errors of its library."""
    _check_mapped(array)
    try:
        block = np.asanyarray(array[where])
    except ResunetError:
        raise
    except MemoryError as error:
        raise OutOfMemoryError(
            "There is not enough memory to read the image: close other programs, or give "
            "an array that is read in parts (dask, zarr)."
        ) from error
    except Exception as error:  # each library raises its own errors
        log.warning("The image cannot be read", exc_info=True)
        raise ImageError(
            "The image cannot be read: check that its file or drive is still there, and "
            "that it is an array of pixels."
        ) from error
    # Computed dask blocks have no mask, but the dask array knows of it.
    kinds = (block, getattr(array, "_meta", None))
    if any(isinstance(kind, np.ma.MaskedArray) for kind in kinds):
        raise ImageError(
            "The image is a masked array, and what is masked would be segmented: fill it "
            "first, for example with image.filled(0)."
        )
    if block.dtype.kind not in NUMBERS or block.shape != _expected(array.shape, where):
        raise ImageError(
            f"The image gives {block.dtype} of shape {block.shape}, other pixels than it "
            "says: load it as a numpy array first."
        )
    return np.asarray(block)


def _expected(shape: Sequence[int], where: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(
        len(range(*part.indices(n)))
        for n, part in zip(shape, where, strict=True)
        if isinstance(part, slice)
    )


def _check_mapped(array: Any) -> None:
    """Refuse a memory-mapped file that was cut short: reading past its end is a crash."""
    offset = 0
    while isinstance(array, np.ndarray):
        offset = getattr(array, "offset", offset)
        array = array.base
    if not isinstance(array, mmap.mmap):
        return
    # Mappings start at a multiple of this.
    end = offset - offset % mmap.ALLOCATIONGRANULARITY + len(array)
    size = end
    with suppress(OSError, ValueError):  # anonymous memory has no size
        size = array.size()
    if size < end:
        raise ImageError(
            "The image's file has become shorter since it was opened: open it again."
        )


@dataclass(frozen=True)
class Axis:
    """One axis: its length in image pixels and at network resolution."""

    n_image: int
    n_network: int

    @classmethod
    def scaled(cls, n_image: int, scale: float) -> Axis:
        """Apply a rescale factor; the result has at least one pixel."""
        return cls(n_image, max(1, round(n_image * scale)))

    @property
    def scale(self) -> float:
        """The actual rescale factor, after rounding."""
        return self.n_network / self.n_image

    def matrix(self, start: int, stop: int) -> tuple[slice, sparse.csr_matrix]:
        """Compute the resampling filter for an interval at network resolution.

        Returns
        -------
        window : slice
            The image pixels needed.
        weights : csr matrix, shape (stop - start, length of `window`)
            Rows sum to 1.
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

    def nearest_network(self, window: slice) -> npt.NDArray[np.int64]:
        """Map image pixels to the pixel at network resolution that contains each."""
        image = np.arange(window.start, window.stop)
        return np.minimum(((image + 0.5) * self.scale).astype(np.int64), self.n_network - 1)

    def image_window(self, start: int, stop: int) -> slice:
        """Map an interval at network resolution to the image pixels centred in it."""
        first = int(np.ceil(start / self.scale - 0.5))
        last = int(np.ceil(stop / self.scale - 0.5))
        return slice(max(0, first), min(self.n_image, last))


def read_resampled(
    read: Callable[[slice, slice], FloatArray],
    axes: tuple[Axis, Axis],
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> FloatArray:
    """Read a window given at network resolution.

    Parameters
    ----------
    read : callable
        Reads a window of image pixels, shape (h, w, C).
    axes : tuple of Axis
        Rows and columns.
    rows, columns : tuple of int
        Start and stop at network resolution.

    Returns
    -------
    float32 array, shape (rows, columns, C)
    """
    if all(axis.n_image == axis.n_network for axis in axes):
        return read(slice(*rows), slice(*columns))
    row_window, row_weights = axes[0].matrix(*rows)
    column_window, column_weights = axes[1].matrix(*columns)
    pixels = read(row_window, column_window)
    channels = [
        (column_weights @ (row_weights @ pixels[..., c]).T).T
        for c in range(pixels.shape[-1])
    ]
    return np.ascontiguousarray(np.stack(channels, axis=-1), dtype=np.float32)
