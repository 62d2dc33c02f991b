"""Image layers to session records, and back."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image

from napari_resunet.errors import ImageError
from napari_resunet.files import IMAGE_SUFFIXES
from napari_resunet.ome_zarr.arrays import ZarrLevel
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.appearance import apply_style, image_style
from napari_resunet.plugin.layers.labels import LabelsBinding
from napari_resunet.session.large.reopen import OneChannel
from napari_resunet.session.settings import Stack
from napari_resunet.session.store.delta import LabelsSnapshot
from napari_resunet.session.store.images import draw_thumbnail
from napari_resunet.session.store.manifest import fitting_image
from napari_resunet.session.store.parts import PartRecord
from napari_resunet.session.store.schema import ImageRecord, plain_name
from napari_resunet.slides.level import TiffLevel
from napari_resunet.slides.pyramid import EverySecond
from napari_resunet.types import Channels, new_id

log = logging.getLogger(__name__)
PLACE = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
PIXEL_SUFFIXES = (
    *IMAGE_SUFFIXES,
    ".bmp", ".gif", ".webp", ".jp2", ".czi", ".nd2", ".lif", ".lsm", ".oib", ".oif",
    ".oir", ".vsi", ".stk", ".dv", ".r3d", ".mrc", ".ims", ".svs", ".ndpi", ".scn",
    ".qptiff", ".btf", ".dcm", ".nii", ".nii.gz", ".nrrd", ".mha", ".npy", ".h5", ".hdf5",
)  # fmt: skip
"""Suffixes of files that contain pixels, and no code that a reader would run."""

THUMBNAIL = 96
"""Largest side of a thumbnail in pixels."""


class ImageSettings(Protocol):
    """The user's settings for one image."""

    @property
    def channels(self) -> Channels | None:
        """The channels that the network sees; None until the first Segment."""

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels, if its file states them."""

    @property
    def stack(self) -> Stack | None:
        """What the slices are; None guesses it."""

    @property
    def scale(self) -> float | None:
        """Rescale factor from image pixels to network resolution; None if unknown."""

    @property
    def auto(self) -> bool:
        """Whether the factor is estimated."""

    @property
    def store(self) -> Path | None:
        """Where the labels of a large image are."""

    @property
    def part(self) -> PartRecord | None:
        """What the image is a part of."""


def record_of(
    layer: Image, binding: LabelsBinding | None, settings: ImageSettings
) -> ImageRecord:
    """Describe an image layer for the session file, under a new key.

    Parameters
    ----------
    layer : Image
        The image.
    binding : LabelsBinding or None
        Its labels, if it has any.
    settings : ImageSettings
        The user's settings for it.

    Raises
    ------
    ImageError
        If a session cannot hold such an image.
    """
    data = image_layers.finest(layer)
    source, reader = image_layers.source_of(layer)
    record = fitting_image(
        {
            "key": new_id(),
            "shape": tuple(int(n) for n in data.shape),
            "dtype": str(np.dtype(data.dtype)),
            "axes": image_layers.axes_of(layer),
            "rgb": bool(layer.rgb),
            "source": source,
            "reader": reader,
            **mutable_fields(layer, binding, settings),
        }
    )
    if record is None:
        raise ImageError(
            f"The labels of '{layer.name}' cannot be saved in the session: images of type "
            f"{data.dtype} with {len(data.shape)} dimensions do not fit into it. Convert "
            "the image first, or export the labels."
        )
    return record


def mutable_fields(
    layer: Image, binding: LabelsBinding | None, settings: ImageSettings
) -> dict[str, Any]:
    """Return the fields of a record that may change at any time."""
    labels = {} if binding is None else _labels_fields(binding)
    return labels | {
        "name": plain_name(str(layer.name)),
        "scale": _floats(layer.scale),
        "translate": _floats(layer.translate),
        **_linear_fields(layer),
        "units": tuple(str(unit) for unit in layer.units),
        "axis_labels": tuple(plain_name(str(label)) for label in layer.axis_labels),
        "channels": settings.channels,
        "channel_names": tuple(map(plain_name, settings.channel_names)),
        "object_scale": settings.scale,
        "auto": settings.auto,
        "stack": settings.stack or image_layers.guessed_stack(layer),
        "look": image_style(layer),
        "store": "" if settings.store is None else str(settings.store),
        "part": settings.part,
    }


def _labels_fields(binding: LabelsBinding) -> dict[str, Any]:
    return {
        "labels_name": plain_name(str(binding.layer.name)),
        "labels_look": binding.style(),
        "edits": binding.edits,
    }


def _linear_fields(layer: Image) -> dict[str, Any]:
    """Return rotation, shear, and affine, each empty if it is the identity."""
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


def add_image(
    viewer: ViewerModel, image: ImageRecord, levels: Sequence[Any], image_id: str = ""
) -> Image:
    """Add the layer of a record, without a transform that napari rejects.

    An `image_id` is that of an image of the queue.
    """
    place, multiscale = _transform_of(image), len(levels) > 1
    known = {"name": image.name, "rgb": image.rgb, "multiscale": multiscale}
    data = data_for_layer(levels)
    if "C" in image.axes:
        # The axis labels say which dimension holds the channels.
        place.setdefault("axis_labels", tuple(image.axes[: image.ndim].lower()))
    try:
        layer = Image(data, **known, **place)
    except Exception:  # napari may reject units or a matrix in many ways
        log.warning("The transform of '%s' was not restored", image.name, exc_info=True)
        layer = Image(data, **known)
    if image_id:
        origin = image_layers.Origin(image_id, image.source or "", image.reader)
        image_layers.set_origin(layer, origin)
    viewer.add_layer(layer)
    return layer


TILE = 2048
"""Rows and columns that are read at once of a large OME-Zarr or TIFF."""


def data_for_layer(levels: Sequence[Any]) -> Any:
    """Return resolution levels as napari takes them: an array, or a list of arrays.

    napari slices before it reads, so what reads at once is wrapped: all planes would be.
    """
    arrays = [lazy(x) if isinstance(x, READ_AT_ONCE) else x for x in levels]
    return arrays if len(arrays) > 1 else arrays[0]


READ_AT_ONCE = ZarrLevel, OneChannel, TiffLevel, EverySecond


def lazy(level: ZarrLevel | OneChannel | TiffLevel | EverySecond) -> Any:
    """Wrap an array that reads at once, so that napari reads only what it shows."""
    from dask.array import from_array  # which napari needs itself

    # Of a level that leaves out pixels, as much of the file is read at once.
    side = TILE // level.step if isinstance(level, EverySecond) else TILE
    rgb = isinstance(level, TiffLevel | EverySecond) and level.axes.endswith("S")
    n_stack = level.ndim - (3 if rgb else 2)
    tile = (1,) * n_stack + tuple(min(n, side) for n in level.shape[n_stack:])
    empty = np.empty(0, level.dtype)
    return from_array(level, chunks=tile, name=False, meta=empty)


def restore_transform(layer: Image, image: ImageRecord) -> None:
    """Restore the transform of a layer that was opened from its file."""
    for name, value in _transform_of(image).items():
        try:
            setattr(layer, name, value)
        except Exception:  # napari may reject units or a matrix in many ways
            log.warning("'%s' was not restored", name, exc_info=True)


def restore_axes(layer: Image, image: ImageRecord) -> None:
    """Take the same dimensions as channels as when the labels of a record were made."""
    if image_layers.axes_of(layer) != image.axes and len(image.axis_labels) == layer.ndim:
        layer.axis_labels = image.axis_labels


def _transform_of(image: ImageRecord) -> dict[str, Any]:
    known = {name: getattr(image, name) for name in PLACE if getattr(image, name)}
    matrices = ("rotate", "affine")
    return {k: np.array(v) if k in matrices else v for k, v in known.items()}


def restore_labels(
    binding: LabelsBinding,
    image: ImageRecord,
    states: dict[tuple[int, ...], LabelsSnapshot],
) -> None:
    """Restore labels and their review from a session."""
    for index, state in states.items():
        binding.restore(index, state.labels, state.review())
    binding.show()
    binding.edits = image.edits
    if image.labels_name:
        binding.layer.name = image.labels_name
    apply_style(binding.layer, image.labels_look)


def thumbnail_of(
    layer: Image, binding: LabelsBinding, viewer: ViewerModel
) -> npt.NDArray[np.uint8]:
    """Draw a thumbnail of the shown plane with its labels, shape (Y, X, 3)."""
    index = image_layers.shown_index(layer, viewer)
    labels = binding.plane(index)
    step = max(1, -(-max(labels.shape) // THUMBNAIL))
    data = layer.data[-1] if layer.multiscale else layer.data
    position = list(index)
    channel = image_layers.channel_axis(layer)
    if channel is not None:
        position.insert(channel, 0)
    plane = data[tuple(position)]
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


def is_safe_to_open(path: Path) -> bool:
    """Return whether napari may open a file that a session names: a plain file of pixels.

    The session may come from anyone, and some of napari's readers run what they open:
    scripts, and folders whose codec can be a program.
    """
    name = path.name.lower()
    return name.endswith(PIXEL_SUFFIXES) and path.is_file()
