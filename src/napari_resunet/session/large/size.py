"""Which images are so large that their labels are written to the disk block by block."""

from __future__ import annotations

import math
from pathlib import Path

from napari_resunet.files import is_tiff
from napari_resunet.ome_zarr.image import open_level
from napari_resunet.ome_zarr.metadata import is_ome_zarr, read_metadata
from napari_resunet.ome_zarr.pyramid import LABEL_BYTES
from napari_resunet.resolutions import memory_bytes
from napari_resunet.slides.image import read_level

MAX_IN_MEMORY = 2 * 10**8
"""Pixels of a plane up to which all its labels are in memory."""

NOT_LABELLED = "CS"
"""Axes of an image that its labels do not have."""


def is_large(image: Path, axes: str | None = None, level: int = 0) -> bool:
    """Return whether the labels of an image are better written block by block.

    That is so if a plane has more than `MAX_IN_MEMORY` pixels, or if the labels of all
    planes would take more than half of the memory of this computer.

    Parameters
    ----------
    image : Path
        An OME-Zarr or a TIFF; other files are read as a whole, so they are not large.
    axes : str or None
        One letter of "PTZCYXS" for each dimension; None reads them from the file.
    level : int
        The resolution level that is segmented.

    Raises
    ------
    FileError
        If the image is missing or damaged.
    """
    stated, shape = _axes_and_shape(image, level)
    named = stated if axes is None or len(axes) != len(shape) else axes
    sizes = dict(zip(named, shape, strict=True))
    plane = sizes.get("Y", 1) * sizes.get("X", 1)
    n_labels = math.prod(n for axis, n in sizes.items() if axis not in NOT_LABELLED)
    return plane > MAX_IN_MEMORY or 2 * LABEL_BYTES * n_labels > memory_bytes()


def _axes_and_shape(image: Path, level: int) -> tuple[str, tuple[int, ...]]:
    """Return axes and shape of a level, or nothing if it is small or read as a whole."""
    if is_ome_zarr(image):
        metadata = read_metadata(image)
        return metadata.axes, open_level(image, metadata, level).shape
    stored = read_level(image, level) if is_tiff(image) else None
    return ("", ()) if stored is None else (stored.axes, stored.array.shape)
