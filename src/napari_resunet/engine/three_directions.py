"""Objects of a volume, found in the planes of three directions.

In its slices, two nuclei that lie above one another look like one. The planes XZ and YZ
show where one ends and the next begins, as Cellpose uses them, too (Stringer et al. 2021,
https://doi.org/10.1038/s41592-020-01018-x). The maps of all planes are averaged, and
decoded like those of a plane, in 3D. What it gains over linking:
docs/research/three-directions.md.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.segmentation import relabel_sequential

from napari_resunet.engine.blocks import PredictionMaps, labels_to_image
from napari_resunet.engine.image_reader import Axis, ImageReader, read_resampled
from napari_resunet.engine.postprocess import HIGHEST_SEED, decode
from napari_resunet.engine.predict import Event, MapPredictor, Maps
from napari_resunet.engine.prepare import PredictionRequest
from napari_resunet.events import CancelToken, Progress, only_notices, relayed
from napari_resunet.types import (
    Decoding,
    FloatArray,
    Index,
    LabelArray,
    ModelInfo,
    Statistics,
)

N_MAPS = 2
"""Foreground and inner distance are decoded; the boundary is not."""

SEED_RAISE = 0.1
"""Added to the seed level of the model: between two objects that lie above one another, XY
alone sees the middle of an object, and lifts the mean."""


@dataclass(frozen=True)
class VolumeRequest:
    """A volume, and how to prepare it for the network.

    Attributes
    ----------
    reader : ImageReader
        The image.
    indices : sequence of tuple of int
        Positions of the slices in the stack, in order.
    scale : float
        Rescale factor from image pixels to network resolution.
    slice_step : float
        From slice to slice, in image pixels.
    statistics : Statistics
        Of the whole image.
    """

    reader: ImageReader
    indices: Sequence[Index]
    scale: float
    slice_step: float
    statistics: Statistics

    @property
    def axes(self) -> tuple[Axis, Axis, Axis]:
        """Slices, rows, and columns."""
        return (
            Axis.scaled(len(self.indices), self.scale * self.slice_step),
            Axis.scaled(self.reader.height, self.scale),
            Axis.scaled(self.reader.width, self.scale),
        )


def segment_volume(
    predictor: MapPredictor,
    request: VolumeRequest,
    decoding: Decoding,
    token: CancelToken | None = None,
) -> Generator[Event, None, LabelArray]:
    """Find the objects of a volume.

    Parameters
    ----------
    predictor : MapPredictor
        A model of objects on its device.
    request : VolumeRequest
        The volume.
    decoding : Decoding
        How maps become labels.
    token : CancelToken or None
        Checked between tiles.

    Yields
    ------
    Progress or Notice
        After each plane, and when memory is short.

    Returns
    -------
    int32 array, shape (Z, Y, X)
        Numbered from 1 without gaps, in image pixels.

    Raises
    ------
    Cancelled
        If the token requests it.
    OutOfMemoryError, DeviceError, ModelFileError
        As in `Predictor.maps`.
    """
    maps = yield from _mean_maps(predictor, request, token)
    info = predictor.model.info
    volume = np.pi / 6 * info.diameter**3
    # The same share of the diameter as in a plane.
    min_size = info.min_size_fraction**1.5 * volume
    levels = replace(info.levels, seed=min(info.levels.seed + SEED_RAISE, HIGHEST_SEED))
    found = decode(maps, decoding, levels, min_size, volume)
    return _in_image(found, maps, info, request, decoding)


def _in_image(
    found: LabelArray,
    maps: FloatArray,
    info: ModelInfo,
    request: VolumeRequest,
    decoding: Decoding,
) -> LabelArray:
    """Resample labels to image pixels, slice by slice."""
    depth, rows, columns = request.axes
    labels = np.zeros((depth.n_image, rows.n_image, columns.n_image), np.int32)
    nearest = depth.nearest_network(slice(0, depth.n_image))
    for target, z in zip(labels, nearest, strict=True):
        there = PredictionMaps(maps[:, z].astype(np.float16), (rows, columns), info)
        window = request.reader.window
        target[:] = labels_to_image(found[z], there.covered, there, window, decoding)
    numbered: LabelArray = relabel_sequential(labels)[0]
    return numbered


def _mean_maps(
    predictor: MapPredictor, request: VolumeRequest, token: CancelToken | None
) -> Generator[Event, None, FloatArray]:
    """Average the maps of three directions, (2, Z, Y, X) at network resolution."""
    depth, *plane = request.axes
    slices = _slices(request)
    filled = _resampled(slices, depth)
    mean = np.zeros((N_MAPS, *filled.shape[:3]), np.float32)
    n_planes = depth.n_image + sum(axis.n_network for axis in plane)
    n_before = 0
    # The network sees no XY plane that was made up between two slices.
    for axis, volume in enumerate((slices, filled, filled)):
        planes = np.moveaxis(volume, axis, 0)
        events = _maps_of(predictor, planes, request.statistics, token)
        maps = yield from _counted(events, n_before, n_planes)
        n_before += len(planes)
        for values, total in zip(np.moveaxis(maps, 1, 0), mean, strict=True):
            whole = _resampled(values, depth) if axis == 0 else values
            total += np.moveaxis(whole, 0, axis) / np.float32(3)
    return mean


def _maps_of(
    predictor: MapPredictor,
    planes: FloatArray,
    statistics: Statistics,
    token: CancelToken | None,
) -> Generator[Event, None, Maps]:
    """Predict the maps of planes (n, h, w, C); the result is (n, 2, h, w)."""
    reader = ImageReader([planes], "ZYXC", range(planes.shape[-1]))
    maps = np.zeros((len(planes), N_MAPS, *planes.shape[1:3]), np.float16)
    for k, index in enumerate(reader.indices()):
        plane = PredictionRequest(reader, index, reader.window, 1.0, statistics)
        events = predictor.maps(plane, token, tta=predictor.model.info.tta)
        maps[k] = (yield from only_notices(events))[:N_MAPS]
        yield Progress(k + 1, len(planes), "planes")
    return maps


def _counted(
    events: Generator[Event, None, Maps], n_before: int, n_planes: int
) -> Generator[Event, None, Maps]:
    """Count the planes of one direction as part of all."""

    def counted(event: Event) -> Event:
        if not isinstance(event, Progress):
            return event
        done = n_before + event.done
        return Progress(done, n_planes, f"plane {done} of {n_planes}")

    return relayed(events, counted)


def _slices(request: VolumeRequest) -> FloatArray:
    """Read the slices, (Z, Y, X, C), rows and columns at network resolution."""
    _, rows, columns = request.axes
    whole = (0, rows.n_network), (0, columns.n_network)
    read = request.reader.read
    planes = [
        read_resampled(partial(read, index), (rows, columns), *whole)
        for index in request.indices
    ]
    return np.stack(planes).astype(np.float32, copy=False)


def _resampled(values: npt.NDArray[Any], depth: Axis) -> FloatArray:
    """Interpolate between slices, along the first axis."""
    _, weights = depth.matrix(0, depth.n_network)
    flat = values.reshape(len(values), -1).astype(np.float32, copy=False)
    result: FloatArray = (weights @ flat).reshape(depth.n_network, *values.shape[1:])
    return result
