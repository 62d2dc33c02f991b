"""Image layers as the engine wants them: axes, planes, what the viewer shows of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image, Shapes

from napari_resunet.session.workshop import ImageSnapshot

CHANNEL_NAMES = ("c", "ch", "channel", "channels")
OURS = "napari-resunet"
"""Key in the metadata of layers that we add to show something."""
STACK_LETTERS = "PTZ"
Window = tuple[slice, slice]


def key_of(layer: Any) -> str:
    """Name a layer in a way that survives renames."""
    return str(layer.unique_id)


def is_ours(layer: Any) -> bool:
    """Tell a layer that only shows something (outline, map) from the user's own."""
    return bool(layer.metadata.get(OURS))


def channel_axis(layer: Image) -> int | None:
    """Find the dimension of the layer that holds channels, by its axis label."""
    if layer.rgb:
        return None
    for axis, label in enumerate(layer.axis_labels[:-2]):
        if label.lower() in CHANNEL_NAMES:
            return axis
    return None


def axes_of(layer: Image) -> str:
    """Name the layer's dimensions: stack axes first, rows and columns last."""
    channel = channel_axis(layer)
    n_stack = layer.ndim - 2 - (channel is not None)
    letters = list(STACK_LETTERS[len(STACK_LETTERS) - n_stack :])
    if channel is not None:
        letters.insert(channel, "C")
    return "".join(letters) + "YX" + ("S" if layer.rgb else "")


def why_not(layer: Image, viewer: ViewerModel) -> str:
    """Say why a layer cannot be segmented as it is shown; empty if it can."""
    if viewer.dims.ndisplay != 2:
        return "Switch the viewer to 2D first (the cube button at the bottom left)."
    if tuple(viewer.dims.order[-2:]) != (viewer.dims.ndim - 2, viewer.dims.ndim - 1):
        return "Show rows and columns first (undo 'roll dimensions')."
    if layer.ndim < 2 or layer.ndim - 2 - (channel_axis(layer) is not None) > len(
        STACK_LETTERS
    ):
        return "This image has too many dimensions."
    if 0 in layer.data.shape if not layer.multiscale else 0 in layer.data[0].shape:
        return "This image is empty."
    return ""


def snapshot(layer: Image, channels: tuple[int, ...] | None) -> ImageSnapshot:
    """Take what a job needs to know of a layer; the arrays are only read."""
    levels = tuple(layer.data) if layer.multiscale else (layer.data,)
    return ImageSnapshot(key_of(layer), levels, axes_of(layer), channels)


def full_shape(layer: Image) -> tuple[int, ...]:
    """Shape of the finest level, without the samples of RGB."""
    data = layer.data[0] if layer.multiscale else layer.data
    return tuple(data.shape[: layer.ndim])


def plane_shape(layer: Image) -> tuple[int, int]:
    """Height and width."""
    height, width = full_shape(layer)[-2:]
    return height, width


def stack_shape(layer: Image) -> tuple[int, ...]:
    """Count the planes along each stack axis."""
    shape, channel = full_shape(layer)[:-2], channel_axis(layer)
    return tuple(n for axis, n in enumerate(shape) if axis != channel)


def labels_shape(layer: Image) -> tuple[int, ...]:
    """Shape of the labels: one entry along the channels."""
    shape, channel = list(full_shape(layer)), channel_axis(layer)
    if channel is not None:
        shape[channel] = 1
    return tuple(shape)


def labels_place(layer: Image) -> dict[str, Any]:
    """Copy scale, translate, units and axis labels for the labels of a layer.

    Along the channels the one plane of labels is stretched over all of them.
    """
    scale, translate = np.array(layer.scale), np.array(layer.translate)
    channel = channel_axis(layer)
    if channel is not None:
        n = full_shape(layer)[channel]
        translate[channel] += scale[channel] * (n - 1) / 2
        scale[channel] *= n
    return {
        "scale": scale,
        "translate": translate,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }


def shown_index(layer: Image, viewer: ViewerModel) -> tuple[int, ...]:
    """Find the plane that the viewer shows: positions along the stack axes."""
    point = np.asarray(viewer.dims.point)[-layer.ndim :]
    position = np.round(layer.world_to_data(point)).astype(int)
    channel = channel_axis(layer)
    return tuple(
        int(np.clip(position[axis], 0, full_shape(layer)[axis] - 1))
        for axis in range(layer.ndim - 2)
        if axis != channel
    )


def plane_place(layer: Image) -> dict[str, Any]:
    """Copy where one plane of an image lies, for a 2D layer over it."""
    return {
        "scale": layer.scale[-2:],
        "translate": layer.translate[-2:],
        "units": layer.units[-2:],
        "axis_labels": layer.axis_labels[-2:],
    }


def whole_window(layer: Image) -> Window:
    """Take all rows and columns."""
    height, width = full_shape(layer)[-2:]
    return slice(0, height), slice(0, width)


def visible_window(layer: Image) -> Window:
    """Find the rows and columns in view; all of them where nothing is drawn yet."""
    factors = layer.downsample_factors[layer.data_level] if layer.multiscale else 1
    corners = np.asarray(layer.corner_pixels) * factors
    spans = []
    for axis, n in zip((-2, -1), full_shape(layer)[-2:], strict=True):
        low, high = np.clip((corners[0, axis], corners[1, axis] + 1), 0, n)
        spans.append(slice(int(np.floor(low)), int(np.ceil(high))))
    if any(s.stop - s.start <= 1 for s in spans):
        return whole_window(layer)
    return spans[0], spans[1]


def shapes_region(shapes: Shapes, layer: Image) -> npt.NDArray[np.bool_]:
    """Draw the shapes of a layer as a mask over an image's rows and columns."""
    from skimage.draw import polygon2mask

    mask = np.zeros(full_shape(layer)[-2:], bool)
    kinds = shapes.shape_type
    for vertices, kind in zip(shapes.data, kinds, strict=True):
        outline = _ellipse(vertices) if kind == "ellipse" else vertices
        world = np.array([shapes.data_to_world(v) for v in outline])
        pixels = np.array([_in_image(layer, point) for point in world])
        mask |= polygon2mask(mask.shape, pixels)
    return mask


def _in_image(layer: Image, point: npt.NDArray[Any]) -> npt.NDArray[Any]:
    missing = max(0, layer.ndim - len(point))
    padded = np.concatenate([np.zeros(missing), point])[-layer.ndim :]
    return np.asarray(layer.world_to_data(padded))[-2:]


def _ellipse(corners: npt.NDArray[Any], n: int = 64) -> npt.NDArray[Any]:
    """Trace an ellipse that napari describes by the corners of its box."""
    centre = corners.mean(0)
    one, other = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)[:, None]
    ring: npt.NDArray[Any] = centre + np.cos(angle) * one + np.sin(angle) * other
    return ring
