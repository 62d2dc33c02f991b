"""From image to prediction maps: tiles through the network, blended, in constant memory.

Tiles have one size and are spaced evenly; in each overlap the weight goes over linearly
from one tile to the next. When memory is short, the batch is halved first, then the tile,
then the CPU takes over. Turning maps into labels is `postprocess`.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from itertools import product
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from napari_resunet.engine.device import (
    Compute,
    failure,
    free_cached_memory,
    is_out_of_memory,
    no_memory,
)
from napari_resunet.engine.image_reader import Axis, ImageReader, read_resampled
from napari_resunet.engine.normalize import normalize, to_network_channels
from napari_resunet.engine.optimized import fast_copy
from napari_resunet.errors import Cancelled, FileError, ModelFileError
from napari_resunet.network.model_file import Model
from napari_resunet.network.resnet_unet import STRIDE, ResNetUNet
from napari_resunet.network.torch_import import torch, transforms
from napari_resunet.types import (
    CancelToken,
    FloatArray,
    Notice,
    Progress,
    Statistics,
    Task,
)
from napari_resunet.windows import moved

BATCH_ON_GPU = 16
SMALLEST_TILE = 128
LARGEST_MAPS_IN_MEMORY = 2**29
"""Maps of more bytes lie in a temporary file that the system pages in and out."""

Maps = npt.NDArray[np.float16]
Event = Progress | Notice


@dataclass(frozen=True)
class TTAView:
    """One way to see an image, for the mean over several.

    Attributes
    ----------
    mirrored : tuple of int
        Axes of (N, C, H, W) along which it is turned round.
    zoom : float
        Its size, about: sides stay multiples of `STRIDE`.
    """

    mirrored: tuple[int, ...] = ()
    zoom: float = 1.0


TTA_VIEWS: dict[Task, tuple[TTAView, ...]] = {
    "instances": (TTAView(), TTAView((2,)), TTAView((3,)), TTAView((2, 3))),
    # What a pixel is lies in its surroundings, and a smaller image shows more of them; the
    # place of an object's edge does not (docs/learning.md).
    "classes": (TTAView(), TTAView((2, 3)), TTAView((2,), 0.625), TTAView((3,), 0.625)),
}


@dataclass(frozen=True)
class PredictionRequest:
    """One plane of an image, with all that makes it the network's input.

    Attributes
    ----------
    planes : ImageReader
        The image.
    index : tuple of int
        Which plane.
    window : tuple of slice
        Rows and columns in image pixels.
    scale : float
        Factor from image to working pixels.
    statistics : Statistics
        Of the whole image.
    """

    planes: ImageReader
    index: tuple[int, ...]
    window: tuple[slice, slice]
    scale: float
    statistics: Statistics

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """Rows and columns of the window, image and working."""
        rows, columns = self.window
        return (
            Axis.scaled(rows.stop - rows.start, self.scale),
            Axis.scaled(columns.stop - columns.start, self.scale),
        )


@dataclass
class ExecutionPlan:
    """What out-of-memory errors may change: the network's place, batch and tile."""

    network: ResNetUNet
    compute: Compute
    batch: int
    tile: int


class Predictor:
    """A model made ready on a device; keeps what it learned about memory.

    Parameters
    ----------
    model : Model
        Which model.
    compute : Compute
        Where.
    """

    def __init__(self, model: Model, compute: Compute) -> None:
        self.model = model
        batch = 1 if compute.kind == "cpu" else BATCH_ON_GPU
        network = fast_copy(model.network, compute)
        self.plan = ExecutionPlan(network, compute, batch, model.info.tile)

    def maps(
        self,
        plane: PredictionRequest,
        token: CancelToken | None = None,
        *,
        mirrored: bool = False,
    ) -> Generator[Event, None, Maps]:
        """Predict the maps of a plane.

        Parameters
        ----------
        plane : Plane
            What.
        token : CancelToken or None
            Looked at between tiles.
        mirrored : bool
            Give the mean over the image and its three mirror images (for classes two of
            them smaller), in up to four times the time: what a model has learned from few
            corrections depends on the direction by chance, and the mean hardly does.

        Yields
        ------
        Progress or Notice
            After each batch of tiles; when memory was short.

        Returns
        -------
        float16 array, shape (n_maps, Y, X) in working pixels
            Probabilities, 0 to 1.

        Raises
        ------
        Cancelled
            If the token says so.
        OutOfMemoryError, DeviceError
            If not even the smallest tile can be computed on the CPU.
        FileError
            If the temporary folder has no room for large maps.
        ModelFileError
            If the network gives no numbers.
        """
        while True:
            try:
                return (yield from self._attempt(plane, token or CancelToken(), mirrored))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise failure(self.plan.compute, error) from error
                message = self._retreat(error)
            yield Notice(message)

    def _retreat(self, error: BaseException) -> str:
        """Make the next attempt smaller; return what to tell the user."""
        plan = self.plan
        free_cached_memory(plan.compute)
        if plan.batch > 1:
            plan.batch //= 2
            return f"Memory was short: going on with {plan.batch} tile(s) at a time."
        if plan.tile >= 2 * SMALLEST_TILE:
            plan.tile = plan.tile // 2 // 32 * 32
            return f"Memory was short: going on with tiles of {plan.tile} pixels."
        if plan.compute.kind != "cpu":
            cpu = Compute("cpu", torch.float32)
            self.plan = ExecutionPlan(
                fast_copy(self.model.network, cpu), cpu, 1, self.model.info.tile
            )
            return "Memory was short on the graphics card: going on with the CPU, slower."
        raise no_memory() from error

    def _attempt(
        self, plane: PredictionRequest, token: CancelToken, mirrored: bool
    ) -> Generator[Event, None, Maps]:
        rows, columns = (tile_grid(axis.n_network, self.plan.tile) for axis in plane.axes)
        maps = _empty_maps((self.model.info.n_maps, rows.n, columns.n))
        places = list(product(range(len(rows.starts)), range(len(columns.starts))))
        for first in range(0, len(places), self.plan.batch):
            batch = places[first : first + self.plan.batch]
            tiles = [self._tile(plane, rows, columns, place) for place in batch]
            outputs = self._run(tiles, mirrored)
            if not torch.isfinite(outputs).all():
                raise ModelFileError(
                    "The model computes no numbers for this image, so its weights are "
                    "damaged or its training went wrong: choose another model."
                )
            for place, output in zip(batch, outputs, strict=True):
                _blend(maps, output, rows, columns, place)
            yield Progress(min(first + len(batch), len(places)), len(places), "tiles")
            if token.cancelled:
                raise Cancelled
        return maps

    def _tile(
        self,
        plane: PredictionRequest,
        rows: TileGrid1D,
        columns: TileGrid1D,
        place: tuple[int, int],
    ) -> FloatArray:
        """Read one tile, (3, S, S'); beyond the image it is mirrored."""
        top, left = rows.starts[place[0]], columns.starts[place[1]]
        bottom, right = min(rows.n, top + rows.size), min(columns.n, left + columns.size)
        pixels = read_resampled(
            _Reader(self.model, plane), plane.axes, (top, bottom), (left, right)
        )
        missing = ((0, top + rows.size - bottom), (0, left + columns.size - right), (0, 0))
        if any(after for _, after in missing):
            pixels = np.pad(pixels, missing, mode="symmetric")
        return to_network_channels(pixels)

    def _run(self, tiles: list[FloatArray], mirrored: bool) -> torch.Tensor:
        images = torch.from_numpy(np.stack(tiles))
        views = TTA_VIEWS[self.model.info.task]
        # One after the other: together they would need four times the memory.
        seen = [self._seen(images, view) for view in (views if mirrored else views[:1])]
        return torch.stack(seen).mean(0)

    def _seen(self, images: torch.Tensor, view: TTAView) -> torch.Tensor:
        """Compute the maps of images as they look, and put them back in place."""
        compute, size = self.plan.compute, list(images.shape[-2:])
        sizes = [max(STRIDE, round(n * view.zoom / STRIDE) * STRIDE) for n in size]
        # On the CPU: not every device can resize without aliasing.
        turned = transforms.resize(images.flip(view.mirrored), sizes)
        there = turned.to(compute.device, compute.dtype).contiguous(
            memory_format=torch.channels_last
        )
        with torch.inference_mode():
            logits = self.plan.network(there).float()
            maps = to_probabilities(logits, self.model.info.task).cpu()
        return transforms.resize(maps, size).flip(view.mirrored)


@dataclass(frozen=True)
class _Reader:
    """Reads a window of the plane, normalised."""

    model: Model
    plane: PredictionRequest

    def __call__(self, rows: slice, columns: slice) -> FloatArray:
        window = moved((rows, columns), self.plane.window)
        pixels = self.plane.planes.read(self.plane.index, *window)
        return normalize(pixels, self.plane.statistics, self.model.info.normalization)


def to_probabilities(logits: torch.Tensor, task: Task) -> torch.Tensor:
    """Turn logits (N, n_maps, H, W) into probabilities: sigmoid, or softmax for classes."""
    return logits.softmax(1) if task == "classes" else logits.sigmoid()


def _empty_maps(shape: tuple[int, ...]) -> Maps:
    n_bytes = 2 * math.prod(shape)
    if n_bytes <= LARGEST_MAPS_IN_MEMORY:
        return np.zeros(shape, np.float16)
    try:
        # Unlinked by the system when the array goes.
        with tempfile.TemporaryFile() as stream:
            _reserve(stream, n_bytes)
            return np.memmap(stream, np.float16, "r+", shape=shape)
    except OSError as error:
        raise FileError(
            f"There is no room for {n_bytes / 1e9:.1f} GB of maps in the temporary folder "
            f"'{tempfile.tempdir}' ({error.strerror or error}): free some space there, or "
            "choose a smaller area."
        ) from error


def _reserve(stream: IO[bytes], n_bytes: int) -> None:
    """Take room on the disk: a mapped file that finds none later kills the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(stream.fileno(), 0, n_bytes)
        return
    zeros = bytes(2**24)
    for begin in range(0, n_bytes, len(zeros)):
        stream.write(zeros[: n_bytes - begin])
    stream.flush()


def _blend(
    maps: Maps,
    output: torch.Tensor,
    rows: TileGrid1D,
    columns: TileGrid1D,
    place: tuple[int, int],
) -> None:
    top, left = rows.starts[place[0]], columns.starts[place[1]]
    weights = rows.weights(place[0])[:, None] * columns.weights(place[1])[None]
    target = torch.from_numpy(maps[:, top : top + rows.size, left : left + columns.size])
    height, width = target.shape[1:]
    # torch: numpy's arithmetic in half precision is ten times slower.
    part = output[:, :height, :width] * torch.from_numpy(weights[:height, :width])
    target += part.half()


Line = npt.NDArray[np.floating[Any]]

OVERLAP = 32
"""Smallest overlap of neighbours in working pixels: a halo of 16 for each."""


@dataclass(frozen=True)
class TileGrid1D:
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


def tile_grid(n: int, largest: int) -> TileGrid1D:
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
        return TileGrid1D(n, size, (0,))
    starts = np.linspace(0, n - size, count).round().astype(int)
    return TileGrid1D(n, size, tuple(int(s) for s in starts))
