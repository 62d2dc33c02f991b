"""Labels of large images, which stay on the disk: napari's layer of them is read only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.appearance import apply_style, image_style
from napari_resunet.plugin.layers.geometry import place_of
from napari_resunet.plugin.layers.labels_look import FILLED_OPACITY
from napari_resunet.plugin.layers.session_images import lazy
from napari_resunet.session.large.label_store import StoreReady
from napari_resunet.session.large.workers import PartRead
from napari_resunet.types import Window
from napari_resunet.windows import overlap


def show_store(viewer: ViewerModel, image: Image, store: StoreReady) -> None:
    """Show labels over their image; those that are shown already are read again."""
    layer = _shown(viewer, store.folder)
    # napari keeps the coarsest level in memory, so a redraw would not be enough.
    if layer is not None and layer.data[0].shape == store.levels[0].shape:
        layer.data = lazy_levels(store.levels)
        layer.editable = False
        return
    if layer is not None:
        viewer.layers.remove(layer)
    layer = Labels(
        lazy_levels(store.levels),
        multiscale=True,
        cache=False,
        name=f"{image.name} labels (on disk)",
        opacity=FILLED_OPACITY,
        # Marked as ours, so that nobody takes it for labels to copy or to learn from.
        metadata={image_layers.OURS: str(store.folder)},
        **_place(image, store.levels[0].shape),
    )
    layer.editable = False
    viewer.layers.insert(viewer.layers.index(image) + 1, layer)


def _shown(viewer: ViewerModel, folder: Path) -> Labels | None:
    mark = {image_layers.OURS: str(folder)}
    return next((x for x in viewer.layers if x.metadata == mark), None)


def lazy_levels(levels: Sequence[Any]) -> list[Any]:
    """Return resolution levels as napari draws them without reading all of a stack."""
    if levels[0].ndim == 2:
        return list(levels)
    return [lazy(level) for level in levels]


def window_in_store(image: Image, window: Window, shape: tuple[int, ...]) -> Window:
    """Convert rows and columns of an image to those of its labels, grown to whole pixels.

    Parameters
    ----------
    image : Image
        The image.
    window : tuple of slice
        Its rows and columns.
    shape : tuple of int
        Of the labels, which may be coarser than the image.
    """
    rows, columns = (
        slice(int(np.floor(s.start / f)), int(np.ceil(s.stop / f)))
        for s, f in zip(window, _factors(image, shape), strict=True)
    )
    everything = slice(0, shape[-2]), slice(0, shape[-1])
    return overlap((rows, columns), everything)


def place_of_window(image: Image, window: Window, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the arguments that place a 2D layer over a window of labels on the disk."""
    zoom = _factors(image, shape)
    offset = np.array([s.start for s in window]) * zoom + (zoom - 1) / 2
    place = image_layers.plane_place(image)
    place["translate"] = place["translate"] + place["scale"] * offset
    place["scale"] = place["scale"] * zoom
    return place


def add_part(
    viewer: ViewerModel, image: Image, part: PartRead, shape: tuple[int, ...]
) -> Image:
    """Add a layer with the pixels of a part of an image, over its place.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    image : Image
        The image.
    part : PartRead
        The part.
    shape : tuple of int
        Of the labels of the whole image.
    """
    rows, columns = part.record.window
    place = place_of_window(image, part.record.window, shape)
    if "C" in part.axes:
        place = _with_channels(place)
    layer = Image(
        part.pixels,
        rgb="S" in part.axes,
        name=f"{image.name} [{rows.start}:{rows.stop}, {columns.start}:{columns.stop}]",
        **place,
    )
    if part.axes == "YX":
        apply_style(layer, image_style(image))
    viewer.add_layer(layer)
    return layer


def _with_channels(place: dict[str, Any]) -> dict[str, Any]:
    """Add a first dimension of channels to the place of a 2D layer."""
    affine = np.eye(4)
    affine[1:, 1:] = place["affine"]
    return {
        "scale": (1.0, *place["scale"]),
        "translate": (0.0, *place["translate"]),
        "affine": affine,
        "units": ("pixel", *place["units"]),
        "axis_labels": ("c", *place["axis_labels"]),
    }


def finest_scale(image: Image, store: StoreReady) -> float:
    """Return the rescale factor of a run on the image's finest level."""
    return float(store.note.run.scale / _factors(image, store.levels[0].shape).mean())


def _factors(image: Image, shape: tuple[int, ...]) -> Any:
    """Return how many pixels of the image a label has along rows and columns."""
    return np.array(image_layers.plane_shape(image)) / np.array(shape[-2:])


def _place(image: Image, shape: tuple[int, ...]) -> dict[str, Any]:
    if len(shape) == 2:
        everything = slice(0, shape[0]), slice(0, shape[1])
        return place_of_window(image, everything, shape)
    zoom = np.ones(image.ndim)
    zoom[-2:] = _factors(image, shape)
    place = place_of(image, (zoom - 1) / 2, zoom)
    channel = image_layers.channel_axis(image)
    if channel is None:
        return place
    # Without the dimension of channels, of which labels have none.
    keep = [axis for axis in range(image.ndim) if axis != channel]
    names = ("scale", "translate", "units", "axis_labels")
    return {name: tuple(place[name][axis] for axis in keep) for name in names}
