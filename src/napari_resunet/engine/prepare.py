"""Tiles of an image as network input, made on the device.

Pixels go to the device as they were read; what is done to each of them happens there:
normalizing, resampling, extending beyond the edge. On a CPU it is the same code, with the
results of `normalize` and `read_resampled`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from napari_resunet.engine.augment import complete_channels
from napari_resunet.engine.device import upload
from napari_resunet.engine.image_reader import Axis
from napari_resunet.engine.normalize import Span, normalize
from napari_resunet.network.torch_import import functional, torch
from napari_resunet.types import Index, Normalization, Statistics, Window
from napari_resunet.windows import moved


class PixelReader(Protocol):
    """Reads pixels of an image."""

    def read(self, index: Index, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """Read a window of a plane, shape (h, w, C)."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """A plane in memory, shape (Y, X, C)."""

    pixels: npt.NDArray[Any]

    def read(self, index: Index, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """Read a window, shape (h, w, C)."""
        return self.pixels[rows, columns]


@dataclass(frozen=True)
class PredictionRequest:
    """A window of a plane, and how to prepare it for the network.

    Attributes
    ----------
    reader : PixelReader
        The image.
    index : tuple of int
        Position of the plane in the stack.
    window : tuple of slice
        Rows and columns in image pixels.
    scale : float
        Rescale factor from image pixels to network resolution.
    statistics : Statistics
        Of the whole image.
    part : tuple of slice or None
        Rows and columns of the window at network resolution to predict; None predicts all.
        The maps of a part are those that the whole window has there.
    """

    reader: PixelReader
    index: Index
    window: Window
    scale: float
    statistics: Statistics
    part: Window | None = None

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """Rows and columns of the window."""
        rows, columns = self.window
        return (
            Axis.scaled(rows.stop - rows.start, self.scale),
            Axis.scaled(columns.stop - columns.start, self.scale),
        )


class TileReader:
    """Reads tiles of a window; filters that tiles share are computed once.

    Parameters
    ----------
    request : PredictionRequest
        The window, and how to prepare it.
    normalization : Normalization
        Of the model.
    device : torch.device
        Where the tiles are made.
    """

    def __init__(
        self,
        request: PredictionRequest,
        normalization: Normalization,
        device: torch.device,
    ) -> None:
        self._request, self._normalization = request, normalization
        self._device = device
        self._span = Span.of(request.statistics)
        self._filters: dict[tuple[Axis, int, int], _Filter] = {}

    def read(self, rows: slice, columns: slice) -> torch.Tensor:
        """Read a tile, extended by reflection beyond the window.

        Parameters
        ----------
        rows, columns : slice
            At network resolution; the stop may be beyond the window.

        Returns
        -------
        float32 Tensor, shape (3, rows, columns)
        """
        axes, spans = self._request.axes, (rows, columns)
        inside = [
            slice(s.start, min(s.stop, a.n_network))
            for s, a in zip(spans, axes, strict=True)
        ]
        if all(axis.n_image == axis.n_network for axis in axes):
            pixels = self._normalized(inside[0], inside[1])
        else:
            down, across = (self._filter(a, s) for a, s in zip(axes, inside, strict=True))
            pixels = self._normalized(down.window, across.window)
            pixels = across.along_rows(down.along_rows(pixels).mT).mT
        missing = [(0, s.stop - i.stop) for s, i in zip(spans, inside, strict=True)]
        return complete_channels(mirrored(pixels, *missing))

    def _normalized(self, rows: slice, columns: slice) -> torch.Tensor:
        """Read image pixels, shape (C, h, w)."""
        request = self._request
        window = moved((rows, columns), request.window)
        pixels = request.reader.read(request.index, *window)
        if self._span.is_wide(pixels.dtype):
            # Not every device has float64.
            exact = normalize(pixels, request.statistics, self._normalization)
            return upload(np.moveaxis(exact, -1, 0), self._device)
        values = upload(np.moveaxis(pixels, -1, 0), self._device)
        return normalize_(values, self._span, self._normalization)

    def _filter(self, axis: Axis, span: slice) -> _Filter:
        key = axis, span.start, span.stop
        if key not in self._filters:
            self._filters[key] = _Filter.of(axis, span, self._device)
        return self._filters[key]


def normalize_(
    values: torch.Tensor, span: Span, normalization: Normalization
) -> torch.Tensor:
    """Do what `normalize` does to pixels that need no float64, in place.

    Parameters
    ----------
    values : float32 Tensor, shape (C, h, w)
        Intensities.
    span : Span
        Of the whole image.
    normalization : Normalization
        Of the model.
    """
    for plane, low, inverse in zip(values, span.low, span.inverse, strict=True):
        plane.sub_(float(low)).mul_(float(inverse))
    values.nan_to_num_(0.0, torch.inf, -torch.inf)
    values.clamp_(normalization.clip_low, normalization.clip_high)
    return values.sub_(normalization.mean).div_(normalization.std)


@dataclass(frozen=True)
class _Filter:
    """`Axis.matrix` on a device.

    A bag of embeddings is a row of a sparse matrix times a dense one: on a CPU a tenth of
    the time of a dense product, and unlike sparse tensors it is not experimental.
    """

    window: slice
    taps: torch.Tensor
    begins: torch.Tensor
    weights: torch.Tensor

    @classmethod
    def of(cls, axis: Axis, span: slice, device: torch.device) -> _Filter:
        window, matrix = axis.matrix(span.start, span.stop)
        parts: tuple[npt.NDArray[Any], ...] = (matrix.indices, matrix.indptr, matrix.data)
        taps, begins, weights = (
            torch.from_numpy(part).to(device, non_blocking=True) for part in parts
        )
        return cls(window, taps, begins, weights)

    def along_rows(self, values: torch.Tensor) -> torch.Tensor:
        """Resample the rows of (C, h, w)."""
        channels, height, width = values.shape
        flat = values.movedim(0, 1).reshape(height, channels * width)
        found = functional.embedding_bag(
            self.taps,
            flat,
            self.begins,
            mode="sum",
            per_sample_weights=self.weights,
            include_last_offset=True,
        )
        return found.view(-1, channels, width).movedim(1, 0)


def mirrored(
    planes: torch.Tensor, rows: tuple[int, int], columns: tuple[int, int]
) -> torch.Tensor:
    """Extend (..., h, w) by its mirror image, as `numpy.pad` does in mode "symmetric".

    Parameters
    ----------
    planes : Tensor, shape (..., h, w)
        Anything, on any device.
    rows, columns : tuple of int
        How many to add before and after.
    """
    for dim, around in ((-2, rows), (-1, columns)):
        if any(around):
            places = np.pad(np.arange(planes.shape[dim]), around, mode="symmetric")
            planes = planes.index_select(
                dim, torch.from_numpy(places).to(planes.device, non_blocking=True)
            )
    return planes
