"""The file of a large image that a viewer shows: which of its channels a layer is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from napari_resunet.engine.image_reader import CHANNEL_AXES, ImageReader
from napari_resunet.errors import ImageError
from napari_resunet.files import shown
from napari_resunet.session.image_files import check_image, read_image_file
from napari_resunet.session.workers import ImageSnapshot
from napari_resunet.types import Channels, Index, Window

PROBE, N_PROBES = 64, 3
"""Side of the parts that are compared, and how many there are along rows and columns."""


def channels_in_file(source: Path, layer: ImageSnapshot) -> Channels | None:
    """Find the channels of a layer in the file that it was opened from.

    Parameters
    ----------
    source : Path
        The file, or the OME-Zarr; some readers make a layer of each of its channels.
    layer : ImageSnapshot
        What the viewer shows.

    Returns
    -------
    tuple of int or of tuple of int, or None
        Channels of the file; None if it has only one.

    Raises
    ------
    FileError
        If it cannot be read.
    ImageError
        If it holds other pixels than the layer.
    """
    if layer.partners:
        raise ImageError(
            "Channels of several layers cannot be combined for an image of this size: "
            "choose the channels of one layer."
        )
    check_image(source)
    stored = read_image_file(source)
    seen = ImageReader(layer.levels, layer.axes, layer.channels)
    for channels in _possible(stored.array.shape, stored.axes, layer):
        if _same_pixels(ImageReader([stored.array], stored.axes, channels), seen):
            return channels
    raise ImageError(
        f"{shown(source)} holds other pixels than the layer: save the layer as a file, and "
        "open that."
    )


def _possible(
    shape: tuple[int, ...], axes: str, layer: ImageSnapshot
) -> Iterator[Channels | None]:
    """List which channels of a file a layer may show."""
    own = next((n for n, a in zip(shape, axes, strict=True) if a in CHANNEL_AXES), 1)
    if set(CHANNEL_AXES) & set(layer.axes) or own == 1:
        yield layer.channels if set(CHANNEL_AXES) & set(axes) else None
    else:
        yield from ((channel,) for channel in range(own))


def _same_pixels(file: ImageReader, layer: ImageReader) -> bool:
    """Compare some parts of the middle plane."""
    if file.shape != layer.shape:
        return False
    middle: Index = tuple(n // 2 for n in file.shape[:-2])
    return all(
        np.array_equal(file.read(middle, *part), layer.read(middle, *part))
        for part in _probes(file.shape[-2:])
    )


def _probes(shape: tuple[int, ...]) -> Iterator[Window]:
    starts = [
        np.linspace(0, max(0, n - PROBE), N_PROBES).astype(int).tolist() for n in shape
    ]
    for row in starts[0]:
        for column in starts[1]:
            yield slice(row, row + PROBE), slice(column, column + PROBE)
