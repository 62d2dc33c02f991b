"""Image layers as records of a session, and records as image layers again."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image

from napari_resunet.errors import ImageError
from napari_resunet.files import IMAGE_SUFFIXES
from napari_resunet.plugin import image_layers
from napari_resunet.plugin.labels_binding import LabelsBinding
from napari_resunet.plugin.layer_look import apply_style, image_style, layer_style
from napari_resunet.plugin.state import ImageState
from napari_resunet.session.store.delta import LabelsSnapshot
from napari_resunet.session.store.description import fitting_image
from napari_resunet.session.store.images import draw_thumbnail
from napari_resunet.session.store.schema import ImageRecord, plain_name
from napari_resunet.types import new_id

log = logging.getLogger(__name__)
PLACE = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
PIXEL_SUFFIXES = (
    *IMAGE_SUFFIXES,
    ".bmp", ".gif", ".webp", ".jp2", ".czi", ".nd2", ".lif", ".lsm", ".oib", ".oif",
    ".oir", ".vsi", ".stk", ".dv", ".r3d", ".mrc", ".ims", ".svs", ".ndpi", ".scn",
    ".qptiff", ".btf", ".dcm", ".nii", ".nii.gz", ".nrrd", ".mha", ".npy", ".h5", ".hdf5",
)  # fmt: skip
"""Endings of files that hold pixels and nothing that could be run."""

THUMBNAIL = 96
"""Largest side of a thumbnail in pixels."""


def record_of(layer: Image, binding: LabelsBinding, state: ImageState) -> ImageRecord:
    """Tell of an image layer what a session has to know.

    Raises
    ------
    ImageError
        If a session cannot hold such an image.
    """
    data = finest(layer)
    record = fitting_image(
        {
            "key": new_id(),
            "shape": tuple(int(n) for n in data.shape),
            "dtype": str(np.dtype(data.dtype)),
            "axes": image_layers.axes_of(layer),
            "rgb": bool(layer.rgb),
            "source": str(layer.source.path) if layer.source.path else None,
            "reader": layer.source.reader_plugin,
            **what_changes(layer, binding, state),
        }
    )
    if record is None:
        raise ImageError(
            f"The labels of '{layer.name}' cannot be kept in the session: images of type "
            f"{data.dtype} with {len(data.shape)} dimensions have no place in it. Convert "
            "the image first, or export the labels."
        )
    return record


def what_changes(layer: Image, binding: LabelsBinding, state: ImageState) -> dict[str, Any]:
    """Tell what of an image layer the user may change at any time."""
    return {
        "name": plain_name(str(layer.name)),
        "scale": _floats(layer.scale),
        "translate": _floats(layer.translate),
        **_turned(layer),
        "units": tuple(str(unit) for unit in layer.units),
        "axis_labels": tuple(plain_name(str(label)) for label in layer.axis_labels),
        "labels_name": plain_name(str(binding.layer.name)),
        "channels": state.channels,
        "object_scale": state.scale,
        "auto": state.auto,
        "look": image_style(layer),
        "labels_look": layer_style(binding.layer),
    }


def _turned(layer: Image) -> dict[str, Any]:
    """Tell how a layer is rotated, sheared and transformed; empty where it is not."""
    rotate, shear = np.asarray(layer.rotate), np.asarray(layer.shear)
    affine = np.asarray(layer.affine)
    return {
        "rotate": () if _is_identity(rotate) else tuple(map(_floats, rotate)),
        "shear": _floats(shear) if shear.any() else (),
        "affine": () if _is_identity(affine) else tuple(map(_floats, affine)),
    }


def _is_identity(matrix: npt.NDArray[Any]) -> bool:
    return np.array_equal(matrix, np.eye(len(matrix)))


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(x) for x in values)


def finest(layer: Image) -> Any:
    """Find the finest level of a layer's data."""
    return layer.data[0] if layer.multiscale else layer.data


def add_image(viewer: ViewerModel, image: ImageRecord, data: Any) -> Image:
    """Add the layer that a record tells of; what napari does not take is left out."""
    place = _place_of(image)
    if "C" in image.axes:
        # The labels of the axes tell which one holds the channels.
        place.setdefault("axis_labels", tuple(image.axes[: image.ndim].lower()))
    try:
        layer = viewer.add_image(data, name=image.name, rgb=image.rgb, **place)
    except Exception:  # whatever napari has against units or a matrix
        log.warning("The place of '%s' could not be put back", image.name, exc_info=True)
        layer = viewer.add_image(data, name=image.name, rgb=image.rgb)
    assert isinstance(layer, Image)
    return layer


def put_place(layer: Image, image: ImageRecord) -> None:
    """Put a layer that was opened from its file where the record says."""
    for name, value in _place_of(image).items():
        try:
            setattr(layer, name, value)
        except Exception:  # whatever napari has against units or a matrix
            log.warning("'%s' could not be put back", name, exc_info=True)


def _place_of(image: ImageRecord) -> dict[str, Any]:
    known = {name: getattr(image, name) for name in PLACE if getattr(image, name)}
    matrices = ("rotate", "affine")
    return {k: np.array(v) if k in matrices else v for k, v in known.items()}


def restore_labels(
    binding: LabelsBinding,
    image: ImageRecord,
    states: dict[tuple[int, ...], LabelsSnapshot],
) -> None:
    """Put the labels of a session, and what is known of them, into a Labels layer."""
    for index, state in states.items():
        binding.restore(index, state.labels, state.review())
    binding.show()
    if image.labels_name:
        binding.layer.name = image.labels_name
    apply_style(binding.layer, image.labels_look)


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


def may_be_opened(path: Path) -> bool:
    """Tell whether napari may read a file for a session: an ordinary file of pixels.

    What a session names is anybody's word, and some of napari's readers run what they
    open: scripts, and folders whose compression can be a program.
    """
    name = path.name.lower()
    return name.endswith(PIXEL_SUFFIXES) and path.is_file()
