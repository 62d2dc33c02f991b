"""Prediction maps of an image: tiles through the network, blended, in constant memory.

Tiles have equal size and spacing, and overlap with a linear crossfade. When memory is
short, the batch is halved first, then the tile, then the CPU takes over. `postprocess`
turns maps into labels.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from napari_resunet.engine.device import (
    Compute,
    Download,
    device_error,
    free_cached_memory,
    free_memory,
    is_out_of_memory,
    no_memory,
)
from napari_resunet.engine.optimized import fast_copy
from napari_resunet.engine.prepare import PredictionRequest, TileReader
from napari_resunet.errors import Cancelled, FileError, ModelFileError
from napari_resunet.events import CancelToken, Notice, Progress
from napari_resunet.network.model_file import Model
from napari_resunet.network.resnet_unet import STRIDE, ResNetUNet
from napari_resunet.network.torch_import import functional, torch, transforms
from napari_resunet.types import FloatArray, Index, Task, Window
from napari_resunet.windows import overlap, relative

BATCH_ON_GPU = 16
"""Tiles at once on a graphics card, if it has room for twice as many."""

ACTIVATIONS = 512
"""Numbers that the network holds at most for each pixel of a tile: 448 features around the
last concatenation, and a few smaller ones."""

MIN_TILE = 128
KEPT_COLUMNS = 3
"""Columns of tiles that two parts side by side may share."""

MAX_MAPS_IN_MEMORY = 2**29
"""Larger maps, in bytes, are stored in a temporary file that is mapped into memory."""

Maps = npt.NDArray[np.float16]
Event = Progress | Notice


@dataclass(frozen=True)
class TTAView:
    """A view of an image for test-time augmentation.

    Attributes
    ----------
    flips : tuple of int
        Axes of (N, C, H, W) to flip.
    zoom : float
        Approximate size; the sides stay multiples of `STRIDE`.
    """

    flips: tuple[int, ...] = ()
    zoom: float = 1.0


TTA_VIEWS: dict[Task, tuple[TTAView, ...]] = {
    "instances": (TTAView(), TTAView((2,)), TTAView((3,)), TTAView((2, 3))),
    # The class of a pixel depends on its surroundings, and a smaller image shows more of
    # them; the outline of an object does not (docs/learning.md).
    "classes": (TTAView(), TTAView((2, 3)), TTAView((2,), 0.625), TTAView((3,), 0.625)),
}


@dataclass
class ExecutionPlan:
    """What changes when memory is short: the network's device, the batch, and the tile."""

    network: ResNetUNet
    compute: Compute
    batch: int
    tile: int


@dataclass
class KeptTiles:
    """The last tiles of a plane that were predicted, for the part to the right.

    Attributes
    ----------
    index : tuple of int
        The plane.
    tiles : dict
        Maps of a tile by its row and column in the grid of the plane.
    """

    index: Index
    tiles: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)

    def forget(self, n: int) -> None:
        """Keep the last `n` tiles only."""
        for place in list(self.tiles)[: max(0, len(self.tiles) - n)]:
            del self.tiles[place]


class MapPredictor(Protocol):
    """Predicts maps, on this computer or on another one."""

    @property
    def model(self) -> Model:
        """The model."""

    @property
    def description(self) -> str:
        """The device and its precision, for the user."""

    @property
    def batch(self) -> int:
        """Number of tiles that are predicted at once."""

    def maps(
        self,
        request: PredictionRequest,
        token: CancelToken | None = None,
        *,
        tta: bool = False,
        kept: KeptTiles | None = None,
    ) -> Generator[Event, None, Maps]:
        """Predict the maps of a window; see `Predictor.maps`."""


class Predictor:
    """A model on a device; it remembers how much memory there was."""

    def __init__(self, model: Model, compute: Compute) -> None:
        self.model = model
        network = fast_copy(model.network, compute)
        batch = _batch_that_fits(compute, model.info.tile)
        self.plan = ExecutionPlan(network, compute, batch, model.info.tile)

    @property
    def description(self) -> str:
        """The device in use: the CPU, once the GPU has run out of memory."""
        return self.plan.compute.description

    @property
    def batch(self) -> int:
        """Number of tiles that are predicted at once."""
        return self.plan.batch

    def maps(
        self,
        request: PredictionRequest,
        token: CancelToken | None = None,
        *,
        tta: bool = False,
        kept: KeptTiles | None = None,
    ) -> Generator[Event, None, Maps]:
        """Predict the maps of a window.

        Parameters
        ----------
        request : PredictionRequest
            What to predict.
        token : CancelToken or None
            Checked between tiles.
        tta : bool
            Whether to average the maps of the image and its flipped copies, for classes
            partly smaller, in up to four times the time. What a model learned from few
            corrections varies with the direction, but the average hardly does.
        kept : KeptTiles or None
            Tiles of the same plane, for the next part of it.

        Yields
        ------
        Progress or Notice
            After each batch of tiles, and when memory is short.

        Returns
        -------
        float16 array, shape (n_maps, Y, X)
            Probabilities at network resolution.

        Raises
        ------
        Cancelled
            If the token requests it.
        OutOfMemoryError
            If the CPU has no memory for the smallest tile.
        DeviceError
            If the device fails.
        FileError
            If the temporary folder has no space for large maps.
        ModelFileError
            If the network computes NaN or infinity.
        """
        while True:
            try:
                return (yield from self._attempt(request, token, tta, kept))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise device_error(self.plan.compute, error) from error
                message = self._use_less_memory(error)
                if kept is not None:
                    kept.tiles.clear()  # they may have another size now
            yield Notice(message)

    def _use_less_memory(self, error: BaseException) -> str:
        """Make the next attempt smaller, and return a notice for the user."""
        plan = self.plan
        free_cached_memory(plan.compute)
        if plan.batch > 1:
            plan.batch //= 2
            return f"Memory is short: continuing with {plan.batch} tile(s) at a time."
        if plan.tile >= 2 * MIN_TILE:
            plan.tile = plan.tile // 2 // 32 * 32
            return f"Memory is short: continuing with tiles of {plan.tile} pixels."
        if plan.compute.kind != "cpu":
            cpu = Compute("cpu", torch.float32)
            self.plan = ExecutionPlan(
                fast_copy(self.model.network, cpu), cpu, 1, self.model.info.tile
            )
            return "Memory is short on the graphics card: continuing on the CPU, slower."
        raise no_memory() from error

    def _attempt(
        self,
        request: PredictionRequest,
        token: CancelToken | None,
        tta: bool,
        kept: KeptTiles | None,
    ) -> Generator[Event, None, Maps]:
        rows, columns = (tile_grid(axis.n_network, self.plan.tile) for axis in request.axes)
        part = request.part or (slice(0, rows.n), slice(0, columns.n))
        maps = _empty_maps((self.model.info.n_maps, *(s.stop - s.start for s in part)))
        kept = kept or KeptTiles(request.index)
        device = self.plan.compute.pixel_device
        reader = TileReader(request, self.model.info.normalization, device)
        blender = Blender(maps, part, (rows, columns), device)
        # Column by column, as `KeptTiles` and `Blender` expect.
        down = rows.meeting(part[0])
        places = [(row, column) for column in columns.meeting(part[1]) for row in down]
        for first in range(0, len(places), self.plan.batch):
            batch = places[first : first + self.plan.batch]
            new = [place for place in batch if place not in kept.tiles]
            if new:
                tiles = [reader.read(rows.span(r), columns.span(c)) for r, c in new]
                kept.tiles |= zip(new, self._run(tiles, tta), strict=True)
            for place in batch:
                blender.add(kept.tiles[place], place)
            kept.forget(KEPT_COLUMNS * len(down) + len(batch))
            yield Progress(min(first + len(batch), len(places)), len(places), "tiles")
            if token is not None and token.cancelled:
                raise Cancelled
        blender.finish()
        return maps

    def _run(self, tiles: list[torch.Tensor], tta: bool) -> torch.Tensor:
        images = torch.stack(tiles)
        views = TTA_VIEWS[self.model.info.task]
        # One after the other, because together they would need four times the memory.
        maps = [self._predict_view(images, v) for v in (views if tta else views[:1])]
        return torch.stack(maps).mean(0)

    def _predict_view(self, images: torch.Tensor, view: TTAView) -> torch.Tensor:
        """Compute the maps of a view of the images, and transform them back."""
        compute, size = self.plan.compute, list(images.shape[-2:])
        sizes = [max(STRIDE, round(n * view.zoom / STRIDE) * STRIDE) for n in size]
        flipped = transforms.resize(images.flip(view.flips), sizes)
        on_device = flipped.to(compute.device, compute.dtype).contiguous(
            memory_format=torch.channels_last
        )
        with torch.inference_mode():
            logits = self.plan.network(on_device).float()
            maps = to_probabilities(logits, self.model.info.task).to(images.device)
        return transforms.resize(maps, size).flip(view.flips)


def _batch_that_fits(compute: Compute, tile: int) -> int:
    """Return how many tiles take half of the free memory of a card; 1 on the CPU."""
    if compute.kind == "cpu":
        return 1
    n_bytes = ACTIVATIONS * compute.dtype.itemsize * tile**2
    return int(np.clip(free_memory(compute) // (2 * n_bytes), 1, BATCH_ON_GPU))


def to_probabilities(logits: torch.Tensor, task: Task) -> torch.Tensor:
    """Turn logits (N, n_maps, H, W) into probabilities: sigmoid, or softmax for classes."""
    return logits.softmax(1) if task == "classes" else logits.sigmoid()


def _empty_maps(shape: tuple[int, ...]) -> Maps:
    n_bytes = 2 * math.prod(shape)
    if n_bytes <= MAX_MAPS_IN_MEMORY:
        return np.zeros(shape, np.float16)
    try:
        # The file is removed when the array is.
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
    """Allocate disk space: a mapped file that runs out of it kills the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(stream.fileno(), 0, n_bytes)
        return
    zeros = bytes(2**24)
    for begin in range(0, n_bytes, len(zeros)):
        stream.write(zeros[: n_bytes - begin])
    stream.flush()


class Blender:
    """Adds tiles up on the device in float32; columns that are complete go to the maps.

    Parameters
    ----------
    maps : float16 array, shape (n_maps, Y, X)
        Of the part; filled in `finish` at the latest.
    part : tuple of slice
        Rows and columns of the plane.
    grids : tuple of TileGrid1D
        Rows and columns of tiles.
    device : torch.device
        Where the tiles are.
    """

    def __init__(
        self,
        maps: Maps,
        part: Window,
        grids: tuple[TileGrid1D, TileGrid1D],
        device: torch.device,
    ) -> None:
        self._maps, self._part, self._grids = maps, part, grids
        self._weights = [
            torch.from_numpy(np.stack([grid.weights(i) for i in range(len(grid.starts))]))
            for grid in grids
        ]
        self._weights = [weights.to(device) for weights in self._weights]
        width = min(grids[1].size, maps.shape[2])
        self._strip = torch.zeros(*maps.shape[:2], width, device=device)
        self._begin = part[1].start
        self._arriving: tuple[slice, Download] | None = None

    def add(self, output: torch.Tensor, place: tuple[int, int]) -> None:
        """Add what a tile (n_maps, S, S') contributes; columns come in ascending order."""
        rows, columns = (g.span(i) for g, i in zip(self._grids, place, strict=True))
        self._advance(columns.start)
        both = overlap((rows, columns), self._part)
        here = relative(both, (rows, columns))
        strip = self._part[0], slice(self._begin, self._part[1].stop)
        down, across = (w[i] for w, i in zip(self._weights, place, strict=True))
        weights = down[here[0], None] * across[here[1]]
        self._strip[:, *relative(both, strip)] += output[:, *here] * weights

    def finish(self) -> None:
        """Write the rest."""
        self._advance(self._part[1].stop)
        self._write()

    def _advance(self, column: int) -> None:
        """Send away what is left of a column of the plane."""
        n = min(column, self._part[1].stop) - self._begin
        if n <= 0:
            return
        done = self._strip[:, :, :n].half()
        self._write()  # those before, which had the time of a column of tiles to arrive
        begin = self._begin - self._part[1].start
        self._arriving = slice(begin, begin + n), Download(done, done.isfinite().all())
        self._strip = functional.pad(self._strip[:, :, n:], (0, n))
        self._begin += n

    def _write(self) -> None:
        if self._arriving is None:
            return
        columns, download = self._arriving
        maps, finite = download.wait()
        if not finite:
            raise ModelFileError(
                "The model computes no numbers for this image, so its weights are "
                "damaged or its training went wrong: choose another model."
            )
        # By torch, because numpy's half precision is ten times slower.
        torch.from_numpy(self._maps[:, :, columns]).copy_(maps)
        self._arriving = None


OVERLAP = 32
"""Smallest overlap of neighbouring tiles at network resolution: a halo of 16 for each."""


@dataclass(frozen=True)
class TileGrid1D:
    """The tiles along an axis of length `n`: `size` pixels from each of `starts`."""

    n: int
    size: int
    starts: tuple[int, ...]

    def span(self, i: int) -> slice:
        """Return the pixels that tile `i` covers, which may go on beyond the axis."""
        return slice(self.starts[i], self.starts[i] + self.size)

    def meeting(self, part: slice) -> list[int]:
        """List the tiles that contribute to a part."""
        ends = [self._middle(i) for i in range(len(self.starts) - 1)]
        begins = [-math.inf, *(end - OVERLAP / 2 for end in ends)]
        ends = [*(end + OVERLAP / 2 for end in ends), math.inf]
        spans = enumerate(zip(begins, ends, strict=True))
        return [i for i, (begin, end) in spans if begin < part.stop and end > part.start]

    def weights(self, i: int) -> FloatArray:
        """Compute the blending weights of tile `i`, 0 to 1."""
        position = np.arange(self.size) + self.starts[i] + 0.5
        weight = np.ones(self.size, np.float32)
        if i > 0:
            weight = np.minimum(weight, self._ramp(i - 1, position))
        if i < len(self.starts) - 1:
            weight = np.minimum(weight, 1 - self._ramp(i, position))
        return weight.astype(np.float32)

    def _ramp(self, i: int, position: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Rise from 0 to 1 in the middle of the overlap of tiles `i` and `i + 1`."""
        return np.clip((position - self._middle(i)) / OVERLAP + 0.5, 0.0, 1.0)

    def _middle(self, i: int) -> float:
        """Return the middle of the overlap of tiles `i` and `i + 1`."""
        return (self.starts[i] + self.size + self.starts[i + 1]) / 2


def tile_grid(n: int, largest: int) -> TileGrid1D:
    """Cover an axis with equal tiles; a single tile may extend beyond its end.

    Parameters
    ----------
    n : int
        Length at network resolution, at least 1.
    largest : int
        Largest side of a tile, a multiple of 32 and at least 96.
    """
    count = 1 if n <= largest else int(np.ceil((n - OVERLAP) / (largest - OVERLAP)))
    exact = (n + (count - 1) * OVERLAP) / count
    size = int(np.ceil(exact / STRIDE)) * STRIDE
    if count == 1:
        return TileGrid1D(n, size, (0,))
    starts = np.linspace(0, n - size, count).round().astype(int)
    return TileGrid1D(n, size, tuple(int(s) for s in starts))
