"""Image layers as records of a session, and records as image layers again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image

from napari_resunet.plugin import image_layers
from napari_resunet.plugin.labels_binding import LabelsBinding
from napari_resunet.plugin.layer_look import image_look_of, look_of, put_look
from napari_resunet.plugin.state import ImageState
from napari_resunet.session.store.patch import PlaneState
from napari_resunet.session.store.schema import ImageRecord
from napari_resunet.session.store.sources import draw_thumbnail

THUMBNAIL = 96
"""Largest side of a thumbnail in pixels."""


def record_of(layer: Image, binding: LabelsBinding, state: ImageState) -> ImageRecord:
    """Tell of an image layer what a session has to know."""
    data = finest(layer)
    return ImageRecord(
        shape=tuple(int(n) for n in data.shape),
        dtype=str(np.dtype(data.dtype)),
        axes=image_layers.axes_of(layer),
        rgb=bool(layer.rgb),
        source=str(layer.source.path) if layer.source.path else None,
        reader=layer.source.reader_plugin,
        **what_changes(layer, binding, state),
    )


def what_changes(layer: Image, binding: LabelsBinding, state: ImageState) -> dict[str, Any]:
    """Tell what of an image layer the user may change at any time."""
    return {
        "name": str(layer.name),
        "scale": tuple(float(x) for x in layer.scale),
        "translate": tuple(float(x) for x in layer.translate),
        "units": tuple(str(unit) for unit in layer.units),
        "axis_labels": tuple(str(label) for label in layer.axis_labels),
        "labels_name": str(binding.layer.name),
        "channels": state.channels,
        "object_scale": state.scale,
        "auto": state.auto,
        "look": image_look_of(layer),
        "labels_look": look_of(binding.layer),
    }


def finest(layer: Image) -> Any:
    """Find the finest level of a layer's data."""
    return layer.data[0] if layer.multiscale else layer.data


def add_image(viewer: ViewerModel, image: ImageRecord, data: Any) -> Image:
    """Add the layer that a record tells of."""
    place: dict[str, Any] = {
        name: getattr(image, name)
        for name in ("scale", "translate", "units", "axis_labels")
        if getattr(image, name)
    }
    layer = viewer.add_image(data, name=image.name, rgb=image.rgb, **place)
    assert isinstance(layer, Image)
    return layer


def restore_labels(
    binding: LabelsBinding, image: ImageRecord, states: dict[tuple[int, ...], PlaneState]
) -> None:
    """Put the labels of a session, and what is known of them, into a Labels layer."""
    for index, state in states.items():
        binding.restore(index, state.labels, state.ledger())
    binding.show()
    if image.labels_name:
        binding.layer.name = image.labels_name
    put_look(binding.layer, image.labels_look)


def thumbnail_of(
    layer: Image, binding: LabelsBinding, viewer: ViewerModel
) -> npt.NDArray[np.uint8]:
    """Draw the shown plane, coarsely."""
    index = image_layers.shown_index(layer, viewer)
    labels = binding.plane(index)
    step = max(1, -(-max(labels.shape) // THUMBNAIL))
    data = layer.data[-1] if layer.multiscale else layer.data
    where = list(index)
    channel = image_layers.channel_axis(layer)
    if channel is not None:
        where.insert(channel, 0)
    plane = data[tuple(where)]
    coarse = max(1, -(-max(plane.shape[:2]) // THUMBNAIL))
    pixels = np.asarray(plane[::coarse, ::coarse])
    rows, columns = (
        np.linspace(0, n - 1, m).astype(int)
        for n, m in zip(pixels.shape[:2], labels[::step, ::step].shape, strict=True)
    )
    picture: npt.NDArray[np.uint8] = draw_thumbnail(
        pixels[np.ix_(rows, columns)], labels[::step, ::step]
    )
    return picture


def is_file_of_pixels(path: str | None) -> bool:
    """Tell whether a recorded source is a file or folder here, and no address."""
    return bool(path) and "://" not in str(path) and Path(str(path)).exists()
