"""Image layers as the engine sees them: their axes, planes, channels, and place.

Also explains why an image cannot be segmented. Which part of it is in view: see `targets`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image

from napari_resunet.errors import FileError
from napari_resunet.files import stated_axes
from napari_resunet.ome_zarr.metadata import read_metadata
from napari_resunet.plugin.layers.geometry import (
    is_across_slices,
    matrix_of,
    place_of,
    place_of_last,
    plane_transform,
)
from napari_resunet.session.large.size import MAX_IN_MEMORY
from napari_resunet.session.pixels import local_image
from napari_resunet.session.queue_images import MAX_UNCLEAR
from napari_resunet.session.settings import Stack
from napari_resunet.session.stacks import guess_shown_stack, stack_axes
from napari_resunet.session.store.safety import local_folder
from napari_resunet.session.workers import ImageSnapshot
from napari_resunet.types import PIXEL_SIZES, Channels, Window

CHANNEL_NAMES = ("c", "ch", "channel", "channels")
OURS = "napari-resunet"
"""Key in the metadata of the layers that we add as overlays."""

FILE_LETTERS = dict(zip("CSEZTPYX", "cccztpyx", strict=True))
"""Names of the dimensions that a TIFF states, by tifffile's letters."""

UNCLEAR = "Say first, at '{} planes are', whether these are channels or slices."
STACK_LETTERS = "PTZ"
REAL_NUMBERS = "buif"
"""Kinds of NumPy dtype that can be segmented."""


@dataclass(frozen=True)
class Origin:
    """Where the layer of an image of the queue comes from.

    Attributes
    ----------
    image_id : str
        The id of the image, which it has again when it is opened again.
    path : str
        Its file; empty if there is none.
    reader : str or None
        Plugin that read the file.
    """

    image_id: str
    path: str
    reader: str | None = None


_origins: WeakKeyDictionary[Any, Origin] = WeakKeyDictionary()


def set_origin(layer: Any, origin: Origin) -> None:
    """Give a layer the id of its image, before it is added to the viewer."""
    _origins[layer] = origin


def layer_id_of(layer: Any) -> str:
    """Return the id of a layer, which does not change when the layer is renamed."""
    origin = _origins.get(layer)
    return str(layer.unique_id) if origin is None else origin.image_id


def source_of(layer: Any) -> tuple[str | None, str | None]:
    """Return the file that a layer was opened from, and the plugin that read it."""
    origin = _origins.get(layer)
    if origin is not None:
        return origin.path or None, origin.reader
    path = layer.source.path
    return (str(path) if path else None), layer.source.reader_plugin


def is_overlay(layer: Any) -> bool:
    """Return whether the layer is an overlay of ours, such as an outline."""
    return bool(layer.metadata.get(OURS))


def channel_axis(layer: Image) -> int | None:
    """Find the dimension labelled as channels; None if there is none."""
    if layer.rgb:
        return None
    for axis, label in enumerate(layer.axis_labels[:-2]):
        if label.lower() in CHANNEL_NAMES:
            return axis
    return None


def name_axes(layer: Image) -> tuple[str, ...]:
    """Label unnamed dimensions as the layer's file states them.

    Only the header of a local TIFF is read, or the metadata of a local OME-Zarr. Returns
    the names of its channels, if it has any.
    """
    path = _source_file(layer)
    if path is None and channel_axis(layer) is not None:
        return _channels_in_store(layer)
    if layer.rgb or layer.ndim < 3 or path is None:
        return ()
    stated = stated_axes(path)
    if stated is None or stated.shape != full_shape(layer):
        return ()
    letters = zip(layer.axis_labels, stated.axes, strict=True)
    labels = tuple(
        FILE_LETTERS.get(letter, label) if _is_unnamed(label) else label
        for label, letter in letters
    )
    layer.axis_labels = labels
    return stated.channels


def _channels_in_store(layer: Image) -> tuple[str, ...]:
    folder = source_folder(layer)
    try:
        names = () if folder is None else read_metadata(folder).channels
    except FileError:
        return ()
    return names if len(names) == n_channels(layer) == len(set(names)) else ()


def _source_file(layer: Image) -> Path | None:
    """Return the local file that a layer was opened from."""
    path = local_image(_source(layer))
    return None if path is None or path.is_dir() else path


def is_large(layer: Image) -> bool:
    """Return whether the labels of all of an image are better in a file."""
    if math.prod(plane_shape(layer)) <= MAX_IN_MEMORY:
        return False
    # Where pixels that are in no file have room in memory, their labels have, too.
    return source_path(layer) is not None or not isinstance(finest(layer), np.ndarray)


def source_path(layer: Image) -> Path | None:
    """Return the local file or folder that a layer was opened from."""
    return _source_file(layer) or source_folder(layer)


def source_folder(layer: Image) -> Path | None:
    """Return the local folder that a layer was opened from."""
    return local_folder(_source(layer))


def _source(layer: Image) -> str:
    text = source_of(layer)[0] or ""
    if text and "://" not in text and text[0] not in "/\\":
        text = os.path.abspath(text)  # from `napari cells.tif`
    return text


def n_unclear(layer: Image) -> int:
    """Return the number of planes that may be channels or slices; 0 if that is clear."""
    if layer.rgb or layer.ndim != 3 or not _is_unnamed(layer.axis_labels[0]):
        return 0
    n = full_shape(layer)[0]
    return n if 2 <= n <= MAX_UNCLEAR else 0


def n_settled(layer: Image) -> int:
    """Return the number of planes that are known to be channels or slices; 0 if unclear."""
    return 0 if layer.rgb or layer.ndim != 3 or n_unclear(layer) else full_shape(layer)[0]


def settle_axis(layer: Image, are_channels: bool) -> None:
    """Label the first dimension as channels or as slices."""
    layer.axis_labels = ("c" if are_channels else "z", *layer.axis_labels[1:])


def _is_unnamed(label: str) -> bool:
    """Return whether napari made a label: "-3", or "axis -3" before 0.9."""
    return label.removeprefix("axis ").removeprefix("-").isdigit()


def n_channels(layer: Image) -> int:
    """Return the number of channels; 0 without a channel axis."""
    channel = channel_axis(layer)
    return 0 if channel is None else full_shape(layer)[channel]


def axes_of(layer: Image) -> str:
    """Name the dimensions by one letter each of "PTZCYXS", in the layer's order."""
    channel = channel_axis(layer)
    n_stack = layer.ndim - 2 - (channel is not None)
    letters = list(STACK_LETTERS[len(STACK_LETTERS) - n_stack :])
    if channel is not None:
        letters.insert(channel, "C")
    return "".join(letters) + "YX" + ("S" if layer.rgb else "")


def stack_axes_of(layer: Image) -> tuple[str, ...]:
    """Name the axes of the stack by one letter each of "PTZ"."""
    return stack_axes(axes_of(layer), layer.axis_labels)


def guessed_stack(layer: Image) -> Stack:
    """Guess what the slices are from the names of their axes."""
    return guess_shown_stack(axes_of(layer), layer.axis_labels)


def unsupported_reason(layer: Image, viewer: ViewerModel) -> str:
    """Explain why a layer cannot be segmented as it is shown; empty if it can be."""
    return _unsupported_data(layer) or _unsupported_view(layer, viewer)


def _unsupported_data(layer: Image) -> str:
    if layer.ndim < 2 or layer.ndim - 2 - (channel_axis(layer) is not None) > len(
        STACK_LETTERS
    ):
        return "This image has too many dimensions."
    if 0 in full_shape(layer):
        return "This image is empty."
    dtype = np.dtype(layer.dtype)
    if dtype.kind not in REAL_NUMBERS:
        return (
            f"The pixels of this image are of type {dtype}: convert them to whole or real "
            "numbers first."
        )
    if is_across_slices(layer):
        return (
            "This image is rotated or sheared across its slices, which napari does not "
            "show as it is: resample it first, or reset its transform."
        )
    return ""


def _unsupported_view(layer: Image, viewer: ViewerModel) -> str:
    dims = viewer.dims
    if dims.ndisplay != 2:
        return "Switch the viewer to 2D first (the cube button at the bottom left)."
    if tuple(dims.order[-2:]) != (dims.ndim - 2, dims.ndim - 1):
        return "Show rows and columns first (undo 'roll dimensions')."
    thick = np.asarray(dims.thickness)[-layer.ndim : -2]
    if str(layer.projection_mode) != "none" and (thick > 0).any():
        return (
            "The viewer shows several slices of this image as one: set its projection "
            "mode to 'none' in the layer controls first."
        )
    return ""


def snapshot(
    layer: Image, channels: Channels | None, partners: Sequence[Image] = ()
) -> ImageSnapshot:
    """Collect what a job reads from a layer, without copying arrays.

    The channels of partners follow those of the layer.
    """
    if partners:
        return _joined(layer, channels, partners)
    levels = tuple(layer.data) if layer.multiscale else (layer.data,)
    return ImageSnapshot(
        layer_id_of(layer), levels, axes_of(layer), channels, pixel_size=pixel_size(layer)
    )


def pixel_size(layer: Image) -> float | None:
    """Return the side of a pixel in micrometres; None if the units are no lengths.

    Of pixels that are no squares, the side of a square of equal area.
    """
    units = layer.units[-2:]
    if not all(unit.is_compatible_with("um") for unit in units):
        return None
    area = abs(np.linalg.det(plane_transform(layer)[0]))
    side = float(np.sqrt(area * np.prod([(1 * unit).to("um").magnitude for unit in units])))
    return side if PIXEL_SIZES[0] <= side <= PIXEL_SIZES[1] else None


def pixel_sides(layer: Image, depth: int | None = None) -> tuple[float, ...] | None:
    """Return the sides of a pixel in micrometres, (y, x) or (z, y, x).

    Parameters
    ----------
    layer : Image
        The image.
    depth : int or None
        The dimension of the image along which z lies.

    Returns
    -------
    tuple of float, or None
        None if the units are no lengths, or the sides are out of range.
    """
    axes = [*([] if depth is None else [depth]), layer.ndim - 2, layer.ndim - 1]
    units = [layer.units[axis] for axis in axes]
    if not all(unit.is_compatible_with("um") for unit in units):
        return None
    lengths = np.linalg.norm(matrix_of(layer)[:-1, :-1], axis=0)
    sides = tuple(
        float(lengths[axis] * (1 * unit).to("um").magnitude)
        for axis, unit in zip(axes, units, strict=True)
    )
    within = all(PIXEL_SIZES[0] <= side <= PIXEL_SIZES[1] for side in sides)
    return sides if within else None


def _joined(
    layer: Image, channels: Channels | None, partners: Sequence[Image]
) -> ImageSnapshot:
    # Imported late, because it is slow and the dock opens without it.
    from napari_resunet.engine.image_reader import JoinedChannels

    axis = channel_axis(layer)
    own = [(finest(layer), axis, i) for i in range(max(1, n_channels(layer)))]
    others = [(finest(other), None, 0) for other in partners]
    axes = "C" + axes_of(layer).replace("C", "")
    keys = tuple(map(layer_id_of, partners))
    array = JoinedChannels([*own, *others])
    key, size = layer_id_of(layer), pixel_size(layer)
    return ImageSnapshot(key, (array,), axes, channels, keys, pixel_size=size)


def can_join(layer: Image, other: Image) -> bool:
    """Return whether the pixels of another image can be channels of an image.

    They lie on the same pixels, and the other one has no channels of its own.
    """
    if other is layer or layer.rgb or other.rgb or channel_axis(other) is not None:
        return False
    if stack_shape(layer) != stack_shape(other) or plane_shape(layer) != plane_shape(other):
        return False
    if _unsupported_data(other):
        return False
    one, channel = matrix_of(layer), channel_axis(layer)
    if channel is not None:
        one = np.delete(np.delete(one, channel, 0), channel, 1)
    return bool(np.allclose(one, matrix_of(other), rtol=1e-6, atol=1e-9))


def finest(layer: Image) -> Any:
    """Return the layer's data at full resolution."""
    return layer.data[0] if layer.multiscale else layer.data


def full_shape(layer: Any) -> tuple[int, ...]:
    """Return the shape of the finest level, without the samples of RGB."""
    data = layer.data[0] if layer.multiscale else layer.data
    return tuple(data.shape[: layer.ndim])


def plane_shape(layer: Image) -> tuple[int, int]:
    """Return height and width in pixels."""
    height, width = full_shape(layer)[-2:]
    return height, width


def stack_shape(layer: Image) -> tuple[int, ...]:
    """Return the shape without channels, rows, and columns."""
    shape, channel = full_shape(layer)[:-2], channel_axis(layer)
    return tuple(n for axis, n in enumerate(shape) if axis != channel)


def labels_channel(layer: Image) -> int | None:
    """Return the axis of length 1 that the labels of an image have for its channels.

    napari aligns the last dimensions of all layers, so that labels need no such axis if the
    channels come first. Otherwise they do: without it, time or depth of the labels would be
    moved along with the channels.
    """
    return channel_axis(layer) or None


def labels_shape(layer: Image) -> tuple[int, ...]:
    """Return the shape of an image's labels: its shape, but for one channel or without."""
    shape, channel = list(full_shape(layer)), channel_axis(layer)
    if channel is not None:
        shape[channel] = 1
    return tuple(shape[1:] if channel == 0 else shape)


def labels_place(layer: Image) -> dict[str, Any]:
    """Return the arguments that place a Labels layer over its image.

    Labels have one plane for all channels: without an axis for them if they come first, or
    else stretched along them.
    """
    channel = channel_axis(layer)
    if channel is None:
        return place_of(layer)
    if channel == 0:
        return place_of_last(layer)
    n = full_shape(layer)[channel]
    offset, zoom = np.zeros(layer.ndim), np.ones(layer.ndim)
    offset[channel], zoom[channel] = (n - 1) / 2, n
    return place_of(layer, offset, zoom)


def plane_place(layer: Image) -> dict[str, Any]:
    """Return the arguments that place a 2D layer over one plane of an image.

    For a layer whose pixel p is the image's pixel ``offset + zoom * p``, add
    ``scale * offset`` to "translate" and multiply "scale" by zoom.
    """
    linear, origin = plane_transform(layer)
    scale = np.linalg.norm(linear, axis=0)
    affine = np.eye(3)
    affine[:2, :2] = linear / scale
    return {
        "scale": scale,
        "translate": np.linalg.solve(affine[:2, :2], origin),
        "affine": affine,
        "units": layer.units[-2:],
        "axis_labels": layer.axis_labels[-2:],
    }


def whole_window(layer: Image) -> Window:
    """Return the window of all rows and columns."""
    height, width = plane_shape(layer)
    return slice(0, height), slice(0, width)


def visible_window(layer: Image) -> Window:
    """Return approximately the rows and columns in view; all of them if none are.

    Only for drawing: `targets` finds what is verified or segmented.
    """
    factors = layer.downsample_factors[layer.data_level] if layer.multiscale else 1
    corners = np.asarray(layer.corner_pixels)
    low, high = corners[0] * factors, (corners[1] + 1) * factors
    spans = []
    for axis, n in zip((-2, -1), plane_shape(layer), strict=True):
        start, stop = np.clip((low[axis], high[axis]), 0, n)
        spans.append(slice(int(np.floor(start)), int(np.ceil(stop))))
    if any(s.stop - s.start <= 1 for s in spans):
        return whole_window(layer)
    return spans[0], spans[1]


def shown_index(layer: Image, viewer: ViewerModel) -> tuple[int, ...]:
    """Return the index of the shown plane along the stack axes.

    If the sliders are beyond the end of the image, this is its last plane, which is not in
    view: see `not_shown`.
    """
    position, channel = _position(layer, viewer), channel_axis(layer)
    return tuple(
        int(np.clip(position[axis], 0, n - 1))
        for axis, n in enumerate(full_shape(layer)[:-2])
        if axis != channel
    )


def shown_channel(layer: Image, viewer: ViewerModel) -> int | None:
    """Return the index of the shown channel; None if the image has no channels."""
    channel = channel_axis(layer)
    if channel is None:
        return None
    last = full_shape(layer)[channel] - 1
    return int(np.clip(_position(layer, viewer)[channel], 0, last))


def not_shown(layer: Image, viewer: ViewerModel) -> str:
    """Explain that the sliders are beyond the image; empty if they are not."""
    position, shape = _position(layer, viewer), full_shape(layer)
    if all(0 <= position[axis] < n for axis, n in enumerate(shape[:-2])):
        return ""
    return "The image has no slice where the slider stands: move the slider back to it."


def _position(layer: Image, viewer: ViewerModel) -> Any:
    """Return the shown position in pixels, rounded as napari does."""
    point = np.asarray(viewer.dims.point)[-layer.ndim :]
    return np.round(layer.world_to_data(point)).astype(int)
