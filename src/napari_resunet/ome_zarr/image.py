"""Reads an OME-Zarr image at the resolution level that suits the size of its objects."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from napari_resunet.files import shown
from napari_resunet.ome_zarr.arrays import HARMLESS_BYTES, ZarrLevel
from napari_resunet.ome_zarr.metadata import ImageMetadata, damaged, read_metadata
from napari_resunet.tiff_reader import StoredImage
from napari_resunet.types import ObjectSize


def read_level(folder: Path, level: int = 0) -> StoredImage:
    """Read a level of an image; of a large one, pixels are read when they are used.

    Parameters
    ----------
    folder : Path
        Of the image.
    level : int
        0 is the finest.

    Returns
    -------
    StoredImage
        With the axes and the pixel size of that level.

    Raises
    ------
    FileError
        If it is missing or damaged.
    """
    metadata = read_metadata(folder)
    array = open_level(folder, metadata, level)
    notices = metadata.notices
    if level:
        notices += (_coarse_notice(folder, metadata, array, level),)
    # Tiles of a small image would unpack the same chunk again and again.
    small = math.prod(array.shape) * array.dtype.itemsize <= HARMLESS_BYTES
    pixels: Any = array[...] if small else array
    return StoredImage(pixels, metadata.axes, notices, metadata.pixel_size(level))


def open_level(folder: Path, metadata: ImageMetadata, level: int) -> ZarrLevel:
    """Open the array of a level.

    Raises
    ------
    FileError
        If it is missing or damaged.
    """
    if not 0 <= level < len(metadata.paths):
        raise damaged(folder, f"it has no level {level}")
    array = ZarrLevel(folder.joinpath(*metadata.paths[level].split("/")))
    if array.ndim != len(metadata.axes):
        raise damaged(folder, "its array has other dimensions than its metadata says")
    return array


def level_for(
    folder: Path, size: ObjectSize | None, diameter: float
) -> tuple[int, ObjectSize | None]:
    """Choose the coarsest level whose objects are no smaller than the network wants.

    Parameters
    ----------
    folder : Path
        Of the image.
    size : ObjectSize or None
        Of the objects, in pixels of the finest level or in micrometres. If it is not
        told, the finest level is chosen.
    diameter : float
        Object diameter in pixels at network resolution.

    Returns
    -------
    level : int
        Only levels with all planes of the finest one are chosen.
    size : ObjectSize or None
        The size in pixels of that level; as it was given if the finest is chosen.

    Raises
    ------
    FileError
        If the image is damaged.
    """
    metadata = read_metadata(folder)
    pixels = size.in_pixels(metadata.pixel_size(0)) if size is not None else None
    if pixels is None or pixels < 2 * diameter:
        return 0, size
    finest = open_level(folder, metadata, 0)
    for level in reversed(range(1, len(metadata.paths))):
        factor = _factor(metadata.axes, finest, open_level(folder, metadata, level))
        if factor is not None and pixels / factor >= diameter:
            return level, ObjectSize(pixels / factor)
    return 0, size


def _factor(axes: str, finest: ZarrLevel, coarse: ZarrLevel) -> float | None:
    """Return by how much rows and columns are coarser; None if planes are left out."""
    pairs = dict(zip(axes, zip(finest.shape, coarse.shape, strict=True), strict=True))
    if any(fine != few for axis, (fine, few) in pairs.items() if axis not in "YX"):
        return None
    factors = [fine / max(few, 1) for fine, few in (pairs["Y"], pairs["X"])]
    return math.sqrt(math.prod(factors)) if min(factors) >= 1 else None


def _coarse_notice(
    folder: Path, metadata: ImageMetadata, array: ZarrLevel, level: int
) -> str:
    sizes = dict(zip(metadata.axes, array.shape, strict=True))
    return (
        f"Its resolution level {shown(metadata.paths[level])} was read, {sizes['Y']} × "
        f"{sizes['X']} pixels, which suits the diameter; labels in a TIFF have that size."
    )
