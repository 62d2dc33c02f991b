"""Reads the files of the queue with napari's reader plugins, and makes layers of them.

Files are read in a background thread; layers are made on the main thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import npe2
from napari.layers import Image

from napari_resunet.errors import FileError, ResunetError
from napari_resunet.files import shown
from napari_resunet.ome_zarr.metadata import is_ome_zarr
from napari_resunet.plugin.layers.image_layers import Origin, set_origin
from napari_resunet.plugin.layers.session_images import data_for_layer, is_safe_to_open
from napari_resunet.session.queue_images import ReadImage, viewer_axes

NO_READER = (
    "{} cannot be opened: no reader plugin of napari knows this kind of file. Install one "
    "(Plugins › Install/Uninstall Plugins), or save it as a TIFF."
)
NO_IMAGE = "{} holds no image: choose another file."
PER_CHANNEL = ("name", "colormap", "contrast_limits", "gamma", "blending", "opacity")
"""Arguments of a layer that may be lists, one entry for each channel."""


def can_be_read(path: Path) -> bool:
    """Return whether a path may be opened: a plain file of pixels, or an OME-Zarr."""
    return is_safe_to_open(path) or is_ome_zarr(path)


def read_file(path: Path) -> Sequence[ReadImage]:
    """Read all images of a file that the user chose, by any reader plugin of napari.

    Raises
    ------
    FileError
        If no reader can read it, or there is no image in it.
    """
    if not is_safe_to_open(path):
        raise FileError(NO_READER.format(shown(path)))
    try:
        found, reader = npe2.io_utils.read_get_reader([str(path)], stack=False)
    except ResunetError:
        raise
    except Exception as error:  # a reader plugin may raise anything
        raise FileError(NO_READER.format(shown(path))) from error
    parts = [part for part in found if part[0] is not None]
    images = [part for part in parts if len(part) < 3 or part[2] == "image"]
    if not images:
        raise FileError(NO_IMAGE.format(shown(path)))
    names = [_name(path, number, len(images)) for number in range(len(images))]
    plugin = reader.plugin_name
    return [_read_image(x, n, plugin) for x, n in zip(images, names, strict=True)]


def _name(path: Path, number: int, total: int) -> str:
    return path.stem if total == 1 else f"{path.stem} [{number + 1}]"


def _read_image(part: Any, name: str, plugin: str) -> ReadImage:
    """Take what a reader returned for one layer."""
    data, meta = part[0], dict(part[1]) if len(part) > 1 else {}
    multiscale = meta.pop("multiscale", isinstance(data, list | tuple))
    levels = tuple(data) if multiscale else (data,)
    shape = tuple(levels[0].shape)
    rgb = bool(meta.pop("rgb", False))
    channel = meta.pop("channel_axis", None)
    if channel is not None:
        for key in PER_CHANNEL:
            if isinstance(meta.get(key), list | tuple):
                meta.pop(key)
        labels = [f"-{len(shape) - n}" for n in range(len(shape))]
        labels[channel] = "c"
        meta["axis_labels"] = labels
    axes = viewer_axes(len(shape), channel, rgb)
    return ReadImage(str(meta.pop("name", name)), levels, axes, rgb, False, meta, plugin)


def make_layer(image: ReadImage, origin: Origin) -> Image:
    """Make a layer of an image; it is not added to a viewer yet.

    Raises
    ------
    FileError
        If napari does not accept it.
    """
    data = data_for_layer(image.levels)
    known = {"name": image.name, "rgb": image.rgb}
    if len(image.levels) > 1:
        known["multiscale"] = True
    try:
        layer = Image(data, **{**image.meta, **known})
    except Exception as error:  # a reader plugin may give arguments of any kind
        raise FileError(f"{shown(image.name)} cannot be shown: {error}.") from error
    set_origin(layer, origin)
    return layer
