"""napari's File menu: opens ROIs and GeoJSON as labels, and saves labels in our formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from napari import current_viewer
from napari.layers import Image
from napari.utils.notifications import show_info, show_warning

from napari_resunet.plugin.layers import image_layers
from napari_resunet.session.formats.geojson import write_geojson
from napari_resunet.session.formats.labels_file import read_outlines
from napari_resunet.session.formats.layout import (
    LabelsLayout,
    guessed_axes,
    layout_of,
    stack_axis,
)
from napari_resunet.session.formats.ome_tiff import write_ome_tiff
from napari_resunet.session.formats.outlines import ReadLabels
from napari_resunet.session.formats.roi import is_roi_zip, write_rois
from napari_resunet.tiff_reader import PIXEL_AXES

LayerData = tuple[npt.NDArray[Any], dict[str, Any], str]
Reader = Callable[[Any], list[LayerData]]


def get_reader(path: str | Sequence[str]) -> Reader | None:
    """Return the reader if every path is GeoJSON or ROIs; None for any other ZIP."""
    return read_layers if all(map(_is_ours, _paths(path))) else None


def _paths(path: str | Sequence[str]) -> list[Path]:
    return [Path(path)] if isinstance(path, str) else [Path(one) for one in path]


def _is_ours(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix in (".geojson", ".roi") or (suffix == ".zip" and is_roi_zip(path))


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Read files of outlines as labels of the selected image, or of the only one.

    Without such an image, the labels are as large as the outlines reach.
    """
    image = _image()
    return [_read(path, image) for path in _paths(path)]


def _image() -> Image | None:
    viewer = current_viewer()
    if viewer is None:
        return None
    active = viewer.layers.selection.active
    if isinstance(active, Image):
        return active
    images = [layer for layer in viewer.layers if isinstance(layer, Image)]
    return images[0] if len(images) == 1 else None


def _read(path: Path, image: Image | None) -> LayerData:
    found, place = _alone(path) if image is None else _on(path, image)
    for notice in found.notices:
        show_warning(f"{path.name}: {notice}")
    return found.labels, {"name": path.stem, **place}, "labels"


def _alone(path: Path) -> tuple[ReadLabels, dict[str, Any]]:
    found = read_outlines(path)
    size = " × ".join(map(str, found.labels.shape))
    show_info(
        f"No image is selected, so the labels of '{path.name}' are as large as its "
        f"outlines reach: {size} pixels. Open the image first to have its size."
    )
    return found, {"axis_labels": tuple(found.axes.lower())}


def _on(path: Path, image: Image) -> tuple[ReadLabels, dict[str, Any]]:
    """Read labels that lie over an image; they have one plane for all channels."""
    shape, channel = image_layers.full_shape(image), image_layers.channel_axis(image)
    kept = [axis for axis in range(len(shape)) if axis != channel]
    found = read_outlines(path, tuple(shape[k] for k in kept), _axes(image, kept))
    labels = found.labels.reshape(image_layers.labels_shape(image))
    return replace(found, labels=labels), image_layers.labels_place(image)


def _axes(image: Image, kept: Sequence[int]) -> str | None:
    """Name the axes of an image without channels; None if it does not name them."""
    named = [stack_axis(image.axis_labels[k]) for k in kept[:-2]]
    return "".join(named) + PIXEL_AXES if all(named) else None


def save_ome_tiff(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Save a Labels layer as OME-TIFF."""
    labels, layout = _labels(data, meta)
    write_ome_tiff(Path(path), labels, layout)
    return [path]


def save_rois(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Save a Labels layer as a ZIP of ImageJ's ROIs."""
    labels, layout = _labels(data, meta)
    write_rois(Path(path), labels, layout)
    return [path]


def save_geojson(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Save a Labels layer as GeoJSON of QuPath."""
    labels, layout = _labels(data, meta)
    write_geojson(Path(path), labels, layout)
    return [path]


def _labels(data: Any, meta: dict[str, Any]) -> tuple[npt.NDArray[Any], LabelsLayout]:
    labels = np.asarray(data[0] if meta.get("multiscale") else data)
    known = (meta.get(name, ()) for name in ("axis_labels", "scale", "units"))
    name = str(meta.get("name", "labels"))
    return labels, layout_of(guessed_axes(labels.ndim), *known, name=name)
