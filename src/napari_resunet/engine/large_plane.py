"""Labels of a plane that is too large for memory, one block at a time, or of any window.

The blocks tile the plane in image pixels. Each is predicted with a margin on the tiles of
the whole plane, so its labels are equal, pixel for pixel, to those of the whole plane.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.engine.blocks import (
    BlockLabels,
    PredictionMaps,
    decode_part,
    margin_around,
    number_labels,
)
from napari_resunet.engine.image_reader import Axis
from napari_resunet.engine.predict import KeptTiles, Predictor
from napari_resunet.engine.prepare import PredictionRequest
from napari_resunet.events import CancelToken, Notice, Progress
from napari_resunet.types import Decoding, Index, LabelArray, Window
from napari_resunet.windows import grown, relative

MARGINS = 3, 12, 48
"""Object diameters that a block sees around itself: more where it is not enough."""


@dataclass(frozen=True)
class BlockGrid:
    """Blocks of a plane.

    Attributes
    ----------
    axes : tuple of Axis
        Rows and columns of the plane.
    side : int
        Rows and columns of a block in image pixels.
    """

    axes: tuple[Axis, Axis]
    side: int

    @property
    def shape(self) -> tuple[int, int]:
        """Number of blocks along rows and columns."""
        rows, columns = (-(-axis.n_image // self.side) for axis in self.axes)
        return rows, columns

    def window(self, row: int, column: int) -> Window:
        """Return the image pixels of a block."""
        rows, columns = (
            slice(i * self.side, min((i + 1) * self.side, axis.n_image))
            for i, axis in zip((row, column), self.axes, strict=True)
        )
        return rows, columns

    def owned(self, row: int, column: int) -> Window:
        """Return the pixels at network resolution whose seeds are a block's own."""
        rows, columns = (
            slice(int(edges[i]), int(edges[i + 1]))
            for i, edges in zip((row, column), self._edges, strict=True)
        )
        return rows, columns

    def core(self, row: int, column: int) -> Window:
        """Return the pixels at network resolution that a block has to know."""
        spans = zip(
            self.axes, self.window(row, column), self.owned(row, column), strict=True
        )
        rows, columns = (
            slice(own.start, max(own.stop, int(axis.nearest_network(pixels)[-1]) + 1))
            for axis, pixels, own in spans
        )
        return rows, columns

    def rows_of(self, names: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the row of blocks that owns each object, given the objects' names."""
        rows = (names - 1) // self.axes[1].n_network
        return np.searchsorted(self._edges[0], rows, side="right") - 1

    @cached_property
    def _edges(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        rows, columns = (
            np.array([0, *_network_pixels(axis, range(self.side, axis.n_image, self.side))])
            for axis in self.axes
        )
        ends = [axis.n_network for axis in self.axes]
        return np.append(rows, ends[0]), np.append(columns, ends[1])


def _network_pixels(axis: Axis, pixels: range) -> list[int]:
    return [int(axis.nearest_network(slice(pixel, pixel + 1))[0]) for pixel in pixels]


def label_block(
    predictor: Predictor,
    plane: PredictionRequest,
    grid: BlockGrid,
    place: tuple[int, int],
    decoding: Decoding,
    token: CancelToken | None = None,
    kept: KeptTiles | None = None,
) -> Generator[Progress | Notice, None, BlockLabels]:
    """Predict and decode one block of a plane.

    Parameters
    ----------
    predictor : Predictor
        The model on a device.
    plane : PredictionRequest
        The whole plane.
    grid : BlockGrid
        Its blocks.
    place : tuple of int
        Row and column of the block in the grid.
    decoding : Decoding
        How maps become labels.
    token : CancelToken or None
        Checked between tiles.
    kept : KeptTiles or None
        Of the block to the left; saves time, and changes nothing.

    Yields
    ------
    Progress or Notice
        See `Predictor.maps`.

    Returns
    -------
    BlockLabels
        The labels in `grid.window(*place)`. If objects there are larger than the largest
        margin, `whole` is False: they may have other names in other blocks.
    """
    core = grid.core(*place)
    predicted, found = yield from _label_core(
        predictor, plane, grid.axes, core, decoding, token, kept
    )
    return _own(found, predicted.image_window(core), grid, place)


@dataclass(frozen=True, eq=False)
class WindowMaps:
    """The prediction maps of a window of a plane, and of a margin around it.

    Attributes
    ----------
    predicted : PredictionMaps
        Maps of a part of the plane.
    window : tuple of slice
        Rows and columns of the plane in image pixels.
    """

    predicted: PredictionMaps
    window: Window

    @property
    def core(self) -> Window:
        """Rows and columns at network resolution that the window's pixels are in."""
        return _core(self.predicted.axes, self.window)

    def decoded(self, decoding: Decoding) -> LabelArray:
        """Decode the labels of the window as those of the whole plane.

        Returns
        -------
        int32 array, shape of the window
            Objects numbered from 1 in the order of their seeds, or class values.
        """
        return self.numbered(decode_part(self.predicted, decoding, self.core))

    def numbered(self, found: BlockLabels) -> LabelArray:
        """Crop what was found in `core` to the window, and number its objects."""
        whole = self.predicted.image_window(self.core)
        labels = found.labels[relative(self.window, whole)]
        if self.predicted.info.task == "classes":
            return labels
        return number_labels(replace(found, labels=labels), np.unique(found.ids[1:]))

    def inside(self) -> PredictionMaps:
        """Return the maps of the window alone, as if it were a plane.

        Their pixels are at most one pixel at network resolution beside their place.
        """
        sides = zip(self.window, self.core, strict=True)
        rows, columns = (Axis(w.stop - w.start, c.stop - c.start) for w, c in sides)
        maps = self.predicted.read(self.core)
        return PredictionMaps(maps, (rows, columns), self.predicted.info)


def label_window(
    predictor: Predictor,
    plane: PredictionRequest,
    window: Window,
    decoding: Decoding,
    token: CancelToken | None = None,
) -> Generator[Progress | Notice, None, tuple[WindowMaps, LabelArray]]:
    """Predict and decode any window of a plane.

    Parameters
    ----------
    predictor, plane, decoding, token
        As for `label_block`.
    window : tuple of slice
        Rows and columns in image pixels.

    Yields
    ------
    Progress or Notice
        See `Predictor.maps`.

    Returns
    -------
    maps : WindowMaps
    labels : int32 array, shape of the window
        As `WindowMaps.decoded` returns them.
    """
    core = _core(plane.axes, window)
    predicted, found = yield from _label_core(
        predictor, plane, plane.axes, core, decoding, token
    )
    maps = WindowMaps(predicted, window)
    return maps, maps.numbered(found)


def _core(axes: tuple[Axis, Axis], window: Window) -> Window:
    """Return the pixels at network resolution that image pixels are in."""
    ends = (
        axis.nearest_network(span)[[0, -1]] for axis, span in zip(axes, window, strict=True)
    )
    rows, columns = (slice(int(first), int(last) + 1) for first, last in ends)
    return rows, columns


def _label_core(
    predictor: Predictor,
    plane: PredictionRequest,
    axes: tuple[Axis, Axis],
    core: Window,
    decoding: Decoding,
    token: CancelToken | None = None,
    kept: KeptTiles | None = None,
) -> Generator[Progress | Notice, None, tuple[PredictionMaps, BlockLabels]]:
    """Predict and decode a part given at network resolution, with margin enough."""
    info, shape = predictor.model.info, tuple(axis.n_network for axis in axes)
    for diameters in MARGINS:
        part = grown(core, margin_around(info, diameters), shape)
        near = _read_once(plane, axes, part, predictor.plan.tile)
        request = replace(plane, reader=near, part=part)
        maps = yield from predictor.maps(request, token, tta=info.tta, kept=kept)
        predicted = PredictionMaps(maps, axes, info, part)
        found = decode_part(predicted, decoding, core)
        if found.whole:
            break
    return predicted, found


@dataclass(frozen=True, eq=False)
class _InMemory:
    """Pixels of one window, because tiles overlap and storage is read in chunks."""

    pixels: npt.NDArray[Any]
    window: Window

    def read(self, index: Index, rows: slice, columns: slice) -> npt.NDArray[Any]:
        del index  # always of the same plane
        return self.pixels[relative((rows, columns), self.window)]


def _read_once(
    plane: PredictionRequest, axes: tuple[Axis, Axis], part: Window, tile: int
) -> _InMemory:
    """Read all pixels that the tiles of a part need."""
    rows, columns = (
        axis.matrix(max(0, s.start - tile), min(axis.n_network, s.stop + tile))[0]
        for axis, s in zip(axes, part, strict=True)
    )
    return _InMemory(plane.reader.read(plane.index, rows, columns), (rows, columns))


def _own(
    found: BlockLabels, window: Window, grid: BlockGrid, place: tuple[int, int]
) -> BlockLabels:
    """Keep the pixels and names that are the block's own."""
    labels = found.labels[relative(grid.window(*place), window)]
    rows, columns = np.divmod(found.owned - 1, grid.axes[1].n_network)
    own = grid.owned(*place)
    inside = (rows >= own[0].start) & (rows < own[0].stop)
    inside &= (columns >= own[1].start) & (columns < own[1].stop)
    return replace(found, labels=labels, owned=found.owned[inside])
