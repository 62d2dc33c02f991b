"""Image layers as the engine sees them: their axes, planes, channels, and place.

Also explains why an image cannot be segmented. Which part of it is in view: see `targets`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image

from napari_resunet.plugin.layers.geometry import (
    is_across_slices,
    place_of,
    plane_transform,
)
from napari_resunet.session.workers import ImageSnapshot
from napari_resunet.types import Window

CHANNEL_NAMES = ("c", "ch", "channel", "channels")
OURS = "napari-resunet"
"""Key in the metadata of the layers that we add as overlays."""

STACK_LETTERS = "PTZ"
REAL_NUMBERS = "buif"
"""Kinds of NumPy dtype that can be segmented."""


def layer_id_of(layer: Any) -> str:
    """Return the id of a layer, which does not change when the layer is renamed."""
    return str(layer.unique_id)


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


def snapshot(layer: Image, channels: tuple[int, ...] | None) -> ImageSnapshot:
    """Collect what a job reads from a layer, without copying arrays."""
    levels = tuple(layer.data) if layer.multiscale else (layer.data,)
    return ImageSnapshot(layer_id_of(layer), levels, axes_of(layer), channels)


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


def labels_shape(layer: Image) -> tuple[int, ...]:
    """Return the shape of an image's labels: its shape, but one channel."""
    shape, channel = list(full_shape(layer)), channel_axis(layer)
    if channel is not None:
        shape[channel] = 1
    return tuple(shape)


def labels_place(layer: Image) -> dict[str, Any]:
    """Return the arguments that place a Labels layer over its image.

    Labels have one plane for all channels, so it is stretched along them.
    """
    channel = channel_axis(layer)
    if channel is None:
        return place_of(layer)
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
