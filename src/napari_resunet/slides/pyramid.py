"""Opens a large TIFF with the resolution levels that a viewer needs.

Where the file has no coarser levels, every second pixel of the finer one makes one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import FileError
from napari_resunet.files import check_regular, decoding, shown, split_scene
from napari_resunet.resolutions import memory_bytes
from napari_resunet.slides.image import look_at
from napari_resunet.slides.level import TiffLevel
from napari_resunet.tiff_reader import HARMLESS_BYTES, image_in, opened

BAND = 2048
"""Rows that are read at once to make a coarser level."""

LAZY_LEVELS = 2
"""Coarser levels that are read from the file each time, because they take much memory."""

SMALL_SIDE = 2048
"""Rows and columns that need no coarser level."""


class EverySecond:
    """A coarser level: every second, fourth, … pixel, read when it is used.

    Parameters
    ----------
    level : TiffLevel
        The finest level.
    step : int
        From pixel to pixel.
    """

    def __init__(self, level: TiffLevel, step: int) -> None:
        self._level, self.step = level, step
        self._rows = level.axes.index("Y")
        self.axes, self.dtype, self.ndim = level.axes, level.dtype, level.ndim
        self.shape = tuple(
            -(-n // step) if axis in "YX" else n
            for axis, n in zip(level.axes, level.shape, strict=True)
        )
        self.size = math.prod(self.shape)
        self.nbytes = self.size * self.dtype.itemsize

    def __getitem__(self, where: Any) -> npt.NDArray[Any]:
        """Read a part into memory; slices without steps, of each dimension."""
        parts = [slice(None)] * self.ndim if where is Ellipsis else list(where)
        parts += [slice(None)] * (self.ndim - len(parts))
        spans = [
            part if isinstance(part, int) else range(*part.indices(n))
            for part, n in zip(parts, self.shape, strict=True)
        ]
        rows = spans[self._rows]
        if isinstance(rows, int):
            return self._band(spans, range(rows, rows + 1)).squeeze(self._place(spans))
        n = max(1, BAND // self.step)
        bands = [rows[i : i + n] for i in range(0, len(rows), n)] or [rows]
        read = [self._band(spans, band) for band in bands]
        return np.concatenate(read, axis=self._place(spans))

    def _place(self, spans: Sequence[int | range]) -> int:
        """Return which dimension rows are, once single planes are chosen."""
        return sum(isinstance(span, range) for span in spans[: self._rows])

    def _band(self, spans: Sequence[int | range], rows: range) -> npt.NDArray[Any]:
        fine: list[int | slice] = []
        steps: list[slice] = []
        for n, (axis, span) in enumerate(zip(self.axes, spans, strict=True)):
            part = rows if n == self._rows else span
            if isinstance(part, int):
                fine.append(part * self.step if axis in "YX" else part)
                continue
            step = self.step if axis in "YX" else 1
            last = max(part.start * step, (part.stop - 1) * step + 1)
            fine.append(slice(part.start * step, last))
            steps.append(slice(None, None, step))
        # A copy, because a view would keep all pixels between its own in memory.
        return self._level[tuple(fine)][tuple(steps)].copy()


@dataclass(frozen=True, eq=False)
class TiffPyramid:
    """A large TIFF.

    Attributes
    ----------
    levels : tuple of arrays
        The finest first; pixels of the fine ones are read when they are used.
    axes : str
        One letter of "PTZCYXS" for each dimension.
    notices : tuple of str
        What is left out, one sentence each.
    """

    levels: tuple[Any, ...]
    axes: str
    notices: tuple[str, ...]


def open_pyramid(path: Path) -> TiffPyramid | None:
    """Open a large TIFF without reading all of it.

    Parameters
    ----------
    path : Path
        The file, or one of several images in it; see `files.split_scene`.

    Returns
    -------
    TiffPyramid or None
        None if the image is small, or can only be read as a whole and fits into memory.

    Raises
    ------
    FileError
        If it is missing or damaged, or too large to be read as a whole, as it must be.
    """
    file, number = split_scene(path)
    check_regular(file)
    with decoding(path), opened(file) as (tiff, is_whole):
        n_bytes = sum(series.nbytes for series in image_in(tiff, number))
        if n_bytes <= HARMLESS_BYTES:
            return None
        slide = look_at(file, tiff, is_whole, number)
    if not slide.levels:
        _check_memory(path, n_bytes)
        return None
    finest = slide.levels[0]
    coarser = slide.levels[1:] or _coarser(finest)
    return TiffPyramid((finest, *coarser), finest.axes, slide.notices)


def _check_memory(path: Path, n_bytes: int) -> None:
    if 2 * n_bytes > memory_bytes():
        raise FileError(
            f"{shown(path)} is stored so that it can only be read as a whole, which takes "
            f"{n_bytes / 2**30:.1f} GB of memory: save it as a tiled TIFF or an OME-Zarr."
        )


def _coarser(finest: TiffLevel) -> list[Any]:
    """Make coarser levels; the coarsest are in memory, because they are used for each view.

    Of a stack they are all read when they are used, because a viewer shows few of its
    planes.
    """
    sides = [n for axis, n in zip(finest.axes, finest.shape, strict=True) if axis in "YX"]
    steps = [2**k for k in range(1, 32) if max(sides) > 2 ** (k - 1) * SMALL_SIDE]
    levels = [EverySecond(finest, step) for step in steps]
    if set(finest.axes) - set("YXS"):
        return list(levels)
    kept: list[Any] = [*levels[:LAZY_LEVELS]]
    for level in levels[LAZY_LEVELS:]:
        finer = kept[-1]
        thin = tuple(slice(None, None, 2) if a in "YX" else slice(None) for a in level.axes)
        in_memory = isinstance(finer, np.ndarray)
        kept.append(finer[thin].copy() if in_memory else level[...])
    return kept
